//! SHA-256 as RFC 6962 uses it: leaves and inner nodes hash under different prefixes, so that neither passes for the
//! other.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// A SHA-256 value: of bytes, of a leaf, of an inner node or of a whole tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Bytes of a hash.
    pub const BYTES: usize = 32;

    /// The root of a tree without leaves: the hash of nothing.
    pub fn of_empty_tree() -> Self {
        Self::of(b"")
    }

    /// The plain SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The hash of a leaf, `SHA-256(0x00 || bytes)`.
    pub fn of_leaf(bytes: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(bytes).finalize().into())
    }

    /// The hash of an inner node, `SHA-256(0x01 || left || right)`.
    pub fn of_node(left: &Self, right: &Self) -> Self {
        Self(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
    }

    /// The hash in `bytes`; none unless there are exactly 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// As notes and proofs write it: standard base64 with padding.
    pub fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }

    /// The inverse of [`Hash::to_base64`]; none for anything but the one right spelling.
    pub fn from_base64(text: &str) -> Option<Self> {
        Self::from_slice(&STANDARD.decode(text).ok()?)
    }

    /// The inverse of `Display`: 64 lower-case hexadecimal digits.
    pub fn from_hexadecimal(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::Hash;

    #[test]
    fn spellings_come_back_and_others_do_not() {
        let hash = Hash::of(b"x");
        assert_eq!(Hash::from_base64(&hash.to_base64()), Some(hash));
        assert_eq!(Hash::from_hexadecimal(&hash.to_string()), Some(hash));
        assert_eq!(Hash::from_hexadecimal(&hash.to_string().to_uppercase()), None);
        assert_eq!(Hash::from_hexadecimal("+f"), None);
        // The last digit before the padding holds two bits that belong to no byte: only zero is right.
        let text = hash.to_base64();
        let other = format!("{}{}=", &text[..42], if &text[42..43] == "A" { "B" } else { "9" });
        assert_eq!(Hash::from_base64(&other), None, "{text} {other}");
    }
}
