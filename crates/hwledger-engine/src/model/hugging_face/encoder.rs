//! Encoders as their publishers keep them: names of tensors, and numbers of configurations.
//!
//! Source: transformers 5 (`modeling_bert.py`, `modeling_roberta.py`, `modeling_nomic_bert.py`,
//! `conversion_mapping.py`) and the configurations of published models.

use hwledger_kernels::elementwise::Gate;
use serde_json::Value;

use crate::error::LoadError;
use crate::model::settings::narrow;
use crate::model::{EncoderSettings, Rotary};

use super::HuggingFaceTensors;
use super::names::OurName;
use super::settings::{Keys, wrong};

/// How an encoder names its tensors and counts its positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EncoderNames {
    /// BERT.
    Bert,
    /// The same; positions count from the one after padding's.
    Roberta,
    /// Nomic BERT, as published first and as transformers 5 writes it.
    Nomic,
}

/// Of one of our stems the modules outside the layers.
const OUTSIDE: &[(&str, &str)] = &[
    ("token_embd", "embeddings.word_embeddings"),
    ("position_embd", "embeddings.position_embeddings"),
    ("token_types", "embeddings.token_type_embeddings"),
    ("token_embd_norm", "embeddings.LayerNorm"),
    ("token_embd_norm", "emb_ln"),
];

/// Of one of our stems the module below a layer of BERT.
const BERT: &[(&str, &str)] = &[
    ("attn_q", "attention.self.query"),
    ("attn_k", "attention.self.key"),
    ("attn_v", "attention.self.value"),
    ("attn_output", "attention.output.dense"),
    ("attn_output_norm", "attention.output.LayerNorm"),
    ("ffn_up", "intermediate.dense"),
    ("ffn_down", "output.dense"),
    ("layer_output_norm", "output.LayerNorm"),
];

/// The same of Nomic BERT.
const NOMIC: &[(&str, &str)] = &[
    ("attn_qkv", "attn.Wqkv"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "attn.out_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_output_norm", "norm1"),
    ("attn_output_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.fc11"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_gate", "mlp.fc12"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_down", "mlp.fc2"),
    ("ffn_down", "mlp.down_proj"),
    ("layer_output_norm", "norm2"),
    ("layer_output_norm", "post_mlp_layernorm"),
];

impl EncoderNames {
    /// The modules that may hold one of our tensors: of a model alone, or of one with a head.
    pub(super) fn modules(self, name: OurName<'_>) -> Vec<String> {
        let (layers, heads, folders): (_, &[&str], &[&str]) = match self {
            Self::Bert => (BERT, &["", "bert."], &["encoder.layer"]),
            Self::Roberta => (BERT, &["", "roberta."], &["encoder.layer"]),
            Self::Nomic => (NOMIC, &["", "bert.", "nomic_bert."], &["encoder.layers", "layers"]),
        };
        let with_stem = |table: &'static [(&str, &str)]| {
            table.iter().filter(move |(stem, _)| *stem == name.stem).map(|(_, module)| *module)
        };
        let modules: Vec<String> = match name.layer {
            None => with_stem(OUTSIDE).map(str::to_owned).collect(),
            Some(layer) => folders
                .iter()
                .flat_map(|folder| with_stem(layers).map(move |module| format!("{folder}.{layer}.{module}")))
                .collect(),
        };
        heads.iter().flat_map(|head| modules.iter().map(move |module| format!("{head}{module}"))).collect()
    }
}

impl HuggingFaceTensors {
    /// The settings of an encoder.
    pub(in crate::model) fn encoder_settings(&self) -> Result<EncoderSettings, LoadError> {
        let keys = Keys(&self.config);
        let Some(names) = self.family.encoder else {
            return Err(LoadError::Unsupported(format!("encoders of the type `{}`", self.spec.architecture)));
        };
        let kind = keys.text("position_embedding_type").unwrap_or("absolute");
        if kind != "absolute" {
            return Err(LoadError::Unsupported(format!("encoders with positions of the kind `{kind}`")));
        }
        if keys.get("is_decoder").and_then(Value::as_bool) == Some(true) {
            return Err(LoadError::Unsupported("encoders whose tokens see only those before them".to_owned()));
        }
        let epsilon = match keys.positive("layer_norm_epsilon")? {
            // Nomic's first files have GPT-2's keys.
            Some(epsilon) => epsilon,
            None => keys.required("layer_norm_eps", "every model with layer norms states it")?,
        };
        let rotary = if names == EncoderNames::Nomic { Some(self.nomic_rotary(keys)?) } else { None };
        let first_position = if names == EncoderNames::Roberta { padding(keys)? + 1 } else { 0 };
        Ok(EncoderSettings { epsilon: narrow(epsilon), gate: gate(keys, names)?, rotary, first_position })
    }

    /// How the heads of Nomic BERT turn.
    fn nomic_rotary(&self, keys: Keys<'_>) -> Result<Rotary, LoadError> {
        if keys.get("prenorm").and_then(Value::as_bool) == Some(true) {
            return Err(LoadError::Unsupported("encoders with norms before their parts (`prenorm`)".to_owned()));
        }
        if keys.get("rotary_emb_interleaved").and_then(Value::as_bool) == Some(true) {
            return Err(LoadError::Unsupported("encoders that turn neighbours (`rotary_emb_interleaved`)".to_owned()));
        }
        let parameters = keys.object("rope_parameters");
        let kind = parameters.and_then(|parameters| parameters.text("rope_type")).unwrap_or("default");
        if kind != "default" {
            return Err(LoadError::Unsupported(format!("encoders with positions scaled by `{kind}`")));
        }
        let nested = parameters.map(|parameters| parameters.positive("rope_theta")).transpose()?.flatten();
        let base = match nested.or(keys.positive("rotary_emb_base")?) {
            Some(base) => base,
            None => keys.required("rope_theta", "positions that turn need a base")?,
        };
        let attention = self.spec.decoder.layers().find_map(|layer| layer.mixer.attention());
        let key = attention.map_or(0, |attention| attention.key_dim);
        let share = keys.positive("rotary_emb_fraction")?.unwrap_or(1.0).min(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the length of a key")]
        let dimensions = (key as f64 * share) as usize;
        Ok(Rotary::plain(dimensions, base))
    }

    /// The longest text that an encoder was trained for.
    pub(super) fn encoder_context(&self) -> Option<usize> {
        let keys = Keys(&self.config);
        let stated = usize::try_from(self.spec.context_max?).ok()?;
        // Beyond it, Nomic's positions ask for a scaling that the configuration does not name.
        let trained = keys.get("max_trained_positions").and_then(Value::as_u64);
        let trained = trained.and_then(|trained| usize::try_from(trained).ok()).unwrap_or(stated);
        // Rows of positions that no token has.
        let skipped = match self.family.encoder {
            Some(EncoderNames::Roberta) => padding(keys).ok()? + 1,
            _ => 0,
        };
        Some(stated.min(trained).saturating_sub(skipped))
    }
}

/// The token of padding, whose number is also the last position that no token has.
fn padding(keys: Keys<'_>) -> Result<usize, LoadError> {
    match keys.get("pad_token_id") {
        None => Ok(1),
        Some(value) => value
            .as_u64()
            .and_then(|id| usize::try_from(id).ok())
            .filter(|&id| id < 1 << 20)
            .ok_or_else(|| wrong("pad_token_id", value, "it must be a token")),
    }
}

/// The activation of the feed-forward.
fn gate(keys: Keys<'_>, names: EncoderNames) -> Result<Gate, LoadError> {
    let stated = keys.text("activation_function").or(keys.text("hidden_act"));
    Ok(match (stated, names) {
        (Some("swiglu" | "silu" | "swish"), _) | (None, EncoderNames::Nomic) => Gate::Silu,
        (Some("gelu" | "geglu"), _) | (None, EncoderNames::Bert | EncoderNames::Roberta) => Gate::Gelu,
        (Some("gelu_new" | "gelu_fast" | "gelu_pytorch_tanh"), _) => Gate::GeluTanh,
        (Some("relu"), _) => Gate::Relu,
        (Some(other), _) => return Err(LoadError::Unsupported(format!("the activation `{other}`"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_published_files() {
        let check = |names: EncoderNames, ours: &str, expected: &str| {
            let modules = names.modules(OurName::parse(ours).unwrap());
            assert!(modules.iter().any(|module| module == expected), "{ours}: {modules:?}");
        };
        check(EncoderNames::Bert, "token_embd.weight", "embeddings.word_embeddings");
        check(EncoderNames::Bert, "blk.3.layer_output_norm.bias", "bert.encoder.layer.3.output.LayerNorm");
        check(EncoderNames::Roberta, "blk.0.attn_q.bias", "roberta.encoder.layer.0.attention.self.query");
        check(EncoderNames::Nomic, "token_embd_norm.bias", "emb_ln");
        check(EncoderNames::Nomic, "blk.0.attn_qkv.weight", "encoder.layers.0.attn.Wqkv");
        check(EncoderNames::Nomic, "blk.0.ffn_gate.weight", "layers.0.mlp.gate_proj");
        assert!(EncoderNames::Bert.modules(OurName::parse("output.weight").unwrap()).is_empty());
    }
}
