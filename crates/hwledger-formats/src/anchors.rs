//! Files of private measurements: TOML in, [`PrivateAnchors`] out.
//!
//! `[npu_llm_anchors.<tier>_<precision>.<model>]` and `[cnn_anchors.<tier>_<precision>.<network>]`.
//! Names may be shown, values never: no remark of this reader holds one, and the parser's own
//! messages, which quote what they stumble over, are dropped.

use hwledger_core::sizing::{CnnAnchor, LlmAnchor, Method, PrivateAnchors, SpecCell};
use toml::{Table, Value};

use crate::Diagnostic;

/// Longest file that is believed to hold anchors.
pub const ANCHOR_FILE_BYTES_MAX: usize = 4 << 20;

/// Share of the bandwidth that a run had, where its entry says nothing (the file format's default).
const BANDWIDTH_SHARE: f64 = 0.75;
/// Sustained share of peak bandwidth, where an entry says nothing (the file format's default).
const BANDWIDTH_EFFICIENCY: f64 = 0.70;

/// A number above zero; zero means "not measured" in these files.
fn number(entry: &Table, key: &str) -> Option<f64> {
    let value = match entry.get(key)? {
        Value::Float(value) => *value,
        Value::Integer(value) => *value as f64,
        _ => return None,
    };
    Some(value).filter(|value| value.is_finite() && *value > 0.0)
}

fn text(entry: &Table, key: &str) -> Option<String> {
    match entry.get(key)? {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Datetime(date) => Some(date.to_string()),
        _ => None,
    }
}

/// A share above 0 and at most 1.
fn share(entry: &Table, key: &str) -> Option<f64> {
    number(entry, key).filter(|share| *share <= 1.0)
}

fn method(entry: &Table) -> Option<Method> {
    text(entry, "source").and_then(|word| Method::of_word(&word))
}

fn count(entry: &Table, key: &str) -> Option<u64> {
    match entry.get(key)? {
        Value::Integer(value) => u64::try_from(*value).ok().filter(|value| *value > 0),
        _ => None,
    }
}

fn llm(entry: &Table) -> Option<LlmAnchor> {
    Some(LlmAnchor {
        decode_tokens_per_second: number(entry, "tokps")?,
        prefill_tokens_per_second: number(entry, "prefill_tokps"),
        memory_gb: number(entry, "mem_gb"),
        sequence_tokens: count(entry, "seqlen"),
        method: method(entry),
        measured_date: text(entry, "measured_date"),
        peak_bandwidth_gb_s: number(entry, "peak_bw_gbps"),
        bandwidth_share: share(entry, "bw_share_frac").unwrap_or(BANDWIDTH_SHARE),
        bandwidth_efficiency: share(entry, "bw_efficiency_frac").unwrap_or(BANDWIDTH_EFFICIENCY),
        notes: text(entry, "notes"),
    })
}

fn cnn(entry: &Table) -> Option<CnnAnchor> {
    let latency_ms = number(entry, "ms_per_inference")?;
    Some(CnnAnchor {
        latency_ms,
        frames_per_second: number(entry, "fps").unwrap_or(1000.0 / latency_ms),
        memory_mb: number(entry, "mem_mb"),
        input_resolution: text(entry, "input_res"),
        method: method(entry),
        measured_date: text(entry, "measured_date"),
        peak_bandwidth_gb_s: number(entry, "peak_bw_gbps"),
        bandwidth_share: share(entry, "bw_share_frac").unwrap_or(BANDWIDTH_SHARE),
        bandwidth_efficiency: share(entry, "bw_efficiency_frac").unwrap_or(BANDWIDTH_EFFICIENCY),
        notes: text(entry, "notes"),
    })
}

/// The entries of one section, by cell and key.
fn section<'a>(file: &'a Table, name: &str, remarks: &mut Vec<Diagnostic>) -> Vec<(SpecCell, &'a str, &'a Table)> {
    let mut found = Vec::new();
    let Some(Value::Table(cells)) = file.get(name) else { return found };
    for (cell_name, cell) in cells {
        let place = format!("{name}.{cell_name}");
        let (Ok(spec_cell), Value::Table(entries)) = (SpecCell::find(cell_name), cell) else {
            remarks.push(Diagnostic::new(place, "is no table of a known tier and precision; passed over"));
            continue;
        };
        for (key, entry) in entries {
            match entry {
                Value::Table(entry) => found.push((spec_cell, key.as_str(), entry)),
                _ => remarks.push(Diagnostic::new(format!("{place}.{key}"), "is no table; passed over")),
            }
        }
    }
    found
}

/// Reads a file of private measurements. Whatever cannot be read is not there: a broken file gives
/// no anchors and one remark, never an error, and an entry without a rate is left out.
pub fn private_anchors(file: &str) -> (PrivateAnchors, Vec<Diagnostic>) {
    let mut anchors = PrivateAnchors::default();
    let mut remarks = Vec::new();
    let parsed = if file.len() > ANCHOR_FILE_BYTES_MAX { None } else { file.parse::<Table>().ok() };
    let Some(parsed) = parsed else {
        remarks.push(Diagnostic::new("anchors", "the file is no readable TOML; no anchor was taken"));
        return (anchors, remarks);
    };
    for (cell, key, entry) in section(&parsed, "npu_llm_anchors", &mut remarks) {
        if let Some(anchor) = llm(entry) {
            anchors.llm.insert((cell, key.to_owned()), anchor);
        }
    }
    for (cell, key, entry) in section(&parsed, "cnn_anchors", &mut remarks) {
        if let Some(anchor) = cnn(entry) {
            anchors.cnn.insert((cell, key.to_owned()), anchor);
        }
    }
    (anchors, remarks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [npu_llm_anchors.mid_int8.moe]
        tokps = 41.375
        prefill_tokps = 2000
        source = "measured"
        measured_date = 2026-01-02
        bw_share_frac = 0.5

        [npu_llm_anchors.mid_int8.unmeasured]
        tokps = 0

        [npu_llm_anchors.tiny_int8.moe]
        tokps = 77.125

        [cnn_anchors.high_fp.detector]
        ms_per_inference = 12.5
        fps = 0
    "#;

    fn cell(name: &str) -> SpecCell {
        SpecCell::find(name).expect("a cell")
    }

    #[test]
    fn entries_are_read_with_the_defaults_of_the_format() {
        let (anchors, remarks) = private_anchors(FILE);
        let moe = &anchors.llm[&(cell("mid_int8"), "moe".to_owned())];
        assert!((moe.decode_tokens_per_second - 41.375).abs() < 1e-12);
        assert_eq!(moe.prefill_tokens_per_second, Some(2000.0));
        assert_eq!((moe.method, moe.measured_date.as_deref()), (Some(Method::Measured), Some("2026-01-02")));
        assert!((moe.bandwidth_share - 0.5).abs() < 1e-12 && (moe.bandwidth_efficiency - 0.70).abs() < 1e-12);
        assert_eq!(anchors.llm.len(), 1, "zero means not measured");
        let detector = &anchors.cnn[&(cell("high_fp"), "detector".to_owned())];
        assert!((detector.frames_per_second - 80.0).abs() < 1e-12);
        assert_eq!(remarks.len(), 1);
        assert_eq!(remarks[0].place, "npu_llm_anchors.tiny_int8");
    }

    #[test]
    fn no_remark_and_no_debug_text_holds_a_value() {
        let (anchors, remarks) = private_anchors(FILE);
        let (nothing, broken) = private_anchors("[npu_llm_anchors.mid_int8.moe]\ntokps = 41.375.1 secret");
        assert_eq!(nothing, PrivateAnchors::default());
        let text = format!("{anchors:?} {remarks:?} {broken:?}");
        for secret in ["41.375", "2000", "77.125", "12.5", "2026", "secret"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }

    #[test]
    fn wrong_types_are_not_there() {
        let (anchors, _) = private_anchors("npu_llm_anchors = 3\n[cnn_anchors]\nmid_int8 = \"x\"");
        assert_eq!(anchors, PrivateAnchors::default());
        let (anchors, _) = private_anchors("[npu_llm_anchors.mid_int8.moe]\ntokps = \"fast\"\n[x]\ny = nan");
        assert_eq!(anchors, PrivateAnchors::default());
    }
}
