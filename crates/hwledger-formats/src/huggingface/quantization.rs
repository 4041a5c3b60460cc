//! `quantization_config`: which modules the files hold in which element type.

use hwledger_core::ElementType;

use super::config::{Config, ConfigError};

/// How the files of a model hold its linear layers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quantization {
    /// The unquantised type of the model (`dtype`, `torch_dtype`).
    dtype: Option<ElementType>,
    /// The scheme of quantised linear layers.
    scheme: Option<Scheme>,
    /// Modules that stay unquantised.
    ignored: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Scheme {
    name: String,
    element_type: ElementType,
    /// MLX quantises embeddings as well.
    covers_embeddings: bool,
}

/// One entry of an ignore list.
#[derive(Clone, Debug)]
enum Pattern {
    /// `re:.*mlp.gate$`: only the text between wildcards is used.
    Pieces { pieces: Vec<String>, anchored_end: bool },
    /// A module name, a part of one, or a glob with `*`.
    Glob(Vec<String>),
}

impl Pattern {
    fn parse(text: &str) -> Self {
        match text.strip_prefix("re:") {
            Some(expression) => {
                let anchored_end = expression.ends_with('$');
                let plain = expression.trim_matches(['^', '$']).replace("\\.", ".").replace('\\', "");
                let pieces = plain.split(".*").filter(|piece| !piece.is_empty()).map(str::to_owned).collect();
                Self::Pieces { pieces, anchored_end }
            }
            None => Self::Glob(text.split('*').map(str::to_owned).collect()),
        }
    }

    fn matches(&self, module: &str) -> bool {
        let in_order = |pieces: &[String]| {
            let mut rest = module;
            pieces.iter().all(|piece| match rest.find(piece.as_str()) {
                Some(at) => {
                    rest = &rest[at + piece.len()..];
                    true
                }
                None => false,
            })
        };
        match self {
            Self::Pieces { pieces, anchored_end } => {
                in_order(pieces) && (!anchored_end || pieces.last().is_none_or(|last| module.ends_with(last.as_str())))
            }
            Self::Glob(pieces) if pieces.len() == 1 => {
                // A plain name covers itself, everything below it, and its occurrence as a path component.
                let name = pieces[0].as_str();
                !name.is_empty()
                    && (module == name
                        || module.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
                        || module.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
                        || module.contains(&format!(".{name}.")))
            }
            Self::Glob(pieces) => {
                module.starts_with(pieces[0].as_str())
                    && in_order(pieces)
                    && pieces.last().is_none_or(|last| module.ends_with(last.as_str()))
            }
        }
    }
}

/// Bits and group of integer schemes, with the bits that scale and zero point take per group.
fn grouped(bits: u64, group: u64, group_bits: u8) -> Option<ElementType> {
    let bits = u8::try_from(bits).ok().filter(|bits| (1..=16).contains(bits))?;
    let group = u32::try_from(group).ok().filter(|group| *group > 0)?;
    Some(ElementType::Grouped { bits, group, group_bits })
}

/// Per-channel scales: one group is a whole row, whose share per element vanishes.
const PER_CHANNEL: u64 = 1 << 14;

impl Quantization {
    pub(crate) fn read(root: &Config<'_>, text: &Config<'_>) -> Result<Self, ConfigError> {
        let dtype = [text, root].iter().find_map(|config| {
            ["dtype", "torch_dtype"].iter().find_map(|key| config.text(key).ok().flatten()?.parse().ok())
        });
        let declared = ["quantization_config", "compression_config"]
            .iter()
            .find_map(|key| root.nested(key).or_else(|| text.nested(key)));
        if let Some(config) = declared {
            return Ok(Self { dtype, scheme: scheme(&config)?, ignored: ignored(&config) });
        }
        // MLX writes `quantization: {bits, group_size}`, with exceptions by module name.
        let Some(config) = root.nested("quantization") else {
            return Ok(Self { dtype, ..Self::default() });
        };
        let bits = config.count("bits")?.unwrap_or(4);
        let group = config.count("group_size")?.unwrap_or(64);
        let element_type = match config.text("mode")? {
            Some("mxfp4") => Some(ElementType::Mxfp4),
            Some("nvfp4") => Some(ElementType::Nvfp4),
            _ => grouped(bits, group, 32),
        };
        let scheme = element_type.map(|element_type| Scheme {
            name: format!("mlx-{bits}bit"),
            element_type,
            covers_embeddings: true,
        });
        let ignored =
            config.keys().filter(|key| config.flag(key, true).is_ok_and(|on| !on)).map(Pattern::parse).collect();
        Ok(Self { dtype, scheme, ignored })
    }

    /// The format's name, where the files say one.
    pub(crate) fn name(&self) -> Option<String> {
        self.scheme.as_ref().map(|scheme| scheme.name.clone()).or_else(|| self.dtype.map(|dtype| dtype.to_string()))
    }

    /// The type of tensors that no scheme covers.
    pub(crate) fn dtype(&self) -> Option<ElementType> {
        self.dtype
    }

    /// The stored type of the linear layer `module`.
    pub(crate) fn linear(&self, module: &str) -> Option<ElementType> {
        match &self.scheme {
            Some(scheme) if !self.ignored.iter().any(|pattern| pattern.matches(module)) => Some(scheme.element_type),
            _ => self.dtype,
        }
    }

    /// The stored type of the embedding or output table `module`: left alone by every scheme but MLX's.
    pub(crate) fn table(&self, module: &str) -> Option<ElementType> {
        match &self.scheme {
            Some(scheme) if scheme.covers_embeddings => self.linear(module),
            _ => self.dtype,
        }
    }
}

fn ignored(config: &Config<'_>) -> Vec<Pattern> {
    ["ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules", "llm_int8_skip_modules", "exclude"]
        .iter()
        .filter_map(|key| config.texts(key).ok().flatten())
        .flatten()
        .map(Pattern::parse)
        .collect()
}

fn scheme(config: &Config<'_>) -> Result<Option<Scheme>, ConfigError> {
    let method = config.text("quant_method")?.unwrap_or_default().to_ascii_lowercase();
    let algorithm = config.text("quant_algo")?.unwrap_or_default().to_ascii_lowercase();
    let group = config.count("group_size").ok().flatten().unwrap_or(128);
    let bits = config.count("bits").ok().flatten();
    let element_type = match method.as_str() {
        "awq" | "gptq" | "auto-round" | "auto_round" | "gptq_marlin" | "awq_marlin" => {
            // One 16-bit scale and one zero point of the weight's own width per group.
            let bits = bits.unwrap_or(4);
            grouped(bits, group, u8::try_from(16 + bits.min(16)).unwrap_or(32))
        }
        "fp8" | "fbgemm_fp8" => match config.counts("weight_block_size")?.as_deref() {
            Some([rows, columns]) => grouped(8, rows.saturating_mul(*columns), 32),
            _ => Some(ElementType::Fp8),
        },
        "mxfp4" => Some(ElementType::Mxfp4),
        "bitsandbytes" => {
            if config.flag("load_in_8bit", false)? || config.flag("_load_in_8bit", false)? {
                grouped(8, PER_CHANNEL, 32)
            } else {
                // NF4: blocks of 64 with an 8-bit scale when doubly quantised, else 32 bits.
                let double = config.flag("bnb_4bit_use_double_quant", false)?;
                grouped(4, 64, if double { 8 } else { 32 })
            }
        }
        _ if algorithm.contains("nvfp4") => Some(ElementType::Nvfp4),
        _ if algorithm.contains("fp8") => Some(ElementType::Fp8),
        "compressed-tensors" | "modelopt" | "quark" => compressed(config)?,
        _ => bits.and_then(|bits| grouped(bits, group, 32)),
    };
    let name = if algorithm.is_empty() { method } else { algorithm };
    Ok(element_type.map(|element_type| Scheme { name, element_type, covers_embeddings: false }))
}

/// The first group's weights of a compressed-tensors configuration.
fn compressed(config: &Config<'_>) -> Result<Option<ElementType>, ConfigError> {
    let Some(groups) = config.nested("config_groups") else { return Ok(None) };
    let Some(weights) = groups.keys().next().and_then(|key| groups.nested(key)?.nested("weights")) else {
        return Ok(None);
    };
    let bits = weights.count("num_bits")?.unwrap_or(8);
    let is_float = weights.text("type")? == Some("float");
    let group = weights.count("group_size").ok().flatten();
    Ok(match (is_float, bits, group) {
        (true, 4, Some(32)) => Some(ElementType::Mxfp4),
        (true, 4, _) => Some(ElementType::Nvfp4),
        (true, 8, None) => Some(ElementType::Fp8),
        (_, bits, group) => grouped(bits, group.unwrap_or(PER_CHANNEL), 16),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignore_lists_match_names_globs_and_expressions() {
        let matches = |pattern: &str, module: &str| Pattern::parse(pattern).matches(module);
        assert!(matches("lm_head", "lm_head"));
        assert!(matches("model.layers.0.mlp", "model.layers.0.mlp.up_proj"));
        assert!(!matches("model.layers.1", "model.layers.10.mlp.up_proj"));
        assert!(matches("re:.*mlp.gate$", "model.layers.3.mlp.gate"));
        assert!(!matches("re:.*mlp.gate$", "model.layers.3.mlp.gate_proj"));
        assert!(matches("model.layers.*.self_attn*", "model.layers.7.self_attn.q_proj"));
        assert!(matches("gate", "model.layers.3.block_sparse_moe.gate"));
    }
}
