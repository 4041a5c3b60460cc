//! What-ifs about one chip and one model: the sliders, and what a setting of them comes to.

use std::collections::BTreeMap;

use hwledger_core::sizing::whatif::{
    Category, Evaluation, FrontierPoint, KpiPolicy, LlmDemand, Objective, Point, Profile, Runner, Slider, kpis,
};
use hwledger_core::sizing::{
    Compatibility, Dtype, Fp4Maturity, MemoryKind, Question, SizingError, SizingModel, StockMemory, Tier, project,
};
use serde::Serialize;

use super::{ChipRequest, SizingFailure};
use crate::planner::Planner;

/// A question of what would be, if.
#[derive(Clone, Debug, Default)]
pub struct WhatIf {
    /// The chip (exactly one) and the model.
    pub chip: ChipRequest,
    /// Values of sliders, where they are not the usual ones.
    pub set: BTreeMap<String, f64>,
    /// The sliders that move, for sweeps and frontiers.
    pub sliders: Vec<String>,
    /// Steps of each of them.
    pub steps: usize,
    /// What a frontier is about, as `max:NAME` or `min:NAME`.
    pub objectives: Vec<String>,
    /// Whether points of a frontier may miss a budget.
    pub with_failing: bool,
}

/// A slider, for surfaces to show.
#[derive(Clone, Debug, Serialize)]
pub struct SliderRow {
    /// Its name.
    pub name: &'static str,
    /// One sentence about it.
    pub description: &'static str,
    /// Its unit.
    pub units: &'static str,
    /// Its value where nobody moves it.
    pub default: f64,
    /// Its least value.
    pub min: f64,
    /// Its greatest value.
    pub max: f64,
}

/// One setting of all sliders.
#[derive(Clone, Debug, Serialize)]
pub struct PointAnswer {
    /// `hwledger.chip.point/1`.
    pub schema: &'static str,
    /// The chip.
    pub tier: String,
    /// The model's key.
    pub model: String,
    /// What it comes to.
    #[serde(flatten)]
    pub point: Point,
    /// The sliders that there are.
    pub sliders: Vec<SliderRow>,
}

/// Points along sliders.
#[derive(Clone, Debug, Serialize)]
pub struct SweepAnswer {
    /// `hwledger.chip.sweep/1`.
    pub schema: &'static str,
    /// The chip.
    pub tier: String,
    /// The model's key.
    pub model: String,
    /// The sliders that moved.
    pub sliders: Vec<String>,
    /// The points.
    pub points: Vec<Point>,
}

/// Points that no other beats on every objective at once.
#[derive(Clone, Debug, Serialize)]
pub struct FrontierAnswer {
    /// `hwledger.chip.pareto/1`.
    pub schema: &'static str,
    /// The chip.
    pub tier: String,
    /// The model's key.
    pub model: String,
    /// The sliders that moved.
    pub sliders: Vec<String>,
    /// What the points were compared by.
    pub objectives: Vec<Objective>,
    /// The points.
    pub points: Vec<FrontierPoint>,
}

/// What is asked of a chip.
#[derive(Clone, Debug)]
struct Load {
    prompt_tokens: f64,
    decode_tokens: f64,
    target_tokens_per_second: f64,
    npu_share: f64,
    compiler_quality: f64,
    policy: KpiPolicy,
}

/// A count from a slider: whole, at least 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sliders are clamped to ranges that hold only small positive numbers"
)]
fn whole(value: f64) -> u64 {
    value.round().max(1.0) as u64
}

/// Puts the bandwidth in line with width and rate.
fn settle(profile: &mut Profile) -> Result<(), SizingError> {
    let number = |path: &str| profile.number(path).ok_or_else(|| SizingError::NoSuchPath(path.to_owned()));
    let channel = number("memory.channel_bits")?;
    // A bus is a whole number of channels.
    let bits = (number("memory.bus_bits")? / channel).round().max(1.0) * channel;
    let bandwidth = bits * number("memory.rate_gt_s")? / 8.0 * number("memory.data_share")?;
    profile.set("memory.bus_bits", bits)?;
    profile.set("memory.bandwidth_gb_s", bandwidth)
}

type Sliders = Vec<Slider<Load>>;

fn capability_sliders(tier: &Tier) -> Sliders {
    let memory = tier.memory;
    let bits = f64::from(memory.bus_bits);
    vec![
        Slider {
            name: "memory_rate",
            description: "Transfers per pin of the memory",
            category: Category::Capability,
            units: "GT/s",
            default: memory.rate_gt_s,
            min: memory.rate_gt_s / 2.0,
            max: memory.rate_gt_s * 2.0,
            step: 0.1,
            affects: vec!["memory bandwidth"],
            apply: Some(|profile, _, value| {
                profile.set("memory.rate_gt_s", value)?;
                settle(profile)
            }),
        },
        Slider {
            name: "memory_width",
            description: "Width of the memory, in whole channels",
            category: Category::Capability,
            units: "bits",
            default: bits,
            min: bits / 2.0,
            max: bits * 4.0,
            step: 16.0,
            affects: vec!["memory bandwidth"],
            apply: Some(|profile, _, value| {
                profile.set("memory.bus_bits", value)?;
                settle(profile)
            }),
        },
        Slider {
            name: "memory_capacity",
            description: "Size of the memory",
            category: Category::Capability,
            units: "GB",
            default: tier.capacity_gb,
            min: 1.0,
            max: tier.capacity_gb * 4.0,
            step: 1.0,
            affects: vec!["memory capacity"],
            apply: Some(|profile, _, value| profile.set("memory.capacity_gb", value)),
        },
        Slider {
            name: "npu_scale",
            description: "All peaks of the NPU, relative to the chip's own",
            category: Category::Capability,
            units: "x",
            default: 1.0,
            min: 0.25,
            max: 4.0,
            step: 0.25,
            affects: vec!["NPU arithmetic"],
            apply: Some(|profile, _, value| {
                for dtype in [Dtype::Int8, Dtype::Fp8, Dtype::Bf16, Dtype::Fp4] {
                    profile.scale(&format!("npu.tops_{}", dtype.name()), value)?;
                }
                Ok(())
            }),
        },
    ]
}

fn load_sliders(usual: &Load) -> Sliders {
    let slider = |name, description, category, units, (default, min, max, step), apply| Slider {
        name,
        description,
        category,
        units,
        default,
        min,
        max,
        step,
        affects: vec!["demand"],
        apply: Some(apply),
    };
    vec![
        slider(
            "prompt_tokens",
            "Tokens of the prompt",
            Category::Workload,
            "tokens",
            (usual.prompt_tokens, 1.0, 32_768.0, 64.0),
            |_, load, value| {
                load.prompt_tokens = value;
                Ok(())
            },
        ),
        slider(
            "decode_tokens",
            "Tokens to generate",
            Category::Workload,
            "tokens",
            (usual.decode_tokens, 1.0, 8192.0, 64.0),
            |_, load, value| {
                load.decode_tokens = value;
                Ok(())
            },
        ),
        slider(
            "target_rate",
            "Tokens per second that must be kept up",
            Category::Workload,
            "tok/s",
            (usual.target_tokens_per_second, 1.0, 200.0, 1.0),
            |_, load, value| {
                load.target_tokens_per_second = value;
                Ok(())
            },
        ),
        slider(
            "npu_share",
            "Share of the bandwidth that the model gets",
            Category::Operating,
            "share",
            (usual.npu_share, 0.1, 1.0, 0.05),
            |_, load, value| {
                load.npu_share = value;
                Ok(())
            },
        ),
        slider(
            "compiler_quality",
            "How near the compiler's code comes to the best",
            Category::Operating,
            "share",
            (usual.compiler_quality, 0.3, 1.0, 0.05),
            |_, load, value| {
                load.compiler_quality = value;
                Ok(())
            },
        ),
        slider(
            "bandwidth_headroom",
            "Share of the bandwidth that is kept in reserve",
            Category::Headroom,
            "share",
            (usual.policy.bandwidth_headroom, 0.0, 0.6, 0.05),
            |_, load, value| {
                load.policy.bandwidth_headroom = value;
                Ok(())
            },
        ),
        slider(
            "npu_headroom",
            "Share of the NPU that is kept in reserve",
            Category::Headroom,
            "share",
            (usual.policy.npu_headroom, 0.0, 0.6, 0.05),
            |_, load, value| {
                load.policy.npu_headroom = value;
                Ok(())
            },
        ),
    ]
}

fn profile_of(tier: &Tier, compatibility: Compatibility) -> Result<Profile, SizingError> {
    let is_lpddr6 = tier.memory.kind == MemoryKind::Lpddr6 && compatibility == Compatibility::Corrected;
    let mut profile = Profile::default();
    for (path, number) in [
        ("npu.tops_int8", tier.peaks.int8_tops),
        ("npu.tops_fp8", tier.peaks.fp8_tops),
        ("npu.tops_bf16", tier.peaks.bf16_tops),
        ("npu.tops_fp4", tier.peaks.fp4_tops),
        ("memory.channel_bits", if is_lpddr6 { 24.0 } else { 16.0 }),
        ("memory.data_share", if is_lpddr6 { 256.0 / 288.0 } else { 1.0 }),
        ("memory.bus_bits", f64::from(tier.memory.bus_bits)),
        ("memory.rate_gt_s", tier.memory.rate_gt_s),
        ("memory.bandwidth_gb_s", tier.memory.bandwidth_gb_s),
        ("memory.capacity_gb", tier.capacity_gb),
        ("cpu.cores", tier.cpu.as_ref().map_or(0.0, |cpu| f64::from(cpu.cores))),
    ] {
        profile.set(path, number)?;
    }
    Ok(profile)
}

/// The chip that a profile describes: `tier` with its memory and peaks changed.
fn chip_of(tier: &Tier, profile: &Profile) -> Tier {
    let number = |path: &str, otherwise: f64| profile.number(path).unwrap_or(otherwise);
    let mut chip = tier.clone();
    let bandwidth = number("memory.bandwidth_gb_s", chip.memory.bandwidth_gb_s);
    if (bandwidth / tier.memory.bandwidth_gb_s - 1.0).abs() > 1e-9 {
        chip.stock.get_or_insert_with(|| StockMemory { name: tier.name.clone(), memory: tier.memory });
        chip.memory.bandwidth_gb_s = bandwidth;
    }
    chip.memory.rate_gt_s = number("memory.rate_gt_s", chip.memory.rate_gt_s);
    chip.capacity_gb = number("memory.capacity_gb", chip.capacity_gb);
    chip.peaks.int8_tops = number("npu.tops_int8", chip.peaks.int8_tops);
    chip.peaks.fp8_tops = number("npu.tops_fp8", chip.peaks.fp8_tops);
    chip.peaks.bf16_tops = number("npu.tops_bf16", chip.peaks.bf16_tops);
    chip.peaks.fp4_tops = number("npu.tops_fp4", chip.peaks.fp4_tops);
    chip
}

/// What a setting comes to: the demands of the target rate, and the projection.
fn evaluate(
    (tier, model, request): (&Tier, &SizingModel, &ChipRequest),
    profile: &Profile,
    load: &Load,
) -> Result<Evaluation, SizingError> {
    let chip = chip_of(tier, profile);
    let (prompt_tokens, decode_tokens) = (whole(load.prompt_tokens), whole(load.decode_tokens));
    let demand = LlmDemand {
        is_active: true,
        params_b: model.total_params_b,
        active_params_b: model.active_params_b,
        bytes_per_param: model.bytes_per_param(),
        precision: chip.capability(model.scheme.precision).path,
        tokens_per_second: load.target_tokens_per_second,
        cache_mb: 1000.0 * model.cache_gb(prompt_tokens.saturating_add(decode_tokens) as f64),
    };
    let question = Question {
        prompt_tokens,
        decode_tokens,
        npu_share: Some(load.npu_share),
        compiler_quality: load.compiler_quality,
        workload: request.workload.as_deref().unwrap_or_default(),
        host_ms: request.host_ms,
        fp4_maturity: if request.is_fp4_immature { Fp4Maturity::Immature } else { Fp4Maturity::Mature },
        compatibility: request.compatibility(),
        ..Question::new(model, &chip)
    };
    let mut metrics: BTreeMap<String, f64> = BTreeMap::new();
    let mut metric = |name: &str, value: f64| metrics.insert(name.to_owned(), value);
    metric("memory_bandwidth_gb_s", chip.memory.bandwidth_gb_s);
    metric("memory_capacity_gb", chip.capacity_gb);
    if let Some(found) = project(&question)?.projected() {
        metric("decode_tokens_per_second", found.decode_tokens_per_second.value);
        metric("prefill_tokens_per_second", found.prefill_tokens_per_second.value);
        metric("ttft_s", found.ttft_s.value);
        metric("total_s", found.total_s.value);
        metric("headroom_gb", found.feasibility.headroom_gb);
    }
    Ok(Evaluation { kpis: kpis(profile, &[demand.demand("model")?], &load.policy), metrics })
}

/// Runs `ask` with a runner over the chip and the model of a request.
fn with_runner<T>(
    planner: &Planner,
    what_if: &WhatIf,
    ask: impl FnOnce(&Runner<'_, Load>) -> Result<T, SizingError>,
) -> Result<(String, String, T), SizingFailure> {
    let request = &what_if.chip;
    let chips = request.chips()?;
    let [tier] = chips.as_slice() else {
        let hint = "name one tier with `--tier`; `hwledger chip tiers` lists them";
        return Err(SizingError::BadValue { what: "tier", given: format!("{} tiers", chips.len()), hint }.into());
    };
    let model = planner.sizing_model(request)?;
    let compatibility = request.compatibility();
    let asked = Question::new(&model, tier);
    let usual = Load {
        prompt_tokens: request.prompt_tokens.unwrap_or(asked.prompt_tokens) as f64,
        decode_tokens: request.decode_tokens.unwrap_or(asked.decode_tokens) as f64,
        target_tokens_per_second: 10.0,
        npu_share: request.npu_share.unwrap_or(tier.npu_share),
        compiler_quality: request.compiler_quality.unwrap_or(asked.compiler_quality),
        policy: KpiPolicy { compatibility, ..KpiPolicy::default() },
    };
    let mut sliders = capability_sliders(tier);
    sliders.extend(load_sliders(&usual));
    let profile = profile_of(tier, compatibility)?;
    let chip = (tier, &model, request);
    let runner =
        Runner::new(sliders, || profile.clone(), || usual.clone(), |profile, load| evaluate(chip, profile, load));
    let found = ask(&runner)?;
    Ok((tier.name.clone(), model.key.clone(), found))
}

impl Planner {
    /// One setting of all sliders.
    pub fn what_if_point(&self, what_if: &WhatIf) -> Result<PointAnswer, SizingFailure> {
        let (tier, model, (point, sliders)) = with_runner(self, what_if, |runner| {
            let row = |slider: &Slider<Load>| SliderRow {
                name: slider.name,
                description: slider.description,
                units: slider.units,
                default: slider.default,
                min: slider.min,
                max: slider.max,
            };
            Ok((runner.point(&what_if.set)?, runner.sliders().iter().map(row).collect()))
        })?;
        Ok(PointAnswer { schema: "hwledger.chip.point/1", tier, model, point, sliders })
    }

    /// Points along one slider, or along several that move together.
    pub fn what_if_sweep(&self, what_if: &WhatIf) -> Result<SweepAnswer, SizingFailure> {
        let sliders: Vec<&str> = what_if.sliders.iter().map(String::as_str).collect();
        let (tier, model, points) =
            with_runner(self, what_if, |runner| runner.sweep(&sliders, what_if.steps, &what_if.set))?;
        Ok(SweepAnswer { schema: "hwledger.chip.sweep/1", tier, model, sliders: what_if.sliders.clone(), points })
    }

    /// The points over some sliders that no other beats on every objective at once.
    pub fn what_if_frontier(&self, what_if: &WhatIf) -> Result<FrontierAnswer, SizingFailure> {
        let sliders: Vec<&str> = what_if.sliders.iter().map(String::as_str).collect();
        let objectives: Vec<Objective> =
            what_if.objectives.iter().map(|text| Objective::parse(text)).collect::<Result<_, _>>()?;
        let (tier, model, points) = with_runner(self, what_if, |runner| {
            runner.frontier(&sliders, what_if.steps, &what_if.set, &objectives, !what_if.with_failing)
        })?;
        let sliders = what_if.sliders.clone();
        Ok(FrontierAnswer { schema: "hwledger.chip.pareto/1", tier, model, sliders, objectives, points })
    }
}
