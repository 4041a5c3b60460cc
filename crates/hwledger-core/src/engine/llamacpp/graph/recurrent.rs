//! The operations of mixers with a state of fixed size.

use super::builder::{Builder, Mixed, WORD};
use super::tape::{Kind, Tensor};
use crate::model::{FeedForward, Layer, Recurrent, RecurrentKind, Role};

/// What is left of a scan after the operations that llama.cpp expands at once.
#[derive(Clone, Copy, Debug)]
pub(super) enum ScanTail {
    /// Mamba: the two halves of the input, the convolution and the scan.
    First {
        /// Both halves.
        both: Tensor,
        /// The convolved half.
        convolved: Tensor,
        /// What the scan gave.
        scanned: Tensor,
        /// Inner width.
        inner: u64,
    },
    /// Mamba-2: the same, with a norm.
    Second {
        /// The whole input projection.
        all: Tensor,
        /// Its convolved part.
        convolved: Tensor,
        /// What the scan gave.
        scanned: Tensor,
        /// Inner width.
        inner: u64,
    },
    /// A short convolution: the input projection and the columns to convolve.
    Short {
        /// The whole input projection.
        all: Tensor,
        /// Columns, the remembered ones before them.
        joined: Tensor,
        /// Channels.
        width: u64,
    },
}

impl Builder<'_> {
    /// A recurrent mixer, from the normed stream to what is added to the residual.
    pub(super) fn recur(&mut self, layer: &Layer, recurrent: &Recurrent, input: Tensor) -> Mixed {
        match recurrent.kind {
            // llama.cpp has no graph for gated linear recurrence; Mamba, a scan behind a convolution, is the nearest.
            RecurrentKind::Mamba1 | RecurrentKind::GatedLinear => self.mamba(layer, recurrent, input),
            RecurrentKind::Mamba2 => self.mamba2(layer, recurrent, input),
            RecurrentKind::GatedDelta => Mixed::Done(self.gated_delta(recurrent, input)),
            RecurrentKind::KimiDelta => Mixed::Done(self.kimi_delta(recurrent, input)),
            RecurrentKind::Lightning => Mixed::Done(self.lightning(recurrent, input)),
            RecurrentKind::ShortConvolution => self.short_convolution(layer, recurrent, input),
            RecurrentKind::Rwkv4 | RecurrentKind::Rwkv6 => Mixed::Done(self.rwkv6(recurrent, input)),
            RecurrentKind::Rwkv7 => Mixed::Done(self.rwkv7(recurrent, input)),
        }
    }

    /// A state read from the cache for every sequence.
    pub(super) fn state(&mut self, elements: u64) -> Tensor {
        let copies = self.state_rows();
        self.fresh(elements * self.shape.sequences * WORD, &[copies.view()])
    }

    /// The remembered columns of a convolution, unless they were read already.
    fn remembered(&mut self, recurrent: &Recurrent) -> Tensor {
        match self.state_ahead.take() {
            Some(state) => state,
            None => self.state(recurrent.convolution_elements()),
        }
    }

    /// After the last operation that a scan expands.
    fn expanded(&mut self, layer: &Layer) {
        if !matches!(layer.feed_forward, FeedForward::Experts(_)) {
            self.read_state_ahead();
        }
    }

    /// New columns behind the remembered ones; what the next batch needs is written back.
    fn join(&mut self, recurrent: &Recurrent, remembered: Tensor, columns: Tensor) -> Tensor {
        let taps = recurrent.convolution_taps.saturating_sub(1);
        let joined = recurrent.convolution_channels * (self.rows + taps * self.shape.sequences) * WORD;
        let joined = self.fresh(joined, &[remembered.view(), columns.view()]);
        self.store(&[joined.view()]);
        joined
    }

    /// The convolution of new columns behind the remembered ones.
    fn convolve(&mut self, recurrent: &Recurrent, remembered: Tensor, columns: Tensor) -> Tensor {
        let joined = self.join(recurrent, remembered, columns);
        self.project(recurrent.convolution_channels, joined)
    }

    /// Bytes of one scan's output: what it computes for each token, then the states of all sequences.
    const fn scan_bytes(&self, recurrent: &Recurrent) -> u64 {
        (recurrent.inner_size * self.rows + recurrent.state_elements * self.shape.sequences) * WORD
    }

    /// Mamba (`build_mamba_layer` of mamba-base.cpp).
    fn mamba(&mut self, layer: &Layer, recurrent: &Recurrent, input: Tensor) -> Mixed {
        let inner = recurrent.inner_size;
        let remembered = self.remembered(recurrent);
        let both = self.project(2 * inner, input);
        let convolved = self.convolve(recurrent, remembered, both);
        let maps_width = layer
            .weights
            .iter()
            .find(|weight| weight.role == Role::RecurrentInner && weight.columns == inner)
            .map_or(2 * recurrent.state_size, |weight| weight.rows);
        let step_rank = maps_width.saturating_sub(2 * recurrent.state_size);
        let maps = self.project(maps_width, convolved);
        let step = self.project(step_rank, maps.view());
        let norms = layer.weights.iter().filter(|weight| weight.role == Role::Norm && weight.rows < inner).count();
        let step = self.project(inner, step);
        // Jamba norms the maps, which makes copies of them.
        let copies = if norms >= 3 {
            let input_map = self.project(recurrent.state_size, maps.view());
            let output_map = self.project(recurrent.state_size, maps.view());
            Some((input_map, output_map))
        } else {
            None
        };
        let copy = self.state_rows();
        let bytes = self.scan_bytes(recurrent);
        let scanned = match copies {
            Some((input_map, output_map)) => {
                self.fresh(bytes, &[convolved.view(), step, input_map, output_map, copy.view()])
            }
            None => self.fresh(bytes, &[convolved.view(), step, maps.view(), copy.view()]),
        };
        self.store(&[scanned.view()]);
        self.expanded(layer);
        Mixed::Scan(ScanTail::First { both, convolved, scanned, inner })
    }

    /// Mamba-2 (`build_mamba2_layer` of mamba-base.cpp).
    fn mamba2(&mut self, layer: &Layer, recurrent: &Recurrent, input: Tensor) -> Mixed {
        let inner = recurrent.inner_size;
        let remembered = self.remembered(recurrent);
        let all = self.project(inner + recurrent.convolution_channels + recurrent.heads, input);
        let convolved = self.convolve(recurrent, remembered, all);
        let step = self.project(recurrent.heads, all.view());
        let copy = self.state_rows();
        let scanned = self.fresh(self.scan_bytes(recurrent), &[convolved.view(), step, copy.view()]);
        self.store(&[scanned.view()]);
        self.expanded(layer);
        Mixed::Scan(ScanTail::Second { all, convolved, scanned, inner })
    }

    /// The skip, the gate and the output projection of a scan.
    pub(super) fn finish_scan(&mut self, tail: ScanTail) -> Tensor {
        match tail {
            ScanTail::First { both, convolved, scanned, inner } => {
                let gate = self.project(inner, both.view());
                let skipped = self.in_place(&[convolved]);
                let sum = self.tape.push(Kind::InPlace, inner * self.rows * WORD, &[scanned.view(), skipped]);
                let gated = self.fresh(inner * self.rows * WORD, &[gate, sum]);
                self.project(self.model.hidden_size, gated).view()
            }
            ScanTail::Second { all, convolved, scanned, inner } => {
                let bytes = inner * self.rows * WORD;
                let gate = self.fresh(bytes, &[all.view()]);
                let skipped = self.fresh(bytes, &[convolved.view()]);
                let sum = self.tape.push(Kind::InPlace, bytes, &[scanned.view(), skipped]);
                let gated = self.fresh(bytes, &[gate, sum]);
                let normed = self.norm_of(bytes, gated.view());
                self.project(self.model.hidden_size, normed.view())
            }
            ScanTail::Short { all, joined, width } => {
                let convolved = self.project(width, joined);
                let output = self.tape.push(Kind::InPlace, width * self.rows * WORD, &[all.view(), convolved]);
                self.project(self.model.hidden_size, output).view()
            }
        }
    }

    /// Gated delta net (qwen3next.cpp, qwen35.cpp).
    fn gated_delta(&mut self, recurrent: &Recurrent, input: Tensor) -> Tensor {
        let inner = recurrent.inner_size;
        let bytes = inner * self.rows * WORD;
        let remembered = self.state(recurrent.convolution_elements());
        let channels = recurrent.convolution_channels;
        let projected = self.project(channels, input);
        let joined = self.join(recurrent, remembered, projected);
        let state = self.state(recurrent.state_elements);
        let convolved = self.project(channels, joined);
        let repeats = self.model.architecture.starts_with("qwen3next") || self.model.architecture == "qwen3_next";
        let key_width = channels.saturating_sub(inner) / 2;
        let mut pair = [convolved; 2];
        for tensor in &mut pair {
            *tensor = self.project(key_width, convolved.view());
            if repeats && key_width != inner {
                *tensor = self.project(inner, tensor.view());
            }
        }
        let decay = self.decays(recurrent, repeats, input);
        let output = self.scan_bytes(recurrent);
        let output = self.fresh(output, &[pair[0], pair[1], convolved.view(), decay[0], decay[1], state.view()]);
        self.store(&[output.view()]);
        let normed = self.norm_of(bytes, output.view());
        let gate = self.project(inner, input);
        let gate = self.fresh(bytes, &[gate.view()]);
        let gated = self.in_place(&[normed, gate]);
        self.project(self.model.hidden_size, gated.view()).view()
    }

    /// Decay and step of each head: from one product (Qwen3-Next) or from two (Qwen3.5).
    fn decays(&mut self, recurrent: &Recurrent, is_fused: bool, input: Tensor) -> [Tensor; 2] {
        let heads = recurrent.heads;
        if is_fused {
            let both = self.project(2 * heads, input);
            return [self.project(heads, both.view()), self.project(heads, both.view())];
        }
        let decay = self.project(heads, input);
        let decay = self.project(heads, decay.view());
        let step = self.project(heads, input);
        [decay, self.project(heads, step.view())]
    }

    /// Kimi delta attention (kimi-linear.cpp): three convolutions and low-rank gates.
    fn kimi_delta(&mut self, recurrent: &Recurrent, input: Tensor) -> Tensor {
        let inner = recurrent.inner_size;
        let bytes = inner * self.rows * WORD;
        let remembered = self.state(recurrent.convolution_elements());
        let taps = recurrent.convolution_taps.saturating_sub(1);
        let joined_bytes = inner * (self.rows + taps * self.shape.sequences) * WORD;
        let mut columns = [input; 3];
        for column in &mut columns {
            let projected = self.project(inner, input);
            *column = self.fresh(joined_bytes, &[remembered.view(), projected.view()]);
            self.store(&[column.view()]);
        }
        let state = self.state(recurrent.state_elements);
        let [query, key, value] = columns.map(|column| {
            let convolved = self.project(inner, column);
            self.fresh(bytes, &[convolved.view()])
        });
        let [query, key] = [query, key].map(|heads| self.fresh(bytes, &[heads.view()]));
        let rank = inner / recurrent.heads.max(1);
        let low = self.project(rank, input);
        let decay = self.project(inner, low);
        let decay = self.fresh(bytes, &[decay.view()]);
        let step = self.project(recurrent.heads, input);
        let step = self.project(recurrent.heads, step.view());
        let output = self.scan_bytes(recurrent);
        let output = self.fresh(output, &[query, key, value.view(), decay.view(), step, state.view()]);
        self.store(&[output.view()]);
        let gathered = self.fresh(bytes, &[output.view()]);
        let normed = self.norm_of(bytes, gathered.view());
        let low = self.project(rank, input.view());
        let gate = self.project(inner, low);
        let gate = self.fresh(bytes, &[gate.view()]);
        let gated = self.in_place(&[normed, gate]);
        let gated = self.fresh(bytes, &[gated]);
        self.project(self.model.hidden_size, gated)
    }

    /// Linear attention with fixed decay (minimax-01.cpp): a square of scores within the batch.
    fn lightning(&mut self, recurrent: &Recurrent, input: Tensor) -> Tensor {
        let inner = recurrent.inner_size;
        let heads = recurrent.heads;
        let bytes = inner * self.rows * WORD;
        let state_bytes = recurrent.state_elements * self.shape.sequences * WORD;
        let state = match self.state_ahead.take() {
            Some(state) => state,
            None => self.state(recurrent.state_elements),
        };
        let all = self.project(3 * inner, input.view());
        // The graph is reserved for a single sequence, where the square is largest.
        let square = self.rows * self.rows * heads * WORD;
        let [over_time, over_square, over_block, over_keys] =
            self.decay_inputs(self.rows * heads * WORD, square, heads * WORD);
        let decay = self.in_place(&[over_time]);
        let decayed = self.fresh(bytes, &[all.view(), decay]);
        let carried = self.fresh(bytes, &[state.view(), decayed.view()]);
        let transposed = self.fresh(bytes, &[all.view()]);
        let scores = self.fresh(square, &[all.view(), all.view()]);
        let decay = self.in_place(&[over_square]);
        let scores = self.in_place(&[scores, decay]);
        let within = self.fresh(bytes, &[transposed, scores]);
        let mixed = self.in_place(&[carried, within]);
        let decay = self.in_place(&[over_block]);
        let old = self.fresh(state_bytes, &[state.view(), decay.view()]);
        let decay = self.in_place(&[over_keys]);
        let keys = self.fresh(bytes, &[all.view(), decay]);
        let keys = self.fresh(bytes, &[keys.view()]);
        let new = self.fresh(state_bytes, &[keys, transposed]);
        let sum = self.in_place(&[old, new]);
        self.store(&[sum]);
        let gate = self.project(inner, input.view());
        let mixed = self.fresh(bytes, &[mixed.view()]);
        let normed = self.norm_of(bytes, mixed.view());
        let gated = self.in_place(&[gate, normed]);
        self.project(self.model.hidden_size, gated).view()
    }

    /// A gated convolution alone (lfm2.cpp).
    fn short_convolution(&mut self, layer: &Layer, recurrent: &Recurrent, input: Tensor) -> Mixed {
        let width = recurrent.convolution_channels;
        let remembered = self.remembered(recurrent);
        let all = self.project(3 * width, input.view());
        let gated = self.project(width, all.view());
        let joined = self.join(recurrent, remembered, gated);
        self.expanded(layer);
        Mixed::Scan(ScanTail::Short { all, joined, width })
    }
}
