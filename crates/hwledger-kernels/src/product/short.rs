//! Products where a register holds fewer than sixteen rows: written once, for every set of that kind.
//!
//! A unit is passed over once per register of rows and few tokens, so that sums stay in sixteen registers;
//! the unit itself stays in the first cache meanwhile.

#![expect(unsafe_code, reason = "SIMD")]

use crate::activation::{Activations, QuantisedTile, TIMES_3_BIT, Tile, TileParts};
use crate::weight::{Affine, PackedFormat, ROWS_INTERLEAVED};

mod super_blocks;

use super_blocks::super_blocks_tile;

use super::{E2M1, IQ4, Nibbles, Out};

/// Registers that hold sixteen rows, at most.
const REGISTERS_MAX: usize = 4;
/// Columns of single-precision products that all registers of rows pass over in turn.
const FLOAT_COLUMNS: usize = 32;
/// Tokens of one pass of single-precision products, at most: two sums each, and weights, in sixteen registers.
pub(super) const FLOAT_TOKENS_MAX: usize = 4;

/// What a set of instructions does with one register of rows.
///
/// All are unsafe: the processor must have the set, and addresses must have what is read.
pub(super) trait Lanes {
    /// Rows of one register: a divisor of sixteen.
    const ROWS: usize;
    /// Four bytes per row.
    type Bytes: Copy;
    /// Sums of products of bytes per row, in whichever form is cheap to add to.
    type Dots: Copy;
    /// A number in single precision per row.
    type Floats: Copy;
    /// A whole number of 32 bits per row.
    type Integers: Copy;

    /// Four bytes per row.
    unsafe fn load(from: *const u8) -> Self::Bytes;
    /// Asks for the line at this address, which may be anywhere.
    unsafe fn prefetch(from: *const u8);
    /// The bits of each byte that `mask` has.
    unsafe fn and(numbers: Self::Bytes, mask: u8) -> Self::Bytes;
    /// The bits of both.
    unsafe fn or(numbers: Self::Bytes, others: Self::Bytes) -> Self::Bytes;
    /// Each byte's bits further down; what comes in at the top is undefined.
    unsafe fn right<const N: i32>(numbers: Self::Bytes) -> Self::Bytes;
    /// The same by an amount that is not constant, 0 to 7.
    unsafe fn right_by(numbers: Self::Bytes, amount: i32) -> Self::Bytes;
    /// Each byte's bits further up; what comes in at the bottom is undefined.
    unsafe fn left<const N: i32>(numbers: Self::Bytes) -> Self::Bytes;

    /// No products, but a number to start from: zero, unless numbers have 6 bits.
    unsafe fn start(value: i32) -> Self::Dots;
    /// The offset that is taken off the numbers of 16 columns, as activations have it: of 6 bits, or of `Q3_K`.
    unsafe fn start_from_offset<const BITS: u32>(offset: i32) -> Self::Dots {
        // SAFETY: as the caller says.
        unsafe { Self::start(if BITS == 6 { offset } else { offset / TIMES_3_BIT }) }
    }
    /// The offset of the numbers of `IQ4_XS` of part `part` of 32 columns; offsets and sums of one token, `width` apart.
    unsafe fn offset_of_32(offsets: *const i32, _sums: *const i32, part: usize, width: usize) -> i32 {
        // SAFETY: as the caller says.
        unsafe { crate::activation::offset_of_32(offsets, part, width) }
    }
    /// Adds the products of eight columns: four numbers of `BITS` bits (4, 5, 6, 8, or [`IQ4`] or [`E2M1`]), times four bytes
    /// with sign, twice. Of 5 bits and [`E2M1`] any number of times; of 6 bits at most two, of others four before the sum is taken.
    unsafe fn add_eight<const BITS: u32>(dots: Self::Dots, numbers: [Self::Bytes; 2], fours: [i32; 2]) -> Self::Dots;
    /// The exact sums.
    unsafe fn sum<const BITS: u32>(dots: Self::Dots) -> Self::Integers;

    /// `sum of products x scale + c`.
    unsafe fn scaled<const BITS: u32>(dots: Self::Dots, scale: Self::Integers, c: Self::Integers) -> Self::Integers;
    /// `(sum + more) x scale + c`.
    unsafe fn scaled_with(sum: Self::Integers, more: i32, scale: Self::Integers, c: Self::Integers) -> Self::Integers;
    /// `number x times + c`: a number of 0 to 255, times one of 16 bits.
    unsafe fn small_multiply_add(number: Self::Integers, times: i32, c: Self::Integers) -> Self::Integers;
    /// Zero.
    unsafe fn zero() -> Self::Integers;
    /// Bytes without sign.
    unsafe fn unsigned(from: *const u8) -> Self::Integers;
    /// Bytes with sign.
    unsafe fn signed(from: *const u8) -> Self::Integers;
    /// Rounded to single precision.
    unsafe fn float(values: Self::Integers) -> Self::Floats;

    /// One number for all rows.
    unsafe fn splat(value: f32) -> Self::Floats;
    /// `a x b`.
    unsafe fn multiply(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a + b`.
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a x b + c`, rounded once.
    unsafe fn multiply_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// `c - a x b`, rounded once.
    unsafe fn multiply_subtract(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Half-precision numbers.
    unsafe fn halves(from: *const u8) -> Self::Floats;
    /// bfloat16 numbers.
    unsafe fn bfloats(from: *const u8) -> Self::Floats;
    /// Single-precision numbers.
    unsafe fn singles(from: *const u8) -> Self::Floats;
    /// Writes one number per row.
    unsafe fn store(to: *mut f32, values: Self::Floats);
}

/// Bytes ahead of use that are asked for.
const PREFETCH_BYTES: usize = 8192;

/// A tile of `W` tokens from some column and token on.
#[derive(Clone, Copy)]
struct At {
    bytes: *const i8,
    scales: *const f32,
    sums: *const f32,
}

impl At {
    /// The same, `columns` columns and `slots` tokens on.
    #[inline(always)]
    unsafe fn after<const W: usize>(self, columns: usize, slots: usize) -> Self {
        // SAFETY: the caller stays within the tile.
        unsafe {
            Self {
                bytes: self.bytes.add(columns * W + slots * 4),
                scales: self.scales.add(columns / 32 * W + slots),
                sums: self.sums.add(columns / 32 * W + slots),
            }
        }
    }
}

/// A unit, seen from the first row of one register.
#[derive(Clone, Copy)]
struct Rows {
    unit: *const u8,
    row: usize,
}

impl Rows {
    /// Four numbers per row of line `line`.
    #[inline(always)]
    unsafe fn load<L: Lanes>(self, line: usize) -> L::Bytes {
        let from = self.unit.wrapping_add(line * 64);
        // SAFETY: the line is of the unit; a prefetch may point anywhere.
        unsafe {
            if self.row == 0 {
                L::prefetch(from.wrapping_add(PREFETCH_BYTES));
            }
            L::load(from.add(self.row * 4))
        }
    }

    /// Lines `line` and the one after it.
    #[inline(always)]
    unsafe fn load_two<L: Lanes>(self, line: usize) -> [L::Bytes; 2] {
        // SAFETY: as the caller says.
        unsafe { [self.load::<L>(line), self.load::<L>(line + 1)] }
    }

    /// The same without asking for what comes later.
    #[inline(always)]
    unsafe fn load_two_unasked<L: Lanes>(self, line: usize) -> [L::Bytes; 2] {
        // SAFETY: as the caller says.
        unsafe {
            let first = self.unit.add(line * 64 + self.row * 4);
            [L::load(first), L::load(first.add(64))]
        }
    }

    /// Asks for lines of what comes later, `count` from `first` on: where lines are used in an order that no processor
    /// follows by itself, all of them are asked for in theirs (`Q6_K` of one token came half as fast again, Zen 4).
    #[inline(always)]
    unsafe fn ask<L: Lanes>(self, first: usize, count: usize) {
        if self.row == 0 {
            for line in first..first + count {
                // SAFETY: a prefetch may point anywhere.
                unsafe { L::prefetch(self.unit.wrapping_add(PREFETCH_BYTES + line * 64)) };
            }
        }
    }

    /// The address of a byte per row.
    #[inline(always)]
    unsafe fn byte(self, offset: usize) -> *const u8 {
        // SAFETY: the offset is within the unit.
        unsafe { self.unit.add(offset + self.row) }
    }

    /// A half-precision or bfloat16 number per row.
    #[inline(always)]
    unsafe fn either<L: Lanes>(self, offset: usize, is_bfloat16: bool) -> L::Floats {
        // SAFETY: as the caller says.
        unsafe {
            let from = self.unit.add(offset + self.row * 2);
            if is_bfloat16 { L::bfloats(from) } else { L::halves(from) }
        }
    }

    /// A half-precision number per row.
    #[inline(always)]
    unsafe fn halves<L: Lanes>(self, offset: usize) -> L::Floats {
        // SAFETY: as the caller says.
        unsafe { L::halves(self.unit.add(offset + self.row * 2)) }
    }
}

/// Sixteen rows times one tile of `W` tokens: in blocks `M` of them at a time, in super-blocks `S`. The processor has
/// the set of `L`.
#[inline(always)]
pub(super) unsafe fn quantised_tile<L: Lanes, const W: usize, const M: usize, const S: usize>(
    format: PackedFormat,
    group_bytes: &[u8],
    parts: QuantisedTile<'_>,
    group: usize,
    out: Out,
) {
    // SAFETY: as the caller says.
    unsafe {
        match parts {
            QuantisedTile::Blocks(parts) => bytes_tile::<L, W, M>(format, group_bytes, parts, group, out),
            QuantisedTile::SuperBlocks(parts) => super_blocks_tile::<L, W, S>(format, group_bytes, parts, group, out),
        }
    }
}

/// Sixteen rows times one tile in blocks.
#[inline(always)]
unsafe fn bytes_tile<L: Lanes, const W: usize, const M: usize>(
    format: PackedFormat,
    group_bytes: &[u8],
    parts: TileParts<'_>,
    group: usize,
    out: Out,
) {
    let at = At { bytes: parts.bytes.as_ptr(), scales: parts.scales.as_ptr(), sums: parts.sums.as_ptr() };
    // SAFETY: no memory is read.
    let mut sums = unsafe { [[L::splat(0.0); W]; REGISTERS_MAX] };
    for (index, unit) in group_bytes.chunks_exact(format.unit_bytes()).enumerate() {
        for register in 0..ROWS_INTERLEAVED / L::ROWS {
            let rows = Rows { unit: unit.as_ptr(), row: register * L::ROWS };
            for pass in 0..W / M {
                // SAFETY: the tile has the columns of the group, and W tokens.
                unsafe {
                    let at = at.after::<W>(index * format.unit_columns(), pass * M);
                    let sums = &mut *sums[register].as_mut_ptr().add(pass * M).cast::<[L::Floats; M]>();
                    match format {
                        PackedFormat::Q4 => q4::<L, W, M, 4>(rows, at, sums),
                        PackedFormat::Iq4Nl => q4::<L, W, M, IQ4>(rows, at, sums),
                        PackedFormat::Mxfp4 => q4::<L, W, M, E2M1>(rows, at, sums),
                        PackedFormat::Affine(form) => affine::<L, W, M>(form, rows, at, sums),
                        _ => q8::<L, W, M>(rows, at, sums),
                    }
                }
            }
        }
    }
    // SAFETY: the rows are the caller's, the tokens of the tile.
    unsafe { write_sums::<L, W>(&sums, parts.tile, group, out) };
}

/// Writes the outputs of a tile's tokens, sixteen rows each.
#[inline(always)]
unsafe fn write_sums<L: Lanes, const W: usize>(
    sums: &[[L::Floats; W]; REGISTERS_MAX],
    tile: Tile,
    group: usize,
    out: Out,
) {
    for slot in 0..tile.tokens {
        let mut values = [0.0; ROWS_INTERLEAVED];
        for register in 0..ROWS_INTERLEAVED / L::ROWS {
            // SAFETY: there are sixteen values.
            unsafe { L::store(values[register * L::ROWS..].as_mut_ptr(), sums[register][slot]) };
        }
        // SAFETY: the rows are the caller's, the token of the tile.
        unsafe { out.write(tile.first + slot, group, &values) };
    }
}

/// Adds the products of eight columns for each token.
#[inline(always)]
unsafe fn add_eight<L: Lanes, const W: usize, const M: usize, const BITS: u32>(
    dots: &mut [L::Dots; M],
    numbers: [L::Bytes; 2],
    bytes: *const i8,
) {
    for slot in 0..M {
        // SAFETY: four bytes per slot, and four of the next columns W slots on.
        unsafe {
            let place = bytes.cast::<i32>().add(slot);
            let fours = [place.read_unaligned(), place.add(W).read_unaligned()];
            dots[slot] = L::add_eight::<BITS>(dots[slot], numbers, fours);
        }
    }
}

/// Adds `scale x dot x activation scale - minimum x activation sum` of one part for each token.
#[inline(always)]
unsafe fn add_part<L: Lanes, const M: usize, const BITS: u32>(
    sums: &mut [L::Floats; M],
    dots: &[L::Dots; M],
    [scale, minimum]: [L::Floats; 2],
    scales: *const f32,
    totals: *const f32,
) {
    for slot in 0..M {
        // SAFETY: there are M scales and sums of the part.
        unsafe {
            let value = L::multiply(L::float(L::sum::<BITS>(dots[slot])), L::splat(*scales.add(slot)));
            let with = L::multiply_add(value, scale, sums[slot]);
            sums[slot] = L::multiply_subtract(minimum, L::splat(*totals.add(slot)), with);
        }
    }
}

/// `Q4_0` (`BITS` 4), `IQ4_NL` ([`IQ4`]) and `MXFP4` ([`E2M1`]).
#[inline(always)]
unsafe fn q4<L: Lanes, const W: usize, const M: usize, const BITS: u32>(rows: Rows, at: At, sums: &mut [L::Floats; M]) {
    let kind = Nibbles::of(BITS);
    // SAFETY: within the unit and the tile.
    unsafe {
        let mut dots = [[L::start(0); M]; 2];
        for two in 0..4 {
            let both = rows.load_two::<L>(two * 2);
            let low = [L::and(both[0], 15), L::and(both[1], 15)];
            let high = [L::and(L::right::<4>(both[0]), 15), L::and(L::right::<4>(both[1]), 15)];
            add_eight::<L, W, M, BITS>(&mut dots[0], low, at.bytes.add(two * 8 * W));
            add_eight::<L, W, M, BITS>(&mut dots[1], high, at.bytes.add((4 + two) * 8 * W));
        }
        for half in 0..2 {
            let scale = rows.either::<L>(512 + half * 32, kind.has_bfloat16);
            let minimum = L::multiply(scale, L::splat(kind.offset));
            let at = at.after::<W>(half * 32, 0);
            add_part::<L, M, BITS>(sums, &dots[half], [scale, minimum], at.scales, at.sums);
        }
    }
}

/// MLX's affine numbers of four or eight bits.
#[inline(always)]
unsafe fn affine<L: Lanes, const W: usize, const M: usize>(
    form: Affine,
    rows: Rows,
    at: At,
    sums: &mut [L::Floats; M],
) {
    let numbers = form.number_bytes();
    // SAFETY: within the unit and the tile.
    unsafe {
        for half in 0..2 {
            let at = at.after::<W>(half * 32, 0);
            // The scales, then the minima 32 bytes on; halves of a wide group share them.
            let offset = numbers + half.min(form.parts - 1) * 64;
            let factors = [offset, offset + 32].map(|offset| rows.either::<L>(offset, form.has_bfloat16));
            let mut dots = [L::start(0); M];
            if form.is_four_bit {
                for two in 0..4 {
                    let both = rows.load_two::<L>(two * 2);
                    let four = |bytes| L::and(if half == 0 { bytes } else { L::right::<4>(bytes) }, 15);
                    add_eight::<L, W, M, 4>(&mut dots, both.map(four), at.bytes.add(two * 8 * W));
                }
                add_part::<L, M, 4>(sums, &dots, factors, at.scales, at.sums);
            } else {
                for two in 0..4 {
                    let numbers = rows.load_two::<L>(half * 8 + two * 2);
                    add_eight::<L, W, M, 8>(&mut dots, numbers, at.bytes.add(two * 8 * W));
                }
                add_part::<L, M, 8>(sums, &dots, factors, at.scales, at.sums);
            }
        }
    }
}

#[inline(always)]
unsafe fn q8<L: Lanes, const W: usize, const M: usize>(rows: Rows, at: At, sums: &mut [L::Floats; M]) {
    // SAFETY: within the unit and the tile.
    unsafe {
        for half in 0..2 {
            let at = at.after::<W>(half * 32, 0);
            let mut dots = [L::start(0); M];
            for two in 0..4 {
                let numbers = rows.load_two::<L>(half * 8 + two * 2);
                add_eight::<L, W, M, 8>(&mut dots, numbers, at.bytes.add(two * 8 * W));
            }
            let scale = rows.halves::<L>(1024 + half * 32);
            let minimum = L::multiply(scale, L::splat(128.0));
            add_part::<L, M, 8>(sums, &dots, [scale, minimum], at.scales, at.sums);
        }
    }
}

/// Sixteen rows in single precision, and tokens `first` and `held - 1` after it times them.
#[derive(Clone, Copy)]
pub(super) struct FloatTile<'a> {
    /// `[column][row]`, as many columns as fill units.
    pub(super) weights: *const u8,
    /// The batch.
    pub(super) activations: &'a Activations,
    /// The first token.
    pub(super) first: usize,
    /// Tokens, at most [`FLOAT_TOKENS_MAX`].
    pub(super) held: usize,
}

/// Sixteen rows times up to `M` tokens; `KIND`: 16 half precision, 8 bfloat16 (its exponent's bits), 32 single.
#[inline(always)]
pub(super) unsafe fn float_tile<L: Lanes, const M: usize, const KIND: usize>(
    tile: FloatTile<'_>,
    columns: usize,
    group: usize,
    out: Out,
) {
    let bytes = if KIND == 32 { 4 } else { 2 };
    // Slots without a token repeat the last one.
    let mut tokens = [tile.activations.row(tile.first).as_ptr(); M];
    for slot in 0..tile.held {
        tokens[slot] = tile.activations.row(tile.first + slot).as_ptr();
    }
    // SAFETY: no memory is read.
    let mut sums = unsafe { [[[L::splat(0.0); M]; 2]; REGISTERS_MAX] };
    // Columns are filled up to whole units with zeros, in weights and activations.
    for column in (0..columns).step_by(FLOAT_COLUMNS) {
        for register in 0..ROWS_INTERLEAVED / L::ROWS {
            let mut own = sums[register];
            for pair in 0..FLOAT_COLUMNS / 2 {
                for half in 0..2 {
                    let column = column + 2 * pair + half;
                    // SAFETY: within the group's units and the padded rows.
                    unsafe {
                        let from = tile.weights.add((column * ROWS_INTERLEAVED + register * L::ROWS) * bytes);
                        let numbers = match KIND {
                            16 => L::halves(from),
                            8 => L::bfloats(from),
                            _ => L::singles(from),
                        };
                        for slot in 0..M {
                            let activation = L::splat(*tokens[slot].add(column));
                            own[half][slot] = L::multiply_add(numbers, activation, own[half][slot]);
                        }
                    }
                }
            }
            sums[register] = own;
        }
    }
    for slot in 0..tile.held {
        let mut values = [0.0; ROWS_INTERLEAVED];
        for register in 0..ROWS_INTERLEAVED / L::ROWS {
            let [even, odd] = sums[register];
            // SAFETY: there are sixteen values.
            unsafe { L::store(values[register * L::ROWS..].as_mut_ptr(), L::add(even[slot], odd[slot])) };
        }
        // SAFETY: the rows are the caller's, the token of the batch.
        unsafe { out.write(tile.first + slot, group, &values) };
    }
}

/// Implements functions of [`Lanes`] by an expression each.
macro_rules! instructions {
    ($(fn $name:ident $(<const $constant:ident: $kind:ty>)? ($($argument:ident: $of:ty),*) -> $result:ty { $body:expr })*) => {
        $(
            #[inline(always)]
            unsafe fn $name $(<const $constant: $kind>)? ($($argument: $of),*) -> $result {
                // SAFETY: the kernels run where the processor has the set, and keep within what they were given.
                unsafe { $body }
            }
        )*
    };
}
pub(super) use instructions;
