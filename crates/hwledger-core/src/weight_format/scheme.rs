//! Which tensors a quantisation scheme touches.

use crate::ElementType;
use crate::model::{ModelSpec, Role, Weight};

/// A quantisation scheme of the Hugging Face and MLX ecosystems.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scheme {
    /// How the tensors that it touches are held, scales and zero points included.
    pub element_type: ElementType,
    /// Which tensors it touches.
    pub coverage: Coverage,
}

/// Which tensors a scheme touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coverage {
    /// Linear layers of the decoder; embeddings, output head, norms, routers, convolutions and
    /// towers stay. What AWQ, GPTQ, compressed-tensors, FP8 and bitsandbytes files do.
    LinearLayers,
    /// As [`Self::LinearLayers`], but latent attention stays too (`ModelOpt`'s NVFP4 files of DeepSeek).
    LinearLayersWithoutLatentAttention,
    /// Routed experts only, where there are any; else linear layers (MXFP4 of gpt-oss).
    RoutedExperts,
    /// Every matrix, embeddings, head and routers included, norms and convolutions not (MLX).
    EveryMatrix,
}

/// Matrices that every scheme leaves: tables, routers, convolutions, small parameters, towers.
const fn is_left(role: Role) -> bool {
    matches!(
        role,
        Role::TokenEmbedding
            | Role::PositionEmbedding
            | Role::TypeEmbedding
            | Role::PerLayerEmbedding
            | Role::LanguageHead
            | Role::Norm
            | Role::Router
            | Role::SharedRouter
            | Role::Sinks
            | Role::RecurrentConvolution
            | Role::RecurrentSmall
            | Role::Tower
            | Role::Projector
    )
}

const fn is_latent(role: Role) -> bool {
    matches!(
        role,
        Role::QueryDown
            | Role::QueryUp
            | Role::LatentDown
            | Role::LatentUp
            | Role::LatentKeyUp
            | Role::LatentValueUp
            | Role::Indexer
    )
}

impl Scheme {
    /// Whether the scheme quantises this tensor.
    pub fn covers(&self, model: &ModelSpec, weight: &Weight) -> bool {
        if weight.is_vector() {
            return false;
        }
        match self.coverage {
            Coverage::LinearLayersWithoutLatentAttention => !is_left(weight.role) && !is_latent(weight.role),
            Coverage::RoutedExperts if has_experts(model) => weight.role.is_routed_expert(),
            Coverage::RoutedExperts | Coverage::LinearLayers => !is_left(weight.role),
            Coverage::EveryMatrix => {
                !matches!(weight.role, Role::Norm | Role::RecurrentConvolution | Role::RecurrentSmall | Role::Tower)
            }
        }
    }
}

fn has_experts(model: &ModelSpec) -> bool {
    model.decoder.kinds.iter().any(|layer| layer.weights.iter().any(|weight| weight.role.is_routed_expert()))
}
