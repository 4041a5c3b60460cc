//! What a power cut may leave: the files at one moment, without whatever was not synced.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hwledger_ledger::checkpoint::Checkpoint;
use hwledger_ledger::store::sqlite::Reader;

use super::{Random, places};
use crate::folder::copy;

/// Bytes that a disk writes at once.
const SECTOR: usize = 512;

/// Bytes of the head of a write-ahead log and of each of its frames (SQLite, file format, section 4).
const LOG_HEAD: usize = 32;
const FRAME_HEAD: usize = 24;

/// Where the shared memory says how many frames were, or are being, moved to the database (`nBackfillAttempted`; SQLite,
/// WAL-mode file format, section 2.2).
const MOVED: usize = 128;

/// Stops a process as it is (SIGSTOP), and waits until all of its threads stand still.
pub(crate) fn stop(process: u32) -> bool {
    let is_sent =
        Command::new("kill").args(["-STOP", &process.to_string()]).status().is_ok_and(|status| status.success());
    for _ in 0..2000 {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return false };
        let is_still = |thread: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // The state follows the name, which is in parentheses (proc(5)).
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T') || rest.starts_with('Z'))
        };
        if threads.flatten().all(is_still) {
            return is_sent;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// Number at a place of a log; most significant byte first.
fn number(log: &[u8], at: usize) -> u32 {
    log.get(at..at + 4).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
}

/// The frames of a log that belong to its present head: the page of each, and where each transaction ends.
fn frames(log: &[u8]) -> (Vec<u32>, Vec<usize>, usize) {
    let page_bytes = number(log, 8) as usize;
    let frame = FRAME_HEAD + page_bytes;
    let (mut pages, mut ends) = (Vec::new(), Vec::new());
    let mut at = LOG_HEAD;
    while page_bytes > 0 && at + frame <= log.len() && log[at + 8..at + 16] == log[16..24] {
        pages.push(number(log, at));
        at += frame;
        if number(log, at - frame + 4) != 0 {
            ends.push(pages.len());
        }
    }
    (pages, ends, page_bytes)
}

/// Entries of the ledger in `from` if its log ended after `bytes`.
fn size_with_log(from: &Path, scratch: &Path, bytes: usize) -> Option<u64> {
    let _ = std::fs::remove_dir_all(scratch);
    copy(from, scratch);
    let database = places(scratch).database();
    let log = std::fs::OpenOptions::new().write(true).open(database.with_extension("sqlite-wal")).ok()?;
    log.set_len(bytes as u64).ok()?;
    Reader::open(&database).and_then(|reader| reader.size()).ok()
}

/// Makes of `folder`, the copy of a ledger at one moment, what a power cut at that moment could have left. What must
/// survive are `size_min` entries and those of the head that was signed last. Says how many bytes of the log were lost
/// or overwritten, and how many sectors of the database.
pub(crate) fn cut_power(folder: &Path, size_min: u64, random: &mut Random) -> (usize, usize) {
    let places = places(folder);
    let signed = std::fs::read_to_string(places.signer.join("last-signed")).unwrap_or_default();
    let size_min = size_min.max(Checkpoint::parse_text(&signed).map_or(0, |head| head.size));
    let database = places.database();
    // Not kept by anybody: made anew from the log. It says how much of the log the database may have already, which is
    // only what was synced.
    let shared = std::fs::read(database.with_extension("sqlite-shm")).unwrap_or_default();
    let moved = shared.get(MOVED..MOVED + 4).map_or(0, |bytes| u32::from_ne_bytes(bytes.try_into().unwrap()) as usize);
    let _ = std::fs::remove_file(database.with_extension("sqlite-shm"));
    let path = database.with_extension("sqlite-wal");
    let Ok(mut log) = std::fs::read(&path) else { return (0, 0) };
    let (pages, ends, page_bytes) = frames(&log);
    let place = |frames: usize| LOG_HEAD + frames * (FRAME_HEAD + page_bytes);
    // The shortest log that still has what must survive: what is beyond may not have been synced.
    let scratch = folder.with_extension("scratch");
    let mut durable = pages.len();
    for end in ends.iter().rev().copied().chain([0]) {
        if size_with_log(folder, &scratch, place(end)).is_none_or(|size| size < size_min) {
            break;
        }
        durable = end;
    }
    let _ = std::fs::remove_dir_all(&scratch);
    let durable = durable.max(moved.min(pages.len()));
    let from = place(durable).min(log.len());
    let lost = log.len() - from;
    match random.below(3) {
        0 => log.truncate(from + usize::try_from(random.below(lost as u64 + 1)).unwrap()),
        which => {
            for sector in log[from..].chunks_mut(SECTOR) {
                if random.below(2) == 0 {
                    sector.fill_with(|| if which == 1 { 0 } else { random.next().to_le_bytes()[0] });
                }
            }
        }
    }
    std::fs::write(&path, log).unwrap();
    // Pages that the log has are moved to the database at any time: each sector of them may be the old or the new one, or
    // neither. Only the first, with the head of the file, is the same before and after.
    let mut content = std::fs::read(&database).unwrap();
    let mut torn = 0;
    for page in &pages[..durable] {
        let start = (*page as usize - 1) * page_bytes;
        for at in (start..(start + page_bytes).min(content.len())).step_by(SECTOR).filter(|at| *at > 0) {
            if random.below(4) == 0 {
                let end = (at + SECTOR).min(content.len());
                content[at..end].fill_with(|| random.next().to_le_bytes()[0]);
                torn += 1;
            }
        }
    }
    std::fs::write(&database, content).unwrap();
    (lost, torn)
}
