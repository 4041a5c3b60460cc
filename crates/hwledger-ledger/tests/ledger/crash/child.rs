//! The process that is killed.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use hwledger_ledger::event::{Count, Draft, JobProgressed};
use hwledger_ledger::hash::Hash;
use hwledger_ledger::store::{Ledger, StoreError};

/// The event that is appended under `key`, and nothing else under it: what it says follows from the key.
pub(crate) fn draft_of(key: &str) -> Draft {
    let hash = Hash::of(key.as_bytes());
    let done = u64::from_be_bytes(hash.0[..8].try_into().unwrap());
    // Of many lengths, so that pages fill differently.
    let job = format!("{hash}").repeat(1 + usize::from(hash.0[8] % 5));
    let subject = format!("job/{}", hash.0[9] % 16);
    Draft::new("crash", &subject, JobProgressed { job, done: Count(done), total: None }).once(key)
}

/// One line at once: a reader gets it whole or not at all.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(format!("{line}\n").as_bytes()).and_then(|()| output.flush());
}

/// Opens or creates the ledger in `folder` and appends with several threads for as long as it lives, saying what was
/// acknowledged: `O` once it is open, `A index key` for each event, `C` and the note's lines joined by `|` for each
/// signed head, `E` and the reason when something fails, which ends it.
pub(crate) fn append_until_killed(folder: &Path, round: u64, threads: u64) {
    let places = super::places(folder);
    let opened = match Ledger::open(&places) {
        Err(StoreError::Unsuitable { .. }) => Ledger::create(&places, "example.com/crash", None),
        opened => opened,
    };
    let ledger = match opened {
        Ok(ledger) => ledger,
        Err(error) => return say(&format!("E {error}")),
    };
    if let Some(fault) = ledger.fault() {
        return say(&format!("E {fault}"));
    }
    say("O");
    let has_failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (ledger, has_failed) = (&ledger, &has_failed);
            scope.spawn(move || {
                if let Err(error) = append(ledger, round, thread, has_failed) {
                    has_failed.store(true, Ordering::Relaxed);
                    say(&format!("E {error}"));
                }
            });
        }
    });
}

fn append(ledger: &Ledger, round: u64, thread: u64, has_failed: &AtomicBool) -> Result<(), StoreError> {
    let mut number = 0;
    while !has_failed.load(Ordering::Relaxed) {
        // Every fourth caller brings several at once.
        let several = if thread % 4 == 3 { 20 } else { 1 };
        let keys: Vec<String> = (number..number + several).map(|number| format!("{round} {thread} {number}")).collect();
        let drafts: Vec<Draft> = keys.iter().map(|key| draft_of(key)).collect();
        for (key, receipt) in keys.iter().zip(ledger.append_all(&drafts)?) {
            say(&format!("A {} {key}", receipt?.index));
        }
        number += several;
        if thread == 0 && number % 8 == 0 {
            say(&format!("C {}", ledger.checkpoint()?.replace('\n', "|")));
        }
    }
    Ok(())
}
