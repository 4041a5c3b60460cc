//! A tensor table sorted into the parts of a model, as weights with the bytes that they take in the files.

use std::collections::{BTreeMap, HashMap};

use hwledger_core::ElementType;
use hwledger_core::model::{Role, Weight};

use super::header::TensorInfo;
use super::name::{Name, Part, Place, parse};
use super::table::TensorTable;

/// Tensors of one shape and role in one part of the model, merged if they are experts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    /// The name of the first of them, within its layer.
    pub(super) name: String,
    /// Shape and type as stored; the shape of packed tensors is not yet the logical one.
    pub(super) weight: Weight,
    /// Whether the elements hold several parameters each.
    pub(super) is_packed: bool,
    /// Bytes in the files.
    pub(super) bytes: u64,
    /// Bytes of scales, zero points and indices that belong to packed tensors.
    pub(super) auxiliary_bytes: u64,
}

/// The tensors of every part.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sections {
    pub(super) places: BTreeMap<Place, Vec<Stored>>,
    /// Bytes of scales and buffers that belong to no packed tensor, by part.
    pub(super) loose_bytes: BTreeMap<Place, u64>,
}

/// The name of the module that a tensor belongs to: `q_proj.weight_scale` and `q_proj.weight_packed` share one.
fn module(name: &str) -> &str {
    for end in ["_blocks", "_scales"] {
        if let Some(module) = name.strip_suffix(end) {
            return module;
        }
    }
    // bitsandbytes: `q_proj.weight.absmax` stands beside `q_proj.weight`.
    match name.split_once(".weight.") {
        Some((module, _)) => module,
        None => name.rsplit_once('.').map_or("", |(module, _)| module),
    }
}

impl Sections {
    /// Sorts a table.
    pub(super) fn sort(table: &TensorTable, is_encoder_decoder: bool) -> Self {
        let names: Vec<Name<'_>> = table.tensors.iter().map(|tensor| parse(&tensor.name, is_encoder_decoder)).collect();
        // Scales and zero points by the module that they belong to.
        let mut auxiliary: HashMap<&str, u64> = HashMap::new();
        for (tensor, name) in table.tensors.iter().zip(&names) {
            if name.part == Part::Auxiliary || is_mask(tensor) {
                *auxiliary.entry(module(&tensor.name)).or_default() += tensor.bytes;
            }
        }
        let mut sections = Self::default();
        for (tensor, name) in table.tensors.iter().zip(&names) {
            if name.part == Part::Auxiliary || is_mask(tensor) {
                continue;
            }
            let is_packed = name.part == Part::Packed || is_packed_integer(tensor, &auxiliary);
            // Only the matrix has scales, not the bias beside it.
            let auxiliary_bytes = if is_packed { auxiliary.remove(module(&tensor.name)).unwrap_or(0) } else { 0 };
            let stored = Stored {
                name: name.rest.to_owned(),
                weight: weight(tensor, name.role),
                is_packed,
                bytes: tensor.bytes,
                auxiliary_bytes,
            };
            merge(sections.places.entry(name.place).or_default(), stored);
        }
        for (tensor, name) in table.tensors.iter().zip(&names) {
            if let Some(bytes) = auxiliary.remove(module(&tensor.name)) {
                *sections.loose_bytes.entry(name.place).or_default() += bytes;
            }
        }
        sections.settle_projector();
        sections
    }

    /// A projector's name does not tell what it projects: beside an audio tower alone it is the audio tower's.
    fn settle_projector(&mut self) {
        let is_projector_only = |stored: &[Stored]| stored.iter().all(|stored| stored.weight.role == Role::Projector);
        if self.places.contains_key(&Place::Audio)
            && self.places.get(&Place::Vision).is_some_and(|vision| is_projector_only(vision))
        {
            let projector = self.places.remove(&Place::Vision).unwrap_or_default();
            self.places.entry(Place::Audio).or_default().extend(projector);
            let bytes = self.loose_bytes.remove(&Place::Vision).unwrap_or(0);
            *self.loose_bytes.entry(Place::Audio).or_default() += bytes;
        }
    }
}

/// Attention masks that old files hold as buffers: `attn.bias` of GPT-2 and GPT-NeoX.
fn is_mask(tensor: &TensorInfo) -> bool {
    &*tensor.dtype == "BOOL"
        || (tensor.name.ends_with("attn.bias") || tensor.name.ends_with("attention.bias")) && tensor.shape.len() > 2
}

/// Integers with scales beside them are packed parameters (MLX, bitsandbytes, NVFP4).
fn is_packed_integer(tensor: &TensorInfo, auxiliary: &HashMap<&str, u64>) -> bool {
    matches!(&*tensor.dtype, "U8" | "I32" | "U32") && auxiliary.contains_key(module(&tensor.name))
}

/// The last extent is contiguous; those before the last two are stacked copies.
fn weight(tensor: &TensorInfo, role: Role) -> Weight {
    let shape = match *tensor.shape {
        [] => Weight::vector(role, 1),
        [length] => Weight::vector(role, length),
        [ref stack @ .., rows, columns] => {
            // A depthwise convolution of shape (channels, 1, taps) is one matrix.
            let copies = stack.iter().fold(1_u64, |product, &extent| product.saturating_mul(extent));
            if rows == 1 && copies > 1 {
                Weight::matrix(role, copies, columns)
            } else {
                Weight::matrix(role, rows, columns).stacked(copies)
            }
        }
    };
    shape.stored_as(tensor.element_type)
}

/// How far back an expert's equal is looked for: a layer's experts have few distinct shapes.
const EXPERT_SEARCH_MAX: usize = 64;

/// Adds a tensor; equal experts of their own become copies of one.
fn merge(known: &mut Vec<Stored>, stored: Stored) {
    if stored.weight.role.is_routed_expert()
        && let Some(stack) = known.iter_mut().rev().take(EXPERT_SEARCH_MAX).find(|other| {
            other.is_packed == stored.is_packed
                && Weight { copies: stored.weight.copies, ..other.weight } == stored.weight
        })
    {
        stack.weight.copies = stack.weight.copies.saturating_add(stored.weight.copies);
        stack.bytes = stack.bytes.saturating_add(stored.bytes);
        stack.auxiliary_bytes = stack.auxiliary_bytes.saturating_add(stored.auxiliary_bytes);
        return;
    }
    known.push(stored);
}

/// Bytes that are no parameters, as a weight.
pub(super) fn auxiliary(bytes: u64) -> Option<Weight> {
    (bytes > 0).then(|| Weight::vector(Role::Auxiliary, bytes).stored_as(ElementType::I8))
}

/// A packed tensor as a weight of its logical shape, with a type that accounts for its bytes, and the bytes of
/// scales that the type does not account for. None if no whole number of bits makes the bytes.
pub(super) fn unpack(stored: &Stored, logical: &Weight) -> Option<(Weight, u64)> {
    let elements = logical.elements();
    let packed_bits = stored.bytes.checked_mul(8)?;
    let bits =
        packed_bits.checked_div(elements).filter(|bits| (1..=16).contains(bits) && bits * elements == packed_bits)?;
    let bits = u8::try_from(bits).ok()?;
    let row = if logical.columns == 1 { logical.rows } else { logical.columns };
    // With scales in the blocks, if they are spread evenly over groups of the usual lengths.
    for group in [16_u32, 32, 64, 128, 256, 512, 1024] {
        let Some(groups) = row.is_multiple_of(group.into()).then_some(elements / u64::from(group)) else { continue };
        let scale_bits = stored.auxiliary_bytes.checked_mul(8)?;
        if groups == 0 || !scale_bits.is_multiple_of(groups) {
            continue;
        }
        // A scale takes 8 to 32 bits and a zero point at most 16 more.
        if let Ok(group_bits @ 8..=48) = u8::try_from(scale_bits / groups) {
            let element_type = ElementType::Grouped { bits, group, group_bits };
            let weight = Weight { role: stored.weight.role, ..*logical }.stored_as(element_type);
            if weight.bytes_as(element_type) == stored.bytes.saturating_add(stored.auxiliary_bytes) {
                return Some((weight, 0));
            }
        }
    }
    let element_type = ElementType::Grouped { bits, group: 8, group_bits: 0 };
    let weight = Weight { role: stored.weight.role, ..*logical }.stored_as(element_type);
    (weight.bytes_as(element_type) == stored.bytes).then_some((weight, stored.auxiliary_bytes))
}

/// A packed tensor whose logical shape nobody states: four bits to a parameter, rows as stored.
pub(super) fn guess_logical(stored: &Stored) -> Weight {
    let rows = stored.weight.rows.max(1);
    let copies = stored.weight.copies.max(1);
    let columns = (stored.bytes.saturating_mul(2) / rows / copies).max(1);
    Weight::matrix(stored.weight.role, rows, columns).stacked(copies)
}
