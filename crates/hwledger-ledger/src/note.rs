//! Signed notes (C2SP signed-note): text, and below it one line per signature.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Bytes of a note at most; a checkpoint has some hundred.
pub const NOTE_BYTES_MAX: usize = 256 << 10;

/// Signatures of a note at most. The specification asks for 16 at least.
pub(crate) const SIGNATURES_MAX: usize = 64;

/// What every signature line begins with: an em dash and a space.
pub(crate) const MARK: &str = "\u{2014} ";

/// The byte that says "Ed25519 over the note's text".
const ED25519: u8 = 1;

/// Why a note or a key is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than any note of ours.
    #[error("the note has {0} bytes; {NOTE_BYTES_MAX} are the most")]
    TooLong(usize),
    /// Control characters, or no text, blank line and signatures.
    #[error("line {line} of the note: {what}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A signature by a known key does not hold.
    #[error("the signature of `{0}` does not belong to this text")]
    WrongSignature(String),
    /// No known key signed.
    #[error("none of the note's {0} signatures is by a key that is known")]
    NotSigned(usize),
    /// The name of a key holds a space or a plus, or is empty.
    #[error("`{0}` cannot name a key: it must not be empty nor hold spaces, control characters or `+`")]
    Name(String),
    /// The text is no key.
    #[error("this is no {0}: {1}")]
    Key(&'static str, &'static str),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
}

/// Whether a key, and so a ledger, may have this name.
fn checked_name(name: &str) -> Result<&str, NoteError> {
    let is_wrong = |character: char| character.is_whitespace() || character.is_control() || character == '+';
    if name.is_empty() || name.len() > 255 || name.contains(is_wrong) {
        return Err(NoteError::Name(name.to_owned()));
    }
    Ok(name)
}

/// A public key with its name, as `name+id+base64` on one line.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl PublicKey {
    /// A key by name.
    ///
    /// # Errors
    ///
    /// The name cannot stand in a note, or the bytes are no point of the curve or one that verifies anything.
    pub fn new(name: &str, bytes: [u8; 32]) -> Result<Self, NoteError> {
        let key =
            VerifyingKey::from_bytes(&bytes).map_err(|_| NoteError::Key("public key", "no point of the curve"))?;
        if key.is_weak() {
            return Err(NoteError::Key("public key", "it would verify more than one text"));
        }
        Ok(Self { name: checked_name(name)?.to_owned(), key })
    }

    /// Reads what `Display` writes.
    ///
    /// # Errors
    ///
    /// It is something else, or its parts contradict each other.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        Self::parse_of_types(text, &[ED25519])
    }

    /// The same for keys that are for signatures of one of these types.
    pub(crate) fn parse_of_types(text: &str, types: &[u8]) -> Result<Self, NoteError> {
        let wrong = |what| NoteError::Key("public key", what);
        let mut parts = text.trim_end_matches('\n').splitn(3, '+');
        let (Some(name), Some(id), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("expected `name+id+base64`"));
        };
        let data = STANDARD.decode(data).map_err(|_| wrong("what follows the second `+` is not base64"))?;
        let key = data.split_first().filter(|(signature_type, _)| types.contains(signature_type));
        let Some((signature_type, key)) = key else { return Err(wrong("it is not for Ed25519")) };
        let key = Self::new(name, key.try_into().map_err(|_| wrong("an Ed25519 key has 32 bytes"))?)?;
        if format!("{:08x}", key.id_of_type(*signature_type)) == id {
            Ok(key)
        } else {
            Err(wrong("its number does not fit its name and key"))
        }
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of SHA-256 over name, line feed, type and key.
    pub fn id(&self) -> u32 {
        self.id_of_type(ED25519)
    }

    /// The same key's number for signatures of another type.
    pub(crate) fn id_of_type(&self, signature_type: u8) -> u32 {
        let hash = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', signature_type])
            .chain_update(self.key.as_bytes())
            .finalize();
        u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
    }

    /// The key as it is written for signatures of another type.
    pub(crate) fn text_of_type(&self, signature_type: u8) -> String {
        let mut data = vec![signature_type];
        data.extend(self.key.as_bytes());
        format!("{}+{:08x}+{}", self.name, self.id_of_type(signature_type), STANDARD.encode(data))
    }

    /// The 32 bytes of the key.
    pub fn bytes(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Whether `signature` (64 bytes) by this key belongs to `message`. Strict: no second signature of the same text
    /// and no key of small order passes.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text_of_type(ED25519))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A secret key with its name. Never printed; its bytes are wiped when it goes.
#[derive(Clone)]
pub struct SecretKey {
    name: String,
    key: SigningKey,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretKey({})", self.name)
    }
}

impl SecretKey {
    /// A new key.
    ///
    /// # Errors
    ///
    /// The name cannot stand in a note, or the system has no random bytes.
    pub fn generate(name: &str) -> Result<Self, NoteError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|error| NoteError::Random(error.to_string()))?;
        Self::from_seed(name, &seed)
    }

    /// The key that grows from 32 secret bytes.
    ///
    /// # Errors
    ///
    /// The name cannot stand in a note.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        Ok(Self { name: checked_name(name)?.to_owned(), key: SigningKey::from_bytes(seed) })
    }

    /// Reads what [`SecretKey::to_text`] writes.
    ///
    /// # Errors
    ///
    /// It is something else. No part of the text is in the message.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let wrong = |what| NoteError::Key("secret key", what);
        let rest =
            text.trim_end_matches('\n').strip_prefix("PRIVATE+KEY+").ok_or_else(|| wrong("it says so nowhere"))?;
        let mut parts = rest.splitn(3, '+');
        let (Some(name), Some(id), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("expected `PRIVATE+KEY+name+id+base64`"));
        };
        let data = Zeroizing::new(STANDARD.decode(data).map_err(|_| wrong("its last part is not base64"))?);
        let [ED25519, seed @ ..] = data.as_slice() else { return Err(wrong("it is not for Ed25519")) };
        let seed: &[u8; 32] = seed.try_into().map_err(|_| wrong("an Ed25519 seed has 32 bytes"))?;
        let key = Self::from_seed(name, seed)?;
        if format!("{:08x}", key.public().id()) == id {
            Ok(key)
        } else {
            Err(wrong("its number does not fit its name and key"))
        }
    }

    /// The key on one line, as Go's `sumdb/note` writes it, to be kept in a file that nobody else can read.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut data = Zeroizing::new(vec![ED25519]);
        data.extend(self.key.as_bytes());
        let encoded = Zeroizing::new(STANDARD.encode(&*data));
        Zeroizing::new(format!("PRIVATE+KEY+{}+{:08x}+{}\n", self.name, self.public().id(), &*encoded))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// The 64 bytes of the signature of `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// The signature line of a note with this text.
    fn line(&self, text: &str) -> String {
        let mut data = self.public().id().to_be_bytes().to_vec();
        data.extend(self.sign(text.as_bytes()));
        format!("{MARK}{} {}\n", self.name, STANDARD.encode(data))
    }
}

/// One signature of a note, of whatever type.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NoteSignature {
    name: String,
    id: u32,
    bytes: Vec<u8>,
}

/// A note as it was read: nothing in it is to be believed before [`Note::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// Signs `text`, which must end with a line feed and hold no other control character.
    pub fn sign(text: &str, keys: &[&SecretKey]) -> String {
        debug_assert!(text.ends_with('\n') && !text.contains(|character: char| character < ' ' && character != '\n'));
        let lines: String = keys.iter().map(|key| key.line(text)).collect();
        format!("{text}\n{lines}")
    }

    /// Takes a note apart.
    ///
    /// # Errors
    ///
    /// It is not text, a blank line and at least one well-formed signature line.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong(note.len()));
        }
        let line_of = |offset: usize| note[..offset].bytes().filter(|byte| *byte == b'\n').count() + 1;
        let malformed = |offset, what| NoteError::Malformed { line: line_of(offset), what };
        if let Some(offset) = note.find(|character: char| character < ' ' && character != '\n') {
            return Err(malformed(offset, "a control character"));
        }
        let blank = note.rfind("\n\n").ok_or_else(|| malformed(note.len(), "no blank line before the signatures"))?;
        let (text, lines) = (&note[..=blank], &note[blank + 2..]);
        if !lines.ends_with('\n') {
            return Err(malformed(note.len(), "no line feed at the end"));
        }
        let mut offset = blank + 2;
        let mut signatures = Vec::new();
        for line in lines.split_terminator('\n') {
            let wrong = || malformed(offset, "expected `\u{2014} name base64`");
            let (name, data) = line.strip_prefix(MARK).and_then(|rest| rest.split_once(' ')).ok_or_else(wrong)?;
            let name = checked_name(name).map_err(|_| wrong())?;
            let data = STANDARD.decode(data).map_err(|_| wrong())?;
            let (id, bytes) = data.split_first_chunk::<4>().filter(|(_, rest)| !rest.is_empty()).ok_or_else(wrong)?;
            if signatures.len() == SIGNATURES_MAX {
                return Err(malformed(offset, "more signatures than a note may have"));
            }
            signatures.push(NoteSignature {
                name: name.to_owned(),
                id: u32::from_be_bytes(*id),
                bytes: bytes.to_vec(),
            });
            offset += line.len() + 1;
        }
        if signatures.is_empty() {
            return Err(malformed(note.len(), "no signature"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The text and the known keys that signed it. Signatures by others are ignored.
    ///
    /// # Errors
    ///
    /// A signature by a known key does not hold, or none is by a known key.
    pub fn verify<'a>(&self, known: &'a [PublicKey]) -> Result<(&str, Vec<&'a PublicKey>), NoteError> {
        let mut signers: Vec<&PublicKey> = Vec::new();
        for signature in &self.signatures {
            let Some(key) = known.iter().find(|key| key.name == signature.name && key.id() == signature.id) else {
                continue;
            };
            if !key.verifies(self.text.as_bytes(), &signature.bytes) {
                return Err(NoteError::WrongSignature(signature.name.clone()));
            }
            if !signers.contains(&key) {
                signers.push(key);
            }
        }
        if signers.is_empty() { Err(NoteError::NotSigned(self.signatures.len())) } else { Ok((&self.text, signers)) }
    }

    /// Each signature's name, number and bytes.
    pub(crate) fn signatures(&self) -> impl Iterator<Item = (&str, u32, &[u8])> {
        self.signatures.iter().map(|signature| (signature.name.as_str(), signature.id, signature.bytes.as_slice()))
    }

    /// The text, which nobody vouches for yet.
    pub fn unverified_text(&self) -> &str {
        &self.text
    }
}
