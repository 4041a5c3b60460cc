#![no_main]

use hwledger_ledger::canonical::check_canonical;
use hwledger_ledger::event::Event;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = check_canonical(bytes);
    if let Ok(event) = Event::parse(bytes) {
        let _ = event.payload();
    }
});
