//! How long data are kept: a policy stands in the record before anything is dropped under it.

use std::fmt;
use std::str::FromStr;

use hwledger_ledger::event::{ConfigChanged, Draft, Payload};
use hwledger_ledger::store::AnyReader;
use serde::{Serialize, Serializer};

use super::super::LedgerError;
use super::super::own::{SOURCE, SUBJECT, own_events};

/// The settings that `ConfigChanged` events name.
const ENTRIES: &str = "retention.entries";
const BLOBS: &str = "retention.blobs";

/// Nanoseconds of a day.
const DAY_NS: u64 = 86_400 * 1_000_000_000;

/// How long something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing is dropped.
    Forever,
    /// What is older may be dropped.
    Days(u64),
}

impl Keep {
    /// What was recorded before this moment may be dropped, at `now_ns` since 1970; none where nothing may.
    pub(super) fn cutoff_ns(self, now_ns: u64) -> Option<u64> {
        match self {
            Self::Forever => None,
            Self::Days(days) => Some(now_ns.saturating_sub(days.saturating_mul(DAY_NS))),
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forever => formatter.write_str("forever"),
            Self::Days(1) => formatter.write_str("1 day"),
            Self::Days(days) => write!(formatter, "{days} days"),
        }
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let number = text.trim_end_matches(" days").trim_end_matches(" day");
        number.parse().map(Self::Days).map_err(|_| "expected `forever` or a number of days".to_owned())
    }
}

impl Serialize for Keep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How long a ledger keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// The data of entries. Their hashes stay in any case.
    pub entries: Keep,
    /// What entries refer to by its hash, beside the ledger.
    pub blobs: Keep,
    /// The last entry that says so; none where the policy, or part of it, is only the default: nothing is dropped then.
    pub entry: Option<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { entries: Keep::Forever, blobs: Keep::Days(90), entry: None }
    }
}

impl Policy {
    /// The policy that stands in the record.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub(super) fn read(reader: &AnyReader) -> Result<Self, LedgerError> {
        let (mut policy, mut entries, mut blobs) = (Self::default(), None, None);
        for (index, payload) in own_events(reader)? {
            let Payload::ConfigChanged(ConfigChanged { setting, new: Some(new), .. }) = payload else { continue };
            // What cannot be read changes nothing: more is kept then, never less.
            let Ok(keep) = new.parse() else { continue };
            match setting.as_str() {
                ENTRIES => (policy.entries, entries) = (keep, Some(index)),
                BLOBS => (policy.blobs, blobs) = (keep, Some(index)),
                _ => {}
            }
        }
        policy.entry = entries.zip(blobs).map(|(entries, blobs)| entries.max(blobs));
        Ok(policy)
    }

    /// The events that put this policy in the place of `old`.
    pub(super) fn drafts(&self, old: &Self) -> Vec<Draft> {
        let settings = [(ENTRIES, self.entries, old.entries), (BLOBS, self.blobs, old.blobs)];
        let changed = settings.into_iter().filter(|(_, new, before)| old.entry.is_none() || new != before);
        let draft = |(setting, new, before): (&str, Keep, Keep)| {
            let old = old.entry.map(|_| before.to_string());
            let changed = ConfigChanged { setting: setting.to_owned(), old, new: Some(new.to_string()) };
            Draft::new(SOURCE, SUBJECT, changed)
        };
        changed.map(draft).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{DAY_NS, Keep};

    #[test]
    fn what_is_written_is_read() {
        for keep in [Keep::Forever, Keep::Days(0), Keep::Days(1), Keep::Days(90)] {
            assert_eq!(keep.to_string().parse(), Ok(keep));
        }
        assert_eq!("90".parse(), Ok(Keep::Days(90)));
        for wrong in ["", "never", "-1", "1.5", "days", "1 week"] {
            assert!(wrong.parse::<Keep>().is_err(), "{wrong}");
        }
        assert_eq!(Keep::Days(2).cutoff_ns(3 * DAY_NS), Some(DAY_NS));
        assert_eq!(Keep::Days(u64::MAX).cutoff_ns(3 * DAY_NS), Some(0));
        assert_eq!(Keep::Forever.cutoff_ns(3 * DAY_NS), None);
    }
}
