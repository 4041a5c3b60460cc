//! A tokenizer from a `tokenizer.json`.

use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer as Library};

use super::build;
use super::error::TextError;
use super::pipeline::{Encoder, Pipeline};
use super::spelling::Spelling;
use super::tokenizer::{Inner, Role, Tokens};

/// Names of the token that begins a sequence, where the file does not add one itself.
const BEGINS: &[&str] =
    &["<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "<｜begin▁of▁sentence｜>", "[BOS]", "[CLS]"];

pub(super) fn read(bytes: &[u8]) -> Result<Inner, TextError> {
    // The library indexes by what the file says: a wrong file may make it panic.
    let mut library = std::panic::catch_unwind(|| Library::from_bytes(bytes))
        .unwrap_or_else(|_| Err("the file contradicts itself".into()))
        .map_err(TextError::Json)?;
    // Embedding models' files cut and fill up texts for training; whoever asks decides that here.
    library.with_padding(None).with_truncation(None).map_err(TextError::Json)?;
    let decoder = match library.get_decoder() {
        Some(decoder) => serde_json::to_value(decoder).map_err(|error| TextError::Json(error.into()))?,
        None => Value::Null,
    };
    let spelling = spelling(&decoder);
    let added = library.get_added_tokens_decoder();
    let tokens = tokens(&library, spelling);
    if tokens.is_empty() {
        return Err(TextError::NoTokens);
    }
    let (prefix, suffix) = around(&library)?;
    let bos = prefix
        .first()
        .copied()
        .or_else(|| BEGINS.iter().filter_map(|name| tokens.id(name)).find(|&id| tokens.role(id) == Role::Control));
    let ends = build::ends(&tokens, &[]);
    let mut added: Vec<(u32, AddedToken)> = added.iter().map(|(&id, token)| (id, token.clone())).collect();
    added.sort_unstable_by_key(|(id, _)| *id);
    let (plain, special) = build::added(&added, library.get_normalizer()).map_err(TextError::Json)?;
    let pipeline = Pipeline {
        plain,
        special,
        normalizer: library.get_normalizer().cloned(),
        splitter: library.get_pre_tokenizer().cloned(),
        encoder: Encoder::Library(Box::new(library.get_model().clone())),
    };
    let has_space_prefix = spelling == Spelling::WordPiece || strips_first_space(&decoder);
    Ok(Inner { pipeline, tokens, prefix, suffix, bos, ends, has_space_prefix })
}

/// All steps of a decoder, those within sequences too.
fn steps(decoder: &Value) -> Vec<&Value> {
    match decoder.get("decoders").and_then(Value::as_array) {
        Some(inner) => inner.iter().flat_map(steps).collect(),
        None => vec![decoder],
    }
}

fn kind(step: &Value) -> &str {
    step.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn spelling(decoder: &Value) -> Spelling {
    let steps = steps(decoder);
    let has = |name: &str| steps.iter().any(|step| kind(step) == name);
    let replaces_spaces = steps.iter().any(|step| step.get("pattern").is_some_and(|text| text["String"] == "▁"));
    if has("ByteLevel") {
        Spelling::ByteLevel
    } else if has("Metaspace") || has("ByteFallback") || replaces_spaces {
        Spelling::Metaspace
    } else if has("WordPiece") {
        Spelling::WordPiece
    } else {
        Spelling::Plain
    }
}

fn strips_first_space(decoder: &Value) -> bool {
    steps(decoder).iter().any(|step| match kind(step) {
        "Strip" => step["content"] == " " && step["start"].as_u64() > Some(0),
        "Metaspace" => step["prepend_scheme"] != "never",
        _ => false,
    })
}

/// The library's tokens by number; numbers between them have none.
fn tokens(library: &Library, spelling: Spelling) -> Tokens {
    let mut texts: Vec<Option<(String, Spelling, Role)>> = Vec::new();
    let mut put = |id: u32, entry: (String, Spelling, Role)| {
        let place = id as usize;
        // A number far beyond the others would be a table of gaps.
        if place >= PLACES_MAX {
            return;
        }
        if texts.len() <= place {
            texts.resize(place + 1, None);
        }
        texts[place] = Some(entry);
    };
    for (text, id) in library.get_vocab(false) {
        put(id, (text, spelling, Role::Text));
    }
    for (id, token) in library.get_added_tokens_decoder() {
        let role = if token.special { Role::Control } else { Role::Text };
        put(id, (token.content, Spelling::Plain, role));
    }
    let mut tokens = Tokens::default();
    for entry in &texts {
        match entry {
            Some((text, spelling, role)) => tokens.push(text, *role, |target| spelling.write(text, target)),
            None => tokens.push("", Role::Absent, |_| ()),
        }
    }
    tokens
}

/// Most token numbers.
const PLACES_MAX: usize = 1 << 21;

/// What the file's post-processor puts before and after a text.
fn around(library: &Library) -> Result<(Vec<u32>, Vec<u32>), TextError> {
    let ids = |with: bool| library.encode_fast("a", with).map(|found| found.get_ids().to_vec());
    let (bare, whole) = (ids(false).map_err(TextError::Json)?, ids(true).map_err(TextError::Json)?);
    if bare.is_empty() || whole.len() <= bare.len() {
        return Ok((Vec::new(), Vec::new()));
    }
    let start = whole.windows(bare.len()).position(|window| window == bare).unwrap_or(0);
    Ok((whole[..start].to_vec(), whole[start + bare.len()..].to_vec()))
}
