//! Names of models as llama.cpp prints them.

/// The weight format of a label such as `qwen2 7B Q4_K - Medium` or `llama 7B mostly Q4_0`.
///
/// Source: `llama_model_ftype_name` of llama.cpp's `src/llama-model-loader.cpp`.
///
/// ```
/// use hwledger_formats::measurement::weights_of_label;
/// assert_eq!(weights_of_label("qwen2 7B Q4_K - Medium").as_deref(), Some("Q4_K_M"));
/// assert_eq!(weights_of_label("llama 8B IQ4_XS - 4.25 bpw").as_deref(), Some("IQ4_XS"));
/// assert_eq!(weights_of_label("qwen3moe 30B.A3B"), None);
/// ```
pub fn weights_of_label(label: &str) -> Option<String> {
    let label = label.trim_start_matches("(guessed)").trim();
    let mut words = label.split_whitespace().skip_while(|word| !is_format(word));
    let format = words.next()?;
    let rest: Vec<&str> = words.collect();
    let size = match rest[..] {
        ["-", "Small", ..] => "_S",
        // A Q2_K is one mixture only.
        ["-", "Medium", ..] if format != "Q2_K" => "_M",
        ["-", "Large", ..] => "_L",
        ["mix", ..] if format == "IQ3_S" => return Some("IQ3_M".to_owned()),
        _ => "",
    };
    Some(format!("{format}{size}"))
}

fn is_format(word: &str) -> bool {
    let starts = ["Q", "IQ", "TQ", "MXFP", "NVFP"];
    let is_plain = matches!(word, "F16" | "BF16" | "F32");
    is_plain
        || starts.iter().any(|start| {
            word.strip_prefix(start).is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
        })
}

/// Whether a path names a GGUF file.
pub(in crate::measurement) fn is_gguf(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.len() > 5 && bytes[bytes.len() - 5..].eq_ignore_ascii_case(b".gguf")
}

/// A file's name without folders, part number and ending.
fn stem(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let name = if is_gguf(name) { &name[..name.len() - ".gguf".len()] } else { name };
    // `-00001-of-00003`
    match name.rfind("-of-") {
        Some(at) if name[at + 4..].bytes().all(|byte| byte.is_ascii_digit()) => {
            name[..at].rsplit_once('-').map_or(name, |(front, _)| front)
        }
        _ => name,
    }
}

/// Where the weight format begins in a file's stem, its separator before it.
fn format_start(stem: &str) -> Option<usize> {
    stem.char_indices()
        .filter(|(_, letter)| matches!(letter, '-' | '.'))
        .map(|(at, _)| at)
        .filter(|at| {
            let rest = stem[at + 1..].to_ascii_uppercase();
            let rest = rest.strip_prefix("UD-").unwrap_or(&rest);
            let word = rest.split(['-', '.']).next().unwrap_or_default();
            is_format(word)
        })
        .min()
}

/// The weight format in a file's name.
pub(super) fn weights_of_file(path: &str) -> Option<&str> {
    let stem = stem(path);
    let rest = &stem[format_start(stem)? + 1..];
    let rest = rest.strip_prefix("UD-").unwrap_or(rest);
    Some(rest)
}

/// The model in a file's name: `Qwen2.5-7B-Instruct` of `models/Qwen2.5-7B-Instruct-Q4_K_M.gguf`.
pub(in crate::measurement) fn model_of_file(path: &str) -> String {
    let stem = stem(path);
    let end = format_start(stem).unwrap_or(stem.len());
    stem[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_name_their_format() {
        let cases = [
            ("llama 7B mostly Q4_0", Some("Q4_0")),
            ("llama 8B Q3_K - Large", Some("Q3_K_L")),
            ("llama 8B Q2_K - Medium", Some("Q2_K")),
            ("llama 8B Q2_K - Small", Some("Q2_K_S")),
            ("llama 8B Q6_K", Some("Q6_K")),
            ("llama 8B all F32", Some("F32")),
            ("llama 8B IQ3_S mix - 3.66 bpw", Some("IQ3_M")),
            ("gpt-oss 20B MXFP4 MoE", Some("MXFP4")),
            ("gemma3 27B BF16", Some("BF16")),
            ("qwen3moe 30B.A3B Q8_0", Some("Q8_0")),
            ("", None),
            ("Qwen", None),
        ];
        for (label, expected) in cases {
            assert_eq!(weights_of_label(label).as_deref(), expected, "{label}");
        }
    }

    #[test]
    fn files_name_model_and_format() {
        let cases = [
            ("models/Qwen2.5-7B-Instruct-Q4_K_M.gguf", "Qwen2.5-7B-Instruct", Some("Q4_K_M")),
            ("/m/gpt-oss-20b-mxfp4.gguf", "gpt-oss-20b", Some("mxfp4")),
            (r"C:\m\Llama-3.1-8B.Q8_0.gguf", "Llama-3.1-8B", Some("Q8_0")),
            ("DeepSeek-V3-UD-Q2_K_XL-00001-of-00005.gguf", "DeepSeek-V3", Some("Q2_K_XL")),
            ("model.gguf", "model", None),
            ("ggml-model-of-x.gguf", "ggml-model-of-x", None),
            ("", "", None),
        ];
        for (path, model, weights) in cases {
            assert_eq!(model_of_file(path), model, "{path}");
            assert_eq!(weights_of_file(path), weights, "{path}");
        }
    }
}
