//! One snapshot after another, with what came before.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use hwledger_probe::machine::{History, Metric, processor_time};

use super::metric::{
    DEVICE_MEMORY_TOTAL, DEVICE_MEMORY_USED, DEVICE_POWER, DEVICE_POWER_LIMIT, DEVICE_TEMPERATURE, DEVICE_UTILIZATION,
    HOST_CPU_UTILIZATION, HOST_MEMORY_TOTAL, HOST_MEMORY_USED, HOST_POWER,
};
use super::{ProbeError, Recorder, Snapshot, SourceName};

/// How a machine is watched.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// What is watched.
    pub source: SourceName,
    /// Time between two snapshots; a machine that does not exist, and a recording, take it only where `paces` is set.
    pub interval: Duration,
    /// Snapshots after which watching ends; none for no end (a recording has its own).
    pub count: Option<u64>,
    /// Whether time passes between snapshots of what does not move by itself.
    pub paces: bool,
    /// Values of each series that are kept.
    pub history: usize,
    /// A new file in which every snapshot is written down.
    pub record: Option<PathBuf>,
}

/// What was watched, when it ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watched {
    /// Snapshots.
    pub snapshots: u64,
    /// Time from the first to the end.
    pub elapsed: Duration,
    /// Time that processors spent on this process meanwhile; none where the system does not say.
    pub processor_time: Option<Duration>,
}

impl Watched {
    /// Share of one processor's time that watching took.
    pub fn processor_share(&self) -> Option<f64> {
        let elapsed = self.elapsed.as_secs_f64();
        self.processor_time.filter(|_| elapsed > 0.0).map(|time| time.as_secs_f64() / elapsed)
    }
}

/// A value with those before it, as shares of what is most.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WatchSeries {
    /// The last value, in its metric's unit.
    pub value: Option<f64>,
    /// The last values from 0 to 1, the oldest first; none where there was no value.
    pub shares: Vec<Option<f64>>,
}

/// One line of what people watch: the host or a device.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchRow {
    /// What it is called; none for the host.
    pub name: Option<String>,
    /// Share of time in which it was busy.
    pub utilization: WatchSeries,
    /// Power in watts; the most is its limit, or else the most of the values that are kept.
    pub power: WatchSeries,
    /// Memory in use in bytes.
    pub memory: WatchSeries,
    /// All of its memory in bytes.
    pub memory_total: Option<f64>,
    /// Its highest temperature in degrees Celsius.
    pub temperature: Option<f64>,
}

/// A snapshot and what came before it.
#[derive(Debug)]
pub struct Watch<'watch> {
    /// The snapshot.
    pub snapshot: &'watch Snapshot,
    history: &'watch History,
}

impl Watch<'_> {
    /// The host first, then each device.
    pub fn rows(&self) -> Vec<WatchRow> {
        let host = &self.snapshot.host;
        let total = host.value(HOST_MEMORY_TOTAL.name);
        let mut rows = vec![WatchRow {
            name: None,
            utilization: self.series(None, HOST_CPU_UTILIZATION, Some(1.0)),
            power: self.series(None, HOST_POWER, None),
            memory: self.series(None, HOST_MEMORY_USED, total),
            memory_total: total,
            temperature: None,
        }];
        rows.extend(self.snapshot.devices.iter().map(|one| {
            let id = Some(one.device.id.as_str());
            let total = one.value(DEVICE_MEMORY_TOTAL.name);
            let degrees = one.readings.iter().filter(|reading| reading.metric == DEVICE_TEMPERATURE.name);
            WatchRow {
                name: Some(one.device.name.clone()),
                utilization: self.series(id, DEVICE_UTILIZATION, Some(1.0)),
                power: self.series(id, DEVICE_POWER, one.value(DEVICE_POWER_LIMIT.name)),
                memory: self.series(id, DEVICE_MEMORY_USED, total),
                memory_total: total,
                temperature: degrees.filter_map(|reading| reading.outcome.value()).reduce(f64::max),
            }
        }));
        rows
    }

    fn series(&self, device: Option<&str>, metric: Metric, most: Option<f64>) -> WatchSeries {
        let values = self.history.values(device, metric);
        let most = most.or_else(|| values.iter().flatten().copied().reduce(f64::max)).filter(|most| *most > 0.0);
        let share = |value: Option<f64>| value.zip(most).map(|(value, most)| (value / most).clamp(0.0, 1.0));
        WatchSeries { value: values.last().copied().flatten(), shares: values.iter().copied().map(share).collect() }
    }
}

/// Hands `show` one snapshot after another, until `show` says that it has seen enough (false), the number is reached or
/// a recording ends.
///
/// Snapshots are taken at fixed moments, so that the time they take does not add up. A moment that has passed already
/// is left out.
pub fn watch(options: &WatchOptions, mut show: impl FnMut(&Watch) -> io::Result<bool>) -> Result<Watched, ProbeError> {
    let mut source = options.source.open(options.interval)?;
    let failed = |path: &PathBuf| {
        let path = path.clone();
        move |source| ProbeError::Record { path, source }
    };
    let mut recorder = match &options.record {
        Some(path) => Some((Recorder::create(path).map_err(failed(path))?, path)),
        None => None,
    };
    let shown =
        [HOST_CPU_UTILIZATION, HOST_MEMORY_USED, HOST_POWER, DEVICE_UTILIZATION, DEVICE_POWER, DEVICE_MEMORY_USED];
    let mut history = History::new(&shown, options.history);
    let (start, processor) = (Instant::now(), processor_time());
    let (mut next, mut snapshots) = (start, 0);
    while options.count.is_none_or(|count| snapshots < count) {
        if snapshots > 0 && (source.is_live() || options.paces) {
            next = after(next + options.interval, options.interval);
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let Some(snapshot) = source.next_snapshot()? else { break };
        history.push(&snapshot);
        snapshots += 1;
        if let Some((recorder, path)) = &mut recorder {
            recorder.write(&snapshot).map_err(failed(path))?;
        }
        if !show(&Watch { snapshot: &snapshot, history: &history }).map_err(ProbeError::Show)? {
            break;
        }
    }
    let spent = processor_time().zip(processor).map(|(now, before)| now.saturating_sub(before));
    Ok(Watched { snapshots, elapsed: start.elapsed(), processor_time: spent })
}

/// The first moment of a raster that is still to come.
fn after(mut moment: Instant, interval: Duration) -> Instant {
    let now = Instant::now();
    let late = now.saturating_duration_since(moment);
    if !interval.is_zero() && late > interval {
        let missed = u32::try_from(late.as_nanos() / interval.as_nanos()).unwrap_or(u32::MAX);
        moment += interval * missed;
    }
    moment
}
