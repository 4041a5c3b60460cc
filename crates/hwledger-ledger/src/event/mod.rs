//! Events: what the ledger holds, and the bytes that stand for them.
//!
//! An event is written once, by whoever appends it, and never again: what is hashed, signed, proved and exported are
//! these bytes. Its place in the ledger is not part of them; a proof binds it.

mod agent;
mod catalogue;
mod field;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) use agent::Agents;
pub use agent::{AgentError, AgentSignature};
pub use catalogue::*;
pub use field::{Count, Decimal, Difference, Estimate, Measure, Residual, Sealed};

use crate::canonical::{CanonicalError, to_canonical};
use crate::hash::Hash;

/// SHA-256 over the canonical spelling of the JSON Schema of a kind's data; none for a kind that this version does not know.
pub fn schema_hash(kind: Kind) -> Option<Hash> {
    Some(Hash::of(&to_canonical(&schema_of(kind)?).ok()?))
}

/// Bytes of an event at most: a bundle of entries gives each two bytes of length, and an envelope must fit around it.
pub const EVENT_BYTES_MAX: usize = 48 << 10;

/// Bytes of a source, subject, key or the like at most.
const NAME_BYTES_MAX: usize = 512;

/// The version of the envelope.
const SPECIFICATION: &str = "hwledger.event/1";

/// Names a kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// What happened, in the past tense.
    pub name: &'static str,
    /// Version of its data.
    pub version: u64,
}

/// Why bytes are no event, or a draft cannot become one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not the canonical spelling.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// The envelope is not one.
    #[error("the event's envelope cannot be read: {0}")]
    Envelope(String),
    /// The data do not fit their kind.
    #[error("the data of `{kind}` cannot be read: {what}")]
    Data {
        /// The kind.
        kind: String,
        /// What is wrong.
        what: String,
    },
    /// Too long.
    #[error("the event has {0} bytes; {EVENT_BYTES_MAX} are the most: keep the rest outside and give its SHA-256")]
    TooLong(usize),
    /// A name that is empty, too long or holds control characters.
    #[error("the event's {0} is empty, longer than {NAME_BYTES_MAX} bytes or holds control characters")]
    Name(&'static str),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
}

/// Who made something happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// `user`, `agent` or `program`.
    pub kind: String,
    /// A name that says nothing about a person: persons stand in sealed fields.
    pub id: String,
    /// Serial number of the certificate by which it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

impl Actor {
    /// This program itself.
    pub fn program() -> Self {
        Self { kind: "program".to_owned(), id: "hwledger".to_owned(), certificate: None }
    }
}

/// An event before it has an identity and a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Where it comes from, such as `hwledger/run`.
    pub source: String,
    /// The stream that it belongs to, such as `run/9f…`; a stream's events are numbered from 0.
    pub subject: String,
    /// Who made it happen.
    pub actor: Actor,
    /// What happened.
    pub payload: Payload,
    /// Appending twice under the same source and key is appending once.
    pub idempotency_key: Option<String>,
    /// Append only if the stream has this many events so far.
    pub expected_version: Option<u64>,
    /// When it happened by the clock of who saw it, in nanoseconds since 1970.
    pub observed_at_ns: Option<u64>,
    /// How far that clock was ahead of ours, in nanoseconds, as estimated then.
    pub clock_offset_ns: Option<i64>,
    /// The event that led to this one.
    pub causation_id: Option<String>,
    /// What all events of one piece of work share.
    pub correlation_id: Option<String>,
    /// The signature of the machine that reports it.
    pub agent: Option<AgentSignature>,
}

impl Draft {
    /// A draft by this program.
    pub fn new(source: &str, subject: &str, payload: impl Into<Payload>) -> Self {
        Self {
            source: source.to_owned(),
            subject: subject.to_owned(),
            actor: Actor::program(),
            payload: payload.into(),
            idempotency_key: None,
            expected_version: None,
            observed_at_ns: None,
            clock_offset_ns: None,
            causation_id: None,
            correlation_id: None,
            agent: None,
        }
    }

    /// The same, to be appended once under this key.
    pub fn once(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

/// The envelope as it is written; `#[serde]` leaves absent fields out.
#[derive(Serialize)]
struct Written<'a> {
    specversion: &'static str,
    id: &'a str,
    r#type: &'static str,
    schema_version: u64,
    source: &'a str,
    subject: &'a str,
    actor: &'a Actor,
    recorded_at_ns: Count,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_at_ns: Option<Count>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_offset_ns: Option<Difference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a AgentSignature>,
    data: &'a Value,
}

/// An event that is ready to be appended: its bytes, and what a store needs to know of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealing {
    /// The bytes that will be the leaf.
    pub bytes: Vec<u8>,
    /// Their leaf hash.
    pub leaf: Hash,
    /// The event's identity: 32 hexadecimal digits.
    pub id: String,
    /// The kind's name.
    pub kind: &'static str,
    /// The stream.
    pub subject: String,
    /// Events that the stream must have so far.
    pub expected_version: Option<u64>,
    /// SHA-256 over source and idempotency key (or identity, where there is no key).
    pub once: Hash,
    /// SHA-256 of all that the caller said, without identity and time: the same key must come with the same content.
    pub content: Hash,
}

fn checked<'a>(name: &'static str, text: &'a str) -> Result<&'a str, EventError> {
    let is_wrong = text.is_empty() || text.len() > NAME_BYTES_MAX || text.contains(char::is_control);
    if is_wrong { Err(EventError::Name(name)) } else { Ok(text) }
}

/// SHA-256 over what must be the same where the key is: source, subject, actor, kind, version, data, time of observation
/// and signature.
fn content(said: &impl Serialize) -> Result<Hash, CanonicalError> {
    to_canonical(said).map(|bytes| Hash::of(&bytes))
}

/// SHA-256 over source and key.
fn once(source: &str, key: &str) -> Hash {
    Hash::of(format!("{source}\n{key}").as_bytes())
}

/// A name that nobody else has: 128 random bits as 32 hexadecimal digits.
///
/// # Errors
///
/// The system has no random bytes.
pub fn random_identity() -> Result<String, EventError> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(|error| EventError::Random(error.to_string()))?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}

impl Draft {
    /// Gives the draft an identity and a time and writes it down. `recorded_at_ns` is this machine's clock.
    ///
    /// # Errors
    ///
    /// The event is too long, a name is unfit, or the system has no random bytes.
    pub fn seal(&self, recorded_at_ns: u64) -> Result<Sealing, EventError> {
        let id = random_identity()?;
        checked("source", &self.source)?;
        checked("subject", &self.subject)?;
        checked("actor", &self.actor.id)?;
        if let Some(key) = &self.idempotency_key {
            checked("idempotency key", key)?;
        }
        let kind = self.payload.kind();
        let data = self.payload.to_value().map_err(|error| EventError::Envelope(error.to_string()))?;
        let content = content(&(
            &self.source,
            &self.subject,
            &self.actor,
            kind.name,
            kind.version,
            &data,
            self.observed_at_ns.map(Count),
            &self.agent,
        ))?;
        let bytes = to_canonical(&Written {
            specversion: SPECIFICATION,
            id: &id,
            r#type: kind.name,
            schema_version: kind.version,
            source: &self.source,
            subject: &self.subject,
            actor: &self.actor,
            recorded_at_ns: Count(recorded_at_ns),
            observed_at_ns: self.observed_at_ns.map(Count),
            clock_offset_ns: self.clock_offset_ns.map(Difference),
            causation_id: self.causation_id.as_deref(),
            correlation_id: self.correlation_id.as_deref(),
            idempotency_key: self.idempotency_key.as_deref(),
            agent: self.agent.as_ref(),
            data: &data,
        })?;
        if bytes.len() > EVENT_BYTES_MAX {
            return Err(EventError::TooLong(bytes.len()));
        }
        Ok(Sealing {
            leaf: Hash::of_leaf(&bytes),
            content,
            once: once(&self.source, self.idempotency_key.as_deref().unwrap_or(&id)),
            id,
            kind: kind.name,
            subject: self.subject.clone(),
            expected_version: self.expected_version,
            bytes,
        })
    }
}

/// An event as it was read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event<'a> {
    /// `hwledger.event/1`.
    #[serde(borrow)]
    pub specversion: Cow<'a, str>,
    /// Its identity.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// The name of its kind, which this version may not know.
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    /// The version of its data.
    pub schema_version: u64,
    /// Where it comes from.
    #[serde(borrow)]
    pub source: Cow<'a, str>,
    /// Its stream.
    #[serde(borrow)]
    pub subject: Cow<'a, str>,
    /// Who made it happen.
    pub actor: Actor,
    /// When it was appended, by the clock of who did, in nanoseconds since 1970.
    pub recorded_at_ns: Count,
    /// When it happened, by the clock of who saw it.
    #[serde(default)]
    pub observed_at_ns: Option<Count>,
    /// How far that clock was ahead.
    #[serde(default)]
    pub clock_offset_ns: Option<Difference>,
    /// The event that led to this one.
    #[serde(borrow, default)]
    pub causation_id: Option<Cow<'a, str>>,
    /// What all events of one piece of work share.
    #[serde(borrow, default)]
    pub correlation_id: Option<Cow<'a, str>>,
    /// The key under which it was appended once.
    #[serde(borrow, default)]
    pub idempotency_key: Option<Cow<'a, str>>,
    /// The signature of the machine that reported it.
    #[serde(default)]
    pub agent: Option<AgentSignature>,
    /// The data, as they stand in the bytes.
    #[serde(borrow)]
    pub data: &'a RawValue,
}

impl<'a> Event<'a> {
    /// Reads an event's envelope.
    ///
    /// # Errors
    ///
    /// The bytes are longer than an event may be, or hold no envelope of this version.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EventError> {
        if bytes.len() > EVENT_BYTES_MAX {
            return Err(EventError::TooLong(bytes.len()));
        }
        let event: Self = serde_json::from_slice(bytes).map_err(|error| EventError::Envelope(error.to_string()))?;
        if event.specversion != SPECIFICATION {
            let what = format!("its version is `{}`, this program reads `{SPECIFICATION}`", event.specversion);
            return Err(EventError::Envelope(what));
        }
        Ok(event)
    }

    /// The key under which it is appended once, as [`Sealing::once`].
    pub(crate) fn once(&self) -> Hash {
        once(&self.source, self.idempotency_key.as_deref().unwrap_or(&self.id))
    }

    /// What the caller said, as [`Sealing::content`].
    pub(crate) fn content(&self) -> Result<Hash, CanonicalError> {
        let data: Value =
            serde_json::from_str(self.data.get()).map_err(|error| CanonicalError::Json(error.to_string()))?;
        content(&(
            &self.source,
            &self.subject,
            &self.actor,
            &self.kind,
            self.schema_version,
            data,
            self.observed_at_ns,
            &self.agent,
        ))
    }

    /// What it says; none where its kind or version is newer than this program.
    ///
    /// # Errors
    ///
    /// The data do not fit the kind.
    pub fn payload(&self) -> Result<Option<Payload>, EventError> {
        Payload::from_json(&self.kind, self.schema_version, self.data.get())
    }
}
