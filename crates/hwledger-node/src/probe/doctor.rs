//! What a bug report should say about the machine: nothing that names a person, a machine or a secret.

use std::collections::BTreeMap;
use std::path::Path;

use hwledger_engine::InstructionSet;
use hwledger_probe::machine::free_space;
use serde::Serialize;

use super::metric::{
    CGROUP_CPU_LIMIT, CGROUP_MEMORY_LIMIT, DEVICE_MEMORY_TOTAL, HOST_MEMORY_AVAILABLE, HOST_MEMORY_TOTAL,
    HOST_PROCESSORS,
};
use super::{Device, Outcome, ProbeError, Reading, SourceName, snapshot};
use crate::native::packed_directory;

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DoctorReport {
    /// Version of hwledger.
    pub version: &'static str,
    /// Operating system, as it names itself.
    pub system: Option<String>,
    /// Version of its kernel.
    pub kernel: Option<String>,
    /// Processors.
    pub processor: ProcessorReport,
    /// Bytes of memory.
    pub memory_bytes: Option<f64>,
    /// Bytes of memory that can be had.
    pub memory_available_bytes: Option<f64>,
    /// Bytes that this process's control group allows; none for no limit.
    pub cgroup_memory_bytes: Option<f64>,
    /// Processors' worth of time that it allows; none for no limit.
    pub cgroup_processors: Option<f64>,
    /// Where repacked weights are kept.
    pub cache: Option<CacheSpace>,
    /// Devices, with their memory in bytes.
    pub devices: Vec<(Device, Option<f64>)>,
    /// What is amiss or worth knowing.
    pub findings: Vec<Finding>,
    /// What cannot be read and why: the reason, and the metrics it stands for.
    pub missing: BTreeMap<String, Vec<String>>,
}

/// Processors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProcessorReport {
    /// Name.
    pub name: Option<String>,
    /// Architecture.
    pub architecture: String,
    /// Logical processors that are online.
    pub count: Option<f64>,
    /// Sets of instructions that it has of those for which there are kernels, the least first.
    pub instructions: Vec<&'static str>,
    /// The set that kernels use.
    pub used: &'static str,
}

/// Where repacked weights are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CacheSpace {
    /// The folder, without the name of a person: `~` stands for the home folder.
    pub folder: String,
    /// Bytes that are free there.
    pub free_bytes: Option<u64>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingKind {
    /// Good to know.
    Note,
    /// Something does not work that could.
    Problem,
}

/// Something that is amiss or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub kind: FindingKind,
    /// What it is about.
    pub source: String,
    /// What about it.
    pub text: String,
}

/// Below this much space, repacked weights of a larger model will not fit.
const CACHE_BYTES_LEAST: u64 = 20 << 30;

/// Looks at this machine.
pub fn doctor() -> Result<DoctorReport, ProbeError> {
    let snapshot = snapshot(&SourceName::Live)?;
    let host = &snapshot.host;
    let cache =
        packed_directory().map(|folder| CacheSpace { folder: anonymous(&folder), free_bytes: free_space(&folder) });
    let limit = host.value(CGROUP_MEMORY_LIMIT.name);
    let total = host.value(HOST_MEMORY_TOTAL.name);
    let mut findings: Vec<Finding> = snapshot
        .notes
        .iter()
        .map(|note| Finding { kind: FindingKind::Problem, source: note.source.clone(), text: note.text.clone() })
        .collect();
    let mut note = |kind, source: &str, text: &str| {
        findings.push(Finding { kind, source: source.to_owned(), text: text.to_owned() });
    };
    if snapshot.devices.is_empty() {
        note(FindingKind::Note, "devices", "none was found: models run on the processors");
    }
    if limit.zip(total).is_some_and(|(limit, total)| limit < total) {
        note(FindingKind::Note, "memory", "the control group allows less memory than the host has");
    }
    if cache.is_none() {
        note(FindingKind::Note, "cache", "there is no home folder: repacked weights are not kept");
    }
    if cache.as_ref().and_then(|cache| cache.free_bytes).is_some_and(|free| free < CACHE_BYTES_LEAST) {
        note(FindingKind::Note, "cache", "less than 20 GiB are free for repacked weights");
    }
    let used = InstructionSet::detect();
    if used == InstructionSet::Scalar {
        note(FindingKind::Problem, "processor", "there are no kernels for its instructions: plain code is slow");
    }
    let mut missing = BTreeMap::new();
    collect_missing("", &host.readings, &mut missing);
    for one in &snapshot.devices {
        collect_missing(&format!("{}: ", one.device.name), &one.readings, &mut missing);
    }
    Ok(DoctorReport {
        version: env!("CARGO_PKG_VERSION"),
        system: host.system.clone(),
        kernel: host.kernel.clone(),
        processor: ProcessorReport {
            name: host.processor.clone(),
            architecture: host.architecture.clone(),
            count: host.value(HOST_PROCESSORS.name),
            instructions: InstructionSet::available().map(InstructionSet::name).collect(),
            used: used.name(),
        },
        memory_bytes: total,
        memory_available_bytes: host.value(HOST_MEMORY_AVAILABLE.name),
        cgroup_memory_bytes: limit,
        cgroup_processors: host.value(CGROUP_CPU_LIMIT.name),
        cache,
        devices: snapshot.devices.iter().map(|one| (one.device.clone(), one.value(DEVICE_MEMORY_TOTAL.name))).collect(),
        findings,
        missing,
    })
}

/// Groups what is missing by the reason, which many metrics share.
fn collect_missing(before: &str, readings: &[Reading], missing: &mut BTreeMap<String, Vec<String>>) {
    for reading in readings {
        let (Outcome::Unsupported { reason } | Outcome::Error { reason }) = &reading.outcome else { continue };
        let metrics = missing.entry(format!("{before}{reason}")).or_default();
        if !metrics.contains(&reading.metric) {
            metrics.push(reading.metric.clone());
        }
    }
}

/// The folder with `~` for the home folder; what lies elsewhere is named by its last parts only.
fn anonymous(folder: &Path) -> String {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    match home.as_ref().and_then(|home| folder.strip_prefix(home).ok()) {
        Some(rest) => format!("~/{}", rest.display()),
        None => "…/hwledger/packed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{anonymous, doctor};
    use std::path::Path;

    #[test]
    fn folders_name_nobody() {
        assert_eq!(anonymous(Path::new("/somewhere/of/alice/hwledger/packed")), "…/hwledger/packed");
    }

    #[test]
    fn this_machine_can_be_reported() {
        let report = doctor().expect("a live source has no recording to fail on");
        assert!(report.processor.instructions.contains(&report.processor.used));
        let text = serde_json::to_string(&report).expect("plain data");
        let home = std::env::var("HOME").unwrap_or_default();
        assert!(home.len() < 2 || !text.contains(&home), "the report names the home folder: {text}");
    }
}
