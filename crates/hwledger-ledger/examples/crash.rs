//! Kills a process that appends, at random moments, many times, and checks each time that nothing acknowledged is lost.
//!
//! `cargo run --release -p hwledger-ledger --example crash -- --rounds 1000 --seed 1 [--mode power] [--output FILE]`
//!
//! In mode `power` the process is stopped instead, its files are copied, and the copy loses what was not synced.

#![expect(clippy::unwrap_used, reason = "a failed step fails the run")]

#[path = "../tests/ledger/crash/mod.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod crash;
#[path = "../tests/ledger/folder.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod folder;
mod machine;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crash::{Counts, Known, Random, Running};
use serde_json::json;

/// Rounds that one ledger sees before the next one is begun.
const ROUNDS_OF_A_LEDGER: u64 = 10;

/// Everything that a run holds on to.
struct Run {
    folder: folder::Folder,
    random: Random,
    threads: u64,
    is_power: bool,
    counts: Counts,
    power: Power,
}

/// What was lost on purpose.
#[derive(Default)]
struct Power {
    cuts: u64,
    log_bytes: usize,
    sectors: usize,
    counts: Counts,
}

impl Run {
    fn round(&mut self, number: u64, place: &Path, known: &mut Known) -> Result<(), String> {
        let threads = self.threads.to_string();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child".as_ref(), place.as_os_str()]).args([&number.to_string(), &threads]);
        // Short enough to meet creation and opening, long enough to meet everything else.
        let longest = if self.random.below(2) == 0 { 30_000 } else { 400_000 };
        let delay = Duration::from_micros(self.random.below(longest));
        let running = Running::start(&mut command);
        std::thread::sleep(delay);
        if self.is_power && crash::stop(running.id()) {
            self.cut(&running, number, place, known)?;
        }
        known.hear(&running.kill(), &mut self.counts)?;
        known.check(place, number, self.threads, &mut self.counts)
    }

    /// Checks what a power cut now would leave.
    fn cut(&mut self, running: &Running, number: u64, place: &Path, known: &Known) -> Result<(), String> {
        let copied = place.with_extension("copy");
        let mut known = known.clone();
        if !place.is_dir() {
            return Ok(());
        }
        folder::copy(place, &copied);
        known.hear(&running.said(), &mut self.power.counts)?;
        let (log_bytes, sectors) = crash::cut_power(&copied, known.size_min(), &mut self.random);
        self.power.cuts += 1;
        self.power.log_bytes += log_bytes;
        self.power.sectors += sectors;
        known.check(&copied, number, self.threads, &mut self.power.counts)?;
        std::fs::remove_dir_all(&copied).map_err(|error| error.to_string())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, folder, round, threads] = arguments.as_slice()
        && mode == "child"
    {
        crash::append_until_killed(Path::new(folder), round.parse().unwrap(), threads.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let (rounds, seed) = (machine::number("rounds", 1000), machine::number("seed", 1));
    let is_power = machine::option("mode").as_deref() == Some("power");
    let mut run = Run {
        folder: folder::Folder::new(),
        random: Random(seed),
        threads: machine::number("threads", 8),
        is_power,
        counts: Counts::default(),
        power: Power::default(),
    };
    let output = machine::option("output").map(PathBuf::from);
    let start = Instant::now();
    let mut failures = Vec::new();
    let mut known = Known::default();
    for number in 0..rounds {
        let place = run.folder.path(&format!("{}", number / ROUNDS_OF_A_LEDGER));
        if number % ROUNDS_OF_A_LEDGER == 0 {
            known = Known::default();
        }
        if let Err(why) = run.round(number, &place, &mut known) {
            failures.push(format!("round {number}: {why}"));
            break;
        }
        if (number + 1) % ROUNDS_OF_A_LEDGER == 0 {
            std::fs::remove_dir_all(&place).unwrap();
        }
    }
    let Run { counts, power, .. } = &run;
    let line = json!({
        "kind": "crash", "mode": if is_power { "power" } else { "kill" }, "rounds": counts.rounds, "seed": seed,
        "threads": run.threads, "acknowledged": counts.acknowledged, "checkpoints": counts.checkpoints,
        "killed_during_creation": counts.during_creation, "killed_during_opening": counts.during_opening,
        "killed_during_signing": counts.during_signing, "durable_unacknowledged": counts.durable_unacknowledged,
        "retried_found": counts.retried_found, "retried_new": counts.retried_new,
        "entries_checked": counts.entries_checked, "power_cuts": power.cuts, "power_log_bytes_lost": power.log_bytes,
        "power_sectors_torn": power.sectors, "power_entries_checked": power.counts.entries_checked,
        "power_during_creation": power.counts.during_creation, "power_during_signing": power.counts.during_signing,
        "seconds": start.elapsed().as_secs_f64(), "failures": failures, "machine": machine::describe(&run.folder.0),
    });
    machine::report(&line, output.as_deref()).unwrap();
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
