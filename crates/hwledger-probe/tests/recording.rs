//! What is written down can be read again, and what anyone else wrote does no harm.

#![expect(clippy::unwrap_used, reason = "a test that cannot start should stop at once")]

use std::io::Cursor;
use std::path::{Path, PathBuf};

use hwledger_probe::machine::{HEADER, LINE_BYTES_MAX, Mock, READINGS_MAX, Recorder, Replay, Snapshot};

fn replay(text: impl Into<Vec<u8>>) -> Result<Vec<Snapshot>, String> {
    let mut replay =
        Replay::new(Path::new("night.jsonl"), Box::new(Cursor::new(text.into()))).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    while let Some(snapshot) = replay.next_snapshot().map_err(|error| error.to_string())? {
        found.push(snapshot);
    }
    Ok(found)
}

fn refusal(text: impl Into<Vec<u8>>) -> String {
    replay(text).expect_err("it should not be read")
}

fn line(snapshot: &Snapshot) -> String {
    serde_json::to_string(snapshot).unwrap()
}

/// A file that is gone with this value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in the system's folder for such things.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn what_is_recorded_is_read_again() {
    let file = Scratch(std::env::temp_dir().join(format!("hwledger-recording-{}.jsonl", std::process::id())));
    let mut recorder = Recorder::create(&file.0).unwrap();
    let mut mock = Mock::new(3, 1_000_000_000);
    let snapshots: Vec<Snapshot> = (0..40).map(|_| mock.snapshot()).collect();
    for snapshot in &snapshots {
        recorder.write(snapshot).unwrap();
    }
    let read = replay(std::fs::read(&file.0).unwrap()).unwrap();
    assert!(read == snapshots, "what was written is there before the recorder is gone, to the last digit");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(Recorder::create(&file.0).is_err(), "a recording is never overwritten");
}

#[test]
fn a_recording_that_was_cut_off_says_where() {
    let whole = line(&Mock::new(3, 1).snapshot());
    let text = format!("{HEADER}\n{whole}\n{}", &whole[..whole.len() / 2]);
    let refused = refusal(text);
    assert!(refused.starts_with("`night.jsonl`, line 3: this is no snapshot: "), "{refused}");
}

#[test]
fn what_is_no_recording_is_refused() {
    for text in ["", "\n", "{}", "not JSON", r#"{"format":"hwledger.probe/2"}"#, "\u{0}\u{1}"] {
        assert_eq!(refusal(text), "`night.jsonl`, line 1: this is no recording of `hwledger.probe/1`", "{text:?}");
    }
}

#[test]
fn what_no_machine_says_is_refused() {
    let snapshot = Mock::new(3, 1_000_000_000).snapshot();
    let changed = |change: fn(&mut Snapshot)| {
        let mut changed = snapshot.clone();
        change(&mut changed);
        refusal(format!("{HEADER}\n{}\n", line(&changed)))
    };
    let escape = changed(|snapshot| snapshot.devices[0].device.name = "\u{1b}[2J".to_owned());
    assert_eq!(escape, "`night.jsonl`, line 2: a text is too long or holds control characters");
    let long = changed(|snapshot| snapshot.host.readings[0].source = "x".repeat(2000));
    assert_eq!(long, "`night.jsonl`, line 2: a text is too long or holds control characters");
    let devices = changed(|snapshot| snapshot.devices = vec![snapshot.devices[0].clone(); 300]);
    assert_eq!(devices, "`night.jsonl`, line 2: too many devices");
    let readings = changed(|snapshot| {
        let reading = snapshot.host.readings[0].clone();
        snapshot.host.readings = vec![reading; READINGS_MAX + 1];
    });
    assert!(readings.ends_with("too many readings") || readings.ends_with("bytes"), "{readings}");
    let labels = changed(|snapshot| {
        snapshot.host.readings[0].labels = vec![("a".to_owned(), "b".to_owned()); 9];
    });
    assert_eq!(labels, "`night.jsonl`, line 2: too many labels");
}

#[test]
fn time_does_not_run_back() {
    let mut mock = Mock::new(3, 1_000_000_000);
    let (first, second) = (mock.snapshot(), mock.snapshot());
    let refused = refusal(format!("{HEADER}\n{}\n{}\n", line(&second), line(&first)));
    assert_eq!(refused, "`night.jsonl`, line 3: the snapshot is older than the one before");
}

#[test]
fn an_endless_line_is_not_read_to_its_end() {
    let text = format!("{HEADER}\n{}", "[".repeat(LINE_BYTES_MAX + 10));
    assert_eq!(refusal(text), format!("`night.jsonl`, line 2: the line is longer than {LINE_BYTES_MAX} bytes"));
    let deep = format!("{HEADER}\n{}\n", "[".repeat(100_000));
    assert!(refusal(deep).contains("line 2: this is no snapshot"), "nesting is bounded too");
}

#[test]
fn every_byte_that_is_changed_is_read_or_refused() {
    let whole = format!("{HEADER}\n{}\n", line(&Mock::new(3, 1).snapshot())).into_bytes();
    for index in 0..whole.len() {
        for byte in [0, b'"', b'}', b'9', 0xff] {
            let mut changed = whole.clone();
            changed[index] = byte;
            // Neither a panic nor an endless loop: what it is, is tested above.
            let _ = replay(changed);
        }
    }
}

#[test]
fn the_same_seed_is_the_same_machine() {
    let lines = |seed| {
        let mut mock = Mock::new(seed, 500_000_000);
        (0..20).map(|_| line(&mock.snapshot())).collect::<Vec<_>>()
    };
    assert_eq!(lines(5), lines(5));
    assert_ne!(lines(5), lines(6));
}
