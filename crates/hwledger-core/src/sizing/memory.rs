//! The memory interface of a chip, and what another memory would make of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Compatibility;
use super::error::{SizingError, positive};
use super::tier::{StockMemory, Tier};
use crate::nearest::folded;

/// Kinds of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the standard's own")]
#[serde(rename_all = "UPPERCASE")]
pub enum MemoryKind {
    Lpddr4,
    Lpddr4x,
    Lpddr5,
    Lpddr5x,
    Lpddr5t,
    Lpddr6,
    Gddr7,
    Hbm3,
}

impl MemoryKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Lpddr4,
        Self::Lpddr4x,
        Self::Lpddr5,
        Self::Lpddr5x,
        Self::Lpddr5t,
        Self::Lpddr6,
        Self::Gddr7,
        Self::Hbm3,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lpddr4 => "LPDDR4",
            Self::Lpddr4x => "LPDDR4X",
            Self::Lpddr5 => "LPDDR5",
            Self::Lpddr5x => "LPDDR5X",
            Self::Lpddr5t => "LPDDR5T",
            Self::Lpddr6 => "LPDDR6",
            Self::Gddr7 => "GDDR7",
            Self::Hbm3 => "HBM3",
        }
    }

    /// The kind of a name.
    pub fn find(name: &str) -> Result<Self, SizingError> {
        let found = Self::ALL.into_iter().find(|kind| folded(kind.name()) == folded(name));
        found.ok_or_else(|| SizingError::unknown("kind of memory", name, Self::ALL.into_iter().map(Self::name)))
    }
}

impl fmt::Display for MemoryKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The memory of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MemoryInterface {
    /// What it is.
    pub kind: MemoryKind,
    /// Width in bits.
    pub bus_bits: u32,
    /// Transfers per pin, in 10^9 per second.
    pub rate_gt_s: f64,
    /// Peak bandwidth in decimal GB/s.
    pub bandwidth_gb_s: f64,
}

/// Bits of an LPDDR6 channel: two sub-channels of 12 (JEDEC JESD209-6).
const LPDDR6_CHANNEL_BITS: u32 = 24;
/// Share of an LPDDR6 burst that is data: 256 of 288 bits, the rest is metadata and error correction.
const LPDDR6_DATA_SHARE: f64 = 256.0 / 288.0;

impl MemoryInterface {
    /// A memory by its width and rate.
    ///
    /// **Formula**: GB/s = bits x GT/s / 8; for LPDDR6 x 256/288, the data bits of a burst.
    ///
    /// **Source**: JEDEC JESD209-6 (channel width and burst format of LPDDR6).
    ///
    /// **Errors**: a width of 0, a rate that is no positive number, and an LPDDR6 width that is no
    /// whole number of 24-bit channels. [`Compatibility::Reference`] knows neither rule of LPDDR6.
    ///
    /// ```
    /// use hwledger_core::sizing::{Compatibility, MemoryInterface, MemoryKind};
    /// let memory = MemoryInterface::new(MemoryKind::Lpddr5x, 128, 8.4, Compatibility::Corrected)?;
    /// assert!((memory.bandwidth_gb_s - 134.4).abs() < 1e-9);
    /// assert!(MemoryInterface::new(MemoryKind::Lpddr6, 128, 14.0, Compatibility::Corrected).is_err());
    /// # Ok::<(), hwledger_core::sizing::SizingError>(())
    /// ```
    pub fn new(
        kind: MemoryKind,
        bus_bits: u32,
        rate_gt_s: f64,
        compatibility: Compatibility,
    ) -> Result<Self, SizingError> {
        positive("memory rate in GT/s", rate_gt_s)?;
        positive("memory width in bits", f64::from(bus_bits))?;
        let mut bandwidth_gb_s = f64::from(bus_bits) * rate_gt_s / 8.0;
        if kind == MemoryKind::Lpddr6 && compatibility == Compatibility::Corrected {
            if !bus_bits.is_multiple_of(LPDDR6_CHANNEL_BITS) {
                return Err(SizingError::PartialChannel { bus_bits });
            }
            bandwidth_gb_s *= LPDDR6_DATA_SHARE;
        }
        Ok(Self { kind, bus_bits, rate_gt_s, bandwidth_gb_s })
    }
}

/// A memory to put in the place of a tier's own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MemoryUpgrade {
    /// What it is.
    pub kind: MemoryKind,
    /// Transfers per pin, in 10^9 per second.
    pub rate_gt_s: f64,
    /// Its width; the tier's own where `None`.
    pub bus_bits: Option<u32>,
}

impl MemoryUpgrade {
    /// The upgrades that are offered without being asked for, at the tier's own width.
    pub const OFFERED: [Self; 3] = [
        Self { kind: MemoryKind::Lpddr5t, rate_gt_s: 11.2, bus_bits: None },
        Self { kind: MemoryKind::Lpddr6, rate_gt_s: 12.0, bus_bits: None },
        Self { kind: MemoryKind::Lpddr6, rate_gt_s: 14.0, bus_bits: None },
    ];
}

impl Tier {
    /// The tier with another memory.
    ///
    /// The clone keeps the identity and the bandwidth of the tier as sold, over any number of
    /// upgrades. Measurements stay what was measured: projecting scales them.
    pub fn with_memory(&self, upgrade: MemoryUpgrade, compatibility: Compatibility) -> Result<Self, SizingError> {
        let width = upgrade.bus_bits.unwrap_or(self.memory.bus_bits);
        let memory = MemoryInterface::new(upgrade.kind, width, upgrade.rate_gt_s, compatibility)?;
        let stock = self.stock.clone().unwrap_or_else(|| StockMemory { name: self.name.clone(), memory: self.memory });
        let width =
            if memory.bus_bits == stock.memory.bus_bits { String::new() } else { format!("{}-bit ", memory.bus_bits) };
        let name = format!("{} ({width}{} @ {} GT/s)", stock.name, memory.kind, memory.rate_gt_s);
        Ok(Self { name, memory, stock: Some(stock), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::tier;
    use super::*;

    fn mid() -> Tier {
        tier("NPU Mid").expect("a tier of the registry").clone()
    }

    #[test]
    fn d12_lpddr6_is_made_of_24_bit_channels_of_which_eight_ninths_is_data() {
        let upgrade = |bits| MemoryUpgrade { kind: MemoryKind::Lpddr6, rate_gt_s: 14.0, bus_bits: Some(bits) };
        let error = mid().with_memory(upgrade(128), Compatibility::Corrected).expect_err("no such part");
        assert_eq!(error.hint().as_deref(), Some("use 120 or 144 bits"));
        let wide = mid().with_memory(upgrade(144), Compatibility::Corrected).expect("six channels");
        assert!((wide.memory.bandwidth_gb_s - 144.0 * 14.0 / 8.0 * 8.0 / 9.0).abs() < 1e-9);
        let reference = mid().with_memory(upgrade(128), Compatibility::Reference).expect("the reference allows it");
        assert!((reference.memory.bandwidth_gb_s - 224.0).abs() < 1e-9);
    }

    #[test]
    fn the_offered_upgrades_of_mid_are_those_of_the_reference() {
        let bandwidths = MemoryUpgrade::OFFERED.map(|upgrade| {
            mid().with_memory(upgrade, Compatibility::Reference).expect("the reference allows it").memory.bandwidth_gb_s
        });
        for (found, expected) in bandwidths.into_iter().zip([179.2, 192.0, 224.0]) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }

    #[test]
    fn a_clone_of_a_clone_remembers_what_was_sold() {
        let faster = MemoryUpgrade { kind: MemoryKind::Lpddr5t, rate_gt_s: 9.6, bus_bits: None };
        let once = mid().with_memory(MemoryUpgrade::OFFERED[0], Compatibility::Corrected).expect("a real part");
        let twice = once.with_memory(faster, Compatibility::Corrected).expect("a real part");
        assert_eq!(twice.lookup_name(), "NPU Mid");
        assert_eq!(twice.name, "NPU Mid (LPDDR5T @ 9.6 GT/s)");
        assert!((twice.stock_bandwidth_gb_s() - 134.4).abs() < 1e-9);
    }
}
