//! The ledger from the command line, and a stranger's view of it.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod home;

use std::path::Path;

use home::Home;

fn write(home: &Home, name: &str, text: &str) -> String {
    let path = home.0.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn key(home: &Home, arguments: &[&str]) -> String {
    let answer = home.json(&[&["ledger", "init"], arguments].concat());
    answer["key"].as_str().unwrap().to_owned()
}

#[test]
fn a_stranger_needs_the_bundle_and_the_key() {
    let home = Home::new("stranger");
    let key = key(&home, &["--origin", "example.com/lab"]);
    let early = write(&home, "early.note", &home.says(0, &["ledger", "checkpoint"]));
    home.says(0, &["ledger", "redact", "host/box", "--reason", "asked \"politely\""]);
    let bundle = home.0.join("bundle").display().to_string();
    home.says(0, &["ledger", "export", &bundle]);
    let proof = write(&home, "entry.tlog-proof", &home.says(0, &["ledger", "prove", "1"]));
    let consistency = write(&home, "consistency", &home.says(0, &["ledger", "consistency", &early]));
    let list = home.says(0, &["ledger", "log", "--kind", "SubjectRedacted"]);
    assert!(list.contains("SubjectRedacted  ledger") && list.contains("reason=asked \"politely\""), "{list}");

    // Another machine: another home, no database.
    let stranger = Home::new("other");
    let text = stranger.says(0, &["ledger", "verify", "--bundle", &bundle, "--key", &key, "--checkpoint", &early]);
    assert_eq!(text.matches("  holds  ").count(), 4, "{text}");
    assert!(!text.contains("note:"), "{text}");
    let text = stranger.says(0, &["ledger", "verify", "--bundle", &bundle]);
    assert!(text.contains("the key is the record's own"), "{text}");
    let text = stranger.says(0, &["ledger", "verify-proof", &proof, "--key", &key]);
    assert!(text.starts_with("entry 1 is in example.com/lab with 5 entries") && text.contains("politely"), "{text}");
    let text = stranger.says(0, &["ledger", "verify-proof", &consistency, "--old", &early, "--key", &key]);
    assert!(text.contains("continues its checkpoint of 1 entries"), "{text}");

    // With a wrong key nothing is believed.
    let wrong = self::key(&stranger, &["--origin", "example.com/lab"]);
    let text = stranger.says(2, &["ledger", "verify-proof", &proof, "--key", &wrong]);
    assert!(text.contains("none of the note's 1 signatures is by a key that is known"), "{text}");
    let text = stranger.says(1, &["ledger", "verify", "--bundle", &bundle, "--key", &wrong]);
    assert!(text.contains("3  FAILS"), "{text}");
    // Nor is a bundle that was changed.
    let entries = Path::new(&bundle).join("tile/entries/000.p/5");
    let mut bytes = std::fs::read(&entries).unwrap();
    let place = bytes.windows(8).position(|window| window == b"politely").unwrap();
    bytes[place] = b'P';
    std::fs::write(&entries, bytes).unwrap();
    let text = stranger.says(1, &["ledger", "verify", "--bundle", &bundle, "--key", &key]);
    assert!(text.contains("entry 1 is not the one whose hash was recorded"), "{text}");
}

#[test]
fn a_restored_ledger_is_taken_up_by_a_new_one() {
    let home = Home::new("restore");
    key(&home, &["--origin", "example.com/first"]);
    let folder = home.0.join(".local/share/hwledger/ledger");
    let backup = home.0.join("backup");
    std::fs::create_dir_all(&backup).unwrap();
    std::fs::copy(folder.join("ledger.sqlite"), backup.join("ledger.sqlite")).unwrap();
    home.says(0, &["ledger", "redact", "someone"]);
    let held = write(&home, "held.note", &home.says(0, &["ledger", "checkpoint"]));
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::rename(&backup, &folder).unwrap();
    let text = home.says(2, &["ledger", "redact", "someone"]);
    assert!(text.contains("the ledger has 1 entries, and a head of 2 was signed"), "{text}");
    let text = home.says(1, &["ledger", "fsck"]);
    assert!(text.contains("read-only: the ledger has 1 entries"), "{text}");
    let text = home.says(1, &["ledger", "verify", "--checkpoint", &held]);
    assert!(text.contains("signed for 2 entries, and only 1 are here: rolled back"), "{text}");
    let next = home.0.join("next").display().to_string();
    let first = folder.display().to_string();
    home.says(0, &["ledger", "init", "--ledger", &next, "--origin", "example.com/second", "--continues", &first]);
    let list = home.says(0, &["ledger", "log", "--ledger", &next]);
    assert!(list.contains("continues=example.com/first") && list.contains("RestoreDone"), "{list}");
}

#[test]
fn a_key_is_changed_and_the_old_one_still_tells() {
    let home = Home::new("rotate");
    let old = key(&home, &["--origin", "example.com/keys"]);
    let early = write(&home, "early", &home.says(0, &["ledger", "checkpoint"]));
    let text = home.says(0, &["ledger", "rotate", "--reason", "a laptop was lost"]);
    let new = text.lines().next().unwrap().to_owned();
    assert!(new.starts_with("example.com/keys+") && new != old, "{text}");
    home.says(0, &["ledger", "rotate", "--finish"]);
    home.says(0, &["ledger", "redact", "someone"]);
    assert!(home.says(0, &["ledger", "log"]).contains("KeyRotated"));
    for key in [&old, &new] {
        let text = home.says(0, &["ledger", "verify", "--key", key]);
        assert!(text.contains("3  holds"), "{key}: {text}");
    }
    // Nobody but the key that signed is believed where that is wanted.
    let text = home.says(1, &["ledger", "verify", "--key", &old, "--ignore-rotations"]);
    assert!(text.contains("3  FAILS"), "{text}");
    let proof = write(&home, "proof", &home.says(0, &["ledger", "prove", "0"]));
    let continued = write(&home, "continued", &home.says(0, &["ledger", "consistency", &early]));
    let checks: [&[&str]; 2] = [&["verify-proof", &proof], &["verify-proof", &continued, "--old", &early]];
    let bundle = home.0.join("bundle").display().to_string();
    home.says(0, &["ledger", "export", &bundle]);
    let stranger = Home::new("rotate-stranger");
    for check in checks {
        let check = [&["ledger"], check].concat();
        // The record at hand says which key it is; an exported one leads there.
        let text = home.says(2, &[&check[..], &["--key", &old]].concat());
        assert!(text.contains(&format!("signed by the key `{new}`, which entry 1 of the ledger introduces")), "{text}");
        assert!(text.contains("hint: give that key with `--key`, or an exported record"), "{text}");
        let text = stranger.says(2, &[&check[..], &["--key", &old]].concat());
        assert!(text.contains("by a key that is known") && !text.contains("introduces"), "{text}");
        for key in [&old, &new] {
            stranger.says(0, &[&check[..], &["--key", key, "--bundle", &bundle]].concat());
        }
        let wrong = key(&Home::new("rotate-wrong"), &["--origin", "example.com/keys"]);
        stranger.says(2, &[&check[..], &["--key", &wrong, "--bundle", &bundle]].concat());
    }
    assert!(home.says(2, &["ledger", "rotate", "--finish"]).starts_with("error: "));
    let first = home.says(0, &["ledger", "fsck"]);
    let again = home.says(0, &["ledger", "fsck", "--repair-projections"]);
    assert!(first.contains("runs of") && first.contains("streams of"), "{first}");
    assert_eq!(first, again, "what is made anew is the same");
}

#[test]
fn data_go_under_a_policy_and_everything_stays_provable() {
    let home = Home::new("retention");
    let key = key(&home, &["--origin", "example.com/short"]);
    let bench = ["bench", "demo", "--prompt", "8", "--generate", "4", "--sequences", "2", "--repetitions", "1"];
    home.says(0, &[&bench[..], &["--record"]].concat());
    // The machine is told of first.
    let predictions = home.json(&["ledger", "log", "--kind", "PredictionMade"]);
    let first = predictions["entries"][0]["index"].as_u64().unwrap().to_string();
    let text = home.says(0, &["ledger", "retention"]);
    assert!(text.starts_with("entries  forever\nblobs    90 days\nnot recorded yet"), "{text}");
    let text = home.says(2, &["ledger", "retention", "apply"]);
    assert!(
        text.contains("the record has no policy yet") && text.contains("hint: `hwledger ledger retention set`"),
        "{text}"
    );
    assert!(home.says(2, &["ledger", "retention", "set", "--blobs", "soon"]).contains("a number of days"));

    // What was predicted and measured waits until something was learnt from it, telemetry does not; what belongs to
    // nothing stays.
    let folder = home.0.join(".local/share/hwledger/ledger/blobs");
    std::fs::create_dir_all(folder.join("00")).unwrap();
    std::fs::write(folder.join("00").join("0".repeat(64)), "no entry refers to this").unwrap();
    let text = home.says(0, &["ledger", "retention", "set", "--blobs", "0"]);
    assert!(text.contains("blobs    0 days\nrecorded in entry "), "{text}");
    assert!(text.contains("would be dropped:\n  the data of no entry\n  6 of 10 blobs, "), "{text}");
    assert!(
        text.contains(&format!("of entry {first}: nothing was learnt from run "))
            && text.contains("1 blobs that no entry"),
        "{text}"
    );
    home.says(0, &["calibrate", "--from-ledger"]);
    let proof = write(&home, "entry.tlog-proof", &home.says(0, &["ledger", "prove", &first]));
    let early = write(&home, "early.note", &home.says(0, &["ledger", "checkpoint"]));
    let answer = home.json(&["ledger", "retention", "apply"]);
    assert_eq!((answer["old_blobs"].as_array().unwrap().len(), answer["unreferenced"].as_u64()), (9, Some(1)));
    let said = answer["said_in"][0].as_u64().unwrap();
    let text = home.says(0, &["ledger", "show", &first]);
    assert!(text.contains(&format!("dropped under a retention policy (entry {said})")), "{text}");
    assert!(text.contains("\"PredictionMade\""), "{text}");

    home.says(0, &["ledger", "retention", "set", "--entries", "0"]);
    let text = home.says(0, &["ledger", "retention", "apply"]);
    assert!(text.contains("dropped:\n  the data of ") && text.contains("\n  0 of 1 blobs"), "{text}");
    let text = home.says(0, &["ledger", "show", &first]);
    assert!(
        text.contains("leaf        ") && text.contains("Its data were dropped under a retention policy (entry "),
        "{text}"
    );
    assert!(home.says(0, &["ledger", "log", "--kind", "PredictionMade"]).contains("its data were dropped"));
    assert!(home.says(0, &["ledger", "retention", "apply"]).contains("the data of no entry"));
    // Whoever has the entry can still show that it was there; nobody can say that it was another.
    let text = home.says(0, &["ledger", "verify-proof", &proof, "--key", &key]);
    assert!(text.contains("PredictionMade"), "{text}");
    assert!(
        home.says(0, &["ledger", "prove", &first]).starts_with(&format!("c2sp.org/tlog-proof@v1\nindex {first}\n"))
    );
    let bundle = home.0.join("bundle").display().to_string();
    home.says(0, &["ledger", "export", &bundle]);
    for record in [&[][..], &["--bundle", &bundle]] {
        let check = [&["ledger", "verify", "--key", &key, "--checkpoint", &early], record].concat();
        let text = home.says(0, &check);
        assert!(text.contains("were dropped under a retention policy") && text.contains("4  holds"), "{text}");
    }
    let text = home.says(0, &["ledger", "fsck", "--repair-projections"]);
    assert!(text.contains("of them had been dropped before it saw them"), "{text}");
}

#[test]
fn witnesses_need_no_server() {
    let home = Home::new("witnesses");
    let key = key(&home, &["--origin", "example.com/seen"]);
    let (first, second) = (Home::new("witness-1"), Home::new("witness-2"));
    let witness = |home: &Home, name: &str| {
        home.json(&["ledger", "witness", "init", "--name", name])["key"].as_str().unwrap().to_owned()
    };
    let text = first.says(2, &["ledger", "witness", "sign", "/dev/null"]);
    assert!(text.contains("there is no witness in") && text.contains("hint: `hwledger ledger witness init`"), "{text}");
    let keys = [witness(&first, "witness.example.com/w1"), witness(&second, "witness.example.com/w2")];
    let head = write(&home, "head", &home.says(0, &["ledger", "checkpoint"]));
    let text = first.says(2, &["ledger", "witness", "sign", &head]);
    assert!(
        text.contains("no key of the ledger `example.com/seen` is known here") && text.contains("hint: "),
        "{text}"
    );
    let note = first.says(0, &["ledger", "witness", "sign", &head, "--key", &key]);
    let signed = write(&home, "signed", &note);
    assert!(home.says(2, &["ledger", "cosign", &signed]).contains("none of the 0 known witnesses"));
    let text = home.says(0, &["ledger", "cosign", &signed, "--witness", &keys[0]]);
    assert!(text.contains("witness.example.com/w1+") && text.contains("entry 1\n"), "{text}");
    // Known from here on, and recorded once.
    let text = home.says(0, &["ledger", "cosign", &signed]);
    assert!(text.contains("was recorded before, in entry 1\n"), "{text}");

    // The ledger has grown by that; the witness says where to go on from.
    let head = write(&home, "head", &home.says(0, &["ledger", "checkpoint"]));
    let text = first.says(2, &["ledger", "witness", "sign", &head]);
    assert!(text.contains("was seen here has 1 entries") && text.contains("consistency --size 1`"), "{text}");
    let grown = write(&home, "grown", &home.says(0, &["ledger", "consistency", "--size", "1"]));
    let note = first.says(0, &["ledger", "witness", "sign", &grown]);
    // Lost on the way: it signs the same once more, and nothing older.
    let again = write(&home, "again", &home.says(0, &["ledger", "consistency", "--size", "2"]));
    assert_eq!(
        first.says(0, &["ledger", "witness", "sign", &again]).lines().take(5).collect::<Vec<_>>(),
        note.lines().take(5).collect::<Vec<_>>()
    );
    assert!(first.says(2, &["ledger", "witness", "sign", &signed]).contains("was seen here has 2 entries"));
    // A second one adds its signature to the first one's.
    let both = second.says(0, &["ledger", "witness", "sign", &write(&home, "one", &note), "--key", &key]);
    let both = write(&home, "both", &both);
    let text = home.says(0, &["ledger", "cosign", &both, "--witness", &keys[0], "--witness", &keys[1]]);
    assert_eq!(text.matches("signed the checkpoint of 2 entries: entry ").count(), 2, "{text}");

    let bundle = home.0.join("bundle").display().to_string();
    home.says(0, &["ledger", "export", &bundle]);
    for record in [&[][..], &["--bundle", &bundle]] {
        let check =
            [&["ledger", "verify", "--key", &key, "--witness", &keys[0], "--witness", &keys[1]], record].concat();
        let text = home.says(0, &[&check[..], &["--witnesses-needed", "2"]].concat());
        assert!(text.contains("2 of 2 witnesses signed the checkpoint of 2 entries; 5 entries came later"), "{text}");
        assert!(home.says(1, &[&check[..], &["--witnesses-needed", "3"]].concat()).contains("3 are needed"));
    }
    // A stranger's head is not recorded.
    let other = Home::new("witness-other");
    self::key(&other, &["--origin", "example.com/seen"]);
    let text = other.says(2, &["ledger", "cosign", &both]);
    assert!(text.contains("by a key that is known"), "{text}");
}

#[test]
fn what_a_check_found_is_recorded_with_digests() {
    let home = Home::new("integrity");
    let key = key(&home, &["--origin", "example.com/checked"]);
    home.says(0, &["ledger", "redact", "someone"]);
    // Another machine with the same entries.
    let folder = home.0.join(".local/share/hwledger/ledger");
    let copy = home.0.join("copy");
    std::fs::create_dir_all(&copy).unwrap();
    std::fs::copy(folder.join("ledger.sqlite"), copy.join("ledger.sqlite")).unwrap();
    let there = copy.display().to_string();
    let there: serde_json::Value =
        serde_json::from_str(&home.says(0, &["ledger", "fsck", "--ledger", &there, "--json"])).unwrap();
    let state = |projection: &serde_json::Value| {
        let field = |name: &str| projection[name].as_str().map_or_else(|| projection[name].to_string(), str::to_owned);
        format!("{} of {} entries, {}", field("name"), field("cursor"), field("digest"))
    };
    let states: Vec<String> = there["projections"].as_array().unwrap().iter().map(state).collect();
    assert_eq!(states.len(), 2);

    assert!(home.says(0, &["ledger", "verify", "--key", &key, "--record"]).ends_with("\nrecorded in entry 2\n"));
    let event = home.json(&["ledger", "show", "2"])["event"].clone();
    assert_eq!(event["type"], "IntegrityChecked");
    let data = &event["data"];
    assert_eq!((data["size"].as_str(), data["is_sound"].as_bool()), (Some("2"), Some(true)));
    assert_eq!(serde_json::to_value(&states).unwrap(), data["projections"]);
    assert!(home.says(0, &["ledger", "fsck", "--record"]).ends_with("recorded in entry 3\n"));
    // With a checkpoint that does not fit, the finding is recorded too.
    let other = Home::new("integrity-other");
    self::key(&other, &["--origin", "example.com/checked"]);
    let foreign = write(&home, "foreign", &other.says(0, &["ledger", "checkpoint"]));
    let text = home.says(1, &["ledger", "verify", "--key", &key, "--checkpoint", &foreign, "--record"]);
    assert!(text.ends_with("recorded in entry 4\n"), "{text}");
    let data = home.json(&["ledger", "show", "4"])["event"]["data"].clone();
    assert_eq!((data["is_sound"].as_bool(), &data["projections"]), (Some(false), &serde_json::json!([])));
    assert!(data["findings"][0].as_str().unwrap().starts_with("level 4: "), "{data}");
    // What nobody can sign is not appended, and that is said.
    std::fs::remove_dir_all(home.0.join(".local/state/hwledger/signer")).unwrap();
    let text = home.says(1, &["ledger", "verify", "--key", &key, "--record"]);
    assert!(text.contains("3  holds") && text.contains("this was not recorded: "), "{text}");
    assert!(home.says(1, &["ledger", "fsck", "--record"]).contains("this was not recorded: "));
}

#[test]
fn schemas_are_registered_when_the_record_is_handed_on() {
    let home = Home::new("schemas");
    let key = key(&home, &["--origin", "example.com/schemas"]);
    let bundle = home.0.join("bundle");
    let folder = bundle.display().to_string();
    home.says(0, &["ledger", "export", &folder]);
    home.says(0, &["ledger", "export", &folder]);
    // One entry per kind that is used, once.
    let list = home.json(&["ledger", "log", "--kind", "SchemaRegistered"]);
    let summaries: Vec<&str> =
        list["entries"].as_array().unwrap().iter().map(|row| row["summary"].as_str().unwrap()).collect();
    assert_eq!(summaries.len(), 2, "{summaries:?}");
    assert!(summaries[0].starts_with("kind=LedgerCreated ") && summaries[1].starts_with("kind=SchemaRegistered "));
    let check = ["ledger", "verify", "--bundle", &folder, "--key", &key];
    home.says(0, &check);
    let change = |name: &str| {
        let path = bundle.join("schemas").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"string\"", "\"number\"")).unwrap();
    };
    // Of a kind that no entry has nobody said what its schema is.
    change("JobQueued.v1.json");
    home.says(0, &check);
    change("LedgerCreated.v1.json");
    let text = home.says(1, &check);
    assert!(
        text.contains("the schema of version 1 of `LedgerCreated` is not the one that entry 1 registered"),
        "{text}"
    );
    // Another spelling of the same schema is the same.
    home.says(0, &["ledger", "export", &folder]);
    let path = bundle.join("schemas/LedgerCreated.v1.json");
    let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    std::fs::write(&path, value.to_string()).unwrap();
    home.says(0, &check);
}

#[test]
fn mistakes_get_one_sentence() {
    let home = Home::new("mistakes");
    let text = home.says(2, &["ledger", "log"]);
    assert!(
        text.starts_with("error: there is no ledger in `") && text.contains("hint: `hwledger ledger init`"),
        "{text}"
    );
    key(&home, &[]);
    assert!(home.says(2, &["ledger", "init"]).contains("there is a ledger already"));
    assert!(home.says(2, &["ledger", "show", "7"]).contains("the ledger has 1 entries; there is no entry 7"));
    let other = home.0.join("other").display().to_string();
    assert!(home.says(2, &["ledger", "show", "x"]).contains("neither the number of an entry nor the identity"));
    assert!(
        home.says(2, &["ledger", "init", "--ledger", &other, "--origin", "two words"]).contains("cannot name a key")
    );
    let nonsense = write(&home, "nonsense", "nothing\nat all");
    assert!(home.says(2, &["ledger", "verify-proof", &nonsense, "--key", "a+b+c"]).contains("this is no public key"));
    assert!(home.says(2, &["ledger", "verify-proof", &nonsense]).contains("no public key was given"));
    assert!(home.says(2, &["ledger", "export", "/proc/nowhere"]).starts_with("error: /proc/nowhere"));
}
