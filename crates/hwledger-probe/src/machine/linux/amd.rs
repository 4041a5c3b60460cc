//! AMD devices: the files of the driver `amdgpu`.

use super::drm::Card;
use super::fdinfo::Clients;
use super::hwmon;
use super::tree::Tree;
use crate::machine::collect::Collector;
use crate::machine::device::MemoryKind;
use crate::machine::metric;
use crate::machine::rate::Rates;

/// Whether a device has memory of its own, by its table of metrics: the driver writes version 1 for cards, and
/// versions 2 and 3 for graphics within a processor.
pub(crate) fn memory_kind(tree: &Tree, folder: &str) -> MemoryKind {
    // Two bytes with the table's size, one with the version of its format.
    match tree.bytes(&format!("{folder}/device/gpu_metrics"), 4).ok().as_deref() {
        Some([_, _, 1, _]) => MemoryKind::Dedicated,
        Some([_, _, 2 | 3, _]) => MemoryKind::Unified,
        _ => MemoryKind::Unknown,
    }
}

/// Reads everything.
pub(crate) fn read(tree: &Tree, card: &Card, clients: &Clients, rates: &mut Rates, collector: &mut Collector) {
    let folder = card.device_folder();
    memory(tree, &folder, card.device.memory_kind, collector);
    let percent = |file: &str| {
        let path = format!("{folder}/{file}");
        let found = tree.number(&path).map(|percent| percent / 100.0);
        (path, found)
    };
    let (path, found) = percent("gpu_busy_percent");
    collector.measured(metric::DEVICE_UTILIZATION, &[], &path, found);
    let (path, found) = percent("mem_busy_percent");
    collector.measured(metric::DEVICE_MEMORY_BANDWIDTH, &[], &path, found);
    hwmon::device(tree, &folder, &card.device.id, rates, collector);
    // The driver counts itself how busy the device was.
    let _ = clients.read(card, rates, collector);
}

/// A card's memory is `vram`. Graphics within a processor use both pools: the part carved out at start (`vram`) and
/// the host's memory mapped for them (`gtt`); either alone misleads.
fn memory(tree: &Tree, folder: &str, kind: MemoryKind, collector: &mut Collector) {
    let path = |pool: &str, what: &str| format!("{folder}/mem_info_{pool}_{what}");
    let read = |pool: &str, what: &str| tree.number(&path(pool, what));
    let (total, used) = (read("vram", "total"), read("vram", "used"));
    let (mapped, mapped_used) = (read("gtt", "total"), read("gtt", "used"));
    let both = |first: &Result<f64, _>, second: &Result<f64, _>| match (first, second) {
        (Ok(first), Ok(second)) => Ok(first + second),
        (Err(missing), _) | (_, Err(missing)) => Err(Clone::clone(missing)),
    };
    if kind == MemoryKind::Unified {
        collector.derived(metric::DEVICE_MEMORY_TOTAL, &[], &path("{vram,gtt}", "total"), both(&total, &mapped));
        collector.derived(metric::DEVICE_MEMORY_USED, &[], &path("{vram,gtt}", "used"), both(&used, &mapped_used));
    } else {
        collector.measured(metric::DEVICE_MEMORY_TOTAL, &[], &path("vram", "total"), total.clone());
        collector.measured(metric::DEVICE_MEMORY_USED, &[], &path("vram", "used"), used.clone());
    }
    let known = (collector.value(metric::DEVICE_MEMORY_TOTAL), collector.value(metric::DEVICE_MEMORY_USED));
    if let (Some(total), Some(used)) = known {
        collector.derived(metric::DEVICE_MEMORY_FREE, &[], folder, Ok(total - used));
    }
    for (pool, total, used) in [("vram", total, used), ("gtt", mapped, mapped_used)] {
        collector.measured(metric::DEVICE_POOL_TOTAL, &[("pool", pool)], &path(pool, "total"), total);
        collector.measured(metric::DEVICE_POOL_USED, &[("pool", pool)], &path(pool, "used"), used);
    }
}
