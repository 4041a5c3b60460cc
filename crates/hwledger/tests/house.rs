//! The rules of the house that a compiler does not keep: direction of
//! dependence, licences, size of files.

#![expect(clippy::unwrap_used, reason = "a broken workspace should stop these tests at once")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// For each crate of ours, the crates of ours that it may use (ARCHITECTURE.md).
const MAY_USE: &[(&str, &[&str])] = &[
    ("hwledger-core", &[]),
    ("hwledger-formats", &["hwledger-core"]),
    ("hwledger-kernels", &["hwledger-core"]),
    ("hwledger-engine", &["hwledger-core", "hwledger-formats", "hwledger-kernels"]),
    ("hwledger-probe", &["hwledger-core"]),
    ("hwledger-ledger", &["hwledger-core"]),
    ("hwledger-node", &["hwledger-core", "hwledger-formats", "hwledger-engine", "hwledger-probe", "hwledger-ledger"]),
    ("hwledger", &["hwledger-core", "hwledger-node"]),
];

/// What must not be reachable from a crate, and why.
const MUST_NOT_REACH: &[(&str, &[&str])] = &[
    // Arithmetic stays free of files, network, clock, environment, async and threads.
    ("hwledger-core", &["ureq", "tokio", "rustls", "axum", "hyper", "serde_json", "rayon", "libc", "chrono", "time"]),
    // Readers take bytes; they never fetch them.
    ("hwledger-formats", &["ureq", "tokio", "rustls", "axum", "hyper", "rayon"]),
    // Kernels compute; they know no file, model or thread pool of others.
    ("hwledger-kernels", &["ureq", "tokio", "rustls", "serde_json", "rayon"]),
    // The ledger speaks to the server of its database and to nobody else: who serves it, and to whom, is decided elsewhere.
    ("hwledger-ledger", &["ureq", "axum", "hyper"]),
    // What a machine and its engines tell is read from what others fetched.
    ("hwledger-probe", &["ureq", "tokio", "rustls", "axum", "hyper"]),
    // The engine serves calls, not sockets.
    ("hwledger-engine", &["ureq", "tokio", "rustls", "axum", "hyper"]),
];

/// Licences whose terms an Apache-2.0 binary can meet.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "0BSD",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Longest source file, unless its first line says that it is a table or generated.
const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The platform that the tests run on: packages of others may never have been downloaded.
fn platform() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(rustc).arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// The packages of every feature, whether it is on by default or not.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--all-features"])
        .args(["--filter-platform", &platform()])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Package id to name, and package id to the ids it uses outside tests.
fn graph(metadata: &Value) -> (BTreeMap<String, String>, BTreeMap<String, Vec<String>>) {
    let names = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap().to_owned(), package["name"].as_str().unwrap().to_owned()))
        .collect();
    let uses = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let normal = node["deps"].as_array().unwrap().iter().filter(|dependency| {
                dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null())
            });
            let ids = normal.map(|dependency| dependency["pkg"].as_str().unwrap().to_owned()).collect();
            (node["id"].as_str().unwrap().to_owned(), ids)
        })
        .collect();
    (names, uses)
}

#[test]
fn crates_use_only_what_the_architecture_allows() {
    let (names, uses) = graph(&metadata());
    for (id, used) in &uses {
        let name = names[id].as_str();
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == name) else {
            assert!(!name.starts_with("hwledger"), "`{name}` is not in the architecture's table");
            continue;
        };
        for dependency in used.iter().map(|id| names[id].as_str()).filter(|name| name.starts_with("hwledger")) {
            assert!(allowed.contains(&dependency), "`{name}` must not use `{dependency}`");
        }
    }
}

#[test]
fn forbidden_dependencies_are_out_of_reach() {
    let (names, uses) = graph(&metadata());
    for (name, forbidden) in MUST_NOT_REACH {
        let start = names.iter().find(|(_, known)| known == name).unwrap().0;
        let mut reached = BTreeSet::from([start.clone()]);
        let mut open = vec![start.clone()];
        while let Some(id) = open.pop() {
            for next in &uses[&id] {
                if reached.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        for id in &reached {
            assert!(!forbidden.contains(&names[id].as_str()), "`{name}` reaches `{}`", names[id]);
        }
    }
}

/// Whether an SPDX expression without parentheses around `AND` can be met from [`LICENCES`].
fn is_met(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    plain.split(" AND ").all(|all| all.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

#[test]
fn every_licence_fits() {
    for package in metadata()["packages"].as_array().unwrap() {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_met(licence), "`{}` has the licence `{licence}`", package["name"]);
        assert!(
            package["source"].is_null() || package["source"].as_str().unwrap().starts_with("registry+"),
            "`{}` does not come from a registry",
            package["name"]
        );
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_stay_readable() {
    let mut found = Vec::new();
    sources(&root().join("crates"), &mut found);
    assert!(found.len() > 20, "the search found only {} files", found.len());
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap_or_default().to_ascii_lowercase();
        let is_table = first.contains("table") || first.contains("generated");
        assert!(is_table || text.lines().count() <= LINES_MAX, "{} is longer than {LINES_MAX} lines", path.display());
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let vague = ["util", "utils", "common", "helper", "helpers", "manager", "misc"];
        assert!(!vague.contains(&name.as_str()), "{} says nothing about what it holds", path.display());
    }
}
