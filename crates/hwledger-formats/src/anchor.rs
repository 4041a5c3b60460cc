//! Private anchor files: TOML whose keys are public and whose values are not.
//!
//! ```toml
//! [npu_llm_anchors.mid_int8.qwen3-30b-a3b]
//! tokps = 0.0            # decoded tokens per second; zero or absent: there is no such anchor
//! prefill_tokps = 0.0
//! mem_gb = 0.0
//! seqlen = 4096
//! source = "measured"
//! measured_date = "2026-01-31"
//! peak_bw_gbps = 0.0
//! bw_share_frac = 0.75
//! bw_efficiency_frac = 0.70
//!
//! [cnn_anchors.high_fp.resnet50]
//! ms_per_inference = 0.0
//! fps = 0.0
//! mem_mb = 0.0
//! input_res = "224x224"
//! ```
//!
//! Nothing here fails: what cannot be read is not there, and a diagnostic says so by key and line.
//! No value and no line of the file ever enters a diagnostic.

use std::collections::BTreeMap;

use hwledger_core::anchor::{AnchorKey, AnchorOrigin, AnchorSource, Anchors, LanguageAnchor, Secret, VisionAnchor};
use toml::{Table, Value};

use crate::Diagnostic;

/// Largest file that is read.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// Share of the peak bandwidth that a unit may use where the file does not say.
const BANDWIDTH_SHARE: f64 = 0.75;
/// Share of that which it reaches where the file does not say.
const BANDWIDTH_EFFICIENCY: f64 = 0.70;

const LANGUAGE: &str = "npu_llm_anchors";
const VISION: &str = "cnn_anchors";

/// Reads an anchor file. Anchors without their main figure are left out without a word: templates
/// hold zeros.
pub fn read_anchors(bytes: &[u8]) -> (Anchors, Vec<Diagnostic>) {
    let mut anchors = Anchors::default();
    let refuse = |message: String| (Anchors::default(), vec![Diagnostic::new("anchors", message)]);
    if bytes.len() > FILE_BYTES_MAX {
        return refuse(format!("the file is larger than {FILE_BYTES_MAX} bytes; no anchor is used"));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return refuse("the file is not UTF-8 text; no anchor is used".to_owned());
    };
    let table: Table = match toml::from_str(text) {
        Ok(table) => table,
        // The parser's own message quotes the line, value and all.
        Err(error) => {
            let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.lines().count().max(1));
            let place = line.map_or_else(String::new, |line| format!(" at line {line}"));
            return refuse(format!("the file is not valid TOML{place}; no anchor is used"));
        }
    };
    let mut diagnostics = Vec::new();
    for (key, row) in rows(&table, LANGUAGE, &mut diagnostics) {
        let row = Row { key: &key, values: row, diagnostics: &mut diagnostics };
        if let Some(anchor) = row.language() {
            anchors.language.insert(key, anchor);
        }
    }
    for (key, row) in rows(&table, VISION, &mut diagnostics) {
        let row = Row { key: &key, values: row, diagnostics: &mut diagnostics };
        if let Some(anchor) = row.vision() {
            anchors.vision.insert(key, anchor);
        }
    }
    (anchors, diagnostics)
}

/// The rows of `[name.<cell>.<subject>]`.
fn rows<'a>(table: &'a Table, name: &str, diagnostics: &mut Vec<Diagnostic>) -> BTreeMap<AnchorKey, &'a Table> {
    let mut found = BTreeMap::new();
    let Some(cells) = table.get(name) else { return found };
    let Some(cells) = cells.as_table() else {
        diagnostics.push(Diagnostic::new(name, "is not a table; its anchors are not used"));
        return found;
    };
    for (cell, subjects) in cells {
        let Some(subjects) = subjects.as_table() else {
            diagnostics.push(Diagnostic::new(format!("{name}.{cell}"), "is not a table; its anchors are not used"));
            continue;
        };
        for (subject, row) in subjects {
            let key = AnchorKey { cell: cell.clone(), subject: subject.clone() };
            match row.as_table() {
                Some(row) => {
                    found.insert(key, row);
                }
                None => diagnostics.push(Diagnostic::new(format!("{name}.{key}"), "is not a table; it is not used")),
            }
        }
    }
    found
}

/// One anchor's values.
struct Row<'a> {
    key: &'a AnchorKey,
    values: &'a Table,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Row<'_> {
    fn refuse(&mut self, name: &str, why: &str) {
        self.diagnostics.push(Diagnostic::new(format!("{}.{name}", self.key), why));
    }

    /// A positive number; zero is what templates hold and says nothing.
    fn figure(&mut self, name: &str) -> Option<Secret> {
        #[expect(clippy::cast_precision_loss, reason = "figures have a few digits")]
        let number = match self.values.get(name)? {
            Value::Float(number) => *number,
            Value::Integer(number) => *number as f64,
            _ => {
                self.refuse(name, "is not a number; it is not used");
                return None;
            }
        };
        if !number.is_finite() || number < 0.0 {
            self.refuse(name, "is not a number above zero; it is not used");
            return None;
        }
        (number > 0.0).then(|| Secret::new(number))
    }

    fn share(&mut self, name: &str, usual: f64) -> Secret {
        match self.figure(name) {
            Some(share) if share.reveal() <= 1.0 => share,
            Some(_) => {
                self.refuse(name, "is above 1; the usual share is taken");
                Secret::new(usual)
            }
            None => Secret::new(usual),
        }
    }

    fn word(&self, name: &str) -> Option<String> {
        match self.values.get(name)? {
            Value::String(text) => Some(text.clone()),
            // TOML has dates of its own.
            Value::Datetime(date) => Some(date.to_string()),
            _ => None,
        }
    }

    fn origin(&mut self) -> AnchorOrigin {
        AnchorOrigin {
            source: AnchorSource::named(self.word("source").as_deref().unwrap_or_default()),
            measured_date: self.word("measured_date"),
            peak_bandwidth_gb_s: self.figure("peak_bw_gbps"),
            bandwidth_share: self.share("bw_share_frac", BANDWIDTH_SHARE),
            bandwidth_efficiency: self.share("bw_efficiency_frac", BANDWIDTH_EFFICIENCY),
        }
    }

    fn language(mut self) -> Option<LanguageAnchor> {
        Some(LanguageAnchor {
            decode_tokens_per_s: self.figure("tokps")?,
            prefill_tokens_per_s: self.figure("prefill_tokps"),
            memory_gb: self.figure("mem_gb"),
            sequence_tokens: self
                .values
                .get("seqlen")
                .and_then(Value::as_integer)
                .and_then(|length| length.try_into().ok()),
            origin: self.origin(),
        })
    }

    fn vision(mut self) -> Option<VisionAnchor> {
        let inference_ms = self.figure("ms_per_inference")?;
        let frames = self.figure("fps").unwrap_or(Secret::new(1000.0 / inference_ms.reveal()));
        Some(VisionAnchor {
            inference_ms,
            frames_per_s: frames,
            memory_mb: self.figure("mem_mb"),
            input_resolution: self.word("input_res"),
            origin: self.origin(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[npu_llm_anchors.mid_int8.qwen3-30b]
tokps = 41.375
prefill_tokps = 912
mem_gb = 18.625
seqlen = 4096
source = "measured"
measured_date = 2026-01-31
peak_bw_gbps = 153.5

[npu_llm_anchors.high_fp.qwen3-30b]
tokps = 0.0
source = "measured"

[cnn_anchors.high_fp.resnet50]
ms_per_inference = 2.5
source = "vendor_spec"
bw_share_frac = 1.0
input_res = "224x224"
"#;

    #[test]
    fn anchors_are_read_and_templates_are_not_there() {
        let (anchors, diagnostics) = read_anchors(FILE.as_bytes());
        assert_eq!(diagnostics, []);
        assert_eq!((anchors.language.len(), anchors.vision.len()), (1, 1));
        let anchor = anchors.language("mid", "int8", "qwen3-30b").unwrap();
        assert!((anchor.decode_tokens_per_s.reveal() - 41.375).abs() < 1e-12);
        assert_eq!(anchor.sequence_tokens, Some(4096));
        assert_eq!(anchor.origin.source, AnchorSource::Measured);
        assert_eq!(anchor.origin.measured_date.as_deref(), Some("2026-01-31"));
        let expected = 153.5 * 0.75 * 0.70;
        assert!((anchor.origin.achieved_bandwidth_gb_s(None).unwrap().reveal() - expected).abs() < 1e-9);
        let network = anchors.vision("high", "fp", "resnet50").unwrap();
        assert!((network.frames_per_s.reveal() - 400.0).abs() < 1e-9);
        assert_eq!(network.input_resolution.as_deref(), Some("224x224"));
        assert!(anchors.language("high", "fp", "qwen3-30b").is_none());
    }

    #[test]
    fn no_value_is_ever_shown() {
        let (anchors, _) = read_anchors(FILE.as_bytes());
        let shown = format!("{anchors:?}");
        assert!(shown.contains("qwen3-30b") && shown.contains("withheld"));
        let broken = [
            FILE.replace("tokps = 41.375", "tokps = 41.375 41.375"),
            FILE.replace("tokps = 41.375", "tokps = \"41.375\""),
            FILE.replace("tokps = 41.375", "tokps = -41.375"),
            FILE.replace("peak_bw_gbps = 153.5", "bw_share_frac = 153.5"),
            FILE.replace("[npu_llm_anchors.mid_int8.qwen3-30b]", "[npu_llm_anchors]\nmid_int8 = 41.375\n[x]"),
        ];
        for text in broken {
            let (anchors, diagnostics) = read_anchors(text.as_bytes());
            let shown = format!("{anchors:?} {diagnostics:?}");
            assert!(!diagnostics.is_empty(), "{text}");
            for value in ["41.375", "912", "18.625", "153.5"] {
                assert!(!shown.contains(value), "{shown}");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_there() {
        let (anchors, diagnostics) = read_anchors(b"a = [1, 2\n");
        assert!(anchors.is_empty());
        assert!(diagnostics[0].message.contains("not valid TOML at line"), "{diagnostics:?}");
        for bytes in [&b"\xff\xfe"[..], b"npu_llm_anchors = 3", b"[npu_llm_anchors]\nmid_int8 = 1", b"[a]\n[a]"] {
            let (anchors, diagnostics) = read_anchors(bytes);
            assert!(anchors.is_empty());
            assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
        }
        assert!(read_anchors(b"").1.is_empty());
        let deep = format!("a = {}", "[".repeat(100_000));
        assert!(read_anchors(deep.as_bytes()).0.is_empty());
        assert!(read_anchors(&vec![b' '; FILE_BYTES_MAX + 1]).0.is_empty());
    }
}
