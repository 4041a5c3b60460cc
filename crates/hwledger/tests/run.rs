//! `hwledger run` on the model that is part of the program: formats of replies, probabilities, errors.

#![expect(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const SCHEMA: &str = r#"{"type": "object", "properties": {"title": {"type": "string", "maxLength": 24},
    "pages": {"type": "integer", "minimum": 1, "maximum": 900}, "kind": {"enum": ["novel", "poem"]},
    "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3}},
    "required": ["title", "pages", "kind", "tags"], "additionalProperties": false}"#;

/// Runs `hwledger run demo` in an empty environment.
fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hwledger"))
        .args(["run", "demo", "--threads", "1"])
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What a run that went well printed, without the line's end that the program adds.
fn text(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().strip_suffix('\n').unwrap().to_owned()
}

fn check_error(arguments: &[&str], words: &str) {
    let output = run(arguments);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), words, "{arguments:?}");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
}

/// A file that is gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hwledger-run-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

fn assert_follows(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let object = value.as_object().unwrap();
    assert_eq!(object.len(), 4, "{text}");
    assert!(object["title"].as_str().unwrap().chars().count() <= 24, "{text}");
    assert!((1..=900).contains(&object["pages"].as_i64().unwrap()), "{text}");
    assert!(["novel", "poem"].contains(&object["kind"].as_str().unwrap()), "{text}");
    let tags = object["tags"].as_array().unwrap();
    assert!((1..=3).contains(&tags.len()) && tags.iter().all(Value::is_boolean), "{text}");
}

#[test]
fn replies_follow_a_schema() {
    let file = Scratch::new("schema.json", SCHEMA);
    assert_follows(&text(&["--json-schema", file.path(), "--temperature", "0", "A book:"]));
    let mut all = Vec::new();
    for seed in ["1", "2", "3", "4"] {
        let all_of_it = ["--top-k", "0", "--top-p", "1", "--min-p", "0", "--temperature", "1"];
        let found = text(&[&all_of_it[..], &["--seed", seed, "--json-schema", SCHEMA, "A book:"]].concat());
        assert_follows(&found);
        all.push(found);
    }
    all.sort();
    all.dedup();
    assert!(all.len() > 1, "seeds give replies of their own: {all:?}");
}

#[test]
fn replies_follow_a_grammar() {
    let file = Scratch::new("grammar.lark", "start: \"It was \" WORD \".\"\nWORD: /[a-z]{3,7}/\n");
    for seed in ["1", "2", "3"] {
        let found = text(&["--grammar", file.path(), "--temperature", "1", "--seed", seed, "What was it?"]);
        let word = found.strip_prefix("It was ").unwrap().strip_suffix('.').unwrap();
        assert!((3..=7).contains(&word.len()) && word.bytes().all(|letter| letter.is_ascii_lowercase()), "{found}");
    }
}

#[test]
fn a_grammar_of_llama_cpp_is_followed() {
    let file = Scratch::new("answer.gbnf", "root ::= \"It is \" word \".\"\nword ::= [a-z]{3,7}\n");
    let found = text(&["--grammar", file.path(), "--temperature", "1", "--seed", "1", "What is it?"]);
    let word = found.strip_prefix("It is ").unwrap().strip_suffix('.').unwrap();
    assert!((3..=7).contains(&word.len()) && word.bytes().all(|letter| letter.is_ascii_lowercase()), "{found}");
}

/// The model never learnt JSON, so that nothing but the grammar makes it an object.
#[test]
fn any_json_object_can_be_asked_for() {
    let free = text(&["-n", "40", "--seed", "7", "Who are you?"]);
    assert!(!free.trim_start().starts_with('{'), "{free}");
    let output = run(&["-n", "40", "--seed", "7", "--response-format", "json_object", "Who are you?"]);
    assert!(output.status.success());
    let found = String::from_utf8(output.stdout).unwrap();
    assert!(found.trim_start().starts_with('{'), "{found}");
    // Whole, or cut off where it says so.
    let is_cut = String::from_utf8(output.stderr).unwrap() == "note: the reply ended after 40 tokens, incomplete\n";
    assert_ne!(serde_json::from_str::<Value>(&found).is_ok(), is_cut, "{found}");
}

#[test]
fn what_cannot_be_followed_is_one_sentence() {
    check_error(
        &["--json-schema", "{\"type\": \"objekt\"}", "Hello"],
        "error: the grammar cannot be used: Invalid type: objekt\n",
    );
    check_error(
        &["--json-schema", "{\"type\"", "Hello"],
        "error: the text is no JSON schema: EOF while parsing an object at line 1 column 7\n",
    );
    let output = run(&["--json-schema", "/no/such/file", "Hello"]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.starts_with("error: cannot read `/no/such/file`: ") && words.lines().count() == 1, "{words}");
    assert_eq!(output.status.code(), Some(2));
    let file = Scratch::new("wrong.gbnf", "root ::= \"yes\" | no\n");
    check_error(
        &["--grammar", file.path(), "Hello"],
        "error: the grammar cannot be used: line 1, column 18: there is no rule `no`\n",
    );
    let file = Scratch::new("unknown.lark", "start: word\n");
    check_error(
        &["--grammar", file.path(), "Hello"],
        "error: the grammar cannot be used: at 1(8): unknown name: \"word\"\n",
    );
}

#[test]
fn one_object_tells_the_reply_and_its_probabilities() {
    let asked = ["--temperature", "0", "-n", "12", "Who are you?"];
    let plain = text(&asked);
    let answer: Value = serde_json::from_str(&text(&[&["--json", "--logprobs=3"][..], &asked].concat())).unwrap();
    assert_eq!(answer["text"].as_str().unwrap(), plain);
    assert_eq!((answer["model"].as_str(), answer["finish_reason"].as_str()), (Some("demo"), Some("length")));
    assert_eq!(answer["usage"]["reply_tokens"], 12);
    let content = answer["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content.len(), 12);
    let joined: String = content.iter().map(|token| token["token"].as_str().unwrap()).collect();
    assert_eq!(joined, plain);
    for token in content {
        // The likeliest is chosen; probabilities fall and stay below 1.
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!((top.len(), &top[0]["token"], &top[0]["logprob"]), (3, &token["token"], &token["logprob"]));
        let logs: Vec<f64> = top.iter().map(|token| token["logprob"].as_f64().unwrap()).collect();
        assert!(logs[0] <= 0.0 && logs[0] >= logs[1] && logs[1] >= logs[2], "{logs:?}");
        let sum: f64 = logs.iter().map(|log| log.exp()).sum();
        assert!(sum <= 1.0 + 1e-6, "{sum}");
        let bytes: Vec<u8> = token["bytes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
            .collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), token["token"].as_str().unwrap());
    }
    let memory = &answer["memory"];
    assert!(memory["weights"].as_u64().unwrap() > 3 << 20, "{memory}");
    if cfg!(target_os = "linux") {
        // The program and the tokenizer are there at least.
        assert!(memory["overhead"].as_u64().unwrap() > 1 << 20, "{memory}");
    }
    // Not asked for, not there.
    let answer: Value = serde_json::from_str(&text(&[&["--json"][..], &asked].concat())).unwrap();
    assert!(answer.get("logprobs").is_none());
}

#[test]
fn probabilities_stand_beside_the_reply_without_json() {
    let output = run(&["--temperature", "0", "-n", "3", "--logprobs=2", "Who are you?"]);
    let lines = String::from_utf8(output.stderr).unwrap();
    assert_eq!(lines.lines().count(), 3, "{lines}");
    assert!(lines.lines().all(|line| line.starts_with('"') && line.contains("  of ")), "{lines}");
    let output = run(&["--temperature", "0", "-n", "3", "--logprobs", "Who are you?"]);
    let lines = String::from_utf8(output.stderr).unwrap();
    assert_eq!(lines.lines().filter(|line| !line.contains("  of ")).count(), 3, "{lines}");
}

#[test]
fn readings_follow_the_reply_on_standard_error() {
    let output = run(&["--temperature", "0", "--readings", "Who are you?"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    for line in [
        "hwl_engine_requests_total{engine=\"hwledger\",model=\"demo\"} 1",
        "# TYPE hwl_engine_output_tokens_total counter",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(text.contains("hwl_engine_weights_bytes{") && !text.contains("hwl_engine_draft"), "{text}");
}
