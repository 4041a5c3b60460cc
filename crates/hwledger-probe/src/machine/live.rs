//! This machine, or the recorded tree of another.

use std::path::Path;

use super::collect::Collector;
use super::device::{DeviceSnapshot, Host, Note, Snapshot};
use super::linux::drm::{self, Card, Dialect};
use super::linux::fdinfo::Clients;
use super::linux::host;
use super::linux::tree::Tree;
use super::rate::Rates;
use super::{notes, nvidia};

/// A machine that is read: its devices are found once, when this is made.
#[derive(Debug)]
pub struct Machine {
    tree: Tree,
    is_live: bool,
    facts: Host,
    cards: Vec<Card>,
    nvidia: nvidia::Nvidia,
    #[cfg(target_os = "macos")]
    apple: super::apple::Apple,
    clients: Clients,
    rates: Rates,
    notes: Vec<Note>,
}

impl Machine {
    /// The machine that this runs on.
    pub fn local() -> Self {
        Self::new(Path::new("/"), true, nvidia::Nvidia::open())
    }

    /// A tree with the files of another machine under `root`, `root/proc` and `root/sys`.
    pub fn recorded(root: &Path) -> Self {
        Self::new(root, false, nvidia::Nvidia::absent("a recorded tree has no libraries"))
    }

    fn new(root: &Path, is_live: bool, nvidia: nvidia::Nvidia) -> Self {
        let tree = Tree::new(root);
        let cards = drm::cards(&tree, nvidia.addresses());
        let notes = notes::of(&tree, &cards, &nvidia, is_live);
        let facts = host::facts(&tree);
        Self {
            tree,
            is_live,
            facts,
            cards,
            nvidia,
            #[cfg(target_os = "macos")]
            apple: super::apple::Apple::open(is_live),
            clients: Clients::default(),
            rates: Rates::default(),
            notes,
        }
    }

    /// Reads everything. `at_ns` is now, in nanoseconds since 1970.
    pub fn snapshot(&mut self, at_ns: u64) -> Snapshot {
        let mut collector = Collector::new(at_ns);
        #[cfg_attr(not(target_os = "macos"), expect(unused_mut, reason = "only there is something added"))]
        let mut notes = self.notes.clone();
        #[cfg(target_os = "macos")]
        if self.is_live {
            let missing = self.apple.host(&mut self.rates, &mut collector);
            notes.extend(missing.map(|text| Note { source: "IOReport".to_owned(), text }));
        }
        if cfg!(target_os = "linux") || !self.is_live {
            host::read(&self.tree, self.is_live, &mut self.rates, &mut collector);
        }
        if self.cards.iter().any(|card| card.dialect != Dialect::Unknown) {
            self.clients.refresh(&self.tree, at_ns);
        }
        let mut devices: Vec<DeviceSnapshot> = self.nvidia.read(&mut self.rates, at_ns);
        for card in &self.cards {
            devices.push(drm::read(&self.tree, card, &self.clients, &mut self.rates, at_ns));
        }
        #[cfg(target_os = "macos")]
        devices.extend(self.apple.read(&mut self.rates));
        devices.sort_by(|first, second| first.device.id.cmp(&second.device.id));
        let host = Host { readings: collector.finish(), ..self.facts.clone() };
        let mut snapshot = Snapshot { taken_at_ns: at_ns, host, devices, notes };
        snapshot.make_plain();
        snapshot
    }
}
