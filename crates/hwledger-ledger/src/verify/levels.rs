//! The levels one by one.

use std::ops::Range;

use super::{Findings, Level, Source};
use crate::event::{Agents, Event, Payload, SchemaRegistered};
use crate::hash::Hash;
use crate::merkle::{Edge, TILE_HASHES, TileName};
use crate::store::StoreError;

/// What the policies begin with under which only data beside the ledger were dropped: they excuse no entry without data.
pub const BLOBS_POLICY: &str = "blobs ";

/// Level 1: every event is the one whose hash is in the tree.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    /// The tile of leaf hashes that entries are being compared with.
    tile: Option<(u64, Vec<Hash>)>,
    findings: Findings,
    checked: u64,
    /// Runs of entries whose data are gone, and those of which an event says so.
    dropped: Vec<Range<u64>>,
    allowed: Vec<Range<u64>>,
    /// Schemas that entries register: the entry, the kind, its version and the hash.
    schemas: Vec<(u64, SchemaRegistered)>,
}

/// Schemas that are compared at most.
const SCHEMAS_MAX: usize = 4096;

impl Leaves {
    /// The leaf hash that the record has for an entry; that of nothing where it has none.
    pub(super) fn stored(&mut self, source: &impl Source, index: u64) -> Result<Hash, StoreError> {
        let wanted = index / TILE_HASHES;
        if self.tile.as_ref().is_none_or(|(known, _)| *known != wanted) {
            let hashes = source.tile(TileName { level: 0, index: wanted })?.unwrap_or_default();
            self.tile = Some((wanted, hashes));
        }
        let hashes = self.tile.as_ref().map_or(&[][..], |(_, hashes)| hashes);
        Ok(hashes.get((index % TILE_HASHES) as usize).copied().unwrap_or_else(Hash::of_empty_tree))
    }

    /// Compares an entry with its hash in the tree, which comes back.
    pub(super) fn check(&mut self, source: &impl Source, index: u64, bytes: Option<&[u8]>) -> Result<Hash, StoreError> {
        let stored = self.stored(source, index)?;
        match bytes {
            None => match self.dropped.last_mut().filter(|run| run.end == index) {
                Some(run) => run.end = index + 1,
                None => self.dropped.push(index..index + 1),
            },
            Some(bytes) => {
                self.checked += 1;
                if Hash::of_leaf(bytes) != stored {
                    self.findings.add(Some(index), format!("entry {index} is not the one whose hash was recorded"));
                }
            }
        }
        Ok(stored)
    }

    /// Whether there is any hash where [`Leaves::stored`] looked last.
    pub(super) fn has_tile(&self) -> bool {
        self.tile.as_ref().is_some_and(|(_, hashes)| !hashes.is_empty())
    }

    pub(super) fn missing_all(&mut self, start: u64, end: u64) {
        let what = format!("entries {start} to {} are missing, and so are their hashes", end - 1);
        self.findings.add(Some(start), what);
    }

    pub(super) fn misplaced(&mut self, index: u64) {
        self.findings.add(Some(index), format!("entry {index} comes where it does not belong"));
    }

    pub(super) fn missing(&mut self, index: u64) {
        self.findings.add(Some(index), format!("entry {index} is missing"));
    }

    /// Takes note of an event that says which data were dropped.
    pub(super) fn check_retention(&mut self, bytes: &[u8]) {
        if !contains(bytes, b"\"type\":\"RetentionApplied\"") {
            return;
        }
        let payload = Event::parse(bytes).ok().and_then(|event| event.payload().ok().flatten());
        if let Some(Payload::RetentionApplied(applied)) = payload
            && !applied.policy.starts_with(BLOBS_POLICY)
        {
            self.allowed.push(applied.start.0..applied.end.0);
        }
    }

    /// Takes note of an event that registers a schema.
    pub(super) fn find_schema(&mut self, index: u64, bytes: &[u8]) {
        if self.schemas.len() == SCHEMAS_MAX || !contains(bytes, b"\"type\":\"SchemaRegistered\"") {
            return;
        }
        let payload = Event::parse(bytes).ok().and_then(|event| event.payload().ok().flatten());
        if let Some(Payload::SchemaRegistered(registered)) = payload {
            self.schemas.push((index, registered));
        }
    }

    /// Compares the schemas that lie beside the entries with those that were registered.
    pub(super) fn check_schemas(&mut self, source: &impl Source) -> Result<(), StoreError> {
        for (index, registered) in &self.schemas {
            let SchemaRegistered { kind, version, schema } = registered;
            if source.schema(kind, version.0)?.is_some_and(|found| found != *schema) {
                let what = format!(
                    "the schema of version {} of `{kind}` is not the one that entry {index} registered",
                    version.0
                );
                self.findings.add(Some(*index), what);
            }
        }
        Ok(())
    }

    pub(super) fn level(mut self, size: u64) -> Level {
        let mut count = 0;
        for run in &self.dropped {
            count += run.end - run.start;
            // Policies are applied from the first entry on: one event covers a run or none does.
            if !self.allowed.iter().any(|allowed| allowed.start <= run.start && run.end <= allowed.end) {
                let (first, last) = (run.start, run.end - 1);
                let what =
                    format!("the data of entries {first} to {last} are gone, and no event says that they were dropped");
                self.findings.add(Some(first), what);
            }
        }
        let dropped = match count {
            0 => String::new(),
            count => format!("; the data of {count} were dropped under a retention policy"),
        };
        let detail = format!("{} of {size} entries{dropped}", self.checked);
        self.findings.level(1, "every entry has the hash that was recorded for it", detail)
    }
}

/// Level 2: the hashes make the tree that is stored.
#[derive(Debug, Default)]
pub(super) struct TreeWalk {
    edge: Edge,
    findings: Findings,
    tiles: u64,
    failure: Option<StoreError>,
}

impl TreeWalk {
    pub(super) fn push(&mut self, source: &impl Source, leaf: Hash) {
        let Self { edge, findings, tiles, failure } = self;
        edge.push(leaf, |name, hashes| {
            *tiles += 1;
            // Leaf hashes came from the tile itself; what is above them is what they must lead to.
            if name.level > 0 {
                match source.tile(name) {
                    Ok(Some(stored)) if stored == hashes => {}
                    Ok(_) => differs(findings, name),
                    Err(error) => *failure = Some(error),
                }
            }
        });
    }

    pub(super) fn root(&self) -> Hash {
        self.edge.root()
    }

    pub(super) fn level(mut self, source: &impl Source, size: u64) -> Result<Level, StoreError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        for (name, hashes) in self.edge.partial_tiles() {
            self.tiles += 1;
            let stored = source.tile(name)?.unwrap_or_default();
            // A tile that holds more than its tree is one that was cut back.
            if stored != hashes {
                differs(&mut self.findings, name);
            }
        }
        if self.edge.size() != size {
            self.findings.add(Some(size), format!("{} entries were found, and {size} are claimed", self.edge.size()));
        }
        let beyond = TileName { level: 0, index: size.div_ceil(TILE_HASHES) };
        if source.tile(beyond)?.is_some() {
            let what = format!("the tree goes on where the entries end, at {size}: the last ones are missing");
            self.findings.add(Some(size), what);
        }
        let detail = format!("{} tiles, root {}", self.tiles, self.edge.root());
        Ok(self.findings.level(2, "the hashes make the tree that is stored", detail))
    }
}

fn differs(findings: &mut Findings, name: TileName) {
    let span = TILE_HASHES.saturating_pow(name.level + 1);
    let first = name.index.saturating_mul(span);
    let what = format!(
        "tile {} of level {} is not what entries {first} to {} lead to",
        name.index,
        name.level,
        first.saturating_add(span) - 1
    );
    findings.add(Some(first), what);
}

/// Level 6: signatures of machines. Most entries have none, and are not even parsed.
pub(super) fn check_agent(agents: &mut Agents, findings: &mut Findings, index: u64, bytes: &[u8]) {
    // In canonical bytes neither text can stand inside a string, whose quotes are escaped.
    let is_signed = contains(bytes, b"\"agent\":{");
    let is_enrolment = contains(bytes, b"\"type\":\"AgentEnrolled\"");
    if !is_signed && !is_enrolment {
        return;
    }
    let Ok(event) = Event::parse(bytes) else {
        findings.add(Some(index), format!("entry {index} cannot be read"));
        return;
    };
    if let Err(error) = agents.check(&event) {
        findings.add(Some(index), format!("entry {index}: {error}"));
    }
    if let Ok(Some(Payload::AgentEnrolled(enrolled))) = event.payload()
        && let Err(error) = agents.enrol(&enrolled.agent, &enrolled.key)
    {
        findings.add(Some(index), format!("entry {index}: {error}"));
    }
}

pub(crate) fn contains(bytes: &[u8], pattern: &[u8]) -> bool {
    let first = pattern[0];
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        rest = &rest[at..];
        if rest.starts_with(pattern) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}
