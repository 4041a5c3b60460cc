//! Samples of a machine, and what they come to over a while.

use hwledger_probe::Unit;
use serde::Serialize;

use crate::probe::metric::{
    DEVICE_CLOCK, DEVICE_ENERGY, DEVICE_MEMORY_BANDWIDTH, DEVICE_MEMORY_USED, DEVICE_POWER, DEVICE_TEMPERATURE,
    DEVICE_UTILIZATION, HOST_CPU_CLOCK, HOST_CPU_UTILIZATION, HOST_ENERGY, HOST_MEMORY_USED, HOST_POWER,
    HOST_TEMPERATURE,
};
use crate::probe::{Outcome, Reading, Snapshot};

/// The name that the host has among devices.
pub(super) const HOST: &str = "host";

/// Metrics of a machine that are kept at most: what comes after is left out.
const SERIES_MAX: usize = 256;
/// Samples that are kept at most; nothing is sampled after that.
pub(super) const ROWS_MAX: usize = 1 << 14;
/// Clocks of one device that are kept at most.
const CLOCKS_MAX: usize = 4;

/// One metric of the host or of a device.
#[derive(Clone, Debug, PartialEq)]
struct Series {
    device: String,
    metric: String,
    unit: Unit,
}

/// All values of one moment; of metrics that came later there is none.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    at_ns: u64,
    values: Vec<Option<f64>>,
    /// Joules of each device since an arbitrary moment, in the order of the devices.
    counters: Vec<Option<f64>>,
}

/// A device, and what its counter of energy says.
#[derive(Clone, Debug, PartialEq)]
struct Counted {
    device: String,
    name: String,
    /// Whether the device counts itself; otherwise its power is summed.
    is_counter: bool,
    /// Why there was none, the last time that there was none.
    missing: Option<String>,
}

/// Samples of one machine, the oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::record) struct Samples {
    series: Vec<Series>,
    rows: Vec<Row>,
    devices: Vec<Counted>,
    /// Why nothing is known of the processors' energy, by the last sample.
    processor_missing: Option<String>,
}

/// What one metric did during a while.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Window {
    /// `host`, or the identifier of the device.
    pub device: String,
    /// The metric, with a label in braces where the device has several.
    pub metric: String,
    /// What its numbers count.
    pub unit: &'static str,
    /// When it begins, in nanoseconds since 1970.
    pub start_ns: u64,
    /// When it ends.
    pub end_ns: u64,
    /// Samples that had a number.
    pub samples: u64,
    /// The least.
    pub minimum: f64,
    /// The mean over time.
    pub mean: f64,
    /// What it did not exceed during 95 % of the time.
    pub percentile_95: f64,
    /// The greatest.
    pub maximum: f64,
    /// Of power: the energy in joules, where a counter or the power's sum tells it for the whole while.
    pub joules: Option<f64>,
}

/// Joules of a while, and whether counters told them (otherwise power was summed); or the reason why they are not known.
pub(in crate::record) type Energy = Result<(f64, bool), String>;

/// The samples of a window as a blob holds them.
#[derive(Serialize)]
struct Raw<'a> {
    schema: &'static str,
    /// When the window begins, in nanoseconds since 1970.
    start_ns: String,
    /// When each sample was taken, in milliseconds after that.
    after_ms: Vec<u64>,
    series: Vec<RawSeries<'a>>,
}

#[derive(Serialize)]
struct RawSeries<'a> {
    device: &'a str,
    metric: &'a str,
    unit: &'static str,
    values: Vec<Option<f64>>,
}

const fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Bytes => "bytes",
        Unit::BytesPerSecond => "bytes_per_second",
        Unit::Ratio => "ratio",
        Unit::Watts => "watts",
        Unit::Joules => "joules",
        Unit::Celsius => "celsius",
        Unit::Hertz => "hertz",
        Unit::Seconds => "seconds",
        Unit::Tokens => "tokens",
        Unit::TokensPerSecond => "tokens_per_second",
        Unit::Count => "count",
        Unit::Flag => "flag",
    }
}

/// How several readings of one metric become one number.
#[derive(Clone, Copy)]
enum Combined {
    Mean,
    Most,
    Sum,
}

/// Whether a reading of the processors is of a whole package, which holds its cores and its graphics.
fn is_package(reading: &Reading) -> bool {
    reading.labels.iter().any(|(name, domain)| name == "domain" && domain.starts_with("package"))
}

/// The readings of a metric that were taken now: a rate that only still stands says nothing of the time since.
fn fresh<'a>(readings: &'a [Reading], metric: &'a str, at_ns: u64) -> impl Iterator<Item = &'a Reading> {
    readings.iter().filter(move |reading| reading.metric == metric && reading.taken_at_ns == at_ns)
}

fn combined<'a>(readings: impl Iterator<Item = &'a Reading>, how: Combined) -> Option<f64> {
    let mut found: Vec<f64> = Vec::new();
    for reading in readings {
        match reading.outcome.value() {
            Some(value) => found.push(value),
            // Half a sum is no sum.
            None if matches!(how, Combined::Sum) => return None,
            None => {}
        }
    }
    let count = found.len() as f64;
    match how {
        _ if found.is_empty() => None,
        Combined::Mean => Some(found.iter().sum::<f64>() / count),
        Combined::Most => found.into_iter().reduce(f64::max),
        Combined::Sum => Some(found.iter().sum()),
    }
}

/// Why the processors' energy is not known.
fn processor_missing(readings: &[Reading]) -> Option<String> {
    let mut packages = readings.iter().filter(|reading| reading.metric == HOST_ENERGY.name && is_package(reading));
    let Some(first) = packages.next() else {
        return Some("the processor has no counter of energy that this system shows".to_owned());
    };
    let refused = std::iter::once(first).chain(packages).find_map(|reading| match &reading.outcome {
        Outcome::Error { reason } | Outcome::Unsupported { reason } => Some((reason, &reading.source)),
        Outcome::Measured { .. } | Outcome::Derived { .. } => None,
    });
    refused.map(|(reason, source)| match reason.as_str() {
        "permission denied" => format!("the processor's counter of energy is readable by root only ({source})"),
        reason => format!("the processor's counter of energy cannot be read: {reason} ({source})"),
    })
}

impl Samples {
    /// Takes a snapshot in.
    pub(super) fn push(&mut self, snapshot: &Snapshot) {
        let at_ns = snapshot.taken_at_ns;
        // A clock that was set back would give windows that end before they begin.
        if self.rows.len() >= ROWS_MAX || self.rows.last().is_some_and(|last| last.at_ns >= at_ns) {
            return;
        }
        let mut row = Row { at_ns, values: vec![None; self.series.len()], counters: vec![None; self.devices.len()] };
        let host = &snapshot.host.readings;
        let of_host = [
            (HOST_CPU_UTILIZATION, Combined::Mean),
            (HOST_MEMORY_USED, Combined::Most),
            (HOST_TEMPERATURE, Combined::Most),
            (HOST_CPU_CLOCK, Combined::Mean),
        ];
        for (metric, how) in of_host {
            let value = combined(fresh(host, metric.name, at_ns), how);
            self.set(&mut row, HOST, metric.name.to_owned(), metric.unit, value);
        }
        let packages = fresh(host, HOST_POWER.name, at_ns).filter(|reading| is_package(reading));
        let watts = combined(packages, Combined::Sum);
        self.set(&mut row, HOST, HOST_POWER.name.to_owned(), HOST_POWER.unit, watts);
        self.processor_missing = processor_missing(host);
        for device in &snapshot.devices {
            let (id, readings) = (&device.device.id, &device.readings);
            let plain = [DEVICE_UTILIZATION, DEVICE_MEMORY_USED, DEVICE_MEMORY_BANDWIDTH, DEVICE_POWER];
            for metric in plain.into_iter().chain([DEVICE_TEMPERATURE]) {
                let value = combined(fresh(readings, metric.name, at_ns), Combined::Most);
                self.set(&mut row, id, metric.name.to_owned(), metric.unit, value);
            }
            for clock in fresh(readings, DEVICE_CLOCK.name, at_ns).take(CLOCKS_MAX) {
                let domain = clock.labels.iter().find(|(name, _)| name == "domain").map(|(_, domain)| domain);
                let metric = domain.map(|domain| format!("{}{{domain=\"{domain}\"}}", DEVICE_CLOCK.name));
                let metric = metric.unwrap_or_else(|| DEVICE_CLOCK.name.to_owned());
                self.set(&mut row, id, metric, clock.unit, clock.outcome.value());
            }
            self.count(&mut row, id, &device.device.name, readings);
        }
        self.rows.push(row);
    }

    /// Notes a value. A metric that never had one needs no place.
    fn set(&mut self, row: &mut Row, device: &str, metric: String, unit: Unit, value: Option<f64>) {
        if value.is_none() {
            return;
        }
        let known = self.series.iter().position(|one| one.device == device && one.metric == metric);
        let place = match known {
            Some(place) => place,
            None if self.series.len() >= SERIES_MAX => return,
            None => {
                self.series.push(Series { device: device.to_owned(), metric, unit });
                self.series.len() - 1
            }
        };
        row.values.resize(self.series.len().max(row.values.len()), None);
        row.values[place] = value;
    }

    /// Notes what a device's counter of energy says.
    fn count(&mut self, row: &mut Row, id: &str, name: &str, readings: &[Reading]) {
        let place = self.devices.iter().position(|one| one.device == id);
        let place = match place {
            Some(place) => place,
            None if self.devices.len() >= SERIES_MAX => return,
            None => {
                let (device, name) = (id.to_owned(), name.to_owned());
                self.devices.push(Counted { device, name, is_counter: true, missing: None });
                self.devices.len() - 1
            }
        };
        let reading = readings.iter().find(|reading| reading.metric == DEVICE_ENERGY.name);
        let (value, is_counter, missing) = match reading.map(|reading| &reading.outcome) {
            Some(Outcome::Measured { value }) => (Some(*value), true, None),
            Some(Outcome::Derived { value }) => (Some(*value), false, None),
            Some(Outcome::Error { reason } | Outcome::Unsupported { reason }) => (None, true, Some(reason.clone())),
            None => (None, true, Some("it has no counter of energy".to_owned())),
        };
        row.counters.resize(self.devices.len().max(row.counters.len()), None);
        row.counters[place] = value;
        self.devices[place].is_counter &= is_counter;
        // The last reason stands: it may be one sample in the middle that has none.
        self.devices[place].missing = missing.or_else(|| self.devices[place].missing.take());
    }

    /// How many moments there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Forgets all moments.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }

    /// The moments from the one at `start` on, whose own values are of the time before.
    pub(super) fn since(&self, start: usize) -> Self {
        Self { rows: self.rows.get(start..).unwrap_or_default().to_vec(), ..self.clone_without_rows() }
    }

    fn clone_without_rows(&self) -> Self {
        Self {
            series: self.series.clone(),
            rows: Vec::new(),
            devices: self.devices.clone(),
            processor_missing: self.processor_missing.clone(),
        }
    }

    /// Values of a metric after the first moment, each with the nanoseconds that it stands for.
    fn values(&self, place: usize) -> impl Iterator<Item = (f64, u64)> {
        self.rows.windows(2).filter_map(move |pair| {
            let value = pair[1].values.get(place).copied().flatten()?;
            Some((value, pair[1].at_ns - pair[0].at_ns))
        })
    }

    /// What each metric did after the first moment; nothing of those that had no number.
    pub(in crate::record) fn windows(&self) -> Vec<Window> {
        let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) else { return Vec::new() };
        let window = |(place, series): (usize, &Series)| {
            let mut values: Vec<(f64, u64)> = self.values(place).collect();
            values.sort_by(|left, right| left.0.total_cmp(&right.0));
            let (minimum, maximum) = (values.first()?.0, values.last()?.0);
            let all: u64 = values.iter().map(|(_, ns)| ns).sum();
            let weighted: f64 = values.iter().map(|(value, ns)| value * *ns as f64).sum();
            let mut below = 0;
            let most = values.iter().find(|(_, ns)| {
                below += ns;
                below as f64 >= 0.95 * all as f64
            });
            Some(Window {
                device: series.device.clone(),
                metric: series.metric.clone(),
                unit: unit_name(series.unit),
                start_ns: first.at_ns,
                end_ns: last.at_ns,
                samples: values.len() as u64,
                minimum,
                // Rounding must not carry it beyond what was read.
                mean: (weighted / all as f64).clamp(minimum, maximum),
                percentile_95: most.map_or(maximum, |(value, _)| *value),
                maximum,
                joules: self.joules_of(series),
            })
        };
        self.series.iter().enumerate().filter_map(window).collect()
    }

    /// The energy that belongs to a metric of power.
    fn joules_of(&self, series: &Series) -> Option<f64> {
        if series.metric == HOST_POWER.name {
            return self.processor_energy().ok().map(|(joules, _)| joules);
        }
        let place = self.devices.iter().position(|one| one.device == series.device)?;
        let is_power = series.metric == DEVICE_POWER.name;
        is_power.then(|| self.device_energy(place).ok()).flatten().map(|(joules, _)| joules)
    }

    /// What the processors took. Their power is what their counters gained since the moment before, so its sum over
    /// time is what the counters gained, however often they began anew.
    pub(in crate::record) fn processor_energy(&self) -> Energy {
        if let Some(reason) = &self.processor_missing {
            return Err(reason.clone());
        }
        let place = self.series.iter().position(|one| one.device == HOST && one.metric == HOST_POWER.name);
        let found: Vec<(f64, u64)> = place.map(|place| self.values(place).collect()).unwrap_or_default();
        if found.is_empty() || found.len() + 1 < self.rows.len() {
            return Err("the processor's counter of energy was not read all the time".to_owned());
        }
        Ok((found.iter().map(|(watts, ns)| watts * (*ns as f64 / 1e9)).sum(), true))
    }

    fn device_energy(&self, place: usize) -> Energy {
        let device = &self.devices[place];
        let mut joules = 0.0;
        if self.rows.len() < 2 {
            return Err("it was not read twice".to_owned());
        }
        for pair in self.rows.windows(2) {
            let ends = pair.iter().map(|row| row.counters.get(place).copied().flatten()).collect::<Option<Vec<_>>>();
            let gained = ends.map(|ends| ends[1] - ends[0]);
            match gained {
                Some(gained) if gained >= 0.0 => joules += gained,
                Some(_) => return Err(format!("the counter of energy of {} began anew", device.name)),
                None => {
                    let reason = device.missing.as_deref().unwrap_or("it was not read all the time");
                    return Err(format!("the counter of energy of {} cannot be read: {reason}", device.name));
                }
            }
        }
        Ok((joules, device.is_counter))
    }

    /// What those devices took together whose names are taken.
    pub(in crate::record) fn devices_energy(&self, is_taken: impl Fn(&str) -> bool) -> Option<Energy> {
        let places = (0..self.devices.len()).filter(|place| is_taken(&self.devices[*place].name));
        let each = places.map(|place| self.device_energy(place));
        each.reduce(|left, right| {
            let ((left, is_left), (right, is_right)) = (left?, right?);
            Ok((left + right, is_left && is_right))
        })
    }

    /// The samples as a blob holds them.
    pub(in crate::record) fn raw(&self) -> Vec<u8> {
        let start = self.rows.first().map_or(0, |row| row.at_ns);
        let mut series = Vec::new();
        for (place, one) in self.series.iter().enumerate() {
            let values = self.rows.iter().map(|row| row.values.get(place).copied().flatten());
            let values: Vec<Option<f64>> = values.collect();
            if values.iter().any(Option::is_some) {
                let (device, metric, unit) = (one.device.as_str(), one.metric.as_str(), unit_name(one.unit));
                series.push(RawSeries { device, metric, unit, values });
            }
        }
        let raw = Raw {
            schema: "hwledger.telemetry/1",
            start_ns: start.to_string(),
            after_ms: self.rows.iter().map(|row| (row.at_ns - start) / 1_000_000).collect(),
            series,
        };
        serde_json::to_vec(&raw).expect("it holds only strings and finite numbers")
    }
}
