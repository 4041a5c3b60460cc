//! AMX: products of tiles, in bytes ([`bytes`]) and in bfloat16 ([`halves`]).

#![expect(unsafe_code, reason = "SIMD, and tile instructions that the compiler has no stable names for")]

pub(super) mod bytes;
pub(super) mod halves;

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

/// Whether the processor has the tiles and Linux grants them to this process.
pub(super) fn is_usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| {
        // Leaf 7: bit 22 AMX-BF16, bit 24 AMX-TILE, bit 25 AMX-INT8.
        let needed = 1 << 22 | 1 << 24 | 1 << 25;
        let has = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & needed == needed;
        has && ask_permission()
    })
}

/// Asks Linux for the tiles' state; threads started later have it too, and those of this process now.
#[cfg(target_os = "linux")]
fn ask_permission() -> bool {
    const ARCH_PRCTL: u64 = 158;
    const REQUEST_STATE: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let result: i64;
    // SAFETY: the call takes two numbers and changes no memory of ours.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_STATE,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn ask_permission() -> bool {
    false
}

/// The shapes of the eight tiles: sums in 0 to 3, activations in 4 and 5, weights in 6 and 7.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// Tiles of `tokens` tokens, `activation_bytes` bytes of each, and `weight_rows` rows of 64 bytes of weights.
    fn of(tokens: usize, activation_bytes: u16, weight_rows: u8) -> Self {
        let mut row_bytes = [64; 16];
        row_bytes[4..6].fill(activation_bytes);
        row_bytes[8..].fill(0);
        let mut rows = [tokens as u8; 16];
        rows[6..8].fill(weight_rows);
        rows[8..].fill(0);
        Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
    }

    /// Makes this thread's tiles of these shapes.
    ///
    /// # Safety
    ///
    /// The processor has tiles and the system has granted them.
    unsafe fn load(&self) {
        // SAFETY: the configuration is 64 bytes of the form that the palette asks for.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const *self, options(nostack)) };
    }

    /// Gives the tiles back, so that the system need not keep them when it switches threads.
    ///
    /// # Safety
    ///
    /// As [`Self::load`].
    unsafe fn release() {
        // SAFETY: the caller has loaded a configuration.
        unsafe { asm!("tilerelease", options(nostack)) };
    }
}
