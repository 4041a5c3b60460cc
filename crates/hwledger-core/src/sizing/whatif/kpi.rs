//! Demands against budgets.

use serde::{Deserialize, Serialize};

use super::demand::{Demand, Engine, effective_tops};
use super::profile::Profile;
use crate::sizing::Compatibility;
use crate::sizing::precision::Dtype;

/// What a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One subsystem.
    Subsystem,
    /// Several subsystems that share something.
    CrossCutting,
    /// The chip.
    Chip,
}

/// How a demand stands against its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// It is met.
    Pass,
    /// It is met with little to spare.
    Warn,
    /// It is not met.
    Fail,
}

/// One demand against one budget.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kpi {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub scope: Scope,
    /// Whose demand.
    pub target: String,
    /// Of what.
    pub metric: &'static str,
    /// What is needed.
    pub required: f64,
    /// What there is.
    pub budget: f64,
    /// The unit of both.
    pub units: &'static str,
    /// How the one stands against the other.
    pub status: Status,
    /// What is left; negative where it is not met.
    pub margin: f64,
    /// What is left in percent of the budget; `None` without a budget.
    pub margin_pct: Option<f64>,
    /// Remarks.
    pub notes: String,
}

/// How budgets are made from a profile. All are shares but the last two.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KpiPolicy {
    /// Reachable share of NPU peaks, where the profile states no `npu.efficiency_factor`.
    pub npu_efficiency: f64,
    /// Share of the NPU that is kept in reserve.
    pub npu_headroom: f64,
    /// Reachable share of the CPU.
    pub cpu_utilisation: f64,
    /// Share of the CPU that is kept in reserve.
    pub cpu_headroom: f64,
    /// Share of the video unit that is kept in reserve.
    pub vpu_headroom: f64,
    /// Reachable share of peak bandwidth.
    pub controller_efficiency: f64,
    /// Share of the bandwidth that refresh takes.
    pub refresh_share: f64,
    /// Share of the bandwidth that is kept in reserve.
    pub bandwidth_headroom: f64,
    /// Share of a budget above which a demand that is met is a warning.
    pub warn_share: f64,
    /// Memory in decimal gigabytes, where the profile states no `memory.capacity_gb`.
    pub capacity_default_gb: f64,
    /// Whose arithmetic is used.
    pub compatibility: Compatibility,
}

impl Default for KpiPolicy {
    fn default() -> Self {
        Self {
            npu_efficiency: 0.55,
            npu_headroom: 0.25,
            cpu_utilisation: 0.7,
            cpu_headroom: 0.30,
            vpu_headroom: 0.20,
            controller_efficiency: 0.75,
            refresh_share: 0.05,
            bandwidth_headroom: 0.25,
            warn_share: 0.9,
            capacity_default_gb: 16.0,
            compatibility: Compatibility::Corrected,
        }
    }
}

impl KpiPolicy {
    /// How a demand stands against a budget.
    ///
    /// Without a budget only a demand of nothing passes; above the budget a demand fails; above the
    /// warning share of it, it warns.
    pub fn status(&self, required: f64, budget: f64) -> Status {
        if required.is_nan() || budget.is_nan() {
            return Status::Fail;
        }
        if budget <= 0.0 {
            return if required <= 0.0 { Status::Pass } else { Status::Fail };
        }
        if required > budget {
            Status::Fail
        } else if required > self.warn_share * budget {
            Status::Warn
        } else {
            Status::Pass
        }
    }

    fn kpi(
        &self,
        (scope, target): (Scope, &str),
        metric: &'static str,
        (required, budget): (f64, f64),
        units: &'static str,
        notes: String,
    ) -> Kpi {
        let margin = budget - required;
        Kpi {
            name: format!("{target} {metric}"),
            scope,
            target: target.to_owned(),
            metric,
            required,
            budget,
            units,
            status: self.status(required, budget),
            margin,
            margin_pct: (budget > 0.0).then(|| 100.0 * margin / budget),
            notes,
        }
    }

    /// What the NPU gives a demand, in TOPS, and the arithmetic that this is in.
    ///
    /// **Formula**: peak of the demand's own precision x efficiency x (1 - headroom); a demand that
    /// names none gets the best that the chip has. The reference compares with 16-bit floats always,
    /// which gives chips with integers alone a budget of nothing.
    fn npu_budget(&self, profile: &Profile, demand: &Demand) -> (f64, Dtype) {
        const ALL: [Dtype; 4] = [Dtype::Int8, Dtype::Fp8, Dtype::Bf16, Dtype::Fp4];
        let tops = |dtype: Dtype| effective_tops(profile, dtype, self.npu_efficiency);
        let best = || ALL.into_iter().max_by(|&a, &b| tops(a).total_cmp(&tops(b))).unwrap_or(Dtype::Int8);
        let dtype = match self.compatibility {
            Compatibility::Reference => Dtype::Bf16,
            Compatibility::Corrected => demand.precision.unwrap_or_else(best),
        };
        (tops(dtype) * (1.0 - self.npu_headroom), dtype)
    }

    fn npu(&self, profile: &Profile, demands: &[Demand], kpis: &mut Vec<Kpi>) {
        let busy: Vec<(&Demand, f64, Dtype)> = demands
            .iter()
            .filter(|demand| demand.target == Engine::Npu && demand.tops > 0.0)
            .map(|demand| {
                let (budget, dtype) = self.npu_budget(profile, demand);
                (demand, budget, dtype)
            })
            .collect();
        for (demand, budget, dtype) in &busy {
            let notes = format!("in {}", dtype.name());
            kpis.push(self.kpi((Scope::Subsystem, &demand.name), "arithmetic", (demand.tops, *budget), "TOPS", notes));
        }
        let Some((_, first_budget, first_dtype)) = busy.first() else { return };
        let sum: f64 = busy.iter().map(|(demand, ..)| demand.tops).sum();
        let whole = (Scope::CrossCutting, "NPU concurrent");
        kpis.push(if busy.iter().all(|(_, _, dtype)| dtype == first_dtype) {
            self.kpi(whole, "arithmetic", (sum, *first_budget), "TOPS", format!("in {}", first_dtype.name()))
        } else if busy.iter().any(|(_, budget, _)| *budget <= 0.0) {
            self.kpi(whole, "arithmetic", (sum, 0.0), "TOPS", "there are no units for one of them".to_owned())
        } else {
            // Operations of different widths do not add up; the time that they take does.
            let time: f64 = busy.iter().map(|(demand, budget, _)| 100.0 * demand.tops / budget).sum();
            self.kpi(whole, "time", (time, 100.0), "%", "several precisions share the units".to_owned())
        });
    }

    fn memory(&self, profile: &Profile, demands: &[Demand], kpis: &mut Vec<Kpi>) {
        let peak = profile.number("memory.bandwidth_gb_s").unwrap_or_default();
        let sustained = peak * self.controller_efficiency * (1.0 - self.refresh_share);
        let bandwidth = demands.iter().map(|demand| demand.bandwidth_gb_s).sum();
        let budget = sustained * (1.0 - self.bandwidth_headroom);
        kpis.push(self.kpi((Scope::Chip, "memory"), "bandwidth", (bandwidth, budget), "GB/s", String::new()));
        let stated = profile.number("memory.capacity_gb");
        let notes = match stated {
            Some(_) => String::new(),
            None => format!("the profile states no size; {} GB taken", self.capacity_default_gb),
        };
        let per_gb = match self.compatibility {
            Compatibility::Corrected => 1000.0,
            Compatibility::Reference => 1024.0,
        };
        let capacity = demands.iter().map(|demand| demand.capacity_mb).sum();
        let budget = stated.unwrap_or(self.capacity_default_gb) * per_gb;
        kpis.push(self.kpi((Scope::Chip, "memory"), "capacity", (capacity, budget), "MB", notes));
    }
}

/// All demands against the budgets of a profile.
///
/// **Units**: 1 GB = 1000 MB = 10^9 bytes on both sides; the reference counts 1024 MB in a GB of
/// budget and 1000 in one of demand.
pub fn kpis(profile: &Profile, demands: &[Demand], policy: &KpiPolicy) -> Vec<Kpi> {
    let mut kpis = Vec::new();
    policy.npu(profile, demands, &mut kpis);
    let cores = profile.number("cpu.cores").unwrap_or_default();
    let needed = demands.iter().map(|demand| demand.cpu_cores).sum();
    let budget = cores * policy.cpu_utilisation * (1.0 - policy.cpu_headroom);
    kpis.push(policy.kpi((Scope::CrossCutting, "CPU"), "cores", (needed, budget), "cores", String::new()));
    let pixels = profile.number("vpu.h265_max_mpix_per_sec").unwrap_or_default();
    let needed = demands.iter().map(|demand| demand.megapixels_per_second).sum();
    let budget = pixels * (1.0 - policy.vpu_headroom);
    kpis.push(policy.kpi((Scope::CrossCutting, "VPU"), "video", (needed, budget), "Mpixel/s", String::new()));
    policy.memory(profile, demands, &mut kpis);
    kpis
}

/// A demand that is not met.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    /// Its name.
    pub name: String,
    /// By how much.
    pub overage: f64,
    /// The unit.
    pub units: &'static str,
}

/// A chip in one line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChipSummary {
    /// Demands that are met.
    pub passes: usize,
    /// Demands that are met with little to spare.
    pub warnings: usize,
    /// Demands that are not met.
    pub failures: Vec<Failure>,
    /// Whether all demands are met.
    pub is_viable: bool,
}

impl ChipSummary {
    /// The summary of some figures.
    pub fn of(kpis: &[Kpi]) -> Self {
        let count = |status: Status| kpis.iter().filter(|kpi| kpi.status == status).count();
        let failed = kpis.iter().filter(|kpi| kpi.status == Status::Fail);
        let failures: Vec<Failure> = failed
            .map(|kpi| Failure { name: kpi.name.clone(), overage: kpi.required - kpi.budget, units: kpi.units })
            .collect();
        Self { passes: count(Status::Pass), warnings: count(Status::Warn), is_viable: failures.is_empty(), failures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        let mut profile = Profile::default();
        for (path, number) in [
            ("npu.tops_bf16", 0.0),
            ("npu.tops_int8", 200.0),
            ("cpu.cores", 8.0),
            ("vpu.h265_max_mpix_per_sec", 500.0),
            ("memory.bandwidth_gb_s", 134.4),
            ("memory.capacity_gb", 24.0),
        ] {
            profile.set(path, number).expect("a sound path");
        }
        profile
    }

    fn demand(name: &str, tops: f64, precision: Option<Dtype>) -> Demand {
        Demand { tops, precision, ..Demand::new(name, Engine::Npu) }
    }

    fn found<'a>(kpis: &'a [Kpi], name: &str) -> &'a Kpi {
        kpis.iter().find(|kpi| kpi.name == name).expect("a figure of that name")
    }

    #[test]
    fn d14_integer_silicon_has_a_budget_and_units_agree() {
        let demands = [Demand { capacity_mb: 24_200.0, ..demand("detector", 50.0, None) }];
        let ours = kpis(&profile(), &demands, &KpiPolicy::default());
        let arithmetic = found(&ours, "detector arithmetic");
        assert!((arithmetic.budget - 200.0 * 0.55 * 0.75).abs() < 1e-9);
        assert_eq!(arithmetic.status, Status::Pass);
        // 24.2 GB do not fit into 24 GB.
        assert_eq!(found(&ours, "memory capacity").status, Status::Fail);
        let reference = KpiPolicy { compatibility: Compatibility::Reference, ..KpiPolicy::default() };
        let theirs = kpis(&profile(), &demands, &reference);
        assert!(found(&theirs, "detector arithmetic").budget.abs() < 1e-9);
        assert_eq!(found(&theirs, "memory capacity").status, Status::Warn);
    }

    #[test]
    fn without_a_budget_only_nothing_passes() {
        let policy = KpiPolicy::default();
        assert_eq!(policy.status(0.0, 0.0), Status::Pass);
        assert_eq!(policy.status(0.1, 0.0), Status::Fail);
        assert_eq!(policy.status(90.0, 100.0), Status::Pass);
        assert_eq!(policy.status(90.1, 100.0), Status::Warn);
        assert_eq!(policy.status(100.1, 100.0), Status::Fail);
        assert_eq!(policy.status(f64::NAN, 100.0), Status::Fail);
    }

    #[test]
    fn several_precisions_share_the_time_of_the_units() {
        let mut profile = profile();
        profile.set("npu.tops_bf16", 100.0).expect("a sound path");
        let demands = [demand("a", 41.25, Some(Dtype::Int8)), demand("b", 20.625, Some(Dtype::Bf16))];
        let kpis = kpis(&profile, &demands, &KpiPolicy::default());
        let both = found(&kpis, "NPU concurrent time");
        assert!((both.required - 100.0).abs() < 1e-9 && both.status == Status::Warn, "{both:?}");
    }

    #[test]
    fn one_failure_is_enough_and_says_by_how_much() {
        let demands = [Demand { bandwidth_gb_s: 100.0, ..demand("model", 1.0, Some(Dtype::Int8)) }];
        let kpis = kpis(&profile(), &demands, &KpiPolicy::default());
        let summary = ChipSummary::of(&kpis);
        assert!(!summary.is_viable);
        assert_eq!(summary.passes + summary.warnings + summary.failures.len(), kpis.len());
        let budget = 134.4 * 0.75 * 0.95 * 0.75;
        assert!((summary.failures[0].overage - (100.0 - budget)).abs() < 1e-9);
    }
}
