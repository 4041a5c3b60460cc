//! `probe list`: every reading with its quality, age and source.

use hwledger_core::Bytes;
use hwledger_node::probe::{self, Host, Outcome, Reading, Snapshot, Unit};

use crate::table::Table;

/// The snapshot as text. Ages are told of what is read now; a recording tells when it was made.
pub(crate) fn render(snapshot: &Snapshot, source: &str) -> String {
    let now = if source == "live" { None } else { Some(snapshot.taken_at_ns) };
    let mut lines = vec![format!("host: {}", host(&snapshot.host))];
    if now.is_some() {
        lines.push(format!("  taken at {}", probe::clock(snapshot.taken_at_ns)));
    }
    lines.extend(readings(&snapshot.host.readings, now));
    if snapshot.devices.is_empty() {
        lines.push(String::new());
        lines.push("devices: none".to_owned());
    }
    for one in &snapshot.devices {
        lines.push(String::new());
        let device = &one.device;
        let driver = device.driver.as_deref().map_or("none", |driver| driver);
        let version = device.driver_version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        let memory = format!("{:?}", device.memory_kind).to_lowercase();
        lines.push(format!("{}: {}, driver {driver}{version}, memory {memory}", device.id, device.name));
        lines.extend(readings(&one.readings, now));
    }
    if !snapshot.notes.is_empty() {
        lines.push(String::new());
        lines.extend(snapshot.notes.iter().map(|note| format!("note: {}: {}", note.source, note.text)));
    }
    lines.join("\n") + "\n"
}

/// The host in one line, without what is not known.
pub(crate) fn host(host: &Host) -> String {
    let kernel = host.kernel.as_ref().map(|kernel| format!("kernel {kernel}"));
    let known = [host.system.clone(), kernel, Some(host.architecture.clone()), host.processor.clone()];
    known.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn readings(readings: &[Reading], now: Option<u64>) -> Vec<String> {
    let mut table = Table::new(&["metric", "value", "quality", "age"]);
    for reading in readings {
        let (value, quality) = match &reading.outcome {
            Outcome::Measured { value } => (number(*value, reading.unit), "measured"),
            Outcome::Derived { value } => (number(*value, reading.unit), "derived"),
            Outcome::Unsupported { .. } => ("?".to_owned(), "unsupported"),
            Outcome::Error { .. } => ("?".to_owned(), "error"),
        };
        table.row(vec![name(reading), value, quality.to_owned(), age(reading, now)]);
    }
    // The last column is text of any length: it stands to the left, behind the others.
    let rows = table.lines("  ");
    let width = rows.iter().map(|row| row.chars().count()).max().unwrap_or(0);
    let sources = std::iter::once("source".to_owned()).chain(readings.iter().map(|reading| match &reading.outcome {
        Outcome::Unsupported { reason } | Outcome::Error { reason } => format!("{}: {reason}", reading.source),
        Outcome::Measured { .. } | Outcome::Derived { .. } => reading.source.clone(),
    }));
    rows.iter().zip(sources).map(|(row, source)| format!("{row:<width$}  {source}")).collect()
}

fn name(reading: &Reading) -> String {
    if reading.labels.is_empty() {
        return reading.metric.clone();
    }
    let labels: Vec<String> = reading.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{}{{{}}}", reading.metric, labels.join(","))
}

fn age(reading: &Reading, now: Option<u64>) -> String {
    let age = match now {
        Some(now) => std::time::Duration::from_nanos(now.saturating_sub(reading.taken_at_ns)),
        None => probe::age(reading.taken_at_ns),
    };
    format!("{:.1} s", age.as_secs_f64())
}

/// A number with its unit, as people read it.
pub(crate) fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => bytes(value),
        Unit::BytesPerSecond => format!("{}/s", bytes(value)),
        Unit::Ratio => format!("{:.1} %", value * 100.0),
        Unit::Watts => format!("{value:.1} W"),
        Unit::Joules => format!("{value:.0} J"),
        Unit::Celsius => format!("{value:.0} °C"),
        Unit::Hertz => format!("{:.0} MHz", value / 1e6),
        Unit::Seconds => format!("{value:.3} s"),
        Unit::Tokens => format!("{value:.0} tokens"),
        Unit::TokensPerSecond => format!("{value:.1} tokens/s"),
        Unit::Count => format!("{value}"),
        Unit::Flag => if value > 0.0 { "yes" } else { "no" }.to_owned(),
    }
}

/// Bytes as people read them; what is not a count of bytes is printed as it is.
pub(crate) fn bytes(value: f64) -> String {
    if !(0.0..1.8e19).contains(&value) {
        return format!("{value} B");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within the bounds above")]
    Bytes(value as u64).to_string()
}
