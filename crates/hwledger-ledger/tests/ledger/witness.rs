//! A witness signs what continues what it has seen, and nothing else.

use std::process::Command;

use hwledger_ledger::bundle::{Bundle, export};
use hwledger_ledger::checkpoint::Checkpoint;
use hwledger_ledger::event::{Count, Draft, WitnessCosigned};
use hwledger_ledger::note::{Note, PublicKey, SecretKey};
use hwledger_ledger::store::Ledger;
use hwledger_ledger::verify::{Level, Outcome, Source, VerifyOptions, verify};
use hwledger_ledger::witness::{Witness, WitnessError, cosigners, key_text};

use crate::folder::{Folder, draft};

fn grow(ledger: &Ledger, numbers: std::ops::Range<u64>) -> String {
    ledger.append_all(&numbers.map(draft).collect::<Vec<_>>()).unwrap();
    ledger.checkpoint().unwrap()
}

/// The body of `add-checkpoint`, from `old` entries to the ledger's last head.
fn request(ledger: &Ledger, old: u64) -> String {
    ledger.reader().unwrap().prove_consistency(old).unwrap().unwrap().to_text()
}

fn witness(folder: &Folder, name: &str, ledger: &Ledger) -> Witness {
    let witness = Witness::create(&folder.path(name), &format!("witness.example.com/{name}")).unwrap();
    ledger.keys().iter().for_each(|key| witness.follow(key).unwrap());
    witness
}

fn signed(witness: &Witness, request: &str) -> String {
    witness.accept(request).unwrap().sign(1_679_315_147)
}

#[test]
fn what_grows_is_signed() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let first = grow(&ledger, 0..4);
    let witness = witness(&folder, "w", &ledger);
    let accepted = witness.accept(&first).unwrap();
    assert_eq!((accepted.head().size, accepted.before()), (5, None));
    let note = accepted.sign(7);
    let known = [witness.public()];
    assert_eq!(cosigners(&note, &known).unwrap(), [(&known[0], 7)]);
    assert!(note.starts_with(&first) && Checkpoint::verify(&note, ledger.keys()).is_ok());
    // The same head again, alone or with an empty proof: what was lost on the way is given again.
    assert!(witness.accept(&first).is_ok() && witness.accept(&request(&ledger, 5)).is_ok());

    let second = grow(&ledger, 4..9);
    let accepted = witness.accept(&request(&ledger, 5)).unwrap();
    assert_eq!((accepted.head().size, accepted.before()), (10, Some(5)));
    assert!(accepted.sign(8).starts_with(&second));
    // Opened again it remembers.
    let again = Witness::open(&folder.path("w")).unwrap();
    assert_eq!(again.last_seen(ledger.origin()).unwrap().unwrap().size, 10);
    assert_eq!(again.public(), witness.public());
    assert!(matches!(Witness::create(&folder.path("w"), "other"), Err(WitnessError::Exists(_))));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.path("w")), mode(folder.path("w").join("key"))), (0o700, 0o600));
    }
}

#[test]
fn what_begins_elsewhere_is_told_where_to_begin() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let first = grow(&ledger, 0..4);
    let witness = witness(&folder, "w", &ledger);
    signed(&witness, &first);
    let second = grow(&ledger, 4..9);
    for (asked, begins) in [(second.clone(), 0), (request(&ledger, 3), 3), (request(&ledger, 10), 10)] {
        let error = witness.accept(&asked).unwrap_err();
        assert!(matches!(&error, WitnessError::Known { known: 5, size: 10, old, .. } if *old == begins), "{error}");
        assert_eq!(error.hint().unwrap(), "ask the ledger for `hwledger ledger consistency --size 5`");
    }
    signed(&witness, &request(&ledger, 5));
    // A head from before is not signed again, however it is asked for.
    for asked in [first.clone(), format!("old 5\n\n{first}"), format!("old 0\n\n{first}")] {
        let error = witness.accept(&asked).unwrap_err();
        assert!(matches!(error, WitnessError::Known { known: 10, size: 5, .. }), "{error}");
    }
    let error = witness.accept(&format!("old 10\n\n{first}")).unwrap_err();
    assert!(matches!(error, WitnessError::Backwards { old: 10, size: 5 }), "{error}");
    assert_eq!(witness.last_seen(ledger.origin()).unwrap().unwrap().size, 10);
}

#[test]
fn another_history_is_refused_and_kept() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let witness = witness(&folder, "w", &ledger);
    signed(&witness, &grow(&ledger, 0..4));
    // The ledger's own key signs another one.
    let secret = std::fs::read_to_string(folder.places().signer.join("key")).unwrap();
    let secret = SecretKey::parse(secret.trim_end()).unwrap();
    let other = Folder::new();
    let forger = other.ledger();
    let forged = |size: u64| {
        let root = forger.reader().unwrap().root_at(size).unwrap();
        Checkpoint { origin: ledger.origin().to_owned(), size, root }.sign(&[&secret])
    };
    grow(&forger, 10..20);
    for asked in [forged(5), format!("old 5\n\n{}", forged(5))] {
        let error = witness.accept(&asked).unwrap_err();
        let WitnessError::Fork { size: 5, evidence, .. } = &error else { panic!("{error}") };
        let kept = std::fs::read_to_string(evidence).unwrap();
        assert!(Checkpoint::verify(&kept, ledger.keys()).is_ok(), "{kept}");
    }
    // A longer one, with the proof of its own history.
    let proof = request(&forger, 5);
    let hashes = proof.split_once("\n\n").unwrap().0;
    let error = witness.accept(&format!("{hashes}\n\n{}", forged(11))).unwrap_err();
    assert!(matches!(error, WitnessError::Proof { known: 5, size: 11, .. }), "{error}");
    assert_eq!(witness.last_seen(ledger.origin()).unwrap().unwrap().size, 5);
    // The true one goes on.
    grow(&ledger, 4..6);
    signed(&witness, &request(&ledger, 5));
}

#[test]
fn only_known_keys_of_known_ledgers_are_believed() {
    let folder = Folder::new();
    let mut ledger = folder.ledger();
    let note = grow(&ledger, 0..2);
    let witness = Witness::create(&folder.path("w"), "witness.example.com/w").unwrap();
    assert!(matches!(witness.accept(&note), Err(WitnessError::UnknownLedger(origin)) if origin == ledger.origin()));
    // A stranger's key under the ledger's name.
    witness.follow(&SecretKey::from_seed(ledger.origin(), &[9; 32]).unwrap().public()).unwrap();
    assert!(matches!(witness.accept(&note), Err(WitnessError::Checkpoint(_))));
    assert!(witness.last_seen(ledger.origin()).unwrap().is_none());
    witness.follow(&ledger.keys()[0]).unwrap();
    signed(&witness, &note);
    // After a change of keys the new one must be given.
    ledger.rotate("yearly").unwrap();
    let new = ledger.finish_rotation().unwrap();
    grow(&ledger, 2..3);
    assert!(matches!(witness.accept(&request(&ledger, 3)), Err(WitnessError::Checkpoint(_))));
    witness.follow(&new).unwrap();
    signed(&witness, &request(&ledger, 3));
    for nonsense in ["", "old", "old 1\n", "old x\n\nnote", "nothing\nat all"] {
        assert!(witness.accept(nonsense).is_err(), "{nonsense:?}");
    }
}

/// Run by the test below as a process of its own: accepts a head and dies before it signs.
#[test]
fn the_witness_that_is_killed() {
    let (Ok(folder), Ok(request)) = (std::env::var("WITNESS_FOLDER"), std::env::var("WITNESS_REQUEST")) else { return };
    let witness = Witness::open(folder.as_ref()).unwrap();
    let accepted = witness.accept(&request).unwrap();
    assert_eq!(accepted.head().size, 5);
    std::process::abort();
}

#[test]
fn a_witness_killed_before_it_signs_signs_the_same_and_nothing_older() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let first = grow(&ledger, 0..2);
    let witness = witness(&folder, "w", &ledger);
    signed(&witness, &first);
    grow(&ledger, 2..4);
    let asked = request(&ledger, 3);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["witness::the_witness_that_is_killed", "--exact", "--nocapture"]);
    let status =
        command.env("WITNESS_FOLDER", folder.path("w")).env("WITNESS_REQUEST", &asked).output().unwrap().status;
    assert!(!status.success(), "it was killed");
    // It remembers what it was about to sign: the first request does not fit any more, one from there does.
    assert!(matches!(witness.accept(&asked), Err(WitnessError::Known { known: 5, .. })));
    assert!(matches!(witness.accept(&first), Err(WitnessError::Known { known: 5, size: 3, .. })));
    let note = signed(&witness, &request(&ledger, 5));
    assert!(cosigners(&note, &[witness.public()]).is_some_and(|found| found.len() == 1));
}

/// What verification says of witnesses.
fn fifth(source: &impl Source, options: &VerifyOptions) -> Level {
    verify(source, options).unwrap().levels.swap_remove(4)
}

/// What a ledger does with a note that a witness signed.
fn record(ledger: &Ledger, note: &str, key: &PublicKey) {
    let size = Checkpoint::verify(note, ledger.keys()).unwrap().size;
    let line = note.lines().find(|line| line.contains(key.name())).unwrap();
    let signature = line.rsplit(' ').next().unwrap().to_owned();
    let cosigned = WitnessCosigned { size: Count(size), witness: key_text(key), signature };
    ledger.append(&Draft::new("hwledger/ledger", "ledger", cosigned)).unwrap();
    ledger.checkpoint().unwrap();
}

#[test]
fn two_witnesses_are_counted_in_the_record_and_in_exports() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let note = grow(&ledger, 0..4);
    let (first, second) = (witness(&folder, "w1", &ledger), witness(&folder, "w2", &ledger));
    let level = |source: &dyn Fn(&VerifyOptions) -> Level, needed: usize| {
        let witnesses = vec![first.public(), second.public()];
        let options = VerifyOptions {
            keys: ledger.keys().to_vec(),
            witnesses,
            witnesses_needed: needed,
            ..VerifyOptions::default()
        };
        source(&options)
    };
    let reader = ledger.reader().unwrap();
    let own = |options: &VerifyOptions| fifth(&reader, options);
    assert_eq!(level(&own, 1).outcome, Outcome::Fails);
    record(&ledger, &signed(&first, &note), &first.public());
    assert_eq!(level(&own, 1).detail, "1 of 2 witnesses signed the checkpoint of 5 entries; 1 entries came later");
    assert_eq!(level(&own, 2).findings[0].what, "1 of 2 known witnesses signed; 2 are needed");
    record(&ledger, &signed(&second, &note), &second.public());
    assert!(level(&own, 2).detail.starts_with("2 of 2 witnesses signed the checkpoint of 5 entries; 2"));

    let bundle = folder.path("bundle");
    export(&reader, ledger.keys(), &bundle).unwrap();
    let exported = Bundle::open(&bundle).unwrap();
    assert_eq!(level(&|options| fifth(&exported, options), 2).outcome, Outcome::Holds);
    // What is published carries both, for whoever reads notes and no entries.
    let known = [first.public(), second.public()];
    let cosigned = std::fs::read_to_string(bundle.join("cosigned")).unwrap();
    assert_eq!(cosigners(&cosigned, &known).unwrap().len(), 2);
    assert!(std::fs::read_to_string(bundle.join("checkpoints.log")).unwrap().contains(&cosigned));
    // And an export is brought up to date over it.
    grow(&ledger, 4..5);
    export(&reader, ledger.keys(), &bundle).unwrap();

    // A signature for another head is none.
    let third = grow(&ledger, 5..6);
    let stolen =
        cosigned.lines().find(|line| line.contains(known[0].name())).unwrap().rsplit(' ').next().unwrap().to_owned();
    let size = Checkpoint::verify(&third, ledger.keys()).unwrap().size;
    let cosigned = WitnessCosigned { size: Count(size), witness: key_text(&known[0]), signature: stolen };
    ledger.append(&Draft::new("hwledger/ledger", "ledger", cosigned)).unwrap();
    let answer = level(&own, 2);
    assert_eq!(answer.outcome, Outcome::Fails);
    assert!(answer.findings[0].what.ends_with("the signature of a known witness does not belong to it"), "{answer:#?}");
    assert!(Note::parse(&third).is_ok());
}
