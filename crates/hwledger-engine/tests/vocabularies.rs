#![expect(clippy::unwrap_used, reason = "a test stops at what it does not expect")]
//! Real vocabularies against the tokens that their models' own tokenizers give.
//!
//! llama.cpp keeps vocabularies (`ggml-vocab-*.gguf`) with texts (`.inp`) and
//! their tokens (`.out`), too large to copy here. Point `HWLEDGER_VOCABULARIES`
//! at that folder (`models/` of llama.cpp) to check against them.

use std::collections::BTreeMap;
use std::path::Path;

use hwledger_engine::text::{Detokenizer, Tokenizer};
use hwledger_formats::gguf::read_vocabulary;

#[test]
fn real_vocabularies_give_the_tokens_of_their_models() {
    let Ok(folder) = std::env::var("HWLEDGER_VOCABULARIES") else {
        println!("skipped: HWLEDGER_VOCABULARIES is not set");
        return;
    };
    let mut wrong = BTreeMap::new();
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gguf") && path.with_extension("gguf.inp").exists() {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            checked += 1;
            if let Err(message) = check(&path) {
                wrong.insert(name, message);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 0, "there is no vocabulary");
}

fn check(path: &Path) -> Result<(), String> {
    let bytes = std::fs::read(path).unwrap();
    let vocabulary = read_vocabulary(&bytes[..], Some(bytes.len() as u64)).map_err(|error| error.to_string())?;
    let tokenizer = Tokenizer::from_gguf(&vocabulary).map_err(|error| format!("{error}: {:?}", vocabulary.pre))?;
    let texts = std::fs::read_to_string(path.with_extension("gguf.inp")).unwrap();
    let expected = std::fs::read_to_string(path.with_extension("gguf.out")).unwrap();
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let lines: Vec<&str> = expected.lines().collect();
    let mut wrong = Vec::new();
    for (text, line) in texts.iter().zip(&lines) {
        let expected: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
        let found = tokenizer.encode(text, false).map_err(|error| error.to_string())?;
        if found != expected {
            wrong.push(format!("{text:?}: {found:?}, not {expected:?}"));
        }
        let mut stream = Detokenizer::new(&tokenizer);
        let mut streamed: String = found.iter().map(|&id| stream.push(id)).collect();
        streamed.push_str(&stream.finish());
        let decoded = tokenizer.decode(&found);
        if streamed != decoded || (vocabulary.model != "bert" && decoded != **text) {
            wrong.push(format!("{text:?} is decoded to {decoded:?} and streamed to {streamed:?}"));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        wrong.truncate(4);
        Err(format!("{:?} of {}: {}", vocabulary.pre, texts.len(), wrong.join("\n")))
    }
}
