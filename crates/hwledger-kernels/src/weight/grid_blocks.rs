//! ggml's types of 1 to 3 bits to numbers: blocks of 256 columns whose numbers are entries of a grid.

use super::dequantise::half;
use super::grids::{GRID_1, GRID_2_S, GRID_2_XS, GRID_2_XXS, GRID_3_S, GRID_3_XXS, SIGNS};
use crate::half::f32_from_f16;

/// What the entries of the grid of `IQ1_S` and `IQ1_M` are moved by, up or down (`IQ1S_DELTA` of ggml).
const DELTA: f32 = 0.125;

fn word(bytes: &[u8], index: usize) -> u16 {
    u16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]])
}

fn double_word(bytes: &[u8], index: usize) -> u32 {
    u32::from(word(bytes, 2 * index)) | u32::from(word(bytes, 2 * index + 1)) << 16
}

/// Seven signs and an eighth that makes the number of minus signs even (`ksigns_iq2xs` of ggml).
fn even_signs(bits: u32) -> u8 {
    let seven = (bits & 127) as u8;
    seven | (seven.count_ones() as u8 & 1) << 7
}

/// Eight or four sizes with their signs, times a scale.
fn put<const N: usize>(values: &mut [f32], scale: f32, sizes: [i8; N], signs: &[i8]) {
    for ((value, size), sign) in values.iter_mut().zip(sizes).zip(signs) {
        *value = scale * f32::from(size * sign);
    }
}

/// The same of two entries of four columns.
fn put_two(values: &mut [f32], scale: f32, sizes: [[i8; 4]; 2], signs: u8) {
    let [[a, b, c, d], [e, f, g, h]] = sizes;
    put(values, scale, [a, b, c, d, e, f, g, h], &SIGNS[usize::from(signs)]);
}

pub(super) fn iq2_xxs(block: &[u8], values: &mut [f32]) {
    let d = half(block, 0);
    for (part, values) in values.chunks_exact_mut(32).enumerate() {
        let indices = &block[2 + part * 8..][..4];
        let signs = double_word(&block[2..], 2 * part + 1);
        let scale = d * (0.5 + (signs >> 28) as f32) * 0.25;
        for (group, values) in values.chunks_exact_mut(8).enumerate() {
            let signs = SIGNS[usize::from(even_signs(signs >> (7 * group)))];
            put(values, scale, GRID_2_XXS[usize::from(indices[group])], &signs);
        }
    }
}

/// The scale of half `half` of a part of 32 columns whose scales, 4 bits each, share a byte.
fn scale_of_half(d: f32, scales: u8, half: usize) -> f32 {
    d * (0.5 + f32::from(scales >> (4 * half) & 15)) * 0.25
}

pub(super) fn iq2_xs(block: &[u8], values: &mut [f32]) {
    let d = half(block, 0);
    for (group, values) in values.chunks_exact_mut(8).enumerate() {
        let both = word(&block[2..], group);
        let scale = scale_of_half(d, block[66 + group / 4], group % 4 / 2);
        let signs = SIGNS[usize::from(even_signs(u32::from(both >> 9)))];
        put(values, scale, GRID_2_XS[usize::from(both & 511)], &signs);
    }
}

pub(super) fn iq2_s(block: &[u8], values: &mut [f32]) {
    let d = half(block, 0);
    for (group, values) in values.chunks_exact_mut(8).enumerate() {
        let (part, within) = (group / 4, group % 4);
        let high = usize::from(block[66 + part]) >> (2 * within) & 3;
        let scale = scale_of_half(d, block[74 + part], within / 2);
        let signs = SIGNS[usize::from(block[34 + group])];
        put(values, scale, GRID_2_S[usize::from(block[2 + group]) | high << 8], &signs);
    }
}

pub(super) fn iq3_xxs(block: &[u8], values: &mut [f32]) {
    let d = half(block, 0);
    for (part, values) in values.chunks_exact_mut(32).enumerate() {
        let signs = double_word(&block[66..], part);
        let scale = d * (0.5 + (signs >> 28) as f32) * 0.5;
        for (group, values) in values.chunks_exact_mut(8).enumerate() {
            let at = 2 + part * 8 + group * 2;
            let sizes = [GRID_3_XXS[usize::from(block[at])], GRID_3_XXS[usize::from(block[at + 1])]];
            put_two(values, scale, sizes, even_signs(signs >> (7 * group)));
        }
    }
}

pub(super) fn iq3_s(block: &[u8], values: &mut [f32]) {
    let d = half(block, 0);
    for (group, values) in values.chunks_exact_mut(8).enumerate() {
        let (part, within) = (group / 4, group % 4);
        let scale = d * f32::from(1 + 2 * (block[106 + part / 2] >> (4 * (part % 2)) & 15));
        let entry = |which: usize| {
            let high = usize::from(block[66 + part]) >> (2 * within + which) & 1;
            GRID_3_S[usize::from(block[2 + 2 * group + which]) | high << 8]
        };
        put_two(values, scale, [entry(0), entry(1)], block[74 + group]);
    }
}

/// Eight columns of `IQ1_S` or `IQ1_M`: an entry of the grid, moved, times a scale of 1 to 15.
fn put_moved(values: &mut [f32], scale: f32, index: usize, is_down: bool) {
    let moved = if is_down { -DELTA } else { DELTA };
    for (value, number) in values.iter_mut().zip(GRID_1[index]) {
        *value = scale * (f32::from(number) + moved);
    }
}

/// An odd scale of 3 bits.
fn odd_scale(d: f32, bits: u16) -> f32 {
    d * f32::from(2 * (bits & 7) + 1)
}

pub(super) fn iq1_s(block: &[u8], values: &mut [f32]) {
    let d = half(block, 0);
    for (group, values) in values.chunks_exact_mut(8).enumerate() {
        let high = word(&block[34..], group / 4);
        let index = usize::from(block[2 + group]) | usize::from(high >> (3 * (group % 4)) & 7) << 8;
        put_moved(values, odd_scale(d, high >> 12), index, high & 0x8000 != 0);
    }
}

/// The half-precision factor of `IQ1_M`: four bits of each of the last four words.
pub(super) fn iq1_m_factor(block: &[u8]) -> f32 {
    let bits = (0..4).fold(0, |bits, index| bits | word(&block[48..], index) >> 12 << (4 * index));
    f32_from_f16(bits)
}

pub(super) fn iq1_m(block: &[u8], values: &mut [f32]) {
    let d = iq1_m_factor(block);
    for (group, values) in values.chunks_exact_mut(8).enumerate() {
        let high = block[32 + group / 2] >> (4 * (group % 2));
        let index = usize::from(block[group]) | usize::from(high & 7) << 8;
        let scales = word(&block[48..], group / 8) >> (group % 8 / 2 * 3);
        put_moved(values, odd_scale(d, scales), index, high & 8 != 0);
    }
}
