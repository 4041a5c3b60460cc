//! An example of every kind of event, made from its schema.

use hwledger_ledger::canonical::to_canonical;
use hwledger_ledger::event::{KINDS, schema_of};
use serde_json::{Map, Value, json};

/// A value that fits a schema; only the fields that must be there where `is_bare`.
fn value_of(schema: &Value, is_bare: bool) -> Value {
    match schema["type"].as_str().unwrap_or_default() {
        "object" => {
            let is_required = |name: &str| schema["required"].as_array().unwrap().iter().any(|field| field == name);
            let fields = schema["properties"].as_object().unwrap().iter();
            let fields = fields.filter(|(name, _)| !is_bare || is_required(name));
            Value::Object(fields.map(|(name, field)| (name.clone(), value_of(field, is_bare))).collect::<Map<_, _>>())
        }
        "array" => json!([value_of(&schema["items"], is_bare)]),
        "boolean" => json!(true),
        _ => json!(match schema["pattern"].as_str() {
            None => "as text",
            Some("^(0|[1-9][0-9]*)$") => "18446744073709551615",
            Some("^(0|-?[1-9][0-9]*)$") => "-5",
            Some("^[0-9a-f]{64}$") => "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            Some(pattern) if pattern.contains("\\.") => "-0.25",
            Some(pattern) => panic!("no example of {pattern}"),
        }),
    }
}

/// The canonical bytes of an event of each kind with all fields, and of one with as few as may be.
pub(crate) fn examples() -> Vec<String> {
    let mut lines = Vec::new();
    for kind in KINDS {
        let schema = schema_of(*kind).unwrap();
        for is_bare in [false, true] {
            let mut event = json!({
                "specversion": "hwledger.event/1", "id": "000102030405060708090a0b0c0d0e0f", "type": kind.name,
                "schema_version": kind.version, "source": "hwledger/example", "subject": "example/1",
                "actor": { "kind": "program", "id": "hwledger" }, "recorded_at_ns": "1700000000000000000",
                "data": value_of(&schema, is_bare)
            });
            if !is_bare {
                event["observed_at_ns"] = json!("1699999999999999999");
                event["clock_offset_ns"] = json!("-12");
                event["causation_id"] = json!("f0e0d0c0b0a090807060504030201000");
                event["correlation_id"] = json!("run 7");
                event["idempotency_key"] = json!("example 1");
                event["actor"]["certificate"] = json!("4d2");
                event["agent"] = json!({ "agent": "agent-1", "sequence": "3", "signature": "AAAA" });
            }
            let line = String::from_utf8(to_canonical(&event).unwrap()).unwrap();
            if lines.last() != Some(&line) {
                lines.push(line);
            }
        }
    }
    lines
}
