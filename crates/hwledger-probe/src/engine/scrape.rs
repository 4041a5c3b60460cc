//! What an engine answered at one moment, and which engine that is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Version;
use super::exposition::Exposition;

/// Most values that a JSON pointer with `*` gathers.
const POINTED_MAX: usize = 4096;

/// The body that an engine answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Metrics in the text format of Prometheus.
    Metrics(Exposition),
    /// A JSON document.
    Json(Value),
    /// Something else, or nothing: why, for people.
    Missing(String),
}

/// One answer of an engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The body.
    pub content: Content,
    /// The `Server` header.
    pub server: Option<String>,
}

/// All that an engine answered at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scrape {
    /// Where: an address without path, or a file.
    pub address: String,
    /// When, in nanoseconds since 1970 by this machine's clock.
    pub taken_at_ns: u64,
    /// When, in nanoseconds by a clock that never jumps, since whatever start the caller's scrapes share.
    pub monotonic_ns: u64,
    /// Answers by path (`/metrics`); `response` is a reply that the caller has.
    pub documents: BTreeMap<String, Document>,
}

/// A series of one source: which model, and which of several alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Series {
    pub(super) model: Option<String>,
    pub(super) instance: String,
}

impl Scrape {
    /// The metrics, where there are any.
    pub fn metrics(&self) -> Option<&Exposition> {
        match &self.documents.get("/metrics")?.content {
            Content::Metrics(exposition) => Some(exposition),
            _ => None,
        }
    }

    pub(super) fn json(&self, path: &str) -> Result<&Value, String> {
        match self.documents.get(path).map(|document| &document.content) {
            Some(Content::Json(value)) => Ok(value),
            Some(Content::Missing(reason)) => Err(format!("`{path}`: {reason}")),
            Some(Content::Metrics(_)) => Err(format!("`{path}` is no JSON")),
            None if path == "response" => Err("it is told with each reply only".to_owned()),
            None => Err(format!("`{path}` was not asked for")),
        }
    }

    /// When the process began, as it tells itself: another time in the next scrape is another process.
    pub(super) fn process_start(&self) -> Option<f64> {
        self.metrics()?.named("process_start_time_seconds").next().map(|sample| sample.value)
    }

    /// The values at a pointer, `*` standing for every element of a list.
    pub(super) fn pointed(&self, path: &str, pointer: &[String]) -> Result<Vec<(Series, &Value)>, String> {
        let mut found = vec![(Series::default(), self.json(path)?)];
        for step in pointer {
            let mut next = Vec::new();
            for (series, value) in found {
                if step == "*" {
                    let elements = value.as_array().map(Vec::as_slice).unwrap_or_default();
                    next.extend(elements.iter().enumerate().map(|(index, element)| {
                        let name = element.get("model").or_else(|| element.get("name")).and_then(Value::as_str);
                        let model = name.map(|name| name.chars().take(200).collect()).or_else(|| series.model.clone());
                        (Series { model, instance: format!("{}.{index}", series.instance) }, element)
                    }));
                } else {
                    next.extend(value.get(step.as_str()).map(|value| (series, value)));
                }
            }
            next.truncate(POINTED_MAX);
            found = next;
        }
        Ok(found)
    }
}

/// An engine and its version.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Its name in the mapping.
    pub name: String,
    /// Its version, where it tells one that can be compared.
    pub version: Option<Version>,
}

/// One row of `engines.tsv`.
#[derive(Debug, Clone)]
pub struct EngineRow {
    /// The engine's name.
    pub name: &'static str,
    /// What it is recognised by.
    marks: Vec<&'static str>,
    /// Documents beside `/metrics`; of each group the first that is there is enough.
    pub documents: Vec<Vec<&'static str>>,
    versions: Vec<&'static str>,
}

/// The engines that are known, in the order in which they are tried.
pub fn engines() -> Vec<EngineRow> {
    let list = |text: &'static str| text.split('|').filter(|part| *part != "-").collect::<Vec<_>>();
    let rows = include_str!("engines.tsv").lines().filter(|line| !line.starts_with('#')).skip(1);
    rows.filter_map(|line| {
        let mut cells = line.split('\t');
        let name = cells.next()?;
        let [marks, documents, versions] = [cells.next()?, cells.next()?, cells.next()?].map(list);
        let documents = documents.into_iter().map(|group| group.split(',').collect()).collect();
        Some(EngineRow { name, marks, documents, versions })
    })
    .collect()
}

impl EngineRow {
    /// Documents that must be there for the engine to be recognised without its metrics.
    pub fn marking_documents(&self) -> impl Iterator<Item = &'static str> {
        self.marks.iter().filter_map(|mark| mark.split_once(['#', '@']).map(|(path, _)| path))
    }

    fn is_marked(&self, scrape: &Scrape) -> bool {
        self.marks.iter().any(|mark| {
            if let Some((path, pointer)) = mark.split_once('#') {
                scrape.json(path).is_ok_and(|value| value.pointer(pointer).is_some())
            } else if let Some((path, start)) = mark.split_once('@') {
                let server = scrape.documents.get(path).and_then(|document| document.server.as_deref());
                scrape.json(path).is_ok() && server.is_some_and(|server| server.starts_with(start))
            } else {
                scrape
                    .metrics()
                    .is_some_and(|metrics| metrics.samples.iter().any(|sample| sample.name.starts_with(mark)))
            }
        })
    }

    /// The engine with the version that `scrape` tells.
    pub fn with_version(&self, scrape: &Scrape) -> Engine {
        let told = self.versions.iter().find_map(|place| {
            let (path, pointer) = place.split_once('#')?;
            Version::parse(scrape.json(path).ok()?.pointer(pointer)?.as_str()?)
        });
        Engine { name: self.name.to_owned(), version: told }
    }
}

/// The engine that a scrape comes from.
pub fn recognise(scrape: &Scrape) -> Option<EngineRow> {
    engines().into_iter().find(|row| row.is_marked(scrape))
}
