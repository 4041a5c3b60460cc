//! Readings in the text format of Prometheus, version 0.0.4.
//!
//! What has no number is left out: in this format there is no other way to say so.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fmt::Write as _;

use super::{LabelledReading, MetricType, Unit, canonical_metrics};

/// Whether a name is of a counter: the convention of the format, which our names follow.
pub(super) fn is_counter(name: &str) -> bool {
    name.ends_with("_total") || name.ends_with("_count") || name.ends_with("_seconds_sum")
}

/// What a metric means: by the table of canonical names, or else by its unit.
pub(super) fn help(name: &str, unit: Unit) -> String {
    for metric in canonical_metrics() {
        let Some(rest) = name.strip_prefix(metric.name) else { continue };
        let is_distribution = metric.kind == MetricType::Distribution;
        match rest {
            "" => return metric.help.to_owned(),
            "_bound" if is_distribution => return format!("{}: bounds of the quantiles", metric.help),
            "_sum" if is_distribution => return format!("{}: sum since the engine began", metric.help),
            "_count" if is_distribution => return format!("{}: how many since the engine began", metric.help),
            _ => {}
        }
    }
    if let Some(metric) = hwledger_probe::machine::metric::named(name) {
        return metric.help.to_owned();
    }
    match name {
        "hwl_engine_up" => "Whether the engine answers".to_owned(),
        "hwl_engine_info" => "The engine and its version".to_owned(),
        _ => format!("In {unit:?}").to_lowercase(),
    }
}

/// The readings as text, families together, in the order of their names.
pub fn exposition(readings: &[LabelledReading]) -> String {
    let mut families: BTreeMap<String, Vec<&LabelledReading>> = BTreeMap::new();
    for reading in readings.iter().filter(|reading| reading.reading.outcome.value().is_some()) {
        families.entry(name(&reading.reading.metric)).or_default().push(reading);
    }
    let mut text = String::new();
    for (family, readings) in families {
        let kind = if is_counter(&family) { "counter" } else { "gauge" };
        let help = help(&family, readings[0].reading.unit).replace('\\', "\\\\").replace('\n', " ");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {family} {help}\n# TYPE {family} {kind}");
        let mut seen = HashSet::new();
        for reading in readings {
            let series = series(&family, reading);
            // The same series twice would make the whole text unreadable: the first one stays.
            if let Some(value) = reading.reading.outcome.value()
                && seen.insert(series.clone())
            {
                let _ = writeln!(text, "{series} {}", number(value));
            }
        }
    }
    text
}

fn series(family: &str, reading: &LabelledReading) -> String {
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    // The reading's own labels go before those of what it is of, should both have the same name.
    for (label, value) in reading.reading.labels.iter().chain(&reading.labels) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        labels.entry(name(label).replace(':', "_")).or_insert(escaped);
    }
    if labels.is_empty() {
        return family.to_owned();
    }
    let pairs: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    format!("{family}{{{}}}", pairs.join(","))
}

/// A name that the format takes.
fn name(text: &str) -> String {
    let mut name: String =
        text.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == ':' { letter } else { '_' }).collect();
    if name.is_empty() || name.starts_with(|letter: char| letter.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{value}")
    }
}
