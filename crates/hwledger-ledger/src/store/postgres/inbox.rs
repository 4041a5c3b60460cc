//! Putting events into the inbox: a thread per process that takes what waits as one group.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use ::postgres::Client;
use ::postgres::types::Type;

use super::address::Link;
use super::ledger::{Shared, Ticket};
use super::outcome::{Pending, Reply, Which, look};
use super::{Address, fault_of, said};
use crate::event::Sealing;
use crate::store::ledger::Answer;
use crate::store::writer::{GATHER, GROUP};
use crate::store::{AppendError, Fault};

/// How long a group is tried again where the server is not reached.
const TRY_FOR: Duration = Duration::from_secs(10);

/// How long to wait between tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Events without an outcome at most, in one process; beyond, the queue is left to fill.
const PENDING_MAX: usize = 4096;

/// What is asked of a process's writer.
pub(super) enum Request {
    /// Append an event and say where it is.
    Append(Sealing, Answer),
    /// Make it durable and say so.
    Accept(Sealing, SyncSender<Result<Ticket, AppendError>>),
}

/// Puts events into the inbox, those whose keys are not there yet, and tells the sequencer. Putting the same event there
/// again changes nothing.
///
/// The notification is a transaction of its own: within the first one, it would make all writers wait for each other's
/// syncs.
pub(super) fn insert(client: &mut Client, events: &[&Sealing]) -> Result<(), ::postgres::Error> {
    let keys: Vec<&[u8]> = events.iter().map(|event| event.once.0.as_slice()).collect();
    let contents: Vec<&[u8]> = events.iter().map(|event| event.content.0.as_slice()).collect();
    let bytes: Vec<&[u8]> = events.iter().map(|event| event.bytes.as_slice()).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind).collect();
    let subjects: Vec<&str> = events.iter().map(|event| event.subject.as_str()).collect();
    let expected: Vec<Option<i64>> = events.iter().map(|event| event.expected_version.map(u64::cast_signed)).collect();
    client.execute_typed(
        "INSERT INTO inbox (key, content, bytes, kind, subject, expected)
         SELECT key, content, bytes, kind, subject, expected
         FROM unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY
            AS event (key, content, bytes, kind, subject, expected, place)
         ORDER BY place
         ON CONFLICT (key) DO NOTHING",
        &[
            (&keys, Type::BYTEA_ARRAY),
            (&contents, Type::BYTEA_ARRAY),
            (&bytes, Type::BYTEA_ARRAY),
            (&kinds, Type::TEXT_ARRAY),
            (&subjects, Type::TEXT_ARRAY),
            (&expected, Type::INT8_ARRAY),
        ],
    )?;
    // A notification that is lost is made up for by looking.
    let _ = client.batch_execute("BEGIN; SET LOCAL synchronous_commit = off; NOTIFY hwledger_inbox; COMMIT");
    Ok(())
}

/// Serves until the last handle is gone.
pub(super) fn run(address: Address, requests: &Receiver<Request>, shared: &Arc<Shared>) {
    let mut link = Link::new(address, "");
    let mut last_group = 1;
    while let Ok(first) = requests.recv() {
        let deadline = Instant::now() + GATHER;
        let mut group = vec![pending(first)];
        while group.len() < GROUP {
            let left = deadline.saturating_duration_since(Instant::now());
            let next = requests
                .try_recv()
                .ok()
                .or_else(|| (group.len() < last_group).then(|| requests.recv_timeout(left).ok()).flatten());
            match next {
                Some(request) => group.push(pending(request)),
                None => break,
            }
        }
        last_group = group.len();
        while shared.waiting.len() >= PENDING_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
        send(&mut link, group, shared);
    }
}

fn pending(request: Request) -> Pending {
    match request {
        Request::Append(sealing, answer) => Pending::new(sealing, Reply::Receipt(answer)),
        Request::Accept(sealing, answer) => Pending::new(sealing, Reply::Accepted(answer)),
    }
}

/// Sends a group and leaves what must wait for its outcome to the thread that looks for these.
fn send(link: &mut Link, group: Vec<Pending>, shared: &Shared) {
    let events: Vec<Sealing> = group.iter().map(|pending| pending.sealing.clone()).collect();
    let events: Vec<&Sealing> = events.iter().collect();
    let is_any_accepted = group.iter().any(Pending::is_acceptance);
    // Before sending: the outcome may be there before this thread runs again.
    let numbers = shared.waiting.add(group);
    let started = Instant::now();
    let mut is_perhaps_kept = false;
    let error = loop {
        let result = link.client().and_then(|client| {
            // A statement that the server refuses keeps nothing; one whose answer is lost may have.
            insert(client, &events).inspect_err(|error| is_perhaps_kept |= fault_of(error).is_none())?;
            is_perhaps_kept = true;
            shared.waiting.sent(&numbers);
            // Only after the commit can it be seen whether another's event came before under the same key.
            if is_any_accepted { look(client, &shared.waiting, Which::Acceptances) } else { Ok(()) }
        });
        let Err(error) = result else { return };
        link.drop_connection();
        // After a fault of this process nobody waits any more.
        if fault_of(&error).is_some() || started.elapsed() >= TRY_FOR || shared.health.fault().is_some() {
            break error;
        }
        std::thread::sleep(PAUSE);
    };
    let fault = fault_of(&error).unwrap_or_else(|| Fault::Storage(said(&error)));
    let answer = if is_perhaps_kept { AppendError::Unknown(fault) } else { AppendError::ReadOnly(fault) };
    shared.waiting.fail(&numbers, &answer);
}
