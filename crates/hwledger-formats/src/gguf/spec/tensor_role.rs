//! From a tensor's name to its place in the model and its role.

use hwledger_core::model::{Role, Weight};

use crate::gguf::TensorInfo;

/// Where in the model a tensor belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// Before the first layer.
    Embedding,
    /// After the last layer.
    Head,
    /// A layer of the decoder (or of the only stack).
    Layer(usize),
    /// A layer of the encoder of an encoder-decoder model.
    EncoderLayer(usize),
    /// A vision tower or its projector.
    Vision,
    /// An audio tower or its projector.
    Audio,
}

/// A tensor's section and the rest of its name: `blk.3.attn_q.weight` is layer 3, `attn_q.weight`.
pub(super) fn section(name: &str) -> (Section, &str) {
    let Some((stack @ ("" | "dec." | "enc."), numbered)) = name.split_once("blk.") else {
        return outer_section(name);
    };
    match numbered.split_once('.').map(|(index, rest)| (index.parse(), rest)) {
        Some((Ok(index), rest)) if stack == "enc." => (Section::EncoderLayer(index), rest),
        Some((Ok(index), rest)) => (Section::Layer(index), rest),
        _ => (Section::Embedding, name),
    }
}

fn outer_section(name: &str) -> (Section, &str) {
    let part = name.split('.').next().unwrap_or(name);
    let place = match part {
        "mm" if name.starts_with("mm.a.") => Section::Audio,
        "a" => Section::Audio,
        "v" | "resampler" | "adapter" | "model" | "mm" => Section::Vision,
        "output"
        | "output_norm"
        | "dec"
        | "enc"
        | "cls"
        | "dense_2"
        | "dense_3"
        | "output_res_score"
        | "fc"
        | "d2t"
        | "markov_w1"
        | "markov_w2"
        | "conf_proj"
        | "selector_predecessor"
        | "selector_successor"
        | "selector_hidden"
        | "altup_proj"
        | "altup_unembd_proj"
        | "nextn" => Section::Head,
        part if part.starts_with("output_hc_") => Section::Head,
        _ => Section::Embedding,
    };
    (place, name)
}

/// The role of a tensor outside the layers.
pub(super) fn outer_role(name: &str) -> Role {
    let base = name.split('.').next().unwrap_or(name);
    match base {
        "token_embd" => Role::TokenEmbedding,
        "position_embd" => Role::PositionEmbedding,
        "token_types" => Role::TypeEmbedding,
        "per_layer_token_embd" => Role::PerLayerEmbedding,
        "output" => Role::LanguageHead,
        "output_norm" | "token_embd_norm" | "per_layer_proj_norm" => Role::Norm,
        "enc" | "dec" if name.contains("output_norm") => Role::Norm,
        // Tables computed from the configuration, not learned.
        "rope_freqs" | "rope_factors_long" | "rope_factors_short" => Role::Auxiliary,
        "v" | "a" | "resampler" => Role::Tower,
        "mm" | "adapter" | "model" => Role::Projector,
        _ => Role::Other,
    }
}

/// The role of a tensor within a layer, from its name after the layer's number.
///
/// A bias has the role of its matrix: parallel splits and offloading treat them alike.
pub(super) fn layer_role(rest: &str) -> Role {
    let base = rest
        .strip_suffix(".weight")
        .or_else(|| rest.strip_suffix(".bias"))
        .or_else(|| rest.strip_suffix(".scale"))
        .or_else(|| rest.strip_suffix(".input_scale"))
        .unwrap_or(rest);
    if let Some(role) = single_expert_role(base) {
        return role;
    }
    match base {
        "attn_q" | "cross_attn_q" => Role::Query,
        "attn_k" | "cross_attn_k" => Role::Key,
        "attn_v" | "cross_attn_v" => Role::Value,
        "attn_qkv" | "vis_attn_qkv" => Role::QueryKeyValue,
        "attn_q_a" => Role::QueryDown,
        "attn_q_b" => Role::QueryUp,
        "attn_kv_a_mqa" | "attn_kv" => Role::LatentDown,
        "attn_kv_b" => Role::LatentUp,
        "attn_k_b" => Role::LatentKeyUp,
        "attn_v_b" => Role::LatentValueUp,
        "attn_gate" => Role::AttentionGate,
        "attn_output" | "attn_o" | "cross_attn_o" | "attn_output_a" | "attn_output_b" | "vis_attn_output" => {
            Role::AttentionOutput
        }
        "attn_sinks" => Role::Sinks,
        "ffn_gate" | "vis_gate" | "channel_mix_receptance" => Role::Gate,
        "ffn_up" | "vis_up" | "channel_mix_key" => Role::Up,
        "ffn_down" | "vis_down" | "channel_mix_value" => Role::Down,
        "ffn_gate_inp" | "exp_probs_b" | "exp_probs_b_vl" | "ffn_gate_tid2eid" => Role::Router,
        "ffn_gate_exps" | "ffn_gate_chexps" => Role::ExpertGate,
        "ffn_up_exps" | "ffn_up_chexps" => Role::ExpertUp,
        "ffn_down_exps" | "ffn_down_chexps" => Role::ExpertDown,
        "ffn_gate_up_exps" => Role::ExpertGateUp,
        "ffn_gate_shexp" => Role::SharedGate,
        "ffn_up_shexp" => Role::SharedUp,
        "ffn_down_shexp" => Role::SharedDown,
        "ffn_gate_inp_shexp" => Role::SharedRouter,
        "ssm_in"
        | "shortconv.in_proj"
        | "time_mix_key"
        | "time_mix_value"
        | "time_mix_receptance"
        | "time_mix_gate" => Role::RecurrentIn,
        "ssm_out" | "shortconv.out_proj" | "time_mix_output" => Role::RecurrentOut,
        "ssm_conv1d" | "ssm_conv1d_q" | "ssm_conv1d_k" | "ssm_conv1d_v" | "shortconv.conv" => {
            Role::RecurrentConvolution
        }
        "ssm_x" | "ssm_ba" | "ssm_alpha" | "ssm_beta" | "ssm_f_a" | "ssm_f_b" | "ssm_g_a" | "ssm_g_b" | "ssm_g" => {
            Role::RecurrentInner
        }
        // The projection of the step where it is a matrix, its bias where it is not; both are called `ssm_dt`.
        "ssm_dt" if rest.ends_with(".weight") => Role::RecurrentInner,
        "ssm_dt" | "ssm_a" | "ssm_d" => Role::RecurrentSmall,
        "nextn.embed_tokens" => Role::TokenEmbedding,
        "nextn.shared_head_head" => Role::LanguageHead,
        _ => layer_role_by_family(base),
    }
}

/// Families of names that share a role.
fn layer_role_by_family(base: &str) -> Role {
    if base.starts_with("indexer") || base.starts_with("attn_compressor") {
        Role::Indexer
    } else if base.contains("norm") || base == "time_mix_ln" {
        Role::Norm
    } else if base.starts_with("time_mix_lerp")
        || base.starts_with("channel_mix_lerp")
        || matches!(
            base,
            "time_mix_first"
                | "time_mix_decay"
                | "time_mix_w0"
                | "time_mix_a0"
                | "time_mix_v0"
                | "time_mix_k_k"
                | "time_mix_k_a"
                | "time_mix_r_k"
        )
    {
        Role::RecurrentSmall
    } else if base.starts_with("time_mix_") || base.starts_with("ssm_") {
        Role::RecurrentInner
    } else {
        Role::Other
    }
}

/// Before 2024 every expert had tensors of its own: `ffn_gate.7.weight`.
fn single_expert_role(base: &str) -> Option<Role> {
    let (matrix, index) = base.split_once('.')?;
    index.parse::<u32>().ok()?;
    match matrix {
        "ffn_gate" => Some(Role::ExpertGate),
        "ffn_up" => Some(Role::ExpertUp),
        "ffn_down" => Some(Role::ExpertDown),
        _ => None,
    }
}

/// The tensor as a weight. Extents beyond the second are stacked copies.
pub(super) fn weight(tensor: &TensorInfo, role: Role) -> Weight {
    let [columns, rows, depth, stack] = tensor.dimensions;
    // One bias vector per expert, stored as a matrix.
    let is_bias_stack = role.is_routed_expert() && tensor.rank == 2 && !tensor.name.ends_with(".weight");
    let shape = if tensor.rank < 2 {
        Weight::vector(role, columns)
    } else if is_bias_stack {
        Weight::vector(role, columns).stacked(rows)
    } else {
        Weight::matrix(role, rows, columns)
    };
    let copies = shape.copies.saturating_mul(depth).saturating_mul(stack);
    shape.stacked(copies).stored_as(tensor.element_type)
}

/// How far back an expert's equal is looked for: files list a layer's experts in a row.
const EXPERT_SEARCH_MAX: usize = 64;

/// Adds a weight; equal experts of their own tensors become copies of one.
pub(super) fn add(weights: &mut Vec<Weight>, weight: Weight) {
    if weight.role.is_routed_expert()
        && let Some(stack) = weights
            .iter_mut()
            .rev()
            .take(EXPERT_SEARCH_MAX)
            .find(|known| Weight { copies: weight.copies, ..**known } == weight)
    {
        stack.copies = stack.copies.saturating_add(weight.copies);
        return;
    }
    weights.push(weight);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(section("blk.12.attn_q.weight"), (Section::Layer(12), "attn_q.weight"));
        assert_eq!(section("enc.blk.0.attn_rel_b.weight"), (Section::EncoderLayer(0), "attn_rel_b.weight"));
        assert_eq!(section("token_embd.weight").0, Section::Embedding);
        assert_eq!(section("output.weight").0, Section::Head);
        assert_eq!(section("mm.a.mlp.1.weight").0, Section::Audio);
        assert_eq!(section("blk.x.attn_q.weight").0, Section::Embedding);
        assert_eq!(section("blk.99999999999999999999.attn_q").0, Section::Embedding);
    }

    #[test]
    fn roles_follow_names() {
        let table = [
            ("attn_q.weight", Role::Query),
            ("attn_q.bias", Role::Query),
            ("attn_k_b.weight", Role::LatentKeyUp),
            ("ffn_gate_exps.weight", Role::ExpertGate),
            ("ffn_down.7.weight", Role::ExpertDown),
            ("ffn_gate_inp_shexp.weight", Role::SharedRouter),
            ("ssm_dt.bias", Role::RecurrentSmall),
            ("ssm_dt.weight", Role::RecurrentInner),
            ("ssm_dt_norm.weight", Role::Norm),
            ("time_mix_decay_w1.weight", Role::RecurrentInner),
            ("time_mix_lerp_fused.weight", Role::RecurrentSmall),
            ("indexer.k_norm.weight", Role::Indexer),
            ("post_ffw_norm.weight", Role::Norm),
            ("something_new.weight", Role::Other),
        ];
        for (name, role) in table {
            assert_eq!(layer_role(name), role, "{name}");
        }
    }
}
