//! A device with other memory than it is sold with.

use std::borrow::Cow;
use std::fmt;

use super::spec::{DeviceSpec, Stock};
use crate::units::BytesPerSecond;

/// Kinds of memory, as far as their buses differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each name is the standard's own")]
pub enum MemoryType {
    Ddr4,
    Ddr5,
    Lpddr4,
    Lpddr4x,
    Lpddr5,
    Lpddr5x,
    Lpddr5t,
    Lpddr6,
    Gddr5,
    Gddr5x,
    Gddr6,
    Gddr6x,
    Gddr7,
    Hbm2,
    Hbm2e,
    Hbm3,
    Hbm3e,
    Hbm4,
}

impl MemoryType {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Ddr4,
        Self::Ddr5,
        Self::Lpddr4,
        Self::Lpddr4x,
        Self::Lpddr5,
        Self::Lpddr5x,
        Self::Lpddr5t,
        Self::Lpddr6,
        Self::Gddr5,
        Self::Gddr5x,
        Self::Gddr6,
        Self::Gddr6x,
        Self::Gddr7,
        Self::Hbm2,
        Self::Hbm2e,
        Self::Hbm3,
        Self::Hbm3e,
        Self::Hbm4,
    ];

    /// Its name, as the standards print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ddr4 => "DDR4",
            Self::Ddr5 => "DDR5",
            Self::Lpddr4 => "LPDDR4",
            Self::Lpddr4x => "LPDDR4X",
            Self::Lpddr5 => "LPDDR5",
            Self::Lpddr5x => "LPDDR5X",
            Self::Lpddr5t => "LPDDR5T",
            Self::Lpddr6 => "LPDDR6",
            Self::Gddr5 => "GDDR5",
            Self::Gddr5x => "GDDR5X",
            Self::Gddr6 => "GDDR6",
            Self::Gddr6x => "GDDR6X",
            Self::Gddr7 => "GDDR7",
            Self::Hbm2 => "HBM2",
            Self::Hbm2e => "HBM2E",
            Self::Hbm3 => "HBM3",
            Self::Hbm3e => "HBM3E",
            Self::Hbm4 => "HBM4",
        }
    }

    /// The type of that name, whatever the case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|memory| memory.name().eq_ignore_ascii_case(text.trim()))
    }

    /// Width of the smallest part that a bus is made of, in bits: a channel of LPDDR, a device of
    /// GDDR, a stack of HBM, a module's channel of DDR4 or subchannel of DDR5.
    ///
    /// **Source**: JEDEC JESD209-4, -5 and -6, JESD79-4 and -5, JESD212, 232, 250 and 239, JESD235 and 238.
    pub const fn channel_bits(self) -> u32 {
        match self {
            Self::Lpddr4 | Self::Lpddr4x | Self::Lpddr5 | Self::Lpddr5x | Self::Lpddr5t => 16,
            Self::Lpddr6 => 24,
            Self::Ddr5 | Self::Gddr5 | Self::Gddr5x | Self::Gddr6 | Self::Gddr6x | Self::Gddr7 => 32,
            Self::Ddr4 => 64,
            Self::Hbm2 | Self::Hbm2e | Self::Hbm3 | Self::Hbm3e => 1024,
            Self::Hbm4 => 2048,
        }
    }

    /// Share of the bits on the bus that are data.
    ///
    /// An LPDDR6 burst carries 288 bits of which 256 are data; the rest is metadata or, where
    /// the system does not use it, lost (JESD209-6). All others carry theirs beside the bus.
    const fn data_share(self) -> f64 {
        match self {
            Self::Lpddr6 => 256.0 / 288.0,
            _ => 1.0,
        }
    }

    /// Peak bandwidth of a bus.
    ///
    /// **Formula**: `bus_bits x rate_gt_s / 8` GB/s, for LPDDR6 times 256 / 288.
    ///
    /// **Errors**: a bus that is no whole number of channels, a rate that is none.
    ///
    /// ```
    /// # use hwledger_core::device::MemoryType;
    /// // A 24-bit channel of LPDDR6 at 14.4 GT/s moves 38.4 GB/s.
    /// let rate = MemoryType::Lpddr6.bandwidth(24, 14.4).unwrap();
    /// assert!((rate.gigabytes() - 38.4).abs() < 1e-9);
    /// assert!(MemoryType::Lpddr6.bandwidth(128, 14.4).is_err());
    /// ```
    pub fn bandwidth(self, bus_bits: u32, rate_gt_s: f64) -> Result<BytesPerSecond, MemoryError> {
        if bus_bits == 0 || bus_bits > BUS_BITS_MAX || !bus_bits.is_multiple_of(self.channel_bits()) {
            return Err(MemoryError::Bus { memory: self, bus_bits, channel_bits: self.channel_bits() });
        }
        if !(rate_gt_s > 0.0 && rate_gt_s <= RATE_GT_S_MAX) {
            return Err(MemoryError::Rate { rate_gt_s });
        }
        Ok(BytesPerSecond::from_gigabytes(f64::from(bus_bits) * rate_gt_s / 8.0).scaled(self.data_share()))
    }
}

impl fmt::Display for MemoryType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Widest bus that is taken for real: sixteen stacks of HBM4.
const BUS_BITS_MAX: u32 = 16 * 2048;
/// Highest transfer rate that is taken for real; GDDR7 is specified to 48.
const RATE_GT_S_MAX: f64 = 100.0;

/// Why a device cannot have the memory asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MemoryError {
    /// The bus cannot be built.
    #[error("a bus of {bus_bits} bits is no whole number of {memory} channels of {channel_bits} bits")]
    Bus {
        /// Kind of memory.
        memory: MemoryType,
        /// Width asked for.
        bus_bits: u32,
        /// Width of one channel.
        channel_bits: u32,
    },
    /// The transfer rate is no rate.
    #[error("a rate of {rate_gt_s} GT/s is not within 0 and {RATE_GT_S_MAX}")]
    Rate {
        /// Rate asked for.
        rate_gt_s: f64,
    },
}

impl DeviceSpec {
    /// The same device with other memory: its bandwidth follows from the bus, its arithmetic stays.
    ///
    /// [`DeviceSpec::stock`] keeps what is sold, also where the memory is replaced again. A
    /// measured bandwidth is dropped: it was measured on the memory that is gone.
    ///
    /// **Errors**: as [`MemoryType::bandwidth`].
    pub fn with_memory(&self, bus_bits: u32, rate_gt_s: f64, memory: MemoryType) -> Result<Self, MemoryError> {
        let bandwidth = memory.bandwidth(bus_bits, rate_gt_s)?;
        let stock = self.stock.clone().unwrap_or_else(|| Stock { name: self.name.clone(), bandwidth: self.bandwidth });
        Ok(Self {
            name: Cow::Owned(format!("{} ({memory} @ {rate_gt_s} GT/s)", stock.name)),
            bandwidth: Some(bandwidth),
            sustained: None,
            stock: Some(stock),
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::find;
    use super::*;

    fn check(memory: MemoryType, bus_bits: u32, rate_gt_s: f64, expected_gb_s: f64) {
        let rate = memory.bandwidth(bus_bits, rate_gt_s).unwrap_or_else(|error| panic!("{error}"));
        assert!((rate.gigabytes() - expected_gb_s).abs() < 0.05, "{memory}: {rate}");
    }

    #[test]
    fn published_bandwidths_follow_from_the_bus() {
        check(MemoryType::Gddr6x, 384, 21.0, 1008.0);
        check(MemoryType::Gddr7, 512, 28.0, 1792.0);
        check(MemoryType::Lpddr5, 256, 6.4, 204.8);
        check(MemoryType::Lpddr5x, 256, 8.533, 273.1);
        check(MemoryType::Hbm2, 4096, 1.75, 896.0);
        check(MemoryType::Lpddr6, 24, 10.667, 28.4);
    }

    #[test]
    fn impossible_memory_is_refused() {
        for (memory, bus_bits, rate) in [
            (MemoryType::Lpddr6, 128, 14.0),
            (MemoryType::Lpddr5x, 0, 8.5),
            (MemoryType::Gddr7, 40, 28.0),
            (MemoryType::Gddr7, 512, -1.0),
            (MemoryType::Gddr7, 512, f64::NAN),
            (MemoryType::Gddr7, 512, f64::INFINITY),
        ] {
            assert!(memory.bandwidth(bus_bits, rate).is_err(), "{memory} {bus_bits} {rate}");
        }
    }

    #[test]
    fn the_stock_device_stays_known() {
        let found = find("Jetson AGX Orin", None).expect("the name is known");
        let spec = found.device.spec.expect("it has a row");
        let once = spec.with_memory(256, 8.533, MemoryType::Lpddr5x).expect("a bus that can be built");
        let twice = once.with_memory(192, 14.4, MemoryType::Lpddr6).expect("a bus that can be built");
        assert_eq!(twice.stock_name(), spec.name);
        assert_eq!(twice.stock.as_ref().and_then(|stock| stock.bandwidth), spec.bandwidth);
        assert_eq!(twice.name, format!("{} (LPDDR6 @ 14.4 GT/s)", spec.name));
        assert_eq!(twice.peaks, spec.peaks);
    }

    #[test]
    fn names_are_read_back() {
        for &memory in MemoryType::ALL {
            assert_eq!(MemoryType::parse(&memory.name().to_lowercase()), Some(memory));
        }
        assert_eq!(MemoryType::parse("core rope"), None);
    }
}
