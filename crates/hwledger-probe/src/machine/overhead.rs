//! What the probe itself takes.

use std::time::Duration;

/// Time that processors spent on this process so far, in all its threads; none where the system does not say.
#[cfg(unix)]
pub fn processor_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

/// Time that processors spent on this process so far, in all its threads; none where the system does not say.
#[cfg(not(unix))]
pub fn processor_time() -> Option<Duration> {
    None
}
