//! Sampling on a thread of its own: the crate blocks for as long as a sample lasts.
//!
//! Never run; see the module above.

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use macmon::Sampler;

use super::Answers;
use crate::machine::collect::Collector;
use crate::machine::device::DeviceSnapshot;
use crate::machine::rate::Rates;

/// How long one sample lasts.
const SAMPLE_MS: u32 = 500;

/// The last sample and when it was taken, or why there is none.
type Latest = Arc<Mutex<Result<(Answers, u64), String>>>;

/// The sampler's last word.
#[derive(Debug)]
pub(crate) struct Apple {
    latest: Latest,
}

impl Apple {
    /// Starts the thread, which ends soon after this value is gone.
    pub(crate) fn open(is_live: bool) -> Self {
        let latest: Latest = Arc::new(Mutex::new(Err("no sample was taken yet".to_owned())));
        if is_live {
            let shared = Arc::downgrade(&latest);
            thread::spawn(move || {
                let mut sampler = match Sampler::new() {
                    Ok(sampler) => sampler,
                    Err(error) => {
                        if let Some(latest) = shared.upgrade() {
                            *latest.lock().unwrap_or_else(PoisonError::into_inner) = Err(error.to_string());
                        }
                        return;
                    }
                };
                let wired_limit_mib = wired_limit();
                while shared.strong_count() > 0 {
                    let sample = sample(&mut sampler, wired_limit_mib);
                    let Some(latest) = shared.upgrade() else { return };
                    *latest.lock().unwrap_or_else(PoisonError::into_inner) = sample;
                }
            });
        }
        Self { latest }
    }

    fn latest(&self) -> Result<(Answers, u64), String> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The device, where a sample was taken.
    pub(crate) fn read(&self, rates: &mut Rates) -> Option<DeviceSnapshot> {
        self.latest().ok().map(|(answers, at_ns)| super::device(&answers, rates, at_ns))
    }

    /// The host's part of the sample; why there is none comes back.
    pub(crate) fn host(&self, rates: &mut Rates, collector: &mut Collector) -> Option<String> {
        match self.latest() {
            Ok((answers, _)) => {
                super::host(&answers, rates, collector);
                None
            }
            Err(reason) => Some(reason),
        }
    }
}

fn sample(sampler: &mut Sampler, wired_limit_mib: Option<u64>) -> Result<(Answers, u64), String> {
    let metrics = sampler.get_metrics(SAMPLE_MS).map_err(|error| error.to_string())?;
    let chip = sampler.get_soc_info();
    let answers = Answers {
        chip: chip.chip_name.clone(),
        memory_total: metrics.memory.ram_total,
        memory_used: metrics.memory.ram_usage,
        swap: (metrics.memory.swap_total, metrics.memory.swap_usage),
        wired_limit_mib,
        gpu_active: metrics.gpu_active_ratio,
        gpu_mhz: metrics.gpu_freq_mhz,
        gpu_watts: metrics.gpu_power,
        gpu_celsius: metrics.temp.gpu_temp_avg,
        processors_active: metrics.cpu_active_ratio,
        processors_watts: metrics.cpu_power,
        processors_celsius: metrics.temp.cpu_temp_avg,
        is_virtual: chip.vm,
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((answers, u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)))
}

fn wired_limit() -> Option<u64> {
    let output = Command::new("/usr/sbin/sysctl").args(["-n", "iogpu.wired_limit_mb"]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
