//! Changing the key that signs a ledger.
//!
//! Every step is durable before the next one, and each can be done again:
//!
//! 1. a second key stands in the signer's folder, and both sign from here on;
//! 2. the entry `KeyRotated` names the two;
//! 3. a head that both have signed covers the entry: whoever knows the old key learns the new one from it;
//! 4. the old key is gone, and the new one signs alone.
//!
//! A crash between any two leaves a ledger that is appended to and signed as before. Whoever signs reads the keys under
//! the signer's lock each time: on a server too, where that is whichever process is the sequencer, none signs with one key
//! alone after step 1.

use super::{AppendError, Ledger, Receipt, StoreError, clock_ns};
use crate::checkpoint::Checkpoint;
use crate::event::{Draft, KeyRotated, Sealing};
use crate::note::PublicKey;
use crate::signer::Signer;
use crate::verify::rotation::{SOURCE, SUBJECT};

/// A ledger whose key can be changed.
pub(super) trait Rotating {
    /// Its signer, as it is now.
    fn signer(&self) -> Result<Signer, StoreError>;

    /// Takes note of the keys that sign from now on.
    fn set_keys(&mut self, keys: Vec<PublicKey>);

    /// Appends an event that only the ledger itself may append.
    fn append_sealed(&self, sealing: Sealing) -> Result<Receipt, AppendError>;

    /// The signed head of everything appended so far.
    fn checkpoint(&self) -> Result<String, StoreError>;
}

/// Steps 1 to 3, or what is left of them where a rotation is under way. Returns the new key.
pub(super) fn begin(ledger: &mut impl Rotating, reason: &str) -> Result<PublicKey, StoreError> {
    let signer = ledger.signer()?;
    let (old, new) = signer.lock()?.begin_rotation()?;
    ledger.set_keys(vec![old.clone(), new.clone()]);
    record(ledger, &old, &new, reason)?;
    Ok(new)
}

/// Step 4, once a head that both keys have signed covers the entry. Returns the new key.
pub(super) fn finish(ledger: &mut impl Rotating) -> Result<PublicKey, StoreError> {
    let signer = ledger.signer()?;
    let (old, new) = signer.lock()?.rotation()?;
    record(ledger, &old, &new, "a rotation that was interrupted")?;
    let mut lock = signer.lock()?;
    // Another process may have finished this rotation and begun another one since.
    if lock.rotation()? != (old, new.clone()) {
        return Err(StoreError::Inconsistent("another process rotates the key at the same time".to_owned()));
    }
    lock.finish_rotation()?;
    ledger.set_keys(vec![new.clone()]);
    Ok(new)
}

/// Appends the entry, unless it is there, and has it covered by a head that both keys have signed.
fn record(ledger: &impl Rotating, old: &PublicKey, new: &PublicKey, reason: &str) -> Result<(), StoreError> {
    let rotated = KeyRotated { old: old.to_string(), new: new.to_string(), reason: reason.to_owned() };
    let draft = Draft::new(SOURCE, SUBJECT, rotated).once(format!("rotated {new}"));
    let sealing = draft.seal(clock_ns())?;
    let index = match ledger.append_sealed(sealing) {
        Ok(receipt) => receipt.index,
        // It is there, with another reason.
        Err(AppendError::Conflict { index }) => index,
        Err(error) => return Err(error.into()),
    };
    let note = ledger.checkpoint()?;
    for key in [old, new] {
        let head = Checkpoint::verify(&note, std::slice::from_ref(key));
        if !head.is_ok_and(|head| head.size > index) {
            let what = format!("no head that `{key}` has signed covers entry {index}, which names it");
            return Err(StoreError::Inconsistent(what));
        }
    }
    Ok(())
}

impl Rotating for Ledger {
    fn signer(&self) -> Result<Signer, StoreError> {
        if let Some(fault) = self.fault() {
            return Err(StoreError::ReadOnly(fault));
        }
        Ok(Signer::open(self.signer_folder(), self.origin())?)
    }

    fn set_keys(&mut self, keys: Vec<PublicKey>) {
        Self::set_keys(self, keys);
    }

    fn append_sealed(&self, sealing: Sealing) -> Result<Receipt, AppendError> {
        Self::append_sealed(self, sealing)
    }

    fn checkpoint(&self) -> Result<String, StoreError> {
        Self::checkpoint(self)
    }
}

impl Ledger {
    /// Makes a new key, records it, and signs with both from now on: steps 1 to 3. Where a rotation is under way, it goes
    /// on with that one. Returns the new key, which whoever holds the old one can learn from the ledger.
    ///
    /// # Errors
    ///
    /// The ledger is read-only, or the signer's folder cannot be written. What was done stays, and is gone on with.
    pub fn rotate(&mut self, reason: &str) -> Result<PublicKey, StoreError> {
        begin(self, reason)
    }

    /// Lets the new key sign alone, once a head that both have signed covers the entry that names it: step 4. The old
    /// secret key is kept nowhere. Other processes follow with the next head that they sign.
    ///
    /// # Errors
    ///
    /// No rotation is under way, the ledger is read-only, or the signer's folder cannot be written.
    pub fn finish_rotation(&mut self) -> Result<PublicKey, StoreError> {
        finish(self)
    }
}
