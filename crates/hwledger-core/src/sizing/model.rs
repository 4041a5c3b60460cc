//! What sizing needs to know of a language model.

use std::sync::LazyLock;

use serde::Serialize;

use super::error::SizingError;
use super::precision::QuantScheme;
use super::table::{Row, Table};
use crate::cache::layer_memory;
use crate::nearest::folded;
use crate::weight_format::gguf::GgufFormat;
use crate::weight_format::{WeightFormat, mixture_bytes};
use crate::{ElementType, ModelSpec};

/// Layers whose caches grow alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CacheLayers {
    /// How many.
    pub layers: u64,
    /// Cached bytes of one token in one of them.
    pub bytes_per_token: u64,
    /// Tokens after which an old one is forgotten; `None` where none is.
    pub window_tokens: Option<u64>,
}

/// A router's experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Experts {
    /// All that are resident.
    pub count: u64,
    /// Those that one token passes through.
    pub per_token: u64,
}

/// Catalogue figures of the reference system, where they differ from the model's own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReferenceFigures {
    /// Parameters in 10^9.
    pub total_params_b: f64,
    /// Parameters that a token passes through, in 10^9.
    pub active_params_b: f64,
    /// Its file in decimal gigabytes.
    pub file_gb: f64,
}

/// How a model of a catalogue was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TrainingRecord {
    /// Its training, in words.
    pub training: Option<String>,
    /// Its recipe.
    pub recipe: Option<String>,
    /// Version of its fine-tune.
    pub fine_tune_version: Option<String>,
}

/// How good a model of a catalogue is at its task.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct QualityRecord {
    /// Cases passed.
    pub passes: Option<u64>,
    /// Cases run.
    pub total: Option<u64>,
    /// Difference of the pass rate to the base model by category.
    pub category_deltas: Vec<(String, f64)>,
    /// One sentence about it.
    pub accuracy_bullet: Option<String>,
}

impl QualityRecord {
    /// Cases passed of cases run.
    pub fn pass_rate(&self) -> Option<f64> {
        let total = self.total.filter(|&total| total > 0)?;
        Some(self.passes? as f64 / total as f64)
    }
}

/// A language model as sizing sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SizingModel {
    /// What measurements are found by.
    pub key: String,
    /// A second name for measurements.
    pub measurement_alias: Option<String>,
    /// Its family.
    pub family: String,
    /// The model that it is, or is a fine-tune of.
    pub base: String,
    /// How its weights are held.
    pub scheme: QuantScheme,
    /// The type that its configuration names; only [`super::Compatibility::Reference`] computes with it.
    pub compute_dtype: String,
    /// Parameters in 10^9.
    pub total_params_b: f64,
    /// Parameters that a token's pass reads, in 10^9: the input embedding is looked up, not read.
    pub active_params_b: f64,
    /// Its weights in decimal gigabytes; `None` where no file was seen.
    pub file_gb: Option<f64>,
    /// What it takes in flight, where somebody measured it.
    pub in_flight_gb: Option<f64>,
    /// Number of layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// The caches of its layers.
    pub cache: Vec<CacheLayers>,
    /// Bytes of recurrent state per sequence.
    pub state_bytes: u64,
    /// Its experts, if a router chooses among any.
    pub experts: Option<Experts>,
    /// Longest context that it was trained for.
    pub context_max: Option<u64>,
    /// Rows of its output projection.
    pub vocabulary: Option<u64>,
    /// Catalogue figures of the reference system, where it has the model.
    pub reference: Option<ReferenceFigures>,
    /// It stands in the catalogue for its speed alone; nobody rated its answers.
    pub is_performance_reference: bool,
    /// Its decode rate is the same whatever the workload, so that patterns leave it alone.
    pub is_decode_invariant: bool,
    /// How it was made.
    pub training: TrainingRecord,
    /// How good it is.
    pub quality: QualityRecord,
    /// One sentence about it.
    pub description: Option<String>,
}

static MODELS: LazyLock<Vec<SizingModel>> = LazyLock::new(|| {
    let table = Table::read(include_str!("models.tsv"));
    table.rows().map(read_row).collect()
});

/// The reference models.
pub fn models() -> &'static [SizingModel] {
    &MODELS
}

/// Bytes of a cached key or value.
const CACHE_ELEMENT_BYTES: u64 = 2;

fn read_row(row: Row<'_>) -> SizingModel {
    let count = |column: &str| row.value::<u64>(column).expect("tests read every row of the data file");
    let (layers, kv_heads) = (count("layers"), count("kv_heads"));
    let bytes_per_token = 2 * kv_heads * count("head_dim") * CACHE_ELEMENT_BYTES;
    let experts = row.value("experts").zip(row.value("experts_per_token"));
    SizingModel {
        key: row.text("key").to_owned(),
        measurement_alias: row.filled("alias"),
        family: row.text("family").to_owned(),
        base: row.text("base").to_owned(),
        scheme: *QuantScheme::find(row.text("quant_scheme")).expect("tests read every row of the data file"),
        compute_dtype: row.text("compute_dtype").to_owned(),
        total_params_b: row.number("total_params_b"),
        active_params_b: row.number("active_params_b"),
        file_gb: row.value("file_gb"),
        in_flight_gb: None,
        layers,
        hidden_size: count("hidden"),
        heads: count("heads"),
        kv_heads,
        cache: vec![CacheLayers { layers, bytes_per_token, window_tokens: None }],
        state_bytes: 0,
        experts: experts.map(|(count, per_token)| Experts { count, per_token }),
        context_max: row.value("context_max"),
        vocabulary: row.value("vocabulary"),
        reference: Some(ReferenceFigures {
            total_params_b: row.number("ratchet_total_params_b"),
            active_params_b: row.number("ratchet_active_params_b"),
            file_gb: row.number("ratchet_file_gb"),
        }),
        is_performance_reference: true,
        is_decode_invariant: true,
        training: TrainingRecord::default(),
        quality: QualityRecord::default(),
        description: row.filled("description"),
    }
}

/// Bytes of all weights of `spec` as `scheme` would hold them.
fn bytes_as(spec: &ModelSpec, scheme: &QuantScheme) -> f64 {
    if let Some(mixture) = GgufFormat::parse(scheme.name) {
        return mixture_bytes(mixture, spec) as f64;
    }
    match scheme.name.parse::<WeightFormat>() {
        Ok(format) => {
            let one = |(weight, count): (&crate::model::Weight, u64)| {
                weight.bytes_as(format.element_type(spec, weight)) as f64 * count as f64
            };
            spec.weights().map(one).sum()
        }
        Err(_) => spec.parameters().total as f64 * scheme.bytes_per_param,
    }
}

impl SizingModel {
    /// The reference model of a key, an alias or a base name.
    pub fn find(name: &str) -> Result<&'static Self, SizingError> {
        let given = folded(name);
        let is_named = |text: &str| folded(text) == given;
        let found = models().iter().find(|model| {
            is_named(&model.key) || is_named(&model.base) || model.measurement_alias.as_deref().is_some_and(is_named)
        });
        found.ok_or_else(|| SizingError::unknown("model", name, models().iter().map(|model| model.key.as_str())))
    }

    /// A model by its description, its weights held by `scheme`, or as its files hold them.
    ///
    /// Head widths, windows, latents and states are the model's own, layer by layer.
    ///
    /// **Errors**: without a scheme, a stored format that is no scheme of [`super::QUANT_SCHEMES`].
    pub fn of_spec(key: &str, spec: &ModelSpec, scheme: Option<&QuantScheme>) -> Result<Self, SizingError> {
        let stored_format = spec.stored_format.as_deref();
        let (scheme, bytes) = match (scheme, stored_format) {
            (Some(scheme), _) => (*scheme, bytes_as(spec, scheme)),
            (None, Some(stored)) => {
                let scheme = *QuantScheme::find(stored)?;
                let stored = spec.file_bytes.or_else(|| spec.stored_bytes());
                (scheme, stored.map_or_else(|| bytes_as(spec, &scheme), |bytes| bytes as f64))
            }
            (None, None) => {
                let scheme = *QuantScheme::find("BF16")?;
                (scheme, bytes_as(spec, &scheme))
            }
        };
        let parameters = spec.parameters();
        let mut cache = Vec::new();
        let mut state_bytes = 0_u64;
        for (layer, layers) in spec.decoder.counted() {
            let memory = layer_memory(layer, 1, ElementType::F16, ElementType::F16);
            state_bytes = state_bytes.saturating_add(memory.state_bytes_per_sequence.saturating_mul(layers));
            let window_tokens = layer.mixer.attention().and_then(|attention| attention.span.window());
            let windowed = memory.bytes_per_sequence_at_context;
            if window_tokens.is_some() && windowed > 0 {
                cache.push(CacheLayers { layers, bytes_per_token: windowed, window_tokens });
            }
            if memory.bytes_per_token > 0 {
                cache.push(CacheLayers { layers, bytes_per_token: memory.bytes_per_token, window_tokens: None });
            }
        }
        let experts = spec.decoder.kinds.iter().find_map(|layer| match &layer.feed_forward {
            crate::model::FeedForward::Experts(moe) => {
                Some(Experts { count: moe.experts, per_token: moe.experts_per_token })
            }
            _ => None,
        });
        let attention = spec.decoder.kinds.iter().find_map(|layer| layer.mixer.attention());
        Ok(Self {
            key: key.to_owned(),
            measurement_alias: None,
            family: spec.architecture.clone(),
            base: key.to_owned(),
            scheme,
            compute_dtype: "bf16".to_owned(),
            total_params_b: parameters.total as f64 / 1e9,
            active_params_b: parameters.active_per_token as f64 / 1e9,
            file_gb: Some(bytes / 1e9),
            in_flight_gb: None,
            layers: spec.decoder.len() as u64,
            hidden_size: spec.hidden_size,
            heads: attention.map_or(0, |attention| attention.heads),
            kv_heads: attention.map_or(0, |attention| attention.kv_heads),
            cache,
            state_bytes,
            experts,
            context_max: spec.context_max,
            vocabulary: Some(spec.vocabulary_size),
            reference: None,
            is_performance_reference: true,
            is_decode_invariant: true,
            training: TrainingRecord::default(),
            quality: QualityRecord::default(),
            description: None,
        })
    }

    /// Whether `key` names this model in a map of measurements.
    pub fn is_measured_as(&self, key: &str) -> bool {
        self.key == key || self.measurement_alias.as_deref() == Some(key)
    }

    /// Its weights in decimal gigabytes: its file, or its parameters times the scheme's mean.
    pub fn weights_gb(&self) -> f64 {
        self.file_gb.unwrap_or(self.total_params_b * self.scheme.bytes_per_param)
    }

    /// Mean bytes of one of its parameters.
    pub fn bytes_per_param(&self) -> f64 {
        match self.file_gb {
            Some(file_gb) if self.total_params_b > 0.0 => file_gb / self.total_params_b,
            _ => self.scheme.bytes_per_param,
        }
    }

    /// Cached bytes of one token while no window is full.
    pub fn cache_bytes_per_token(&self) -> u64 {
        self.cache.iter().fold(0, |sum, part| sum.saturating_add(part.layers.saturating_mul(part.bytes_per_token)))
    }

    /// Cache and state of one sequence of `context` tokens, in decimal gigabytes.
    ///
    /// **Formula**: over all layers, bytes per token x min(context, window); plus the recurrent state.
    pub fn cache_gb(&self, context_tokens: f64) -> f64 {
        let one = |part: &CacheLayers| {
            let kept = part.window_tokens.map_or(context_tokens, |window| context_tokens.min(window as f64));
            part.layers as f64 * part.bytes_per_token as f64 * kept
        };
        (self.cache.iter().map(one).sum::<f64>() + self.state_bytes as f64) / 1e9
    }

    /// Weights that a prompt of `tokens` reads, in decimal gigabytes.
    ///
    /// **Formula**: with total parameters P, active a, and k of E experts per token, the routed
    /// parameters are R = (P - a) / (1 - k/E), since a = (P - R) + R k/E. A prompt of n tokens
    /// touches 1 - (1 - k/E)^n of the experts on average, so it reads (P - R) + R (1 - (1 - k/E)^n)
    /// parameters: the active ones for one token, approaching all of them.
    ///
    /// **Assumptions**: the router spreads tokens evenly. **Units**: GB = 10^9 bytes.
    pub fn prompt_weights_gb(&self, tokens: f64) -> f64 {
        let Some(experts) = self.experts.filter(|experts| experts.per_token < experts.count) else {
            return self.active_params_b * self.bytes_per_param();
        };
        let chosen = experts.per_token as f64 / experts.count as f64;
        let routed = (self.total_params_b - self.active_params_b) / (1.0 - chosen);
        let touched = 1.0 - (1.0 - chosen).powf(tokens);
        (self.total_params_b - routed + routed * touched) * self.bytes_per_param()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_models_are_read() {
        let keys: Vec<&str> = models().iter().map(|model| model.key.as_str()).collect();
        assert_eq!(keys, ["qwen3_30b_a3b", "qwen2_5_32b", "qwen2_5_7b"]);
        assert!(SizingModel::find("Qwen3-30B-A3B").is_ok_and(|model| model.experts.is_some()));
        assert!(SizingModel::find("gpt-9").is_err());
    }

    #[test]
    fn a_specification_gives_its_own_shapes() {
        let spec = crate::model::fixture::llama_8b();
        let scheme = QuantScheme::find("Q4_K_M").expect("a known scheme");
        let model = SizingModel::of_spec("llama", &spec, Some(scheme)).expect("a sound model");
        assert_eq!(model.cache_bytes_per_token(), 32 * 2 * 8 * 128 * 2);
        // llama.cpp prints a model buffer of 4685.30 MiB for this file.
        assert!((model.weights_gb() / (4685.30 * 1.048_576 / 1000.0) - 1.0).abs() < 0.001, "{}", model.weights_gb());
        let full = SizingModel::of_spec("llama", &spec, None).expect("a sound model");
        assert!((full.bytes_per_param() - 2.0).abs() < 0.01, "{}", full.bytes_per_param());
    }

    #[test]
    fn windows_forget() {
        let mut model = models()[2].clone();
        model.cache[0].window_tokens = Some(1000);
        assert!((model.cache_gb(5000.0) - model.cache_gb(1000.0)).abs() < 1e-12);
        assert!(model.cache_gb(500.0) < model.cache_gb(1000.0));
    }
}
