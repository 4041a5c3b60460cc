//! What processes hold of graphics devices, and how long they kept them busy: the kernel's "usage stats", one text for
//! each open device file under `/proc/<process>/fdinfo`.

use std::collections::BTreeMap;

use super::drm::Card;
use super::tree::Tree;
use crate::machine::collect::{Collector, Missing};
use crate::machine::metric;
use crate::machine::rate::Rates;

/// Processes, open files of one process, and open device files that are looked at.
const PROCESSES_MAX: usize = 32_768;
const FILES_MAX: usize = 4096;
const CLIENTS_MAX: usize = 512;
/// Processes of one device that are told apart, the largest first.
const SHOWN_MAX: usize = 64;
/// Looking through every open file of every process takes long; in between, only files found then are read.
const SEARCH_EVERY_NS: u64 = 10_000_000_000;

/// Where all of this is.
pub(crate) const SOURCE: &str = "/proc/*/fdinfo";

/// A share of time and when it was computed, or why there is none.
pub(crate) type Share = Result<(f64, u64), Missing>;

/// One open device file, as its driver describes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Client {
    process: u32,
    address: String,
    /// Tells apart what a process opened twice from what it only duplicated.
    number: u64,
    /// Bytes in the device's own memory.
    memory: Option<f64>,
    /// For each engine: how long it was busy, and the clock to compare that with (none: nanoseconds).
    engines: BTreeMap<String, (f64, Option<f64>)>,
}

/// Every client of every device.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    /// Process and number of each file that is one of a device.
    files: Vec<(u32, String)>,
    searched_at_ns: Option<u64>,
    open: Vec<Client>,
}

impl Clients {
    /// Reads all clients anew.
    pub(crate) fn refresh(&mut self, tree: &Tree, at_ns: u64) {
        if self.searched_at_ns.is_none_or(|searched| at_ns.saturating_sub(searched) >= SEARCH_EVERY_NS) {
            self.files = search(tree);
            self.searched_at_ns = Some(at_ns);
        }
        self.open.clear();
        for (process, file) in &self.files {
            let Ok(text) = tree.text(&format!("/proc/{process}/fdinfo/{file}")) else { continue };
            let Some(client) = client(*process, &text) else { continue };
            let is_known =
                self.open.iter().any(|known| known.address == client.address && known.number == client.number);
            if !is_known {
                self.open.push(client);
            }
        }
    }

    fn of<'clients>(&'clients self, address: &'clients str) -> impl Iterator<Item = &'clients Client> {
        self.open.iter().filter(move |client| client.address == address)
    }

    /// Bytes that all processes hold in a device's own memory.
    pub(crate) fn memory(&self, address: &str) -> Result<f64, Missing> {
        let held: Vec<f64> = self.of(address).filter_map(|client| client.memory).collect();
        if held.is_empty() {
            return Err(Missing::absent("no process that may be looked into uses the device"));
        }
        Ok(held.iter().sum())
    }

    /// Memory of each process, and how busy each engine was; how busy the busiest was comes back.
    pub(crate) fn read(&self, card: &Card, rates: &mut Rates, collector: &mut Collector) -> Share {
        let mut held: BTreeMap<u32, f64> = BTreeMap::new();
        for client in self.of(card.address()) {
            if let Some(memory) = client.memory {
                *held.entry(client.process).or_default() += memory;
            }
        }
        let mut held: Vec<(u32, f64)> = held.into_iter().collect();
        held.sort_by(|first, second| second.1.total_cmp(&first.1));
        for (process, memory) in held.into_iter().take(SHOWN_MAX) {
            let process = process.to_string();
            let source = format!("/proc/{process}/fdinfo");
            collector.measured(metric::PROCESS_DEVICE_MEMORY, &[("process", &process)], &source, Ok(memory));
        }
        let mut busiest: Share = Err(Missing::absent("no process that may be looked into uses the device"));
        for (engine, found) in self.shares(card, rates, collector.at_ns()) {
            collector.held(metric::DEVICE_ENGINE_UTILIZATION, &[("engine", &engine)], SOURCE, found.clone());
            let is_more = match (&busiest, &found) {
                (Ok((best, _)), Ok((share, _))) => share > best,
                (Err(_), _) => true,
                (Ok(_), Err(_)) => false,
            };
            if is_more {
                busiest = found;
            }
        }
        busiest
    }

    /// For each engine, the share of time in which any client kept it busy.
    fn shares(&self, card: &Card, rates: &mut Rates, at_ns: u64) -> BTreeMap<String, Share> {
        let mut sums: BTreeMap<String, Share> = BTreeMap::new();
        for client in self.of(card.address()) {
            for (engine, &(busy, clock)) in &client.engines {
                let key = format!("engine {} {} {engine}", card.device.id, client.number);
                let busy = rates.per_second(&key, busy, None, at_ns);
                let share = match clock {
                    None => busy.map(|(busy, at_ns)| (busy / 1e9, at_ns)),
                    Some(clock) => {
                        let clock = rates.per_second(&format!("{key} clock"), clock, None, at_ns);
                        busy.and_then(|(busy, at_ns)| match clock? {
                            (clock, _) if clock > 0.0 => Ok((busy / clock, at_ns)),
                            _ => Ok((0.0, at_ns)),
                        })
                    }
                };
                let sum = sums.entry(engine.clone()).or_insert_with(|| share.clone().map(|(_, at_ns)| (0.0, at_ns)));
                if let Ok((share, at_ns)) = share {
                    let before = sum.as_ref().map_or(0.0, |&(sum, _)| sum);
                    *sum = Ok(((before + share).min(1.0), at_ns));
                }
            }
        }
        sums
    }
}

/// Files of graphics devices among the open files of all processes. Those of others' processes are not to be seen.
fn search(tree: &Tree) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    let processes = tree.names("/proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
    for process in processes.take(PROCESSES_MAX) {
        for file in tree.names(&format!("/proc/{process}/fd")).into_iter().take(FILES_MAX) {
            let link = tree.link(&format!("/proc/{process}/fd/{file}"));
            if link.is_some_and(|link| link.starts_with("/dev/dri/")) {
                found.push((process, file));
                if found.len() >= CLIENTS_MAX {
                    return found;
                }
            }
        }
    }
    found
}

/// Names of regions that are the device's own memory: of amdgpu, of xe, of i915.
const OWN_REGIONS: [&str; 3] = ["vram", "vram0", "local0"];

/// `drm-resident-vram0:  23992 KiB`, `drm-engine-render:  9288864723 ns`, `drm-cycles-rcs:  28257900`.
fn client(process: u32, text: &str) -> Option<Client> {
    let mut client = Client { process, ..Client::default() };
    let mut clocks: BTreeMap<String, f64> = BTreeMap::new();
    let (mut has_driver, mut resident, mut total, mut older) = (false, None, None, None);
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let Some(key) = key.strip_prefix("drm-") else { continue };
        let value = value.trim();
        let number = || value.split_whitespace().next()?.parse::<f64>().ok();
        match key {
            "driver" => has_driver = true,
            "pdev" => value.clone_into(&mut client.address),
            "client-id" => client.number = value.parse().ok()?,
            _ => {
                let region = |kind: &str| key.strip_prefix(kind).is_some_and(|name| OWN_REGIONS.contains(&name));
                if region("resident-") {
                    resident = bytes(value);
                } else if region("total-") && !key.starts_with("total-cycles-") {
                    total = bytes(value);
                } else if region("memory-") {
                    older = bytes(value);
                } else if let Some(engine) = key.strip_prefix("total-cycles-") {
                    clocks.extend(number().map(|clock| (engine.to_owned(), clock)));
                } else if let Some(engine) = key.strip_prefix("cycles-") {
                    client.engines.extend(number().map(|busy| (engine.to_owned(), (busy, Some(0.0)))));
                } else if key.starts_with("engine-capacity-") {
                    // How many engines of one kind there are.
                } else if let Some(engine) = key.strip_prefix("engine-") {
                    client.engines.extend(number().map(|busy| (engine.to_owned(), (busy, None))));
                }
            }
        }
    }
    for (engine, (_, clock)) in &mut client.engines {
        if clock.is_some() {
            *clock = clocks.get(engine).copied();
        }
    }
    client.memory = resident.or(total).or(older);
    has_driver.then_some(client)
}

/// `23992 KiB`; a number alone counts bytes.
fn bytes(value: &str) -> Option<f64> {
    let mut words = value.split_whitespace();
    let number: f64 = words.next()?.parse().ok()?;
    let unit = match words.next() {
        None | Some("B") => 1.0,
        Some("KiB" | "kB") => 1024.0,
        Some("MiB") => 1024.0 * 1024.0,
        Some("GiB") => 1024.0 * 1024.0 * 1024.0,
        Some(_) => return None,
    };
    Some(number * unit)
}

#[cfg(test)]
mod tests {
    use super::client;

    #[test]
    fn every_dialect_is_read() {
        let amd = "drm-driver:\tamdgpu\ndrm-pdev:\t0000:03:00.0\ndrm-client-id:\t9\ndrm-memory-vram:\t2048 KiB\n\
                   drm-engine-gfx:\t1000 ns\n";
        let amd = client(7, amd).expect("it is a client");
        assert_eq!((amd.memory, amd.engines["gfx"]), (Some(2048.0 * 1024.0), (1000.0, None)));
        let xe = "drm-driver:\txe\ndrm-client-id:\t20\ndrm-pdev:\t0000:03:00.0\ndrm-total-vram0:\t3 MiB\n\
                  drm-resident-vram0:\t2 MiB\ndrm-cycles-ccs:\t5\ndrm-total-cycles-ccs:\t50\ndrm-engine-capacity-ccs:\t2\n";
        let xe = client(7, xe).expect("it is a client");
        assert_eq!((xe.memory, xe.engines["ccs"]), (Some(2.0 * 1_048_576.0), (5.0, Some(50.0))));
        assert_eq!(xe.engines.len(), 1, "a capacity is no engine");
        let i915 = "drm-driver:\ti915\ndrm-client-id:\t42\ndrm-pdev:\t0000:00:02.0\ndrm-total-local0:\t1 KiB\n\
                    drm-total-stolen-local0:\t64 KiB\ndrm-engine-render:\t77 ns\n";
        assert_eq!(client(7, i915).expect("it is a client").memory, Some(1024.0));
        assert_eq!(client(7, "pos:\t0\nflags:\t02\n"), None);
        assert_eq!(client(7, "drm-driver:\txe\ndrm-client-id:\tmany\n"), None);
    }
}
