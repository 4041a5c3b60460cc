//! Vectors of texts: tokens about them, pooling, length one, dimensions, and decoders that embed.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use hwledger_engine::model::{Directory, ModelFile, Pooling, Tensors};
use hwledger_engine::text::Tokenizer;
use hwledger_engine::{Embedder, EmbedderOptions, LoadError, RunError};

use crate::decoder::Reference;
use crate::harness::{best_without_tiles, decoder, file, loaded};
use crate::models::Recipe;

use super::models::{CLS, EncoderRecipe, SEP, words};
use super::reference;

/// Single against double precision.
const TOLERANCE: f64 = 1e-5;

fn options() -> EmbedderOptions {
    EmbedderOptions { threads: 1, instructions: Some(best_without_tiles()), ..EmbedderOptions::default() }
}

fn open(recipe: &EncoderRecipe, options: &EmbedderOptions) -> Result<Embedder, LoadError> {
    Embedder::open(vec![file(recipe.bytes())], options)
}

fn tokens(embedder: &Embedder, text: &str) -> Vec<u32> {
    embedder.tokens(text, false).unwrap().0
}

fn near(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < TOLERANCE, "{found} for {expected}");
    }
}

fn of_length_one(mut vector: Vec<f64>) -> Vec<f64> {
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    for value in &mut vector {
        *value /= length;
    }
    vector
}

fn id(word: &str) -> u32 {
    u32::try_from(words().iter().position(|known| known == word).unwrap()).unwrap()
}

#[test]
fn texts_become_tokens_between_marks() {
    let embedder = open(&EncoderRecipe::bert(), &options()).unwrap();
    let expected = [CLS, id("search"), id("_"), id("query"), id(":"), id("hell"), id("##o"), id("!"), SEP];
    assert_eq!(tokens(&embedder, "search_query: Hello!"), expected);
    // Accents go, unknown signs become one mark, Chinese signs are words; marks that are written are text.
    assert_eq!(tokens(&embedder, "Ünable"), [CLS, id("un"), id("##able"), SEP]);
    assert_eq!(tokens(&embedder, "北€"), [CLS, id("北"), 1, SEP]);
    assert!(tokens(&embedder, "[SEP]").len() > 3);
    assert_eq!(tokens(&embedder, ""), [CLS, SEP]);
}

/// The words as a published `tokenizer.json` has them, that cuts and fills up texts to 16 tokens besides.
fn tokenizer_json() -> Vec<u8> {
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        (0..).zip(words()).map(|(id, word)| (word, serde_json::Value::from(id))).collect();
    let mark = |id: u32| serde_json::json!({"id": words()[id as usize], "ids": [id], "tokens": [words()[id as usize]]});
    let added = |id: u32| {
        serde_json::json!({"id": id, "content": words()[id as usize], "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
    };
    let special = |id: &str| serde_json::json!({"SpecialToken": {"id": id, "type_id": 0}});
    let sequence = serde_json::json!({"Sequence": {"id": "A", "type_id": 0}});
    let tokenizer = serde_json::json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": (0..5).map(added).collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": [special("[CLS]"), sequence, special("[SEP]")],
            "pair": [], "special_tokens": {"[CLS]": mark(CLS), "[SEP]": mark(SEP)}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    });
    serde_json::to_vec(&tokenizer).unwrap()
}

#[test]
fn both_sources_of_a_tokenizer_give_the_same_tokens() {
    let embedder = open(&EncoderRecipe::bert(), &options()).unwrap();
    let published = Tokenizer::from_json(&tokenizer_json()).unwrap();
    let long = "the query ".repeat(20);
    for text in
        ["", "Hello, WÖRLD!", "  unable\t to\nsearch_query: x", "北京 mark [SEP] [MASK]", "naïve\u{0} a\u{301}b", &long]
    {
        let expected = published.encode_prompt(text, false).unwrap();
        assert_eq!(tokens(&embedder, text), expected, "{text:?}");
        assert_eq!((expected[0], expected[expected.len() - 1]), (CLS, SEP));
    }
    assert_eq!(published.encode_prompt(&long, false).unwrap().len(), 42);
}

#[test]
fn long_texts_are_refused_or_cut() {
    let mut embedder = open(&EncoderRecipe::bert(), &EmbedderOptions { context: Some(6), ..options() }).unwrap();
    let text = "a b c d e f";
    let (whole, is_cut) = embedder.tokens(text, false).unwrap();
    assert_eq!((whole.len(), is_cut), (8, false));
    assert!(matches!(embedder.embed(&[&whole]), Err(RunError::Context { tokens: 8, context: 6 })));
    let (cut, is_cut) = embedder.tokens(text, true).unwrap();
    assert_eq!((cut.as_slice(), is_cut), (&[CLS, id("a"), id("b"), id("c"), id("d"), SEP][..], true));
    assert_eq!(embedder.embed(&[&cut]).unwrap()[0].len(), 96);
    let (fitting, is_cut) = embedder.tokens("a b c d", true).unwrap();
    assert_eq!((fitting, is_cut), (cut, false));
    assert!(matches!(embedder.embed(&[&[]]), Err(RunError::NoTokens)));
}

#[test]
fn vectors_are_pooled_cut_and_brought_to_length_one() {
    let recipe = EncoderRecipe::nomic();
    let bytes = recipe.bytes();
    let reference = Reference::new(&bytes, 80);
    let text = [CLS, 9, 40, 41, 77, SEP];
    let states = reference::states(&reference, &text);
    let mean: Vec<f64> = (0..96).map(|element| states.iter().map(|row| row[element]).sum::<f64>() / 6.0).collect();
    let vector = |options: EmbedderOptions| {
        let mut embedder = open(&recipe, &options).unwrap();
        embedder.embed(&[&text]).unwrap().remove(0)
    };
    let with = |pooling| EmbedderOptions { pooling: Some(pooling), ..options() };
    near(&vector(options()), &of_length_one(mean.clone()));
    near(&vector(with(Pooling::Cls)), &of_length_one(states[0].clone()));
    near(&vector(with(Pooling::Last)), &of_length_one(states[5].clone()));
    near(&vector(EmbedderOptions { dimensions: Some(32), ..options() }), &of_length_one(mean[..32].to_vec()));
    let plain = EmbedderOptions { is_normalised: Some(false), dimensions: Some(90), ..options() };
    near(&vector(plain), &mean[..90]);
    for asked in [0, 97] {
        let options = EmbedderOptions { dimensions: Some(asked), ..options() };
        assert!(matches!(open(&recipe, &options), Err(LoadError::Dimensions { width: 96, .. })), "{asked}");
    }
}

#[test]
fn many_texts_get_the_vectors_that_they_get_alone() {
    let mut embedder = open(&EncoderRecipe::bert(), &options()).unwrap();
    let texts: Vec<Vec<u32>> = (1..60)
        .map(|count| (0..count).map(|token| u32::try_from(5 + (token * 7 + count) % 70).unwrap()).collect())
        .collect();
    let slices: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let together = embedder.embed(&slices).unwrap();
    assert_eq!(together.len(), texts.len());
    for (text, expected) in slices.iter().zip(&together) {
        assert!(embedder.embed(&[text]).unwrap()[0] == *expected, "{} tokens", text.len());
    }
}

#[test]
fn what_the_files_leave_open_is_noted() {
    let embedder = open(&EncoderRecipe { pooling: None, ..EncoderRecipe::bert() }, &options()).unwrap();
    assert_eq!((embedder.pooling, embedder.is_normalised), (Pooling::Mean, true));
    assert_eq!(embedder.notes, ["the model's files name no pooling: the mean of all tokens is taken"]);
    let embedder = open(&EncoderRecipe { pooling: Some(2), ..EncoderRecipe::bert() }, &options()).unwrap();
    assert_eq!((embedder.pooling, embedder.notes.len(), embedder.context), (Pooling::Cls, 0, 80));
}

#[test]
fn a_tokenizer_that_is_missing_is_told_before_weights_are_read() {
    let recipe = EncoderRecipe { missing: Some("tokenizer"), ..EncoderRecipe::bert() };
    let tensors = Tensors::new(vec![file(recipe.bytes())]).unwrap();
    let told = Cell::new(0);
    let error = Embedder::load(&tensors, &options(), &|_| told.set(told.get() + 1)).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("describes no tokenizer"), "{error}: {source}");
    assert_eq!(told.get(), 0, "matrices that were read before");
}

#[test]
fn decoders_embed_by_the_state_of_the_last_token() {
    let recipe = Recipe { integers: vec![("pooling_type", 3)], context: 1024, ..Recipe::new("qwen3") };
    let mut embedder = Embedder::open(vec![file(recipe.bytes())], &options()).unwrap();
    assert_eq!(embedder.pooling, Pooling::Last);
    // The second is longer than one step.
    let text: Vec<u32> = (0..600).map(|index| index * 7 % 250).collect();
    let short = &text[..40];
    let found = embedder.embed(&[short, &text]).unwrap();
    assert!(embedder.embed(&[&text]).unwrap()[0] == found[1]);
    // The same states, made into logits by the tied head: those that the decoder itself gives.
    let model = loaded(recipe.bytes(), 512);
    let mut decoder = decoder(&model, best_without_tiles(), 1);
    let sequence = decoder.cache_mut().create();
    let logits = crate::harness::logits(&mut decoder, sequence, short, 40).pop().unwrap();
    let mut row = vec![0.0; 96];
    let expected: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    let products: Vec<f64> = (0..261)
        .map(|token| {
            model.embedding.row(token, &mut row);
            row.iter().zip(&found[0]).map(|(&one, &other)| f64::from(one) * f64::from(other)).sum()
        })
        .collect();
    // Vectors have length one: compare directions.
    let (expected, products) = (of_length_one(expected), of_length_one(products));
    for (found, expected) in products.iter().zip(&expected) {
        assert!((found - expected).abs() < TOLERANCE, "{found} for {expected}");
    }
    assert!(embedder.memory().cache > 0);
    let plain = Embedder::open(vec![file(Recipe::new("llama").bytes())], &options());
    assert!(matches!(plain, Err(LoadError::NoPooling)));
}

/// A folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hwledger-embeddings-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

const CONFIG: &str = r#"{"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 4, "hidden_size": 32,
    "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 32, "max_position_embeddings": 8,
    "type_vocab_size": 1, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}"#;

const TOKENIZER: &str = r#"{"version": "1.0", "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "c": 2, "d": 3}, "unk_token": "a"}}"#;

/// An encoder of one layer in a directory of sentence-transformers.
fn open_folder(folder: &Folder) -> Result<Embedder, LoadError> {
    folder.write("tokenizer.json", TOKENIZER);
    let tensors = [
        ("embeddings.word_embeddings.weight", vec![4, 32]),
        ("embeddings.position_embeddings.weight", vec![8, 32]),
        ("embeddings.token_type_embeddings.weight", vec![1, 32]),
    ];
    let layer = |part: &str| format!("encoder.layer.0.{part}");
    let named = tensors.map(|(name, shape)| (name.to_owned(), shape)).into_iter();
    let vectors = ["LayerNorm.weight", "LayerNorm.bias"];
    let norms = vectors.into_iter().flat_map(|part| {
        [format!("embeddings.{part}"), layer(&format!("attention.output.{part}")), layer(&format!("output.{part}"))]
    });
    let parts = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"];
    let matrices = parts.into_iter().chain(["intermediate.dense", "output.dense"]);
    let projections = matrices.flat_map(|part| {
        [(layer(&format!("{part}.weight")), vec![32, 32]), (layer(&format!("{part}.bias")), vec![32])]
    });
    let tensors = named.chain(norms.map(|name| (name, vec![32]))).chain(projections);
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * 4;
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        header.insert(name, entry);
    }
    let header = serde_json::to_string(&header).unwrap();
    let data: Vec<u8> = (0..end / 4).flat_map(|index| ((index % 13) as f32 - 6.0).to_le_bytes()).collect();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    let files = vec![ModelFile::embedded("model.safetensors", bytes.leak())];
    let directory = Directory { folder: folder.0.clone(), config: CONFIG.as_bytes().to_vec(), index: None, files };
    Embedder::open_directory(directory, &options())
}

#[test]
fn directories_name_pooling_and_length() {
    let folder = Folder::new();
    let embedder = open_folder(&folder).unwrap();
    assert_eq!((embedder.pooling, embedder.is_normalised, embedder.context), (Pooling::Mean, true, 8));
    folder.write("1_Pooling/config.json", r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#);
    assert_eq!(open_folder(&folder).unwrap().pooling, Pooling::Cls);
    let module =
        |path: &str, kind: &str| format!(r#"{{"path": "{path}", "type": "sentence_transformers.models.{kind}"}}"#);
    let modules = |others: &[String]| format!("[{}, {}]", module("", "Transformer"), others.join(", "));
    folder.write("modules.json", &modules(&[module("2_Pooling", "Pooling")]));
    folder.write("2_Pooling/config.json", r#"{"pooling_mode": "lasttoken"}"#);
    let embedder = open_folder(&folder).unwrap();
    assert_eq!((embedder.pooling, embedder.is_normalised), (Pooling::Last, false));
    assert_eq!(embedder.notes.len(), 1);
    folder.write("modules.json", &modules(&[module("2_Pooling", "Pooling"), module("3_Normalize", "Normalize")]));
    assert!(open_folder(&folder).unwrap().is_normalised);

    let refused = |expected: &str| {
        let error = open_folder(&folder).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    folder.write("modules.json", &modules(&[module("2_Dense", "Dense")]));
    refused("embeddings with a module `Dense`");
    for path in ["../1_Pooling", "/etc", "a\\\\..\\\\b", "C:pooling"] {
        folder.write("modules.json", &modules(&[module(path, "Pooling")]));
        refused("folders beside it");
    }
    folder.write("modules.json", &modules(&[module("2_Pooling", "Pooling")]));
    folder.write("2_Pooling/config.json", r#"{"pooling_mode_max_tokens": true}"#);
    refused("embeddings pooled by `max`");
    folder.write("2_Pooling/config.json", r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#);
    refused("embeddings pooled by `mean` and `cls`");
    folder.write("2_Pooling/config.json", "{");
    refused("cannot read");
}
