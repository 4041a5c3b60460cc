//! A day of watching, in simulated time. Alone in its program, so that nothing else takes memory meanwhile.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot start should stop at once")]

use hwledger_probe::machine::{History, Mock, metric};

const HOUR: u64 = 3600;
/// What may come and go between two looks at the same program.
const NOISE_BYTES: u64 = 256 << 10;

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_day_of_watching_takes_no_more_memory_than_an_hour() {
    let mut mock = Mock::new(7, 1_000_000_000);
    let shown = [metric::HOST_CPU_UTILIZATION, metric::DEVICE_UTILIZATION, metric::DEVICE_POWER];
    let mut history = History::new(&shown, 600);
    let mut energy = Vec::with_capacity(2);
    let mut watch = |seconds: u64| {
        let mut last = None;
        for _ in 0..seconds {
            let snapshot = mock.snapshot();
            history.push(&snapshot);
            last = snapshot.devices[0].value(metric::DEVICE_ENERGY.name);
        }
        (resident(), history.len(), last.unwrap())
    };
    let (after_an_hour, values, joules) = watch(HOUR);
    energy.push(joules);
    let (after_a_day, values_then, joules) = watch(23 * HOUR);
    energy.push(joules);
    assert_eq!(values, 600 * 5, "the host's share, and two of each of two devices");
    assert_eq!(values_then, values);
    assert!(energy[1] > 20.0 * energy[0], "time has passed: {energy:?}");
    let grown = after_a_day.saturating_sub(after_an_hour);
    assert!(grown < NOISE_BYTES, "{after_an_hour} bytes after an hour and {after_a_day} after a day");
}
