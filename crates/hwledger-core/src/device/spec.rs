//! One device: what is known of it, typed.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use super::name::Key;
use crate::Bytes;
use crate::settings::DeviceKind;
use crate::units::{BytesPerSecond, FlopsPerSecond, Money, Watts};

/// What is known of one device. `None` and empty lists mean "not known".
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceSpec {
    /// The name that its driver gives.
    pub name: Cow<'static, str>,
    /// What decides how engines treat its memory.
    pub kind: DeviceKind,
    /// Sizes sold; the first is taken where nobody says.
    pub memory_sizes: Vec<Bytes>,
    /// What the driver reports as total for the first size, lowest and highest seen, in GiB.
    pub total_gib: Option<(f64, f64)>,
    /// Peak memory bandwidth.
    pub bandwidth: Option<BytesPerSecond>,
    /// Year in which it came out.
    pub year: Option<u16>,
    /// CUDA compute capability, or the LLVM target of an AMD device.
    pub compute: Option<Cow<'static, str>>,
    /// Microarchitecture in lower case (`ampere`, `rdna3`).
    pub family: Option<Cow<'static, str>>,
    /// Streaming multiprocessors, compute units, Xe cores, graphics cores or processor cores.
    pub units: Option<u32>,
    /// Peak rates of arithmetic.
    pub peaks: Peaks,
    /// Size of the last-level cache.
    pub cache: Option<Bytes>,
    /// One direction of its link to the host.
    pub host_link: Option<BytesPerSecond>,
    /// One direction of all its links to other devices together.
    pub peer_link: Option<BytesPerSecond>,
    /// Measured rate of copying or reading its memory, where somebody published one.
    pub sustained: Option<BytesPerSecond>,
    /// Power limit of the board.
    pub power: Option<Watts>,
    /// What it cost when it came out.
    pub price: Option<Price>,
    /// Where the figures come from.
    pub source: Cow<'static, str>,
    /// The device as sold, where its memory was replaced in thought ([`DeviceSpec::with_memory`]).
    pub stock: Option<Stock>,
    /// Its name and aliases, taken apart.
    pub(super) keys: Vec<Key>,
}

/// Peak rates of dense arithmetic. `None`: not known, or the device has no path for that type;
/// [`DeviceSpec::capability`] tells these apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Peaks {
    /// 32-bit floating point on the vector units.
    pub fp32: Option<FlopsPerSecond>,
    /// 16-bit matrix products summed in 32 bits; the vector rate where there are no matrix units.
    pub fp16: Option<FlopsPerSecond>,
    /// 16-bit matrix products summed in 16 bits.
    pub fp16_acc16: Option<FlopsPerSecond>,
    /// bfloat16 matrix products summed in 32 bits.
    pub bf16: Option<FlopsPerSecond>,
    /// 8-bit floating-point matrix products.
    pub fp8: Option<FlopsPerSecond>,
    /// 8-bit integer products summed in 32 bits.
    pub int8: Option<FlopsPerSecond>,
    /// 4-bit floating-point matrix products.
    pub fp4: Option<FlopsPerSecond>,
}

impl Peaks {
    /// Every rate, named as in the catalogue's columns.
    pub const fn named(&self) -> [(&'static str, Option<FlopsPerSecond>); 7] {
        [
            ("fp32_tflops", self.fp32),
            ("fp16_tflops", self.fp16),
            ("fp16_acc16_tflops", self.fp16_acc16),
            ("bf16_tflops", self.bf16),
            ("fp8_tflops", self.fp8),
            ("int8_tops", self.int8),
            ("fp4_tflops", self.fp4),
        ]
    }

    /// Whether no rate at all is known.
    pub fn is_unknown(&self) -> bool {
        self.named().iter().all(|(_, rate)| rate.is_none())
    }
}

/// A price and when it was asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// The price of one device.
    pub amount: Money,
    /// When, where known.
    pub date: Option<Month>,
}

/// A month of a year, printed as `2022-10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    year: u16,
    month: u8,
}

impl Month {
    /// Reads `YYYY-MM`.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let (year, month) = text.split_once('-').filter(|(year, month)| year.len() == 4 && month.len() == 2)?;
        let read = Self { year: year.parse().ok()?, month: month.parse().ok()? };
        (is_plain && (1..=12).contains(&read.month)).then_some(read)
    }

    /// The year.
    pub const fn year(self) -> u16 {
        self.year
    }

    /// The month, 1 to 12.
    pub const fn month(self) -> u8 {
        self.month
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:04}-{:02}", self.year, self.month)
    }
}

/// What a device was before its memory was replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Stock {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its peak memory bandwidth.
    pub bandwidth: Option<BytesPerSecond>,
}

impl DeviceSpec {
    /// A device of which nothing but its name and kind is known.
    pub(super) fn unknown(name: Cow<'static, str>, kind: DeviceKind) -> Self {
        Self {
            keys: vec![Key::of(&name)],
            name,
            kind,
            memory_sizes: Vec::new(),
            total_gib: None,
            bandwidth: None,
            year: None,
            compute: None,
            family: None,
            units: None,
            peaks: Peaks::default(),
            cache: None,
            host_link: None,
            peer_link: None,
            sustained: None,
            power: None,
            price: None,
            source: Cow::Borrowed(""),
            stock: None,
        }
    }

    /// The size that is taken where nobody says.
    pub fn standard_size(&self) -> Option<Bytes> {
        self.memory_sizes.first().copied()
    }

    /// CUDA compute capability as a number (8.9), where the device has one.
    pub fn compute_capability(&self) -> Option<f64> {
        self.compute.as_ref()?.parse().ok()
    }

    /// The name under which measurements of this device are kept: the stock device's.
    pub fn stock_name(&self) -> &str {
        self.stock.as_ref().map_or(&self.name, |stock| &stock.name)
    }
}

/// A device of the catalogue, or one that somebody described.
#[derive(Clone, Debug)]
pub enum SpecReference {
    /// A row of the catalogue.
    Catalogue(&'static DeviceSpec),
    /// A description, shared by the plans that use it.
    Described(Arc<DeviceSpec>),
}

impl Deref for SpecReference {
    type Target = DeviceSpec;

    fn deref(&self) -> &DeviceSpec {
        match self {
            Self::Catalogue(spec) => spec,
            Self::Described(spec) => spec,
        }
    }
}

impl PartialEq for SpecReference {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl From<&'static DeviceSpec> for SpecReference {
    fn from(spec: &'static DeviceSpec) -> Self {
        Self::Catalogue(spec)
    }
}

impl From<DeviceSpec> for SpecReference {
    fn from(spec: DeviceSpec) -> Self {
        Self::Described(Arc::new(spec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_read_strictly() {
        assert_eq!(Month::parse("2022-10").map(|month| month.to_string()).as_deref(), Some("2022-10"));
        for wrong in ["2022", "2022-13", "2022-00", "22-10", "2022-1", "2022-+1", ""] {
            assert_eq!(Month::parse(wrong), None, "{wrong}");
        }
    }
}
