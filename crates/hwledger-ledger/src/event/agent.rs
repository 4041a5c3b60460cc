//! The signature of a machine over what it reports, so that not even the ledger's keeper can put words in its mouth.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Count, Draft, Event, EventError};
use crate::canonical::to_canonical;
use crate::hash::Hash;
use crate::note::{PublicKey, SecretKey};

/// What is signed begins with this, so that the signature means nothing elsewhere.
const DOMAIN: &str = "hwledger agent event v1\n";

/// A machine's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSignature {
    /// The machine.
    pub agent: String,
    /// Its number for this event: 0, 1, 2 ... without gaps.
    pub sequence: Count,
    /// 64 bytes in base64.
    pub signature: String,
}

/// What is wrong with what a machine is said to have reported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// No event enrolled it before.
    #[error("`{0}` was not enrolled before")]
    Unknown(String),
    /// Its key cannot be read.
    #[error("the key of `{0}` cannot be read")]
    Key(String),
    /// The signature does not belong to the event.
    #[error("the signature of `{0}` does not belong to this event")]
    Signature(String),
    /// A number is missing or comes twice.
    #[error("`{agent}` numbers this event {found}, where {expected} is next: something was left out or repeated")]
    Sequence {
        /// The machine.
        agent: String,
        /// The next number.
        expected: u64,
        /// The number found.
        found: u64,
    },
}

/// The bytes that a machine signs.
fn message(
    agent: &str,
    sequence: u64,
    kind: (&str, u64),
    subject: &str,
    observed_at_ns: Option<u64>,
    data: &[u8],
) -> Vec<u8> {
    let observed = observed_at_ns.map_or_else(String::new, |time| time.to_string());
    let (name, version) = kind;
    let data = Hash::of(data);
    format!("{DOMAIN}{agent}\n{sequence}\n{name}\n{version}\n{subject}\n{observed}\n{data}\n").into_bytes()
}

impl Draft {
    /// The draft with the signature of the machine `key` names, as its event number `sequence`.
    ///
    /// # Errors
    ///
    /// The data cannot be written.
    pub fn signed_by(mut self, key: &SecretKey, sequence: u64) -> Result<Self, EventError> {
        let data = self.payload.to_value().map_err(|error| EventError::Envelope(error.to_string()))?;
        let kind = self.payload.kind();
        let agent = key.public().name().to_owned();
        let kind = (kind.name, kind.version);
        let message = message(&agent, sequence, kind, &self.subject, self.observed_at_ns, &to_canonical(&data)?);
        let signature = STANDARD.encode(key.sign(&message));
        self.agent = Some(AgentSignature { agent, sequence: Count(sequence), signature });
        Ok(self)
    }
}

/// A machine's key and next number.
#[derive(Debug)]
struct Enrolled {
    key: PublicKey,
    next: u64,
    /// [`Agents::dropped`] when its last event was seen: what came since may have been dropped.
    dropped: u64,
}

/// The machines enrolled so far, and the number that each comes to next.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    known: BTreeMap<String, Enrolled>,
    /// How often entries were met whose data are gone.
    dropped: u64,
    /// Signatures that held.
    pub(crate) checked: u64,
}

impl Agents {
    /// Takes note of a machine that is enrolled by this event.
    pub(crate) fn enrol(&mut self, agent: &str, key: &str) -> Result<(), AgentError> {
        let key = PublicKey::parse(key).ok().filter(|key| key.name() == agent);
        let key = key.ok_or_else(|| AgentError::Key(agent.to_owned()))?;
        // A machine that is enrolled anew, with another key, begins anew.
        self.known.insert(agent.to_owned(), Enrolled { key, next: 0, dropped: self.dropped });
        Ok(())
    }

    /// Takes note of an entry whose data were dropped: it may have been any machine's.
    pub(crate) const fn pass_dropped(&mut self) {
        self.dropped += 1;
    }

    /// Checks the signature of an event, if it has one, and its number.
    pub(crate) fn check(&mut self, event: &Event<'_>) -> Result<(), AgentError> {
        let Some(AgentSignature { agent, sequence, signature }) = &event.agent else { return Ok(()) };
        let enrolled = self.known.get_mut(agent).ok_or_else(|| AgentError::Unknown(agent.clone()))?;
        let Enrolled { key, next, dropped } = enrolled;
        let kind = (event.kind.as_ref(), event.schema_version);
        let observed = event.observed_at_ns.map(|time| time.0);
        // The data stand in the event as they were signed: canonical.
        let message = message(agent, sequence.0, kind, &event.subject, observed, event.data.get().as_bytes());
        let is_signed = STANDARD.decode(signature).is_ok_and(|signature| key.verifies(&message, &signature));
        if !is_signed {
            return Err(AgentError::Signature(agent.clone()));
        }
        let missing = std::mem::replace(dropped, self.dropped).abs_diff(self.dropped);
        if !(*next..=next.saturating_add(missing)).contains(&sequence.0) {
            let (expected, found) = (*next, sequence.0);
            // One gap is one finding: what follows is counted from here.
            *next = found.saturating_add(1);
            return Err(AgentError::Sequence { agent: agent.clone(), expected, found });
        }
        *next = sequence.0.saturating_add(1);
        self.checked += 1;
        Ok(())
    }
}
