//! Devices that somebody describes instead of naming.

use std::borrow::Cow;

use super::spec::{DeviceSpec, Month, Peaks, Price};
use crate::Bytes;
use crate::settings::DeviceKind;
use crate::units::{BytesPerSecond, FlopsPerSecond, Money, Watts};

/// A device as a person describes it: the columns of the catalogue, all but the name optional.
///
/// ```
/// # use hwledger_core::device::{CustomDevice, DataType};
/// let spec = CustomDevice {
///     name: "Tomorrow 1".to_owned(),
///     memory_gib: vec![48.0],
///     bandwidth_gb_s: Some(1200.0),
///     bf16_tflops: Some(400.0),
///     ..CustomDevice::default()
/// }
/// .build()
/// .unwrap();
/// assert_eq!(spec.bandwidth.unwrap().to_string(), "1.2 TB/s");
/// assert_eq!(spec.capability(DataType::Fp8).unwrap().executes_as, Some(DataType::Bf16));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CustomDevice {
    /// What it is called.
    pub name: String,
    /// What decides how engines treat its memory; [`DeviceKind::Other`] where nobody says.
    pub kind: Option<DeviceKind>,
    /// Sizes of its memory in GiB; the first is taken where nobody says.
    pub memory_gib: Vec<f64>,
    /// What its driver reports as total in GiB.
    pub total_gib: Option<f64>,
    /// Peak memory bandwidth in GB/s, decimal.
    pub bandwidth_gb_s: Option<f64>,
    /// Year in which it comes out.
    pub year: Option<u16>,
    /// CUDA compute capability, or the LLVM target of an AMD device.
    pub compute: Option<String>,
    /// Microarchitecture.
    pub family: Option<String>,
    /// Streaming multiprocessors, compute units or cores.
    pub units: Option<u32>,
    /// Peak of [`Peaks::fp32`] in 10^12 a second.
    pub fp32_tflops: Option<f64>,
    /// Peak of [`Peaks::fp16`] in 10^12 a second.
    pub fp16_tflops: Option<f64>,
    /// Peak of [`Peaks::fp16_acc16`] in 10^12 a second.
    pub fp16_acc16_tflops: Option<f64>,
    /// Peak of [`Peaks::bf16`] in 10^12 a second.
    pub bf16_tflops: Option<f64>,
    /// Peak of [`Peaks::fp8`] in 10^12 a second.
    pub fp8_tflops: Option<f64>,
    /// Peak of [`Peaks::int8`] in 10^12 a second.
    pub int8_tops: Option<f64>,
    /// Peak of [`Peaks::fp4`] in 10^12 a second.
    pub fp4_tflops: Option<f64>,
    /// Last-level cache in MiB.
    pub cache_mib: Option<f64>,
    /// One direction of its link to the host in GB/s.
    pub host_link_gb_s: Option<f64>,
    /// One direction of its links to other devices in GB/s.
    pub peer_link_gb_s: Option<f64>,
    /// Measured memory bandwidth in GB/s.
    pub sustained_gb_s: Option<f64>,
    /// Power limit in watts.
    pub power_w: Option<f64>,
    /// Price in United States dollars.
    pub price_usd: Option<f64>,
    /// When that price was asked, `YYYY-MM`.
    pub price_date: Option<String>,
    /// Where the figures come from.
    pub source: Option<String>,
}

/// Why a description is no device.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CustomDeviceError {
    /// A field that must say something is empty.
    #[error("`{field}` is empty")]
    Empty {
        /// The field.
        field: &'static str,
    },
    /// A text is longer than any name.
    #[error("`{field}` is longer than {TEXT_BYTES_MAX} bytes")]
    Long {
        /// The field.
        field: &'static str,
    },
    /// A figure is no figure, or none that a device can have.
    #[error("`{field}` is {value}, which is not within {low} and {high}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What it says.
        value: f64,
        /// Lowest value that is believed.
        low: f64,
        /// Highest value that is believed.
        high: f64,
    },
    /// A date is not written as `YYYY-MM`.
    #[error("`{field}` is `{value}`, which is no `YYYY-MM`")]
    Date {
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// Two fields contradict each other.
    #[error("`{field}` is more than `{limit}`")]
    Contradiction {
        /// The larger field.
        field: &'static str,
        /// The field that bounds it.
        limit: &'static str,
    },
}

/// Longest name, family or source.
const TEXT_BYTES_MAX: usize = 500;
/// Most sizes that one device is sold in.
const SIZES_MAX: usize = 32;

// Ranges that are believed. They span what a microcontroller and a rack sold as one device have,
// a thousand times over at the top: they catch wrong units and slips, not bold plans.
const MEMORY_GIB: (f64, f64) = (1e-3, 1e6);
const RATE_GB_S: (f64, f64) = (1e-3, 1e7);
const TERA: (f64, f64) = (1e-6, 1e8);
const CACHE_MIB: (f64, f64) = (1e-3, 1e6);
const POWER_W: (f64, f64) = (1e-2, 1e6);
const PRICE_USD: (f64, f64) = (0.0, 1e8);
const YEAR: (f64, f64) = (1990.0, 2100.0);
const UNITS: (f64, f64) = (1.0, 1e6);

/// `value` if it lies in a range; NaN lies in none.
fn within(field: &'static str, value: f64, (low, high): (f64, f64)) -> Result<f64, CustomDeviceError> {
    if value >= low && value <= high {
        Ok(value)
    } else {
        Err(CustomDeviceError::OutOfRange { field, value, low, high })
    }
}

/// The same for a figure that may be absent.
fn figure(field: &'static str, value: Option<f64>, range: (f64, f64)) -> Result<Option<f64>, CustomDeviceError> {
    value.map(|value| within(field, value, range)).transpose()
}

fn text(field: &'static str, value: Option<String>) -> Result<Option<Cow<'static, str>>, CustomDeviceError> {
    let Some(value) = value else {
        return Ok(None);
    };
    let value = value.trim();
    if value.is_empty() {
        return Err(CustomDeviceError::Empty { field });
    }
    if value.len() > TEXT_BYTES_MAX {
        return Err(CustomDeviceError::Long { field });
    }
    Ok(Some(Cow::Owned(value.to_owned())))
}

fn bandwidth(field: &'static str, value: Option<f64>) -> Result<Option<BytesPerSecond>, CustomDeviceError> {
    Ok(figure(field, value, RATE_GB_S)?.map(BytesPerSecond::from_gigabytes))
}

fn tera(field: &'static str, value: Option<f64>) -> Result<Option<FlopsPerSecond>, CustomDeviceError> {
    Ok(figure(field, value, TERA)?.map(FlopsPerSecond::from_tera))
}

impl CustomDevice {
    /// A device of which nothing is known yet but its name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    fn sizes(&self) -> Result<Vec<Bytes>, CustomDeviceError> {
        within("memory_gib", self.memory_gib.len() as f64, (0.0, SIZES_MAX as f64))?;
        let size = |&gib: &f64| within("memory_gib", gib, MEMORY_GIB).map(Bytes::from_gibibytes);
        self.memory_gib.iter().map(size).collect()
    }

    fn peaks(&self) -> Result<Peaks, CustomDeviceError> {
        Ok(Peaks {
            fp32: tera("fp32_tflops", self.fp32_tflops)?,
            fp16: tera("fp16_tflops", self.fp16_tflops)?,
            fp16_acc16: tera("fp16_acc16_tflops", self.fp16_acc16_tflops)?,
            bf16: tera("bf16_tflops", self.bf16_tflops)?,
            fp8: tera("fp8_tflops", self.fp8_tflops)?,
            int8: tera("int8_tops", self.int8_tops)?,
            fp4: tera("fp4_tflops", self.fp4_tflops)?,
        })
    }

    fn price(&self) -> Result<Option<Price>, CustomDeviceError> {
        let date = match &self.price_date {
            Some(date) => Some(Month::parse(date.trim()).ok_or_else(|| CustomDeviceError::Date {
                field: "price_date",
                value: date.chars().take(20).collect(),
            })?),
            None => None,
        };
        let amount = figure("price_usd", self.price_usd, PRICE_USD)?;
        Ok(amount.map(|amount| Price { amount: Money(amount), date }))
    }

    /// The device that the description stands for.
    ///
    /// **Errors**: an empty name, a figure that is negative, NaN or beyond belief, a sustained
    /// bandwidth above the peak, a total above the memory. Each names its field.
    pub fn build(self) -> Result<DeviceSpec, CustomDeviceError> {
        let sizes = self.sizes()?;
        let peaks = self.peaks()?;
        let price = self.price()?;
        let total = figure("total_gib", self.total_gib, MEMORY_GIB)?;
        if let Some((total, &size)) = total.zip(self.memory_gib.first())
            && total > size
        {
            return Err(CustomDeviceError::Contradiction { field: "total_gib", limit: "memory_gib" });
        }
        let peak = bandwidth("bandwidth_gb_s", self.bandwidth_gb_s)?;
        let sustained = bandwidth("sustained_gb_s", self.sustained_gb_s)?;
        if peak.zip(sustained).is_some_and(|(peak, sustained)| sustained > peak) {
            return Err(CustomDeviceError::Contradiction { field: "sustained_gb_s", limit: "bandwidth_gb_s" });
        }
        figure("year", self.year.map(f64::from), YEAR)?;
        figure("units", self.units.map(f64::from), UNITS)?;
        let cache = figure("cache_mib", self.cache_mib, CACHE_MIB)?;
        let name = text("name", Some(self.name))?.unwrap_or_default();
        Ok(DeviceSpec {
            memory_sizes: sizes,
            total_gib: total.map(|total| (total, total)),
            bandwidth: peak,
            year: self.year,
            compute: text("compute", self.compute)?,
            family: text("family", self.family.map(|family| family.to_lowercase()))?,
            units: self.units,
            peaks,
            cache: cache.map(|mebibytes| Bytes::from_gibibytes(mebibytes / 1024.0)),
            host_link: bandwidth("host_link_gb_s", self.host_link_gb_s)?,
            peer_link: bandwidth("peer_link_gb_s", self.peer_link_gb_s)?,
            sustained,
            power: figure("power_w", self.power_w, POWER_W)?.map(Watts),
            price,
            source: text("source", self.source)?.unwrap_or(Cow::Borrowed("described by hand")),
            ..DeviceSpec::unknown(name, self.kind.unwrap_or(DeviceKind::Other))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Device;

    fn check(device: CustomDevice, field: &str) {
        let error = device.build().expect_err(field).to_string();
        assert!(error.starts_with(&format!("`{field}`")), "{error}");
    }

    fn named() -> CustomDevice {
        CustomDevice::new("X")
    }

    #[test]
    fn errors_name_the_field() {
        check(CustomDevice::default(), "name");
        check(CustomDevice::new("x".repeat(501)), "name");
        check(CustomDevice { memory_gib: vec![16.0, -1.0], ..named() }, "memory_gib");
        check(CustomDevice { memory_gib: vec![1.0; 100], ..named() }, "memory_gib");
        check(CustomDevice { memory_gib: vec![16.0], total_gib: Some(17.0), ..named() }, "total_gib");
        check(CustomDevice { bandwidth_gb_s: Some(f64::NAN), ..named() }, "bandwidth_gb_s");
        check(CustomDevice { bandwidth_gb_s: Some(1.0), sustained_gb_s: Some(2.0), ..named() }, "sustained_gb_s");
        check(CustomDevice { fp32_tflops: Some(0.0), ..named() }, "fp32_tflops");
        check(CustomDevice { int8_tops: Some(f64::INFINITY), ..named() }, "int8_tops");
        check(CustomDevice { fp4_tflops: Some(1e15), ..named() }, "fp4_tflops");
        check(CustomDevice { power_w: Some(-5.0), ..named() }, "power_w");
        check(CustomDevice { price_date: Some("June".to_owned()), ..named() }, "price_date");
        check(CustomDevice { year: Some(26), ..named() }, "year");
        check(CustomDevice { units: Some(0), ..named() }, "units");
        check(CustomDevice { compute: Some("  ".to_owned()), ..named() }, "compute");
    }

    #[test]
    fn a_name_alone_is_a_device_of_which_nothing_is_known() {
        let spec = named().build().expect("a name is enough");
        assert_eq!((spec.bandwidth, spec.standard_size(), spec.peaks.is_unknown()), (None, None, true));
    }

    #[test]
    fn a_described_device_goes_where_a_known_one_goes() {
        let spec = CustomDevice { memory_gib: vec![48.0], total_gib: Some(47.5), ..named() }.build().expect("complete");
        let device = Device {
            name: spec.name.clone().into_owned(),
            memory: spec.standard_size(),
            kind: spec.kind,
            spec: Some(spec.into()),
        };
        let total = device.total().expect("its memory is known");
        assert!((total.value.gibibytes() - 47.5).abs() < 1e-6);
    }
}
