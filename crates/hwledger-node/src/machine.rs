//! This machine as a device that can be planned for: what its processor reads and computes per second, measured.

use std::fs;
use std::path::{Path, PathBuf};

use hwledger_core::ElementType;
use hwledger_core::device::{Instructions, find};
use hwledger_core::projection::Priors;
use hwledger_core::projection::resource::Kernel;
use hwledger_core::settings::DeviceKind;
use hwledger_engine::{InstructionSet, Pool, product_rate, read_bandwidth};
use hwledger_formats::device_file::DeviceDescription;
use hwledger_ledger::store::clock_ns;
use serde::{Deserialize, Serialize};

use crate::locate::bounded;
use crate::native::cache_folder;
use crate::probe::metric::{HOST_MEMORY_LIMIT, HOST_POWER_LIMIT};
use crate::probe::own_snapshot;

/// The name that the machine has in plans.
pub const NAME: &str = "this machine";

/// What was measured of a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// `hwledger.machine/1`.
    pub schema: String,
    /// The processor, as it calls itself.
    pub processor: String,
    /// Threads that compute.
    pub threads: usize,
    /// The instructions that the native engine uses.
    pub instructions: String,
    /// Bytes of memory that programs may use: the machine's, or less where it is a container.
    pub memory_bytes: Option<u64>,
    /// Bytes that the threads read from memory per second.
    pub read_bandwidth: Option<f64>,
    /// Operations per second in products of 32-bit floats.
    pub float_rate: Option<f64>,
    /// Operations per second in products of 8-bit integers.
    pub integer_rate: Option<f64>,
    /// Watts that the processors may draw for long, where the system or the catalogue says.
    #[serde(default)]
    pub power_limit: Option<f64>,
    /// When, in nanoseconds since 1970.
    pub measured_at_ns: u64,
}

/// How long a measurement is good for.
const LIFE_NS: u64 = 24 * 3600 * 1_000_000_000;

/// Bytes of the file at most.
const FILE_BYTES_MAX: u64 = 64 << 10;

const SCHEMA: &str = "hwledger.machine/1";

/// What the system says of itself.
struct Description {
    /// The processor's name.
    processor: String,
    /// Bytes of memory that programs may use.
    memory_bytes: Option<u64>,
    /// Watts that the processors may draw for long.
    power_limit: Option<f64>,
}

fn describe() -> Description {
    let host = own_snapshot().host;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size in whole bytes, below 2^53")]
    let memory_bytes = host.value(HOST_MEMORY_LIMIT.name).map(|bytes| bytes as u64);
    let limits = host.readings.iter().filter(|reading| reading.metric == HOST_POWER_LIMIT.name);
    let power_limit = limits.filter_map(|reading| reading.outcome.value()).reduce(|left, right| left + right);
    let processor = host.processor.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let power_limit = power_limit.or_else(|| usual_power(&processor));
    Description { processor, memory_bytes, power_limit }
}

/// Watts of a processor of the catalogue. Names that several answer to say nothing.
fn usual_power(processor: &str) -> Option<f64> {
    let device = find(processor, None).ok()?.device;
    let spec = device.spec.filter(|spec| spec.kind == DeviceKind::Cpu)?;
    spec.power.map(|watts| watts.0)
}

/// The instructions of this machine's processor, as far as engines choose kernels and layouts by them.
pub(crate) fn own_instructions() -> Instructions {
    match InstructionSet::detect() {
        InstructionSet::Neon if has_matrices_of_bytes() => Instructions::NeonI8mm,
        set => Instructions::named(set.name()).unwrap_or(Instructions::Scalar),
    }
}

#[cfg(target_arch = "aarch64")]
fn has_matrices_of_bytes() -> bool {
    std::arch::is_aarch64_feature_detected!("i8mm")
}

#[cfg(not(target_arch = "aarch64"))]
const fn has_matrices_of_bytes() -> bool {
    false
}

/// Where the last measurement is kept.
fn remembered() -> Option<PathBuf> {
    Some(cache_folder()?.join("machine.json"))
}

impl Machine {
    /// Measures this machine with so many threads. Takes 256 MiB to 1 GiB for a second, as the caches are.
    ///
    /// # Errors
    ///
    /// The system gives no threads.
    pub fn measure(threads: usize) -> std::io::Result<Self> {
        let machine = Self::measured(threads)?;
        if let Some(path) = remembered() {
            // Whoever cannot write it measures again next time.
            let folder = path.parent().map(Path::to_owned).unwrap_or_default();
            let text = serde_json::to_string(&machine).unwrap_or_default();
            let _ = fs::create_dir_all(folder).and_then(|()| fs::write(path, text));
        }
        Ok(machine)
    }

    /// What was measured of this machine with so many threads within the last day, or else what is measured now.
    ///
    /// # Errors
    ///
    /// The system gives no threads.
    pub fn known(threads: usize) -> std::io::Result<Self> {
        let known = remembered().and_then(|path| bounded::read(&path, FILE_BYTES_MAX).ok());
        let known = known.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        let Description { processor, .. } = describe();
        let is_of_this = |machine: &Self| {
            let is_recent = clock_ns().checked_sub(machine.measured_at_ns).is_some_and(|age| age < LIFE_NS);
            machine.schema == SCHEMA && machine.processor == processor && machine.threads == threads && is_recent
        };
        match known.filter(is_of_this) {
            Some(machine) => Ok(machine),
            None => Self::measure(threads),
        }
    }

    fn measured(threads: usize) -> std::io::Result<Self> {
        let pool = Pool::new(threads.max(1))?;
        let set = InstructionSet::detect();
        let Description { processor, memory_bytes, power_limit } = describe();
        Ok(Self {
            schema: SCHEMA.to_owned(),
            processor,
            threads: pool.threads(),
            instructions: set.name().to_owned(),
            memory_bytes,
            read_bandwidth: read_bandwidth(&pool, set),
            float_rate: product_rate(ElementType::F32, &pool, set),
            integer_rate: product_rate(ElementType::Q8_0, &pool, set),
            power_limit,
            measured_at_ns: clock_ns(),
        })
    }

    /// The machine as a device that plans may name [`NAME`].
    pub fn device(&self) -> DeviceDescription {
        let gibibytes = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let gigabytes = |rate: f64| rate / 1e9;
        let tera = |rate: f64| rate / 1e12;
        // Plans of the native engine multiply the limit by the share of it that its kernels reach: the limit is what was
        // reached with 8-bit weights, divided by their share.
        let set = Instructions::named(&self.instructions);
        let share = set.and_then(|set| Priors::embedded().native_share(set, Kernel::Q8)).unwrap_or(1.0);
        let limit = self.integer_rate.map(|rate| tera(rate / share));
        let is_tiled = set == Some(Instructions::Amx);
        DeviceDescription {
            name: NAME.to_owned(),
            kind: Some("cpu".to_owned()),
            memory_gib: self.memory_bytes.map(gibibytes).into_iter().collect(),
            bandwidth_gb_s: self.read_bandwidth.map(gigabytes),
            units: u32::try_from(self.threads).ok(),
            fp32_tflops: self.float_rate.map(tera),
            // Products with 16-bit weights are done in 32 bits.
            fp16_tflops: self.float_rate.map(tera),
            bf16_tflops: if is_tiled { limit } else { self.float_rate.map(tera) },
            int8_tops: limit.filter(|_| !is_tiled),
            power_w: self.power_limit,
            source: Some(format!("measured on {} with {} threads", self.processor, self.threads)),
            ..DeviceDescription::default()
        }
    }
}
