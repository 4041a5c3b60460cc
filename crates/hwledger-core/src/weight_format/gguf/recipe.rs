//! Which type `llama-quantize` gives each tensor of a mixture.
//!
//! Source: `llama-quant.cpp` of llama.cpp 0.5.0 (autumn 2026): the choice by
//! tensor category, mixture and layer, and the fallback where a row is no
//! multiple of the block.

use super::{FileType as T, GgufFormat};
use crate::ElementType as E;
use crate::model::{FeedForward, Layer, ModelSpec, Role, Weight};

/// Layers of the first and last eighth, and every third between, get more bits.
const fn gets_more_bits(layer: u64, layers: u64) -> bool {
    layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
}

/// The types that depend on a layer's place among the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerChoice {
    value: E,
    down: E,
    gate_up: E,
}

/// A mixture applied to one model.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about the model")]
pub struct Recipe {
    format: GgufFormat,
    bulk: E,
    /// Layers that hold a value projection (or one fused with queries and keys).
    value_layers: u64,
    layers: u64,
    /// Query heads per key head in the first layer; 0 where it has no attention.
    queries_per_key: u64,
    experts: u64,
    is_tied: bool,
    is_falcon: bool,
    /// Llama-2-70B and its like, whose few value heads get more bits.
    is_seventy_billion: bool,
    /// Files in importance-matrix types are made with an importance matrix.
    has_importance_matrix: bool,
}

const fn is_value(role: Role) -> bool {
    matches!(role, Role::Value | Role::QueryKeyValue)
}

impl Recipe {
    /// The mixture `format` for `model`.
    pub fn new(format: GgufFormat, model: &ModelSpec) -> Self {
        let decoder = &model.decoder;
        let has_value: Vec<bool> =
            decoder.kinds.iter().map(|layer| layer.weights.iter().any(|weight| is_value(weight.role))).collect();
        let value_layers = decoder.order.iter().filter(|&&kind| has_value[usize::from(kind)]).count() as u64;
        let first = decoder.layers().next().and_then(|layer| layer.mixer.attention());
        let queries_per_key = first.map_or(0, |attention| attention.heads.checked_div(attention.kv_heads).unwrap_or(0));
        let experts = decoder
            .kinds
            .iter()
            .map(|layer| match &layer.feed_forward {
                FeedForward::Experts(moe) => moe.experts,
                FeedForward::None | FeedForward::Dense { .. } => 0,
            })
            .max()
            .unwrap_or(0);
        let layers = decoder.len() as u64;
        let is_seventy_billion = match model.architecture.as_str() {
            "llama" => layers == 80 && queries_per_key != 1,
            "qwen2" | "deci" | "olmo" => layers == 80,
            _ => false,
        };
        Self {
            format,
            bulk: format.bulk_type(),
            value_layers,
            layers,
            queries_per_key,
            experts,
            is_tied: model.is_head_tied,
            is_falcon: model.architecture == "falcon",
            is_seventy_billion,
            has_importance_matrix: matches!(
                format.file_type,
                T::IQ1_S
                    | T::IQ1_M
                    | T::IQ2_XXS
                    | T::IQ2_XS
                    | T::IQ2_S
                    | T::IQ2_M
                    | T::IQ3_XXS
                    | T::IQ3_XS
                    | T::IQ3_S
                    | T::IQ3_M
                    | T::IQ4_NL
                    | T::IQ4_XS
            ),
        }
    }

    /// The format that this recipe writes.
    pub const fn format(&self) -> GgufFormat {
        self.format
    }

    /// Whether a layer holds a value projection: such layers are numbered separately.
    pub fn has_value(layer: &Layer) -> bool {
        layer.weights.iter().any(|weight| is_value(weight.role))
    }

    /// The types of layer `layer`, the `value_index`th that holds a value projection.
    pub fn layer_choice(&self, layer: u64, value_index: u64) -> LayerChoice {
        LayerChoice {
            value: self.value_type(value_index),
            down: self.down_type(layer),
            gate_up: if self.format.file_type == T::IQ3_XS && layer >= self.layers / 8 && layer < 7 * self.layers / 8 {
                E::Iq3Xxs
            } else {
                self.bulk
            },
        }
    }

    const fn is_below_three_bits(&self) -> bool {
        matches!(self.format.file_type, T::IQ1_S | T::IQ1_M | T::IQ2_XXS | T::IQ2_XS | T::IQ2_S | T::IQ2_M)
    }

    fn value_type(&self, index: u64) -> E {
        let is_shared = self.queries_per_key >= 4;
        let file_type = self.format.file_type;
        if self.is_below_three_bits() {
            return if is_shared || self.experts >= 4 {
                E::Q4K
            } else if matches!(file_type, T::IQ2_S | T::IQ2_M) {
                E::Iq3S
            } else {
                E::Q2K
            };
        }
        let mut chosen = match file_type {
            T::Q2_K => {
                if is_shared {
                    E::Q4K
                } else {
                    E::Q3K
                }
            }
            T::Q2_K_S | T::IQ3_XXS | T::IQ3_XS | T::IQ3_S if is_shared => E::Q4K,
            T::Q3_K_M if index < 2 => E::Q5K,
            T::Q3_K_M | T::IQ3_M => E::Q4K,
            T::Q3_K_L => E::Q5K,
            T::IQ4_NL | T::IQ4_XS if is_shared => E::Q5K,
            T::Q4_K_M | T::Q5_K_M if gets_more_bits(index, self.value_layers) => E::Q6K,
            T::Q4_K_S if index < 4 => E::Q5K,
            _ => self.bulk,
        };
        if self.is_seventy_billion && matches!(chosen, E::Q3K | E::Q4K) {
            chosen = E::Q5K;
        }
        if self.experts == 8 && self.bulk.is_quantised() {
            chosen = E::Q8_0;
        }
        chosen
    }

    fn down_type(&self, layer: u64) -> E {
        let is_first = layer < self.layers / 8;
        let more = gets_more_bits(layer, self.layers);
        match self.format.file_type {
            T::IQ1_S | T::IQ1_M | T::IQ2_XXS | T::IQ2_XS if is_first => E::Q2K,
            T::IQ2_S | T::IQ2_M if is_first => E::Iq3S,
            T::Q2_K => E::Q3K,
            T::Q2_K_S if is_first => E::Q4K,
            T::Q3_K_M if layer < self.layers / 16 => E::Q5K,
            T::Q3_K_M if !self.is_falcon || more => E::Q4K,
            T::IQ3_M if is_first || (self.experts == 8 && more) => E::Q4K,
            T::Q3_K_L if self.is_falcon => E::Q4K,
            T::Q3_K_L => E::Q5K,
            T::Q4_K_M if self.is_falcon => {
                if layer < self.layers / 16 {
                    E::Q6K
                } else if more {
                    E::Q5K
                } else {
                    E::Q4K
                }
            }
            T::Q4_K_M | T::Q5_K_M if more => E::Q6K,
            T::IQ4_NL | T::IQ4_XS if is_first && !self.has_importance_matrix => E::Q5K,
            T::Q4_K_S if !self.is_falcon && is_first => E::Q5K,
            _ => self.bulk,
        }
    }

    fn attention_output_type(&self) -> E {
        let file_type = self.format.file_type;
        if self.is_falcon {
            return if file_type == T::Q3_K_L { E::Q4K } else { self.bulk };
        }
        if self.experts == 8 {
            return match file_type {
                T::Q2_K
                | T::IQ3_XS
                | T::IQ3_XXS
                | T::Q3_K_S
                | T::Q3_K_M
                | T::IQ4_NL
                | T::Q4_K_S
                | T::Q4_K_M
                | T::IQ3_S
                | T::IQ3_M
                | T::IQ4_XS => E::Q5K,
                _ if self.is_below_three_bits() => E::Q5K,
                _ => self.bulk,
            };
        }
        match file_type {
            T::Q2_K => E::Q3K,
            T::IQ3_XXS | T::IQ2_S | T::IQ2_M => E::Iq3S,
            T::IQ1_S | T::IQ1_M => E::Iq2Xxs,
            T::Q3_K_M | T::IQ3_M => E::Q4K,
            T::Q3_K_L => E::Q5K,
            _ => self.bulk,
        }
    }

    /// The output projection, or the embedding that stands in for it.
    fn output_type(&self, columns: u64) -> E {
        let file_type = self.format.file_type;
        if matches!(file_type, T::MXFP4 | T::NVFP4) || self.is_falcon || !columns.is_multiple_of(self.bulk.block().0) {
            E::Q8_0
        } else if self.is_below_three_bits() || file_type == T::IQ3_XXS {
            E::Q5K
        } else if self.bulk == E::Q8_0 {
            E::Q8_0
        } else {
            E::Q6K
        }
    }

    fn embedding_type(&self) -> E {
        match self.format.file_type {
            T::IQ2_XXS | T::IQ2_XS | T::IQ1_S | T::IQ1_M => E::Q2K,
            T::IQ2_S | T::IQ2_M | T::IQ3_XXS => E::Iq3S,
            T::TQ1_0 | T::TQ2_0 => E::Q4K,
            T::MXFP4 | T::NVFP4 => E::Q8_0,
            _ => self.bulk,
        }
    }

    fn query_or_key_type(&self, role: Role) -> E {
        if self.experts == 8 && role == Role::Key {
            return if self.is_below_three_bits() { E::Q4K } else { E::Q8_0 };
        }
        match self.format.file_type {
            T::IQ3_XS => E::Iq3Xxs,
            T::IQ3_XXS => E::Iq2S,
            _ => self.bulk,
        }
    }

    /// Queries, keys and values in one tensor, as releases up to early 2026 (and so most published
    /// files) chose it; later ones treat it as a value projection.
    const fn fused_type(&self) -> E {
        match self.format.file_type {
            T::Q3_K_M | T::Q3_K_L | T::IQ3_M => E::Q4K,
            T::Q4_K_M => E::Q5K,
            T::Q5_K_M => E::Q6K,
            _ => self.bulk,
        }
    }

    fn wanted(&self, weight: &Weight, choice: LayerChoice) -> E {
        let expert_only = matches!(self.format.file_type, T::MXFP4);
        match weight.role {
            Role::LanguageHead => self.output_type(weight.columns),
            Role::TokenEmbedding | Role::PerLayerEmbedding if self.is_tied => self.output_type(weight.columns),
            Role::TokenEmbedding | Role::PerLayerEmbedding => self.embedding_type(),
            role if expert_only => {
                if role.is_routed_expert() {
                    E::Mxfp4
                } else {
                    E::Q8_0
                }
            }
            Role::Value => choice.value,
            Role::QueryKeyValue => self.fused_type(),
            Role::Query | Role::Key => self.query_or_key_type(weight.role),
            Role::AttentionOutput => self.attention_output_type(),
            Role::Down | Role::ExpertDown | Role::SharedDown => choice.down,
            Role::Gate
            | Role::Up
            | Role::GateUp
            | Role::ExpertGate
            | Role::ExpertUp
            | Role::ExpertGateUp
            | Role::SharedGate
            | Role::SharedUp
            | Role::SharedGateUp => choice.gate_up,
            _ => self.bulk,
        }
    }

    /// The type of `weight` in a layer with `choice` (any choice outside layers).
    pub fn element_type(&self, weight: &Weight, choice: LayerChoice) -> E {
        if weight.is_vector() || is_kept_whole(weight.role) {
            return E::F32;
        }
        if matches!(self.format.file_type, T::F32 | T::F16 | T::BF16) {
            return self.bulk;
        }
        fallback(self.wanted(weight, choice), weight.columns)
    }

    /// The choice that applies outside the layers.
    pub const fn outside(&self) -> LayerChoice {
        LayerChoice { value: self.bulk, down: self.bulk, gate_up: self.bulk }
    }
}

/// Matrices that are never quantised: routers, positions, convolutions, small recurrent parameters.
const fn is_kept_whole(role: Role) -> bool {
    matches!(
        role,
        Role::Norm
            | Role::Sinks
            | Role::Router
            | Role::SharedRouter
            | Role::PositionEmbedding
            | Role::TypeEmbedding
            | Role::RecurrentConvolution
            | Role::RecurrentSmall
    )
}

/// The type actually used for rows of `columns` elements.
fn fallback(wanted: E, columns: u64) -> E {
    if columns.is_multiple_of(wanted.block().0) {
        return wanted;
    }
    let smaller = match wanted {
        E::Iq1S | E::Iq1M | E::Iq2Xxs | E::Iq2Xs | E::Iq2S | E::Iq3Xxs | E::Iq3S | E::Iq4Xs => E::Iq4Nl,
        E::Q2K | E::Q3K | E::Tq1_0 | E::Tq2_0 => E::Q4_0,
        E::Q4K | E::Grouped { .. } => E::Q5_0,
        E::Q5K => E::Q5_1,
        E::Q6K => E::Q8_0,
        same => same,
    };
    if columns.is_multiple_of(smaller.block().0) { smaller } else { E::F16 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::llama_8b;
    use crate::units::GIBIBYTE;

    fn bytes(name: &str) -> u64 {
        let model = llama_8b();
        let recipe = Recipe::new(GgufFormat::parse(name).unwrap(), &model);
        let outside: u64 = model
            .embedding
            .iter()
            .chain(&model.head)
            .map(|weight| weight.bytes_as(recipe.element_type(weight, recipe.outside())))
            .sum();
        let layers = model.decoder.layers().enumerate().map(|(index, layer)| {
            let choice = recipe.layer_choice(index as u64, index as u64);
            layer.weights.iter().map(|weight| weight.bytes_as(recipe.element_type(weight, choice))).sum::<u64>()
        });
        outside + layers.sum::<u64>()
    }

    #[test]
    fn llama_3_1_8b_has_the_sizes_that_the_quantiser_lists() {
        // Model sizes in GiB as `llama-quantize` and `llama-bench` print them for this model.
        for (name, gibibytes) in [
            ("Q2_K", 2.95),
            ("Q3_K_S", 3.41),
            ("Q3_K_M", 3.74),
            ("Q3_K_L", 4.02),
            ("Q4_K_S", 4.36),
            ("Q4_K_M", 4.58),
            ("Q5_K_S", 5.21),
            ("Q5_K_M", 5.33),
            ("Q6_K", 6.14),
            ("Q8_0", 7.95),
            ("IQ4_XS", 4.13),
            ("F16", 14.96),
        ] {
            let found = bytes(name) as f64 / GIBIBYTE as f64;
            assert!((found - gibibytes).abs() < 0.006, "{name}: {found:.3} GiB, listed {gibibytes}");
        }
    }

    #[test]
    fn short_rows_fall_back_to_smaller_blocks() {
        assert_eq!(fallback(E::Q4K, 4096), E::Q4K);
        assert_eq!(fallback(E::Q4K, 2880), E::Q5_0);
        assert_eq!(fallback(E::Q6K, 896), E::Q8_0);
        assert_eq!(fallback(E::Iq4Xs, 128), E::Iq4Nl);
        assert_eq!(fallback(E::Q4K, 50), E::F16);
    }
}
