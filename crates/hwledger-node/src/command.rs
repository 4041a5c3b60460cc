//! A request as the command line that repeats it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::request::PlanRequest;

/// The command that plans `request` again.
pub fn command(verb: &str, request: &PlanRequest) -> String {
    let mut words = vec!["hwledger".to_owned(), verb.to_owned(), quoted(&request.model)];
    let Ok(Value::Object(keys)) = serde_json::to_value(request) else { return words.join(" ") };
    for (key, value) in sorted(&keys) {
        match (key.as_str(), value) {
            ("id" | "model", _) | (_, Value::Null) => {}
            ("devices", Value::Array(devices)) => devices.iter().for_each(|device| push_device(&mut words, device)),
            ("host", Value::Object(host)) => push_nested(&mut words, "host", host),
            ("draft", Value::Object(draft)) => push_nested(&mut words, "draft", draft),
            ("lora", Value::Object(lora)) => push_nested(&mut words, "lora", lora),
            ("cost", Value::Object(cost)) => push_nested(&mut words, "cost", cost),
            (key, value) => push(&mut words, key, value),
        }
    }
    words.join(" ")
}

/// Keys in alphabetic order, so that a command does not change where a request's type is put in another order.
fn sorted(object: &Map<String, Value>) -> BTreeMap<&String, &Value> {
    object.iter().collect()
}

fn push(words: &mut Vec<String>, key: &str, value: &Value) {
    let text = match value {
        Value::String(text) => quoted(text),
        other => other.to_string(),
    };
    words.push(format!("--{} {text}", key.replace('_', "-")));
}

fn push_nested(words: &mut Vec<String>, prefix: &str, object: &Map<String, Value>) {
    for (key, value) in sorted(object).into_iter().filter(|(_, value)| !value.is_null()) {
        push(words, &format!("{prefix}_{key}"), value);
    }
}

fn push_device(words: &mut Vec<String>, device: &Value) {
    let name = device["name"].as_str().unwrap_or_default();
    let text = match device["count"].as_u64() {
        Some(count) if count != 1 => format!("{count}x {name}"),
        _ => name.to_owned(),
    };
    words.push(format!("--device {}", quoted(&text)));
    if let Some(memory) = device["memory"].as_object() {
        let part = |key: &str| memory.get(key).map_or_else(String::new, |part| part.to_string().replace('"', ""));
        words.push(format!("--device-memory {}:{}:{}", part("kind"), part("bus_bits"), part("rate_gt_s")));
    }
    if let Some(memory) = device["memory_gib"].as_f64() {
        words.push(format!("--device-memory-gib {memory}"));
    }
}

/// A word of a shell, quoted where it must be.
fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@+,".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_becomes_its_flag() {
        let request: PlanRequest = serde_json::from_str(
            r#"{"model": "a b", "context": 4096, "gpu_layers": "all", "kv_unified": true,
                "devices": [{"name": "RTX 3090", "count": 2}], "host": {"memory_gib": 64.0}, "cost": {"pue": 1.2}}"#,
        )
        .unwrap();
        let text = command("plan", &request);
        for part in [
            "hwledger plan 'a b'",
            "--context 4096",
            "--gpu-layers all",
            "--kv-unified true",
            "--device '2x RTX 3090'",
            "--host-memory-gib 64.0",
            "--cost-pue 1.2",
        ] {
            assert!(text.contains(part), "{text} lacks {part}");
        }
        let flags: Vec<&str> = text.split(' ').filter(|word| word.starts_with("--")).collect();
        assert!(flags.is_sorted(), "{flags:?}");
    }
}
