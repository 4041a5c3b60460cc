//! `quantization_config`: which modules the files hold in which element type.

mod pattern;
mod scheme;

use hwledger_core::ElementType;

use super::config::{Config, ConfigError};
use pattern::{Patterns, normalised};
use scheme::Scheme;

/// How the files of a model hold its linear layers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quantization {
    /// The unquantised type of the model (`dtype`, `torch_dtype`).
    dtype: Option<ElementType>,
    /// What the files call their format.
    name: Option<String>,
    /// The type of linear layers that nothing else is said about; none where only `own` are quantised.
    all: Option<ElementType>,
    /// The type of routed experts where it is another.
    experts: Option<ElementType>,
    /// Whether embeddings are quantised as well (MLX).
    covers_embeddings: bool,
    /// Modules with a type of their own, `None` for the unquantised; the first match counts.
    own: Vec<(Patterns, Option<ElementType>)>,
    /// Expressions that could not be used.
    pub(crate) remarks: Vec<String>,
}

impl Quantization {
    pub(crate) fn read(root: &Config<'_>, text: &Config<'_>) -> Result<Self, ConfigError> {
        let dtype = [text, root].iter().find_map(|config| {
            ["dtype", "torch_dtype"].iter().find_map(|key| config.text(key).ok().flatten()?.parse().ok())
        });
        let declared = ["quantization_config", "compression_config", "quantization"].iter();
        let declared = declared.flat_map(|key| [root, text].map(|config| config.nested(key))).flatten().next();
        let Some(config) = declared else { return Ok(Self { dtype, ..Self::default() }) };
        let Scheme { name, all, own, covers_embeddings } = Scheme::read(&config)?;
        let mut quantization = Self { dtype, name: Some(name), all, covers_embeddings, ..Self::default() };
        quantization.experts = expert_type(&config, text)?;
        // Each group before what is said of everything.
        for (modules, element_type) in own {
            quantization.set(modules, element_type);
        }
        quantization.set(ignored(&config)?, None);
        Ok(quantization)
    }

    fn set(&mut self, modules: Vec<&str>, element_type: Option<ElementType>) {
        let (patterns, remarks) = Patterns::parse(modules);
        self.remarks.extend(remarks);
        if !patterns.is_empty() {
            self.own.push((patterns, element_type));
        }
    }

    /// The format's name, where the files say one.
    pub(crate) fn name(&self) -> Option<String> {
        self.name.clone().or_else(|| self.dtype.map(|dtype| dtype.to_string()))
    }

    /// The type of tensors that no scheme covers.
    pub(crate) fn dtype(&self) -> Option<ElementType> {
        self.dtype
    }

    /// The stored type of the linear layer `module`.
    pub(crate) fn linear(&self, module: &str) -> Option<ElementType> {
        if self.all.is_none() && self.own.is_empty() && self.experts.is_none() {
            return self.dtype;
        }
        let module = normalised(module);
        match self.own.iter().find(|(patterns, _)| patterns.matches(&module)) {
            Some((_, own)) => own.or(self.dtype),
            None if self.experts.is_some() && module.contains(".experts.") => self.experts,
            None => self.all.or(self.dtype),
        }
    }

    /// The stored type of the embedding or output table `module`: left alone by every scheme but MLX's.
    pub(crate) fn table(&self, module: &str) -> Option<ElementType> {
        if self.covers_embeddings { self.linear(module) } else { self.dtype }
    }
}

/// The type of routed experts where a key of its own says so (DeepSeek-V4).
fn expert_type(config: &Config<'_>, text: &Config<'_>) -> Result<Option<ElementType>, ConfigError> {
    if let Some(algorithm) = config.text("moe_quant_algo")? {
        return Ok(scheme::algorithm(&algorithm.to_ascii_lowercase(), None));
    }
    let stated = config.text("expert_dtype")?.or(text.text("expert_dtype")?);
    Ok(match stated.map(str::to_ascii_lowercase).as_deref() {
        Some("fp4" | "mxfp4") => Some(ElementType::Mxfp4),
        Some("nvfp4") => Some(ElementType::Nvfp4),
        Some("fp8") => Some(ElementType::Fp8),
        _ => None,
    })
}

/// Modules that stay unquantised.
fn ignored<'a>(config: &Config<'a>) -> Result<Vec<&'a str>, ConfigError> {
    // Where formats are mixed, these lists only say what the tool left as it was.
    if config.text("quant_algo")?.is_some_and(|name| name.eq_ignore_ascii_case("mixed_precision")) {
        return Ok(Vec::new());
    }
    let inner = config.nested("quantization");
    let keys =
        ["ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules", "llm_int8_skip_modules", "exclude"];
    let mut modules = Vec::new();
    for config in [Some(config), inner.as_ref()].into_iter().flatten() {
        for key in keys {
            modules.extend(config.texts(key)?.unwrap_or_default());
        }
    }
    Ok(modules)
}

#[cfg(test)]
mod tests;
