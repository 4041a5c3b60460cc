//! A model as a tape of operations.

use super::gemma::LayerEmbeddings;
use super::inputs::Inputs;
use super::recipe::{Embedding, OutputRows, Recipe, Residual};
use super::recurrent::ScanTail;
use super::repetition::layers_to_build;
use super::schedule::schedule;
use super::shape::{GraphPlacement, GraphShape};
use super::tape::{ANYWHERE, Backend, Kind, Tape, Tensor};
use crate::ModelSpec;
use crate::model::{Attention, FeedForward, Layer, Mixer, RecurrentKind, Role};

/// Rows from which on cards borrow weights of the host (`min_batch_size` of ggml-cuda.cu).
const OFFLOAD_ROWS_MIN: u64 = 32;

/// Bytes of a 32-bit float or integer.
pub(super) const WORD: u64 = 4;

/// The output of a mixer before its last projection: llama.cpp visits that projection only when
/// the sum that reads it is built, which matters where the feed-forward is built first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mixed {
    /// Still to be projected to the width of the stream.
    Pending(Tensor),
    /// The same, but the rotation of quantised values has to be undone first.
    Rotated {
        /// What attention gave.
        mixed: Tensor,
        /// The rotation.
        rotation: Tensor,
        /// Size of the result.
        bytes: u64,
    },
    /// A scan whose output is still to be gated and projected.
    Scan(ScanTail),
    /// Done.
    Done(Tensor),
}

/// Builds the tape of one graph.
///
/// Operations that always run over their only source (the weight of a norm, a bias, a
/// scale, a rotation after a norm) are left out: they neither allocate nor extend a life.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    pub(super) tape: Tape,
    pub(super) model: &'a ModelSpec,
    pub(super) shape: &'a GraphShape,
    pub(super) recipe: Recipe,
    pub(super) inputs: Inputs,
    /// Rows of the residual stream: all tokens, and after the last attention only the outputs.
    pub(super) rows: u64,
    /// The number of the layer being built.
    pub(super) index: usize,
    /// Layers that are built, by number.
    layers: Vec<usize>,
    /// The place in `layers` of what is built next.
    following: usize,
    /// Convolution state that was read ahead for a layer to come.
    pub(super) state_ahead: Option<Tensor>,
    /// Image features behind the embedding, added after the first layers.
    image_features: Option<Tensor>,
    /// Embeddings of the tokens for every layer (Gemma 3n and 4), once they are mixed.
    pub(super) layer_embeddings: LayerEmbeddings,
    placement: &'a GraphPlacement,
    /// The backend of graph inputs: the host, last in order.
    host: Backend,
    /// Where the weights of what is being built lie.
    here: Backend,
    /// Where the routed experts of the layer being built lie.
    experts_here: Backend,
}

impl<'a> Builder<'a> {
    /// A builder with nothing built.
    pub(super) fn new(model: &'a ModelSpec, shape: &'a GraphShape, placement: &'a GraphPlacement) -> Self {
        let recipe = Recipe::of(&model.architecture);
        Self {
            tape: Tape::new(),
            layers: layers_to_build(model, &recipe, placement),
            following: 0,
            model,
            shape,
            recipe,
            inputs: Inputs::default(),
            rows: shape.tokens,
            index: 0,
            state_ahead: None,
            image_features: None,
            layer_embeddings: LayerEmbeddings::Absent,
            placement,
            host: Backend::try_from(placement.devices).unwrap_or(0),
            here: ANYWHERE,
            experts_here: ANYWHERE,
        }
    }

    /// The whole graph.
    pub(super) fn build(mut self) -> Tape {
        self.here = self.host;
        let mut stream = self.embed();
        self.read_state_ahead();
        let last = self.model.decoder.len().saturating_sub(1);
        for step in 0..self.layers.len() {
            let index = self.layers[step];
            self.following = step + 1;
            let kind = self.model.decoder.order[index];
            let layer = &self.model.decoder.kinds[usize::from(kind)];
            self.index = index;
            self.enter_layer(index);
            stream = self.layer(layer, stream, index == last);
            if let Some(features) = self.image_features.filter(|_| (index as u64) < self.recipe.deep_stack) {
                stream = self.in_place(&[stream, features.view()]);
            }
        }
        self.here = self.backend_of(self.placement.output);
        self.output(stream);
        if !self.has_cards() {
            for node in self.tape.nodes_mut() {
                node.backend = self.host;
            }
            return self.tape;
        }
        schedule(self.tape, self.host, self.placement.input_copies)
    }

    /// Where a layer's weights lie, and where its routed experts do.
    fn enter_layer(&mut self, index: usize) {
        let card = self.placement.layers.get(index).copied().flatten();
        self.here = self.backend_of(card);
        let keeps_experts = (index as u64) < self.placement.host_expert_layers;
        self.experts_here = if keeps_experts { self.host } else { self.here };
    }

    /// Whether any card takes part.
    pub(super) fn has_cards(&self) -> bool {
        self.placement.devices > 0
    }

    fn backend_of(&self, card: Option<usize>) -> Backend {
        card.and_then(|card| Backend::try_from(card).ok()).map_or(self.host, |card| card.min(self.host))
    }

    /// Where an operation runs that reads a weight: beside it, unless the batch is large enough for
    /// a card to borrow a weight of the host (`offload_op`, from 32 rows on).
    fn runs_at(&self, weight: Backend) -> Backend {
        let borrows = weight == self.host && self.placement.offloads_operations && self.rows >= OFFLOAD_ROWS_MIN;
        if borrows { 0 } else { weight }
    }

    /// Token embedding: a lookup, beside the unused input for embeddings from elsewhere.
    fn embed(&mut self) -> Tensor {
        let bytes = self.stream_bytes();
        let tokens = self.input(self.shape.tokens * WORD);
        // Nothing reads it in a batch of tokens, so nothing frees it either.
        if self.shape.build.holds_embedding_input {
            self.input(bytes * (1 + self.recipe.deep_stack));
        }
        let stream = self.fresh(bytes, &[tokens]);
        // A lookup is never borrowed.
        self.tape.place(stream, self.host);
        if self.recipe.deep_stack > 0 {
            // Image features of the first layers lie behind the embedding; text has zeros there.
            let padded = self.fresh(bytes * (1 + self.recipe.deep_stack), &[stream]);
            self.image_features = Some(padded);
            return padded.view();
        }
        match self.recipe.embedding {
            Embedding::Plain => {
                self.look_up_layer_embeddings(stream);
                if self.alternates() { self.spread_streams(stream) } else { stream }
            }
            Embedding::Normed => self.fresh(bytes, &[stream]),
            Embedding::Positions => {
                let positions = self.positions();
                let looked_up = self.fresh(bytes, &[positions]);
                self.in_place(&[stream, looked_up])
            }
            Embedding::Typed => {
                let learned = self.model.embedding.iter().any(|weight| weight.role == Role::PositionEmbedding);
                let mut sum = stream;
                if learned {
                    let positions = self.positions();
                    let looked_up = self.fresh(bytes, &[positions]);
                    sum = self.in_place(&[looked_up, stream]);
                }
                self.norm(sum)
            }
        }
    }

    /// Reads the convolution state of the next layer if that is a scan.
    ///
    /// Operations are ordered when something that needs them is expanded. A scan expands the read of
    /// its state first, so the read comes before whatever the layers before it have not expanded yet:
    /// all that follows their attention, their scan, or their routed experts.
    pub(super) fn read_state_ahead(&mut self) {
        let decoder = &self.model.decoder;
        let next = self.layers[self.following..]
            .iter()
            .map(|&index| &decoder.kinds[usize::from(decoder.order[index])])
            .find(|layer| layer.mixer != Mixer::None || matches!(layer.feed_forward, FeedForward::Experts(_)));
        let Some(Mixer::Recurrent(recurrent)) = next.map(|layer| &layer.mixer) else { return };
        let elements = match recurrent.kind {
            RecurrentKind::Mamba1 | RecurrentKind::Mamba2 | RecurrentKind::ShortConvolution => {
                recurrent.convolution_elements()
            }
            RecurrentKind::Lightning => recurrent.state_elements,
            _ => return,
        };
        if self.state_ahead.is_none() {
            self.state_ahead = Some(self.state(elements));
        }
    }

    fn layer(&mut self, layer: &Layer, input: Tensor, is_last: bool) -> Tensor {
        if self.alternates() {
            return self.alternating(layer, input);
        }
        let selects = is_last && self.recipe.output_rows == OutputRows::LastLayer;
        match (&layer.mixer, &layer.feed_forward) {
            (Mixer::None, FeedForward::None) => input,
            (Mixer::Attention(attention), _) if self.model.encoder.is_some() => {
                self.cross_attending(layer, attention, input, selects)
            }
            (_, FeedForward::Experts(experts)) if self.model.architecture == "arctic" => {
                self.beside_experts(layer, experts, input, selects)
            }
            (Mixer::None, _) | (_, FeedForward::None) => self.half_layer(layer, input, selects),
            _ if self.recipe.residual != Residual::Sequential => self.parallel(layer, input, selects),
            _ => self.sequential(layer, input, selects),
        }
    }

    /// Mixer, add, feed-forward, add.
    fn sequential(&mut self, layer: &Layer, input: Tensor, selects: bool) -> Tensor {
        let normed = if self.recipe.no_input_norm { input } else { self.norm_stream(input) };
        let mixed = self.mix(layer, normed, input);
        let mut residual = if self.recipe.normed_residual { normed } else { input };
        if selects && self.recipe.residual_first[0] {
            residual = self.select_outputs(residual);
        }
        let route = match &layer.feed_forward {
            FeedForward::Experts(experts) if self.recipe.routes_early && !selects => {
                Some((experts, self.route(layer, experts, input)))
            }
            _ => None,
        };
        let mut mixed = self.project_mixed(mixed);
        if selects {
            mixed = self.select_outputs(mixed);
            if !self.recipe.residual_first[0] {
                residual = self.select_outputs(residual);
            }
            self.rows = self.shape.outputs;
        }
        if self.recipe.post_norms {
            mixed = self.norm(mixed);
        }
        let mut middle = self.sum(mixed, residual, self.recipe.residual_first[0]);
        if self.recipe.norms_sums {
            middle = self.norm(middle);
        }
        let output = match &layer.feed_forward {
            FeedForward::Experts(_) if route.is_some() => {
                let normed = self.norm(middle);
                route.map_or(normed, |(experts, route)| self.routed(layer, experts, normed, route))
            }
            FeedForward::Experts(experts) if experts.dense_width > 0 && self.recipe.value_norm => {
                self.dense_and_experts(layer, experts, middle)
            }
            _ => {
                let normed = if self.recipe.no_input_norm { middle } else { self.norm(middle) };
                let output = self.feed_forward(layer, normed);
                if self.recipe.normed_residual {
                    return self.sum(output, normed, false);
                }
                output
            }
        };
        let output = if self.recipe.post_norms { self.norm(output) } else { output };
        let sum = self.sum(output, middle, self.recipe.residual_first[1]);
        let sum = self.add_layer_embedding(sum, selects);
        if self.recipe.norms_sums { self.norm(sum) } else { sum }
    }

    /// A layer that has a mixer or a feed-forward, not both.
    fn half_layer(&mut self, layer: &Layer, input: Tensor, selects: bool) -> Tensor {
        let normed = self.norm_stream(input);
        let mut residual = input;
        if layer.mixer == Mixer::None {
            let mut normed = normed;
            if selects {
                normed = self.select_outputs(normed);
                residual = self.select_outputs(residual);
                self.rows = self.shape.outputs;
            }
            let output = self.feed_forward(layer, normed);
            return self.sum(output, residual, false);
        }
        let mixed = self.mix(layer, normed, input);
        if self.recipe.leaks_layers {
            // The builder goes on to the next layer before it takes over this one's output.
            return input;
        }
        let mut mixed = self.project_mixed(mixed);
        if selects {
            mixed = self.select_outputs(mixed);
            residual = self.select_outputs(residual);
            self.rows = self.shape.outputs;
        }
        self.sum(mixed, residual, false)
    }

    /// Attention and feed-forward beside each other.
    fn parallel(&mut self, layer: &Layer, input: Tensor, selects: bool) -> Tensor {
        let own_norms =
            self.recipe.own_norms || layer.weights.iter().filter(|weight| weight.role == Role::Norm).count() > 2;
        let normed = self.norm_stream(input);
        let mut mixed = self.mix(layer, normed, input);
        if self.recipe.residual == Residual::AttentionFirst {
            let done = self.project_mixed(mixed);
            mixed = Mixed::Done(if selects { self.select_outputs(done) } else { done });
        }
        let mut residual = input;
        let mut feed_forward_input = normed;
        if own_norms {
            let source = if selects { self.select_outputs(input) } else { input };
            residual = source;
            feed_forward_input = self.norm(source);
        } else if selects {
            feed_forward_input = self.select_outputs(normed);
        }
        let attention_rows = self.rows;
        if selects {
            self.rows = self.shape.outputs;
        }
        let mut sum = self.feed_forward(layer, feed_forward_input);
        if self.recipe.residual == Residual::InputFirst {
            if selects && !own_norms {
                residual = self.select_outputs(residual);
            }
            sum = self.in_place(&[sum, residual]);
        }
        self.rows = attention_rows;
        let mut done = self.project_mixed(mixed);
        if selects && self.recipe.residual != Residual::AttentionFirst {
            done = self.select_outputs(done);
        }
        if selects {
            self.rows = self.shape.outputs;
        }
        match self.recipe.residual {
            Residual::InputFirst => self.in_place(&[sum, done]),
            Residual::AttentionFirst => {
                let sum = self.in_place(&[done, sum]);
                let residual = if selects && !own_norms { self.select_outputs(residual) } else { residual };
                self.in_place(&[sum, residual])
            }
            Residual::FeedForwardFirst | Residual::Sequential => {
                let sum = self.in_place(&[sum, done]);
                let residual = if selects && !own_norms { self.select_outputs(residual) } else { residual };
                self.in_place(&[sum, residual])
            }
        }
    }

    /// What is new plus the residual, in the architecture's order.
    pub(super) fn sum(&mut self, new: Tensor, residual: Tensor, residual_first: bool) -> Tensor {
        let bytes = self.stream_bytes();
        let sources = if residual_first { [residual, new] } else { [new, residual] };
        self.tape.push(Kind::InPlace, bytes, &sources)
    }

    /// The mixer of a layer.
    pub(super) fn mix(&mut self, layer: &Layer, input: Tensor, stream: Tensor) -> Mixed {
        let expands_later = matches!(layer.feed_forward, FeedForward::Experts(_));
        match &layer.mixer {
            Mixer::Attention(attention) if !expands_later => {
                let mixed = self.attend(layer, attention, input);
                self.read_state_ahead();
                mixed
            }
            Mixer::Attention(attention) => self.attend(layer, attention, input),
            Mixer::Recurrent(recurrent) => self.recur(layer, recurrent, input),
            Mixer::Both(attention, recurrent) => {
                // Falcon-H1 attends first, norms the stream again, scans it, and adds.
                let attended = self.attend(layer, attention, input);
                let normed = self.norm_stream(stream);
                let scanned = self.recur(layer, recurrent, normed);
                let scanned = self.project_mixed(scanned);
                let attended = self.project_mixed(attended);
                Mixed::Done(self.sum(attended, scanned, false))
            }
            Mixer::None => Mixed::Done(input),
        }
    }

    fn attend(&mut self, layer: &Layer, attention: &Attention, input: Tensor) -> Mixed {
        if attention.latent.is_some() {
            self.latent_attention(layer, attention, input)
        } else {
            self.attention(layer, attention, input)
        }
    }

    pub(super) fn project_mixed(&mut self, mixed: Mixed) -> Tensor {
        match mixed {
            Mixed::Pending(tensor) => self.project(self.model.hidden_size, tensor),
            Mixed::Rotated { mixed, rotation, bytes } => {
                let mixed = self.fresh(bytes, &[rotation, mixed.view()]);
                self.project(self.model.hidden_size, mixed.view())
            }
            Mixed::Scan(tail) => self.finish_scan(tail),
            Mixed::Done(tensor) => tensor,
        }
    }

    /// Final norm and logits; both are handed to the caller, so both are kept.
    fn output(&mut self, stream: Tensor) {
        let mut stream = stream;
        if self.alternates() {
            stream = self.gather_streams(stream);
            self.rows = self.shape.outputs;
        }
        if self.recipe.output_rows == OutputRows::BeforeNorm {
            self.tape.keep(stream);
            stream = self.select_outputs(stream);
            self.rows = self.shape.outputs;
        }
        let mut normed = if self.recipe.norms_sums { stream } else { self.norm(stream) };
        self.tape.keep(normed);
        if self.embeds_only() {
            return;
        }
        if self.recipe.output_rows == OutputRows::AfterNorm {
            normed = self.select_outputs(normed);
            self.tape.keep(normed);
            self.rows = self.shape.outputs;
        }
        let logits = self.project(self.model.vocabulary_size, normed);
        self.tape.keep(logits);
    }

    /// Whether the stream is kept in several copies (Gemma 3n).
    fn alternates(&self) -> bool {
        self.model.architecture.starts_with("gemma3n")
    }

    /// Whether there are no logits: an encoder.
    fn embeds_only(&self) -> bool {
        let has_head =
            self.model.is_head_tied || self.model.head.iter().any(|weight| weight.role == Role::LanguageHead);
        !self.model.is_causal && (!has_head || self.model.architecture == "gemma-embedding")
    }

    /// Bytes of the residual stream.
    pub(super) const fn stream_bytes(&self) -> u64 {
        self.model.hidden_size * self.rows * WORD
    }

    /// A norm of the residual stream, which may be a view of a wider tensor.
    fn norm_stream(&mut self, input: Tensor) -> Tensor {
        let bytes = self.stream_bytes();
        self.norm_of(bytes, input)
    }

    /// A norm of a whole tensor.
    pub(super) fn norm(&mut self, input: Tensor) -> Tensor {
        let bytes = self.tape.bytes(input);
        self.norm_of(bytes, input)
    }

    /// A norm of (a view of) a tensor that gives `bytes`: `RMSNorm` runs in place, `LayerNorm` does not.
    pub(super) fn norm_of(&mut self, bytes: u64, input: Tensor) -> Tensor {
        let kind = if self.recipe.layer_norm { Kind::Fresh } else { Kind::InPlace };
        let normed = self.tape.push(kind, bytes, &[input]);
        // Its weight is a few kilobytes, and is not worth a copy in the books.
        self.tape.place(normed, self.runs_at(self.here));
        normed
    }

    /// The rows of a tensor as wide as the stream whose logits are wanted.
    pub(super) fn select_outputs(&mut self, tensor: Tensor) -> Tensor {
        let wanted = self.output_rows();
        self.fresh(self.model.hidden_size * self.shape.outputs * WORD, &[tensor, wanted])
    }

    /// An operation with a result of its own.
    pub(super) fn fresh(&mut self, bytes: u64, sources: &[Tensor]) -> Tensor {
        self.tape.push(Kind::Fresh, bytes, sources)
    }

    /// A matrix product that gives `width` elements per row.
    pub(super) fn project(&mut self, width: u64, input: Tensor) -> Tensor {
        let bytes = width * self.rows * WORD;
        if !self.has_cards() {
            return self.fresh(bytes, &[input]);
        }
        let columns = self.tape.bytes(input) / (self.rows * WORD).max(1);
        self.product(bytes, &[input], (width.saturating_mul(columns), self.here))
    }

    /// A product of each token with the experts it chose: reads one stacked weight of all experts.
    pub(super) fn expert_product(&mut self, width: u64, columns: u64, experts: u64, sources: &[Tensor]) -> Tensor {
        if !self.has_cards() {
            return self.fresh(width, sources);
        }
        self.product(width, sources, (columns.saturating_mul(experts), self.experts_here))
    }

    /// A product with a weight of so many elements at a backend.
    fn product(&mut self, bytes: u64, sources: &[Tensor], (elements, at): (u64, Backend)) -> Tensor {
        let runs_at = self.runs_at(at);
        let result = if runs_at == at {
            self.fresh(bytes, sources)
        } else {
            let size = (elements as f64 * self.placement.bytes_per_weight).max(0.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size, saturating")]
            let weight = self.tape.push(Kind::Weight, size as u64, &[]);
            self.tape.place(weight, at);
            let mut all = sources.to_vec();
            all.push(weight);
            self.fresh(bytes, &all)
        };
        self.tape.place(result, runs_at);
        result
    }

    /// Keys and values that attention reads, where they may lie on another backend than it runs on.
    pub(super) fn cached(&mut self, bytes: u64) -> Option<Tensor> {
        if !self.has_cards() {
            return None;
        }
        let at = self.cache_backend();
        let cache = self.tape.push(Kind::Cache, bytes, &[]);
        self.tape.place(cache, at);
        Some(cache)
    }

    fn cache_backend(&self) -> Backend {
        if self.placement.offloads_cache { self.here } else { self.host }
    }

    /// An elementwise operation as large as its first source, over whose memory it may write.
    pub(super) fn in_place(&mut self, sources: &[Tensor]) -> Tensor {
        let bytes = self.tape.bytes(sources[0]);
        self.tape.push(Kind::InPlace, bytes, sources)
    }

    /// A write into memory that the graph does not own.
    pub(super) fn store(&mut self, sources: &[Tensor]) {
        self.tape.store(sources, self.cache_backend());
    }

    /// A new input of the graph.
    pub(super) fn input(&mut self, bytes: u64) -> Tensor {
        self.tape.push(Kind::Input, bytes, &[])
    }
}
