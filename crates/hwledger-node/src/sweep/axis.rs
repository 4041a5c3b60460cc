//! Settings that vary.

use std::borrow::Cow;

use hwledger_core::Assumptions;
use hwledger_core::settings::Settings;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::SweepRequest;
use crate::planner::{PlanFailure, Planner};
use crate::request::{PlanRequest, bad, tokens};
use crate::table::{Cell, Kind};

/// One setting and the values that it takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Axis {
    /// A key of the plan request; `.` separates a key within an object (`host.memory_gib`,
    /// `draft.tokens`), and `device` names one device with its count (`2x RTX 3090`).
    pub key: String,
    /// Its values.
    pub values: Vec<Value>,
}

/// Most values of one axis.
const VALUES_MAX: usize = 100_000;

impl Axis {
    /// Reads `KEY=V1,V2,…`, `KEY=FROM..TO`, `KEY=FROM..TO..STEP` or `KEY=FROM..TO*FACTOR`; whole
    /// numbers take the suffixes K, M and G (powers of 1024).
    ///
    /// # Errors
    ///
    /// A text without `=`, a range that has no end.
    pub fn parse(text: &str) -> Result<Self, PlanFailure> {
        let hint = "`KEY=V1,V2`, `KEY=FROM..TO`, `KEY=FROM..TO..STEP` or `KEY=FROM..TO*FACTOR`";
        let wrong = || bad("vary", text, hint);
        let (key, values) = text.split_once('=').ok_or_else(wrong)?;
        let key = key.trim().replace('-', "_");
        let values = match values.split_once("..") {
            None => values.split(',').map(|value| value_of(value.trim())).collect(),
            Some((from, rest)) => range(from, rest).ok_or_else(wrong)?,
        };
        if key.is_empty() || values.is_empty() {
            return Err(wrong());
        }
        Ok(Self { key, values })
    }
}

/// A whole number with an optional binary suffix.
fn whole(text: &str) -> Option<u64> {
    tokens(text.trim()).ok()
}

fn value_of(text: &str) -> Value {
    if let Some(number) = whole(text) {
        return number.into();
    }
    match text {
        "true" => return true.into(),
        "false" => return false.into(),
        _ => {}
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => number.into(),
        _ => text.into(),
    }
}

fn range(from: &str, rest: &str) -> Option<Vec<Value>> {
    let from = whole(from)?;
    let (to, next): (u64, Box<dyn Fn(u64) -> Option<u64>>) = match (rest.split_once(".."), rest.split_once('*')) {
        (Some((to, step)), _) => {
            let step = whole(step).filter(|&step| step > 0)?;
            (whole(to)?, Box::new(move |value| value.checked_add(step)))
        }
        (None, Some((to, factor))) => {
            let factor = whole(factor).filter(|&factor| factor > 1)?;
            (whole(to)?, Box::new(move |value| value.checked_mul(factor).filter(|&next| next > value)))
        }
        (None, None) => (whole(rest)?, Box::new(|value| value.checked_add(1))),
    };
    if to < from {
        return None;
    }
    let all = std::iter::successors(Some(from), |&value| next(value)).take_while(|&value| value <= to);
    let values: Vec<Value> = all.take(VALUES_MAX + 1).map(Value::from).collect();
    (values.len() <= VALUES_MAX).then_some(values)
}

/// An axis whose values were checked.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) key: String,
    pub(super) kind: Kind,
    pub(super) values: Vec<Value>,
    pub(super) cells: Vec<Cell>,
    /// Settings with only this value set, where it is a setting of the engine alone; otherwise the
    /// request is read again for each value.
    pub(super) settings: Option<Vec<Settings>>,
    /// Whether the memory plan of every engine is the same for all values.
    pub(super) leaves_memory: bool,
    /// Whether that of most engines is: of those that allocate for the context and not for the run.
    pub(super) leaves_most_memory: bool,
}

impl Prepared {
    pub(super) const fn len(&self) -> usize {
        self.values.len()
    }
}

/// Reads all axes of a request.
pub(super) fn prepare(planner: &Planner, request: &SweepRequest) -> Result<Vec<Prepared>, PlanFailure> {
    let mut axes: Vec<Prepared> = Vec::with_capacity(request.vary.len());
    for axis in &request.vary {
        if axes.iter().any(|own| own.key == axis.key) {
            return Err(bad("vary", &axis.key, "each key once"));
        }
        axes.push(one(planner, request, axis)?);
    }
    Ok(axes)
}

fn one(planner: &Planner, request: &SweepRequest, axis: &Axis) -> Result<Prepared, PlanFailure> {
    let key = axis.key.as_str();
    if axis.values.is_empty() || axis.values.len() > VALUES_MAX {
        return Err(bad("vary", key, format!("from 1 to {VALUES_MAX} values")));
    }
    let mut settings = Vec::with_capacity(axis.values.len());
    for value in &axis.values {
        let alone = with_value(&PlanRequest::default(), &[(key, value)])?;
        let devices = planner.expand(&alone.devices, &mut Assumptions::default())?;
        settings.push(alone.settings(devices, &mut Assumptions::default())?);
        if key == "model" {
            planner.model(&alone.model)?;
        }
        if key.contains('.') {
            // It may need the rest of its object to mean anything.
            let whole = with_value(&request.plan, &[(key, value)])?;
            let shown = serde_json::to_value(&whole).unwrap_or_default();
            let pointer = format!("/{}", key.replace('.', "/"));
            if shown.pointer(&pointer).is_none_or(Value::is_null) {
                return Err(bad("vary", key, "a key of the plan request, as docs/contract.md lists them"));
            }
        }
    }
    let kind = kind_of(&axis.values);
    let is_setting = copy(key, &settings[0], &mut Settings::default());
    Ok(Prepared {
        key: axis.key.clone(),
        kind,
        cells: axis.values.iter().map(|value| cell(kind, value)).collect(),
        values: axis.values.clone(),
        settings: is_setting.then_some(settings),
        leaves_memory: matches!(key, "concurrency" | "request_rate" | "prefix_hit_rate"),
        leaves_most_memory: matches!(key, "prompt" | "generate" | "depth"),
    })
}

/// A request with some keys set.
pub(super) fn with_value(plan: &PlanRequest, keys: &[(&str, &Value)]) -> Result<PlanRequest, PlanFailure> {
    let Ok(Value::Object(mut object)) = serde_json::to_value(plan) else {
        return Err(PlanFailure::NotARequest("it is no object".to_owned()));
    };
    for (key, value) in keys {
        set(&mut object, key, value)?;
    }
    let shown = |keys: &[(&str, &Value)]| {
        let texts: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
        texts.join(" ")
    };
    let request: PlanRequest = serde_json::from_value(Value::Object(object)).map_err(|error| {
        PlanFailure::BadRequest { key: "vary".to_owned(), value: shown(keys), hint: error.to_string() }
    })?;
    match request.unknown.keys().next() {
        Some(unknown) => {
            let near = hwledger_core::nearest(unknown, KEYS.iter().copied()).into_iter().next();
            let hint = near.map_or_else(|| "a key of the plan request".to_owned(), |near| format!("perhaps `{near}`"));
            Err(bad("vary", unknown, hint))
        }
        None => Ok(request),
    }
}

fn set(object: &mut Map<String, Value>, key: &str, value: &Value) -> Result<(), PlanFailure> {
    if key == "device" {
        let name = value.as_str().map_or_else(|| Cow::Owned(value.to_string()), Cow::Borrowed);
        object.insert("devices".to_owned(), json!([{ "name": name }]));
        return Ok(());
    }
    // A number may be a name all the same: `engine_version=5`.
    let value = match (key, value) {
        ("weights" | "engine" | "engine_version" | "backend" | "model", Value::Number(number)) => {
            Value::String(number.to_string())
        }
        _ => value.clone(),
    };
    match key.split_once('.') {
        None => {
            object.insert(key.to_owned(), value);
        }
        Some((outer, inner)) => {
            let own = object.entry(outer.to_owned()).or_insert(Value::Null);
            if own.is_null() {
                *own = json!({});
            }
            let Value::Object(own) = own else { return Err(bad("vary", key, "the key within an object")) };
            own.insert(inner.to_owned(), value);
        }
    }
    Ok(())
}

/// The kind of column that holds all of `values`.
fn kind_of(values: &[Value]) -> Kind {
    if values.iter().all(Value::is_u64) {
        Kind::Integer
    } else if values.iter().all(Value::is_number) {
        Kind::Real
    } else if values.iter().all(Value::is_boolean) {
        Kind::Flag
    } else {
        Kind::Text
    }
}

fn cell(kind: Kind, value: &Value) -> Cell {
    match (kind, value) {
        (Kind::Integer, value) => Cell::count(value.as_u64()),
        (Kind::Real, value) => Cell::real(value.as_f64()),
        (Kind::Flag, value) => value.as_bool().map_or(Cell::Absent, Cell::Flag),
        (_, Value::String(text)) => Cell::Text(text.clone().into()),
        (_, other) => Cell::Text(other.to_string().into()),
    }
}

macro_rules! settings_keys {
    ($($key:literal => $($field:ident),+;)*) => {
        /// Copies the setting of this key; false where the key is no setting by itself.
        pub(super) fn copy(key: &str, from: &Settings, to: &mut Settings) -> bool {
            match key {
                $($key => { $(to.$field.clone_from(&from.$field);)+ })*
                _ => return false,
            }
            true
        }

        /// Keys that may vary.
        const KEYS: &[&str] = &[
            $($key,)*
            "device", "devices", "model", "engine", "engine_version", "host", "draft", "lora", "cost",
        ];
    };
}

settings_keys! {
    "weights" => weights;
    "weights_bytes" => weights_bytes;
    "sequences" => sequences;
    "kv_type" => kv_type_k, kv_type_v;
    "kv_type_k" => kv_type_k;
    "kv_type_v" => kv_type_v;
    "batch" => batch;
    "ubatch" => ubatch;
    "max_batched_tokens" => max_batched_tokens;
    "context" => context;
    "flash_attention" => flash_attention;
    "kv_unified" => kv_unified;
    "swa_full" => swa_full;
    "n_outputs_max" => n_outputs_max;
    "attention_max_batch_mib" => attention_max_batch_mib;
    "embeddings" => embeddings;
    "gpu_layers" => gpu_layers;
    "cpu_moe_layers" => cpu_moe_layers;
    "amx" => amx;
    "instructions" => instructions;
    "mmap" => mmap;
    "repack" => repack;
    "gpu_memory_utilization" => gpu_memory_utilization;
    "tensor_parallel" => tensor_parallel;
    "pipeline_parallel" => pipeline_parallel;
    "expert_parallel" => expert_parallel;
    "data_parallel" => data_parallel;
    "attention_data_parallel" => attention_data_parallel;
    "threads" => threads;
    "backend" => backend;
    "prompt" => prompt;
    "generate" => generate;
    "depth" => depth;
    "concurrency" => concurrency;
    "request_rate" => request_rate;
    "prefix_hit_rate" => prefix_hit_rate;
    "vision_projector" => vision_projector;
    "latent_cache" => latent_cache;
    "split_mode" => split_mode;
}
