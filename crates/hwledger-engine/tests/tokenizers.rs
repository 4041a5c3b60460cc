//! Small tokenizers of every kind against the reference library's tokens.
//!
//! `bench/text/make_tokenizers.py` writes the data.
#![expect(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::path::Path;

use hwledger_engine::text::{Detokenizer, Tokenizer};
use hwledger_formats::gguf::{SpecialTokens, TokenKind, Vocabulary};
use serde_json::Value;

/// The tokenizers, and whether text comes back as it was (not where case, spaces or forms are changed).
const NAMES: [(&str, bool); 9] = [
    ("byte-gpt-2", true),
    ("byte-llama-bpe", true),
    ("byte-qwen2", false),
    ("byte-gpt-4o", true),
    ("byte-tekken", true),
    ("byte-smollm", true),
    ("scored-bpe", true),
    ("unigram", false),
    ("wordpiece", false),
];

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tokenizers").join(name)).unwrap()
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The vocabulary as the reader of GGUF files would give it.
fn vocabulary(value: &Value) -> Vocabulary {
    let kind = |id: &Value| match id.as_u64().unwrap() {
        2 => TokenKind::Unknown,
        3 => TokenKind::Control,
        4 => TokenKind::UserDefined,
        6 => TokenKind::Byte,
        _ => TokenKind::Normal,
    };
    let id = |name: &str| value[name].as_u64().map(|id| u32::try_from(id).unwrap());
    let texts = |name: &str| serde_json::from_value(value[name].clone()).unwrap_or_default();
    Vocabulary {
        model: value["model"].as_str().unwrap().to_owned(),
        pre: value["pre"].as_str().map(str::to_owned),
        tokens: texts("tokens"),
        merges: texts("merges"),
        scores: serde_json::from_value(value["scores"].clone()).unwrap_or_default(),
        token_kinds: value["kinds"].as_array().unwrap().iter().map(kind).collect(),
        special: SpecialTokens { bos: id("bos"), eos: id("eos"), unk: id("unk"), sep: id("sep"), ..Default::default() },
        add_bos: value["add_bos"].as_bool(),
        add_space_prefix: value["add_space_prefix"].as_bool(),
        remove_extra_whitespaces: value["remove_extra_whitespaces"].as_bool(),
        ..Vocabulary::default()
    }
}

/// Compares all that one tokenizer does; `source` says where it came from.
fn check(name: &str, source: &str, tokenizer: &Tokenizer, is_lossless: bool) {
    let corpus = json("corpus.json");
    let expected = &json("expected.json")[name];
    let texts: Vec<&str> = corpus["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for (place, text) in texts.iter().enumerate() {
        for (parse_special, kind) in [(true, "special"), (false, "plain")] {
            let found = tokenizer.encode(text, parse_special).unwrap();
            assert_eq!(found, ids(&expected[kind][place]), "{name} from {source}, {kind}: {text:?}");
            let mut stream = Detokenizer::new(tokenizer);
            let mut streamed: String = found.iter().map(|&id| stream.push(id)).collect();
            streamed.push_str(&stream.finish());
            let decoded = tokenizer.decode(&found);
            assert_eq!(streamed, decoded, "{name} from {source}: {text:?}");
            if is_lossless && !parse_special {
                assert_eq!(decoded, *text, "{name} from {source}");
            }
            let has_library_form = parse_special && name != "wordpiece" && name != "unigram";
            if has_library_form {
                assert_eq!(decoded, expected["decoded"][place].as_str().unwrap(), "{name} from {source}: {text:?}");
            }
        }
    }
    assert_eq!(tokenizer.encode_prompt(texts[0], true).unwrap(), ids(&expected["prompt"]), "{name} from {source}");
}

#[test]
fn tokens_are_those_of_the_reference_library() {
    for (name, is_lossless) in NAMES {
        let from_json = Tokenizer::from_json(&bytes(&format!("{name}.json"))).unwrap();
        check(name, "tokenizer.json", &from_json, is_lossless);
        let vocabulary = vocabulary(&json(&format!("{name}.vocabulary.json")));
        let from_gguf = Tokenizer::from_gguf(&vocabulary).unwrap();
        check(name, "GGUF", &from_gguf, is_lossless);
        assert_eq!(from_json.vocabulary_size(), from_gguf.vocabulary_size(), "{name}");
        for id in 0..u32::try_from(from_json.vocabulary_size()).unwrap() {
            assert_eq!(from_json.token_bytes(id), from_gguf.token_bytes(id), "{name}: {id}");
        }
    }
}

#[test]
fn roles_of_tokens_are_known() {
    let tokenizer = Tokenizer::from_json(&bytes("byte-llama-bpe.json")).unwrap();
    assert_eq!(tokenizer.bos(), Some(0));
    let end = tokenizer.id("<|im_end|>").unwrap();
    assert!(tokenizer.is_end(end) && tokenizer.is_end(0) && !tokenizer.is_end(tokenizer.id("<|im_start|>").unwrap()));
    assert!(tokenizer.is_control(end));
    assert_eq!(tokenizer.token_bytes(end), b"<|im_end|>");
    assert_eq!(tokenizer.decode(&[end, tokenizer.id("<think>").unwrap()]), "<think>");
    assert_eq!(tokenizer.token_bytes(u32::MAX), b"");
    assert_eq!(tokenizer.id("no such token"), None);
    let other = tokenizer.clone().with_ends(&[9, 7, 9]);
    assert!(other.is_end(7) && other.is_end(9) && other.is_end(end) && !tokenizer.is_end(7));
    let shared = |_: &(dyn Send + Sync)| ();
    shared(&tokenizer);
    shared(&hwledger_engine::text::ChatTemplate::new("", None, None).unwrap());
}

#[test]
fn broken_streams_become_replacement_characters() {
    let tokenizer = Tokenizer::from_json(&bytes("byte-gpt-2.json")).unwrap();
    let byte = |byte: u8| (0..1000).find(|&id| tokenizer.token_bytes(id) == [byte]).unwrap();
    let check = |bytes: &[u8], pieces: &[&str], rest: &str| {
        let ids: Vec<u32> = bytes.iter().map(|&value| byte(value)).collect();
        let mut stream = Detokenizer::continuing(&tokenizer);
        let found: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
        assert_eq!(found, pieces, "{bytes:x?}");
        let finish = stream.finish();
        assert_eq!(finish, rest, "{bytes:x?}");
        assert_eq!(found.concat() + &finish, tokenizer.decode(&ids));
        assert_eq!(stream.finish(), "");
    };
    check(&[0xF0, 0x9F, 0x98, 0x80], &["", "", "", "😀"], "");
    check(&[0xC3, b'a'], &["", "\u{FFFD}a"], "");
    check(&[0x80, b'a'], &["\u{FFFD}", "a"], "");
    check(&[0xE2, 0x82], &["", ""], "\u{FFFD}");
    check(&[0xF0, 0x9F, 0xC3, 0xA9], &["", "", "\u{FFFD}", "é"], "");
}

#[test]
fn wrong_files_are_one_error() {
    let gguf = |vocabulary: &Vocabulary| Tokenizer::from_gguf(vocabulary).unwrap_err().to_string();
    assert_eq!(gguf(&Vocabulary::default()), "the vocabulary has no tokens");
    let tokens = vec!["a".to_owned(), "b".to_owned()];
    let base = Vocabulary { model: "gpt2".to_owned(), tokens, ..Vocabulary::default() };
    let unknown = Vocabulary { pre: Some("tomorrow".to_owned()), ..base.clone() };
    assert!(gguf(&unknown).starts_with("the pre-tokenizer `tomorrow` is not known"));
    assert_eq!(gguf(&base), "the vocabulary has no merges");
    let merges = vec!["ab".to_owned()];
    assert!(gguf(&Vocabulary { merges, ..base.clone() }).contains("merge 0 (`ab`)"));
    let merges = vec!["a b".to_owned()];
    assert!(gguf(&Vocabulary { merges, ..base.clone() }).contains("merge 0 (`a b`)"));
    assert!(gguf(&Vocabulary { model: "rwkv".to_owned(), ..base.clone() }).contains("`rwkv` is not supported"));
    assert_eq!(gguf(&Vocabulary { model: "llama".to_owned(), ..base.clone() }), "the vocabulary has no scores");
    assert_eq!(gguf(&Vocabulary { model: "bert".to_owned(), ..base }), "the vocabulary has no unknown token");
    for bytes in [&b""[..], b"{}", b"[1]", b"{\"model\": {\"type\": \"BPE\"}}"] {
        assert!(Tokenizer::from_json(bytes).is_err());
    }
    // The library panics on a prefix longer than a merge's part.
    let mut file = json("byte-gpt-2.json");
    file["model"]["continuing_subword_prefix"] = "a prefix longer than most tokens".into();
    assert!(Tokenizer::from_json(file.to_string().as_bytes()).is_err());
}

#[test]
fn wrong_tables_of_replacements_are_errors() {
    let with_table = |table: &[u8]| {
        let mut vocabulary = vocabulary(&json("unigram.vocabulary.json"));
        vocabulary.precompiled_charsmap = table.to_vec();
        Tokenizer::from_gguf(&vocabulary)
    };
    assert!(with_table(&[0xFF; 64]).is_err());
    assert!(with_table(&[8, 0, 0, 0, 1]).is_err());
    // A trie that leads beyond its end.
    let table: Vec<u8> = [8_u32, 0xFFFF_FC00, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    let error = with_table(&table).unwrap().encode("text", false).unwrap_err();
    assert_eq!(error.to_string(), "the text cannot be turned into tokens");
}

#[test]
fn cut_files_are_errors() {
    let whole = bytes("scored-bpe.json");
    for length in (0..whole.len() - 1).step_by(97) {
        assert!(Tokenizer::from_json(&whole[..length]).is_err(), "{length}");
    }
}

/// Text without end must not take time without end.
#[test]
fn long_runs_are_encoded_in_time() {
    let runs = [" ".repeat(20_000), "a".repeat(20_000), "\n".repeat(20_000), "1".repeat(20_000)];
    for (name, _) in NAMES {
        let tokenizer = Tokenizer::from_json(&bytes(&format!("{name}.json"))).unwrap();
        let scored = Tokenizer::from_gguf(&vocabulary(&json(&format!("{name}.vocabulary.json")))).unwrap();
        for run in &runs {
            let start = std::time::Instant::now();
            let tokens = tokenizer.encode(run, false).unwrap();
            assert_eq!(tokens, scored.encode(run, false).unwrap(), "{name}: {:?}", &run[..1]);
            assert!(start.elapsed().as_secs() < 20, "{name}: {:?} takes {:?}", &run[..1], start.elapsed());
        }
    }
}
