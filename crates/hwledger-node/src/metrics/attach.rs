//! Asking a running engine for what it tells of itself.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use hwledger_ledger::store::clock_ns;
use hwledger_probe::engine::{
    Content, Document, Engine, EngineRow, Exposition, GAP_MAX_S, MAPPING_BYTES_MAX, Mapping, Reader, SCRAPE_BYTES_MAX,
    Scrape, engines, recognise,
};
use hwledger_probe::{Outcome, Reading, Unit};
use serde::Serialize;
use serde_json::Value;
use ureq::Agent;

use super::{AttachError, LabelledReading};
use crate::locate::network::{Address, USER_AGENT, tls};
use crate::locate::{LocateOptions, Token};

/// Longest message of a server that is shown.
const MESSAGE_MAX: usize = 200;

/// How an engine is asked.
#[derive(Clone, Debug)]
pub struct AttachOptions {
    /// What becomes of its metrics.
    pub mapping: Mapping,
    /// The engine's name, where it is not to be found out.
    pub engine: Option<String>,
    /// Sent to the engine as a bearer token.
    pub token: Option<Token>,
    /// A reply of the engine: some tell times of a request in it.
    pub reply: Option<Value>,
    /// How long one answer may take.
    pub timeout: Duration,
    /// After longer than this between two scrapes nothing is told of what happened in between.
    pub gap_max_s: f64,
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self {
            mapping: Mapping::built_in(),
            engine: None,
            token: None,
            reply: None,
            timeout: Duration::from_secs(5),
            gap_max_s: GAP_MAX_S,
        }
    }
}

/// Names of the engines that are known.
pub fn engine_names() -> Vec<&'static str> {
    engines().into_iter().map(|row| row.name).collect()
}

/// The built-in mapping after the rows of a file.
pub fn mapping_of_file(path: &Path) -> Result<Mapping, AttachError> {
    let shown = path.display().to_string();
    let failed = |reason: String| AttachError::MappingFile { path: shown.clone(), reason };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let most = MAPPING_BYTES_MAX as u64 + 1;
    file.take(most).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    Mapping::built_in().with(&text).map_err(|source| AttachError::Mapping { path: shown, source })
}

/// A reply of an engine, read from a file: some tell the times of a request in it.
pub fn reply_of_file(path: &Path) -> Result<Value, AttachError> {
    let failed = |reason: String| AttachError::Reply { path: path.display().to_string(), reason };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(SCRAPE_BYTES_MAX as u64).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(failed("it is no JSON object".to_owned())) }
}

/// What one look at an engine gave.
#[derive(Debug, Clone, Serialize)]
pub struct Scraped {
    /// `hwledger.engine-scrape/1`.
    pub schema: &'static str,
    /// The address.
    pub address: String,
    /// The engine's name.
    pub engine: String,
    /// Its version, where it tells one.
    pub version: Option<String>,
    /// Readings with the engine's name and address.
    pub readings: Vec<LabelledReading>,
}

/// An engine that is asked, once or again and again.
pub struct Attachment {
    base: String,
    shown: String,
    instance: String,
    agent: Agent,
    options: AttachOptions,
    began: Instant,
    row: Option<EngineRow>,
    before: Option<Scrape>,
}

impl fmt::Debug for Attachment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Attachment").field("address", &self.shown).finish_non_exhaustive()
    }
}

impl Attachment {
    /// An engine at an address: `http://127.0.0.1:8000`, with or without `/v1` or `/metrics` at its end.
    ///
    /// Nothing is asked yet. Redirects are not followed and no proxy is used: the address is the one the user named.
    pub fn new(address: &str, locate: &LocateOptions, options: AttachOptions) -> Result<Self, AttachError> {
        let with_scheme = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let parsed = Address::parse(&with_scheme)?;
        let full = parsed.full();
        let front = full.split('?').next().unwrap_or_default().trim_end_matches('/');
        let base = ["/metrics", "/v1"].iter().find_map(|end| front.strip_suffix(end)).unwrap_or(front);
        let base = base.trim_end_matches('/').to_owned();
        let row = match &options.engine {
            None => None,
            Some(name) => {
                let row = engines().into_iter().find(|row| row.name == name.as_str());
                Some(row.ok_or_else(|| AttachError::Name(name.clone()))?)
            }
        };
        let agent = Agent::config_builder()
            .tls_config(tls(locate)?)
            .proxy(None)
            .user_agent(USER_AGENT)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(options.timeout))
            .build()
            .new_agent();
        let instance = base.split_once("://").map_or(base.as_str(), |(_, rest)| rest).to_owned();
        let shown = base.clone();
        Ok(Self { base, shown, instance, agent, options, began: Instant::now(), row, before: None })
    }

    /// The address, as it is shown.
    pub fn address(&self) -> &str {
        &self.shown
    }

    /// Labels of this engine's readings.
    fn labels(&self) -> Vec<(String, String)> {
        let engine = self.row.as_ref().map_or("unknown", |row| row.name);
        vec![("engine".to_owned(), engine.to_owned()), ("instance".to_owned(), self.instance.clone())]
    }

    /// The reading of an engine that does not answer now.
    pub fn down(&self) -> LabelledReading {
        LabelledReading { labels: self.labels(), reading: up(false, &self.shown, clock_ns()) }
    }

    /// Asks the engine now. From the second time on there are rates.
    pub fn scrape(&mut self) -> Result<Scraped, AttachError> {
        let mut scrape = Scrape { address: self.base.clone(), ..Scrape::default() };
        let metrics = self.fetch("/metrics")?;
        // The moment that counters are of.
        scrape.taken_at_ns = clock_ns();
        scrape.monotonic_ns = nanoseconds(self.began.elapsed()).max(1);
        scrape.documents.insert("/metrics".to_owned(), metrics);
        if let Some(reply) = self.options.reply.clone() {
            let document = Document { content: Content::Json(reply), server: None };
            scrape.documents.insert("response".to_owned(), document);
        }
        self.recognise_anew(&mut scrape)?;
        let Some(row) = &self.row else { unreachable!("it was recognised above") };
        for group in &row.documents {
            for path in group {
                self.want(path, &mut scrape)?;
                if matches!(scrape.documents[*path].content, Content::Json(_) | Content::Metrics(_)) {
                    break;
                }
            }
        }
        // Rows of a user may read documents that no built-in one does.
        let grouped = |path: &str| row.documents.iter().flatten().any(|known| *known == path);
        for path in self.options.mapping.documents(row.name).into_iter().filter(|path| !grouped(path)) {
            self.want(path, &mut scrape)?;
        }
        let engine = row.with_version(&scrape);
        let readings = self.readings(&engine, &scrape);
        self.before = Some(scrape);
        let labels = self.labels();
        Ok(Scraped {
            schema: "hwledger.engine-scrape/1",
            address: self.shown.clone(),
            engine: engine.name,
            version: engine.version.map(|version| version.to_string()),
            readings: readings.into_iter().map(|reading| LabelledReading { labels: labels.clone(), reading }).collect(),
        })
    }

    fn readings(&self, engine: &Engine, scrape: &Scrape) -> Vec<Reading> {
        let mut readings = vec![up(true, &self.shown, scrape.taken_at_ns)];
        let reader = Reader::new(&self.options.mapping, engine, scrape);
        readings.extend(match &self.before {
            Some(before) => reader.since(before, self.options.gap_max_s).readings(),
            None => reader.readings(),
        });
        readings
    }

    /// Another engine may answer at the address by now: its metrics say so, or that there are none any more.
    fn recognise_anew(&mut self, scrape: &mut Scrape) -> Result<(), AttachError> {
        if self.options.engine.is_some() {
            return Ok(());
        }
        let had_metrics = self.before.as_ref().is_some_and(|before| before.metrics().is_some());
        let is_same = match (&self.row, recognise(scrape)) {
            (Some(row), Some(found)) => row.name == found.name,
            (Some(_), None) => had_metrics == scrape.metrics().is_some(),
            (None, _) => false,
        };
        if !is_same {
            self.before = None;
            self.row = Some(self.recognise(scrape)?);
        }
        Ok(())
    }

    /// Finds out which engine it is, by its metrics or by the first document that only it has.
    fn recognise(&self, scrape: &mut Scrape) -> Result<EngineRow, AttachError> {
        if let Some(row) = recognise(scrape) {
            return Ok(row);
        }
        for candidate in engines() {
            for path in candidate.marking_documents() {
                self.want(path, scrape)?;
            }
            if let Some(row) = recognise(scrape) {
                return Ok(row);
            }
        }
        let metrics = match &scrape.documents["/metrics"].content {
            Content::Missing(reason) => Some(reason.clone()),
            _ => None,
        };
        Err(AttachError::Unknown { address: self.shown.clone(), metrics })
    }

    fn want(&self, path: &str, scrape: &mut Scrape) -> Result<(), AttachError> {
        if !scrape.documents.contains_key(path) {
            let document = self.fetch(path)?;
            scrape.documents.insert(path.to_owned(), document);
        }
        Ok(())
    }

    fn fetch(&self, path: &str) -> Result<Document, AttachError> {
        let mut request = self.agent.get(format!("{}{path}", self.base)).header("accept-encoding", "identity");
        // Engines that can would otherwise answer in another format.
        request = request.header("accept", "text/plain;version=0.0.4, application/json;q=0.9, */*;q=0.1");
        if let Some(token) = &self.options.token {
            request = request.header("authorization", format!("Bearer {}", token.secret()));
        }
        let unreachable =
            |source: ureq::Error| AttachError::Unreachable { address: self.shown.clone(), source: Box::new(source) };
        let answer = request.call().map_err(unreachable)?;
        let status = answer.status();
        let text_header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
        let server = text_header("server");
        let kind = text_header("content-type").unwrap_or_default();
        let mut body = Vec::new();
        let most = SCRAPE_BYTES_MAX as u64 + 1;
        let read = answer.into_body().into_reader().take(most).read_to_end(&mut body);
        read.map_err(|error| unreachable(ureq::Error::Io(error)))?;
        let content = if status.is_redirection() {
            Content::Missing(format!("status {}; redirects are not followed", status.as_u16()))
        } else if !status.is_success() {
            Content::Missing(refusal(status.as_u16(), &body))
        } else if body.len() > SCRAPE_BYTES_MAX {
            Content::Missing(format!("it goes on past {SCRAPE_BYTES_MAX} bytes"))
        } else {
            self.content(path, &kind, &body)?
        };
        Ok(Document { content, server })
    }

    fn content(&self, path: &str, kind: &str, body: &[u8]) -> Result<Content, AttachError> {
        if path != "/metrics" {
            let value = serde_json::from_slice(body);
            return Ok(value.map_or_else(|error| Content::Missing(format!("it is no JSON: {error}")), Content::Json));
        }
        // Pages of other servers are no broken metrics.
        let is_other = kind.contains("html") || kind.contains("json");
        match Exposition::parse(body) {
            Ok(exposition) => Ok(Content::Metrics(exposition)),
            Err(_) if is_other => Ok(Content::Missing(format!("it is `{}` and no metrics", shorten(kind)))),
            Err(source) => Err(AttachError::Metrics { address: self.shown.clone(), source }),
        }
    }
}

/// What a server says about a refusal: the `message` of its JSON, where there is one.
fn refusal(status: u16, body: &[u8]) -> String {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let message = value.as_ref().and_then(|value| {
        let error = value.get("error").unwrap_or(value);
        error.get("message").or(Some(error)).and_then(Value::as_str)
    });
    match message {
        Some(message) => format!("status {status}: {}", shorten(message)),
        None => format!("status {status}"),
    }
}

/// A server's text, short and without control characters.
pub(super) fn shorten(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(MESSAGE_MAX).collect()
}

/// Whether an engine answers.
fn up(is_up: bool, address: &str, taken_at_ns: u64) -> Reading {
    Reading {
        metric: "hwl_engine_up".to_owned(),
        labels: Vec::new(),
        unit: Unit::Flag,
        source: address.to_owned(),
        taken_at_ns,
        outcome: Outcome::Measured { value: f64::from(is_up) },
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
