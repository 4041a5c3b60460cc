#![no_main]

use std::io::Cursor;
use std::path::Path;

use hwledger_probe::machine::{HEADER, Replay};
use libfuzzer_sys::fuzz_target;

// Half of all inputs get the header that few would guess.
fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let mut text = if choice % 2 == 0 { format!("{HEADER}\n").into_bytes() } else { Vec::new() };
    text.extend_from_slice(bytes);
    let Ok(mut replay) = Replay::new(Path::new("input"), Box::new(Cursor::new(text))) else { return };
    while let Ok(Some(snapshot)) = replay.next_snapshot() {
        // What was read can be shown and is read again.
        let line = serde_json::to_string(&snapshot).expect("a snapshot is plain data");
        assert!(!line.contains('\u{1b}'));
        let again = format!("{HEADER}\n{line}\n").into_bytes();
        let mut again = Replay::new(Path::new("again"), Box::new(Cursor::new(again))).expect("it has its header");
        let read = again.next_snapshot().expect("what was written is read").expect("there is one");
        assert_eq!(read.devices.len(), snapshot.devices.len());
        assert_eq!(read.host.readings.len(), snapshot.host.readings.len());
    }
});
