//! Sensors: power, energy, temperatures, fans, clocks.

use super::tree::Tree;
use crate::machine::collect::{Collector, Missing};
use crate::machine::metric;
use crate::machine::rate::Rates;

/// Chips of the host that are looked at, and sensors of each kind of one chip.
const CHIPS_MAX: usize = 64;
const SENSORS_MAX: usize = 32;
/// Chips that belong to devices, which read them themselves.
const OF_DEVICES: [&str; 5] = ["amdgpu", "radeon", "i915", "xe", "nouveau"];

/// Temperatures of the chips that belong to no device.
pub(crate) fn host(tree: &Tree, collector: &mut Collector) {
    for chip in tree.names("/sys/class/hwmon").iter().take(CHIPS_MAX) {
        let folder = format!("/sys/class/hwmon/{chip}");
        let Some(name) = tree.word(&format!("{folder}/name")) else { continue };
        if OF_DEVICES.contains(&name.as_str()) {
            continue;
        }
        for (file, number) in inputs(tree, &folder, "temp", "_input") {
            let sensor = label(tree, &folder, "temp", &number);
            let source = format!("{folder}/{file}");
            let found = tree.number(&source).map(|thousandths| thousandths / 1e3);
            collector.measured(metric::HOST_TEMPERATURE, &[("chip", &name), ("sensor", &sensor)], &source, found);
        }
    }
}

/// The folder of a device's own chip.
pub(crate) fn folder(tree: &Tree, device: &str) -> Option<String> {
    let folder = format!("{device}/hwmon");
    tree.names(&folder).into_iter().find(|name| name.starts_with("hwmon")).map(|name| format!("{folder}/{name}"))
}

/// Everything that the chip of a device says. `energy` counters are those of the card, or else of the package.
pub(crate) fn device(tree: &Tree, device: &str, id: &str, rates: &mut Rates, collector: &mut Collector) {
    let Some(folder) = folder(tree, device) else {
        let absent = Missing::absent("the driver offers no sensors");
        collector.measured(metric::DEVICE_POWER, &[], &format!("{device}/hwmon"), Err(absent.clone()));
        collector.measured(metric::DEVICE_ENERGY, &[], &format!("{device}/hwmon"), Err(absent.clone()));
        collector.measured(metric::DEVICE_TEMPERATURE, &[], &format!("{device}/hwmon"), Err(absent));
        return;
    };
    power(tree, &folder, id, rates, collector);
    let temperatures = inputs(tree, &folder, "temp", "_input");
    if temperatures.is_empty() {
        let absent = Missing::absent("the driver offers no sensor of temperature");
        collector.measured(metric::DEVICE_TEMPERATURE, &[], &folder, Err(absent));
    }
    for (file, number) in temperatures {
        let source = format!("{folder}/{file}");
        let sensor = label(tree, &folder, "temp", &number);
        let found = tree.number(&source).map(|thousandths| thousandths / 1e3);
        collector.measured(metric::DEVICE_TEMPERATURE, &[("sensor", &sensor)], &source, found);
    }
    for (file, number) in inputs(tree, &folder, "freq", "_input") {
        let source = format!("{folder}/{file}");
        let domain = label(tree, &folder, "freq", &number);
        collector.measured(metric::DEVICE_CLOCK, &[("domain", &domain)], &source, tree.number(&source));
    }
    for (file, number) in inputs(tree, &folder, "fan", "_input") {
        let source = format!("{folder}/{file}");
        collector.measured(metric::DEVICE_FAN, &[("fan", &number)], &source, tree.number(&source));
    }
}

fn power(tree: &Tree, folder: &str, id: &str, rates: &mut Rates, collector: &mut Collector) {
    let at_ns = collector.at_ns();
    let said =
        ["power1_average", "power1_input"].iter().map(|file| format!("{folder}/{file}")).find(|path| tree.has(path));
    let counter = energy_file(tree, folder).map(|file| format!("{folder}/{file}"));
    let joules = counter.as_ref().map(|path| tree.number(path).map(|microjoules| microjoules / 1e6));
    match (&said, &counter, &joules) {
        (Some(path), ..) => {
            collector.measured(metric::DEVICE_POWER, &[], path, tree.number(path).map(|microwatts| microwatts / 1e6));
        }
        (None, Some(path), Some(joules)) => {
            let joules = joules.clone();
            let watts = joules.and_then(|joules| rates.per_second(&format!("power {id}"), joules, None, at_ns));
            collector.held(metric::DEVICE_POWER, &[], path, watts);
        }
        _ => {
            let absent = Missing::absent("there is neither a sensor of power nor a counter of energy");
            collector.measured(metric::DEVICE_POWER, &[], folder, Err(absent));
        }
    }
    if let (Some(path), Some(joules)) = (counter, joules) {
        collector.measured(metric::DEVICE_ENERGY, &[], &path, joules);
    } else {
        let watts = collector.value(metric::DEVICE_POWER);
        let summed = match watts {
            Some(watts) => rates.joules(&format!("energy {id}"), watts, at_ns),
            None => Err(Missing::absent("there is neither a counter of energy nor a sensor of power")),
        };
        collector.derived(metric::DEVICE_ENERGY, &[], said.as_deref().unwrap_or(folder), summed);
    }
    let limits = ["power1_cap", "power1_max"].map(|file| format!("{folder}/{file}"));
    let limit = limits.iter().find(|path| tree.has(path)).unwrap_or(&limits[0]);
    let watts = tree.number(limit).map(|microwatts| microwatts / 1e6);
    collector.measured(metric::DEVICE_POWER_LIMIT, &[], limit, watts);
}

/// The counter of the whole card; where counters have no labels, the first.
fn energy_file(tree: &Tree, folder: &str) -> Option<String> {
    let files = inputs(tree, folder, "energy", "_input");
    let named = |name: &str| {
        files.iter().find(|(_, number)| tree.word(&format!("{folder}/energy{number}_label")).as_deref() == Some(name))
    };
    named("card").or_else(|| files.first()).map(|(file, _)| file.clone())
}

/// Files of one kind, with their numbers.
fn inputs(tree: &Tree, folder: &str, kind: &str, ending: &str) -> Vec<(String, String)> {
    let mut found: Vec<(u32, String)> = tree
        .names(folder)
        .into_iter()
        .filter_map(|name| Some((name.strip_prefix(kind)?.strip_suffix(ending)?.parse().ok()?, name)))
        .collect();
    found.sort();
    found.truncate(SENSORS_MAX);
    found.into_iter().map(|(number, name)| (name, number.to_string())).collect()
}

/// What a sensor is called; its number where it has no name.
fn label(tree: &Tree, folder: &str, kind: &str, number: &str) -> String {
    tree.word(&format!("{folder}/{kind}{number}_label")).unwrap_or_else(|| number.to_owned())
}
