//! Cosignatures (C2SP tlog-cosignature, Ed25519): what a witness signs when it has seen that a ledger only grew, and who
//! signs it ([`Witness`]).

mod keeper;
mod recorded;

pub use keeper::{Accepted, Witness, WitnessError};
pub use recorded::{Cosignatures, with_cosignatures};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::note::{Note, NoteError, PublicKey, SecretKey};

/// The byte that says "a timestamped cosignature".
const COSIGNATURE: u8 = 4;

/// Bytes of the time before the signature proper.
const TIME_BYTES: usize = 8;

fn message(seconds: u64, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {seconds}\n{text}").into_bytes()
}

/// A witness's public key as C2SP tlog-cosignature writes it: for signatures of type 4.
pub fn key_text(key: &PublicKey) -> String {
    key.text_of_type(COSIGNATURE)
}

/// Reads what [`key_text`] writes; the same key written for plain notes will do too.
///
/// # Errors
///
/// It is something else.
pub fn parse_key(text: &str) -> Result<PublicKey, NoteError> {
    PublicKey::parse_of_types(text, &[COSIGNATURE, 1])
}

/// The signature line with which a witness vouches, at `seconds` since 1970, for a checkpoint's text.
pub fn cosign(key: &SecretKey, text: &str, seconds: u64) -> String {
    let public = key.public();
    let mut data = public.id_of_type(COSIGNATURE).to_be_bytes().to_vec();
    data.extend(seconds.to_be_bytes());
    data.extend(key.sign(&message(seconds, text)));
    format!("\u{2014} {} {}\n", public.name(), STANDARD.encode(data))
}

/// The known witnesses whose cosignatures of this checkpoint hold, each with its time in seconds; none where the note is
/// malformed or a known witness's signature is wrong.
pub fn cosigners<'a>(note: &str, known: &'a [PublicKey]) -> Option<Vec<(&'a PublicKey, u64)>> {
    let note = Note::parse(note).ok()?;
    let text = note.unverified_text();
    let mut found: Vec<(&PublicKey, u64)> = Vec::new();
    for (name, id, bytes) in note.signatures() {
        let is_key = |key: &&PublicKey| key.name() == name && key.id_of_type(COSIGNATURE) == id;
        let Some(key) = known.iter().find(is_key) else { continue };
        let (time, signature) = bytes.split_first_chunk::<TIME_BYTES>()?;
        let seconds = u64::from_be_bytes(*time);
        if !key.verifies(&message(seconds, text), signature) {
            return None;
        }
        if !found.iter().any(|(known, _)| *known == key) {
            found.push((key, seconds));
        }
    }
    Some(found)
}

/// The cosignature of this witness on a note, as it stands on its line; none where it has not signed. Nothing is checked.
pub fn signature_of(note: &str, key: &PublicKey) -> Option<String> {
    let note = Note::parse(note).ok()?;
    let is_key = |(name, id, _): &(&str, u32, &[u8])| key.name() == *name && key.id_of_type(COSIGNATURE) == *id;
    let (_, id, bytes) = note.signatures().find(is_key)?;
    Some(STANDARD.encode([id.to_be_bytes().as_slice(), bytes].concat()))
}

#[cfg(test)]
mod tests {
    use super::{cosign, cosigners, key_text, parse_key};
    use crate::checkpoint::Checkpoint;
    use crate::hash::Hash;
    use crate::note::{PublicKey, SecretKey};

    #[test]
    fn a_cosignature_belongs_to_one_checkpoint() {
        let key = SecretKey::from_seed("example.com/log", &[1; 32]).unwrap();
        let witness = SecretKey::from_seed("witness.example.com/w1", &[2; 32]).unwrap();
        let head = Checkpoint { origin: "example.com/log".to_owned(), size: 3, root: Hash::of(b"x") };
        let note = head.sign(&[&key]) + &cosign(&witness, &head.to_string(), 1_679_315_147);
        let known: Vec<PublicKey> = vec![parse_key(&key_text(&witness.public())).unwrap()];
        assert_eq!(known, [witness.public()]);
        assert!(PublicKey::parse(&key_text(&known[0])).is_err(), "a witness is no ledger");
        let found = cosigners(&note, &known).unwrap();
        assert_eq!(found, [(&known[0], 1_679_315_147)]);
        // The ledger's own signature is still the only one that makes it a checkpoint of the ledger.
        assert_eq!(Checkpoint::verify(&note, &[key.public()]).unwrap(), head);
        assert!(Checkpoint::verify(&note, &known).is_err());
        let other = Checkpoint { size: 4, ..head };
        let moved = note.replacen(&note[..=note.find("\n\n").unwrap()], &other.to_string(), 1);
        assert_eq!(cosigners(&moved, &known), None);
    }
}
