//! Weight formats: how a scheme holds each tensor of a model.
//!
//! A format is asked for by name (`FP8`, `AWQ-4bit`, `MLX-4bit`). Where nobody asks,
//! the element types that the files themselves state win ([`element_type`]).

pub mod gguf;
mod parse;
mod scheme;

pub use parse::UnknownWeightFormat;
pub use scheme::{Coverage, Scheme};

use gguf::{GgufFormat, LayerChoice, Recipe};

use crate::model::{ModelSpec, Weight};
use crate::{Assumptions, ElementType, Settings};

/// A weight format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WeightFormat {
    /// Every tensor in one element type.
    Plain(ElementType),
    /// Matrices of some roles quantised, the rest at 16 bits.
    Scheme(Scheme),
    /// A mixture of `llama-quantize`; its exact types depend on the layer, see [`gguf::Recipe`].
    Gguf(GgufFormat),
}

/// The 16-bit type of a model: what its files say, else bfloat16, which new models are published in.
fn model_type(model: &ModelSpec) -> ElementType {
    let stated = model.embedding.iter().chain(&model.head).filter_map(|weight| weight.stored);
    stated.into_iter().find(|stated| !stated.is_quantised()).unwrap_or(ElementType::BF16)
}

impl WeightFormat {
    /// The element type of one tensor.
    pub fn element_type(&self, model: &ModelSpec, weight: &Weight) -> ElementType {
        match self {
            Self::Plain(element_type) => *element_type,
            Self::Scheme(scheme) if scheme.covers(model, weight) => scheme.element_type,
            // Without the layer at hand: the type of most matrices.
            Self::Gguf(_) if weight.is_vector() => ElementType::F32,
            Self::Gguf(format) => format.bulk_type(),
            Self::Scheme(_) => match weight.stored {
                Some(stored @ (ElementType::F32 | ElementType::F16 | ElementType::BF16)) => stored,
                _ => ElementType::BF16,
            },
        }
    }

    /// The format that `settings` ask for, if any.
    pub fn asked(settings: &Settings) -> Result<Option<Self>, UnknownWeightFormat> {
        settings.weights.as_deref().map(str::parse).transpose()
    }
}

/// The element type of one tensor: the format asked for, else what the files state, else the
/// model's 16-bit type.
pub fn element_type(format: Option<&WeightFormat>, model: &ModelSpec, weight: &Weight) -> ElementType {
    match (format, weight.stored) {
        (Some(format), _) => format.element_type(model, weight),
        (None, Some(stored)) => stored,
        (None, None) => ElementType::BF16,
    }
}

/// Bytes of all weights of `model` in a GGUF mixture, tensor by tensor.
pub fn mixture_bytes(format: GgufFormat, model: &ModelSpec) -> u64 {
    sum_of_weights(Some(&WeightFormat::Gguf(format)), model, Weight::bytes_as)
}

/// The sum over all weights of `model`, tensor by tensor, of what `size` says of a tensor and its element type.
pub fn sum_of_weights(
    format: Option<&WeightFormat>,
    model: &ModelSpec,
    size: impl Fn(&Weight, ElementType) -> u64,
) -> u64 {
    let recipe = match format {
        Some(WeightFormat::Gguf(format)) => Some(Recipe::new(*format, model)),
        _ => None,
    };
    let sum = |weights: &[Weight], choice: Option<LayerChoice>| {
        weights.iter().fold(0_u64, |sum, weight| {
            let kind = match recipe.as_ref().zip(choice) {
                Some((recipe, choice)) => recipe.element_type(weight, choice),
                None => element_type(format, model, weight),
            };
            sum.saturating_add(size(weight, kind))
        })
    };
    let outside = recipe.as_ref().map(Recipe::outside);
    let mut values = 0;
    let mut total = sum(&model.embedding, outside).saturating_add(sum(&model.head, outside));
    for (index, layer) in (0..).zip(model.decoder.layers()) {
        let choice = recipe.as_ref().map(|recipe| recipe.layer_choice(index, values));
        total = total.saturating_add(sum(&layer.weights, choice));
        values += u64::from(Recipe::has_value(layer));
    }
    total
}

/// The format asked for, or an assumption that names what is taken instead.
pub fn asked_or_stored(
    model: &ModelSpec,
    settings: &Settings,
    assumptions: &mut Assumptions,
) -> Result<Option<WeightFormat>, UnknownWeightFormat> {
    let asked = WeightFormat::asked(settings)?;
    if asked.is_none() {
        match &model.stored_format {
            Some(stored) => assumptions.note("weights", stored, "what the model's files hold"),
            None => assumptions.note("weights", &model_type(model), "neither the request nor the model's files say"),
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    fn bits(name: &str, weight: &Weight) -> f64 {
        let model = crate::model::fixture::llama_8b();
        let format: WeightFormat = name.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        format.element_type(&model, weight).bytes_per_element() * 8.0
    }

    #[test]
    fn schemes_leave_the_tensors_that_they_leave() {
        let linear = Weight::matrix(Role::Gate, 14336, 4096);
        let table = Weight::matrix(Role::TokenEmbedding, 128_256, 4096);
        let norm = Weight::vector(Role::Norm, 4096);
        let router = Weight::matrix(Role::Router, 64, 4096);
        for (name, covered) in [
            ("AWQ-4bit", 4.15625),
            ("GPTQ-4bit", 4.15625),
            ("INT8", 8.0),
            ("FP8", 8.0),
            ("NVFP4", 4.5),
            ("W4A16", 4.125),
            ("BNB-4bit", 4.125),
        ] {
            assert!((bits(name, &linear) - covered).abs() < 0.005, "{name}: {}", bits(name, &linear));
            for left in [table, norm, router] {
                assert!((bits(name, &left) - 16.0).abs() < 1e-9, "{name} leaves {:?}", left.role);
            }
        }
        assert!((bits("MLX-4bit", &table) - 4.5).abs() < 1e-9);
        assert!((bits("MLX-4bit", &norm) - 16.0).abs() < 1e-9);
        assert!((bits("BF16", &linear) - 16.0).abs() < 1e-9);
    }

    /// llama.cpp prints a model buffer of 4685.30 MiB for the `Q4_K_M` file of Llama-3-8B.
    #[test]
    fn mixtures_weigh_what_their_files_weigh() {
        let format = GgufFormat::parse("Q4_K_M").expect("a known mixture");
        let bytes = mixture_bytes(format, &crate::model::fixture::llama_8b());
        assert!((bytes as f64 / 1_048_576.0 / 4685.30 - 1.0).abs() < 0.001, "{bytes}");
    }

    #[test]
    fn what_the_files_state_wins_where_nobody_asks() {
        let model = crate::model::fixture::llama_8b();
        let stored = Weight::matrix(Role::Gate, 14336, 4096).stored_as(ElementType::Fp8);
        assert_eq!(element_type(None, &model, &stored), ElementType::Fp8);
        let asked: WeightFormat = "F16".parse().expect("a known name");
        assert_eq!(element_type(Some(&asked), &model, &stored), ElementType::F16);
    }
}
