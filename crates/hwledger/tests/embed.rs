//! `hwledger embed` from a model's files to what it prints.

#![expect(clippy::unwrap_used, reason = "a test that cannot start should stop at once")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Map, Value, json};

const HIDDEN: usize = 32;
const WIDTH: usize = 48;
const WORDS: [&str; 12] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "blue", "apple", "##s", "query", ":", "the"];

/// A directory of sentence-transformers with an encoder of one layer, removed at the end.
struct Model(PathBuf);

impl Drop for Model {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tokenizer() -> Value {
    let vocabulary: Map<String, Value> = WORDS.iter().zip(0..).map(|(word, id)| ((*word).into(), id.into())).collect();
    let special = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let mark = |word: &str, id: u32| json!({"id": word, "ids": [id], "tokens": [word]});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [special("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, special("[SEP]")],
            "pair": [], "special_tokens": {"[CLS]": mark("[CLS]", 2), "[SEP]": mark("[SEP]", 3)}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}

/// Weights that are always the same (`SplitMix64`, Steele, Lea and Flood 2014).
fn safetensors() -> Vec<u8> {
    let mut tensors = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![WORDS.len(), HIDDEN]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![12, HIDDEN]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, HIDDEN]),
    ];
    for norm in ["embeddings", "encoder.layer.0.attention.output", "encoder.layer.0.output"] {
        for part in ["weight", "bias"] {
            tensors.push((format!("{norm}.LayerNorm.{part}"), vec![HIDDEN]));
        }
    }
    for (part, rows, columns) in [
        ("attention.self.query", HIDDEN, HIDDEN),
        ("attention.self.key", HIDDEN, HIDDEN),
        ("attention.self.value", HIDDEN, HIDDEN),
        ("attention.output.dense", HIDDEN, HIDDEN),
        ("intermediate.dense", WIDTH, HIDDEN),
        ("output.dense", HIDDEN, WIDTH),
    ] {
        tensors.push((format!("encoder.layer.0.{part}.weight"), vec![rows, columns]));
        tensors.push((format!("encoder.layer.0.{part}.bias"), vec![rows]));
    }
    let (mut header, mut data, mut seed) = (Map::new(), Vec::new(), 0_u64);
    for (name, shape) in tensors {
        let start = data.len();
        let middle = if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 };
        for _ in 0..shape.iter().product::<usize>() {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let value = middle + ((bits >> 40) as f32 / 8_388_608.0 - 1.0) * 0.3;
            data.extend(value.to_le_bytes());
        }
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = serde_json::to_string(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fn model(name: &str) -> Model {
    let path = std::env::temp_dir().join(format!("hwledger-embed-{name}-{}", std::process::id()));
    std::fs::create_dir_all(path.join("1_Pooling")).unwrap();
    let config = json!({"model_type": "bert", "architectures": ["BertModel"], "vocab_size": WORDS.len(),
        "hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": WIDTH,
        "max_position_embeddings": 12, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu"});
    let module = |path: &str, kind: &str| json!({"path": path, "type": format!("sentence_transformers.models.{kind}")});
    let modules = [module("", "Transformer"), module("1_Pooling", "Pooling"), module("2_Normalize", "Normalize")];
    let pooling = json!({"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": true});
    for (name, value) in [
        ("config.json", config),
        ("tokenizer.json", tokenizer()),
        ("modules.json", Value::from(modules.to_vec())),
        ("1_Pooling/config.json", pooling),
    ] {
        std::fs::write(path.join(name), value.to_string()).unwrap();
    }
    std::fs::write(path.join("model.safetensors"), safetensors()).unwrap();
    Model(path)
}

fn run(command: &str, model: &Model, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hwledger"))
        .args([command, model.0.to_str().unwrap(), "--offline"])
        .args(arguments)
        .env_clear()
        .env("HOME", std::env::temp_dir().join("hwledger-no-home"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments may have gone before it read anything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn embed(model: &Model, arguments: &[&str], input: &str) -> Output {
    run("embed", model, arguments, input)
}

fn lines(output: &Output) -> Vec<Vec<f64>> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn product(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[test]
fn texts_of_arguments_of_a_file_and_of_standard_input_get_the_same_vectors() {
    let model = model("sources");
    let named = lines(&embed(&model, &["red apples", "the query: green"], ""));
    assert_eq!(named.iter().map(Vec::len).collect::<Vec<_>>(), [HIDDEN; 2]);
    for vector in &named {
        assert!((product(vector, vector) - 1.0).abs() < 1e-6);
    }
    assert_eq!(lines(&embed(&model, &[], "red apples\nthe query: green\n")), named);
    let file = model.0.join("texts.txt");
    std::fs::write(&file, "red apples\r\nthe query: green").unwrap();
    assert_eq!(lines(&embed(&model, &["--file", file.to_str().unwrap()], "")), named);
    // A prefix is as if it were written; alone or together makes no difference.
    assert_eq!(lines(&embed(&model, &["--prefix", "the query: ", "green"], "")), named[1..]);
}

#[test]
fn the_object_says_what_the_vectors_are() {
    let model = model("json");
    let output = embed(&model, &["--json", "--similarity", "--dimensions", "8", "red", "red apples", "blue"], "");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["schema"], "hwledger.embed/1");
    assert_eq!(
        (&report["dimensions"], &report["pooling"], &report["normalised"]),
        (&8.into(), &"mean".into(), &true.into())
    );
    assert_eq!(report["tokens"], 3 + 5 - 1 + 3 + 1);
    let embeddings = report["embeddings"].as_array().unwrap();
    assert_eq!(embeddings.iter().map(|one| one["tokens"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 5, 3]);
    let vectors: Vec<Vec<f64>> =
        embeddings.iter().map(|one| serde_json::from_value(one["embedding"].clone()).unwrap()).collect();
    for (row, one) in report["similarity"].as_array().unwrap().iter().zip(&vectors) {
        for (cosine, other) in row.as_array().unwrap().iter().zip(&vectors) {
            assert!((cosine.as_f64().unwrap() - product(one, other)).abs() < 1e-6);
        }
    }
    // The first elements of whole vectors, brought to length one again.
    let whole = lines(&embed(&model, &["red"], ""))[0][..8].to_vec();
    let length = product(&whole, &whole).sqrt();
    assert!(whole.iter().zip(&vectors[0]).all(|(whole, cut)| (whole / length - cut).abs() < 1e-6));
    let plain = lines(&embed(&model, &["--normalise", "false", "--pooling", "cls", "red"], ""));
    assert!((product(&plain[0], &plain[0]) - 1.0).abs() > 1e-3);
}

#[test]
fn cosines_are_a_table() {
    let model = model("cosines");
    let output = embed(&model, &["--similarity", "--verbose", "red", "red", "blue"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((rows.len(), rows[0].len()), (3, 3));
    assert_eq!((rows[0][0], rows[0][1], rows[2][2]), ("1.0000", "1.0000", "1.0000"));
    assert_eq!(rows[0][2], rows[2][0]);
    assert_ne!(rows[0][2], "1.0000");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("3 texts, 9 tokens, ") && told.contains("\nmemory: weights "), "{told}");
}

#[test]
fn what_cannot_be_embedded_is_one_sentence() {
    let model = model("errors");
    let refused = |arguments: &[&str], expected: &str| {
        let output = embed(&model, arguments, "");
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{told}");
        assert_eq!(told, expected);
    };
    let long = "red ".repeat(20);
    refused(
        &["blue", &long],
        "error: text 2 has 22 tokens, which do not fit a context of 12\n\
         hint: `--truncate` cuts the end off such texts\n",
    );
    refused(&[], "error: there is no text to embed\nhint: name texts after the model, or pipe in one per line\n");
    refused(
        &["--dimensions", "33", "red"],
        "error: the model cannot be loaded: vectors of 33 elements cannot be cut from the model's 32\n",
    );
    refused(
        &["--context", "13", "red"],
        "error: the model cannot be loaded: a context of 13 tokens is beyond the model's 12\n",
    );
    let missing = model.0.join("missing.txt");
    let cause = std::fs::read(&missing).unwrap_err();
    let missing = missing.to_str().unwrap();
    refused(&["--file", missing], &format!("error: `{missing}` cannot be read: {cause}\n"));
    let output = embed(&model, &["--truncate", &long], "");
    assert_eq!(lines(&output).len(), 1);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "note: text 1 was cut to 12 tokens\n");
    let written = run("run", &model, &["red"], "");
    assert_eq!(written.status.code(), Some(2));
    assert!(String::from_utf8(written.stderr).unwrap().contains("`hwledger embed` makes embeddings with them"));
}

#[test]
fn a_plan_says_what_an_encoder_takes() {
    let model = model("plan");
    let output = run("plan", &model, &["--engine", "hwledger", "--json"], "");
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let part = |name: &str| plan["memory"][name]["value"].as_u64().unwrap();
    // Matrices as they are, in groups of sixteen rows; vectors; the first segment.
    let matrices = [[16, HIDDEN], [16, HIDDEN], [4 * HIDDEN, HIDDEN], [WIDTH, HIDDEN], [HIDDEN, 2 * HIDDEN]];
    let vectors = HIDDEN * 7 + 5 * HIDDEN + WIDTH;
    let expected = matrices.iter().map(|[rows, columns]| rows * columns).sum::<usize>() + vectors;
    assert_eq!((part("weights"), part("kv_cache")), (4 * expected as u64, 0));
}
