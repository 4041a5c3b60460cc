//! The operations of RWKV: time mixing and channel mixing over token shifts.

use super::builder::{Builder, WORD};
use super::tape::{Kind, Tensor};
use crate::model::Recurrent;

/// Mixes of the shifted stream that time mixing computes at once: version 6, and version 7.
const MIXES: [u64; 2] = [5, 6];

impl Builder<'_> {
    /// Time mixing of version 6 (`build_rwkv6_time_mix` of rwkv6-base.cpp).
    pub(super) fn rwkv6(&mut self, recurrent: &Recurrent, input: Tensor) -> Tensor {
        let bytes = self.stream_bytes();
        let shift = self.state_of(recurrent.shift_elements);
        let state = self.state_of(recurrent.state_elements);
        let previous = self.fresh(bytes, &[shift.view(), input.view()]);
        let difference = self.in_place(&[previous, input]);
        let mixed = self.fresh(bytes, &[difference.view()]);
        let mixed = self.in_place(&[mixed, input.view()]);
        let low = self.project(MIXES[0] * 32, mixed);
        let low = self.project(MIXES[0] * 32, low.view());
        let all = self.project(MIXES[0] * self.model.hidden_size, low);
        let all = self.in_place(&[all, difference.view()]);
        let all = self.in_place(&[all, input.view()]);
        let [receptance, key, value] = [(); 3].map(|()| self.fresh(bytes, &[all.view()]));
        let decay = self.project(64, all.view());
        let decay = self.fresh(bytes, &[decay]);
        let sources = [receptance.view(), key.view(), value.view(), decay.view(), state];
        self.weighted_sum(recurrent, &sources, all)
    }

    /// Time mixing of version 7 (`build_rwkv7_time_mix` of rwkv7-base.cpp).
    pub(super) fn rwkv7(&mut self, recurrent: &Recurrent, input: Tensor) -> Tensor {
        let bytes = self.stream_bytes();
        let shift = self.state_of(recurrent.shift_elements);
        let state = self.state_of(recurrent.state_elements);
        let previous = self.fresh(bytes, &[shift.view(), input.view()]);
        let difference = self.in_place(&[previous, input]);
        let all = self.project(MIXES[1] * self.model.hidden_size, difference);
        let all = self.in_place(&[all, input]);
        let receptance = self.fresh(bytes, &[all.view()]);
        let low = self.project(96, all.view());
        let decay = self.fresh(bytes, &[low]);
        let key = self.fresh(bytes, &[all.view()]);
        let low = self.project(96, all.view());
        let rate = self.fresh(bytes, &[low]);
        let scaled = self.fresh(bytes, &[key]);
        let product = self.fresh(bytes, &[rate, scaled]);
        let product = self.in_place(&[product, scaled]);
        let new_key = self.fresh(bytes, &[key, product]);
        let value = self.fresh(bytes, &[all.view()]);
        let normed = self.fresh(bytes, &[key]);
        let normed = self.fresh(bytes, &[normed.view()]);
        let removed = self.fresh(bytes, &[normed]);
        let written = self.in_place(&[normed, rate.view()]);
        let sources = [receptance.view(), decay.view(), new_key.view(), value.view(), removed, written, state];
        let output = self.weighted_sum(recurrent, &sources, all);
        self.store(&[receptance.view(), new_key.view(), value.view()]);
        output
    }

    /// The recurrence itself, its norm, its gate and the output projection.
    fn weighted_sum(&mut self, recurrent: &Recurrent, sources: &[Tensor], mixes: Tensor) -> Tensor {
        let bytes = self.stream_bytes();
        let scan = bytes + recurrent.state_elements * self.shape.sequences * WORD;
        let output = self.fresh(scan, sources);
        self.store(&[output.view()]);
        let normed = self.fresh(bytes, &[output.view()]);
        let scaled = self.fresh(bytes, &[normed.view()]);
        let gate = self.fresh(bytes, &[mixes.view()]);
        let gated = self.tape.push(Kind::InPlace, bytes, &[scaled, gate]);
        self.fresh(bytes, &[gated]).view()
    }

    fn state_of(&mut self, elements: u64) -> Tensor {
        let copies = self.state_rows();
        self.fresh(elements * self.shape.sequences * WORD, &[copies.view()])
    }
}
