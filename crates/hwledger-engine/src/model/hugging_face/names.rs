//! A table of names: what GGUF calls a tensor, and where published files keep it.

/// Of one of our stems (`blk.N.STEM.weight`) the module below `model.layers.N`; `*` stands for each expert.
/// The first that a file has counts.
type Names = &'static [(&'static str, &'static str)];

/// What most families share.
const SHARED: Names = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_sinks", "self_attn.sinks"),
    // Latent attention.
    ("attn_q_a", "self_attn.q_a_proj"),
    ("attn_q_a_norm", "self_attn.q_a_layernorm"),
    ("attn_q_b", "self_attn.q_b_proj"),
    ("attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"),
    ("attn_kv_a_norm", "self_attn.kv_a_layernorm"),
    ("attn_kv_b", "self_attn.kv_b_proj"),
    // Its halves, as MLX splits it.
    ("attn_k_b", "self_attn.embed_q"),
    ("attn_v_b", "self_attn.unembed_out"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_up", "mlp.gate_up_proj"),
    ("ffn_down", "mlp.down_proj"),
    // Experts of Qwen and of gpt-oss; stacked as MLX stacks them.
    ("ffn_gate_inp", "mlp.gate"),
    ("ffn_gate_inp", "mlp.router"),
    ("ffn_gate_exps", "mlp.experts.*.gate_proj"),
    ("ffn_up_exps", "mlp.experts.*.up_proj"),
    ("ffn_down_exps", "mlp.experts.*.down_proj"),
    ("ffn_gate_exps", "mlp.switch_mlp.gate_proj"),
    ("ffn_up_exps", "mlp.switch_mlp.up_proj"),
    ("ffn_down_exps", "mlp.switch_mlp.down_proj"),
    ("ffn_gate_exps", "mlp.experts.gate_proj"),
    ("ffn_up_exps", "mlp.experts.up_proj"),
    ("ffn_down_exps", "mlp.experts.down_proj"),
    ("ffn_gate_shexp", "mlp.shared_expert.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_expert.up_proj"),
    ("ffn_down_shexp", "mlp.shared_expert.down_proj"),
    ("ffn_gate_inp_shexp", "mlp.shared_expert_gate"),
    // DeepSeek's: several shared experts are one network, and a bias by which experts are chosen.
    ("ffn_gate_shexp", "mlp.shared_experts.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_experts.up_proj"),
    ("ffn_down_shexp", "mlp.shared_experts.down_proj"),
    ("exp_probs_b", "mlp.gate.e_score_correction"),
    // Mixtral's, and Granite's, which are stacked.
    ("ffn_gate_inp", "block_sparse_moe.gate"),
    ("ffn_gate_inp", "block_sparse_moe.router.layer"),
    ("ffn_gate_exps", "block_sparse_moe.experts.*.w1"),
    ("ffn_up_exps", "block_sparse_moe.experts.*.w3"),
    ("ffn_down_exps", "block_sparse_moe.experts.*.w2"),
    ("ffn_gate_exps", "block_sparse_moe.switch_mlp.gate_proj"),
    ("ffn_up_exps", "block_sparse_moe.switch_mlp.up_proj"),
    ("ffn_down_exps", "block_sparse_moe.switch_mlp.down_proj"),
    ("ffn_gate_up_exps", "block_sparse_moe.input_linear"),
    ("ffn_down_exps", "block_sparse_moe.output_linear"),
    ("ffn_up_shexp", "shared_mlp.input_linear"),
    ("ffn_down_shexp", "shared_mlp.output_linear"),
];

/// Where the norms of a layer stand: after which part, or before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NormNames {
    /// One before each part.
    Before,
    /// Two about each part, as Gemma 2 names them.
    AboutGemma,
    /// Two about each part, as GLM-4 names them.
    AboutGlm,
    /// One after each part (`OLMo` 2).
    After,
}

impl NormNames {
    const fn names(self) -> Names {
        match self {
            Self::Before => &[("ffn_norm", "post_attention_layernorm")],
            Self::AboutGemma => &[
                ("post_attention_norm", "post_attention_layernorm"),
                ("ffn_norm", "pre_feedforward_layernorm"),
                ("post_ffw_norm", "post_feedforward_layernorm"),
            ],
            Self::AboutGlm => &[
                ("post_attention_norm", "post_self_attn_layernorm"),
                ("ffn_norm", "post_attention_layernorm"),
                ("post_ffw_norm", "post_mlp_layernorm"),
            ],
            Self::After => {
                &[("post_attention_norm", "post_attention_layernorm"), ("post_ffw_norm", "post_feedforward_layernorm")]
            }
        }
    }
}

/// One of our names taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OurName<'a> {
    /// The layer, for those of layers.
    pub(super) layer: Option<usize>,
    /// What it is.
    pub(super) stem: &'a str,
    /// `weight` or `bias`.
    pub(super) kind: &'a str,
}

impl<'a> OurName<'a> {
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        let (path, kind) = name.rsplit_once('.')?;
        let Some(rest) = path.strip_prefix("blk.") else { return Some(Self { layer: None, stem: path, kind }) };
        let (layer, stem) = rest.split_once('.')?;
        Some(Self { layer: Some(layer.parse().ok()?), stem, kind })
    }

    /// The modules that may hold it, `*` for each expert.
    pub(super) fn modules(self, norms: NormNames) -> Vec<String> {
        let Some(layer) = self.layer else {
            let module = match self.stem {
                "token_embd" => "model.embed_tokens",
                "output_norm" => "model.norm",
                "output" => "lm_head",
                _ => return Vec::new(),
            };
            return vec![module.to_owned()];
        };
        let names = norms.names().iter().chain(SHARED).filter(|(stem, _)| *stem == self.stem);
        names.map(|(_, module)| format!("model.layers.{layer}.{module}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_published_files() {
        let modules = |name, norms| OurName::parse(name).unwrap().modules(norms);
        assert_eq!(modules("blk.3.attn_q.weight", NormNames::Before), ["model.layers.3.self_attn.q_proj"]);
        assert_eq!(modules("blk.0.ffn_norm.weight", NormNames::Before), ["model.layers.0.post_attention_layernorm"]);
        assert_eq!(
            modules("blk.0.ffn_norm.weight", NormNames::AboutGemma),
            ["model.layers.0.pre_feedforward_layernorm"]
        );
        assert_eq!(modules("output.weight", NormNames::After), ["lm_head"]);
        assert!(modules("blk.0.ffn_norm.weight", NormNames::After).is_empty());
        assert_eq!(OurName::parse("blk.x.ffn_norm.weight"), None);
    }
}
