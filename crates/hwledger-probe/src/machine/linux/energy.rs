//! Energy of the processors: the running average power limit's counters.

use super::tree::Tree;
use crate::machine::collect::Collector;
use crate::machine::metric;
use crate::machine::rate::Rates;

const ZONES: &str = "/sys/class/powercap";
/// Zones that are told apart.
const ZONES_MAX: usize = 32;

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
    }
}

/// Zones that are there and may not be read, and why.
pub(crate) fn refused(tree: &Tree) -> Option<(String, String)> {
    let names = tree.names(ZONES);
    names.iter().filter(|name| name.starts_with("intel-rapl:")).find_map(|zone| {
        let path = format!("{ZONES}/{zone}/energy_uj");
        tree.refusal(&path).map(|reason| (path, reason))
    })
}
