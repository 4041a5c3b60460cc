//! Efficiencies: what share of the ideal a kernel reaches, by what is known about it.
//!
//! An efficiency is a product of factors, one per level of a hierarchy: the resource, the kernel,
//! the engines that share kernels, the backend, the device's family, the device itself. Each factor
//! is fitted as a deviation from its parents and shrunk towards none ([`super::fit`]), so that a
//! device that nobody measured gets its family's, and a family that nobody measured its backend's.
//! Factors are data (`efficiency.tsv`, written by `hwledger fit-efficiency`), with how far each can
//! be trusted; what they start from is data too (`priors.tsv`, with sources).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use super::key_hasher::KeyMap;
use super::own_prior::OwnPriors;
use super::resource::{Backend, Kernel, Resource, Runner};
use super::speed::Novelty;
use super::vocabulary::{NOBODY, Vocabulary};
use crate::device::Instructions;

/// Levels of the hierarchy, from the most general.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// The resource alone.
    Resource,
    /// The resource and the kernel.
    Kernel,
    /// Engines that share kernels, and the backend.
    Backend,
    /// The same and the kernel.
    BackendKernel,
    /// The same and the device's family.
    Family,
    /// The same and the kernel.
    FamilyKernel,
    /// One engine on one backend.
    Engine,
    /// One device.
    Device,
    /// Models of one architecture on these engines.
    Architecture,
    /// Models of one architecture in one engine on one backend.
    EngineArchitecture,
    /// Models of one architecture in one engine on one device.
    DeviceArchitecture,
}

impl Level {
    /// All levels.
    pub const ALL: [Self; 11] = [
        Self::Resource,
        Self::Kernel,
        Self::Backend,
        Self::BackendKernel,
        Self::Family,
        Self::FamilyKernel,
        Self::Engine,
        Self::Device,
        Self::Architecture,
        Self::EngineArchitecture,
        Self::DeviceArchitecture,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Kernel => "kernel",
            Self::Backend => "backend",
            Self::BackendKernel => "backend+kernel",
            Self::Family => "family",
            Self::FamilyKernel => "family+kernel",
            Self::Engine => "engine",
            Self::Device => "device",
            Self::Architecture => "architecture",
            Self::EngineArchitecture => "engine+architecture",
            Self::DeviceArchitecture => "device+architecture",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// Where kernels run, as far as efficiencies depend on it. Names are numbers of a [`Vocabulary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The engine by itself.
    pub engine: Runner,
    /// The engines whose kernels it shares.
    pub group: Runner,
    /// What runs kernels.
    pub backend: Backend,
    /// The device's family, if it is in the vocabulary.
    pub family: Option<u16>,
    /// The device, if it is in the vocabulary.
    pub device: Option<u16>,
    /// The model's architecture, if it is in the vocabulary.
    pub architecture: Option<u16>,
    /// What the processor has, where kernels differ by it.
    pub instructions: Option<Instructions>,
}

/// One factor's place in the hierarchy, packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FactorKey(u64);

/// A factor that an efficiency is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    /// Its level.
    pub level: Level,
    /// Its key.
    pub key: FactorKey,
}

impl FactorKey {
    const fn pack(
        level: Level,
        resource: Resource,
        runner: Option<Runner>,
        backend: Option<Backend>,
        kernel: Kernel,
        name: u16,
    ) -> Self {
        let runner = match runner {
            Some(runner) => runner as u64 + 1,
            None => 0,
        };
        let backend = match backend {
            Some(backend) => backend as u64 + 1,
            None => 0,
        };
        Self(
            (level as u64) << 56
                | (resource as u64) << 48
                | runner << 40
                | backend << 32
                | (kernel as u64) << 24
                | name as u64,
        )
    }
}

impl FactorKey {
    /// The key of a device and an architecture together: no kernel, but two names.
    const fn pair(resource: Resource, engine: Runner, backend: Backend, device: u16, architecture: u16) -> Self {
        let key =
            Self::pack(Level::DeviceArchitecture, resource, Some(engine), Some(backend), Kernel::Any, architecture);
        Self(key.0 & !0xffff_0000 | (device as u64) << 16)
    }
}

impl Place {
    /// Calls `visit` with every factor of `resource` with `kernel` here, from the most general.
    pub fn factors(&self, resource: Resource, kernel: Kernel, mut visit: impl FnMut(Factor)) {
        let mut at = |level, runner, backend, kernel, name| {
            visit(Factor { level, key: FactorKey::pack(level, resource, runner, backend, kernel, name) });
        };
        let (group, backend) = (Some(self.group), Some(self.backend));
        let has_kernel = kernel != Kernel::Any;
        at(Level::Resource, None, None, Kernel::Any, NOBODY);
        if has_kernel {
            at(Level::Kernel, None, None, kernel, NOBODY);
        }
        at(Level::Backend, group, backend, Kernel::Any, NOBODY);
        if has_kernel {
            at(Level::BackendKernel, group, backend, kernel, NOBODY);
        }
        if let Some(family) = self.family {
            at(Level::Family, group, backend, Kernel::Any, family);
            if has_kernel && resource.reads_weights() {
                at(Level::FamilyKernel, group, backend, kernel, family);
            }
        }
        if resource.is_engines_own() {
            at(Level::Engine, Some(self.engine), backend, Kernel::Any, NOBODY);
        }
        if !matches!(resource, Resource::OverallDecode | Resource::OverallPrefill) {
            return;
        }
        // One device or architecture is measured too seldom to tell causes apart: it moves all alike.
        if let Some(device) = self.device {
            at(Level::Device, group, backend, Kernel::Any, device);
        }
        if let Some(architecture) = self.architecture {
            at(Level::Architecture, group, None, Kernel::Any, architecture);
            at(Level::EngineArchitecture, Some(self.engine), backend, Kernel::Any, architecture);
            if let Some(device) = self.device {
                visit(Factor {
                    level: Level::DeviceArchitecture,
                    key: FactorKey::pair(resource, self.engine, self.backend, device, architecture),
                });
            }
        }
    }
}

/// A fitted factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FittedFactor {
    /// Natural logarithm of the factor.
    pub log: f64,
    /// Standard deviation of what is still unknown about it.
    pub deviation: f64,
    /// Measurements that bear on it, weighted by how much of their time it explains.
    pub support: f64,
}

/// What efficiencies start from.
#[derive(Clone, Debug, PartialEq)]
pub struct Priors {
    start: KeyMap<Resource, (f64, f64)>,
    /// Standard deviation of a factor at each level, before any measurement.
    spread: HashMap<(Level, bool), f64>,
    /// The same for resources that are unlike the rest.
    own_spread: HashMap<(Level, Resource), f64>,
    /// What engines start from whose kernels are like nobody else's.
    own: OwnPriors,
}

/// All efficiencies.
#[derive(Clone, Debug, PartialEq)]
pub struct Efficiencies {
    /// Families, devices and architectures with factors of their own.
    pub vocabulary: Vocabulary,
    /// What nobody measured starts from.
    pub priors: Priors,
    /// Fitted factors.
    pub factors: KeyMap<FactorKey, FittedFactor>,
    /// What measurements scatter about predictions by, for each figure, engines and novelty.
    pub scatter: KeyMap<ScatterKey, Scatter>,
}

/// A figure (`decode`, `ttft`), the engines, their backend or any, and how new the question is to
/// the measurements.
pub type ScatterKey = (&'static str, Runner, Option<Backend>, Novelty);

/// The figures that measurements are compared with.
/// `_deep` after a long cached text, `_host` where a processor does a part beside cards, `_cards` where
/// several cards do.
pub const FIGURES: [&str; 10] = [
    "decode",
    "decode_deep",
    "decode_host",
    "prefill",
    "prefill_deep",
    "prefill_host",
    "prefill_cards",
    "tpot",
    "ttft",
    "output",
];

/// How measurements of one figure scatter about predictions: ln(measured / predicted time) of one
/// in twenty is below `low`, of one in twenty above `high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scatter {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Scatter {
    /// Where nothing was ever measured: a factor of three either way.
    const UNKNOWN: Self = Self { low: -1.1, high: 1.1 };
}

/// A line of a data file that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct DataError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

static EMBEDDED: LazyLock<Efficiencies> = LazyLock::new(|| {
    let priors = Priors::read(include_str!("priors.tsv")).expect("the test `the_embedded_tables_are_sound` reads it");
    Efficiencies::read(include_str!("efficiency.tsv"), priors)
        .expect("the test `the_embedded_tables_are_sound` reads it")
});

impl Efficiencies {
    /// The efficiencies that this build knows.
    pub fn embedded() -> &'static Self {
        &EMBEDDED
    }

    /// Nothing fitted: what the priors say.
    pub fn of_priors(priors: Priors) -> Self {
        Self { vocabulary: Vocabulary::default(), priors, factors: KeyMap::default(), scatter: KeyMap::default() }
    }

    /// The standard deviation of a factor that was not fitted.
    pub fn prior_spread(&self, factor: Factor, resource: Resource) -> f64 {
        self.priors.spread(factor.level, resource)
    }

    /// Calls `visit` with each factor's logarithm and standard deviation.
    pub fn each(&self, place: &Place, resource: Resource, kernel: Kernel, mut visit: impl FnMut(Factor, f64, f64)) {
        self.priors.factors(place, resource, kernel, |factor| {
            let (log, deviation) = match self.factors.get(&factor.key) {
                Some(fitted) => (fitted.log, fitted.deviation),
                None => (0.0, self.prior_spread(factor, resource)),
            };
            visit(factor, log, deviation);
        });
    }

    /// Natural logarithm of the efficiency of `resource` with `kernel` at `place`.
    pub fn log(&self, place: &Place, resource: Resource, kernel: Kernel) -> f64 {
        let mut sum = self.priors.start(place, resource, kernel);
        self.priors.factors(place, resource, kernel, |factor| {
            if let Some(fitted) = self.factors.get(&factor.key) {
                sum += fitted.log;
            }
        });
        sum
    }

    /// How far a figure scatters for the first of `runners` that was measured (an engine, then the
    /// engines that share its kernels), on this backend if it was measured often enough there; wider
    /// classes stand in for those that nobody measured.
    pub fn scatter(
        &self,
        figure: &'static str,
        runners: [Runner; 2],
        backend: Option<Backend>,
        novelty: Novelty,
    ) -> Scatter {
        let of = |figure: &'static str| {
            // What is newer scatters more, so its interval holds for what is less new.
            let newer = Novelty::ALL.into_iter().filter(|&own| own >= novelty);
            let classes = runners.into_iter().flat_map(|runner| [(runner, backend), (runner, None)]);
            let mut keys =
                classes.flat_map(|(runner, backend)| newer.clone().map(move |own| (figure, runner, backend, own)));
            keys.find_map(|key| self.scatter.get(&key).copied())
        };
        let near = match figure {
            "ttft" | "prefill_deep" | "prefill_host" | "prefill_cards" => "prefill",
            "output" => "tpot",
            _ => "decode",
        };
        of(figure)
            .or_else(|| of(near))
            .or_else(|| of("decode"))
            .or_else(|| self.scatter.get(&(near, Runner::Ggml, None, Novelty::NewDevice)).copied())
            .unwrap_or(Scatter::UNKNOWN)
    }

    /// Whether anything was measured of `place` at `level`.
    pub fn knows(&self, place: &Place, level: Level) -> bool {
        let mut found = false;
        for resource in [Resource::OverallDecode, Resource::OverallPrefill] {
            place.factors(resource, Kernel::Any, |factor| {
                found |= factor.level == level && self.factors.contains_key(&factor.key);
            });
        }
        found
    }

    /// Reads a table as [`Efficiencies::write`] writes it.
    pub fn read(table: &str, priors: Priors) -> Result<Self, DataError> {
        let mut all = Self::of_priors(priors);
        for (line, text) in (1..).zip(table.lines()) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            all.read_line(text).map_err(|what| DataError { line, what })?;
        }
        Ok(all)
    }

    fn read_line(&mut self, text: &str) -> Result<(), String> {
        let fields: Vec<&str> = text.split('\t').collect();
        let number = |index: usize| -> Result<f64, String> {
            let field = fields.get(index).ok_or_else(|| format!("column {} is missing", index + 1))?;
            field.parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(|| format!("`{field}` is no number"))
        };
        if let ["scatter", figure, group, backend, novelty, ..] = fields[..] {
            let figure =
                FIGURES.iter().find(|own| **own == figure).ok_or_else(|| format!("`{figure}` is no figure"))?;
            let group = Runner::named(group).ok_or_else(|| format!("`{group}` is no engine"))?;
            let novelty = Novelty::ALL.into_iter().find(|own| own.name() == novelty);
            let novelty = novelty.ok_or("a novelty is `seen`, `new-model` or `new-device`")?;
            let backend = match backend {
                "" => None,
                name => Some(Backend::named(name).ok_or_else(|| format!("`{name}` is no backend"))?),
            };
            let scatter = Scatter { low: number(5)?, high: number(6)? };
            self.scatter.insert((figure, group, backend, novelty), scatter);
            return Ok(());
        }
        let [level, resource, runner, backend, kernel, name, ..] = fields[..] else {
            return Err("a factor has nine columns".to_owned());
        };
        let unknown = |what: &str, text: &str| format!("`{text}` is no {what}");
        let level = Level::named(level).ok_or_else(|| unknown("level", level))?;
        let resource = Resource::named(resource).ok_or_else(|| unknown("resource", resource))?;
        let kernel = Kernel::named(kernel).ok_or_else(|| unknown("kernel", kernel))?;
        let optional = |text: &str| (!text.is_empty()).then_some(text.to_owned());
        let runner = match optional(runner) {
            Some(text) => Some(Runner::named(&text).ok_or_else(|| unknown("engine", &text))?),
            None => None,
        };
        let backend = match optional(backend) {
            Some(text) => Some(Backend::named(&text).ok_or_else(|| unknown("backend", &text))?),
            None => None,
        };
        let key = match (level, name.split_once(" | "), runner, backend) {
            (Level::DeviceArchitecture, Some((device, architecture)), Some(runner), Some(backend)) => {
                let (device, architecture) = (self.vocabulary.insert(device), self.vocabulary.insert(architecture));
                FactorKey::pair(resource, runner, backend, device, architecture)
            }
            (Level::DeviceArchitecture, ..) => {
                return Err("it takes an engine, a backend, a device and an architecture".to_owned());
            }
            _ => {
                let name = optional(name).map_or(NOBODY, |name| self.vocabulary.insert(&name));
                FactorKey::pack(level, resource, runner, backend, kernel, name)
            }
        };
        let fitted = FittedFactor { log: number(6)?, deviation: number(7)?, support: number(8)? };
        self.factors.insert(key, fitted);
        Ok(())
    }

    /// The table that [`Efficiencies::read`] reads, without its comments; factors with less than
    /// `support_min` behind them say nothing and are left out.
    pub fn write(&self, support_min: f64) -> String {
        let mut figures: Vec<_> = self.scatter.iter().collect();
        figures.sort_by_key(|(key, _)| **key);
        let mut text = String::new();
        for ((figure, group, backend, novelty), scatter) in figures {
            let (low, high) = (scatter.low, scatter.high);
            let backend = backend.map_or("", Backend::name);
            let novelty = novelty.name();
            let _ = writeln!(text, "scatter\t{figure}\t{group}\t{backend}\t{novelty}\t{low:.4}\t{high:.4}");
        }
        let mut rows: Vec<String> = self
            .factors
            .iter()
            .filter(|(_, fitted)| fitted.support >= support_min)
            .map(|(key, fitted)| self.row(*key, fitted))
            .collect();
        rows.sort();
        text.push_str(&rows.concat());
        text
    }

    fn row(&self, FactorKey(key): FactorKey, fitted: &FittedFactor) -> String {
        let byte = |shift: u32| usize::from(key.to_be_bytes()[7 - shift as usize / 8]);
        let name = (key & 0xffff) as u16;
        let level = Level::ALL[byte(56)];
        let (name, kernel) = match level {
            Level::DeviceArchitecture => {
                let device = self.vocabulary.name((key >> 16 & 0xffff) as u16);
                (format!("{device} | {}", self.vocabulary.name(name)), Kernel::Any)
            }
            _ if name == NOBODY => (String::new(), Kernel::ALL[byte(24)]),
            _ => (self.vocabulary.name(name).to_owned(), Kernel::ALL[byte(24)]),
        };
        let runner = byte(40).checked_sub(1).map_or("", |index| Runner::ALL[index].name());
        let backend = byte(32).checked_sub(1).map_or("", |index| Backend::ALL[index].name());
        format!(
            "{}\t{}\t{runner}\t{backend}\t{}\t{name}\t{:.4}\t{:.4}\t{:.2}\n",
            level.name(),
            Resource::ALL[byte(48)],
            kernel,
            fitted.log,
            fitted.deviation,
            fitted.support,
        )
    }
}

impl Priors {
    /// The priors of this build.
    pub fn embedded() -> &'static Self {
        &Efficiencies::embedded().priors
    }

    /// Natural logarithm of the efficiency of `resource` with `kernel` at `place` before any measurement.
    pub fn start(&self, place: &Place, resource: Resource, kernel: Kernel) -> f64 {
        let own = self.own.log(place, resource, kernel);
        own.unwrap_or_else(|| self.start.get(&resource).map_or(0.0, |(log, _)| *log))
    }

    /// The share of a processor's limit that the native engine's products of many tokens with weights of a kernel reach.
    pub fn native_share(&self, instructions: Instructions, kernel: Kernel) -> Option<f64> {
        let place = Place {
            engine: Runner::Native,
            group: Runner::Native,
            backend: Backend::Cpu,
            family: None,
            device: None,
            architecture: None,
            instructions: Some(instructions),
        };
        self.own.log(&place, Resource::Matmul, kernel).map(f64::exp)
    }

    /// Calls `visit` with every factor of `resource` with `kernel` at `place`; where the engine starts from what its own
    /// kernels do, factors of everybody's kernels say nothing.
    pub fn factors(&self, place: &Place, resource: Resource, kernel: Kernel, mut visit: impl FnMut(Factor)) {
        let is_own = self.own.log(place, resource, kernel).is_some();
        place.factors(resource, kernel, |factor| {
            if !(is_own && matches!(factor.level, Level::Resource | Level::Kernel)) {
                visit(factor);
            }
        });
    }

    /// Standard deviation of a factor of `resource` at `level` before any measurement.
    pub fn spread(&self, level: Level, resource: Resource) -> f64 {
        if level == Level::Resource {
            return self.start.get(&resource).map_or(0.0, |(_, spread)| *spread);
        }
        if let Some(own) = self.own_spread.get(&(level, resource)) {
            return *own;
        }
        let is_overall = matches!(resource, Resource::OverallDecode | Resource::OverallPrefill);
        self.spread.get(&(level, is_overall)).copied().unwrap_or(0.0)
    }

    /// Reads `start RESOURCE EFFICIENCY SPREAD SOURCE`, `spread LEVEL OF-A-RESOURCE OVERALL`,
    /// `spread-of LEVEL RESOURCE SPREAD` and `own ENGINES BACKEND INSTRUCTIONS RESOURCE KERNEL EFFICIENCY SOURCE` lines.
    pub fn read(table: &str) -> Result<Self, DataError> {
        let mut priors = Self {
            start: KeyMap::default(),
            spread: HashMap::new(),
            own_spread: HashMap::new(),
            own: OwnPriors::default(),
        };
        for (line, text) in (1..).zip(table.lines()) {
            let fields: Vec<&str> = text.split('\t').collect();
            let wrong = |what: &str| DataError { line, what: what.to_owned() };
            let number = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
            match fields[..] {
                ["start", resource, efficiency, spread, ..] => {
                    let resource = Resource::named(resource).ok_or_else(|| wrong("no such resource"))?;
                    let efficiency = number(efficiency).filter(|&value| value > 0.0);
                    let efficiency = efficiency.ok_or_else(|| wrong("an efficiency is a number above 0"))?;
                    let spread = number(spread).ok_or_else(|| wrong("a spread is a number"))?;
                    priors.start.insert(resource, (efficiency.ln(), spread));
                }
                ["own", ..] => priors.own.read(&fields[1..]).map_err(|what| DataError { line, what })?,
                ["spread-of", level, resource, spread, ..] => {
                    let level = Level::named(level).ok_or_else(|| wrong("no such level"))?;
                    let resource = Resource::named(resource).ok_or_else(|| wrong("no such resource"))?;
                    let spread = number(spread).ok_or_else(|| wrong("a spread is a number"))?;
                    priors.own_spread.insert((level, resource), spread);
                }
                ["spread", level, each, overall, ..] => {
                    let level = Level::named(level).ok_or_else(|| wrong("no such level"))?;
                    for (text, is_overall) in [(each, false), (overall, true)] {
                        let spread = number(text).ok_or_else(|| wrong("a spread is a number"))?;
                        priors.spread.insert((level, is_overall), spread);
                    }
                }
                [""] => {}
                [comment, ..] if comment.starts_with('#') => {}
                _ => return Err(wrong("neither `start`, `own` nor `spread`")),
            }
        }
        Ok(priors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_tables_are_sound() {
        let priors = Priors::read(include_str!("priors.tsv")).unwrap();
        for &resource in Resource::ALL {
            assert!(priors.start.contains_key(&resource), "{resource} starts from nothing");
        }
        for level in Level::ALL.into_iter().skip(1) {
            assert!(priors.spread.contains_key(&(level, false)), "{level:?} has no spread");
        }
        let all = Efficiencies::read(include_str!("efficiency.tsv"), priors.clone()).unwrap();
        let again = Efficiencies::read(&all.write(0.0), priors).unwrap();
        assert_eq!(all.factors.len(), again.factors.len());
        assert_eq!(all.write(0.0), again.write(0.0));
    }

    #[test]
    fn a_line_that_says_nothing_is_named() {
        let priors = Priors::embedded().clone();
        let error = Efficiencies::read("# a comment\nresource\tgravity\t\t\tany\t\t0\t0\t0\n", priors).unwrap_err();
        assert_eq!(error.to_string(), "line 2: `gravity` is no resource");
    }
}
