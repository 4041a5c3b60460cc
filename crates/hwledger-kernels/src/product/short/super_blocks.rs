//! K-quants times activations in super-blocks: all of 256 columns in whole numbers, then one conversion.

use crate::activation::SuperBlockParts;
use crate::weight::{PackedFormat, ROWS_INTERLEAVED};

use super::super::Out;
use super::{IQ4, Lanes, REGISTERS_MAX, Rows, add_eight, write_sums};

/// A tile of `W` tokens from some unit and token on.
#[derive(Clone, Copy)]
struct At {
    bytes: *const i8,
    scales: *const f32,
    sums: *const i32,
    offsets: *const i32,
}

impl At {
    /// The same, `units` units and `slots` tokens on.
    #[inline(always)]
    unsafe fn after<const W: usize>(self, units: usize, slots: usize) -> Self {
        // SAFETY: the caller stays within the tile.
        unsafe {
            Self {
                bytes: self.bytes.add(units * 256 * W + slots * 4),
                scales: self.scales.add(units * W + slots),
                sums: self.sums.add(units * 4 * W + slots),
                offsets: self.offsets.add(units * 16 * W + slots),
            }
        }
    }
}

/// Sixteen rows times one tile of `W` tokens, `M` of them at a time. The processor has the set of `L`.
#[inline(always)]
pub(super) unsafe fn super_blocks_tile<L: Lanes, const W: usize, const M: usize>(
    format: PackedFormat,
    group_bytes: &[u8],
    parts: SuperBlockParts<'_>,
    group: usize,
    out: Out,
) {
    let at = At {
        bytes: parts.bytes.as_ptr(),
        scales: parts.scales.as_ptr(),
        sums: parts.sums.as_ptr(),
        offsets: parts.offsets.as_ptr(),
    };
    // SAFETY: no memory is read.
    let mut sums = unsafe { [[L::splat(0.0); W]; REGISTERS_MAX] };
    for (index, unit) in group_bytes.chunks_exact(format.unit_bytes()).enumerate() {
        for register in 0..ROWS_INTERLEAVED / L::ROWS {
            let rows = Rows { unit: unit.as_ptr(), row: register * L::ROWS };
            for pass in 0..W / M {
                // SAFETY: the tile has the columns of the group, and W tokens.
                unsafe {
                    let at = at.after::<W>(index, pass * M);
                    let sums = &mut *sums[register].as_mut_ptr().add(pass * M).cast::<[L::Floats; M]>();
                    match format {
                        PackedFormat::Q4K => k::<L, W, M, 4>(rows, at, sums),
                        PackedFormat::Q5K => k::<L, W, M, 5>(rows, at, sums),
                        PackedFormat::Iq4Xs => iq4_xs::<L, W, M>(rows, at, sums),
                        PackedFormat::Q3K => q6_k::<L, W, M, 3>(rows, at, sums),
                        _ => q6_k::<L, W, M, 6>(rows, at, sums),
                    }
                }
            }
        }
    }
    // SAFETY: the rows are the caller's, the tokens of the tile.
    unsafe { write_sums::<L, W>(&sums, parts.tile, group, out) };
}

/// `Q4_K` (`BITS` 4) and `Q5_K` (5).
#[inline(always)]
unsafe fn k<L: Lanes, const W: usize, const M: usize, const BITS: u32>(rows: Rows, at: At, sums: &mut [L::Floats; M]) {
    let tail = if BITS == 5 { 2560 } else { 2048 };
    // SAFETY: within the unit and the tile.
    unsafe {
        let mut whole = [[L::zero(); M]; 2];
        for pair in 0..4 {
            let bytes = at.bytes.add(pair * 64 * W);
            let mut dots = [[L::start(0); M]; 2];
            if BITS == 5 {
                rows.ask::<L>(pair * 11, if pair == 3 { 12 } else { 11 });
            }
            for two in 0..4 {
                let line = pair * 8 + two * 2;
                let both = if BITS == 5 { rows.load_two_unasked::<L>(line) } else { rows.load_two::<L>(line) };
                let mut low = [L::and(both[0], 15), L::and(both[1], 15)];
                let mut high = [L::and(L::right::<4>(both[0]), 15), L::and(L::right::<4>(both[1]), 15)];
                if BITS == 5 {
                    let bits = rows.load_two_unasked::<L>(32 + two * 2);
                    for index in 0..2 {
                        // The bit of block b of eight, moved to bit 4; both blocks' bits are side by side.
                        let here = L::right_by(bits[index], 2 * pair as i32);
                        low[index] = L::or(low[index], L::and(L::left::<4>(here), 16));
                        high[index] = L::or(high[index], L::and(L::left::<3>(here), 16));
                    }
                }
                add_eight::<L, W, M, BITS>(&mut dots[0], low, bytes.add(two * 8 * W));
                add_eight::<L, W, M, BITS>(&mut dots[1], high, bytes.add((4 + two) * 8 * W));
            }
            for half in 0..2 {
                let part = 2 * pair + half;
                let scale = L::unsigned(rows.byte(tail + part * 16));
                let minimum = L::unsigned(rows.byte(tail + 128 + part * 16));
                for slot in 0..M {
                    whole[0][slot] = L::scaled::<BITS>(dots[half][slot], scale, whole[0][slot]);
                    // Two sums stand side by side in 16 bits.
                    let total = *at.sums.add(pair * W + slot) << (16 - 16 * half) >> 16;
                    whole[1][slot] = L::small_multiply_add(minimum, total, whole[1][slot]);
                }
            }
        }
        let (d, dmin) = (rows.halves::<L>(tail + 256), rows.halves::<L>(tail + 288));
        for slot in 0..M {
            let scale = L::splat(*at.scales.add(slot));
            let with = L::multiply_add(L::float(whole[0][slot]), L::multiply(d, scale), sums[slot]);
            sums[slot] = L::multiply_subtract(L::float(whole[1][slot]), L::multiply(dmin, scale), with);
        }
    }
}

/// The numbers of `Q6_K` (`BITS` 6) or `Q3_K` (3) of eight columns, of blocks `2 * pair` and the one after it.
#[inline(always)]
unsafe fn numbers<L: Lanes, const BITS: u32>(rows: Rows, pair: usize, line: usize) -> [[L::Bytes; 2]; 2] {
    // Two bits of four blocks share a byte.
    let shift = pair as i32 % 2 * 4;
    // SAFETY: within the unit.
    unsafe {
        if BITS == 6 {
            let both = rows.load_two_unasked::<L>(pair * 8 + line);
            let bits = rows.load_two_unasked::<L>(32 + pair / 2 * 8 + line);
            let (mut low, mut high) = (both, both);
            for index in 0..2 {
                let here = L::right_by(bits[index], shift);
                low[index] = L::or(L::and(both[index], 15), L::and(L::left::<4>(here), 48));
                high[index] = L::or(L::and(L::right::<4>(both[index]), 15), L::and(L::left::<2>(here), 48));
            }
            return [low, high];
        }
        let both = rows.load_two_unasked::<L>(pair / 2 * 8 + line);
        let bits = rows.load_two_unasked::<L>(16 + line);
        let (mut low, mut high) = (both, both);
        for index in 0..2 {
            let two = L::right_by(both[index], shift);
            let here = L::right_by(bits[index], 2 * pair as i32);
            low[index] = L::or(L::and(two, 3), L::and(L::left::<2>(here), 4));
            high[index] = L::or(L::and(L::right::<2>(two), 3), L::and(L::left::<1>(here), 4));
        }
        [low, high]
    }
}

/// `Q6_K` (`BITS` 6) and `Q3_K` (3).
#[inline(always)]
unsafe fn q6_k<L: Lanes, const W: usize, const M: usize, const BITS: u32>(
    rows: Rows,
    at: At,
    sums: &mut [L::Floats; M],
) {
    // Of a unit: where scales and factor are; lines that are asked for with each 16 columns, and in all.
    let (tail, lines, all) = if BITS == 6 { (3072, 6, 53) } else { (1536, 3, 29) };
    // SAFETY: within the unit and the tile.
    unsafe {
        let mut whole = [L::zero(); M];
        for pair in 0..4 {
            let bytes = at.bytes.add(pair * 64 * W);
            for quarter in 0..2 {
                let mut dots = [[L::start(0); M]; 2];
                for half in 0..2 {
                    for slot in 0..M {
                        // The offset of all numbers is taken off beforehand.
                        let offset = *at.offsets.add((4 * pair + 2 * half + quarter) * W + slot);
                        dots[half][slot] = L::start_from_offset::<BITS>(offset);
                    }
                }
                rows.ask::<L>((2 * pair + quarter) * lines, lines);
                for two in 0..2 {
                    let [low, high] = numbers::<L, BITS>(rows, pair, quarter * 4 + two * 2);
                    let columns = quarter * 16 + two * 8;
                    add_eight::<L, W, M, 6>(&mut dots[0], low, bytes.add(columns * W));
                    add_eight::<L, W, M, 6>(&mut dots[1], high, bytes.add((32 + columns) * W));
                }
                for half in 0..2 {
                    let scale = L::signed(rows.byte(tail + (4 * pair + 2 * half + quarter) * 16));
                    for slot in 0..M {
                        whole[slot] = L::scaled::<6>(dots[half][slot], scale, whole[slot]);
                    }
                }
            }
        }
        rows.ask::<L>(8 * lines, all - 8 * lines);
        add_unit::<L, M>(sums, &whole, rows.halves::<L>(tail + 256), at);
    }
}

/// Adds a unit's whole sums, times its factor and the tokens' scales.
#[inline(always)]
unsafe fn add_unit<L: Lanes, const M: usize>(
    sums: &mut [L::Floats; M],
    whole: &[L::Integers; M],
    d: L::Floats,
    at: At,
) {
    for slot in 0..M {
        // SAFETY: there are M scales of the unit.
        unsafe {
            let factor = L::multiply(d, L::splat(*at.scales.add(slot)));
            sums[slot] = L::multiply_add(L::float(whole[slot]), factor, sums[slot]);
        }
    }
}

#[inline(always)]
unsafe fn iq4_xs<L: Lanes, const W: usize, const M: usize>(rows: Rows, at: At, sums: &mut [L::Floats; M]) {
    // SAFETY: within the unit and the tile.
    unsafe {
        let mut whole = [L::zero(); M];
        for pair in 0..4 {
            let bytes = at.bytes.add(pair * 64 * W);
            let mut dots = [[L::start(0); M]; 2];
            for two in 0..4 {
                let both = rows.load_two::<L>(pair * 8 + two * 2);
                let low = [L::and(both[0], 15), L::and(both[1], 15)];
                let high = [L::and(L::right::<4>(both[0]), 15), L::and(L::right::<4>(both[1]), 15)];
                add_eight::<L, W, M, IQ4>(&mut dots[0], low, bytes.add(two * 8 * W));
                add_eight::<L, W, M, IQ4>(&mut dots[1], high, bytes.add((4 + two) * 8 * W));
            }
            for half in 0..2 {
                let part = 2 * pair + half;
                let scale = L::signed(rows.byte(2048 + part * 16));
                for slot in 0..M {
                    let offset = L::offset_of_32(at.offsets.add(slot), at.sums.add(slot), part, W);
                    whole[slot] = L::scaled_with(L::sum::<IQ4>(dots[half][slot]), offset, scale, whole[slot]);
                }
            }
        }
        add_unit::<L, M>(sums, &whole, rows.halves::<L>(2176), at);
    }
}
