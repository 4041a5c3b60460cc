//! Writes what tests/golden keeps of this version: an exported ledger with proofs, a database with its signer, and an
//! event of every kind. Anything that is there stays; see tests/golden/PROVENANCE.toml.
//!
//! `cargo run --release -p hwledger-ledger --example golden`

#![expect(clippy::unwrap_used, reason = "a failed step fails the run")]

#[path = "../tests/ledger/examples_of_kinds.rs"]
mod examples_of_kinds;
#[path = "../tests/ledger/folder.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod folder;

use std::path::Path;

use folder::{Folder, copy, draft};
use hwledger_ledger::bundle::export;

fn main() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let write = |name: &str, bytes: &[u8]| std::fs::write(golden.join(name), bytes).unwrap();
    std::fs::create_dir_all(&golden).unwrap();
    if !golden.join("bundle").exists() {
        let folder = Folder::new();
        let ledger = folder.ledger();
        ledger.append_all(&(1..101).map(draft).collect::<Vec<_>>()).unwrap();
        write("held-101", ledger.checkpoint().unwrap().as_bytes());
        ledger.append_all(&(101..300).map(draft).collect::<Vec<_>>()).unwrap();
        ledger.checkpoint().unwrap();
        let reader = ledger.reader().unwrap();
        export(&reader, ledger.keys(), &golden.join("bundle")).unwrap();
        write("entry-123", &reader.entry(123).unwrap().bytes.unwrap());
        write("entry-123.tlog-proof", reader.prove(123).unwrap().unwrap().to_text().as_bytes());
        write("consistency-101", reader.prove_consistency(101).unwrap().unwrap().to_text().as_bytes());
    }
    if !golden.join("database-1").exists() {
        let folder = Folder::new();
        let ledger = folder.ledger();
        ledger.append_all(&(1..21).map(draft).collect::<Vec<_>>()).unwrap();
        write("held-21", ledger.checkpoint().unwrap().as_bytes());
        drop(ledger);
        copy(&folder.0, &golden.join("database-1"));
    }
    let events = std::fs::read_to_string(golden.join("events.jsonl")).unwrap_or_default();
    let new = examples_of_kinds::examples().into_iter().filter(|line| !events.lines().any(|known| known == line));
    let new: String = new.map(|line| line + "\n").collect();
    write("events.jsonl", (events + &new).as_bytes());
}
