#![no_main]

use hwledger_formats::measurement::{Format, read, to_line};
use libfuzzer_sys::fuzz_target;

// The first byte names a format, or leaves it to be found.
fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let format = Format::ALL.get(usize::from(choice)).copied();
    let Ok(found) = read(bytes, "input", format) else { return };
    for run in &found.runs {
        // What was kept can be true, and comes back from our own format.
        for rate in [run.figures.prefill_tokens_per_s, run.figures.decode_tokens_per_s].into_iter().flatten() {
            assert!(rate.value.is_finite() && rate.value > 0.0);
        }
        let Ok(again) = read(to_line(run).as_bytes(), "input", Some(Format::Own)) else { continue };
        for again in again.runs {
            assert_eq!(again.workload.kind, run.workload.kind);
            assert_eq!(again.memory.len(), run.memory.len());
        }
    }
});
