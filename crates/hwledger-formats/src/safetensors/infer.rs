//! A model from its tensors alone: what names and shapes tell, and what they cannot.

use std::collections::BTreeSet;

use hwledger_core::ModelSpec;
use hwledger_core::model::{
    Activation, Attention, CacheOwner, Certainty, FeedForward, Latent, Layer, Mixer, MixtureOfExperts, Modality,
    Recurrent, RecurrentKind, Role, Stack, Tower, Weight,
};

use crate::Diagnostic;

use super::name::Place;
use super::reconcile::settle;
use super::stored::{Sections, Stored};
use super::table::TensorTable;

/// Most layers that are believed.
const LAYERS_MAX: usize = 4096;
/// Experts per token where nobody says: what most models of 64 experts and more choose.
const EXPERTS_PER_TOKEN: u64 = 8;

/// Describes a model by its tensors, without a configuration. None where there is no tensor at all.
///
/// Weights and, for most attention, the cache are exact: the cache's width is the rows of the key and value
/// projections, however they divide into heads. Windows, the context's length, experts per token and, where no norm
/// or sink tells, the head's length cannot be known; each is taken at its most and reported.
pub fn infer(table: &TensorTable) -> Option<(ModelSpec, Vec<Diagnostic>)> {
    if table.tensors.is_empty() {
        return None;
    }
    let is_encoder_decoder = table.tensors.iter().any(|tensor| tensor.name.contains("encoder."))
        && table.tensors.iter().any(|tensor| tensor.name.contains("decoder."));
    let mut sections = Sections::sort(table, is_encoder_decoder);
    let outer = sections.places.remove(&Place::Outer).unwrap_or_default();
    let (vocabulary_size, hidden_size) = embedding_shape(&outer, &sections);
    let mut guesses = Guesses { hidden: hidden_size, ..Guesses::default() };
    let mut model = ModelSpec {
        architecture: "unknown".to_owned(),
        hidden_size,
        vocabulary_size,
        context_max: None,
        decoder: Stack::default(),
        encoder: None,
        embedding: Vec::new(),
        head: Vec::new(),
        is_head_tied: false,
        is_causal: true,
        towers: Vec::new(),
        draft_layers: Vec::new(),
        file_order: None,
        file_bytes: Some(table.bytes()),
        stored_format: None,
        certainty: Certainty::Guessed,
    };
    let loose = sections.loose_bytes.remove(&Place::Outer).unwrap_or(0);
    for weight in settle(&[], outer, loose) {
        let is_head = matches!(weight.role, Role::LanguageHead | Role::Norm);
        if is_head { model.head.push(weight) } else { model.embedding.push(weight) }
    }
    model.is_head_tied = !model.head.iter().any(|weight| weight.role == Role::LanguageHead)
        && model.embedding.iter().any(|weight| weight.role == Role::TokenEmbedding);
    fill(&mut model, sections, &mut guesses);
    let mut notes = guesses.report();
    if model.decoder.is_empty() {
        notes
            .push(Diagnostic::new("layers", "no tensor is named like one of a layer; all are counted as weights only"));
    }
    Some((model, notes))
}

/// Vocabulary and hidden size: the embedding's extents, else the most frequent length of a layer's norm.
fn embedding_shape(outer: &[Stored], sections: &Sections) -> (u64, u64) {
    let of = |role| outer.iter().find(|stored| stored.weight.role == role && !stored.weight.is_vector());
    let norm = sections
        .places
        .iter()
        .filter(|(place, _)| matches!(place, Place::Layer(_)))
        .flat_map(|(_, tensors)| tensors)
        .find(|stored| stored.weight.role == Role::Norm && stored.name.contains("input"))
        .map(|stored| stored.weight.rows);
    match of(Role::TokenEmbedding).or_else(|| of(Role::LanguageHead)) {
        Some(table) if !table.is_packed => (table.weight.rows, table.weight.columns),
        Some(table) => (table.weight.rows, norm.unwrap_or(0)),
        None => (0, norm.unwrap_or(0)),
    }
}

/// Distributes the sections that are left over the model's parts.
fn fill(model: &mut ModelSpec, sections: Sections, guesses: &mut Guesses) {
    let mut encoder = Stack::default();
    for (place, tensors) in sections.places {
        let loose = sections.loose_bytes.get(&place).copied().unwrap_or(0);
        match place {
            Place::Vision | Place::Audio => {
                let modality = if place == Place::Vision { Modality::Vision } else { Modality::Audio };
                model.towers.push(Tower {
                    modality,
                    hidden_size: 0,
                    heads: 0,
                    feed_forward_width: 0,
                    layers: 0,
                    positions: None,
                    weights: settle(&[], tensors, loose),
                });
            }
            Place::EncoderLayer(_) if encoder.len() < LAYERS_MAX => encoder.push(layer(tensors, loose, guesses)),
            Place::Draft(_) if model.draft_layers.len() < LAYERS_MAX => {
                model.draft_layers.push(layer(tensors, loose, guesses));
            }
            Place::Layer(_) if model.decoder.len() < LAYERS_MAX => model.decoder.push(layer(tensors, loose, guesses)),
            _ => model.head.extend(settle(&[], tensors, loose)),
        }
    }
    model.encoder = Some(encoder).filter(|encoder| !encoder.is_empty());
    // Sentence types are an encoder's: BERT and its kin see all tokens at once and keep nothing.
    if model.embedding.iter().any(|weight| weight.role == Role::TypeEmbedding) {
        model.is_causal = false;
        model.is_head_tied = false;
        for layer in &mut model.decoder.kinds {
            if let Mixer::Attention(attention) = &mut layer.mixer {
                attention.cache = CacheOwner::Nobody;
            }
        }
    }
}

/// Something that tensors do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Guess {
    Windows,
    ExpertsPerToken,
    PackedBits,
    StateGroups,
}

impl Guess {
    fn diagnostic(self) -> Diagnostic {
        let (place, message) = match self {
            Self::Windows => (
                "windows",
                "tensors do not tell attention windows; every layer is taken to keep the whole context, the most it can"
                    .to_owned(),
            ),
            Self::ExpertsPerToken => (
                "experts per token",
                format!("tensors do not tell them; {EXPERTS_PER_TOKEN} are taken, or all if there are fewer"),
            ),
            Self::PackedBits => {
                ("packed tensors", "tensors do not tell their bits; four to a parameter are taken".to_owned())
            }
            Self::StateGroups => (
                "state",
                format!("tensors do not tell how the state divides into groups; {STATE_SIZE} elements are taken, or one group"),
            ),
        };
        Diagnostic::new(place, message)
    }
}

/// What was guessed, to be told once.
#[derive(Default)]
struct Guesses {
    hidden: u64,
    head_dim: Option<u64>,
    made: BTreeSet<Guess>,
    unknown_layers: u64,
}

impl Guesses {
    fn report(&self) -> Vec<Diagnostic> {
        let mut notes = vec![Diagnostic::new(
            "config.json",
            "there is no configuration: the layers are read off names and shapes, and the longest context is not known",
        )];
        let mut add = |place: &str, message: &str| notes.push(Diagnostic::new(place, message));
        if let Some(head_dim) = self.head_dim {
            add(
                "heads",
                &format!("no tensor tells the length of a head; {head_dim} is taken (the cache does not depend on it)"),
            );
        }
        if self.unknown_layers > 0 {
            add(
                "layers",
                &format!(
                    "{} layers have neither attention nor a recurrence that is known; they are taken to keep nothing",
                    self.unknown_layers
                ),
            );
        }
        notes.extend(self.made.iter().map(|guess| guess.diagnostic()));
        notes
    }

    /// A head's length that divides these widths.
    fn divide(&mut self, widths: [u64; 2]) -> u64 {
        let usual = if self.hidden >= 1024 { [128, 64, 256, 96, 80, 32] } else { [64, 32, 128, 96, 16, 8] };
        let head_dim = usual
            .into_iter()
            .find(|dim| widths.iter().all(|width| width.is_multiple_of(*dim)))
            .unwrap_or_else(|| widths[1].max(1));
        self.head_dim = Some(head_dim);
        head_dim
    }
}

fn layer(tensors: Vec<Stored>, loose: u64, guesses: &mut Guesses) -> Layer {
    let shapes = Shapes { tensors: &tensors, hidden: guesses.hidden };
    if tensors.iter().any(|stored| stored.is_packed) {
        guesses.made.insert(Guess::PackedBits);
    }
    let mixer = match (shapes.attention(guesses), shapes.recurrent(guesses)) {
        (Some(attention), Some(recurrent)) => Mixer::Both(attention, recurrent),
        (Some(attention), None) => Mixer::Attention(attention),
        (None, Some(recurrent)) => Mixer::Recurrent(recurrent),
        (None, None) => Mixer::None,
    };
    let feed_forward = shapes.feed_forward(guesses);
    if mixer.attention().is_some() {
        guesses.made.insert(Guess::Windows);
    }
    // A layer that has nothing but a feed-forward and norms mixes nothing; anything else should have been recognised.
    if mixer == Mixer::None && tensors.iter().any(|stored| !is_feed_forward(stored.weight.role)) {
        guesses.unknown_layers += 1;
    }
    Layer { mixer, feed_forward, weights: settle(&[], tensors, loose) }
}

const fn is_feed_forward(role: Role) -> bool {
    role.is_routed_expert()
        || role.is_shared_expert()
        || matches!(role, Role::Norm | Role::Gate | Role::Up | Role::Down | Role::GateUp | Role::Router)
}

/// State of a Mamba-2 head, where the groups that share it are not known: what all large models have.
const STATE_SIZE: u64 = 128;

/// A layer's tensors by role.
struct Shapes<'a> {
    tensors: &'a [Stored],
    hidden: u64,
}

impl Shapes<'_> {
    fn matrix(&self, role: Role) -> Option<&Stored> {
        self.tensors.iter().find(|stored| stored.weight.role == role && !stored.weight.is_vector())
    }

    /// Length of the vector whose name ends like this.
    fn vector(&self, end: &str) -> Option<u64> {
        self.tensors.iter().find(|stored| stored.name.ends_with(end)).map(|stored| stored.weight.elements())
    }

    /// Outputs of a projection of the hidden state: everything but the hidden size in its shape.
    fn outputs(&self, role: Role) -> Option<u64> {
        let stored = self.matrix(role)?;
        if stored.is_packed {
            (stored.bytes.saturating_mul(2)).checked_div(self.hidden)
        } else {
            Some(stored.weight.rows)
        }
    }

    fn attention(&self, guesses: &mut Guesses) -> Option<Attention> {
        if self.is_kimi_delta() {
            return None;
        }
        if let Some(latent) = self.latent() {
            return Some(latent);
        }
        let inputs = self.matrix(Role::AttentionOutput).filter(|stored| !stored.is_packed);
        let (query, key, value) = if let Some(fused) = self.matrix(Role::QueryKeyValue) {
            // GPT-2 stores its matrices transposed.
            let width = match fused.weight {
                Weight { rows, columns, .. } if !fused.is_packed && rows.checked_mul(3) == Some(columns) => columns,
                _ => self.outputs(Role::QueryKeyValue)?,
            };
            let query = inputs.map_or(width / 3, |output| output.weight.columns.min(width));
            (query, (width - query) / 2, (width - query) / 2)
        } else {
            // Gemma 4's full layers use the keys as values.
            let key = self.outputs(Role::Key)?;
            (self.outputs(Role::Query)?, key, self.outputs(Role::Value).unwrap_or(key))
        };
        let per_head =
            self.vector("q_norm.weight").filter(|&length| length < query && query.is_multiple_of(length.max(1)));
        let from_sinks =
            self.vector("sinks").filter(|&heads| heads > 0 && query.is_multiple_of(heads)).map(|heads| query / heads);
        let head_dim = per_head.or(from_sinks).unwrap_or_else(|| guesses.divide([query, key])).max(1);
        // Keys and values of different length: without a common division, one head as wide as all.
        let kv_heads = Some((key / head_dim).max(1))
            .filter(|heads| key.is_multiple_of(*heads) && value.is_multiple_of(*heads))
            .unwrap_or(1);
        Some(Attention {
            key_dim: key / kv_heads,
            value_dim: value / kv_heads,
            has_sinks: from_sinks.is_some(),
            ..Attention::full((query / head_dim).max(1), kv_heads, head_dim)
        })
    }

    /// Multi-head latent attention: its shapes determine heads and all lengths.
    fn latent(&self) -> Option<Attention> {
        let kv_rank = self.vector("kv_a_layernorm.weight")?;
        let rope_dim = self.outputs(Role::LatentDown)?.checked_sub(kv_rank).filter(|&dim| dim > 0)?;
        let all_queries = self.matrix(Role::QueryUp).or_else(|| self.matrix(Role::Query))?.weight.rows;
        let all_values = self.matrix(Role::AttentionOutput)?.weight.columns;
        let all_nope = self.matrix(Role::LatentUp)?.weight.rows.checked_sub(all_values)?;
        let heads = all_queries.checked_sub(all_nope)?.checked_div(rope_dim).filter(|&heads| heads > 0)?;
        let (key_dim, value_dim) = (all_queries / heads, all_values / heads);
        let latent = Latent {
            kv_rank,
            rope_dim,
            query_rank: self.matrix(Role::QueryDown).map(|stored| stored.weight.rows),
            nope_dim: key_dim.checked_sub(rope_dim)?,
        };
        Some(Attention { value_dim, latent: Some(latent), ..Attention::full(heads, heads, key_dim) })
    }

    fn recurrent(&self, guesses: &mut Guesses) -> Option<Recurrent> {
        let convolution = self.matrix(Role::RecurrentConvolution)?.weight;
        let Some(decay) = self.tensors.iter().find(|stored| stored.name.ends_with("A_log")) else {
            return self.short_convolution(convolution);
        };
        if self.is_kimi_delta() {
            return self.kimi_delta(decay.weight.elements(), convolution.columns);
        }
        let inner_size = self.matrix(Role::RecurrentOut).filter(|stored| !stored.is_packed)?.weight.columns;
        let channels = convolution.rows;
        let mixed = channels.checked_sub(inner_size)?;
        let empty = Recurrent {
            kind: RecurrentKind::Mamba1,
            heads: 1,
            inner_size,
            state_size: 0,
            groups: 0,
            convolution_channels: channels,
            convolution_taps: convolution.columns,
            state_elements: 0,
            shift_elements: 0,
        };
        if !decay.weight.is_vector() {
            let state_size = decay.weight.columns;
            return Some(Recurrent { state_size, state_elements: inner_size.saturating_mul(state_size), ..empty });
        }
        let heads = decay.weight.elements().max(1);
        let is_delta = self.tensors.iter().any(|stored| stored.name.contains("linear_attn"));
        let (kind, state_size, groups) = if is_delta {
            // Keys are as long as values; the convolution passes queries, keys and values.
            let head_dim = (inner_size / heads).max(1);
            (RecurrentKind::GatedDelta, head_dim, mixed / 2 / head_dim)
        } else {
            guesses.made.insert(Guess::StateGroups);
            let all = mixed / 2;
            let state_size = if all.is_multiple_of(STATE_SIZE) { all.min(STATE_SIZE) } else { all };
            (RecurrentKind::Mamba2, state_size, all.checked_div(state_size).unwrap_or(1))
        };
        let state_elements = inner_size.saturating_mul(state_size);
        Some(Recurrent { kind, heads, state_size, groups, state_elements, ..empty })
    }

    /// Kimi's delta attention projects its decay through a low rank, beside queries, keys and values.
    fn is_kimi_delta(&self) -> bool {
        self.tensors.iter().any(|stored| stored.name.contains("f_a_proj"))
    }

    fn kimi_delta(&self, heads: u64, taps: u64) -> Option<Recurrent> {
        let inner_size = self.outputs(Role::Query)?;
        let head_dim = inner_size.checked_div(heads)?;
        Some(Recurrent {
            kind: RecurrentKind::KimiDelta,
            heads,
            inner_size,
            state_size: head_dim,
            groups: heads,
            convolution_channels: inner_size.saturating_mul(3),
            convolution_taps: taps,
            state_elements: inner_size.saturating_mul(head_dim),
            shift_elements: 0,
        })
    }

    /// A gated convolution and no recurrence beside it (LFM2).
    fn short_convolution(&self, convolution: Weight) -> Option<Recurrent> {
        self.matrix(Role::RecurrentIn)?;
        Some(Recurrent {
            kind: RecurrentKind::ShortConvolution,
            heads: 1,
            inner_size: convolution.rows,
            state_size: 0,
            groups: 0,
            convolution_channels: convolution.rows,
            convolution_taps: convolution.columns,
            state_elements: 0,
            shift_elements: 0,
        })
    }

    fn feed_forward(&self, guesses: &mut Guesses) -> FeedForward {
        // The inner width is what is left of the tensor beside the hidden size.
        let width = |role| {
            let stored = self.matrix(role)?;
            let copies = stored.weight.copies.max(1);
            let elements = if stored.is_packed { stored.bytes.saturating_mul(2) } else { stored.weight.elements() };
            (elements / copies).checked_div(self.hidden)
        };
        let is_gated = |gate, fused| self.matrix(gate).is_some() || self.matrix(fused).is_some();
        let activation = |gate, fused| if is_gated(gate, fused) { Activation::Gated } else { Activation::Plain };
        let dense_width = width(Role::Down).unwrap_or(0);
        let Some(down) = self.matrix(Role::ExpertDown) else {
            return match dense_width {
                0 => FeedForward::None,
                width => FeedForward::Dense { width, activation: activation(Role::Gate, Role::GateUp) },
            };
        };
        guesses.made.insert(Guess::ExpertsPerToken);
        let experts = down.weight.copies;
        FeedForward::Experts(MixtureOfExperts {
            experts,
            experts_per_token: experts.min(EXPERTS_PER_TOKEN),
            expert_width: width(Role::ExpertDown).unwrap_or(0),
            shared_width: width(Role::SharedDown).unwrap_or(0),
            dense_width,
            activation: activation(Role::ExpertGate, Role::ExpertGateUp),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safetensors::reconcile_tests::{llama, plain, tensor};

    fn check(tensors: Vec<crate::safetensors::TensorInfo>) -> (ModelSpec, Vec<Diagnostic>) {
        let table = TensorTable { tensors, format: None };
        let (spec, notes) = infer(&table).unwrap();
        assert_eq!(spec.certainty, Certainty::Guessed);
        assert_eq!(spec.stored_bytes(), Some(table.bytes()));
        (spec, notes)
    }

    fn layer(tensors: &[(&str, &[u64])]) -> Layer {
        let mut table = vec![tensor("model.embed_tokens.weight", "BF16", &[1000, 64])];
        table.extend(tensors.iter().map(|(name, shape)| tensor(&format!("model.layers.0.{name}"), "BF16", shape)));
        check(table).0.decoder.kinds[0].clone()
    }

    #[test]
    fn a_llama_is_recognised() {
        let (spec, notes) = check(llama(plain).tensors);
        assert_eq!((spec.hidden_size, spec.vocabulary_size, spec.decoder.len()), (64, 1000, 2));
        let attention = spec.decoder.kinds[0].mixer.attention().unwrap();
        assert_eq!(attention.cached_elements_per_token(), 2 * 32);
        let dense = FeedForward::Dense { width: 128, activation: Activation::Gated };
        assert_eq!(spec.decoder.kinds[0].feed_forward, dense);
        let places: Vec<_> = notes.iter().map(|note| note.place.as_str()).collect();
        assert_eq!(places, ["config.json", "heads", "windows"]);
        assert!(infer(&TensorTable::default()).is_none());
    }

    #[test]
    fn norms_and_sinks_tell_heads() {
        let projections: [(&str, &[u64]); 3] = [
            ("self_attn.q_proj.weight", &[256, 64]),
            ("self_attn.k_proj.weight", &[64, 64]),
            ("self_attn.v_proj.weight", &[64, 64]),
        ];
        let with = |extra: (&'static str, &'static [u64])| layer(&[&projections[..], &[extra]].concat());
        let normed = with(("self_attn.q_norm.weight", &[32]));
        assert_eq!((normed.mixer.attention().unwrap().heads, normed.mixer.attention().unwrap().kv_heads), (8, 2));
        let sunk = with(("self_attn.sinks", &[16]));
        assert_eq!((sunk.mixer.attention().unwrap().heads, sunk.mixer.attention().unwrap().kv_heads), (16, 4));
    }

    #[test]
    fn latent_attention_is_determined_by_its_shapes() {
        // 4 heads of 16 + 8 key and 12 value elements, ranks 48 and 32.
        let layer = layer(&[
            ("self_attn.q_a_proj.weight", &[48, 64]),
            ("self_attn.q_b_proj.weight", &[96, 48]),
            ("self_attn.kv_a_proj_with_mqa.weight", &[40, 64]),
            ("self_attn.kv_a_layernorm.weight", &[32]),
            ("self_attn.kv_b_proj.weight", &[112, 32]),
            ("self_attn.o_proj.weight", &[64, 48]),
        ]);
        let attention = layer.mixer.attention().unwrap();
        assert_eq!((attention.heads, attention.key_dim, attention.value_dim), (4, 24, 12));
        let expected = Latent { kv_rank: 32, rope_dim: 8, query_rank: Some(48), nope_dim: 16 };
        assert_eq!(attention.latent, Some(expected));
    }

    #[test]
    fn states_are_recognised() {
        let mamba = layer(&[
            ("mixer.A_log", &[128, 16]),
            ("mixer.conv1d.weight", &[128, 1, 4]),
            ("mixer.out_proj.weight", &[64, 128]),
        ]);
        let state = mamba.mixer.recurrent().unwrap();
        assert_eq!((state.kind, state.state_elements), (RecurrentKind::Mamba1, 128 * 16));
        assert_eq!(state.convolution_elements(), 128 * 3);
        let kimi = layer(&[
            ("self_attn.q_proj.weight", &[32, 64]),
            ("self_attn.k_proj.weight", &[32, 64]),
            ("self_attn.q_conv1d.weight", &[32, 1, 4]),
            ("self_attn.f_a_proj.weight", &[8, 64]),
            ("self_attn.A_log", &[1, 1, 4, 1]),
        ]);
        let state = kimi.mixer.recurrent().unwrap();
        assert!(kimi.mixer.attention().is_none());
        assert_eq!((state.state_elements, state.convolution_elements()), (4 * 8 * 8, 3 * 32 * 3));
        let delta = layer(&[
            ("linear_attn.A_log", &[8]),
            ("linear_attn.conv1d.weight", &[256, 1, 4]),
            ("linear_attn.out_proj.weight", &[64, 128]),
        ]);
        let state = delta.mixer.recurrent().unwrap();
        assert_eq!((state.kind, state.heads, state.groups), (RecurrentKind::GatedDelta, 8, 4));
        assert_eq!(state.state_elements, 8 * 16 * 16);
    }

    #[test]
    fn what_is_not_recognised_is_told() {
        let mut table = vec![tensor("rwkv.embeddings.weight", "BF16", &[1000, 64])];
        table.push(tensor("rwkv.blocks.0.attention.key.weight", "BF16", &[64, 64]));
        let (spec, notes) = check(table);
        assert_eq!(spec.decoder.kinds[0].mixer, Mixer::None);
        assert!(notes.iter().any(|note| note.place == "layers"), "{notes:?}");
        // A feed-forward alone is a layer of its own in Nemotron-H.
        let mut table = vec![tensor("backbone.embeddings.weight", "BF16", &[1000, 64])];
        table.push(tensor("backbone.layers.0.mixer.up_proj.weight", "BF16", &[128, 64]));
        let (_, notes) = check(table);
        assert!(notes.iter().all(|note| note.place != "layers"), "{notes:?}");
    }

    #[test]
    fn sentence_types_tell_an_encoder() {
        let mut table = vec![tensor("embeddings.word_embeddings.weight", "BF16", &[1000, 64])];
        table.push(tensor("embeddings.token_type_embeddings.weight", "BF16", &[2, 64]));
        for name in ["query", "key", "value"] {
            table.push(tensor(&format!("encoder.layer.0.attention.self.{name}.weight"), "BF16", &[64, 64]));
        }
        let (spec, _) = check(table);
        assert!(!spec.is_causal && !spec.is_head_tied);
        assert_eq!(spec.decoder.kinds[0].mixer.attention().unwrap().cache, CacheOwner::Nobody);
    }

    #[test]
    fn experts_are_recognised() {
        let layer = layer(&[
            ("mlp.gate.weight", &[4, 64]),
            ("mlp.experts.0.gate_proj.weight", &[32, 64]),
            ("mlp.experts.1.gate_proj.weight", &[32, 64]),
            ("mlp.experts.0.down_proj.weight", &[64, 32]),
            ("mlp.experts.1.down_proj.weight", &[64, 32]),
            ("mlp.shared_expert.down_proj.weight", &[64, 96]),
        ]);
        let FeedForward::Experts(moe) = layer.feed_forward else { panic!("experts are found") };
        assert_eq!((moe.experts, moe.experts_per_token, moe.expert_width, moe.shared_width), (2, 2, 32, 96));
    }
}
