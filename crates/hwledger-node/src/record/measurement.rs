//! What a run gave, and what else the machine was doing meanwhile.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hwledger_core::calibration::Figure;
use hwledger_formats::measurement::{MeasuredRun, to_line};
use hwledger_ledger::event::{Count, Decimal, Draft, EngineWindowRecorded, Measure};
use hwledger_ledger::store::clock_ns;

use super::prediction::energy_shown_by;
use super::telemetry::{Energy, Samples, Watching, drafts};
use super::{Prediction, RecordError, Recorder, blob};
use crate::calibrate::measured;
use crate::machine;
use crate::names::loose_key;

/// Clock ticks of the processors, from `/proc/stat` and `/proc/self/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    all: u64,
    idle: u64,
    stolen: u64,
    own: u64,
    /// Processors that there are.
    processors: u64,
}

impl Ticks {
    /// Those of now, and of some processes together, each `self` or its number.
    fn now(processes: &[&str]) -> Option<Self> {
        let machine = fs::read_to_string("/proc/stat").ok()?;
        let of = |process: &&str| Self::parse(&machine, &fs::read_to_string(format!("/proc/{process}/stat")).ok()?);
        let (first, more) = processes.split_first()?;
        more.iter().try_fold(of(first)?, |sum, process| Some(Self { own: sum.own + of(process)?.own, ..sum }))
    }

    /// The shares of all processors' time since `before` that were busy, of the process, and taken away by the host.
    fn since(&self, before: &Self) -> Option<[f64; 3]> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        let part = |before: u64, after: u64| after.saturating_sub(before) as f64 / all as f64;
        let busy = 1.0 - part(before.idle, self.idle);
        Some([busy, part(before.own, self.own), part(before.stolen, self.stolen)])
    }

    /// proc(5): `cpu user nice system idle iowait irq softirq steal …`; of a process, fields 14 and 15.
    fn parse(machine: &str, process: &str) -> Option<Self> {
        let fields: Vec<u64> = machine
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        // The name, in parentheses, may hold anything.
        let rest: Vec<&str> = process.rsplit_once(')')?.1.split_whitespace().collect();
        let own = rest.get(11)?.parse::<u64>().ok()? + rest.get(12)?.parse::<u64>().ok()?;
        let sum = fields.iter().take(8).sum();
        let is_processor = |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| !rest.starts_with(' '));
        let processors = machine.lines().filter(is_processor).count() as u64;
        Some(Self { all: sum, idle: fields.get(3)? + fields.get(4)?, stolen: *fields.get(7)?, own, processors })
    }
}

/// Time over which it is looked how busy the machine is, at least.
const LOOK: Duration = Duration::from_millis(250);
/// How long a look is good for.
const LOOK_LIFE: Duration = Duration::from_secs(5);

/// How busy others keep the machine before a run.
#[derive(Debug)]
pub(super) struct Others(Mutex<Look>);

#[derive(Clone, Copy, Debug)]
struct Look {
    /// The engine's process, where it is another one.
    engine: Option<u32>,
    ticks: Option<Ticks>,
    began: Instant,
    /// When it ended, and the processors, the processors' worth of work that others had, and the share that the host took.
    found: Option<(Instant, [f64; 3])>,
}

impl Look {
    fn begin(engine: Option<u32>) -> Self {
        Self { engine, ticks: Self::ticks(engine), began: Instant::now(), found: None }
    }

    fn ticks(engine: Option<u32>) -> Option<Ticks> {
        match engine.map(|process| process.to_string()) {
            Some(process) => Ticks::now(&["self", &process]),
            None => Ticks::now(&["self"]),
        }
    }
}

impl Others {
    /// Begins to look.
    pub(super) fn look() -> Self {
        Self(Mutex::new(Look::begin(None)))
    }

    /// Begins anew, now that an engine that others started has nothing to do: what it did before is no work of others.
    /// What its process does from here on is not either, where that is known.
    pub(super) fn look_again(&self, engine: Option<u32>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Look::begin(engine);
    }

    /// The share of the time of `threads` threads (all processors where nobody says) that others would leave to them now,
    /// had they as much to do as just before; none where the system does not say.
    ///
    /// The system gives every thread that runs the same time: with work for `k` processors beside `t` threads, each of
    /// these has `processors / (k + t)` of a processor, and one at most.
    pub(super) fn share_left(&self, threads: Option<u64>) -> Option<f64> {
        let mut look = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if look.found.is_none_or(|(ended, _)| ended.elapsed() > LOOK_LIFE) {
            thread::sleep(LOOK.saturating_sub(look.began.elapsed()));
            let now = Look::ticks(look.engine)?;
            let [busy, own, stolen] = now.since(look.ticks.as_ref()?)?;
            let processors = now.processors as f64;
            let found = [processors, (busy - own - stolen).max(0.0) * processors, stolen];
            *look = Look { found: Some((Instant::now(), found)), ..Look::begin(look.engine) };
        }
        let (_, [processors, wanted, stolen]) = look.found?;
        Some(share_beside(processors, wanted, stolen, threads))
    }
}

/// See [`Others::share_left`].
fn share_beside(processors: f64, wanted: f64, stolen: f64, threads: Option<u64>) -> f64 {
    let threads = threads.map_or(processors, |threads| threads as f64).max(1.0);
    ((processors / (wanted + threads)).min(1.0) * (1.0 - stolen)).clamp(SHARE_MIN, 1.0)
}

/// The share of a run's threads' time that was left to them.
fn share_left(processors: f64, elsewhere: f64, stolen: f64, threads: Option<u64>) -> f64 {
    let threads = threads.map_or(processors, |threads| threads as f64).max(1.0);
    ((1.0 - elsewhere - stolen) * processors / threads).clamp(SHARE_MIN, 1.0)
}

/// The least share that is told: less is a machine that stands still.
const SHARE_MIN: f64 = 0.01;

/// The figure that says what share of the processors' time was left to a run.
pub(super) const SHARE_LEFT: &str = "processor_share_left_ratio";

/// What the machine does while a run is measured: without it nobody can tell a slow engine from a busy machine.
/// [`Recorder::watch`] begins it.
#[derive(Debug)]
pub struct Surroundings {
    start_ns: u64,
    ticks: Option<Ticks>,
    /// The engine's process: `self`, or its number.
    process: Option<String>,
    watching: Watching,
    work: Result<f64, String>,
}

/// What counters say that processors and devices took together, as far as they are counted.
fn counted(samples: &Samples) -> Result<f64, String> {
    let all: [Option<Energy>; 2] = [Some(samples.processor_energy()), samples.devices_energy(|_| true)];
    let (mut joules, mut reasons) = (None, Vec::new());
    for one in all.into_iter().flatten() {
        match one {
            Ok((found, true)) => joules = Some(joules.unwrap_or(0.0) + found),
            Ok((_, false)) => reasons.push("a device has no counter of energy, only its power is known".to_owned()),
            Err(reason) => reasons.push(reason),
        }
    }
    joules.ok_or_else(|| reasons.join("; "))
}

/// What the run's device took: this machine's processors where it ran on them, otherwise the devices of that name.
fn energy_of(samples: &Samples, device: Option<&str>) -> Energy {
    let Some(device) = device.filter(|device| *device != machine::NAME) else { return samples.processor_energy() };
    let wanted = loose_key(device);
    let found = samples.devices_energy(|name| loose_key(name).contains(&wanted));
    found.unwrap_or_else(|| Err(format!("this machine has no device that is called `{device}`")))
}

impl Surroundings {
    /// Says how much was done while it was watched: tokens of prompts, generated tokens or requests, whichever the run is
    /// about; or why that is not known.
    pub fn set_work(&mut self, work: Result<f64, &str>) {
        self.work = work.map_err(str::to_owned);
    }

    /// The figure of energy: joules by what was done.
    fn energy(&self, figure: Figure, samples: &Samples, device: Option<&str>) -> Measure {
        let per_work = self.work.clone().and_then(|work| {
            let (joules, is_counter) = energy_of(samples, device)?;
            if work > 0.0 { Ok((joules / work, is_counter)) } else { Err("nothing was done".to_owned()) }
        });
        // What a counter did not notice was too little for it.
        let (value, quality, reason) = match per_work {
            Ok((joules, true)) if joules > 0.0 => (Decimal::new(joules), "measured", None),
            Ok((joules, false)) if joules > 0.0 => (Decimal::new(joules), "derived", None),
            Ok(_) => (None, "unsupported", Some("the counter of energy did not advance".to_owned())),
            Err(reason) => (None, "unsupported", Some(reason)),
        };
        Measure {
            figure: figure.name().to_owned(),
            value,
            source: "counters of energy".to_owned(),
            quality: quality.to_owned(),
            reason,
        }
    }

    fn measures(&self, samples: &Samples, threads: Option<u64>) -> Vec<Measure> {
        let share = |figure: &str, value: Option<f64>, source: &str| Measure {
            figure: figure.to_owned(),
            value: value.and_then(Decimal::new),
            source: source.to_owned(),
            quality: if value.is_some() { "derived" } else { "unsupported" }.to_owned(),
            reason: value.is_none().then(|| "the system does not say".to_owned()),
        };
        let now = Ticks::now(&[self.process.as_deref().unwrap_or("self")]);
        let ticks = self.ticks.zip(now).and_then(|(before, after)| after.since(&before));
        let elsewhere =
            ticks.filter(|_| self.process.is_some()).map(|[busy, own, stolen]| (busy - own - stolen).max(0.0));
        let left = elsewhere
            .zip(ticks)
            .zip(now)
            .map(|((elsewhere, [.., stolen]), now)| share_left(now.processors as f64, elsewhere, stolen, threads));
        let energy = counted(samples);
        vec![
            Measure {
                reason: energy.as_ref().err().cloned(),
                ..share("energy_joules", energy.ok(), "counters of processors and devices")
            },
            share("processor_busy_ratio", ticks.map(|[busy, ..]| busy), "/proc/stat"),
            share("processor_stolen_ratio", ticks.map(|[.., stolen]| stolen), "/proc/stat"),
            share("processor_busy_elsewhere_ratio", elsewhere, "/proc/stat, /proc/[pid]/stat"),
            share(SHARE_LEFT, left, "/proc/stat, /proc/[pid]/stat"),
        ]
    }
}

impl Recorder<'_> {
    /// Begins to watch what the machine does. `is_own_process` says that the engine runs in this process.
    pub fn watch(&self, is_own_process: bool) -> Surroundings {
        self.watch_process(is_own_process.then(|| "self".to_owned()))
    }

    /// The same; the engine's process is told by its number, or `self`.
    pub(super) fn watch_process(&self, process: Option<String>) -> Surroundings {
        let watching = self.sampler.watch();
        let ticks = Ticks::now(&[process.as_deref().unwrap_or("self")]);
        let work = Err("the run does not say how much was done".to_owned());
        Surroundings { start_ns: clock_ns(), ticks, process, watching, work }
    }

    /// Writes down what a predicted run gave, and what the machine did meanwhile. `source` says who measured. Returns
    /// the entry of what it gave.
    ///
    /// # Errors
    ///
    /// The ledger takes nothing.
    pub fn measure(
        &self,
        prediction: &Prediction,
        run: &MeasuredRun,
        surroundings: &Surroundings,
        source: &str,
    ) -> Result<u64, RecordError> {
        let found = measured(run);
        let samples = surroundings.watching.samples();
        let mut measures = Vec::new();
        for (figure, _) in &prediction.estimates {
            if energy_shown_by(run.workload.kind) == Some(*figure) {
                measures.push(surroundings.energy(*figure, &samples, run.device.as_deref()));
                continue;
            }
            let value = match figure {
                Figure::TotalBytes => run.figures.peak_memory_bytes.map(|bytes| bytes.0 as f64),
                _ => found.iter().find(|(known, ..)| known == figure).map(|(_, value, _)| *value),
            };
            let value = value.and_then(Decimal::new);
            measures.push(Measure {
                figure: figure.name().to_owned(),
                quality: if value.is_some() { "measured" } else { "unsupported" }.to_owned(),
                reason: value.is_none().then(|| "this run does not show it".to_owned()),
                value,
                source: source.to_owned(),
            });
        }
        measures.extend(surroundings.measures(&samples, run.settings.threads));
        let raw = blob::keep(self.ledger.folder(), to_line(run).as_bytes())?;
        let event = EngineWindowRecorded {
            run: Some(prediction.run.clone()),
            engine: run.engine.clone().unwrap_or_else(|| "unknown".to_owned()),
            engine_version: run.engine_version.clone(),
            start_ns: Count(surroundings.start_ns),
            end_ns: Count(clock_ns()),
            measures,
            raw: Some(raw),
        };
        let subject = format!("run/{}", prediction.run);
        let windows = samples.windows();
        let telemetry = blob::keep(self.ledger.folder(), &samples.raw())?;
        let measured =
            Draft { correlation_id: Some(prediction.run.clone()), ..Draft::new("hwledger/record", &subject, event) };
        let mut all = vec![measured];
        all.extend(drafts(&windows, Some(&prediction.run), telemetry));
        let receipts = self.ledger.append_all(&all)?.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(receipts.first().map_or(0, |receipt| receipt.index))
    }
}

#[cfg(test)]
mod tests {
    use super::{Ticks, share_beside, share_left};

    #[test]
    fn others_leave_what_the_system_shares_out() {
        let close = |left: f64, right: f64| assert!((left - right).abs() < 1e-12, "{left} {right}");
        // Nobody else, or only on processors that the run does not use.
        close(share_beside(2.0, 0.0, 0.0, None), 1.0);
        close(share_beside(8.0, 4.0, 0.0, Some(4)), 1.0);
        // As many others as processors: half. What they then take is told of the run itself.
        close(share_beside(2.0, 2.0, 0.0, None), 0.5);
        close(share_left(2.0, 0.5, 0.0, None), 0.5);
        close(share_left(8.0, 0.5, 0.0, Some(4)), 1.0);
        close(share_beside(2.0, 0.0, 0.25, None), 0.75);
        close(share_left(2.0, 0.25, 0.25, Some(2)), 0.5);
        close(share_left(2.0, 1.0, 0.5, None), 0.01);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_engine_of_its_own_process_is_not_others() {
        let before = Ticks::now(&["self"]).unwrap().own;
        assert!(Ticks::now(&["self", "self"]).unwrap().own >= 2 * before);
        assert_eq!(Ticks::now(&["self", "no process"]), None);
        // A look begun anew knows nothing of what was before.
        let others = super::Others::look();
        others.share_left(None).unwrap();
        assert!(others.0.lock().unwrap().found.is_some());
        others.look_again(Some(std::process::id()));
        let look = *others.0.lock().unwrap();
        assert_eq!((look.found, look.engine), (None, Some(std::process::id())));
        assert!(others.share_left(None).is_some_and(|share| (0.01..=1.0).contains(&share)));
    }

    #[test]
    fn shares_are_of_the_time_between() {
        let at = |all, idle, stolen, own| Ticks { all, idle, stolen, own, processors: 2 };
        let shares = at(300, 150, 10, 90).since(&at(100, 50, 0, 10)).unwrap();
        assert_eq!(shares.map(|share| format!("{share:.3}")), ["0.500", "0.400", "0.050"]);
        assert_eq!(at(100, 1, 1, 1).since(&at(100, 0, 0, 0)), None);
    }

    #[test]
    fn ticks_are_read_past_any_name() {
        let stat = "cpu  100 5 20 800 10 1 2 7 0 0\ncpu0 1 2 3\n";
        let own = "77 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 40 2 0 0 20 0\n";
        let ticks = Ticks::parse(stat, own).unwrap();
        assert_eq!(ticks, Ticks { all: 945, idle: 810, stolen: 7, own: 42, processors: 1 });
        assert_eq!(Ticks::parse("cpu  1 2\n", own), None);
        assert_eq!(Ticks::parse(stat, "77"), None);
    }
}
