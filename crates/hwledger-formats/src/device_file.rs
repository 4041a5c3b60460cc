//! Descriptions of devices that the catalogue does not know: TOML files with a `[[device]]` table
//! for each, or the same keys as a JSON object.

use hwledger_core::device::{CustomDevice, CustomDeviceError, DeviceSpec};
use hwledger_core::settings::DeviceKind;
use serde::{Deserialize, Serialize};

/// Largest file that is read.
pub const DEVICE_FILE_BYTES_MAX: u64 = 4 << 20;
/// Most devices of one file.
const DEVICES_MAX: usize = 10_000;

/// A device as somebody describes it; all but the name may be left out. Rates are 10^12 operations
/// per second, bandwidths decimal gigabytes per second, sizes binary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys are the fields of `CustomDevice`")]
pub struct DeviceDescription {
    pub name: String,
    /// nvidia, amd, intel, apple, shared, cpu or other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memory_gib: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_gib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_gb_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub year: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fp32_tflops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fp16_tflops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fp16_acc16_tflops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bf16_tflops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fp8_tflops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub int8_tops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fp4_tflops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_mib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_link_gb_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_link_gb_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sustained_gb_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_w: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_usd: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Why a description cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeviceFileError {
    /// The file is no TOML of this shape; the message names line and key.
    #[error("{0}")]
    Shape(String),
    /// It describes nothing.
    #[error("it has no `[[device]]`")]
    Empty,
    /// It describes more than anybody owns.
    #[error("{0} devices are more than the {DEVICES_MAX} of one file")]
    Many(usize),
    /// No such kind of device.
    #[error("`kind` of `{name}` cannot be `{kind}`")]
    Kind {
        /// The device.
        name: String,
        /// What it says.
        kind: String,
    },
    /// A figure that no device has.
    #[error("device `{name}`: {source}")]
    Figure {
        /// The device.
        name: String,
        /// Which figure.
        source: CustomDeviceError,
    },
}

impl DeviceFileError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Shape(_) | Self::Empty => {
                "`[[device]]`, then `name = \"…\"`, `memory_gib = [48]`, `bandwidth_gb_s = 1200`, `bf16_tflops = 400` …"
            }
            Self::Many(_) => "divide the file",
            Self::Kind { .. } => "one of nvidia, amd, intel, apple, shared, cpu, other",
            Self::Figure { .. } => "mind the units: GiB, GB/s, 10^12 operations per second, W",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    device: Vec<DeviceDescription>,
}

/// The descriptions of a TOML file, each checked.
///
/// # Errors
///
/// The first thing in it that means nothing, with its place.
pub fn read(text: &str) -> Result<Vec<DeviceDescription>, DeviceFileError> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let place = line.map_or_else(String::new, |line| format!("line {line}: "));
        DeviceFileError::Shape(format!("{place}{}", error.message()))
    })?;
    match file.device.len() {
        0 => return Err(DeviceFileError::Empty),
        many if many > DEVICES_MAX => return Err(DeviceFileError::Many(many)),
        _ => {}
    }
    for device in &file.device {
        device.spec()?;
    }
    Ok(file.device)
}

impl DeviceDescription {
    /// What is known of the device.
    ///
    /// # Errors
    ///
    /// A kind that is none, a figure that no device has.
    pub fn spec(&self) -> Result<DeviceSpec, DeviceFileError> {
        let kind = match &self.kind {
            None => None,
            Some(kind) => Some(
                DeviceKind::named(kind)
                    .ok_or_else(|| DeviceFileError::Kind { name: self.name.clone(), kind: kind.clone() })?,
            ),
        };
        let own = self.clone();
        let device = CustomDevice {
            name: own.name,
            kind,
            memory_gib: own.memory_gib,
            total_gib: own.total_gib,
            bandwidth_gb_s: own.bandwidth_gb_s,
            year: own.year,
            compute: own.compute,
            family: own.family,
            units: own.units,
            fp32_tflops: own.fp32_tflops,
            fp16_tflops: own.fp16_tflops,
            fp16_acc16_tflops: own.fp16_acc16_tflops,
            bf16_tflops: own.bf16_tflops,
            fp8_tflops: own.fp8_tflops,
            int8_tops: own.int8_tops,
            fp4_tflops: own.fp4_tflops,
            cache_mib: own.cache_mib,
            host_link_gb_s: own.host_link_gb_s,
            peer_link_gb_s: own.peer_link_gb_s,
            sustained_gb_s: own.sustained_gb_s,
            power_w: own.power_w,
            price_usd: own.price_usd,
            price_date: own.price_date,
            source: own.source,
        };
        device.build().map_err(|source| DeviceFileError::Figure { name: self.name.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_describes_devices() {
        let text = "[[device]]\nname = \"Tomorrow 1\"\nkind = \"nvidia\"\nmemory_gib = [48.0, 96.0]\n\
                    bandwidth_gb_s = 1200.0\nbf16_tflops = 400.0\n\n[[device]]\nname = \"Tomorrow 2\"\n";
        let devices = read(text).expect("it is sound");
        assert_eq!(devices.len(), 2);
        let spec = devices[0].spec().expect("it is sound");
        assert_eq!((spec.kind, spec.memory_sizes.len()), (DeviceKind::Nvidia, 2));
    }

    #[test]
    fn what_means_nothing_is_named_with_its_place() {
        for (text, said) in [
            ("", "no `[[device]]`"),
            ("[[device]]\nname = 3\n", "line 2"),
            ("[[device]]\nname = \"A\"\nbandwith_gb_s = 3.0\n", "line 3"),
            ("[[device]]\nname = \"A\"\nbandwidth_gb_s = -3.0\n", "bandwidth_gb_s"),
            ("[[device]]\nname = \"A\"\nbandwidth_gb_s = nan\n", "bandwidth_gb_s"),
            ("[[device]]\nname = \"A\"\nfp32_tflops = 1e30\n", "fp32_tflops"),
            ("[[device]]\nname = \"A\"\nkind = \"quantum\"\n", "quantum"),
            ("[[device]]\nmemory_gib = [1.0]\n", "name"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.to_string().contains(said), "{text:?}: {error}");
            assert!(!error.hint().is_empty());
        }
    }
}
