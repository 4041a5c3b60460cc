//! What a tensor's name says: `model.layers.3.mlp.experts.17.gate_proj.weight`.

use hwledger_core::model::{Modality, Role};

/// Where in the model a tensor belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Outside the layers.
    Outer,
    /// A layer of the only stack, or of the decoder.
    Layer(usize),
    /// A layer of the encoder of an encoder-decoder model.
    EncoderLayer(usize),
    /// A layer that predicts further tokens, and what belongs to all of them (layer 0).
    Draft(usize),
    /// A vision tower or its projector.
    Vision,
    /// An audio tower or its projector.
    Audio,
}

/// What a tensor is within its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// Parameters as they are.
    Plain,
    /// Parameters of fewer than eight bits, several to an element.
    Packed,
    /// Scales, zero points, indices, buffers.
    Auxiliary,
}

/// A name taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) place: Place,
    /// The name within its layer, or all of it.
    pub(super) rest: &'a str,
    pub(super) role: Role,
    pub(super) part: Part,
}

const LAYER_WORDS: &[&str] = &["layers", "h", "blocks", "block", "layer", "blk"];

/// Takes a name apart. `is_in_encoder` tells whether the model has an encoder beside its decoder.
pub(super) fn parse(name: &str, is_encoder_decoder: bool) -> Name<'_> {
    let (prefix, index, rest) = layer(name).unwrap_or((name, None, name));
    let place = place(prefix, index, is_encoder_decoder);
    let part = part(rest);
    let role = match (place, part) {
        (_, Part::Auxiliary) => Role::Auxiliary,
        (Place::Vision | Place::Audio, _) => {
            let is_projector = prefix.split('.').any(is_projector_word) || rest.split('.').any(is_projector_word);
            if is_projector { Role::Projector } else { Role::Tower }
        }
        (Place::Outer, _) => outer_role(name),
        (Place::Draft(_), _) if index.is_none() => outer_role(name),
        _ => layer_role(rest),
    };
    Name { place, rest, role, part }
}

/// What stands before the first layer's number, the number, and what stands after it.
fn layer(name: &str) -> Option<(&str, Option<usize>, &str)> {
    let mut start = 0;
    let mut previous = "";
    for word in name.split('.') {
        if LAYER_WORDS.contains(&previous)
            && let Ok(index) = word.parse()
        {
            let rest = name.get(start + word.len() + 1..)?;
            return Some((name.get(..start)?, Some(index), rest));
        }
        previous = word;
        start += word.len() + 1;
    }
    None
}

fn place(prefix: &str, index: Option<usize>, is_encoder_decoder: bool) -> Place {
    let words = || prefix.split('.');
    if let Some(modality) = words().find_map(modality) {
        return match modality {
            Modality::Vision => Place::Vision,
            Modality::Audio => Place::Audio,
        };
    }
    if words().any(|word| word.starts_with("mtp") || word == "nextn") {
        return Place::Draft(index.unwrap_or(0));
    }
    match index {
        None => Place::Outer,
        Some(index) if is_encoder_decoder && words().any(|word| word == "encoder") => Place::EncoderLayer(index),
        Some(index) => Place::Layer(index),
    }
}

fn modality(word: &str) -> Option<Modality> {
    let has = |parts: &[&str]| parts.iter().any(|part| word.contains(part));
    if has(&["audio", "speech", "whisper"]) {
        Some(Modality::Audio)
    } else if has(&["vision", "visual", "image", "multi_modal", "mm_proj", "projector", "resampler", "aligner"])
        || matches!(word, "vit" | "vpm" | "connector" | "merger" | "patch_merger" | "mlp1" | "siglip")
    {
        Some(Modality::Vision)
    } else {
        None
    }
}

fn is_projector_word(word: &str) -> bool {
    word.contains("proj") && (word.contains("mm") || word.contains("modal") || word.ends_with("projector"))
        || matches!(word, "merger" | "patch_merger" | "resampler" | "connector" | "aligner" | "mlp1")
        || matches!(word, "embed_vision" | "embed_audio")
}

fn part(rest: &str) -> Part {
    let leaf = rest.rsplit('.').next().unwrap_or(rest);
    let is_auxiliary = matches!(
        leaf,
        "scales"
            | "biases"
            | "qzeros"
            | "g_idx"
            | "weight_shape"
            | "weight_zero_point"
            | "weight_g_idx"
            | "absmax"
            | "quant_map"
            | "nested_absmax"
            | "nested_quant_map"
            | "SCB"
            | "inv_freq"
            | "masked_bias"
            | "position_ids"
            | "num_batches_tracked"
            | "running_mean"
            | "running_var"
            | "weight_format"
    ) || leaf.starts_with("quant_state")
        || leaf.starts_with("bitsandbytes__")
        || ["_scale", "_scales", "_scale_inv", "_scale_2", "_global_scale"].iter().any(|end| {
            // A parameter of that name stands alone; a quantisation scale belongs to a matrix or a cache.
            leaf.strip_suffix(end).is_some_and(|matrix| {
                matches!(matrix, "weight" | "input" | "output" | "k" | "v" | "q" | "weight_global" | "input_global")
                    || matrix.ends_with("_proj")
            })
        });
    if is_auxiliary {
        Part::Auxiliary
    } else if matches!(leaf, "qweight" | "weight_packed") || leaf.ends_with("_blocks") {
        Part::Packed
    } else {
        Part::Plain
    }
}

/// Module words of a name, its numbers and the tensor's own word left out.
fn module(name: &str) -> impl DoubleEndedIterator<Item = &str> + Clone {
    let stem = ["weight", "bias", "qweight", "weight_packed"]
        .iter()
        .find_map(|leaf| name.strip_suffix(leaf).and_then(|stem| stem.strip_suffix('.')))
        .unwrap_or(name);
    stem.split('.').filter(|word| word.parse::<u64>().is_err())
}

fn outer_role(name: &str) -> Role {
    let leaf = module(name).next_back().unwrap_or(name);
    match leaf {
        "embed_tokens" | "wte" | "word_embeddings" | "embed_in" | "embeddings" | "tok_embeddings" | "embedding"
        | "tokens_embed" | "shared" => Role::TokenEmbedding,
        "wpe" | "embed_positions" | "position_embeddings" | "positions_embed" => Role::PositionEmbedding,
        "token_type_embeddings" => Role::TypeEmbedding,
        "embed_tokens_per_layer" => Role::PerLayerEmbedding,
        "lm_head" | "embed_out" | "output" | "output_layer" | "head" => Role::LanguageHead,
        leaf if is_norm(leaf) => Role::Norm,
        _ => Role::Other,
    }
}

fn is_norm(leaf: &str) -> bool {
    let lower = leaf.to_ascii_lowercase();
    lower.contains("norm") || lower.starts_with("ln_") || matches!(&*lower, "ln1" | "ln2" | "ln_f" | "ln0")
}

/// The role of a tensor within a layer.
pub(super) fn layer_role(rest: &str) -> Role {
    let words = module(rest);
    let has = |test: fn(&str) -> bool| words.clone().any(test);
    let leaf = words.clone().next_back().unwrap_or(rest);
    if has(|word| word.contains("indexer") || word.contains("compressor")) {
        return Role::Indexer;
    }
    if is_norm(leaf) {
        return Role::Norm;
    }
    // Kimi's delta attention has these beside projections named like attention's.
    if leaf.contains("conv1d") {
        return Role::RecurrentConvolution;
    }
    if matches!(leaf, "A_log" | "dt_bias") {
        return Role::RecurrentSmall;
    }
    let is_shared = has(|word| word.starts_with("shared_expert") || word == "shared_mlp");
    if is_shared || has(|word| word == "experts" || word == "expert" || word == "switch_mlp") {
        return expert_role(leaf, is_shared);
    }
    if has(|word| {
        matches!(
            word,
            "linear_attn" | "mamba" | "mixer" | "ssm" | "short_conv" | "conv" | "recurrent" | "temporal_block"
        )
    }) && let Some(role) = recurrent_role(leaf)
    {
        return role;
    }
    if has(|word| word.contains("attn") || word.contains("ttention") || word == "mixer")
        && let Some(role) = attention_role(leaf)
    {
        return role;
    }
    feed_forward_role(leaf)
}

fn expert_role(leaf: &str, is_shared: bool) -> Role {
    let (gate, up, down, fused) = if is_shared {
        (Role::SharedGate, Role::SharedUp, Role::SharedDown, Role::SharedGateUp)
    } else {
        (Role::ExpertGate, Role::ExpertUp, Role::ExpertDown, Role::ExpertGateUp)
    };
    match leaf {
        "shared_expert_gate" => Role::SharedRouter,
        leaf if leaf.starts_with("gate_up") || leaf == "input_linear" => fused,
        leaf if leaf.starts_with("gate") || leaf == "w1" => gate,
        leaf if leaf.starts_with("up") || matches!(leaf, "w3" | "v1" | "fc1") => up,
        leaf if leaf.starts_with("down") || matches!(leaf, "w2" | "fc2" | "output_linear") => down,
        _ => Role::Other,
    }
}

fn recurrent_role(leaf: &str) -> Option<Role> {
    Some(match leaf {
        "out_proj" | "o_proj" => Role::RecurrentOut,
        "x_proj" | "dt_proj" => Role::RecurrentInner,
        "A_log" | "D" | "dt_bias" | "A" => Role::RecurrentSmall,
        leaf if leaf.contains("conv") => Role::RecurrentConvolution,
        leaf if leaf.starts_with("in_proj") => Role::RecurrentIn,
        _ => return None,
    })
}

fn attention_role(leaf: &str) -> Option<Role> {
    Some(match leaf {
        "q_proj" | "wq" | "query" | "q" => Role::Query,
        "k_proj" | "wk" | "key" | "k" => Role::Key,
        "v_proj" | "wv" | "value" | "v" => Role::Value,
        "qkv_proj" | "query_key_value" | "c_attn" | "Wqkv" | "W_pack" | "qkv" | "wqkv" => Role::QueryKeyValue,
        "q_a_proj" => Role::QueryDown,
        "q_b_proj" => Role::QueryUp,
        "kv_a_proj_with_mqa" => Role::LatentDown,
        "kv_b_proj" => Role::LatentUp,
        "o_proj" | "wo" | "out_proj" | "dense" | "c_proj" | "o" => Role::AttentionOutput,
        "g_proj" | "gate_proj" => Role::AttentionGate,
        "sinks" => Role::Sinks,
        _ => return None,
    })
}

fn feed_forward_role(leaf: &str) -> Role {
    match leaf {
        "gate_proj" | "w1" | "wi_0" => Role::Gate,
        "up_proj" | "w3" | "fc1" | "c_fc" | "dense_h_to_4h" | "fc_in" | "wi_1" | "wi" => Role::Up,
        "down_proj" | "w2" | "fc2" | "c_proj" | "dense_4h_to_h" | "fc_out" | "wo" => Role::Down,
        "gate_up_proj" => Role::GateUp,
        "gate" | "router" | "e_score_correction_bias" | "expert_bias" => Role::Router,
        "shared_expert_gate" => Role::SharedRouter,
        _ => Role::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let of = |name: &'static str| {
            let name = parse(name, false);
            (name.place, name.role, name.part)
        };
        let table = [
            ("model.embed_tokens.weight", Place::Outer, Role::TokenEmbedding, Part::Plain),
            ("lm_head.weight", Place::Outer, Role::LanguageHead, Part::Plain),
            ("model.layers.3.self_attn.q_proj.bias", Place::Layer(3), Role::Query, Part::Plain),
            ("model.layers.3.mlp.experts.17.gate_proj.weight", Place::Layer(3), Role::ExpertGate, Part::Plain),
            ("model.layers.3.mlp.gate.weight", Place::Layer(3), Role::Router, Part::Plain),
            ("model.layers.3.mlp.shared_expert.up_proj.weight", Place::Layer(3), Role::SharedUp, Part::Plain),
            ("model.layers.3.mlp.shared_expert_gate.weight", Place::Layer(3), Role::SharedRouter, Part::Plain),
            ("model.layers.0.mlp.experts.gate_up_proj_blocks", Place::Layer(0), Role::ExpertGateUp, Part::Packed),
            ("model.layers.0.mlp.experts.gate_up_proj_scales", Place::Layer(0), Role::Auxiliary, Part::Auxiliary),
            ("model.layers.0.mlp.down_proj.qweight", Place::Layer(0), Role::Down, Part::Packed),
            ("model.layers.0.mlp.down_proj.weight_scale_inv", Place::Layer(0), Role::Auxiliary, Part::Auxiliary),
            ("backbone.layers.2.mixer.A_log", Place::Layer(2), Role::RecurrentSmall, Part::Plain),
            ("backbone.layers.2.mixer.q_proj.weight", Place::Layer(2), Role::Query, Part::Plain),
            ("model.layers.1.linear_attn.in_proj_qkvz.weight", Place::Layer(1), Role::RecurrentIn, Part::Plain),
            ("visual.blocks.0.attn.qkv.weight", Place::Vision, Role::Tower, Part::Plain),
            ("visual.merger.mlp.0.weight", Place::Vision, Role::Projector, Part::Plain),
            ("model.audio_tower.layers.0.fc1.weight", Place::Audio, Role::Tower, Part::Plain),
            ("mtp.layers.0.eh_proj.weight", Place::Draft(0), Role::Other, Part::Plain),
            ("transformer.h.5.mlp.c_proj.weight", Place::Layer(5), Role::Down, Part::Plain),
            ("transformer.h.5.attn.c_proj.weight", Place::Layer(5), Role::AttentionOutput, Part::Plain),
            ("encoder.layer.1.attention.self.query.weight", Place::Layer(1), Role::Query, Part::Plain),
        ];
        for (name, place, role, part) in table {
            assert_eq!(of(name), (place, role, part), "{name}");
        }
        assert_eq!(parse("encoder.block.1.layer.0.SelfAttention.q.weight", true).place, Place::EncoderLayer(1));
        assert_eq!(parse("decoder.block.1.layer.0.SelfAttention.q.weight", true).place, Place::Layer(1));
        assert_eq!(parse("", false).place, Place::Outer);
        assert_eq!(parse("layers.9", false).place, Place::Outer);
    }
}
