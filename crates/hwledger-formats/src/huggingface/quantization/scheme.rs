//! The schemes of `quantization_config`, each to element types.

use hwledger_core::ElementType;
use serde_json::Value;

use crate::huggingface::config::{Config, ConfigError};

/// What one configuration says.
#[derive(Clone, Debug, Default)]
pub(super) struct Scheme<'a> {
    /// The format's name.
    pub(super) name: String,
    /// The type of linear layers in general.
    pub(super) all: Option<ElementType>,
    /// Modules with a type of their own, `None` for the unquantised.
    pub(super) own: Vec<(Vec<&'a str>, Option<ElementType>)>,
    /// MLX quantises embeddings as well.
    pub(super) covers_embeddings: bool,
}

/// One scale per row: a group longer than any row.
const PER_CHANNEL: u64 = 1 << 20;

/// Bits and group of integer schemes, with the bits that scale and zero point take per group.
fn grouped(bits: u64, group: u64, group_bits: u64) -> Option<ElementType> {
    let bits = u8::try_from(bits).ok().filter(|bits| (1..=16).contains(bits))?;
    let group = u32::try_from(group).ok().filter(|group| *group > 0)?;
    let group_bits = u8::try_from(group_bits).ok()?;
    Some(ElementType::Grouped { bits, group, group_bits })
}

/// A group size; -1, 0 and absence mean one scale per row.
fn group_size(config: &Config<'_>, default: u64) -> u64 {
    match config.get("group_size").and_then(Value::as_i64) {
        Some(size) => u64::try_from(size).ok().filter(|&size| size > 0).unwrap_or(PER_CHANNEL),
        None => default,
    }
}

/// GPTQ, AWQ and their kin: a 16-bit scale and a zero point of the weight's own width per group.
fn integer(config: &Config<'_>, bits: u64) -> Option<ElementType> {
    grouped(bits, group_size(config, 128), 16 + bits.min(16))
}

/// The type of a named algorithm of modelopt.
pub(super) fn algorithm(name: &str, group: Option<u64>) -> Option<ElementType> {
    Some(match name {
        name if name.contains("mxfp4") => ElementType::Mxfp4,
        name if name.contains("nvfp4") => ElementType::Nvfp4,
        name if name.contains("mxfp8") => return grouped(8, 32, 8),
        name if name.contains("fp8") => ElementType::Fp8,
        name if name.contains("w4a") || name.contains("int4") => return grouped(4, group.unwrap_or(128), 16),
        name if name.contains("w8a") || name.contains("int8") => return grouped(8, PER_CHANNEL, 32),
        _ => return None,
    })
}

impl<'a> Scheme<'a> {
    pub(super) fn read(config: &Config<'a>) -> Result<Self, ConfigError> {
        let method = config.text("quant_method")?.unwrap_or_default().to_ascii_lowercase();
        // modelopt writes the algorithm beside the method, or in an object of its own.
        let inner = config.nested("quantization");
        let stated = match &inner {
            Some(inner) => inner.text("quant_algo")?,
            None => config.text("quant_algo")?,
        };
        let stated = stated.unwrap_or_default().to_ascii_lowercase();
        if method.is_empty() && stated.is_empty() && !config.has("config_groups") {
            return mlx(config);
        }
        let name = if stated.is_empty() || stated == "mixed_precision" { method.clone() } else { stated.clone() };
        let mut scheme = Self { name, ..Self::default() };
        let listed = inner.as_ref().unwrap_or(config);
        scheme.all = match algorithm(&stated, listed.count("group_size").ok().flatten()) {
            Some(element_type) => Some(element_type),
            None => by_method(config, &method)?,
        };
        if let Some(groups) = config.nested("config_groups").filter(|_| scheme.all.is_none()) {
            scheme.add_groups(&groups)?;
        }
        if let Some(layers) = listed.nested("quantized_layers") {
            for module in layers.keys() {
                let Some(layer) = layers.nested(module) else { continue };
                let name = layer.text("quant_algo")?.unwrap_or_default().to_ascii_lowercase();
                scheme.own.push((vec![module], algorithm(&name, layer.count("group_size").ok().flatten())));
            }
        }
        scheme.add_exceptions(config)?;
        Ok(scheme)
    }

    /// Groups of compressed-tensors: those that target modules by name stand before the one for all linear layers.
    fn add_groups(&mut self, groups: &Config<'a>) -> Result<(), ConfigError> {
        for key in groups.keys() {
            let Some(group) = groups.nested(key) else { continue };
            let Some(weights) = group.nested("weights") else { continue };
            let element_type = compressed(&weights)?;
            let targets = group.texts("targets")?.unwrap_or_default();
            if targets.is_empty() || targets.iter().any(|target| !target.contains(['.', ':', '*'])) {
                self.all = self.all.or(element_type);
            } else {
                self.own.push((targets, element_type));
            }
        }
        Ok(())
    }

    /// Bits by module: `extra_config` of auto-round, `dynamic` of `GPTQModel`, `layer_quant_config` of Quark.
    fn add_exceptions(&mut self, config: &Config<'a>) -> Result<(), ConfigError> {
        if let Some(extra) = config.nested("extra_config") {
            for module in extra.keys() {
                let Some(own) = extra.nested(module) else { continue };
                let bits = own.count("bits")?.unwrap_or(16);
                self.own.push((vec![module], if bits < 16 { integer(&own, bits) } else { None }));
            }
        }
        if let Some(layers) = config.nested("layer_quant_config") {
            for module in layers.keys() {
                let own = layers.nested(module).and_then(|layer| layer.nested("weight"));
                let element_type = own.map(|own| quark(&own)).transpose()?.flatten();
                self.own.push((vec![module], element_type));
            }
        }
        Ok(())
    }
}

/// Schemes that are named by `quant_method`.
fn by_method(config: &Config<'_>, method: &str) -> Result<Option<ElementType>, ConfigError> {
    let bits = config.count_of(&["bits", "w_bit", "nbits"])?;
    Ok(match method {
        "awq" | "gptq" | "auto-round" | "auto_round" | "gptq_marlin" | "awq_marlin" | "intel/auto-round" => {
            integer(config, bits.unwrap_or(4))
        }
        "fp8" | "fbgemm_fp8" | "finegrained_fp8" => match config.counts("weight_block_size")?.as_deref() {
            // One 32-bit scale per block of rows and columns.
            Some(&[rows, columns]) => grouped(8, rows.saturating_mul(columns), 32),
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
        "eetq" => grouped(8, PER_CHANNEL, 16),
        "quark" => {
            let weights = config.nested("global_quant_config").and_then(|global| global.nested("weight"));
            weights.map(|weights| quark(&weights)).transpose()?.flatten()
        }
        "hqq" => {
            let weights = config.nested("quant_config").and_then(|inner| inner.nested("weight_quant_params"));
            let (bits, group) = match &weights {
                Some(weights) => (weights.count("nbits")?, group_size(weights, 64)),
                None => (bits, group_size(config, 64)),
            };
            grouped(bits.unwrap_or(4), group, 32)
        }
        "torchao" => {
            let kind = config.get("quant_type").map(Value::to_string).unwrap_or_default().to_ascii_lowercase();
            let is_float = kind.contains("float8") || kind.contains("fp8");
            if is_float { Some(ElementType::Fp8) } else { algorithm(&kind, None) }
        }
        _ => bits.and_then(|bits| integer(config, bits)),
    })
}

/// The weights of one group of compressed-tensors.
fn compressed(weights: &Config<'_>) -> Result<Option<ElementType>, ConfigError> {
    let bits = weights.count("num_bits")?.unwrap_or(8);
    let is_float = weights.text("type")? == Some("float");
    let group = weights.get("group_size").map(|_| group_size(weights, PER_CHANNEL));
    let zero_bits = if weights.flag("symmetric", true)? { 0 } else { bits };
    Ok(match (is_float, bits, group) {
        (true, 4, Some(32)) => Some(ElementType::Mxfp4),
        (true, 4, _) => Some(ElementType::Nvfp4),
        (true, 8, None) => match weights.counts("block_structure").ok().flatten().as_deref() {
            Some(&[rows, columns]) => grouped(8, rows.saturating_mul(columns), 32),
            _ => Some(ElementType::Fp8),
        },
        (true, 8, Some(32)) => grouped(8, 32, 8),
        (_, bits, group) => grouped(bits, group.unwrap_or(PER_CHANNEL), 16 + zero_bits),
    })
}

/// The weights of one entry of Quark.
fn quark(weights: &Config<'_>) -> Result<Option<ElementType>, ConfigError> {
    let kind = weights.text("dtype")?.unwrap_or_default().to_ascii_lowercase();
    Ok(match kind.as_str() {
        // Quark's four-bit floats have a shared exponent per 32, as OCP MX has.
        "fp4" | "mxfp4" => Some(ElementType::Mxfp4),
        "nvfp4" => Some(ElementType::Nvfp4),
        kind if kind.starts_with("fp8") => Some(ElementType::Fp8),
        "int8" | "uint8" => grouped(8, group_size(weights, PER_CHANNEL), 16),
        "int4" | "uint4" => grouped(4, group_size(weights, 128), 20),
        _ => None,
    })
}

/// MLX writes `quantization: {bits, group_size}`, with exceptions by module name.
fn mlx<'a>(config: &Config<'a>) -> Result<Scheme<'a>, ConfigError> {
    let read = |config: &Config<'_>, bits: u64, group: u64| -> Result<Option<ElementType>, ConfigError> {
        Ok(match config.text("mode")? {
            Some("mxfp4") => Some(ElementType::Mxfp4),
            Some("nvfp4") => Some(ElementType::Nvfp4),
            Some("mxfp8") => grouped(8, 32, 8),
            // A 16-bit scale and a 16-bit bias per group.
            _ => grouped(bits, group, 32),
        })
    };
    let bits = config.count("bits")?.unwrap_or(4);
    let group = config.count("group_size")?.unwrap_or(64);
    let mut scheme = Scheme {
        name: format!("mlx-{bits}bit"),
        all: read(config, bits, group)?,
        covers_embeddings: true,
        ..Scheme::default()
    };
    let mut plain = Vec::new();
    for key in config.keys() {
        if config.get(key) == Some(&Value::Bool(false)) {
            plain.push(key);
        } else if let Some(own) = config.nested(key) {
            let bits = own.count("bits")?.unwrap_or(bits);
            let group = own.count("group_size")?.unwrap_or(group);
            scheme.own.push((vec![key], read(&own, bits, group)?));
        }
    }
    if !plain.is_empty() {
        scheme.own.push((plain, None));
    }
    Ok(scheme)
}
