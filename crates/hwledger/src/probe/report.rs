//! `doctor`: what goes into a bug report.

use hwledger_core::Bytes;
use hwledger_node::probe::{DoctorReport, FindingKind};

use super::list::bytes;

/// The report as text.
pub(crate) fn render(report: &DoctorReport) -> String {
    let mut lines = vec![format!("hwledger {}", report.version)];
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<10}  {text}"));
    let unknown = || "?".to_owned();
    let kernel = report.kernel.as_ref().map(|kernel| format!(", kernel {kernel}")).unwrap_or_default();
    line("system", format!("{}{kernel}", report.system.clone().unwrap_or_else(unknown)));
    let processor = &report.processor;
    let count = processor.count.map_or_else(unknown, |count| count.to_string());
    let name = processor.name.clone().unwrap_or_else(unknown);
    line("processor", format!("{name}, {}, {count} logical", processor.architecture));
    let sets = processor.instructions.join(" ");
    line("kernels", format!("{} is used; of those it has kernels for, the processor has: {sets}", processor.used));
    let known = |value: Option<f64>| value.map_or_else(unknown, bytes);
    line("memory", format!("{}, {} available", known(report.memory_bytes), known(report.memory_available_bytes)));
    let none = || "no limit".to_owned();
    let limit = report.cgroup_memory_bytes.map_or_else(none, bytes);
    let processors = report.cgroup_processors.map_or_else(none, |count| format!("{count} processors"));
    line("group", format!("memory {limit}, time {processors}"));
    if let Some(cache) = &report.cache {
        let free = cache.free_bytes.map_or_else(unknown, |free| Bytes(free).to_string());
        line("cache", format!("{}, {free} free", cache.folder));
    }
    for (device, memory) in &report.devices {
        let driver = device.driver.as_deref().unwrap_or("none");
        let version = device.driver_version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        line("device", format!("{}, {}, driver {driver}{version}, {}", device.name, device.id, known(*memory)));
    }
    if report.devices.is_empty() {
        line("devices", "none".to_owned());
    }
    lines.push("findings".to_owned());
    lines.extend(report.findings.iter().map(|finding| {
        let kind = match finding.kind {
            FindingKind::Note => "note",
            FindingKind::Problem => "problem",
        };
        format!("  {kind:<7}  {}: {}", finding.source, finding.text)
    }));
    if report.findings.is_empty() {
        lines.push("  none".to_owned());
    }
    lines.push("not read".to_owned());
    lines.extend(report.missing.iter().map(|(reason, metrics)| format!("  {reason}: {}", metrics.join(" "))));
    lines.join("\n") + "\n"
}
