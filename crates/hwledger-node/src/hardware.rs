//! The use case "devices": what is known of the hardware of the catalogue, and files that describe more.

use std::path::Path;

use hwledger_core::device::{CapabilityLevel, DataType, DeviceSpec, catalogue};
use hwledger_core::settings::DeviceKind;
use hwledger_core::units::BytesPerSecond;
use hwledger_formats::device_file::{self, DEVICE_FILE_BYTES_MAX, DeviceDescription, DeviceFileError};
use serde::{Deserialize, Serialize};

use crate::locate::{LocateError, bounded};
use crate::planner::{PlanFailure, Planner};
use crate::request::{DeviceRequest, bad};

/// Which devices to list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DevicesRequest {
    /// Words that the name holds, in any case.
    pub words: Vec<String>,
    /// nvidia, amd, intel, apple, shared, cpu or other.
    pub kind: Option<String>,
    /// Least memory, of the largest size sold.
    pub memory_gib: Option<f64>,
}

/// One device, as a row of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceRow {
    /// Its name.
    pub name: String,
    /// What kind it is.
    pub kind: &'static str,
    /// Sizes of memory that are sold.
    pub memory_gib: Vec<f64>,
    /// Peak bandwidth of its memory.
    pub bandwidth_gb_s: Option<f64>,
    /// 16-bit matrix products, 10^12 operations per second.
    pub bf16_tflops: Option<f64>,
    /// Power limit.
    pub power_w: Option<f64>,
    /// Year in which it came out.
    pub year: Option<u16>,
    /// What it cost when it came out.
    pub launch_usd: Option<f64>,
    /// When that was, `YYYY-MM`.
    pub launch_date: Option<String>,
}

/// Everything that is known of one device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceAnswer {
    /// `hwledger.device/1`.
    pub schema: &'static str,
    /// The row of the list.
    #[serde(flatten)]
    pub row: DeviceRow,
    /// Microarchitecture.
    pub family: Option<String>,
    /// CUDA compute capability, or the LLVM target of an AMD device.
    pub compute: Option<String>,
    /// Streaming multiprocessors, compute units or cores.
    pub units: Option<u32>,
    /// Last-level cache.
    pub cache_mib: Option<f64>,
    /// Measured rate of reading its memory, where somebody published one.
    pub sustained_gb_s: Option<f64>,
    /// One direction of its link to the host.
    pub host_link_gb_s: Option<f64>,
    /// One direction of all its links to other devices.
    pub peer_link_gb_s: Option<f64>,
    /// What the driver reports as total for the first size, lowest and highest seen.
    pub total_gib: Option<(f64, f64)>,
    /// Peak rates by their names in the catalogue; what is not known is absent.
    pub rates: Vec<(&'static str, f64)>,
    /// What it can do with each type of number.
    pub types: Vec<TypeRow>,
    /// Where the figures come from.
    pub source: String,
}

/// What a device can do with one type of number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TypeRow {
    /// The type.
    #[serde(rename = "type")]
    pub name: &'static str,
    /// native, compat, fallback or unsupported.
    pub level: &'static str,
    /// Why.
    pub reason: &'static str,
    /// The type whose rate bounds the work.
    pub executes_as: Option<&'static str>,
    /// That rate, 10^12 operations per second.
    pub tera_per_s: Option<f64>,
}

fn row(spec: &DeviceSpec) -> DeviceRow {
    let rate = spec.peaks.bf16.or(spec.peaks.fp16);
    DeviceRow {
        name: spec.name.to_string(),
        kind: spec.kind.name(),
        memory_gib: spec.memory_sizes.iter().map(|size| size.gibibytes()).collect(),
        bandwidth_gb_s: spec.bandwidth.map(BytesPerSecond::gigabytes),
        bf16_tflops: rate.map(|rate| rate.0 / 1e12),
        power_w: spec.power.map(|power| power.0),
        year: spec.year,
        launch_usd: spec.price.map(|price| price.amount.0),
        launch_date: spec.price.and_then(|price| price.date).map(|month| month.to_string()),
    }
}

/// The devices of the catalogue that a request asks for, in the order of the tables.
///
/// # Errors
///
/// A kind that is none, a size that is none.
pub fn list(request: &DevicesRequest) -> Result<Vec<DeviceRow>, PlanFailure> {
    let kind = match request.kind.as_deref() {
        None => None,
        Some(name) => {
            let names = DeviceKind::ALL.map(DeviceKind::name).join(", ");
            let found = DeviceKind::named(&name.to_ascii_lowercase());
            Some(found.ok_or_else(|| bad("kind", name, format!("one of {names}")))?)
        }
    };
    if let Some(size) = request.memory_gib.filter(|size| !(*size > 0.0 && size.is_finite())) {
        return Err(bad("memory_gib", &size.to_string(), "a size in GiB above 0"));
    }
    let words: Vec<String> = request.words.iter().map(|word| word.to_lowercase()).collect();
    let is_wanted = |spec: &&DeviceSpec| {
        let name = spec.name.to_lowercase();
        let largest = spec.memory_sizes.iter().map(|size| size.gibibytes()).fold(0.0, f64::max);
        kind.is_none_or(|kind| kind == spec.kind)
            && words.iter().all(|word| name.contains(word.as_str()))
            && request.memory_gib.is_none_or(|least| largest >= least)
    };
    Ok(catalogue().iter().filter(is_wanted).map(row).collect())
}

/// Why a file of devices cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DevicesFailure {
    /// It cannot be opened.
    #[error(transparent)]
    File(#[from] LocateError),
    /// It is no text.
    #[error("it is no UTF-8")]
    Text,
    /// It describes no devices.
    #[error("{0}; {hint}", hint = .0.hint())]
    Content(#[from] DeviceFileError),
}

/// The devices that a TOML file describes.
///
/// # Errors
///
/// A file that cannot be read or whose content means nothing, with the place.
pub fn read_devices(path: &Path) -> Result<Vec<DeviceDescription>, DevicesFailure> {
    let content = bounded::read(path, DEVICE_FILE_BYTES_MAX)?;
    let text = String::from_utf8(content).map_err(|_| DevicesFailure::Text)?;
    Ok(device_file::read(&text)?)
}

impl Planner {
    /// Everything that is known of the device of this name.
    ///
    /// # Errors
    ///
    /// A name that may mean several, which are listed, or that nobody knows, with the nearest.
    pub fn device(&self, name: &str) -> Result<DeviceAnswer, PlanFailure> {
        let asked = DeviceRequest { name: name.to_owned(), ..DeviceRequest::default() };
        let mut told = hwledger_core::Assumptions::default();
        let found = self.distinct_devices(std::slice::from_ref(&asked), &mut told)?;
        let Some(spec) = found.first().and_then(|device| device.spec.as_deref()) else {
            let near = told.0.first().map_or_else(|| "no such device is known".to_owned(), |one| one.why.to_string());
            return Err(bad("device", name, near));
        };
        let types = DataType::ALL
            .iter()
            .filter_map(|&own| {
                let capability = spec.capability(own)?;
                Some(TypeRow {
                    name: own.name(),
                    level: CapabilityLevel::name(capability.level),
                    reason: capability.reason,
                    executes_as: capability.executes_as.map(DataType::name),
                    tera_per_s: spec.peak(own).map(|rate| rate.0 / 1e12),
                })
            })
            .collect();
        Ok(DeviceAnswer {
            schema: "hwledger.device/1",
            row: row(spec),
            family: spec.family.as_deref().map(str::to_owned),
            compute: spec.compute.as_deref().map(str::to_owned),
            units: spec.units,
            cache_mib: spec.cache.map(|cache| cache.0 as f64 / f64::from(1 << 20)),
            sustained_gb_s: spec.sustained.map(BytesPerSecond::gigabytes),
            host_link_gb_s: spec.host_link.map(BytesPerSecond::gigabytes),
            peer_link_gb_s: spec.peer_link.map(BytesPerSecond::gigabytes),
            total_gib: spec.total_gib,
            rates: spec.peaks.named().into_iter().filter_map(|(name, rate)| Some((name, rate?.0 / 1e12))).collect(),
            types,
            source: spec.source.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_narrowed_by_words_kind_and_memory() {
        let all = list(&DevicesRequest::default()).expect("nothing is asked");
        assert!(all.len() >= 250);
        let asked = DevicesRequest { words: vec!["rtx".to_owned(), "40".to_owned()], ..DevicesRequest::default() };
        let some = list(&asked).expect("words are words");
        assert!(!some.is_empty() && some.iter().all(|row| row.name.contains("RTX") && row.name.contains("40")));
        let apple =
            DevicesRequest { kind: Some("apple".to_owned()), memory_gib: Some(256.0), ..DevicesRequest::default() };
        let apple = list(&apple).expect("a kind");
        assert!(apple.iter().any(|row| row.name == "Apple M3 Ultra") && apple.iter().all(|row| row.kind == "apple"));
        let wrong = DevicesRequest { kind: Some("quantum".to_owned()), ..DevicesRequest::default() };
        assert!(list(&wrong).is_err());
    }

    #[test]
    fn a_device_is_shown_with_what_it_can_do() {
        let answer = Planner::default().device("rtx 4090").expect("it is known");
        assert_eq!(answer.row.name, "NVIDIA GeForce RTX 4090");
        let fp8 = answer.types.iter().find(|row| row.name == "fp8").expect("a type");
        assert_eq!(fp8.level, "native");
        assert!(Planner::default().device("A100").is_err(), "it may mean several");
        let unknown = Planner::default().device("NVIDIA GeForce RTX 4091").expect_err("nobody knows it");
        assert!(unknown.hint().is_some_and(|hint| hint.contains("RTX")), "{unknown}");
    }
}
