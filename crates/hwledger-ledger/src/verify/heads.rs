//! Levels 3 and 4: signed heads, the record's own and those held elsewhere.

use super::rotation::{Rotation, Trust};
use super::{Findings, Level, VerifyOptions, not_checked};
use crate::checkpoint::Checkpoint;
use crate::hash::Hash;
use crate::note::Note;
use crate::witness::Cosignatures;

/// A head as it was given, and whether the record has its root. Nobody vouches for it yet.
#[derive(Debug)]
pub(super) struct Head {
    /// Its name in messages.
    pub(super) name: String,
    pub(super) note: String,
    /// What its text says; none where it says nothing that can be read.
    claim: Option<Checkpoint>,
    /// The size that the record keeps it under.
    kept_for: Option<u64>,
    /// Whether the record has this root at this size; none where it never has this size.
    fits: Option<bool>,
}

impl Head {
    fn new(name: String, note: &str, kept_for: Option<u64>) -> Self {
        let parsed = Note::parse(note).ok();
        let claim = parsed.and_then(|note| Checkpoint::parse_text(note.unverified_text()).ok());
        Self { name, note: note.to_owned(), claim, kept_for, fits: None }
    }

    /// The entries that it is of; what cannot be read comes last.
    fn size(&self) -> u64 {
        self.claim.as_ref().map_or(u64::MAX, |claim| claim.size)
    }

    /// The entries that it vouches for, if its signature does.
    pub(super) fn fitting_size(&self) -> Option<u64> {
        self.fits.filter(|fits| *fits).map(|_| self.size())
    }
}

/// Every head that was given, by size.
#[derive(Debug)]
pub(super) struct Heads {
    pub(super) own: Vec<Head>,
    pub(super) held: Vec<Head>,
    next: (usize, usize),
}

/// Compares the heads of this size that come next.
fn compare(heads: &mut [Head], next: &mut usize, size: u64, root: &impl Fn() -> Hash) {
    while let Some(head) = heads.get_mut(*next).filter(|head| head.size() == size) {
        head.fits = head.claim.as_ref().map(|claim| claim.root == root());
        *next += 1;
    }
}

impl Heads {
    pub(super) fn new(own: &[(u64, String)], options: &VerifyOptions) -> Self {
        let named =
            |(size, note): &(u64, String)| Head::new(format!("the checkpoint of {size} entries"), note, Some(*size));
        let mut own: Vec<Head> = own.iter().map(named).collect();
        let mut held: Vec<Head> = options.held.iter().map(|(name, note)| Head::new(name.clone(), note, None)).collect();
        own.sort_by_key(Head::size);
        held.sort_by_key(Head::size);
        Self { own, held, next: (0, 0) }
    }

    /// Compares the heads of this size; `root` is asked only where there are any.
    pub(super) fn at(&mut self, size: u64, root: impl Fn() -> Hash) {
        compare(&mut self.own, &mut self.next.0, size, &root);
        compare(&mut self.held, &mut self.next.1, size, &root);
    }

    /// The keys that are trusted, given these changes of keys.
    pub(super) fn trust(&self, options: &VerifyOptions, rotations: &[Rotation]) -> Trust {
        let mut trust = Trust::new(&options.keys);
        if options.follow_rotations {
            trust.follow(rotations, self);
        }
        trust
    }

    /// What the heads say of a record of `size` entries, in which these changes of keys were found.
    pub(super) fn levels(self, size: u64, options: &VerifyOptions, rotations: &[Rotation]) -> (Level, Level) {
        let trust = self.trust(options, rotations);
        (self.signed(size, options, &trust), self.held(size, options, &trust))
    }

    /// What witnesses say: how far enough of them have seen the record. Their signatures stand on the heads, or in entries.
    pub(super) fn witnessed(&self, size: u64, options: &VerifyOptions, cosignatures: &Cosignatures) -> Level {
        if options.witnesses.is_empty() {
            return not_checked(5, WITNESSED_CLAIM, "no witness's key was given");
        }
        let (known, needed) = (options.witnesses.len(), options.witnesses_needed.max(1));
        let mut findings = Findings::default();
        let mut most = 0;
        let mut enough = None;
        for head in &self.own {
            let Some(vouched) = head.fitting_size() else { continue };
            let note = cosignatures.on(vouched, &head.note);
            let Some(signed) = crate::witness::cosigners(&note, &options.witnesses) else {
                let what = format!("{}: the signature of a known witness does not belong to it", head.name);
                findings.add(Some(vouched), what);
                continue;
            };
            most = most.max(signed.len());
            if signed.len() >= needed {
                enough = Some((vouched, signed.len()));
            }
        }
        let detail = if let Some((to, count)) = enough {
            let after = if to < size { format!("; {} entries came later", size - to) } else { String::new() };
            format!("{count} of {known} witnesses signed the checkpoint of {to} entries{after}")
        } else {
            findings.add(None, format!("{most} of {known} known witnesses signed; {needed} are needed"));
            format!("{most} of {known} witnesses")
        };
        findings.level(5, WITNESSED_CLAIM, detail)
    }

    fn signed(&self, size: u64, options: &VerifyOptions, trust: &Trust) -> Level {
        if options.keys.is_empty() {
            return not_checked(3, SIGNED_CLAIM, "no public key was given");
        }
        if self.own.is_empty() {
            return not_checked(3, SIGNED_CLAIM, "the record has no checkpoint");
        }
        let mut findings = Findings::default();
        // The longest head that fits.
        let mut sound_to = None;
        for Head { name, note, kept_for, fits, .. } in &self.own {
            let kept_for = kept_for.unwrap_or_default();
            match (trust.verify(note), fits) {
                (Err(error), _) => findings.add(Some(kept_for), format!("{name}: {error}")),
                (Ok(checkpoint), _) if checkpoint.size != kept_for => {
                    let what = format!("the checkpoint kept for {kept_for} entries is of {}", checkpoint.size);
                    findings.add(Some(kept_for), what);
                }
                (Ok(_), Some(true)) => sound_to = Some(kept_for),
                (Ok(_), Some(false)) => {
                    let (from, to) = (sound_to.unwrap_or(0), kept_for.saturating_sub(1));
                    let what = format!(
                        "{name} has another root: something among entries {from} to {to} is not what was signed"
                    );
                    findings.add(Some(from), what);
                }
                (Ok(_), None) => {
                    let what = format!("{name} is there, and only {size} entries are: the last ones are missing");
                    findings.add(Some(size), what);
                }
            }
        }
        let count = self.own.len();
        let detail = match sound_to {
            Some(to) if to == size => format!("{count} checkpoints, the last one of all entries"),
            Some(to) => format!("{count} checkpoints; the last {} entries are not signed yet", size - to),
            None => format!("{count} checkpoints, none of which fits"),
        };
        findings.level(3, SIGNED_CLAIM, detail + &trust.introductions())
    }

    fn held(&self, size: u64, options: &VerifyOptions, trust: &Trust) -> Level {
        if self.held.is_empty() {
            let why =
                "no checkpoint held elsewhere was given; without one nobody can see that a whole record was replaced";
            return not_checked(4, HELD_CLAIM, why);
        }
        if options.keys.is_empty() {
            return not_checked(4, HELD_CLAIM, "no public key was given");
        }
        let mut findings = Findings::default();
        for Head { name, note, fits, .. } in &self.held {
            match (trust.verify(note), fits) {
                (Err(error), _) => findings.add(None, format!("{name}: {error}")),
                (Ok(_), Some(true)) => {}
                (Ok(Checkpoint { size, .. }), Some(false)) => {
                    let what = format!(
                        "{name}: the first {size} entries are not those that it was signed for: another history"
                    );
                    findings.add(Some(0), what);
                }
                (Ok(checkpoint), None) => {
                    let signed = checkpoint.size;
                    let what = format!("{name}: signed for {signed} entries, and only {size} are here: rolled back");
                    findings.add(Some(size), what);
                }
            }
        }
        findings.level(4, HELD_CLAIM, format!("{} checkpoints", self.held.len()))
    }
}

const SIGNED_CLAIM: &str = "the roots are those that the ledger's key signed";
const WITNESSED_CLAIM: &str = "enough witnesses have seen the record grow";
const HELD_CLAIM: &str = "the record continues every checkpoint that is held elsewhere";
