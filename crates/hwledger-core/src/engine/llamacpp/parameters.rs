//! The context parameters that llama.cpp derives from what was asked.

use crate::engine::EngineError;
use crate::model::ModelSpec;
use crate::settings::{DeviceKind, Engine, Switch};
use crate::units::round_up;
use crate::{Assumptions, ElementType, Settings};

use super::release::Release;

/// Where neither request nor model says how long a context is: the trained
/// context of the models that llama.cpp was first written for.
const CONTEXT_UNKNOWN: u64 = 4096;
/// `LLAMA_MAX_SEQ` of llama.cpp.
const SEQUENCES_MAX: u64 = 256;

/// What llama.cpp calls `cparams`, under its own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are the engine's own switches")]
pub struct ContextParameters {
    /// The build whose rules apply.
    pub release: Release,
    /// Cells of all sequences together.
    pub n_ctx: u64,
    /// Cells of one sequence: all of them where the cache is unified.
    pub n_ctx_seq: u64,
    /// Sequences held at once.
    pub n_seq_max: u64,
    /// Tokens of one logical batch.
    pub n_batch: u64,
    /// Tokens of one micro-batch: what one graph computes.
    pub n_ubatch: u64,
    /// Most tokens whose logits one step returns.
    pub n_outputs_max: u64,
    /// Snapshots of recurrent state kept for rolling back rejected drafts.
    pub n_rs_seq: u64,
    /// All sequences share one stream of cells.
    pub kv_unified: bool,
    /// Sliding windows are kept as long as the context.
    pub swa_full: bool,
    /// Flash attention is used.
    pub flash_attention: bool,
    /// Element type of cached keys.
    pub type_k: ElementType,
    /// Element type of cached values.
    pub type_v: ElementType,
    /// Bound on parts of an attention.
    pub attention_max_batch: AttentionMaxBatch,
    /// Embeddings are handed out beside logits.
    pub embeddings: bool,
    /// Latent attention caches its latents.
    pub latent_cache: bool,
}

/// The fork's `-amb`: what one part of an attention may take. The main line has no such bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionMaxBatch {
    /// Mebibytes; `None` is no bound.
    pub mebibytes: Option<u64>,
    /// Nobody said it, and the engine has the setting.
    pub is_assumed: bool,
}

impl AttentionMaxBatch {
    fn resolve(settings: &Settings, release: Release, assumptions: &mut Assumptions) -> Self {
        if !release.is_fork() {
            return Self { mebibytes: None, is_assumed: false };
        }
        let given = settings.attention_max_batch_mib;
        let default = release.attention_max_batch_mib().unwrap_or(0);
        let mebibytes = assumptions.or(given, "attention_max_batch_mib", default, "the default of ik_llama.cpp");
        Self { mebibytes: Some(mebibytes).filter(|&mebibytes| mebibytes > 0), is_assumed: given.is_none() }
    }
}

impl ContextParameters {
    /// Streams of the cache.
    pub const fn n_stream(&self) -> u64 {
        if self.kv_unified { 1 } else { self.n_seq_max }
    }

    /// Derives them, telling `assumptions` what nobody said.
    ///
    /// **Source**: `llama_context::llama_context` and `llama_init_from_model` of llama.cpp 0.5.0
    /// (autumn 2026), older rules by [`Release`].
    ///
    /// # Errors
    ///
    /// [`EngineError::Refused`] where the engine does not start.
    pub fn resolve(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Result<Self, EngineError> {
        let is_fork = settings.engine == Some(Engine::IkLlamaCpp);
        let version = if settings.engine == Some(Engine::Ollama) { None } else { settings.engine_version.as_deref() };
        let release = Release::parse(version, is_fork);
        let n_seq_max = settings.sequences.unwrap_or(1).max(1);
        if n_seq_max > SEQUENCES_MAX {
            return Err(refused("sequences", format!("at most {SEQUENCES_MAX} are supported, {n_seq_max} were asked")));
        }
        let asked = match settings.context {
            Some(tokens) if tokens > 0 => tokens,
            _ => default_context(model, assumptions),
        };
        let type_k = settings.kv_type_k.unwrap_or(ElementType::F16);
        let type_v = settings.kv_type_v.unwrap_or(ElementType::F16);
        let flash_attention = flash_attention(model, settings, release, type_v, assumptions)?;
        check_cache_types(model, type_k, type_v, flash_attention)?;
        let kv_unified = !release.has_streams() || settings.kv_unified.unwrap_or(false) && n_seq_max > 1;
        let kv_unified = kv_unified || n_seq_max == 1;
        let (n_ctx, n_ctx_seq) = contexts(asked, n_seq_max, kv_unified, release, flash_attention);
        let n_batch = assumptions.or(settings.batch, "batch", 2048, "llama.cpp's default");
        // Only causal attention can see a batch in pieces, so only there does the context bound it.
        let n_batch = if model.is_causal { n_batch.min(asked.max(n_ctx)) } else { n_batch };
        let n_ubatch = assumptions.or(settings.ubatch, "ubatch", 512, "llama.cpp's default");
        let n_ubatch = if n_ubatch == 0 { n_batch } else { n_ubatch.min(n_batch) };
        let n_outputs_max = match settings.n_outputs_max {
            Some(most) if most > 0 && release.has_output_bound() && model.encoder.is_none() => most,
            _ => n_batch,
        };
        let drafted = settings.draft.as_ref().map_or(0, |draft| draft.tokens);
        Ok(Self {
            release,
            n_ctx,
            n_ctx_seq,
            n_seq_max,
            n_batch,
            n_ubatch,
            n_outputs_max,
            n_rs_seq: if super::architecture::can_roll_back(&model.architecture) { drafted } else { 0 },
            kv_unified,
            swa_full: settings.swa_full.unwrap_or(false),
            flash_attention,
            attention_max_batch: AttentionMaxBatch::resolve(settings, release, assumptions),
            type_k,
            type_v,
            embeddings: settings.embeddings.unwrap_or(false),
            latent_cache: settings.latent_cache != Some(Switch::Off) && release.has_latent_cache(),
        })
    }
}

fn refused(setting: &'static str, why: String) -> EngineError {
    EngineError::Refused { engine: Engine::LlamaCpp.name(), setting, why }
}

fn default_context(model: &ModelSpec, assumptions: &mut Assumptions) -> u64 {
    match model.context_max {
        Some(trained) if trained > 0 => {
            assumptions.note("context", &trained, "the context the model was trained for");
            trained
        }
        _ => {
            assumptions.note("context", &CONTEXT_UNKNOWN, "neither request nor model says");
            CONTEXT_UNKNOWN
        }
    }
}

/// The total context, and cells of one sequence. Older builds rounded up the cells alone, so that
/// the first could stay below the second.
fn contexts(asked: u64, sequences: u64, unified: bool, release: Release, flash_attention: bool) -> (u64, u64) {
    let padding = release.cell_padding(flash_attention);
    let total = if release.pads_context() { round_up(asked, 256) } else { asked };
    if unified {
        (total, round_up(total, padding))
    } else {
        let each = round_up((total / sequences).max(1), padding);
        (if release.pads_context() { each.saturating_mul(sequences) } else { total }, each)
    }
}

/// Blocks must not straddle heads under flash attention, nor rows without it.
fn check_cache_types(
    model: &ModelSpec,
    type_k: ElementType,
    type_v: ElementType,
    flash_attention: bool,
) -> Result<(), EngineError> {
    for (setting, element_type, is_key) in [("kv_type_k", type_k, true), ("kv_type_v", type_v, false)] {
        let block = element_type.block().0;
        if !is_cache_type(element_type) {
            return Err(refused(setting, format!("`{element_type}` is no cache type")));
        }
        let is_divisible = model.decoder.kinds.iter().filter_map(|layer| layer.mixer.attention()).all(|attention| {
            let head = if is_key { attention.key_dim } else { attention.value_dim };
            let unit = match attention.latent {
                Some(latent) => latent.kv_rank + latent.rope_dim,
                None if flash_attention => head,
                None => head * attention.kv_heads,
            };
            unit % block == 0
        });
        if !is_divisible {
            let what = if flash_attention { "head" } else { "row" };
            let why = format!("the elements of a {what} are no multiple of the {block} of `{element_type}`");
            return Err(refused(setting, why));
        }
    }
    Ok(())
}

/// `kv_cache_types` of llama.cpp's argument parser, and the fork's six-bit type by its stand-in.
const fn is_cache_type(element_type: ElementType) -> bool {
    matches!(
        element_type,
        ElementType::F32
            | ElementType::F16
            | ElementType::BF16
            | ElementType::Q8_0
            | ElementType::Q5_1
            | ElementType::Q5_0
            | ElementType::Q4_1
            | ElementType::Q4_0
            | ElementType::Iq4Nl
            | ElementType::Grouped { .. }
    )
}

fn flash_attention(
    model: &ModelSpec,
    settings: &Settings,
    release: Release,
    type_v: ElementType,
    assumptions: &mut Assumptions,
) -> Result<bool, EngineError> {
    if model.architecture == "grok" || model.architecture == "grok-1" {
        return Ok(false);
    }
    let needs_it = type_v.is_quantised() && !release.is_fork();
    match settings.flash_attention {
        Some(Switch::On) => Ok(true),
        Some(Switch::Off) if needs_it && settings.kv_type_v.is_some() && !has_latents(model) => {
            Err(refused("kv_type_v", format!("a cache of values in `{type_v}` needs flash attention")))
        }
        Some(Switch::Off) => Ok(false),
        Some(Switch::Auto) | None => {
            let is_on = needs_it || release.chooses_flash_attention() || release.starts_with_flash_attention();
            // A Vulkan driver without the extension, or an old card, would fall back; the common ones do not.
            let on_cpu = settings.devices.iter().all(|device| device.kind == DeviceKind::Cpu);
            let why = if is_on && !on_cpu {
                "the engine turns it on where the device supports the model's heads"
            } else {
                "the engine's default"
            };
            assumptions.note("flash_attention", if is_on { "on" } else { "off" }, why);
            Ok(is_on)
        }
    }
}

/// Whether any layer has latent attention.
pub(super) fn has_latents(model: &ModelSpec) -> bool {
    model.decoder.kinds.iter().any(|layer| layer.mixer.attention().is_some_and(|attention| attention.latent.is_some()))
}
