//! Hashing of short keys that come from our own tables.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map whose keys are packed integers and small enums of our own. A projection looks up hundreds
/// of factors, and no stranger chooses the keys, so protection against crafted collisions would
/// only cost time.
pub type KeyMap<Key, Value> = HashMap<Key, Value, BuildHasherDefault<KeyHasher>>;

/// Multiplication by an odd constant (Fibonacci hashing; Knuth, The Art of Computer Programming
/// 6.4), the well-mixed upper half swapped down to where tables take their index from.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyHasher(u64);

/// 2^64 over the golden ratio.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(MULTIPLIER).rotate_left(32);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.cast_unsigned() as u64);
    }
}
