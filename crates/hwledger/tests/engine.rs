//! `engine` and `metrics`, against a server on the loopback interface that answers as an engine did.

#![expect(clippy::unwrap_used, reason = "a test that cannot start should stop at once")]

mod home;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use home::Home;

/// Answers each path with a file of the probe's goldens, and tells the bodies of what is sent to it.
fn server(files: &'static [(&'static str, &'static str)]) -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, bodies) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            reader.read_line(&mut line).unwrap();
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).unwrap();
                if header.trim().is_empty() {
                    break;
                }
                if let Some(count) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = count.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            // A test that looks at none has dropped its end.
            let _ = sender.send(body);
            let path = line.split(' ').nth(1).unwrap_or_default();
            let golden = files.iter().find(|(known, _)| *known == path).map(|(_, name)| {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hwledger-probe/tests/golden");
                std::fs::read(folder.join(name)).unwrap()
            });
            let status = if golden.is_some() { "200 OK" } else { "404 Not Found" };
            let golden = golden.unwrap_or_default();
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", golden.len());
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&golden)).unwrap();
        }
    });
    (address, bodies)
}

const LLAMA_CPP: &[(&str, &str)] = &[
    ("/metrics", "llamacpp-0.6.0/metrics.busy.txt"),
    ("/props", "llamacpp-0.6.0/props.json"),
    ("/slots", "llamacpp-0.6.0/slots.busy.json"),
];
const VLLM: &[(&str, &str)] = &[
    ("/metrics", "vllm-0.32.0/metrics.txt"),
    ("/version", "vllm-0.32.0/version.json"),
    ("/v1/models", "vllm-0.32.0/v1-models.json"),
];

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwledger"));
    command.args(arguments).env_clear().env("HOME", std::env::temp_dir().join("hwledger-no-home"));
    command.env("SHORT", "secret").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Output, errors and status, with an address that differs each time replaced.
fn picture(arguments: &[&str], address: &str) -> String {
    let output = run(arguments);
    let host = address.strip_prefix("http://").unwrap_or(address);
    let text = format!(
        "$ hwledger {}\n{}\n--- standard error\n{}\n--- exit status {}",
        arguments.join(" "),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code().unwrap()
    );
    text.replace(host, "HOST")
}

#[test]
fn scrape_shows_what_is_told_and_why_the_rest_is_not() {
    let (address, _) = server(LLAMA_CPP);
    insta::assert_snapshot!("scrape_llama_cpp", picture(&["engine", "scrape", &address], &address));
    let (address, _) = server(VLLM);
    insta::assert_snapshot!("scrape_vllm", picture(&["engine", "scrape", &format!("{address}/metrics")], &address));
}

#[test]
fn scrape_prints_one_object() {
    let (address, _) = server(LLAMA_CPP);
    let output = run(&["engine", "scrape", &address, "--json", "--over", "0.01"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["schema"], "hwledger.engine-scrape/1");
    assert_eq!(value["engine"], "llama.cpp");
    let readings = value["readings"].as_array().unwrap();
    let waiting = readings.iter().find(|reading| reading["metric"] == "hwl_engine_requests_waiting").unwrap();
    assert_eq!(waiting["value"], 4.0);
    assert_eq!(waiting["quality"], "measured");
    let rate = readings.iter().find(|reading| reading["metric"] == "hwl_engine_output_tokens_per_second").unwrap();
    assert_eq!(rate["value"], 0.0);
    let missing = readings.iter().find(|reading| reading["metric"] == "hwl_engine_weights_bytes").unwrap();
    assert!(missing["value"].is_null() && missing["quality"] == "unsupported");
}

#[test]
fn watch_prints_a_line_each_time() {
    let (address, _) = server(LLAMA_CPP);
    let output = run(&["engine", "watch", &address, "--interval", "0.01", "--count", "3"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 5, "{text}");
    let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(last, ["2", "4", "?", "0", "0", "?", "?"]);
}

#[test]
fn what_cannot_be_read_is_one_sentence_and_status_2() {
    let (address, _) = server(&[]);
    insta::assert_snapshot!("scrape_of_no_engine", picture(&["engine", "scrape", &address], &address));
    let token = ["engine", "scrape", &address, "--token-env", "NOT_THERE"];
    insta::assert_snapshot!("scrape_without_the_token", picture(&token, &address));
    let mapping = ["engine", "scrape", &address, "--metrics-map", "Cargo.toml"];
    insta::assert_snapshot!("scrape_with_a_broken_mapping", picture(&mapping, &address));
    let open = ["metrics", "serve", "--listen", "0.0.0.0:0", "--engine", &address];
    insta::assert_snapshot!("serve_to_everyone", picture(&open, &address));
    let short = ["metrics", "serve", "--listen", "0.0.0.0:0", "--token-env", "SHORT", "--engine", &address];
    insta::assert_snapshot!("serve_with_a_short_token", picture(&short, &address));
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn serve_gives_prometheus_what_the_engine_told() {
    let (engine, _) = server(LLAMA_CPP);
    let arguments = ["metrics", "serve", "--listen", "127.0.0.1:0", "--engine", &engine, "--interval", "0.02"];
    let mut running = Running(command(&arguments).stderr(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("serving http://").unwrap().strip_suffix("/metrics").unwrap();
    // The first look at the engine may not be over yet.
    let text = (0..500).find_map(|_| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.contains("tokens_per_second").then_some(answer)
    });
    let text = text.expect("the engine is read within five hundred requests");
    let instance = engine.strip_prefix("http://").unwrap();
    let waiting = format!("hwl_engine_requests_waiting{{engine=\"llama.cpp\",instance=\"{instance}\"}} 4\n");
    assert!(text.contains(&waiting), "{text}");
    assert!(text.contains("# TYPE hwl_engine_output_tokens_total counter\n"), "{text}");
    assert!(!text.contains("weights"), "{text}");
}

#[test]
fn push_sends_one_export() {
    let (engine, _) = server(LLAMA_CPP);
    let (collector, bodies) = server(&[("/v1/metrics", "otlp/accepted")]);
    let output = run(&["metrics", "push", "--otlp", &collector, "--engine", &engine, "--count", "1"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && errors.starts_with("sent "), "{errors}");
    let body = bodies.recv().unwrap();
    let holds = |text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("hwl_engine_requests_waiting") && holds("llama.cpp") && !holds("weights_bytes"));
}

/// Whether any file below a folder holds a text.
fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn an_address_is_sealed_and_can_be_forgotten() {
    let home = Home::new("engine");
    let watched = |address: &str| {
        home.says(0, &["engine", "watch", address, "--interval", "0.01", "--count", "3", "--record"]);
    };
    let (address, _) = server(LLAMA_CPP);
    let text = home.says(2, &["engine", "watch", &address, "--count", "1", "--record"]);
    assert!(text.contains("there is no ledger"), "{text}");
    home.says(0, &["ledger", "init"]);
    watched(&address);
    let kinds = |home: &Home| -> Vec<String> {
        let log = home.json(&["ledger", "log"]);
        log["entries"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&home), ["LedgerCreated", "EngineAttached", "EngineConfigObserved", "EngineWindowRecorded"]);
    let config = home.json(&["ledger", "show", "2"]);
    assert_eq!(config["event"]["data"]["engine"], "llama.cpp");
    assert!(config["event"]["data"]["settings"][0].as_str().unwrap().starts_with("context_tokens="), "{config}");
    let window = home.json(&["ledger", "show", "3"]);
    let measures = window["event"]["data"]["measures"].as_array().unwrap();
    let of = |name: &str| &measures.iter().find(|measure| measure["figure"] == name).unwrap()["value"];
    assert_eq!((of("hwl_engine_requests_waiting"), of("hwl_engine_output_tokens_total")), (&"4".into(), &"0".into()));
    // The same settings are told once.
    watched(&address);
    assert_eq!(kinds(&home)[4..], ["EngineAttached", "EngineWindowRecorded"]);

    let shown = home.json(&["ledger", "show", "1"]);
    assert_eq!(shown["sealed"]["address"]["state"], "open", "{shown}");
    assert_eq!(shown["sealed"]["address"]["text"], address.as_str());
    let text = home.says(0, &["ledger", "show", "1"]);
    assert!(text.contains(&format!("address, sealed: {address}")), "{text}");
    let place = address.strip_prefix("http://").unwrap();
    let bundle = home.0.join("bundle");
    home.says(0, &["ledger", "export", bundle.to_str().unwrap()]);
    assert!(holds(&bundle, "ciphertext") && !holds(&bundle, place));
    assert!(!holds(&home.0.join(".local/share/hwledger/ledger"), place));

    let redacted =
        home.json(&["ledger", "redact", "host/127.0.0.1", "--reason", "it moved"])["index"].as_u64().unwrap();
    let says_so = format!("address: redacted, says entry {redacted} (it moved)");
    let later = (redacted + 1).to_string();
    for entry in ["1", "4"] {
        let text = home.says(0, &["ledger", "show", entry]);
        assert!(text.contains(&says_so) && !text.contains(place), "{text}");
    }
    assert!(!holds(&home.0, place));
    home.says(0, &["ledger", "verify"]);
    home.says(0, &["ledger", "verify", "--bundle", bundle.to_str().unwrap()]);
    // What is told afterwards has another key, which opens nothing of before.
    watched(&address);
    let text = home.says(0, &["ledger", "show", "1"]);
    assert!(text.contains(&says_so), "{text}");
    let text = home.says(0, &["ledger", "show", &later]);
    assert!(text.contains(&format!("address, sealed: {address}")), "{text}");
    // Who finds the record without its keys reads as much as was sealed.
    std::fs::remove_dir_all(home.0.join(".local/state")).unwrap();
    let text = home.says(0, &["ledger", "show", &later]);
    assert!(text.contains("address: sealed with a key that is not here"), "{text}");
}
