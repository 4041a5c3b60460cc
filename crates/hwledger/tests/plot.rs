//! `hwledger plot`: what is in the pictures, and what is said where there can be none.

#![expect(clippy::unwrap_used, reason = "a test that cannot start should stop at once")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A plan with experts on one card.
const PLAN: [&str; 7] = ["qwen3-30b-a3b", "--engine", "llama.cpp", "--weights", "Q4_K_M", "--device", "RTX 4090"];

fn run(arguments: &[&str], input: &str) -> Output {
    let home = std::env::temp_dir().join("hwledger-no-home");
    let mut child = Command::new(env!("CARGO_BIN_EXE_hwledger"))
        .args(["--offline", "plot"])
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its flags never reads its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// A file of this test alone.
fn place(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plots");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// Draws twice, and gives the picture where both are the same bytes.
fn draw(name: &str, arguments: &[&str], input: &str) -> Vec<u8> {
    let path = place(name);
    let [first, second] = [(), ()].map(|()| {
        let output = run(&[arguments, &["--out", path.to_str().unwrap()]].concat(), input);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
        std::fs::read(&path).unwrap()
    });
    assert!(first == second, "`{name}` differs from run to run");
    first
}

fn svg(name: &str, arguments: &[&str], input: &str) -> String {
    let text = String::from_utf8(draw(name, arguments, input)).unwrap();
    assert_well_formed(&text);
    text
}

/// Every element closes in order, every attribute is quoted, every number is one.
fn assert_well_formed(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    for piece in text.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').expect("a tag ends");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            let name = tag.split([' ', '/']).next().unwrap();
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
    }
    assert!(open.is_empty(), "{open:?} never end");
    assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    assert!(!text.contains("NaN") && !text.contains("inf\"") && !text.contains("inf "), "a number is none");
}

fn assert_holds(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in the picture");
    }
}

#[test]
fn a_roofline_has_its_roof_and_its_parts() {
    let text = svg("roofline.svg", &[&["roofline"], &PLAN[..]].concat(), "");
    assert_holds(&text, &["Roofline: ", "operations per byte", "operations per second", "memory 1.01 TB/s"]);
    assert_holds(&text, &["fp32 82.6 Top/s", "int8 661 Top/s", "fp16, bf16", "decode: dense products"]);
    assert_holds(&text, &["decode: experts", "decode: attention", "prefill: experts", "prefill: activations"]);
}

#[test]
fn memory_has_every_component_and_what_is_usable() {
    let text = svg("memory.svg", &[&["memory"], &PLAN[..]].concat(), "");
    assert_holds(&text, &["weights", "KV cache", "compute", "overhead", "total", "usable ", "GiB", "host"]);
}

#[test]
fn layers_are_told_apart_by_kind() {
    let text = svg("layers.svg", &["layers", "gemma-3-27b-it", "--context", "32K"], "");
    assert_holds(&text, &["52 × sliding 1024", "10 × full", "weights, MiB", "cache, MiB", ">layer<"]);
}

#[test]
fn time_names_its_causes() {
    let text = svg("time.svg", &[&["time", "--dark"], &PLAN[..]].concat(), "");
    assert_holds(&text, &["one decoding pass: ", "prefill of 512 tokens: ", "routed experts", " ms<", " %<"]);
}

#[test]
fn a_front_is_drawn_from_csv_and_from_json_lines() {
    let arguments = ["pareto", "-", "--x", "cost", "--y", "speed", "--label", "name"];
    let text = svg("csv.svg", &arguments, "name,cost,speed\na,1,10\nb,2,30\n\"c <&>\",3,20\nd,,5\n");
    assert_holds(
        &text,
        &["speed against cost", "3 rows, 2 of them on the front", "cost (lower is better)", ">a<", ">b<"],
    );
    assert_holds(&text, &["1 row without both numbers left out."]);
    let lines = "{\"name\": \"c <&>\", \"cost\": 1, \"speed\": {\"value\": 2}}\n";
    assert_holds(&svg("json.svg", &arguments, lines), &["c &lt;&amp;&gt;", "1 row, 1 of them"]);
}

#[test]
fn accuracy_counts_what_lies_in_the_interval() {
    let record = |speed: f64| {
        format!(
            r#"{{"request": {{"model": "llama-3.1-8b", "engine": "llama.cpp", "weights": "Q4_K_M", "devices": [{{"name": "RTX 3090"}}]}}, "measured": {{"decode_tokens_per_s": {speed}}}, "source": "a test"}}"#
        )
    };
    let records = [record(112.0), record(1.0), record(115.0)].join("\n");
    let text = svg("accuracy.svg", &["accuracy", "-"], &records);
    assert_holds(&text, &["decode", "n = 3; ", "in interval: 67 %", "measured, tokens/s", "predicted, tokens/s"]);
}

#[test]
fn pixels_are_as_many_as_asked_for() {
    let size = ["--width", "640", "--height", "600", "--scale", "2"];
    let bytes = draw("memory.png", &[&["memory"], &PLAN[..], &size[..]].concat(), "");
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    assert_eq!((&bytes[16..20], &bytes[20..24]), (&1280_u32.to_be_bytes()[..], &1200_u32.to_be_bytes()[..]));
}

#[test]
fn json_holds_what_would_be_drawn() {
    let output = run(&[&["roofline", "--json"], &PLAN[..]].concat(), "");
    let plot: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(plot["bandwidth_bytes_per_s"].as_f64().unwrap() > 1e12);
    assert!(plot["points"].as_array().unwrap().iter().any(|point| point["part"] == "experts"));
}

/// One sentence, a hint, exit status 2.
fn check_refusal(arguments: &[&str], input: &str, sentence: &str, hint: &str) {
    let output = run(arguments, input);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty());
    assert!(text.contains(sentence), "{text}");
    assert!(text.contains(hint), "{text}");
}

#[test]
fn what_cannot_be_drawn_is_refused_in_a_sentence() {
    let plan = |kind: &'static str, more: &[&'static str]| [&[kind][..], &PLAN[..], more].concat();
    check_refusal(&["pie", "llama-3.1-8b"], "", "unrecognized subcommand 'pie'", "--help");
    check_refusal(&["rooflin", "llama-3.1-8b"], "", "unrecognized subcommand", "roofline");
    check_refusal(&plan("memory", &[]), "", "error: no file is named\n", "hint: `--out FILE.svg`");
    check_refusal(&plan("memory", &["--out", "a.gif"]), "", "error: `a.gif` does not say", "hint: a name that ends in");
    check_refusal(&plan("time", &["--out", "/no/such/folder/a.svg"]), "", "cannot be written: ", "hint: ");
    check_refusal(&plan("time", &["--out", "a.svg", "--width", "9"]), "", "of 9 x ", "`--width` from 560 to 4096");
    check_refusal(&plan("layers", &["--out", "a.svg", "--as-log"]), "", "a log cannot be drawn", "hint: ");
    check_refusal(&["time", "llama-3.1-8b", "--device", "no such card", "--out", "a.svg"], "", "not known", "hint: ");
    let pareto = ["pareto", "-", "--x", "a", "--y", "b", "--out", "a.svg"];
    check_refusal(&pareto, "", "error: the table has no rows\n", "hint: one JSON object per line");
    check_refusal(&pareto, "a,b\nx,y\n", "error: the column `a` holds no number\n", "hint: no column");
    check_refusal(
        &pareto,
        "a,c\n1,2\n",
        "error: the table has no column `b`\n",
        "hint: columns with numbers: `a`, `c`",
    );
    check_refusal(&pareto, "a,b\n1,\n,2\n", "error: no row has a number in both `a` and `b`\n", "hint: ");
    check_refusal(&["pareto", "/no/file", "--x", "a", "--y", "b"], "", "cannot be read: ", "hint: ");
    let accuracy = ["accuracy", "-", "--out", "a.svg"];
    check_refusal(&accuracy, "", "error: there is no record", "hint: one JSON object per line");
    check_refusal(&accuracy, "{}\n", "error: line 1 is no record", "hint: ");
}

#[test]
fn the_narrowest_pictures_are_drawn_too() {
    for kind in ["roofline", "memory", "layers", "time"] {
        svg(&format!("narrow-{kind}.svg"), &[&[kind, "--width", "560"], &PLAN[..]].concat(), "");
    }
}
