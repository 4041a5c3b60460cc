//! Times as sums of terms, each an ideal time divided by an efficiency.

use super::efficiency::{Efficiencies, Place};
use super::resource::{Kernel, Resource};

/// Terms that run at the same time are joined by this norm: the larger nearly decides, and where
/// both are alike neither hides the other whole.
const OVERLAP_NORM: i32 = 3;

/// Which overall factor applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A pass over few tokens.
    Decode,
    /// A pass over many.
    Prefill,
}

/// One cause of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// Time at full efficiency, in seconds.
    pub ideal: f64,
    /// What takes it.
    pub resource: Resource,
    /// With which kernel.
    pub kernel: Kernel,
    /// Where: an index into [`Cost::places`].
    pub place: u8,
    /// Of which phase.
    pub phase: Phase,
    /// Terms of one group run at the same time; 0 is no group.
    pub overlap: u16,
    /// A second efficiency that scales the whole term (queueing, interference).
    pub scaled_by: Option<Resource>,
}

/// A time, as the sum of its causes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// Where terms run.
    pub places: Vec<Place>,
    /// The causes.
    pub terms: Vec<Term>,
    overlaps: u16,
}

impl Term {
    /// Everything that divides its ideal time.
    pub fn efficiencies(&self) -> impl Iterator<Item = (Resource, Kernel)> {
        let overall = match self.phase {
            Phase::Decode => Resource::OverallDecode,
            Phase::Prefill => Resource::OverallPrefill,
        };
        let scaled = self.scaled_by.map(|by| (by, Kernel::Any));
        [(self.resource, self.kernel), (overall, Kernel::Any)].into_iter().chain(scaled)
    }
}

impl Cost {
    /// An empty sum over these places.
    pub fn new(places: Vec<Place>) -> Self {
        Self { places, terms: Vec::with_capacity(24), overlaps: 0 }
    }

    /// A new group of terms that run at the same time.
    pub fn overlap(&mut self) -> u16 {
        self.overlaps += 1;
        self.overlaps
    }

    /// Adds a term that takes any time at all.
    pub fn push(&mut self, term: Term) {
        if term.ideal > 0.0 {
            self.terms.push(term);
        }
    }

    /// Every term `factor` times as long.
    pub fn scale(&mut self, factor: f64) {
        for term in &mut self.terms {
            term.ideal *= factor;
        }
    }

    /// Adds `factor` times a cost over other places, which become places of this one.
    pub fn append(&mut self, other: &Self, factor: f64) {
        let (at, shift) = (self.places.len(), self.overlaps);
        self.places.extend_from_slice(&other.places);
        self.overlaps += other.overlaps;
        for term in &other.terms {
            let place = u8::try_from(usize::from(term.place) + at).unwrap_or(u8::MAX);
            let overlap = if term.overlap == 0 { 0 } else { term.overlap + shift };
            self.push(Term { ideal: term.ideal * factor, place, overlap, ..*term });
        }
    }

    /// Adds `factor` times another cost over the same places, scaled by a further efficiency if asked.
    pub fn add(&mut self, other: &Self, factor: f64, scaled_by: Option<Resource>) {
        let shift = self.overlaps;
        self.overlaps += other.overlaps;
        for term in &other.terms {
            let overlap = if term.overlap == 0 { 0 } else { term.overlap + shift };
            let scaled_by = scaled_by.or(term.scaled_by);
            self.push(Term { ideal: term.ideal * factor, overlap, scaled_by, ..*term });
        }
    }

    /// Seconds of each term by itself.
    pub fn each(&self, efficiencies: &Efficiencies) -> Vec<f64> {
        self.each_with(&mut Slowdowns::new(efficiencies))
    }

    fn each_with(&self, slowdowns: &mut Slowdowns<'_>) -> Vec<f64> {
        self.terms.iter().map(|term| term.ideal * slowdowns.of(&self.places, term)).collect()
    }

    /// The time in seconds.
    pub fn seconds(&self, efficiencies: &Efficiencies) -> f64 {
        self.seconds_with(&mut Slowdowns::new(efficiencies))
    }

    /// The time in seconds, with what was looked up for other costs over the same places.
    pub(super) fn seconds_with(&self, slowdowns: &mut Slowdowns<'_>) -> f64 {
        let mut groups = Groups::with_capacity(8);
        sum(&self.each_with(slowdowns), &|index| self.terms[index].overlap, &mut groups)
    }

    /// The time in seconds, and the share of it that moves with each term.
    pub fn shares(&self, efficiencies: &Efficiencies) -> (f64, Vec<f64>) {
        joined(&self.each(efficiencies), |index| self.terms[index].overlap)
    }
}

/// What ideal times are multiplied by: the reciprocal of everything that divides them. Terms of one
/// kind share theirs, and one projection has few kinds and many terms.
#[derive(Debug)]
pub(super) struct Slowdowns<'a> {
    efficiencies: &'a Efficiencies,
    known: Vec<(Kind, f64)>,
    overall: Vec<((u8, Resource), f64)>,
}

/// What decides a term's efficiencies: place, resource, kernel, phase, further efficiency.
type Kind = (u8, Resource, Kernel, Phase, Option<Resource>);

impl<'a> Slowdowns<'a> {
    /// Nothing looked up yet.
    pub(super) fn new(efficiencies: &'a Efficiencies) -> Self {
        Self { efficiencies, known: Vec::with_capacity(48), overall: Vec::with_capacity(4) }
    }

    /// The factor of one term of a cost over `places`.
    fn of(&mut self, places: &[Place], term: &Term) -> f64 {
        let kind = (term.place, term.resource, term.kernel, term.phase, term.scaled_by);
        // A short list is faster than a table.
        if let Some((_, factor)) = self.known.iter().find(|(known, _)| *known == kind) {
            return *factor;
        }
        let place = &places[usize::from(term.place)];
        let scaled = term.scaled_by.map_or(0.0, |by| self.efficiencies.log(place, by, Kernel::Any));
        let overall = self.overall(place, term);
        let log = self.efficiencies.log(place, term.resource, term.kernel) + overall + scaled;
        let factor = (-log).exp();
        self.known.push((kind, factor));
        factor
    }

    /// Terms of one place and phase share their overall factor.
    fn overall(&mut self, place: &Place, term: &Term) -> f64 {
        let resource = match term.phase {
            Phase::Decode => Resource::OverallDecode,
            Phase::Prefill => Resource::OverallPrefill,
        };
        let key = (term.place, resource);
        if let Some((_, log)) = self.overall.iter().find(|(known, _)| *known == key) {
            return *log;
        }
        let log = self.efficiencies.log(place, resource, Kernel::Any);
        self.overall.push((key, log));
        log
    }
}

/// Groups of terms that run at the same time, and how long each takes: few, in runs, so a short
/// list is faster than a table.
type Groups = Vec<(u16, f64)>;

/// The whole of terms that take `each` by themselves.
fn sum(each: &[f64], overlap: &impl Fn(usize) -> u16, groups: &mut Groups) -> f64 {
    let mut sum = 0.0;
    for (index, seconds) in each.iter().enumerate() {
        match overlap(index) {
            0 => sum += seconds,
            group => match groups.iter_mut().find(|(own, _)| *own == group) {
                Some((_, power)) => *power += seconds.powi(OVERLAP_NORM),
                None => groups.push((group, seconds.powi(OVERLAP_NORM))),
            },
        }
    }
    for (_, power) in groups {
        *power = power.powf(1.0 / f64::from(OVERLAP_NORM));
        sum += *power;
    }
    sum
}

/// The whole of terms that take `each` by themselves, and the share of the whole that moves with
/// each: d ln(whole) / d ln(term).
pub(super) fn joined(each: &[f64], overlap: impl Fn(usize) -> u16) -> (f64, Vec<f64>) {
    let mut groups = Groups::with_capacity(8);
    let sum = sum(each, &overlap, &mut groups);
    let share = |(index, seconds): (usize, &f64)| match overlap(index) {
        0 => seconds / sum,
        // d (sum of t^p)^(1/p) / d ln t = t^p whole^(1-p)
        group => groups
            .iter()
            .find(|(own, _)| *own == group)
            .map_or(0.0, |(_, whole)| seconds.powi(OVERLAP_NORM) * whole.powi(1 - OVERLAP_NORM) / sum),
    };
    let shares = each.iter().enumerate().map(share).collect();
    (sum, shares)
}
