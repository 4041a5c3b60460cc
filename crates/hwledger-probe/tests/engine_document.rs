//! docs/engine-telemetry.md shows the tables that the program uses.
//!
//! After a change of the tables, `HWLEDGER_WRITE_DOCUMENT=1 cargo test -p hwledger-probe --test engine_document` writes them.

use std::fmt::Write as _;
use std::path::Path;

use hwledger_probe::engine::{Mapping, canonical_metrics, engines};

/// The canonical names.
fn names() -> String {
    let mut text = "| name | what it says |\n| --- | --- |\n".to_owned();
    for metric in canonical_metrics() {
        writeln!(text, "| `{}` | {} |", metric.name, metric.help).expect("a text takes all");
    }
    text
}

/// One table per engine.
fn sources() -> String {
    let mapping = Mapping::built_in();
    let mut text = String::new();
    for engine in engines() {
        write!(text, "### {}\n\n| name | versions | source |\n| --- | --- | --- |\n", engine.name).expect("a text");
        for (metric, _, versions, source) in mapping.describe().filter(|(_, name, _, _)| *name == engine.name) {
            let metric = metric.strip_prefix("hwl_engine_").unwrap_or("all");
            let source = source.map_or_else(|reason| format!("none: {reason}"), |source| format!("`{source}`"));
            writeln!(text, "| `{metric}` | {versions} | {source} |").expect("a text takes all");
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_document_shows_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/engine-telemetry.md");
    let text = std::fs::read_to_string(&path).expect("the document is there");
    let (front, _) = text.split_once("\n## Names\n").expect("the document has the section `Names`");
    let wanted = format!(
        "{front}\n## Names\n\n{}\n## Where each comes from\n\n{}",
        names(),
        sources().trim_end().to_owned() + "\n"
    );
    if std::env::var_os("HWLEDGER_WRITE_DOCUMENT").is_some() {
        std::fs::write(&path, &wanted).expect("the document can be written");
    }
    let text = std::fs::read_to_string(&path).expect("the document is there");
    for (index, (found, wanted)) in text.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(found, wanted, "line {} of the document", index + 1);
    }
    assert_eq!(text.len(), wanted.len(), "the document is longer or shorter than its tables");
}
