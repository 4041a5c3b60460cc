//! The numbers of a model beside its shapes, from its `config.json`.
//!
//! Source: transformers 5 (`modeling_rope_utils.py`, `models/*/configuration_*.py`).

use hwledger_kernels::elementwise::Gate;
use serde_json::{Map, Value};

use crate::error::LoadError;
use crate::model::settings::narrow;
use crate::model::{Rotary, Settings, Yarn};

use super::HuggingFaceTensors;
use super::families::{Family, WindowPositions};
use super::{experts, latent};

/// What `YaRN` takes where a configuration does not say.
const YARN_BETA_FAST: f64 = 32.0;
const YARN_BETA_SLOW: f64 = 1.0;

/// An object of the configuration.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Keys<'a> {
    pub(super) fn get(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn number(self, key: &str) -> Result<Option<f64>, LoadError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| wrong(key, value, "it must be a number"))
    }

    /// A number that something is divided by, or whose logarithm is taken.
    pub(super) fn positive(self, key: &str) -> Result<Option<f64>, LoadError> {
        match self.number(key)? {
            Some(value) if value <= 0.0 => Err(wrong(key, &value.into(), "it must be above zero")),
            other => Ok(other),
        }
    }

    pub(super) fn required(self, key: &str, hint: &'static str) -> Result<f64, LoadError> {
        self.positive(key)?.ok_or_else(|| LoadError::Setting { key: key.to_owned(), found: "missing".to_owned(), hint })
    }

    pub(super) fn text(self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    pub(super) fn object(self, key: &str) -> Option<Self> {
        self.get(key)?.as_object().map(Self)
    }

    fn numbers(self, key: &str) -> Result<Vec<f32>, LoadError> {
        let list = self.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let numbers: Option<Vec<f32>> =
            list.iter().map(|value| value.as_f64().filter(|&value| value > 0.0).map(narrow)).collect();
        let missing = Value::String("missing".to_owned());
        numbers
            .filter(|numbers| !numbers.is_empty())
            .ok_or_else(|| wrong(key, self.get(key).unwrap_or(&missing), "it must be a list of numbers above zero"))
    }
}

pub(super) fn wrong(key: &str, value: &Value, hint: &'static str) -> LoadError {
    let found: String = value.to_string().chars().take(60).collect();
    LoadError::Setting { key: key.to_owned(), found, hint }
}

impl HuggingFaceTensors {
    /// The settings. `context` is the longest sequence that will be run.
    pub(in crate::model) fn settings(&self, context: usize) -> Result<Settings, LoadError> {
        let (keys, family) = (Keys(&self.config), &self.family);
        let attention = self.spec.decoder.layers().find_map(|layer| layer.mixer.attention());
        let attention = attention.ok_or_else(|| LoadError::Unsupported("models without attention".to_owned()))?;
        if keys.get("is_causal").and_then(Value::as_bool) == Some(false) {
            return Err(LoadError::Unsupported("decoders whose tokens see those after them (`is_causal`)".to_owned()));
        }
        if keys.get("clip_qkv").is_some() {
            return Err(LoadError::Unsupported("attention with clipped inputs (`clip_qkv`)".to_owned()));
        }
        let epsilon = keys.required("rms_norm_eps", "every model with RMS norms states it")?;
        let mut conventions = family.conventions;
        // Where the name decides on another, the key is left over from elsewhere.
        if conventions.gate == Gate::Silu {
            conventions.gate = gate(keys)?;
        }
        if let (Gate::ClampedSwish { limit }, Some(stated)) = (&mut conventions.gate, keys.positive("swiglu_limit")?) {
            *limit = narrow(stated);
        }
        if conventions.no_rope_period.is_some() {
            conventions.no_rope_period = no_rope_period(keys)?;
        }
        let expert_groups = experts::choice(keys, family, &self.spec, &mut conventions)?;
        if attention.latent.is_some() {
            latent::positions(keys, &mut conventions)?;
        }
        let turning = attention.latent.map_or(attention.key_dim, |latent| latent.rope_dim);
        let full = Positions::read(keys, family, "full_attention", turning)?;
        let windowed = match family.window_positions {
            WindowPositions::Same => None,
            WindowPositions::LocalBase | WindowPositions::Unscaled => {
                Some(Positions::read(keys, family, "sliding_attention", turning)?)
            }
        };
        let full_rotary = full.rotary(keys, context)?;
        let windowed = windowed.map(|positions| positions.rotary(keys, context)).transpose()?;
        let score_scale = match keys.positive("attention_multiplier")? {
            Some(scale) => Some(narrow(scale)),
            None if family.has_query_scalar => {
                let scalar = keys.required("query_pre_attn_scalar", "it scales the attention of this family")?;
                Some(narrow(1.0 / scalar.sqrt()))
            }
            None if attention.latent.is_some() => Some(latent::score_scale(keys, attention.key_dim)?),
            None => None,
        };
        let embedding_scale = keys.number("embedding_multiplier")?.unwrap_or(1.0);
        let hidden = self.spec.hidden_size as f32;
        Ok(Settings {
            epsilon: narrow(epsilon),
            embedding_scale: if conventions.scales_embedding { hidden.sqrt() } else { narrow(embedding_scale) },
            residual_scale: narrow(keys.number("residual_multiplier")?.unwrap_or(1.0)),
            logit_scale: narrow(1.0 / keys.positive("logits_scaling")?.unwrap_or(1.0)),
            logit_cap: keys.positive("final_logit_softcapping")?.map(narrow),
            score_cap: keys.positive("attn_logit_softcapping")?.map(narrow),
            score_scale,
            expert_scale: match family.expert_choice {
                Some(_) => narrow(keys.number("routed_scaling_factor")?.unwrap_or(1.0)),
                None => 1.0,
            },
            normalises_experts: match keys.get("norm_topk_prob").and_then(Value::as_bool) {
                // Other families that always do have no such key, or ignore it.
                Some(stated) if !conventions.normalises_experts || family.expert_choice.is_some() => stated,
                _ => conventions.normalises_experts,
            },
            expert_groups,
            rotary_dimensions: full.dimensions,
            rotary: [full_rotary.clone(), windowed.unwrap_or(full_rotary)],
            conventions,
        })
    }

    /// The longest sequence that the model knows, with the stretch of its positions.
    pub(in crate::model) fn context(&self) -> Option<usize> {
        if self.family.encoder.is_some() {
            return self.encoder_context();
        }
        let keys = Keys(&self.config);
        let stated = keys.number("max_position_embeddings").ok()??;
        let scaling = keys.object("rope_parameters").or(keys.object("rope_scaling"));
        let kind = scaling.and_then(|scaling| scaling.text("rope_type").or(scaling.text("type")));
        let factor = scaling.and_then(|scaling| scaling.positive("factor").ok()?).unwrap_or(1.0);
        let original = scaling.and_then(|scaling| scaling.positive("original_max_position_embeddings").ok()?);
        let stretched = match kind {
            Some("linear" | "dynamic") if self.family.window_positions == WindowPositions::Same => stated * factor,
            Some("yarn") => original.unwrap_or(stated) * factor,
            _ => stated,
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        Some(stated.max(stretched) as usize)
    }
}

/// The activation that gates the feed-forward.
fn gate(keys: Keys<'_>) -> Result<Gate, LoadError> {
    Ok(match keys.text("hidden_act") {
        None | Some("silu" | "swish") => Gate::Silu,
        Some("gelu_pytorch_tanh" | "gelu_new" | "gelu_fast") => Gate::GeluTanh,
        Some("gelu") => Gate::Gelu,
        Some("relu") => Gate::Relu,
        Some("relu2") => Gate::ReluSquared,
        Some(other) => return Err(LoadError::Unsupported(format!("the activation `{other}`"))),
    })
}

/// Every how many layers one has no positions (`SmolLM3`).
fn no_rope_period(keys: Keys<'_>) -> Result<Option<usize>, LoadError> {
    let period = match keys.get("no_rope_layer_interval") {
        None => 4,
        Some(value) => value
            .as_u64()
            .and_then(|period| usize::try_from(period).ok())
            .filter(|&period| period > 0)
            .ok_or_else(|| wrong("no_rope_layer_interval", value, "it must be a number of layers"))?,
    };
    let Some(layers) = keys.get("no_rope_layers").and_then(Value::as_array) else { return Ok(Some(period)) };
    // In the file 1 stands for a layer with positions.
    let has_rope: Vec<bool> = layers.iter().map(|layer| layer.as_u64() != Some(0)).collect();
    if has_rope.iter().all(|&has| has) {
        return Ok(None);
    }
    let is_regular = has_rope.iter().enumerate().all(|(layer, &has)| has != (layer + 1).is_multiple_of(period));
    if is_regular {
        Ok(Some(period))
    } else {
        Err(LoadError::Unsupported("layers without positions in this order".to_owned()))
    }
}

/// How one kind of layer turns its heads, as the configuration states it.
struct Positions<'a> {
    parameters: Keys<'a>,
    base: f64,
    dimensions: usize,
    /// Whether `parameters` scale these positions.
    is_scaled: bool,
}

/// What stands for absent parameters.
static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);

impl<'a> Positions<'a> {
    /// Those of the layers of `kind`: `rope_parameters`, which may differ by kind, or the older `rope_scaling`,
    /// which is of the layers that see everything, with `rope_theta` beside it.
    fn read(keys: Keys<'a>, family: &Family, kind: &str, key_dim: u64) -> Result<Self, LoadError> {
        let own_keys = keys.object("rope_parameters");
        let by_kind = own_keys.and_then(|parameters| parameters.object(kind));
        let is_full = kind == "full_attention";
        let common = own_keys.or(keys.object("rope_scaling")).unwrap_or(Keys(&EMPTY));
        let parameters = by_kind.unwrap_or(common);
        let local = match family.window_positions {
            WindowPositions::LocalBase if !is_full => {
                Some(keys.positive("rope_local_base_freq")?.unwrap_or(LOCAL_BASE))
            }
            _ => None,
        };
        let own_base = if by_kind.is_some() || local.is_none() { parameters.positive("rope_theta")? } else { None };
        let base = match own_base.or(local) {
            Some(base) => base,
            None => keys.positive("rope_theta")?.unwrap_or(family.rope_base),
        };
        let share = match parameters.positive("partial_rotary_factor")? {
            Some(share) => share,
            None => keys.positive("partial_rotary_factor")?.unwrap_or(family.rotary_share),
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the length of a key")]
        let dimensions = (key_dim as f64 * share.min(1.0)) as usize;
        Ok(Self { parameters, base, dimensions, is_scaled: is_full || by_kind.is_some() })
    }

    fn rotary(&self, keys: Keys<'_>, context: usize) -> Result<Rotary, LoadError> {
        let Self { parameters, base, dimensions, .. } = *self;
        let plain = Rotary::plain(dimensions, base);
        if !self.is_scaled {
            return Ok(plain);
        }
        let factor = || parameters.required("factor", "positions that are scaled need it");
        let known = || keys.required("max_position_embeddings", "positions that are scaled need it");
        Ok(match parameters.text("rope_type").or(parameters.text("type")) {
            None | Some("default") => plain,
            Some("linear") => plain.linear(factor()?),
            Some("dynamic") => {
                // The base grows with the sequence; here with the longest that will be run.
                let (factor, known) = (factor()?, known()?);
                let length = (context as f64).max(known);
                let exponent = dimensions as f64 / (dimensions as f64 - 2.0).max(1.0);
                Rotary::plain(dimensions, base * (factor * length / known - (factor - 1.0)).powf(exponent))
            }
            Some("yarn") => self.yarn(plain, keys)?,
            Some("llama3") => {
                let low = parameters.required("low_freq_factor", "positions scaled by `llama3` need it")?;
                let high = parameters.required("high_freq_factor", "positions scaled by `llama3` need it")?;
                plain.llama3(factor()?, [low, high], self.original(keys)?)
            }
            Some("longrope" | "su") => self.longrope(plain, keys, context)?,
            Some(other) => return Err(LoadError::Unsupported(format!("positions scaled by `{other}`"))),
        })
    }

    /// The context of the first training.
    fn original(&self, keys: Keys<'_>) -> Result<f64, LoadError> {
        const KEY: &str = "original_max_position_embeddings";
        // Phi 3 states it beside the parameters, and then that counts.
        match (keys.positive(KEY)?, self.parameters.positive(KEY)?) {
            (Some(original), _) | (None, Some(original)) => Ok(original),
            (None, None) => keys.required("max_position_embeddings", "positions that are scaled need it"),
        }
    }

    fn yarn(&self, plain: Rotary, keys: Keys<'_>) -> Result<Rotary, LoadError> {
        let parameters = self.parameters;
        let original_context = self.original(keys)?;
        let factor = match parameters.positive("factor")? {
            Some(factor) => factor,
            None => keys.required("max_position_embeddings", "positions that are scaled need it")? / original_context,
        };
        let temperature = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
        let mscale = parameters.number("mscale")?.filter(|&scale| scale > 0.0);
        let mscale_all = parameters.number("mscale_all_dim")?.filter(|&scale| scale > 0.0);
        let magnitude = match (parameters.positive("attention_factor")?, mscale, mscale_all) {
            (Some(stated), ..) => stated,
            (None, Some(scale), Some(all)) => temperature(scale) / temperature(all),
            (None, ..) => temperature(1.0),
        };
        let yarn = Yarn {
            factor,
            original_context,
            beta_fast: parameters.positive("beta_fast")?.unwrap_or(YARN_BETA_FAST),
            beta_slow: parameters.positive("beta_slow")?.unwrap_or(YARN_BETA_SLOW),
            attention_factor: 1.0,
            rounds_bounds: parameters.get("truncate").and_then(Value::as_bool).unwrap_or(true),
        };
        Ok(Rotary { magnitude, ..plain.yarn(self.dimensions, self.base, &yarn) })
    }

    fn longrope(&self, plain: Rotary, keys: Keys<'_>, context: usize) -> Result<Rotary, LoadError> {
        let parameters = self.parameters;
        let original = self.original(keys)?;
        let factor = match parameters.positive("factor")? {
            Some(factor) => factor,
            None => keys.required("max_position_embeddings", "positions that are scaled need it")? / original,
        };
        let magnitude = match parameters.positive("attention_factor")? {
            Some(stated) => stated,
            None if factor <= 1.0 => 1.0,
            None => (1.0 + factor.ln() / original.ln()).sqrt(),
        };
        let key = if context as f64 > original { "long_factor" } else { "short_factor" };
        let factors = parameters.numbers(key)?;
        if factors.len() != self.dimensions / 2 {
            let found = format!("a list of {}", factors.len());
            return Err(LoadError::Setting { key: key.to_owned(), found, hint: "there must be one for each pair" });
        }
        Ok(Rotary { magnitude, ..plain.slowed(&factors) })
    }
}

/// The base of Gemma 3's layers with a window where the configuration does not say.
const LOCAL_BASE: f64 = 10_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_of(text: &str, check: impl FnOnce(Keys<'_>)) {
        let Value::Object(object) = serde_json::from_str(text).unwrap() else { panic!("no object") };
        check(Keys(&object));
    }

    #[test]
    fn layers_without_positions_must_be_regular() {
        let check = |text: &str, expected: Option<Option<usize>>| {
            keys_of(text, |keys| assert_eq!(no_rope_period(keys).ok(), expected, "{text}"));
        };
        check("{}", Some(Some(4)));
        check(r#"{"no_rope_layers": [1, 1, 1, 0, 1]}"#, Some(Some(4)));
        check(r#"{"no_rope_layers": [1, 0], "no_rope_layer_interval": 2}"#, Some(Some(2)));
        check(r#"{"no_rope_layers": [1, 1, 1, 1]}"#, Some(None));
        check(r#"{"no_rope_layers": [0, 1, 1, 1]}"#, None);
        check(r#"{"no_rope_layer_interval": 0}"#, None);
    }

    #[test]
    fn numbers_that_cannot_be_are_named() {
        keys_of(r#"{"a": "x", "b": 0, "c": [1, 0]}"#, |keys| {
            assert_eq!(
                keys.number("a").unwrap_err().to_string(),
                "the key `a` is \"x\", which cannot be; it must be a number"
            );
            assert_eq!(
                keys.positive("b").unwrap_err().to_string(),
                "the key `b` is 0.0, which cannot be; it must be above zero"
            );
            assert!(keys.numbers("c").is_err() && keys.numbers("d").is_err());
            assert_eq!(
                keys.required("e", "it is needed").unwrap_err().to_string(),
                "the key `e` is missing, which cannot be; it is needed"
            );
        });
    }
}
