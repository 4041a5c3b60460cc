#![no_main]

use hwledger_ledger::bundle::Bundle;
use hwledger_ledger::verify::{VerifyOptions, verify};
use libfuzzer_sys::fuzz_target;

// The first byte says which file of a bundle the rest replaces: entries, hashes, or heads.
fuzz_target!(|bytes: &[u8]| {
    let Some((which, content)) = bytes.split_first() else { return };
    let folder = std::env::temp_dir().join(format!("hwledger-fuzz-{}", std::process::id()));
    let write = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("the folder can be made");
        std::fs::write(path, content).expect("the file can be written");
    };
    let head = "example.com/fuzz\n3\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u{2014} example.com/fuzz AAAAAAA=\n";
    write("checkpoint", head.as_bytes());
    write("tile/0/000.p/3", &[7; 96]);
    write("tile/entries/000.p/3", b"\0\x01a\0\x01b\0\x01c");
    let names = ["tile/entries/000.p/3", "tile/0/000.p/3", "checkpoint", "checkpoints.log", "minimum-index"];
    write(names[usize::from(*which) % names.len()], content);
    if let Ok(bundle) = Bundle::open(&folder) {
        let _ = verify(&bundle, &VerifyOptions::default());
    }
    let _ = std::fs::remove_dir_all(&folder);
});
