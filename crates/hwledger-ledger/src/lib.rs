//! A record of what was predicted and what happened that anyone can check: append-only, typed, signed.
//!
//! An [`event`] is written once, in one canonical spelling. Its bytes are a leaf of one Merkle tree ([`merkle`], RFC
//! 6962). The tree's root is signed from time to time ([`checkpoint`], C2SP tlog-checkpoint) by a key that never signs
//! two histories ([`signer`]). From these follow proofs that need nothing but a public key ([`proof_file`], C2SP
//! tlog-proof), records as plain files ([`bundle`], C2SP tlog-tiles), and their verification level by level
//! ([`verify`]). The [`store`] keeps it all durably; what is often asked of it is kept ready as [`projection`]s.
//!
//! What no record can show by itself is that it was not replaced as a whole: for that somebody else must hold a
//! checkpoint. The more places hold one ([`witness`]), the less anyone needs to be trusted.

pub mod bundle;
pub mod canonical;
pub mod checkpoint;
pub mod event;
pub mod hash;
pub mod merkle;
pub mod note;
pub mod projection;
pub mod proof_file;
pub mod signer;
pub mod store;
pub mod vault;
pub mod verify;
pub mod witness;
