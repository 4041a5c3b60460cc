//! What became of events: a thread per process that looks for the outcomes that its callers wait for.

use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::postgres::types::Type;
use ::postgres::{Client, Row};

use super::Address;
use super::address::{Link, notified};
use super::inbox::insert;
use super::ledger::{Shared, Ticket};
use super::read::number;
use crate::event::Sealing;
use crate::hash::Hash;
use crate::store::ledger::Answer;
use crate::store::{AppendError, Fault, Receipt};

/// How often outcomes are looked for without being told of any.
const LOOK: Duration = Duration::from_millis(100);

/// How long a caller waits for its event's place at most. The event stays accepted.
const WAIT: Duration = Duration::from_secs(30);

/// Outcomes that are asked for at once.
const ASK: usize = 1024;

/// Who is to be told what became of an event.
pub(super) enum Reply {
    /// Where it is.
    Receipt(Answer),
    /// That it is durable.
    Accepted(SyncSender<Result<Ticket, AppendError>>),
}

/// An event that somebody waits for.
pub(super) struct Pending {
    pub(super) sealing: Sealing,
    reply: Reply,
    is_sent: bool,
    deadline: Instant,
}

impl Pending {
    pub(super) fn new(sealing: Sealing, reply: Reply) -> Self {
        Self { sealing, reply, is_sent: false, deadline: Instant::now() + WAIT }
    }

    /// Whether its caller only wants to know that it is durable.
    pub(super) const fn is_acceptance(&self) -> bool {
        matches!(self.reply, Reply::Accepted(_))
    }

    fn answer(self, outcome: Result<Receipt, AppendError>) {
        // A caller that went away has its event all the same.
        match self.reply {
            Reply::Receipt(answer) => drop(answer.send(outcome)),
            Reply::Accepted(answer) => drop(answer.send(outcome.map(|_| Ticket { sealing: self.sealing }))),
        }
    }
}

#[derive(Default)]
struct List {
    next: u64,
    pending: BTreeMap<u64, Pending>,
    /// Whether a thread that answers is gone.
    is_ended: bool,
}

/// All that a process's callers wait for.
#[derive(Default)]
pub(super) struct Waiting(Mutex<List>);

impl Waiting {
    fn list(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.list().pending.len()
    }

    pub(super) fn add(&self, group: Vec<Pending>) -> Vec<u64> {
        let mut list = self.list();
        let mut numbers = Vec::with_capacity(group.len());
        for pending in group {
            let number = list.next;
            list.next += 1;
            if !list.is_ended {
                list.pending.insert(number, pending);
            }
            numbers.push(number);
        }
        numbers
    }

    /// Hangs up on all that wait, and on all that come: nobody is there any more who would answer them.
    pub(super) fn end(&self) {
        let mut list = self.list();
        list.is_ended = true;
        list.pending.clear();
    }

    /// Takes note that a group was sent.
    pub(super) fn sent(&self, numbers: &[u64]) {
        let mut list = self.list();
        for number in numbers {
            if let Some(pending) = list.pending.get_mut(number) {
                pending.is_sent = true;
            }
        }
    }

    pub(super) fn fail(&self, numbers: &[u64], error: &AppendError) {
        for number in numbers {
            let pending = self.list().pending.remove(number);
            if let Some(pending) = pending {
                pending.answer(Err(error.clone()));
            }
        }
    }

    fn finish(&self, number: u64, outcome: Result<Receipt, AppendError>) {
        let pending = self.list().pending.remove(&number);
        if let Some(pending) = pending {
            pending.answer(outcome);
        }
    }

    /// What has no outcome yet; of what is just being sent, one may be there already.
    fn asked(&self, which: Which) -> Vec<Asked> {
        let list = self.list();
        let is_asked = |pending: &Pending| which == Which::All || pending.is_acceptance();
        let asked = list.pending.iter().filter(|(_, pending)| is_asked(pending));
        let asked = asked.map(|(number, pending)| Asked {
            number: *number,
            key: pending.sealing.once,
            leaf: pending.sealing.leaf,
            content: pending.sealing.content,
            expected: pending.sealing.expected_version,
            is_acceptance: pending.is_acceptance(),
            is_sent: pending.is_sent,
        });
        asked.collect()
    }

    /// Answers those that have waited too long.
    fn expire(&self) {
        let now = Instant::now();
        let late: Vec<u64> = {
            let list = self.list();
            // What is being sent is in the hands of the thread that sends it.
            let late = list.pending.iter().filter(|(_, pending)| pending.is_sent && pending.deadline <= now);
            late.map(|(number, _)| *number).collect()
        };
        let seconds = WAIT.as_secs();
        let text = format!("it was accepted, and {seconds} seconds later no sequencer had given it a place");
        self.fail(&late, &AppendError::Unknown(Fault::Storage(text)));
    }

    fn sealings(&self, numbers: &[u64]) -> Vec<Sealing> {
        let list = self.list();
        numbers.iter().filter_map(|number| list.pending.get(number)).map(|pending| pending.sealing.clone()).collect()
    }
}

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// All that was sent.
    All,
    /// Events whose callers only want to know that they are durable.
    Acceptances,
}

/// An event whose outcome is asked for.
struct Asked {
    number: u64,
    key: Hash,
    leaf: Hash,
    content: Hash,
    expected: Option<u64>,
    is_acceptance: bool,
    is_sent: bool,
}

/// Looks until nobody can ask any more and all have been answered.
pub(super) fn run(address: Address, shared: &Arc<Shared>) {
    let mut link = Link::new(address, "LISTEN hwledger_placed");
    while !(shared.is_closed() && shared.waiting.len() == 0) {
        #[cfg(test)]
        shared.health.reach(crate::store::ended::Moment::Looking);
        let looked = link.client().and_then(|client| {
            notified(client, LOOK)?;
            look(client, &shared.waiting, Which::All)
        });
        if looked.is_err() {
            // Nothing is lost by it: what was accepted is in the inbox or in the ledger.
            link.drop_connection();
            std::thread::sleep(LOOK);
        }
        shared.waiting.expire();
    }
}

/// Looks once and answers whom it can.
pub(super) fn look(client: &mut Client, waiting: &Waiting, which: Which) -> Result<(), ::postgres::Error> {
    let asked = waiting.asked(which);
    for chunk in asked.chunks(ASK) {
        let keys: Vec<&[u8]> = chunk.iter().map(|asked| asked.key.0.as_slice()).collect();
        let leaves: Vec<&[u8]> = chunk.iter().map(|asked| asked.leaf.0.as_slice()).collect();
        let acceptances: Vec<bool> = chunk.iter().map(|asked| asked.is_acceptance).collect();
        // One statement sees one moment: an event is in exactly one of the three, or was cleared as another's double.
        let rows = client.query_typed(
            "SELECT asked.place, once.content, once.leaf, once.position, refused.expected, refused.found,
                inbox.content, inbox.expected
             FROM unnest($1, $2, $3) WITH ORDINALITY AS asked (key, leaf, is_acceptance, place)
             LEFT JOIN once ON once.key = asked.key
             LEFT JOIN refused ON refused.leaf = asked.leaf
             LEFT JOIN inbox ON inbox.key = asked.key
             WHERE once.key IS NOT NULL OR refused.leaf IS NOT NULL OR inbox.key IS NULL OR asked.is_acceptance",
            &[(&keys, Type::BYTEA_ARRAY), (&leaves, Type::BYTEA_ARRAY), (&acceptances, Type::BOOL_ARRAY)],
        )?;
        let mut unknown = Vec::new();
        for row in &rows {
            let place = number(row, 0)?;
            let Some(asked) = usize::try_from(place).ok().and_then(|place| chunk.get(place.wrapping_sub(1))) else {
                continue;
            };
            match outcome(row, asked, waiting)? {
                Outcome::Known(outcome) => waiting.finish(asked.number, outcome),
                Outcome::Unknown if asked.is_sent => unknown.push(asked.number),
                Outcome::Unknown | Outcome::Open => {}
            }
        }
        if !unknown.is_empty() {
            // It was another's event with the same key that was in the inbox, and it was refused.
            let sealings = waiting.sealings(&unknown);
            insert(client, &sealings.iter().collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

enum Outcome {
    Known(Result<Receipt, AppendError>),
    /// It is nowhere.
    Unknown,
    /// It is in the inbox.
    Open,
}

fn outcome(row: &Row, asked: &Asked, waiting: &Waiting) -> Result<Outcome, ::postgres::Error> {
    if let Some(content) = row.try_get::<_, Option<Vec<u8>>>(1)? {
        let (leaf, index) = (row.try_get::<_, Vec<u8>>(2)?, number(row, 3)?);
        return Ok(Outcome::Known(if content == asked.content.0 {
            Ok(Receipt { index, is_new: leaf == asked.leaf.0 })
        } else {
            Err(AppendError::Conflict { index })
        }));
    }
    if let (Some(expected), Some(found)) = (row.try_get::<_, Option<i64>>(4)?, row.try_get::<_, Option<i64>>(5)?) {
        let subject = waiting.sealings(&[asked.number]).pop().map(|sealing| sealing.subject).unwrap_or_default();
        let (expected, found) = (expected.cast_unsigned(), found.cast_unsigned());
        return Ok(Outcome::Known(Err(AppendError::Version { subject, expected, found })));
    }
    let Some(content) = row.try_get::<_, Option<Vec<u8>>>(6)? else { return Ok(Outcome::Unknown) };
    let expected = row.try_get::<_, Option<i64>>(7)?.map(i64::cast_unsigned);
    // The same event from elsewhere: it will have the outcome that this one would have.
    let is_same = content == asked.content.0 && expected == asked.expected;
    // The receipt is not told: who asked wants to know that the event is durable.
    let accepted = Outcome::Known(Ok(Receipt { index: u64::MAX, is_new: false }));
    Ok(if asked.is_acceptance && is_same { accepted } else { Outcome::Open })
}
