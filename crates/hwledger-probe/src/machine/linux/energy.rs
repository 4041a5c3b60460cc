//! Energy of the processors: the running average power limit's counters.

use super::tree::Tree;
use crate::machine::collect::Collector;
use crate::machine::metric;
use crate::machine::rate::Rates;

const ZONES: &str = "/sys/class/powercap";
/// Zones that are told apart.
const ZONES_MAX: usize = 32;
/// Limits of one zone that are told apart.
const CONSTRAINTS_MAX: u32 = 4;

/// Reads every zone that says how much energy it took. Since 2020 the kernel lets only root read them.
pub(crate) fn read(tree: &Tree, rates: &mut Rates, collector: &mut Collector) {
    let names = tree.names(ZONES);
    for zone in names.iter().filter(|name| name.starts_with("intel-rapl:")).take(ZONES_MAX) {
        let domain = tree.word(&format!("{ZONES}/{zone}/name")).unwrap_or_else(|| zone.clone());
        let source = format!("{ZONES}/{zone}/energy_uj");
        let range = tree.number(&format!("{ZONES}/{zone}/max_energy_range_uj")).ok().map(|range| range / 1e6);
        let joules = tree.number(&source).map(|microjoules| microjoules / 1e6);
        let at_ns = collector.at_ns();
        let watts = joules.clone().and_then(|joules| rates.per_second(&source, joules, range, at_ns));
        let labels = [("domain", domain.as_str()), ("zone", zone.as_str())];
        collector.measured(metric::HOST_ENERGY, &labels, &source, joules);
        collector.held(metric::HOST_POWER, &labels, &source, watts);
        if let Some((watts, source)) = limit(tree, zone).filter(|_| domain.starts_with("package")) {
            collector.measured(metric::HOST_POWER_LIMIT, &labels, &source, Ok(watts));
        }
    }
}

/// What a zone may draw for long, and where that was read: the limit that is set, or the most that the maker allows where
/// that is less. Boards that set no limit write thousands of watts.
///
/// Source: the kernel's `Documentation/power/powercap/powercap.rst`; anyone may read these files.
fn limit(tree: &Tree, zone: &str) -> Option<(f64, String)> {
    let is_long = |number: &u32| {
        tree.word(&format!("{ZONES}/{zone}/constraint_{number}_name")).is_some_and(|name| name == "long_term")
    };
    let number = (0..CONSTRAINTS_MAX).find(is_long)?;
    let watts = |end: &str| {
        let source = format!("{ZONES}/{zone}/constraint_{number}_{end}_uw");
        let watts = tree.number(&source).ok()? / 1e6;
        (watts > 0.0).then_some((watts, source))
    };
    let found = [watts("power_limit"), watts("max_power")].into_iter().flatten();
    found.reduce(|left, right| if right.0 < left.0 { right } else { left })
}

/// Zones that are there and may not be read, and why.
pub(crate) fn refused(tree: &Tree) -> Option<(String, String)> {
    let names = tree.names(ZONES);
    names.iter().filter(|name| name.starts_with("intel-rapl:")).find_map(|zone| {
        let path = format!("{ZONES}/{zone}/energy_uj");
        tree.refusal(&path).map(|reason| (path, reason))
    })
}
