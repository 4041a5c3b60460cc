//! What bytes a token stands for.

use std::sync::LazyLock;

/// How a vocabulary spells its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Every byte is one character of GPT-2's alphabet.
    ByteLevel,
    /// Spaces are `▁`, and bytes may be `<0x..>`.
    Metaspace,
    /// Parts of words start with `##`.
    WordPiece,
    /// As they are.
    Plain,
}

/// GPT-2's alphabet: printable bytes are themselves, the others follow from U+0100.
///
/// **Source** `bytes_to_unicode` of GPT-2's `encoder.py`.
static ALPHABET: LazyLock<[Option<u8>; 0x144]> = LazyLock::new(|| {
    let mut bytes = [None; 0x144];
    let mut next = 0x100;
    for byte in 0..=u8::MAX {
        let is_itself = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let place = if is_itself { usize::from(byte) } else { next };
        next += usize::from(!is_itself);
        bytes[place] = Some(byte);
    }
    bytes
});

/// The byte that `<0x..>` stands for.
pub(super) fn byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

impl Spelling {
    /// Appends the bytes of a token spelled `text`.
    pub(super) fn write(self, text: &str, target: &mut Vec<u8>) {
        match self {
            Self::Plain => target.extend(text.as_bytes()),
            Self::ByteLevel => {
                let start = target.len();
                for character in text.chars() {
                    if let Some(&Some(byte)) = ALPHABET.get(character as usize) {
                        target.push(byte);
                    } else {
                        // A character outside the alphabet: this token is text as it is.
                        target.truncate(start);
                        target.extend(text.as_bytes());
                        return;
                    }
                }
            }
            Self::Metaspace => match byte_token(text) {
                Some(byte) => target.push(byte),
                None => target.extend(text.replace('▁', " ").as_bytes()),
            },
            Self::WordPiece => match text.strip_prefix("##") {
                Some(rest) if !rest.is_empty() => target.extend(rest.as_bytes()),
                _ => {
                    target.push(b' ');
                    target.extend(text.as_bytes());
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_spell_bytes() {
        let check = |spelling: Spelling, text: &str, expected: &[u8]| {
            let mut bytes = Vec::new();
            spelling.write(text, &mut bytes);
            assert_eq!(bytes, expected, "{text}");
        };
        check(Spelling::ByteLevel, "ĠHello", b" Hello");
        check(Spelling::ByteLevel, "ĊĀÿŃ", &[b'\n', 0, 0xFF, 0xAD]);
        check(Spelling::ByteLevel, "<｜end｜>", "<｜end｜>".as_bytes());
        check(Spelling::Metaspace, "▁▁a", b"  a");
        check(Spelling::Metaspace, "<0xE2>", &[0xE2]);
        check(Spelling::Metaspace, "<0xE2", b"<0xE2");
        check(Spelling::WordPiece, "##ing", b"ing");
        check(Spelling::WordPiece, "sing", b" sing");
        assert_eq!(ALPHABET.iter().flatten().count(), 256);
    }
}
