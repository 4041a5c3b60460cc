//! Engines that others started, in the ledger: that they are watched, how they are set, and what they did.
//!
//! An engine's address is sealed under its host (`host/NAME`): who deletes that key forgets the address. Its stream is
//! named by a keyed hash of the address, which says nothing about it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hwledger_ledger::event::{
    Count, Decimal, Draft, EngineAttached, EngineConfigObserved, EngineWindowRecorded, Event, Measure, Payload,
};
use hwledger_ledger::store::{StoreError, clock_ns};
use hwledger_ledger::vault::Vault;

use super::RecordError;
use super::attached::host_of;
use crate::ledger::Ledger;
use crate::metrics::{Reading, Scraped};

/// Digits of a stream's name.
const NAME_DIGITS: usize = 16;
/// Figures of a window at most: what comes after is left out, so that an event never grows too long.
const FIGURES_MAX: usize = 96;
/// Letters of a figure's name or source at most.
const TEXT_MAX: usize = 160;
/// Events of one stream that are read: every one.
const ALL: u64 = i64::MAX.cast_unsigned();
/// What engines tell that is how they are set and not what they do.
const SETTINGS: &[&str] = &["context_tokens", "kv_total_tokens", "kv_pool_bytes", "weights_bytes"];

/// The subject under which what names an engine's host is sealed: `hwledger ledger redact` takes it.
pub fn host_subject(address: &str) -> String {
    format!("host/{}", host_of(address))
}

/// An address as it is sealed: with a scheme, without what stands for a user, and without the end of a path that says
/// what is asked for.
pub(super) fn plain_address(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let rest = rest.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let rest = ["/metrics", "/v1"].iter().find_map(|end| rest.strip_suffix(end)).unwrap_or(rest);
    let (place, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    format!("{scheme}://{place}{path}")
}

/// What is told of an engine when it is attached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attached<'a> {
    pub(super) address: &'a str,
    pub(super) engine: &'a str,
    pub(super) version: Option<&'a str>,
    pub(super) model: Option<&'a str>,
    /// How it is set, as `name=value`.
    pub(super) settings: &'a [String],
}

/// A model's reference without the folders of this machine, which may name people.
pub(super) fn plain_model(reference: &str) -> String {
    let path = Path::new(reference);
    let name = path.file_name().filter(|_| path.is_absolute() || path.exists());
    name.map_or_else(|| reference.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Says that an engine is watched, and how it is set where that is news. Returns its stream.
///
/// # Errors
///
/// The address cannot be sealed, or the ledger takes nothing.
pub(super) fn attach(ledger: &Ledger, vault: &Vault, attached: &Attached<'_>) -> Result<String, RecordError> {
    let address = &plain_address(attached.address);
    let mut name = vault.key_of(&format!("engine/{address}"));
    name.truncate(NAME_DIGITS);
    let subject = format!("engine/{name}");
    let event = EngineAttached {
        engine: attached.engine.to_owned(),
        version: attached.version.map(str::to_owned),
        model: attached.model.map(plain_model),
        address: Some(vault.seal(&host_subject(address), "EngineAttached.address", address)?),
    };
    let mut drafts = vec![Draft::new("hwledger/engine", &subject, event)];
    if !attached.settings.is_empty() && known_settings(ledger, &subject)?.as_deref() != Some(attached.settings) {
        let (engine, settings) = (attached.engine.to_owned(), attached.settings.to_vec());
        drafts.push(Draft::new("hwledger/engine", &subject, EngineConfigObserved { engine, settings }));
    }
    for receipt in ledger.append_all(&drafts)? {
        receipt?;
    }
    Ok(subject)
}

/// How an engine was set when it was last seen.
fn known_settings(ledger: &Ledger, subject: &str) -> Result<Option<Vec<String>>, RecordError> {
    for entry in ledger.reader()?.stream(subject, ALL)?.iter().rev() {
        let Some(bytes) = entry.bytes.as_ref().filter(|_| entry.kind == "EngineConfigObserved") else { continue };
        let payload = Event::parse(bytes).map_err(StoreError::from)?.payload().map_err(StoreError::from)?;
        if let Some(Payload::EngineConfigObserved(observed)) = payload {
            return Ok(Some(observed.settings));
        }
    }
    Ok(None)
}

/// What a metric said at the looks of a window.
#[derive(Debug)]
struct Looked {
    source: String,
    /// Of a counter, what it gained; otherwise the sum of what it said.
    sum: f64,
    /// Looks that had a number.
    count: u64,
    /// Of a counter, what it said last.
    last: Option<f64>,
}

/// Writes what a foreign engine does to a ledger, window after window.
#[derive(Debug)]
pub struct EngineRecorder<'a> {
    ledger: &'a Ledger,
    vault: &'a Vault,
    span_ns: u64,
    /// Its stream, engine and version, once it has answered.
    engine: Option<(String, String, Option<String>)>,
    start_ns: u64,
    end_ns: u64,
    looks: u64,
    looked: BTreeMap<String, Looked>,
}

/// A text without the engine's address, which is sealed, and without control characters, not longer than an event should
/// hold.
fn plain(text: &str, address: &str) -> String {
    let place = address.split_once("://").map_or(address, |(_, place)| place);
    let text =
        if place.is_empty() { text.to_owned() } else { text.replace(address, "engine").replace(place, "engine") };
    text.chars().filter(|letter| !letter.is_control()).take(TEXT_MAX).collect()
}

/// A reading's name in a window; none for what is of no window: bounds and sums of histograms, and what is of the
/// engine's whole life.
fn figure_of(reading: &Reading, address: &str) -> Option<String> {
    let name = reading.metric.as_str();
    let is_detail = ["_bound", "_seconds_sum", "_seconds_count", "_info"].iter().any(|end| name.ends_with(end));
    let is_of_life = reading.labels.iter().any(|(label, value)| label == "over" && value == "lifetime");
    if is_detail || is_of_life {
        return None;
    }
    // A model's name may be a path of somebody's machine.
    let label = |(label, value): &(String, String)| match label.as_str() {
        "over" => None,
        "model" => Some(format!("model={}", value.rsplit(['/', '\\']).next().unwrap_or_default())),
        _ => Some(format!("{label}={value}")),
    };
    let labels: Vec<String> = reading.labels.iter().filter_map(label).collect();
    let figure = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) };
    Some(plain(&figure, address))
}

impl<'a> EngineRecorder<'a> {
    /// Writes windows of `span` to `ledger`, and seals with keys of `vault`.
    pub fn new(ledger: &'a Ledger, vault: &'a Vault, span: Duration) -> Self {
        let span_ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { ledger, vault, span_ns, engine: None, start_ns: 0, end_ns: 0, looks: 0, looked: BTreeMap::new() }
    }

    /// Takes in what the engine told. Where a window is over, it is written; its entry.
    ///
    /// # Errors
    ///
    /// The ledger takes nothing.
    pub fn look(&mut self, scraped: &Scraped) -> Result<Option<u64>, RecordError> {
        self.look_at(scraped, clock_ns())
    }

    fn look_at(&mut self, scraped: &Scraped, at_ns: u64) -> Result<Option<u64>, RecordError> {
        let (engine, version) = (scraped.engine.as_str(), scraped.version.as_deref());
        let is_known =
            self.engine.as_ref().is_some_and(|(_, name, known)| name == engine && known.as_deref() == version);
        let mut written = None;
        if !is_known {
            // Another engine, or another version of it, answers at the address by now.
            written = self.finish()?;
            let settings = settings_of(scraped);
            let model = scraped.readings.iter().flat_map(|one| &one.reading.labels);
            let model = model.clone().find(|(label, _)| label == "model").map(|(_, model)| model.as_str());
            let address = scraped.address.as_str();
            let attached = Attached { address, engine, version, model, settings: &settings };
            let stream = attach(self.ledger, self.vault, &attached)?;
            self.engine = Some((stream, engine.to_owned(), version.map(str::to_owned)));
            self.looked.clear();
            (self.start_ns, self.end_ns) = (at_ns, at_ns);
        }
        if at_ns / self.span_ns > self.start_ns / self.span_ns {
            written = self.finish()?.or(written);
        }
        self.end_ns = at_ns;
        self.looks += 1;
        for labelled in &scraped.readings {
            self.take(&labelled.reading, &scraped.address);
        }
        Ok(written)
    }

    fn take(&mut self, reading: &Reading, address: &str) {
        let Some(value) = reading.outcome.value().filter(|value| value.is_finite()) else { return };
        let Some(figure) = figure_of(reading, address) else { return };
        let is_counter = reading.metric.ends_with("_total");
        let is_full = self.looked.len() >= FIGURES_MAX && !self.looked.contains_key(&figure);
        if is_full {
            return;
        }
        let looked = self.looked.entry(figure).or_insert_with(|| Looked {
            source: plain(&reading.source, address),
            sum: 0.0,
            count: 0,
            last: None,
        });
        if is_counter {
            // A counter that began anew counts from zero.
            let gained = looked.last.map_or(0.0, |last| if value >= last { value - last } else { value });
            looked.sum += gained;
            looked.last = Some(value);
        } else {
            looked.sum += value;
        }
        looked.count += 1;
    }

    /// Writes the window under way; its entry. Nothing where there is nothing to tell.
    ///
    /// # Errors
    ///
    /// The ledger takes nothing.
    pub fn finish(&mut self) -> Result<Option<u64>, RecordError> {
        let Some((stream, engine, version)) = self.engine.as_ref().filter(|_| self.looks > 0) else { return Ok(None) };
        let measure = |(figure, looked): (&String, &Looked)| {
            let value = if looked.last.is_some() { looked.sum } else { looked.sum / looked.count as f64 };
            Measure {
                figure: figure.clone(),
                value: Decimal::new(value),
                source: looked.source.clone(),
                quality: "derived".to_owned(),
                reason: None,
            }
        };
        let event = EngineWindowRecorded {
            run: None,
            engine: engine.clone(),
            engine_version: version.clone(),
            start_ns: Count(self.start_ns),
            end_ns: Count(self.end_ns),
            measures: self.looked.iter().filter(|(_, looked)| looked.count > 0).map(measure).collect(),
            raw: None,
        };
        let receipt = self.ledger.append(&Draft::new("hwledger/engine", &format!("{stream}/windows"), event))?;
        // Counters go on from where they are.
        self.looked.retain(|_, looked| looked.last.is_some());
        self.looked.values_mut().for_each(|looked| (looked.sum, looked.count) = (0.0, 0));
        (self.start_ns, self.looks) = (self.end_ns, 0);
        Ok(Some(receipt.index))
    }
}

/// How an engine says that it is set.
fn settings_of(scraped: &Scraped) -> Vec<String> {
    let readings = scraped.readings.iter().map(|labelled| &labelled.reading);
    let word = |reading: &Reading| {
        let name = reading.metric.strip_prefix("hwl_engine_").filter(|name| SETTINGS.contains(name))?;
        Some(format!("{name}={}", Decimal::new(reading.outcome.value()?)?))
    };
    let mut words: Vec<String> = readings.filter_map(word).collect();
    words.sort();
    words.dedup();
    words
}
