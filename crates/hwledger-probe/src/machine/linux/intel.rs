//! Intel devices: the files of the drivers `i915` and `xe`.

use super::drm::{Card, Dialect};
use super::fdinfo::{Clients, SOURCE};
use super::hwmon;
use super::tree::Tree;
use crate::machine::collect::{Collector, Missing};
use crate::machine::device::MemoryKind;
use crate::machine::metric;
use crate::machine::rate::Rates;

/// Graphics within a processor have sat at this address since they exist.
pub(crate) fn memory_kind(address: &str) -> MemoryKind {
    if address.ends_with(":00:02.0") { MemoryKind::Unified } else { MemoryKind::Dedicated }
}

/// Where one driver keeps what another keeps elsewhere.
struct Places {
    clocks: String,
    actual: &'static str,
    throttle: String,
    throttle_prefix: &'static str,
}

fn places(card: &Card) -> Places {
    if card.dialect == Dialect::Xe {
        let clocks = format!("{}/tile0/gt0/freq0", card.device_folder());
        let throttle = format!("{clocks}/throttle");
        Places { clocks, actual: "act_freq", throttle, throttle_prefix: "reason_" }
    } else {
        let clocks = format!("{}/gt/gt0", card.folder);
        let throttle = clocks.clone();
        Places { clocks, actual: "rps_act_freq_mhz", throttle, throttle_prefix: "throttle_reason_" }
    }
}

/// Reads everything.
pub(crate) fn read(tree: &Tree, card: &Card, clients: &Clients, rates: &mut Rates, collector: &mut Collector) {
    memory(tree, card, clients, collector);
    let places = places(card);
    let mut clock = format!("{}/{}", places.clocks, places.actual);
    if card.dialect == Dialect::I915 && !tree.has(&clock) {
        // Kernels before 5.18.
        clock = format!("{}/gt_act_freq_mhz", card.folder);
    }
    let hertz = tree.number(&clock).map(|megahertz| megahertz * 1e6);
    collector.measured(metric::DEVICE_CLOCK, &[("domain", "graphics")], &clock, hertz);
    throttle(tree, &places, collector);
    hwmon::device(tree, &card.device_folder(), &card.device.id, rates, collector);
    // Neither driver counts the time in which the device was busy; its busiest engine stands for it.
    let busiest = clients.read(card, rates, collector);
    collector.held(metric::DEVICE_UTILIZATION, &[], SOURCE, busiest);
}

fn throttle(tree: &Tree, places: &Places, collector: &mut Collector) {
    let names = tree.names(&places.throttle);
    let reasons: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix(places.throttle_prefix)).collect();
    if reasons.is_empty() {
        let absent = Missing::absent("the driver does not say why it holds clocks back");
        collector.measured(metric::DEVICE_THROTTLE, &[], &places.throttle, Err(absent));
    }
    // `status` is the sum of the others.
    for reason in reasons.into_iter().filter(|reason| *reason != "status") {
        let path = format!("{}/{}{reason}", places.throttle, places.throttle_prefix);
        collector.measured(metric::DEVICE_THROTTLE, &[("reason", reason)], &path, tree.number(&path));
    }
}

/// How much memory a card has: `xe` says it for each tile (all of it, with what the driver keeps for itself), Intel's own
/// builds of `i915` for the card, the kernel's `i915` nowhere. The window through which the host reaches it is a power of
/// two no less than it, and so no measure of it (a card of 12 GiB has a window of 16). Use is what the processes hold that may be
/// looked into, and so a least.
fn memory(tree: &Tree, card: &Card, clients: &Clients, collector: &mut Collector) {
    if card.device.memory_kind == MemoryKind::Unified {
        let shared = Missing::absent("it uses the host's memory, without a limit that the driver tells");
        collector.measured(metric::DEVICE_MEMORY_TOTAL, &[], &card.device_folder(), Err(shared));
    } else {
        let (source, total) = total(tree, card);
        collector.measured(metric::DEVICE_MEMORY_TOTAL, &[], &source, total);
        let path = format!("{}/resource", card.device_folder());
        collector.derived(metric::DEVICE_POOL_TOTAL, &[("pool", "window")], &path, window(tree, &path));
    }
    collector.derived(metric::DEVICE_MEMORY_USED, &[], SOURCE, clients.memory(card.address()));
    // What is left is not known: other users' processes are not seen.
    let unseen = Missing::absent("the driver does not say, and not every process may be looked into");
    collector.measured(metric::DEVICE_MEMORY_FREE, &[], SOURCE, Err(unseen));
}

fn total(tree: &Tree, card: &Card) -> (String, Result<f64, Missing>) {
    if card.dialect == Dialect::I915 {
        let path = format!("{}/lmem_total_bytes", card.folder);
        let unsaid = || Missing::absent("this build of the driver does not say how much memory the card has");
        let total = if tree.has(&path) { tree.number(&path) } else { Err(unsaid()) };
        return (path, total);
    }
    let folder = card.device_folder();
    let tiles = tree.names(&folder).into_iter().filter(|name| name.starts_with("tile"));
    let files: Vec<String> = tiles.map(|tile| format!("{folder}/{tile}/physical_vram_size_bytes")).collect();
    let source = format!("{folder}/tile*/physical_vram_size_bytes");
    let total = files.iter().map(|path| tree.number(path)).reduce(|sum, one| Ok(sum? + one?));
    (source, total.unwrap_or_else(|| Err(Missing::absent("there is no such file"))))
}

/// A window of less than this is the small one that firmware without resizable windows gives to every card.
const WINDOW_LEAST: u64 = 1 << 30;

/// The third line of `resource` is the window to memory: first and last address, in hexadecimal.
fn window(tree: &Tree, path: &str) -> Result<f64, Missing> {
    let text = tree.text(path)?;
    let numbers: Vec<u64> = text
        .lines()
        .nth(2)
        .into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok())
        .collect();
    let [first, last, ..] = numbers[..] else {
        return Err(Missing::Failed("its third line has no addresses".to_owned()));
    };
    let size = last.saturating_sub(first).saturating_add(1);
    if size < WINDOW_LEAST {
        return Err(Missing::absent("the window is smaller than any card's memory: resizable BAR is off"));
    }
    Ok(size as f64)
}
