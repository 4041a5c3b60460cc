//! Bytes of weights, per layer and per device.

use crate::model::{Layer, ModelSpec, Role, Weight};
use crate::settings::{SplitMode, Switch};
use crate::weight_format::gguf::{FileType, GgufFormat, LayerChoice, Recipe};
use crate::{Assumptions, Bytes, ElementType, Estimate, Settings};

use super::placement::Placement;
use super::release::Release;
use super::repack::{Packed, Repacker};
use crate::engine::{EngineError, Residence, WeightBuffer};

/// Where the types of tensors come from.
#[derive(Clone, Copy, Debug)]
enum Types {
    /// The files say.
    Stored,
    /// What `llama-quantize` would choose.
    Chosen(Recipe),
}

/// Bytes of one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LayerBytes {
    /// Routed experts, which can stay on the host by themselves.
    experts: u64,
    /// All else.
    rest: u64,
    /// Copies of routed experts in the processor's own layouts.
    packed_experts: Packed,
    /// Copies of all else.
    packed: Packed,
}

/// Weights by device.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightBytes {
    /// On each card.
    pub cards: Vec<u64>,
    /// On the host.
    pub host: u64,
    /// Of those on each card, routed experts.
    pub card_experts: Vec<u64>,
    /// Of those on the host, routed experts.
    pub host_experts: u64,
    /// Of those on the host, tables that are read by a row at a time, and the vectors beside them.
    pub host_lookups: u64,
    /// Copies of those on the host in the processor's own layouts.
    pub packed: Packed,
    /// Whether the files are mapped into memory rather than read into it.
    pub is_mapped: bool,
    /// Bytes at the ends of the mapped files that are unmapped when all is loaded: copied tensors before the first and
    /// after the last that was not.
    pub trimmed: u64,
    /// Whether the copies rest on a processor that nobody named.
    is_packing_assumed: bool,
    /// How far the sum can be from the truth, as factors.
    pub interval: (f64, f64),
}

impl WeightBytes {
    /// Bytes of every tensor of `model`, where `placement` puts it.
    ///
    /// # Errors
    ///
    /// [`EngineError::Refused`] for a weight format that GGUF files cannot hold.
    pub fn resolve(
        model: &ModelSpec,
        settings: &Settings,
        placement: &Placement,
        release: Release,
        assumptions: &mut Assumptions,
    ) -> Result<Self, EngineError> {
        let types = types(model, settings, assumptions)?;
        let mut told = Assumptions::default();
        let repacker = Repacker::resolve(settings, placement, release, &mut told);
        let mut sum = Sum::new(placement, repacker, release);
        sum.add_outside(model, &types);
        sum.add_layers(model, &types);
        let mut bytes = sum.bytes;
        bytes.is_mapped = settings.mmap != Some(false);
        if let Some(repacker) = &repacker {
            bytes.is_packing_assumed = repacker.is_assumed();
            bytes.trimmed = trimmed(model, &types, placement, repacker);
        }
        // A processor that makes no difference is nothing to tell of.
        if bytes.packed.most > 0 {
            assumptions.0.extend(told.0);
        }
        if let Some(Bytes(given)) = settings.weights_bytes {
            bytes.scale_to(given, sum.duplicate);
        } else {
            bytes.interval = interval(&types);
        }
        if settings.vision_projector == Some(Switch::On) {
            bytes.add_towers(model);
        }
        Ok(bytes)
    }

    /// Scales all devices alike so that the files' bytes (a second copy of a tied output left
    /// out) are `given`.
    fn scale_to(&mut self, given: u64, duplicate: u64) {
        let all: u64 = self.cards.iter().sum::<u64>().saturating_add(self.host);
        let files = all.saturating_sub(duplicate);
        if files == 0 {
            return;
        }
        let factor = given as f64 / files as f64;
        let multiplied = Bytes(self.host.saturating_sub(self.host_lookups)).scaled(factor).0;
        let mut cards = 0_u64;
        for part in self.card_experts.iter_mut().chain([&mut self.host_experts]) {
            *part = Bytes(*part).scaled(factor).0;
        }
        for card in &mut self.cards {
            *card = Bytes(*card).scaled(factor).0;
            cards = cards.saturating_add(*card);
        }
        self.packed.each(|part| Bytes(part).scaled(factor).0);
        self.trimmed = Bytes(self.trimmed).scaled(factor).0;
        // The host's tables take the rounding, so that the sum stays exact.
        let copy = Bytes(duplicate).scaled(factor).0;
        self.host = given.saturating_add(copy).saturating_sub(cards);
        self.host_lookups = self.host.saturating_sub(multiplied);
    }

    /// Whether the processor multiplies by anything that it holds.
    pub const fn multiplies_on_host(&self) -> bool {
        self.host > self.host_lookups
    }

    /// The vision or audio projector file: 16-bit matrices, on the first card if there is one.
    fn add_towers(&mut self, model: &ModelSpec) {
        let bytes: u64 = model
            .towers
            .iter()
            .flat_map(|tower| &tower.weights)
            .map(|weight| weight.bytes_as(if weight.is_vector() { ElementType::F32 } else { ElementType::F16 }))
            .fold(0, u64::saturating_add);
        let place = self.cards.first_mut().unwrap_or(&mut self.host);
        *place = place.saturating_add(bytes);
    }

    /// The bytes of one place as a claim.
    pub fn estimate(&self, bytes: u64) -> Estimate<Bytes> {
        let (low, high) = self.interval;
        if low >= 1.0 && high <= 1.0 {
            Estimate::exact(Bytes(bytes))
        } else {
            Estimate::within(Bytes(bytes), low, high)
        }
    }

    /// What the host holds of the files: all that is on it where they are mapped, else what was not copied into
    /// another layout on the way.
    pub fn on_host(&self) -> Estimate<Bytes> {
        self.estimate(if self.is_mapped { self.host } else { self.host.saturating_sub(self.packed.source) })
    }

    /// The copies of the host's weights in the processor's own layouts.
    pub fn repacked(&self) -> Estimate<Bytes> {
        let known = self.estimate(self.packed.bytes());
        if self.is_packing_assumed {
            Estimate { low: Bytes::ZERO, high: self.estimate(self.packed.most).high, ..known }
        } else {
            known
        }
    }

    /// What the system may drop without loss: mapped pages of tensors that were copied.
    pub fn reclaimable(&self) -> Bytes {
        Bytes(if self.is_mapped { self.packed.source } else { 0 })
    }

    /// The buffers of the host's weights, as the log names them.
    pub fn host_buffers(&self, release: Release) -> Vec<WeightBuffer> {
        let plain = if self.is_mapped {
            WeightBuffer {
                name: "CPU_Mapped".to_owned(),
                bytes: self.estimate(self.host.saturating_sub(self.trimmed)),
                residence: Residence::Mapped,
            }
        } else {
            WeightBuffer { name: "CPU".to_owned(), bytes: self.on_host(), residence: Residence::Allocated }
        };
        let copies = [(release.interleaved_name(), self.packed.interleaved), ("AMX", self.packed.tiles)];
        let copies = copies.into_iter().filter(|(_, bytes)| *bytes > 0).map(|(name, bytes)| WeightBuffer {
            name: name.to_owned(),
            bytes: self.estimate(bytes),
            residence: Residence::Allocated,
        });
        std::iter::once(plain).chain(copies).collect()
    }
}

/// Bytes in the file of the first of `weights` up to one that is not copied.
fn copied<'a>(weights: impl Iterator<Item = &'a Weight>, repacker: &Repacker) -> u64 {
    let source = |weight: &Weight| weight.stored.map_or(0, |stored| repacker.packed(weight, stored).source);
    weights.map(source).take_while(|bytes| *bytes > 0).fold(0, u64::saturating_add)
}

/// Bytes of copied tensors before the first tensor of the file that stays mapped, and after the last.
///
/// **Source**: `get_mapping_range` of `llama-model-loader.cpp`: the mapping reaches from the first to the last tensor
/// that is used from it. **Assumption**: layers stand in the file in their order; of files that were not read it is
/// not known what stands at their ends.
fn trimmed(model: &ModelSpec, types: &Types, placement: &Placement, repacker: &Repacker) -> u64 {
    let (Types::Stored, Some(order), true) = (types, &model.file_order, placement.cards.is_empty()) else { return 0 };
    let layers = || model.decoder.layers().flat_map(|layer| &layer.weights);
    copied(order.before.iter().chain(layers()), repacker)
        .saturating_add(copied(order.after.iter().rev().chain(layers().rev()), repacker))
}

/// How exact each source of types is. Mixtures vary between releases of the quantiser and with an
/// importance matrix by one or two percent; publishers' own mixtures by more.
fn interval(types: &Types) -> (f64, f64) {
    match types {
        Types::Stored => (1.0, 1.0),
        Types::Chosen(recipe) => match recipe.format() {
            format if format.is_dynamic => (0.90, 1.08),
            GgufFormat { file_type: FileType::F32 | FileType::F16 | FileType::BF16, .. } => (0.999, 1.001),
            GgufFormat { file_type: FileType::Q8_0, .. } => (0.99, 1.01),
            _ => (0.97, 1.03),
        },
    }
}

fn types(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Result<Types, EngineError> {
    let stored = model.stored_format.as_deref().and_then(GgufFormat::parse);
    let label = settings.weights.as_deref();
    let asked = match label {
        None => None,
        Some(text) => Some(GgufFormat::parse(text).ok_or_else(|| EngineError::Refused {
            engine: "llama.cpp",
            setting: "weights",
            why: format!("`{text}` is no GGUF weight format"),
        })?),
    };
    let has_types = all_weights(model).all(|weight| weight.stored.is_some_and(is_loadable));
    match asked {
        Some(format) if stored != Some(format) || !has_types => Ok(Types::Chosen(Recipe::new(format, model))),
        Some(_) => Ok(Types::Stored),
        None if has_types => Ok(Types::Stored),
        None => {
            let format = stored.unwrap_or(GgufFormat { file_type: FileType::BF16, extension: None, is_dynamic: false });
            assumptions.note("weights", &format!("{:?}", format.file_type), "what conversion to GGUF gives");
            Ok(Types::Chosen(Recipe::new(format, model)))
        }
    }
}

fn all_weights(model: &ModelSpec) -> impl Iterator<Item = &Weight> {
    model.embedding.iter().chain(&model.head).chain(model.decoder.kinds.iter().flat_map(|layer| &layer.weights))
}

/// Whether llama.cpp can load tensors of this type.
const fn is_loadable(element_type: ElementType) -> bool {
    !matches!(element_type, ElementType::Fp8 | ElementType::I8 | ElementType::Grouped { .. })
}

impl Types {
    fn bytes(&self, weight: &Weight, choice: Option<LayerChoice>) -> u64 {
        match self {
            Self::Stored => weight.stored.map_or(0, |stored| weight.bytes_as(stored)),
            Self::Chosen(recipe) => {
                let choice = choice.unwrap_or_else(|| recipe.outside());
                weight.bytes_as(recipe.element_type(weight, choice))
            }
        }
    }

    /// The type that the engine is given.
    fn of(&self, weight: &Weight, choice: Option<LayerChoice>) -> Option<ElementType> {
        match self {
            Self::Stored => weight.stored,
            Self::Chosen(recipe) => Some(recipe.element_type(weight, choice.unwrap_or_else(|| recipe.outside()))),
        }
    }

    fn packed(&self, weight: &Weight, choice: Option<LayerChoice>, repacker: Option<&Repacker>) -> Packed {
        Self::packed_as(weight, self.of(weight, choice), repacker)
    }

    fn packed_as(weight: &Weight, own: Option<ElementType>, repacker: Option<&Repacker>) -> Packed {
        repacker.zip(own).map_or_else(Packed::default, |(repacker, own)| repacker.packed(weight, own))
    }

    fn layer(&self, layer: &Layer, choice: Option<LayerChoice>, repacker: Option<&Repacker>) -> LayerBytes {
        let mut bytes = LayerBytes::default();
        for weight in &layer.weights {
            let own = match self {
                Self::Chosen(_) if weight.role == Role::LatentUp => self.split_up_projection(layer, weight, choice),
                _ => self.bytes(weight, choice),
            };
            // The up-projection of latents is split into stacked matrices, which stay as they are.
            let is_split = matches!(self, Self::Chosen(_)) && weight.role == Role::LatentUp;
            let packed = if is_split { Packed::default() } else { self.packed(weight, choice, repacker) };
            let (part, copies) = if weight.role.is_routed_expert() {
                (&mut bytes.experts, &mut bytes.packed_experts)
            } else {
                (&mut bytes.rest, &mut bytes.packed)
            };
            *part = part.saturating_add(own);
            *copies = copies.plus(packed);
        }
        bytes
    }

    /// Conversion splits the latent's up-projection: the key half is transposed per head, so that
    /// its rows are as short as a head's part without position, and often fall back to another type.
    fn split_up_projection(&self, layer: &Layer, weight: &Weight, choice: Option<LayerChoice>) -> u64 {
        let Some((attention, latent)) = layer.mixer.attention().and_then(|own| Some((own, own.latent?))) else {
            return self.bytes(weight, choice);
        };
        let key = Weight::matrix(Role::LatentKeyUp, latent.kv_rank, latent.nope_dim).stacked(attention.heads);
        let value = Weight::matrix(Role::LatentValueUp, attention.value_dim, latent.kv_rank).stacked(attention.heads);
        if key.elements() + value.elements() == weight.elements() {
            self.bytes(&key, choice) + self.bytes(&value, choice)
        } else {
            self.bytes(weight, choice)
        }
    }
}

/// The sum in progress.
struct Sum<'a> {
    placement: &'a Placement,
    repacker: Option<Repacker>,
    release: Release,
    bytes: WeightBytes,
    /// The second copy of a tied embedding, as output on a card.
    duplicate: u64,
}

impl<'a> Sum<'a> {
    fn new(placement: &'a Placement, repacker: Option<Repacker>, release: Release) -> Self {
        let none = vec![0; placement.cards.len()];
        let bytes = WeightBytes {
            cards: none.clone(),
            host: 0,
            card_experts: none,
            host_experts: 0,
            host_lookups: 0,
            packed: Packed::default(),
            is_mapped: true,
            trimmed: 0,
            is_packing_assumed: false,
            interval: (1.0, 1.0),
        };
        Self { placement, repacker, release, bytes, duplicate: 0 }
    }

    /// Copies of what is on `card`: cards keep none.
    fn add_packed(&mut self, card: Option<usize>, packed: Packed) {
        if card.is_none() {
            self.bytes.packed = self.bytes.packed.plus(packed);
        }
    }

    fn add(&mut self, card: Option<usize>, bytes: u64) {
        let place = match card {
            Some(index) if self.placement.split_mode != SplitMode::Layer && self.bytes.cards.len() > 1 => {
                return self.spread(index, bytes);
            }
            Some(index) => &mut self.bytes.cards[index],
            None => &mut self.bytes.host,
        };
        *place = place.saturating_add(bytes);
    }

    /// Row and tensor split divide every matrix by the cards' shares; the last card takes the rest.
    fn spread(&mut self, _card: usize, bytes: u64) {
        let last = self.bytes.cards.len() - 1;
        let mut rest = bytes;
        for index in 0..last {
            let part = Bytes(bytes).scaled(self.placement.share(index)).0.min(rest);
            self.bytes.cards[index] = self.bytes.cards[index].saturating_add(part);
            rest -= part;
        }
        self.bytes.cards[last] = self.bytes.cards[last].saturating_add(rest);
    }

    /// Where a tensor before the layers is. Tables stay on the host; what mixes the layers' own embeddings (Gemma 3n
    /// and the small Gemma 4) is on the output layer's card or the first layer's.
    fn embedding_card(&self, model: &ModelSpec, weight: &Weight) -> Option<usize> {
        let table = model.embedding.iter().find(|own| own.role == Role::PerLayerEmbedding)?;
        if weight.role.is_lookup() {
            return None;
        }
        let is_mixing = weight.is_vector() || weight.rows == table.columns;
        if is_mixing && self.release.mixes_embeddings_in_first_layer() {
            self.placement.card_of(0)
        } else {
            self.placement.output_card()
        }
    }

    /// Input embeddings stay on the host; the output layer is on the last card that holds layers.
    fn add_outside(&mut self, model: &ModelSpec, types: &Types) {
        let output = self.placement.output_card();
        for weight in &model.embedding {
            let bytes = types.bytes(weight, None);
            let card = self.embedding_card(model, weight);
            self.add(card, bytes);
            self.add_packed(card, types.packed(weight, None, self.repacker.as_ref()));
            // A tied table without a card for the output is also the output matrix, read whole.
            let is_output = model.is_head_tied && output.is_none() && weight.role == Role::TokenEmbedding;
            if card.is_none() && (weight.is_vector() || weight.role.is_lookup() && !is_output) {
                self.bytes.host_lookups = self.bytes.host_lookups.saturating_add(bytes);
            }
            if model.is_head_tied && weight.role == Role::TokenEmbedding && output.is_some() {
                self.duplicate = bytes;
                self.add(output, bytes);
            }
            // The output's product may want the tied table in another layout; rows are still read from the first.
            if model.is_head_tied && weight.role == Role::TokenEmbedding {
                let head = Weight { role: Role::LanguageHead, ..*weight };
                let packed = Types::packed_as(&head, types.of(weight, None), self.repacker.as_ref());
                self.add_packed(output, Packed { source: 0, ..packed });
            }
        }
        for weight in &model.head {
            self.add(output, types.bytes(weight, None));
            self.add_packed(output, types.packed(weight, None, self.repacker.as_ref()));
        }
    }

    fn add_layers(&mut self, model: &ModelSpec, types: &Types) {
        let mut number = 0_u64;
        if let Some(encoder) = &model.encoder {
            for layer in encoder.layers() {
                let bytes = types.layer(layer, None, self.repacker.as_ref());
                let card = self.placement.card_of(number);
                self.add(card, bytes.rest.saturating_add(bytes.experts));
                self.add_packed(card, bytes.packed.plus(bytes.packed_experts));
                number += 1;
            }
        }
        let decoder = &model.decoder;
        let has_value: Vec<bool> = decoder.kinds.iter().map(Recipe::has_value).collect();
        // Equal layers with equal choices weigh the same; most models have a handful of such pairs.
        let mut known: Vec<(u16, Option<LayerChoice>, LayerBytes)> = Vec::with_capacity(8);
        let mut values = 0_u64;
        for (index, &kind) in decoder.order.iter().enumerate() {
            let choice = match types {
                Types::Stored => None,
                Types::Chosen(recipe) => Some(recipe.layer_choice(index as u64, values)),
            };
            values += u64::from(has_value[usize::from(kind)]);
            let found = known.iter().find(|(own, same, _)| *own == kind && *same == choice).map(|found| found.2);
            let bytes = found.unwrap_or_else(|| {
                let bytes = types.layer(&decoder.kinds[usize::from(kind)], choice, self.repacker.as_ref());
                known.push((kind, choice, bytes));
                bytes
            });
            let card = self.placement.card_of(number);
            self.add(card, bytes.rest);
            let keeps_experts = (index as u64) < self.placement.cpu_moe_layers;
            let experts_on = if keeps_experts { None } else { card };
            self.add(experts_on, bytes.experts);
            self.add_packed(card, bytes.packed);
            if card == experts_on || self.release.repacks_moved_tensors() {
                self.add_packed(experts_on, bytes.packed_experts);
            }
            let part = match experts_on {
                Some(index) => &mut self.bytes.card_experts[index],
                None => &mut self.bytes.host_experts,
            };
            *part = part.saturating_add(bytes.experts);
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::find;
    use crate::model::fixture::{gpt_oss_120b, llama_8b};

    fn on_cards(model: &ModelSpec, count: usize, weights_bytes: Option<u64>, version: &str) -> WeightBytes {
        let card = find("RTX 3090", None).expect("it is known").device;
        let settings = Settings {
            weights: Some("Q4_K_M".to_owned()),
            weights_bytes: weights_bytes.map(Bytes),
            devices: vec![card; count],
            ..Settings::default()
        };
        let told = &mut Assumptions::default();
        let placement = Placement::resolve(model, &settings, told);
        WeightBytes::resolve(model, &settings, &placement, Release::parse(Some(version), false), told)
            .expect("the format is known")
    }

    #[test]
    fn a_file_size_that_does_not_divide_gives_the_processor_nothing_to_multiply() {
        for model in [llama_8b(), gpt_oss_120b()] {
            for count in 1..8 {
                for bytes in [4_917_737_553, 42_509_438_812, 1_000_000_007] {
                    let weights = on_cards(&model, count, Some(bytes), "b9000");
                    assert!(!weights.multiplies_on_host(), "{count} cards, {bytes} bytes: {weights:?}");
                    assert_eq!(weights.cards.iter().sum::<u64>() + weights.host, bytes);
                }
            }
        }
    }

    #[test]
    fn embeddings_of_each_layer_are_mixed_on_a_card() {
        let mut model = llama_8b();
        let layers = model.decoder.len() as u64;
        let width = 256 * layers;
        let projection = Weight::matrix(Role::Other, width, model.hidden_size);
        model.embedding.push(Weight::matrix(Role::PerLayerEmbedding, 262_144, width));
        let table_alone = on_cards(&model, 2, None, "b9000");
        model.embedding.extend([projection, Weight::vector(Role::Norm, 256)]);
        let (newest, older) = (on_cards(&model, 2, None, "b9000"), on_cards(&model, 2, None, "b8600"));
        for weights in [&newest, &older] {
            assert_eq!(weights.host, table_alone.host);
            assert!(!weights.multiplies_on_host());
        }
        // Where the first layer is, and before that where the output is.
        assert!(newest.cards[0] > older.cards[0] && newest.cards[1] < older.cards[1]);
    }
}
