//! Data that were dropped under a policy: what is needed to check the rest stays.

use std::path::Path;

use hwledger_ledger::bundle::{Bundle, export};
use hwledger_ledger::event::{AgentEnrolled, Count, Draft, RetentionApplied};
use hwledger_ledger::note::{PublicKey, SecretKey};
use hwledger_ledger::projection::Projections;
use hwledger_ledger::store::Ledger;
use hwledger_ledger::verify::{Outcome, Source, Verification, VerifyOptions, verify};

use crate::folder::{Folder, draft};
use crate::projections::prediction;

/// Says that the data of the first `end` entries go, and drops them.
fn drop_before(ledger: &Ledger, end: u64, policy: &str) {
    let root_before = ledger.reader().unwrap().root_at(end).unwrap();
    let applied = RetentionApplied { start: Count(0), end: Count(end), policy: policy.to_owned(), root_before };
    ledger.append(&Draft::new("hwledger/ledger", "ledger", applied)).unwrap();
    ledger.checkpoint().unwrap();
    ledger.prune(end).unwrap();
}

fn check(source: &impl Source, key: &PublicKey) -> Verification {
    verify(source, &VerifyOptions { keys: vec![key.clone()], ..VerifyOptions::default() }).unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_old_key_still_leads_to_the_new_one() {
    let folder = Folder::new();
    let mut ledger = folder.ledger();
    let old = ledger.keys()[0].clone();
    let machine = SecretKey::from_seed("agent-1", &[3; 32]).unwrap();
    let (agent, key) = (machine.public().name().to_owned(), machine.public().to_string());
    let enrolled = AgentEnrolled { agent, key, token: None, host: None };
    ledger.append(&Draft::new("server", "agent/agent-1", enrolled)).unwrap();
    let drafts: Vec<Draft> = (0..300).map(|number| draft(number).signed_by(&machine, number).unwrap()).collect();
    for result in ledger.append_all(&drafts).unwrap() {
        result.unwrap();
    }
    ledger.rotate("a laptop was lost").unwrap();
    let new = ledger.finish_rotation().unwrap();
    let drafts: Vec<Draft> = (300..600).map(|number| draft(number).signed_by(&machine, number).unwrap()).collect();
    for result in ledger.append_all(&drafts).unwrap() {
        result.unwrap();
    }
    ledger.checkpoint().unwrap();
    let bundle = folder.path("bundle");
    let reader = ledger.reader().unwrap();
    export(&reader, ledger.keys(), &bundle).unwrap();
    assert_eq!(files(&bundle.join("tile/entries")), ["000", "001", "002.p"]);

    drop_before(&ledger, 400, "entries 1 day");
    export(&reader, ledger.keys(), &bundle).unwrap();
    // What an earlier export held of them is gone as well; what verification needs is there.
    assert_eq!(files(&bundle.join("tile/entries")), ["002.p"]);
    assert_eq!(files(&bundle.join("kept"))[..3], ["0", "1", "302"]);
    assert_eq!(std::fs::read_to_string(bundle.join("minimum-index")).unwrap(), "512\n");
    for key in [&old, &new] {
        let answers = [check(&reader, key), check(&Bundle::open(&bundle).unwrap(), key)];
        for answer in &answers {
            let outcomes: Vec<Outcome> = answer.levels.iter().map(|level| level.outcome).collect();
            let (holds, open) = (Outcome::Holds, Outcome::NotChecked);
            assert_eq!(outcomes, [holds, holds, holds, open, open, holds], "{answer:#?}");
        }
        // Entries 0, 1 and 302 of the first 400 have their data; of the machine's signatures the others are gone.
        assert!(answers[0].levels[0].detail.contains("the data of 397 were dropped"), "{answers:#?}");
        assert_eq!(answers[0].levels[5].detail, "203 signatures");
    }
    // What was dropped excuses no more missing reports than that.
    let skipped = draft(999).signed_by(&machine, 700).unwrap();
    ledger.append(&skipped).unwrap();
    let answer = check(&reader, &new);
    assert!(answer.levels[5].findings[0].what.contains("numbers this event 700, where 600 is next"), "{answer:#?}");
    assert_eq!(Ledger::open(&folder.places()).unwrap().fault(), None);
}

#[test]
fn dropped_blobs_excuse_no_entry_without_data() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    ledger.append_all(&(0..5).map(draft).collect::<Vec<_>>()).unwrap();
    ledger.checkpoint().unwrap();
    drop_before(&ledger, 4, "blobs 90 days");
    let answer = check(&ledger.reader().unwrap(), &ledger.keys()[0]);
    let first = &answer.levels[0];
    assert_eq!(first.outcome, Outcome::Fails);
    assert!(first.findings[0].what.contains("entries 1 to 3 are gone, and no event says"), "{first:#?}");
}

#[test]
fn projections_that_are_made_again_say_what_they_lack() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    for run in ["a", "b", "c"] {
        ledger.append(&prediction(run)).unwrap();
    }
    ledger.append(&draft(1)).unwrap();
    let reader = ledger.reader().unwrap();
    let projections = Projections::new(ledger.folder());
    projections.catch_up(&reader).unwrap();
    drop_before(&ledger, 3, "entries 1 day");
    // Those that have seen the entries have lost nothing.
    let lacking = |list: Vec<hwledger_ledger::projection::Status>| -> Vec<(String, u64)> {
        list.into_iter().map(|status| (status.name, status.lacking)).collect()
    };
    let named = |runs: u64| [("runs".to_owned(), runs), ("streams".to_owned(), 0)];
    assert_eq!(lacking(projections.catch_up(&reader).unwrap().projections), named(0));
    assert_eq!(projections.runs(9).unwrap().len(), 3);
    assert_eq!(lacking(projections.rebuild(&reader).unwrap()), named(2));
    assert_eq!(lacking(projections.lag(&reader).unwrap()), named(2));
    assert_eq!(projections.runs(9).unwrap().len(), 1);
    assert_eq!(projections.stream("run/a").unwrap().unwrap().events, 1);
}
