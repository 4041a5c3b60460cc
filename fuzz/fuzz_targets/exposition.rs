#![no_main]

use std::collections::BTreeMap;

use hwledger_probe::engine::{Content, Document, Engine, Exposition, GAP_MAX_S, Mapping, Reader, Scrape, engines};
use libfuzzer_sys::fuzz_target;

/// What an engine answered, split at the first byte of zero into what it answered first and next.
fn scrape(bytes: &[u8], monotonic_ns: u64) -> Option<Scrape> {
    let content = match serde_json::from_slice(bytes) {
        Ok(value) => Content::Json(value),
        Err(_) => Content::Metrics(Exposition::parse(bytes).ok()?),
    };
    let document = Document { content, server: None };
    let paths = ["/metrics", "/props", "/slots", "/api/ps", "/get_server_info", "/info", "response"];
    let documents: BTreeMap<_, _> = paths.iter().map(|path| ((*path).to_owned(), document.clone())).collect();
    Some(Scrape { monotonic_ns, documents, ..Scrape::default() })
}

// Nothing an engine answers may panic, and no rate of a counter may be negative.
fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (Some(before), Some(after)) = (scrape(parts.next().unwrap_or_default(), 1), parts.next()) else { return };
    let Some(after) = scrape(after, 1_000_000_001) else { return };
    let mapping = Mapping::built_in();
    for row in engines() {
        let engine: Engine = row.with_version(&after);
        for reading in Reader::new(&mapping, &engine, &after).since(&before, GAP_MAX_S).readings() {
            let Some(value) = reading.outcome.value() else { continue };
            let is_rate = reading.metric.ends_with("_per_second") && reading.source.contains(" over ");
            assert!(!value.is_nan() && (!is_rate || value >= 0.0), "{reading:?}");
        }
    }
});
