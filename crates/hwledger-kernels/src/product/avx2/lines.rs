//! Numbers of four bits times the tokens of a tile, eight rows at a time.
//!
//! In assembly: compilers put sums of integers in an order of their own, for which there are not enough registers, and
//! keep on the stack what is loaded twice.

#![expect(unsafe_code, reason = "SIMD")]

use std::arch::asm;
use std::arch::x86_64::*;

/// What is done for each token: its four bytes are spread, and multiplied and added to its sums.
macro_rules! tokens {
    ([$($dots:ident $slot:literal)*]) => {
        concat!($(
            "vpbroadcastd {four}, dword ptr [{bytes} + 4 * ", $slot, "]\n",
            "vpmaddubsw {four}, {numbers}, {four}\n",
            "vpaddw {", stringify!($dots), "}, {", stringify!($dots), "}, {four}\n",
        )*)
    };
}

/// The same for the first line, whose products are the sums so far.
macro_rules! first_tokens {
    ([$($dots:ident $slot:literal)*]) => {
        concat!($(
            "vpbroadcastd {four}, dword ptr [{bytes} + 4 * ", $slot, "]\n",
            "vpmaddubsw {", stringify!($dots), "}, {numbers}, {four}\n",
        )*)
    };
}

/// Numbers of four bits; `$unpack` makes them of a line.
macro_rules! nibbles {
    ($sums:ident, $lines:ident, $bytes:ident, $unpack:literal, $stride:literal, [$($dots:ident $slot:literal)*]) => {
        asm!(
            concat!(
                $unpack,
                first_tokens!([$($dots $slot)*]),
                ".rept 7\nadd {lines}, 64\nadd {bytes}, ", $stride, "\n",
                $unpack,
                tokens!([$($dots $slot)*]),
                ".endr\n",
            ),
            $($dots = out(ymm_reg) $sums[$slot],)*
            lines = inout(reg) $lines => _,
            bytes = inout(reg) $bytes => _,
            mask = in(ymm_reg) _mm256_set1_epi8(15),
            numbers = out(ymm_reg) _,
            four = out(ymm_reg) _,
            options(readonly, nostack)
        )
    };
}

/// The sums of 32 columns of `M` tokens (1, 2, 4, 6 or 8) times numbers of four bits of eight rows, in 16 bits: those of
/// columns `4 * n` and `4 * n + 1` beside those of the two after them. Numbers are the low or the high bits of eight lines,
/// 64 bytes apart. Sums fit: eight times 3810.
///
/// # Safety
///
/// The processor has AVX2; there are eight lines, and bytes `[8][M][4]`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn nibbles<const M: usize, const IS_HIGH: bool>(lines: *const u8, bytes: *const i8) -> [__m256i; M] {
    let mut sums = [_mm256_setzero_si256(); M];
    macro_rules! low_or_high {
        ($stride:literal, $slots:tt) => {
            if IS_HIGH {
                nibbles!(
                    sums,
                    lines,
                    bytes,
                    "vmovdqu {numbers}, ymmword ptr [{lines}]\n\
                     vpsrlw {numbers}, {numbers}, 4\n\
                     vpand {numbers}, {numbers}, {mask}\n",
                    $stride,
                    $slots
                )
            } else {
                nibbles!(sums, lines, bytes, "vpand {numbers}, {mask}, ymmword ptr [{lines}]\n", $stride, $slots)
            }
        };
    }
    // SAFETY: as the caller says.
    unsafe {
        match M {
            1 => low_or_high!(4, [a 0]),
            2 => low_or_high!(8, [a 0 b 1]),
            4 => low_or_high!(16, [a 0 b 1 c 2 d 3]),
            6 => low_or_high!(24, [a 0 b 1 c 2 d 3 e 4 f 5]),
            _ => low_or_high!(32, [a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7]),
        }
    }
    sums
}
