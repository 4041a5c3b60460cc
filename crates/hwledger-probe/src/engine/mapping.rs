//! The mapping from engines' metrics to canonical ones, as data.

use super::scrape::engines;
use super::source::Source;
use super::version::{Version, VersionRange};
use crate::Unit;

/// Largest mapping file that is read.
pub const MAPPING_BYTES_MAX: usize = 1 << 20;
const COLUMNS: [&str; 6] = ["metric", "engine", "versions", "kind", "combine", "source"];

/// Why a mapping file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column `{column}`: {what}")]
pub struct MappingError {
    /// The line, from 1.
    pub line: usize,
    /// The column's name.
    pub column: &'static str,
    /// What is wrong there.
    pub what: String,
}

/// What a canonical metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricType {
    /// A value of the moment.
    Gauge,
    /// A count since the engine began.
    Counter,
    /// Durations: mean and quantiles.
    Distribution,
    /// A quotient of two counters.
    Ratio,
}

/// One canonical metric.
#[derive(Debug, Clone, Copy)]
pub struct CanonicalMetric {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// What it is.
    pub kind: MetricType,
    /// The metric that holds its rate.
    pub rate: Option<&'static str>,
    /// What it means.
    pub help: &'static str,
}

/// The canonical metrics of engines.
pub fn canonical_metrics() -> Vec<CanonicalMetric> {
    let rows = include_str!("canonical.tsv").lines().filter(|line| !line.starts_with('#')).skip(1);
    rows.filter_map(|line| {
        let cells: Vec<&'static str> = line.split('\t').collect();
        let [name, unit, kind, rate, help] = cells[..] else { return None };
        let unit = match unit {
            "bytes" => Unit::Bytes,
            "tokens" => Unit::Tokens,
            "ratio" => Unit::Ratio,
            "seconds" => Unit::Seconds,
            "tokens_per_second" => Unit::TokensPerSecond,
            _ => Unit::Count,
        };
        let kind = match kind {
            "counter" => MetricType::Counter,
            "distribution" => MetricType::Distribution,
            "ratio" => MetricType::Ratio,
            _ => MetricType::Gauge,
        };
        Some(CanonicalMetric { name, unit, kind, rate: Some(rate).filter(|rate| *rate != "-"), help })
    })
    .collect()
}

/// How a value comes about.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Gauge(Source),
    Counter(Source),
    Histogram(Source),
    Ratio(Source),
    /// The engine does not tell it, for this reason.
    Absent(String),
    /// The engine uses our names.
    Same,
}

/// What becomes of several instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Combine {
    Sum,
    Mean,
    Max,
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) metric: String,
    pub(super) engine: String,
    pub(super) versions: VersionRange,
    /// The range as it was written.
    pub(super) range: String,
    pub(super) kind: Kind,
    pub(super) combine: Combine,
}

/// Rows of the built-in mapping, after those of the user.
#[derive(Debug, Clone)]
pub struct Mapping {
    rows: Vec<Row>,
}

impl Mapping {
    /// The mapping that is part of the program.
    ///
    /// # Panics
    ///
    /// Never: a test reads the same text.
    pub fn built_in() -> Self {
        Self { rows: read(include_str!("metrics.tsv")).expect("a test reads the built-in mapping") }
    }

    /// This mapping after the rows of a user's file: theirs are tried first.
    ///
    /// # Errors
    ///
    /// [`MappingError`] where the text is too long or a row is malformed.
    pub fn with(mut self, text: &str) -> Result<Self, MappingError> {
        if text.len() > MAPPING_BYTES_MAX {
            return Err(MappingError { line: 1, column: COLUMNS[0], what: "the file is larger than 1 MiB".to_owned() });
        }
        let mut rows = read(text)?;
        rows.append(&mut self.rows);
        self.rows = rows;
        Ok(self)
    }

    /// Rows for a metric of an engine and version, the preferred first.
    pub(super) fn rows<'a>(
        &'a self,
        metric: &'a str,
        engine: &'a str,
        version: Option<&'a Version>,
    ) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| {
            let is_metric = row.metric == metric || (row.metric == "*" && row.kind == Kind::Same);
            is_metric && row.engine == engine && row.versions.holds(version)
        })
    }

    /// Documents that the rows of an engine read, beside those that recognise it.
    pub fn documents(&self, engine: &str) -> Vec<&str> {
        let of_engine = self.rows.iter().filter(|row| row.engine == engine);
        let mut paths: Vec<&str> = of_engine
            .filter_map(|row| match &row.kind {
                Kind::Gauge(source) | Kind::Counter(source) | Kind::Ratio(source) => Some(source),
                Kind::Histogram(_) | Kind::Absent(_) | Kind::Same => None,
            })
            .flat_map(Source::documents)
            .filter(|path| *path != "response")
            .collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Metric, engine, versions, and the source or the reason why there is none, of each row; for documents.
    pub fn describe(&self) -> impl Iterator<Item = (&str, &str, &str, Result<&str, &str>)> {
        self.rows.iter().map(|row| {
            let source = match &row.kind {
                Kind::Gauge(source) | Kind::Counter(source) | Kind::Histogram(source) | Kind::Ratio(source) => {
                    Ok(source.text.as_str())
                }
                Kind::Absent(reason) => Err(reason.as_str()),
                Kind::Same => Ok("the same name"),
            };
            (row.metric.as_str(), row.engine.as_str(), row.range.as_str(), source)
        })
    }
}

fn read(text: &str) -> Result<Vec<Row>, MappingError> {
    let metrics = canonical_metrics();
    let engines = engines();
    let mut rows = Vec::new();
    let mut is_headed = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = |column: usize, what: String| MappingError { line: index + 1, column: COLUMNS[column], what };
        let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
        let [metric, engine, versions, kind, combine, source] = cells[..] else {
            let what = format!("{} columns separated by tabulators; there should be 6", cells.len());
            return Err(fault(0, what));
        };
        if !is_headed {
            if cells != COLUMNS {
                return Err(fault(0, format!("the first row should be `{}`", COLUMNS.join("\\t"))));
            }
            is_headed = true;
            continue;
        }
        if !engines.iter().any(|known| known.name == engine) {
            let names: Vec<&str> = engines.iter().map(|engine| engine.name).collect();
            return Err(fault(1, format!("`{engine}` is no engine; there are {}", names.join(", "))));
        }
        let canonical = metrics.iter().find(|known| known.name == metric);
        if canonical.is_none() && (metric != "*" || kind != "same") {
            return Err(fault(0, format!("`{metric}` is no canonical metric")));
        }
        let range = VersionRange::parse(versions)
            .ok_or_else(|| fault(2, format!("`{versions}` is neither `*` nor bounds such as `>=0.9,<0.13`")))?;
        let parsed = || Source::parse(source).map_err(|what| fault(5, what));
        let kind = match kind {
            "gauge" => Kind::Gauge(parsed()?),
            "counter" => Kind::Counter(parsed()?),
            "histogram" => Kind::Histogram(parsed()?),
            "ratio" => Kind::Ratio(parsed()?),
            "absent" => Kind::Absent(source.to_owned()),
            "same" => Kind::Same,
            _ => return Err(fault(3, format!("`{kind}` is none of gauge, counter, histogram, ratio, absent, same"))),
        };
        check(&kind, canonical).map_err(|what| fault(5, what))?;
        let is_summed = matches!(kind, Kind::Ratio(_) | Kind::Histogram(_) | Kind::Counter(_));
        if is_summed && combine != "sum" {
            return Err(fault(4, "instances of counters, histograms and ratios are summed".to_owned()));
        }
        let combine = match combine {
            "sum" | "-" => Combine::Sum,
            "mean" => Combine::Mean,
            "max" => Combine::Max,
            _ => return Err(fault(4, format!("`{combine}` is none of sum, mean, max"))),
        };
        let (metric, engine) = (metric.to_owned(), engine.to_owned());
        rows.push(Row { metric, engine, versions: range, range: versions.to_owned(), kind, combine });
    }
    Ok(rows)
}

/// Whether a kind can give the metric.
fn check(kind: &Kind, canonical: Option<&CanonicalMetric>) -> Result<(), String> {
    match kind {
        Kind::Histogram(source) if source.name().is_none() => {
            Err("a histogram is one name and nothing else".to_owned())
        }
        Kind::Ratio(source) if !source.is_quotient() => Err("a ratio needs ` / `".to_owned()),
        Kind::Counter(source) if source.is_quotient() => Err("a counter is no quotient".to_owned()),
        Kind::Counter(_) if canonical.is_some_and(|metric| metric.kind != MetricType::Counter) => {
            Err("the canonical metric is no counter".to_owned())
        }
        _ => Ok(()),
    }
}
