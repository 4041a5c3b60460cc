//! The native engine: repacked weights, pages of keys and values, the buffers of one step.
//!
//! The engine's own report of what it took is the truth that these formulas are tested against
//! (`crates/hwledger-engine/tests/native/memory.rs` and `encoder/memory.rs` beside it).

use super::parallel::check_magnitude;
use super::{Components, DeviceMemory, EngineError, MemoryPlan};
use crate::device::Instructions;
use crate::model::{Attention, FeedForward, Layer, Mixer, ModelSpec, Role, Weight};
use crate::settings::Device;
use crate::units::{MEBIBYTE, round_up};
use crate::weight_format::{WeightFormat, asked_or_stored, sum_of_weights};
use crate::{Assumptions, Bytes, ElementType, Estimate, Settings};

const NAME: &str = "hwledger";
/// Tokens of one page.
const PAGE_TOKENS: u64 = 32;
/// Memory for pages is taken in stretches of at least a page and at most this.
const SEGMENT_BYTES: u64 = 4 * MEBIBYTE;
/// Most prompt tokens of one step.
const CHUNK_TOKENS: u64 = 512;
/// Output rows that lie interleaved.
const ROWS_INTERLEAVED: u64 = 16;
/// Activations are filled up with zeros to a multiple of this.
const COLUMNS_GRID: u64 = 256;
/// Tokens from which a batch is multiplied as bfloat16 tiles, where the processor has them.
const TILE_TOKENS_MIN: u64 = 32;
/// Bytes of a tokenizer per token of its vocabulary: texts, merges and their index. With [`PROCESS_BYTES`] what
/// processes of the engine held beside what it reports, on Linux: 22 MiB with 512 tokens and 67 to 68 with 128,256; 7 to
/// 13 more where they are recorded.
const TOKENIZER_BYTES_PER_TOKEN: u64 = 372;
/// The program, of whose pages some 17 MiB are in memory then, its threads and small tables.
const PROCESS_BYTES: u64 = 22 * MEBIBYTE;

/// Columns of the longest group that MLX's files have; 8-bit numbers whose scales serve more are floats.
const AFFINE_GROUP_MAX: u32 = 128;

/// What a process holds beside what the engine reports; the upper end is that of recorded runs.
fn overhead(model: &ModelSpec) -> Estimate<Bytes> {
    let bytes = PROCESS_BYTES.saturating_add(model.vocabulary_size.saturating_mul(TOKENIZER_BYTES_PER_TOKEN));
    Estimate::within(Bytes(bytes), 0.9, 1.25)
}

/// The type that weights of a type are held in: 8-bit floats become bfloat16.
const fn held(element_type: ElementType) -> ElementType {
    match element_type {
        ElementType::Fp8 => ElementType::BF16,
        ElementType::Grouped { bits: 8, group, .. } if group > AFFINE_GROUP_MAX => ElementType::BF16,
        other => other,
    }
}

/// Columns and bytes of one unit of sixteen repacked rows.
const fn unit(element_type: ElementType) -> (u64, u64) {
    match held(element_type) {
        ElementType::Q4K => (256, 2368),
        ElementType::Q5K => (256, 2880),
        ElementType::Q6K => (256, 3392),
        ElementType::Q3K => (256, 1856),
        ElementType::Q8_0 => (64, 1088),
        ElementType::Q4_0 | ElementType::Iq4Nl | ElementType::Mxfp4 => (64, 576),
        ElementType::Iq4Xs => (256, 2240),
        ElementType::F16 | ElementType::BF16 => (32, 1024),
        ElementType::F32 => (32, 2048),
        other => {
            let (columns, bytes) = other.block();
            (columns, bytes * ROWS_INTERLEAVED)
        }
    }
}

/// Bytes of a repacked matrix: whole units of columns, whole groups of sixteen rows.
pub const fn packed_bytes(element_type: ElementType, rows: u64, columns: u64, copies: u64) -> u64 {
    let (unit_columns, unit_bytes) = unit(element_type);
    copies
        .saturating_mul(rows.div_ceil(ROWS_INTERLEAVED))
        .saturating_mul(columns.div_ceil(unit_columns))
        .saturating_mul(unit_bytes)
}

/// Whether a model only reads: every token of a text sees all of it.
const fn is_encoder(model: &ModelSpec) -> bool {
    !model.is_causal && model.encoder.is_none()
}

/// Bytes of a tensor in memory: matrices repacked, all else in single precision.
fn weight_bytes(weight: &Weight, element_type: ElementType) -> u64 {
    match weight.role {
        // Factors of rotary positions become angles when the model is loaded.
        Role::Auxiliary | Role::Other => 0,
        Role::SharedRouter => packed_bytes(element_type, 1, weight.rows.max(weight.columns), 1),
        _ if weight.is_vector() => weight.elements().saturating_mul(4),
        _ => packed_bytes(element_type, weight.rows, weight.columns, weight.copies),
    }
}

/// Whether blocks of a type lie along rows, so that what turns rows into columns decodes them.
fn is_plain(element_type: ElementType) -> bool {
    matches!(held(element_type), ElementType::F32 | ElementType::F16 | ElementType::BF16)
}

/// The type of the keys' half of a whole up-projection: turned over, and so decoded where blocks lie along rows.
fn key_half(element_type: ElementType) -> ElementType {
    if is_plain(element_type) { element_type } else { ElementType::F16 }
}

/// Heads of latent attention that are computed at a time.
const LATENT_HEADS_TOGETHER: u64 = 16;

/// The extents of a model's latent attention.
#[derive(Clone, Copy)]
struct LatentExtents {
    heads: u64,
    nope: u64,
    rope: u64,
    value: u64,
    rank: u64,
    query_rank: Option<u64>,
}

fn latent_extents(layer: &Layer) -> Option<LatentExtents> {
    let (attention, latent) = (layer.mixer.attention()?, layer.latent()?);
    Some(LatentExtents {
        heads: attention.heads,
        nope: latent.nope_dim,
        rope: latent.rope_dim,
        value: attention.value_dim,
        rank: latent.kv_rank,
        query_rank: latent.query_rank,
    })
}

impl LatentExtents {
    /// Bytes of a whole up-projection, which is held as two stacks of matrices: that of keys turned over, and decoded
    /// to half precision where its blocks lie along rows.
    fn up_bytes(self, element_type: ElementType) -> u64 {
        packed_bytes(key_half(element_type), self.rank, self.nope, self.heads).saturating_add(packed_bytes(
            element_type,
            self.value,
            self.rank,
            self.heads,
        ))
    }
}

/// Bytes of all weights in memory.
fn weights_bytes(model: &ModelSpec, format: Option<&WeightFormat>) -> u64 {
    // Layers of latent attention are alike in every model.
    let latent = model.decoder.kinds.iter().find_map(latent_extents);
    sum_of_weights(format, model, |weight, element_type| match latent {
        Some(latent) if weight.role == Role::LatentUp && !weight.is_vector() => latent.up_bytes(element_type),
        _ => weight_bytes(weight, element_type),
    })
}

/// Bytes of one head's elements for a page of tokens.
const fn page_head_bytes(element_type: ElementType, elements: u64) -> u64 {
    match element_type {
        ElementType::Q8_0 => elements * PAGE_TOKENS + elements.div_ceil(32) * PAGE_TOKENS * 2,
        _ => elements * PAGE_TOKENS * 2,
    }
}

fn page_bytes(model: &ModelSpec, element_type: ElementType) -> u64 {
    model.decoder.counted().fold(0, |sum, (layer, count)| {
        let bytes = layer.mixer.attention().map_or(0, |attention| {
            if let Some(latent) = layer.latent() {
                // One row for all heads, whose start is the value.
                let row = latent.kv_rank.saturating_add(latent.rope_dim);
                return round_up(page_head_bytes(element_type, row), 64);
            }
            let head = page_head_bytes(element_type, attention.key_dim)
                .saturating_add(page_head_bytes(element_type, attention.value_dim));
            round_up(attention.kv_heads.saturating_mul(head), 64)
        });
        bytes.saturating_mul(count).saturating_add(sum)
    })
}

/// Bytes of pages for some sequences of `context` tokens each.
fn cache_bytes(model: &ModelSpec, element_type: ElementType, sequences: u64, context: u64) -> u64 {
    let page = page_bytes(model, element_type);
    let pages = sequences.saturating_mul(context.div_ceil(PAGE_TOKENS));
    let per_segment = (SEGMENT_BYTES / page.max(1)).max(1);
    pages.div_ceil(per_segment).saturating_mul(per_segment).saturating_mul(page)
}

/// Widths of a model's inner rows.
struct Widths {
    /// Outputs of the widest input projection.
    wide: u64,
    /// Outputs of attention, all heads.
    mixed: u64,
    /// Inputs of the widest projection back.
    inner: u64,
    /// Pairs that turn.
    pairs: u64,
    /// Of latent attention: query heads made of a latent, queries in the latent's space, and summed latents.
    latent: u64,
    /// Batches of inputs that the heads of latent attention have.
    batches: u64,
    /// Columns of these: of queries on their way to the latent's space, and of summed latents.
    key_columns: u64,
    value_columns: u64,
}

fn widths(model: &ModelSpec) -> Widths {
    let mut widths =
        Widths { wide: 0, mixed: 0, inner: 0, pairs: 0, latent: 0, batches: 0, key_columns: 0, value_columns: 0 };
    // Heads turn where positions are not learned.
    let has_positions = model.embedding.iter().any(|weight| weight.role == Role::PositionEmbedding);
    for layer in &model.decoder.kinds {
        if let Some(latent) = latent_extents(layer) {
            latent_widths(&mut widths, latent);
        } else if let Mixer::Attention(Attention { heads, kv_heads, key_dim, value_dim, .. }) = &layer.mixer {
            let mixed = heads.saturating_mul(*value_dim);
            let keys = heads.saturating_add(*kv_heads).saturating_mul(*key_dim);
            widths.wide = widths.wide.max(keys.saturating_add(kv_heads.saturating_mul(*value_dim)));
            widths.mixed = widths.mixed.max(mixed);
            widths.inner = widths.inner.max(mixed);
            if !has_positions {
                widths.pairs = widths.pairs.max(key_dim / 2);
            }
        }
        let (wide, inner) = feed_forward_widths(layer);
        widths.wide = widths.wide.max(wide);
        widths.inner = widths.inner.max(inner);
    }
    widths
}

fn latent_widths(widths: &mut Widths, latent: LatentExtents) {
    let LatentExtents { heads, nope, rope, value, rank, query_rank } = latent;
    let (queries, row) = (heads.saturating_mul(nope.saturating_add(rope)), rank.saturating_add(rope));
    let mixed = heads.saturating_mul(value);
    let together = heads.min(LATENT_HEADS_TOGETHER);
    widths.wide = widths.wide.max(query_rank.unwrap_or(queries).saturating_add(row));
    widths.mixed = widths.mixed.max(mixed);
    widths.inner = widths.inner.max(mixed).max(query_rank.unwrap_or(0));
    widths.pairs = widths.pairs.max(rope / 2);
    let made = if query_rank.is_some() { queries } else { 0 };
    widths.latent = widths.latent.max(made.saturating_add(together.saturating_mul(row.saturating_add(rank))));
    widths.batches = widths.batches.max(together);
    widths.key_columns = widths.key_columns.max(nope);
    widths.value_columns = widths.value_columns.max(rank);
}

fn feed_forward_widths(layer: &Layer) -> (u64, u64) {
    match &layer.feed_forward {
        FeedForward::None => (0, 0),
        FeedForward::Dense { width, activation } => match activation {
            crate::model::Activation::Gated => (width.saturating_mul(2), *width),
            crate::model::Activation::Plain => (*width, *width),
        },
        FeedForward::Experts(experts) => {
            let routed = experts.experts_per_token.saturating_mul(experts.expert_width).saturating_mul(2);
            (experts.experts.max(experts.shared_width.saturating_mul(2)).max(routed), experts.shared_width)
        }
    }
}

/// The forms of a batch of activations beside single precision.
#[derive(Clone, Copy)]
struct Forms {
    /// Bytes in blocks of 32 columns.
    has_blocks: bool,
    /// Bytes in super-blocks of 256 columns.
    has_super_blocks: bool,
    /// Tiles of bfloat16, for all but weights of half and single precision, where the processor has AMX.
    has_tiles: bool,
}

/// Whether activations become bytes in blocks of 32 columns to be multiplied with weights of this type.
const fn takes_blocks(element_type: ElementType) -> bool {
    use ElementType::{Grouped, Iq4Nl, Mxfp4, Q4_0, Q8_0};
    matches!(held(element_type), Q8_0 | Q4_0 | Iq4Nl | Mxfp4 | Grouped { .. })
}

/// The same in super-blocks of 256 columns.
const fn takes_super_blocks(element_type: ElementType) -> bool {
    use ElementType::{Iq4Xs, Q3K, Q4K, Q5K, Q6K};
    matches!(element_type, Q3K | Q4K | Q5K | Q6K | Iq4Xs)
}

/// The forms that matrices need; `seen` says of a role and a type in which type such a matrix is held, if it counts.
fn forms(
    model: &ModelSpec,
    format: Option<&WeightFormat>,
    has_amx: bool,
    seen: impl Fn(Role, ElementType) -> Option<ElementType>,
) -> Forms {
    let has = |is_such: fn(ElementType) -> bool| {
        let counted =
            |weight: &Weight, kind| u64::from(!weight.is_vector() && seen(weight.role, kind).is_some_and(is_such));
        sum_of_weights(format, model, counted) > 0
    };
    let has_tiles = has_amx && has(|kind| !matches!(kind, ElementType::F16 | ElementType::F32));
    // With tiles, bytes are for steps too short for them; an encoder has none of these.
    let has_bytes = !(has_tiles && is_encoder(model));
    Forms {
        has_blocks: has_bytes && has(takes_blocks),
        has_super_blocks: has_bytes && has(takes_super_blocks),
        has_tiles,
    }
}

/// Bytes of a batch of activations that takes rows of several widths in turn: single precision, and the forms that
/// the products with each need.
fn activation_bytes<const N: usize>(tokens: u64, rows: [(u64, Forms); N]) -> u64 {
    let widest = |needs: fn(Forms) -> bool| {
        let of = |(columns, forms)| if needs(forms) { round_up(columns, COLUMNS_GRID) } else { 0 };
        rows.map(of).into_iter().max().unwrap_or(0)
    };
    // Where the processor has tiles, bytes are for smaller batches than those.
    let has_tiles = widest(|forms| forms.has_tiles) > 0;
    let small = if has_tiles { tokens.min(TILE_TOKENS_MIN) } else { tokens };
    // Bytes stand in tiles of up to eight tokens: one, or an even number.
    let places = if small == 1 { 1 } else { small.next_multiple_of(2) };
    let tiles = if tokens >= TILE_TOKENS_MIN { round_up(tokens, TILE_TOKENS_MIN) * 2 } else { 0 };
    // A byte and two factors per 32 columns; a byte, a factor per 256 columns, sums of 64, offsets of 16.
    let parts = [
        tokens.saturating_mul(widest(|_| true)).saturating_mul(4),
        places.saturating_mul(widest(|forms| forms.has_blocks)).saturating_mul(5) / 4,
        places.saturating_mul(widest(|forms| forms.has_super_blocks)).saturating_mul(85) / 64,
        tiles.saturating_mul(widest(|forms| forms.has_tiles)),
    ];
    parts.into_iter().fold(0, u64::saturating_add)
}

/// Bytes of the buffers of a step.
fn compute_bytes(model: &ModelSpec, format: Option<&WeightFormat>, tokens: u64, has_amx: bool) -> u64 {
    let Widths { wide, mixed, inner, pairs, latent, batches, key_columns, value_columns } = widths(model);
    let hidden = model.hidden_size;
    let rows = hidden.saturating_mul(2).saturating_add(wide).saturating_add(mixed).saturating_add(2 * pairs);
    let rows = rows.saturating_add(latent);
    let keys = forms(model, format, has_amx, |role, kind| match role {
        Role::LatentKeyUp => Some(kind),
        Role::LatentUp => Some(key_half(kind)),
        _ => None,
    });
    let values = forms(model, format, has_amx, |role, kind| {
        matches!(role, Role::LatentUp | Role::LatentValueUp).then_some(kind)
    });
    let others = forms(model, format, has_amx, |role, kind| {
        let is_up = matches!(role, Role::LatentUp | Role::LatentKeyUp | Role::LatentValueUp);
        (!is_up).then_some(kind)
    });
    tokens
        .saturating_mul(rows)
        .saturating_mul(4)
        .saturating_add(activation_bytes(tokens, [(hidden, others)]))
        .saturating_add(activation_bytes(tokens, [(inner, others)]))
        .saturating_add(
            batches.saturating_mul(activation_bytes(tokens, [(key_columns, keys), (value_columns, values)])),
        )
}

/// Bytes of an encoder's tensor in memory: of segments only the first, which texts alone have.
fn encoder_weight_bytes(weight: &Weight, element_type: ElementType, hidden: u64) -> u64 {
    match weight.role {
        Role::TypeEmbedding => hidden.saturating_mul(4),
        _ => weight_bytes(weight, element_type),
    }
}

/// Whether the processor multiplies in the tiles of AMX.
fn has_amx(settings: &Settings, assumptions: &mut Assumptions) -> bool {
    let known = settings.amx.or_else(|| Instructions::of(settings).map(|set| set == Instructions::Amx));
    assumptions.or(known, "amx", false, "most processors have none")
}

/// The memory of an encoder.
///
/// **Formula**: repacked weights of all but what stands behind the layers + buffers of a step. **Assumptions**: texts
/// come up to the context, and short ones are computed together up to 512 tokens.
fn plan_encoder(
    model: &ModelSpec,
    settings: &Settings,
    assumptions: &mut Assumptions,
) -> Result<MemoryPlan, EngineError> {
    let format = asked_or_stored(model, settings, assumptions)?;
    let model = &ModelSpec { head: Vec::new(), ..model.clone() };
    let context = settings.context.or(model.context_max).unwrap_or(CHUNK_TOKENS).max(1);
    let texts = settings.sequences.unwrap_or(1).max(1).saturating_mul(context);
    let has_amx = has_amx(settings, assumptions);
    // Steps are filled up to a whole tile.
    let tokens_min = if has_amx { TILE_TOKENS_MIN } else { 1 };
    let tokens = context.max(texts.min(CHUNK_TOKENS)).max(tokens_min);
    let weights = sum_of_weights(format.as_ref(), model, |weight, element_type| {
        encoder_weight_bytes(weight, element_type, model.hidden_size)
    });
    let components = Components {
        weights: Some(Estimate::exact(Bytes(weights))),
        repacked: Some(Estimate::ZERO),
        kv_cache: Some(Estimate::ZERO),
        recurrent_state: Some(Estimate::ZERO),
        compute: Some(Estimate::within(Bytes(compute_bytes(model, format.as_ref(), tokens, has_amx)), 0.75, 1.1)),
        output: Some(Estimate::ZERO),
        overhead: Some(overhead(model)),
    };
    Ok(MemoryPlan {
        devices: vec![host(settings, components)],
        kv_cache_tokens: None,
        available_kv: None,
        max_concurrency: None,
    })
}

/// The processor's memory.
fn host(settings: &Settings, components: Components) -> DeviceMemory {
    let device = settings.devices.first();
    let name = device.map_or_else(|| DeviceMemory::HOST.to_owned(), |device| device.name.clone());
    let capacity = device.and_then(Device::total).map(|total| total.value).or(settings.host_memory);
    DeviceMemory::new(name, components, capacity)
}

/// The memory of `model` in the native engine on one processor.
///
/// **Formula**: repacked weights + pages of all sequences' contexts + buffers of a step of 512 tokens + logits of
/// every sequence. **Assumption**: replies fill their contexts.
pub fn plan(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Result<MemoryPlan, EngineError> {
    check_magnitude(NAME, model, settings)?;
    if is_encoder(model) {
        return plan_encoder(model, settings, assumptions);
    }
    let format = asked_or_stored(model, settings, assumptions)?;
    let context = settings.context.unwrap_or(4096).max(1);
    let sequences = settings.sequences.unwrap_or(1).max(1);
    let cache_type = match settings.kv_type_k {
        None | Some(ElementType::F16) => ElementType::F16,
        Some(ElementType::Q8_0) => ElementType::Q8_0,
        Some(other) => {
            let why = format!("its cache holds f16 or q8_0, not {other}");
            return Err(EngineError::Refused { engine: NAME, setting: "kv_type_k", why });
        }
    };
    let has_amx = has_amx(settings, assumptions);
    let weights = weights_bytes(model, format.as_ref());
    let chunk = settings.batch.unwrap_or(CHUNK_TOKENS).min(CHUNK_TOKENS);
    let tokens = chunk.min(settings.prompt.unwrap_or(context)).max(sequences);
    let logits = sequences.saturating_mul(model.vocabulary_size).saturating_mul(4);
    let components = Components {
        weights: Some(Estimate::exact(Bytes(weights))),
        repacked: Some(Estimate::ZERO),
        kv_cache: Some(Estimate::exact(Bytes(cache_bytes(model, cache_type, sequences, context)))),
        recurrent_state: Some(Estimate::ZERO),
        compute: Some(Estimate::within(Bytes(compute_bytes(model, format.as_ref(), tokens, has_amx)), 0.75, 1.1)),
        output: Some(Estimate::exact(Bytes(logits))),
        overhead: Some(overhead(model)),
    };
    Ok(MemoryPlan {
        devices: vec![host(settings, components)],
        kv_cache_tokens: Some(Estimate::exact(
            sequences.saturating_mul(context.div_ceil(PAGE_TOKENS)).saturating_mul(PAGE_TOKENS),
        )),
        available_kv: None,
        max_concurrency: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bit_floats_are_held_as_bfloat16() {
        let bytes = |element_type| packed_bytes(element_type, 2048, 7168, 3);
        // Blocks of 128 by 128 and of 128 rows, as published configurations have them.
        let blocks = [1 << 14, 7168].map(|group| ElementType::Grouped { bits: 8, group, group_bits: 32 });
        for element_type in [ElementType::Fp8, blocks[0], blocks[1]] {
            assert_eq!(bytes(element_type), 3 * 2048 * 7168 * 2);
            assert!(is_plain(element_type) && !takes_blocks(element_type));
        }
        let affine = ElementType::Grouped { bits: 8, group: 64, group_bits: 32 };
        assert_eq!(bytes(affine), 3 * 2048 * (7168 + 7168 / 64 * 4));
        assert!(takes_blocks(affine));
    }
}
