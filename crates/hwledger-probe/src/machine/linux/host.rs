//! Processors and memory, from `/proc`.

use super::tree::Tree;
use super::{cgroup, disk, energy, hwmon};
use crate::machine::collect::{Collector, Missing};
use crate::machine::device::Host;
use crate::machine::metric;
use crate::machine::rate::Rates;

const MEMINFO: &str = "/proc/meminfo";
const STAT: &str = "/proc/stat";
const CLOCK: &str = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq";
const PRESSURE: &str = "/proc/pressure/memory";

/// What does not change: read once.
pub(crate) fn facts(tree: &Tree) -> Host {
    let system = tree.text("/etc/os-release").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(line.trim_matches('"').to_owned())
    });
    let processor = tree.text("/proc/cpuinfo").ok().and_then(|text| {
        let named = |key| text.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.trim() == key);
        let (_, name) = named("model name").or_else(|| named("Model")).or_else(|| named("cpu model"))?;
        Some(name.trim().to_owned()).filter(|name| !name.is_empty())
    });
    Host {
        system,
        kernel: tree.word("/proc/sys/kernel/osrelease"),
        architecture: std::env::consts::ARCH.to_owned(),
        processor,
        readings: Vec::new(),
    }
}

/// Everything that is read from the host.
pub(crate) fn read(tree: &Tree, is_live: bool, rates: &mut Rates, collector: &mut Collector) {
    processors(tree, rates, collector);
    load(tree, collector);
    let total = memory(tree, collector);
    let limit = cgroup::read(tree, collector);
    let least = match (total, limit) {
        (Some(total), Some(limit)) => Ok(total.min(limit)),
        (Some(total), None) => Ok(total),
        (None, limit) => limit.ok_or_else(|| Missing::absent("neither a total nor a limit is known")),
    };
    collector.derived(metric::HOST_MEMORY_LIMIT, &[], MEMINFO, least);
    collector.measured(metric::HOST_MEMORY_PRESSURE, &[], PRESSURE, pressure(tree));
    disk::read(tree, is_live, rates, collector);
    links(tree, collector);
    energy::read(tree, rates, collector);
    hwmon::host(tree, collector);
}

fn processors(tree: &Tree, rates: &mut Rates, collector: &mut Collector) {
    let text = tree.text(STAT);
    let count = text
        .as_ref()
        .map(|text| text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count() as f64);
    collector.measured(metric::HOST_PROCESSORS, &[], STAT, count.map_err(Clone::clone));
    let share = text.and_then(|text| {
        let (busy, all) = ticks(&text).ok_or_else(|| Missing::Failed("it has no line `cpu`".to_owned()))?;
        // Both counters at the same moment: the ratio of their rates is the ratio of what they gained.
        let all = rates.per_second("processors all", all, None, collector.at_ns());
        let (busy, at_ns) = rates.per_second("processors busy", busy, None, collector.at_ns())?;
        let (all, _) = all?;
        if all > 0.0 { Ok(((busy / all).clamp(0.0, 1.0), at_ns)) } else { Err(Missing::absent("no time has passed")) }
    });
    collector.held(metric::HOST_CPU_UTILIZATION, &[], STAT, share);
    let clock = tree.number(CLOCK).map(|kilohertz| kilohertz * 1e3);
    collector.measured(metric::HOST_CPU_CLOCK, &[("processor", "0")], CLOCK, clock);
}

/// Ticks in which processors were busy, and all ticks. Guests' time is part of `user`; waiting for disks is idle.
fn ticks(text: &str) -> Option<(f64, f64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<f64> = line.split_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
    let all: f64 = fields.iter().sum();
    let idle = fields.get(3)? + fields.get(4).copied().unwrap_or(0.0);
    Some((all - idle, all))
}

fn load(tree: &Tree, collector: &mut Collector) {
    let source = "/proc/loadavg";
    let text = tree.text(source);
    for (index, minutes) in ["1", "5", "15"].into_iter().enumerate() {
        let found = text.as_ref().map_err(Clone::clone).and_then(|text| {
            let field = text.split_whitespace().nth(index).and_then(|field| field.parse().ok());
            field.ok_or_else(|| Missing::Failed("it has too few numbers".to_owned()))
        });
        collector.measured(metric::HOST_LOAD, &[("minutes", minutes)], source, found);
    }
}

/// The host's total comes back.
fn memory(tree: &Tree, collector: &mut Collector) -> Option<f64> {
    let text = tree.text(MEMINFO);
    let field = |name: &str| {
        let text = text.as_ref().map_err(Clone::clone)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let line = line.ok_or_else(|| Missing::Absent(format!("it has no line `{name}`")))?;
        let number = line.trim().strip_suffix("kB").and_then(|number| number.trim().parse::<f64>().ok());
        number.map(|kibibytes| kibibytes * 1024.0).ok_or_else(|| Missing::Failed(format!("`{name}` is no number")))
    };
    let (total, available) = (field("MemTotal"), field("MemAvailable"));
    let used = total.clone().and_then(|total| Ok(total - available.clone()?));
    collector.measured(metric::HOST_MEMORY_TOTAL, &[], MEMINFO, total.clone());
    collector.measured(metric::HOST_MEMORY_AVAILABLE, &[], MEMINFO, available);
    collector.derived(metric::HOST_MEMORY_USED, &[], MEMINFO, used);
    collector.measured(metric::HOST_SWAP_TOTAL, &[], MEMINFO, field("SwapTotal"));
    collector.measured(metric::HOST_SWAP_FREE, &[], MEMINFO, field("SwapFree"));
    total.ok()
}

/// `some avg10=1.23 …`: percent of the last ten seconds in which at least one task waited for memory.
fn pressure(tree: &Tree) -> Result<f64, Missing> {
    let text = tree.text(PRESSURE)?;
    let percent = text
        .lines()
        .find_map(|line| line.strip_prefix("some "))
        .and_then(|line| line.split_whitespace().find_map(|field| field.strip_prefix("avg10=")))
        .and_then(|number| number.parse::<f64>().ok());
    percent.map(|percent| percent / 100.0).ok_or_else(|| Missing::Failed("it has no `some avg10`".to_owned()))
}

/// Network interfaces that are told apart.
const INTERFACES_MAX: usize = 16;

fn links(tree: &Tree, collector: &mut Collector) {
    let source = "/proc/net/dev";
    let Ok(text) = tree.text(source) else { return };
    let lines = text.lines().filter_map(|line| line.split_once(':')).map(|(name, rest)| (name.trim(), rest));
    let real = lines.filter(|(name, _)| *name != "lo" && tree.has(&format!("/sys/class/net/{name}/device")));
    for (name, rest) in real.take(INTERFACES_MAX) {
        let fields: Vec<&str> = rest.split_whitespace().collect();
        for (direction, index) in [("received", 0), ("sent", 8)] {
            let bytes = fields.get(index).and_then(|field| field.parse().ok());
            let found = bytes.ok_or_else(|| Missing::Failed("it has too few numbers".to_owned()));
            collector.measured(metric::HOST_LINK, &[("interface", name), ("direction", direction)], source, found);
        }
    }
}
