//! `probe` and `doctor`: standard output, standard error and exit status together.

#![expect(clippy::unwrap_used, reason = "a test that cannot start should stop at once")]

mod home;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use home::Home;

fn run(arguments: &[&str]) -> Output {
    let home = std::env::temp_dir().join("hwledger-no-home");
    Command::new(env!("CARGO_BIN_EXE_hwledger")).args(arguments).env_clear().env("HOME", home).output().unwrap()
}

fn picture(arguments: &[&str]) -> String {
    let output = run(arguments);
    format!(
        "$ hwledger {}\n{}\n--- standard error\n{}\n--- exit status {}",
        arguments.join(" "),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code().unwrap()
    )
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A file that is gone with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("hwledger-probe-{}-{name}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in the system's folder for such things.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_mock_machine_is_listed() {
    insta::assert_snapshot!(picture(&["probe", "list", "--source", "mock"]));
}

#[test]
fn a_mock_machine_is_watched() {
    insta::assert_snapshot!(picture(&["probe", "watch", "--source", "mock:7", "--count", "3"]));
}

#[test]
fn a_mock_machine_is_watched_line_by_line() {
    insta::assert_snapshot!(picture(&["probe", "watch", "--source", "mock", "--count", "1", "--ndjson"]));
}

#[test]
fn the_last_values_are_blocks_and_gaps_are_dots() {
    let text = text(&run(&["probe", "watch", "--source", "mock:7", "--count", "50"]));
    let last: Vec<&str> = text.lines().rev().take(5).collect();
    assert!(last.iter().any(|line| line.contains('·')), "the counter began anew: {last:?}");
    insta::assert_snapshot!(last.into_iter().rev().collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_recording_shows_what_the_machine_showed() {
    let file = Scratch::new("night.jsonl");
    let recorded = run(&["probe", "record", file.path(), "--source", "mock:7", "--count", "20"]);
    assert_eq!(text(&recorded), "");
    assert_eq!(String::from_utf8(recorded.stderr).unwrap(), format!("20 snapshots are in `{}`\n", file.path()));
    for face in [&["watch"][..], &["watch", "--ndjson"]] {
        let mock = [&["probe"], face, &["--source", "mock:7", "--count", "20"]].concat();
        let again = [&["probe"], face, &["--source", file.path()]].concat();
        assert_eq!(text(&run(&again)), text(&run(&mock)), "{face:?}");
    }
    let listed = text(&run(&["probe", "list", "--source", file.path()]));
    assert_eq!(listed, text(&run(&["probe", "list", "--source", "mock:7"])));
    let again = run(&["probe", "record", file.path(), "--source", "mock", "--count", "1"]);
    assert_eq!(again.status.code(), Some(2), "a recording is never overwritten");
}

#[test]
fn what_is_no_recording_is_one_sentence() {
    let absent = run(&["probe", "watch", "--source", "/nowhere/night.jsonl"]);
    assert_eq!(absent.status.code(), Some(2));
    let told = String::from_utf8(absent.stderr).unwrap();
    assert!(told.starts_with("error: `/nowhere/night.jsonl` cannot be read: ") && told.lines().count() == 1, "{told}");
    let file = Scratch::new("other.jsonl");
    let header = "{\"format\":\"hwledger.probe/1\"}\n";
    for (content, fault) in [
        ("some text\n".to_owned(), "line 1: this is no recording of `hwledger.probe/1`"),
        (format!("{header}{{}}\n"), "line 2: this is no snapshot: missing field `taken_at_ns` at line 1 column 2"),
    ] {
        std::fs::write(&file.0, content).unwrap();
        let refused = run(&["probe", "watch", "--source", file.path()]);
        assert_eq!(refused.status.code(), Some(2));
        assert_eq!(String::from_utf8(refused.stderr).unwrap(), format!("error: `{}`, {fault}\n", file.path()));
    }
    std::fs::write(&file.0, header).unwrap();
    let empty = run(&["probe", "list", "--source", file.path()]);
    assert_eq!(String::from_utf8(empty.stderr).unwrap(), format!("error: `{}` holds no snapshot\n", file.path()));
}

#[test]
fn times_that_are_none_are_refused() {
    let refused = run(&["probe", "watch", "--source", "mock", "--interval", "soon"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("`soon` is no time, such as 1s, 500ms or 2m"), "{told}");
}

#[test]
fn this_machine_is_listed_with_a_quality_for_everything() {
    let listed: serde_json::Value = serde_json::from_str(&text(&run(&["probe", "list", "--json"]))).unwrap();
    let readings = listed["host"]["readings"].as_array().unwrap();
    for reading in readings {
        let has_value = reading["value"].is_number();
        let has_reason = reading["reason"].is_string();
        assert!(has_value != has_reason, "{reading}");
        assert_eq!(has_value, matches!(reading["quality"].as_str().unwrap(), "measured" | "derived"), "{reading}");
    }
    if cfg!(target_os = "linux") {
        let total = readings.iter().find(|reading| reading["metric"] == "hwl_host_memory_total_bytes").unwrap();
        assert!(total["value"].as_f64().unwrap() > 1e8, "{total}");
        let busy = readings.iter().find(|reading| reading["metric"] == "hwl_host_cpu_utilization_ratio").unwrap();
        assert!((0.0..=1.0).contains(&busy["value"].as_f64().unwrap()), "two samples give a rate: {busy}");
    }
}

#[test]
fn the_probe_says_what_it_takes() {
    let watched = run(&["probe", "watch", "--count", "3", "--interval", "100ms", "--overhead"]);
    let told = String::from_utf8(watched.stderr.clone()).unwrap();
    assert_eq!(text(&watched).matches("host").count(), 3);
    if cfg!(unix) {
        assert!(told.starts_with("the probe took ") && told.ends_with(" % of one processor\n"), "{told}");
    }
}

#[test]
fn the_doctor_reports_and_names_nobody() {
    let report = text(&run(&["doctor"]));
    for word in
        ["hwledger ", "  system ", "  processor ", "  kernels ", "  memory ", "  group ", "findings", "not read"]
    {
        assert!(report.lines().any(|line| line.starts_with(word)), "no line `{word}` in\n{report}");
    }
    assert!(report.contains("~/.cache/hwledger/packed"), "the home folder is `~`: {report}");
    assert!(!report.contains("hwledger-no-home"), "{report}");
    let object: serde_json::Value = serde_json::from_str(&text(&run(&["doctor", "--json"]))).unwrap();
    assert!(object["processor"]["used"].is_string(), "{object}");
}

/// Runs the program where a library answers as NVIDIA's does; none where nothing compiles it.
#[cfg(target_os = "linux")]
fn beside_nvml(arguments: &[&str]) -> Option<Output> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nvml/library.c");
    let folder = std::env::temp_dir().join(format!("hwledger-nvml-{}-{}", std::process::id(), arguments.join("-")));
    std::fs::create_dir_all(&folder).unwrap();
    let library = folder.join("libnvidia-ml.so.1");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    let output = compiled.is_ok_and(|status| status.success()).then(|| {
        let program = env!("CARGO_BIN_EXE_hwledger");
        Command::new(program).args(arguments).env_clear().env("LD_LIBRARY_PATH", &folder).output().unwrap()
    });
    // What cannot be removed is in the system's folder for such things.
    let _ = std::fs::remove_dir_all(&folder);
    output
}

#[cfg(target_os = "linux")]
#[test]
fn the_library_of_nvidia_is_asked() {
    let Some(output) = beside_nvml(&["probe", "list", "--json"]) else {
        eprintln!("skipped: no C compiler makes the library");
        return;
    };
    let mut listed: serde_json::Value = serde_json::from_str(&text(&output)).unwrap();
    let devices = listed["devices"].take();
    let devices = devices.as_array().unwrap().iter().filter(|one| one["device"]["vendor"] == "nvidia");
    let mut lines = Vec::new();
    for one in devices {
        lines.push(one["device"].to_string());
        for reading in one["readings"].as_array().unwrap() {
            let outcome = if reading["value"].is_null() { &reading["reason"] } else { &reading["value"] };
            let labels = reading.get("labels").map(ToString::to_string).unwrap_or_default();
            lines.push(format!("  {} {labels} {} {outcome}", reading["metric"], reading["quality"]));
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_plan_for_this_machine_takes_what_the_driver_says() {
    let arguments =
        ["plan", "llama-3.1-8b", "--offline", "--engine", "llama.cpp", "--weights", "Q4_K_M", "--device", "local"];
    let Some(output) = beside_nvml(&arguments) else {
        eprintln!("skipped: no C compiler makes the library");
        return;
    };
    let plan = text(&output);
    let row = plan.lines().find(|line| line.contains("NVIDIA GeForce RTX 3090")).expect("the device has a row");
    assert!(row.contains("23.69 GiB") && row.ends_with("fits"), "the driver's total is the capacity: {row}");
    assert!(!plan.contains("NVIDIA device"), "a device that does not answer is left out: {plan}");
}

#[cfg(target_os = "linux")]
#[test]
fn windows_are_written_until_somebody_ends_it() {
    let home = Home::new("summarize");
    let text = home.says(2, &["probe", "summarize", "--count", "1"]);
    assert!(text.contains("there is no ledger"), "{text}");
    home.says(0, &["ledger", "init"]);
    let text = home.says(2, &["probe", "summarize", "--span", "50ms"]);
    assert!(text.contains("hint: change `--span` or `--interval`"), "{text}");
    let text = home.says(0, &["probe", "summarize", "--span", "150ms", "--interval", "50ms", "--count", "2"]);
    assert_eq!(text.matches(" windows, entries ").count(), 2, "{text}");

    // Ctrl-C in the middle of an hour.
    let mut command = Command::new(env!("CARGO_BIN_EXE_hwledger"));
    command.args(["probe", "summarize", "--span", "60m", "--json"]).env_clear().env("HOME", &home.0);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("Ctrl-C ends it"), "{line}");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let written: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let windows = written["windows"].as_array().unwrap();
    let memory = windows.iter().find(|window| window["metric"] == "hwl_host_memory_used_bytes").unwrap();
    assert_eq!((memory["device"].as_str(), memory["samples"].as_u64()), (Some("host"), Some(1)));
    let shown = home.json(&["ledger", "show", &written["entry"].to_string()]);
    assert_eq!(shown["event"]["subject"], "telemetry/host");
    assert_eq!(shown["event"]["data"]["start_ns"], written["start_ns"].to_string());
    home.says(0, &["ledger", "verify"]);
}
