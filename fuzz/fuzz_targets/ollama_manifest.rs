#![no_main]

use hwledger_formats::ollama::{Digest, read_manifest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = read_manifest(bytes) {
        assert!(!manifest.layers.is_empty());
        for layer in &manifest.layers {
            // What names a file must stay a name.
            let name = layer.digest.file_name();
            assert_eq!(name.len(), "sha256-".len() + 64);
            assert!(!name.contains(['/', '\\', '.']));
            assert_eq!(Digest::parse(&layer.digest.to_string()).as_ref(), Some(&layer.digest));
        }
    }
});
