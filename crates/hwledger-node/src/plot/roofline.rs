//! The roofline: how many operations a device can do per byte it reads, and how many a plan does.
//!
//! **Formula**: a device attains at most min(peak, bandwidth × intensity), with intensity =
//! operations / bytes; an ideal part takes max(bytes / bandwidth, operations / peak).
//!
//! **Units**: operations (two per multiply-add), bytes, seconds.
//!
//! **Source**: Williams, Waterman, Patterson 2009, "Roofline: An Insightful Visual Performance
//! Model for Multicore Architectures".
//!
//! **Assumptions**: bytes and operations are those that the projection charges for one device: its
//! ideal times multiplied by the rates that they were divided by. Where it charges a part for its
//! bytes alone or its operations alone, the other follows from the model's own ratio of the two.

use hwledger_core::Assumptions;
use hwledger_core::ModelSpec;
use hwledger_core::projection::demand::{Demand, LatentPath, Manner, Step};
use hwledger_core::projection::rates::Rates;
use hwledger_core::projection::resource::{Resource, Runner};
use hwledger_core::projection::term::{Cost, Term};
use hwledger_core::projection::{Efficiencies, Projection};
use hwledger_core::settings::DeviceKind;
use serde::Serialize;

use super::PlotError;
use super::heading::Heading;
use super::time::{batch, projection, tokens};
use crate::planner::{Planner, Prepared};
use crate::request::PlanRequest;

/// A device's roof, and a plan's points under it.
#[derive(Clone, Debug, Serialize)]
pub struct RooflinePlot {
    /// What it is of.
    #[serde(flatten)]
    pub heading: Heading,
    /// The device.
    pub device: String,
    /// Bytes of its memory per second, at best.
    pub bandwidth_bytes_per_s: f64,
    /// Its peaks of arithmetic, the lowest first.
    pub ceilings: Vec<Ceiling>,
    /// What the plan does on it.
    pub points: Vec<RooflinePoint>,
}

/// A peak rate of arithmetic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ceiling {
    /// Of which types.
    pub name: String,
    /// Operations per second.
    pub operations_per_s: f64,
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// One decoding pass.
    Decode,
    /// One prefill.
    Prefill,
}

/// A part of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// All of it, with what lies between kernels.
    Whole,
    /// Matrix products that every token takes part in.
    Dense,
    /// Matrix products with routed experts.
    Experts,
    /// Attention.
    Attention,
    /// Recurrences.
    Recurrence,
    /// Activations written and read between kernels.
    Activations,
}

impl Part {
    /// The parts that make up a pass.
    const PARTS: [Self; 5] = [Self::Dense, Self::Experts, Self::Attention, Self::Recurrence, Self::Activations];

    /// A word or two.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Dense => "dense products",
            Self::Experts => "experts",
            Self::Attention => "attention",
            Self::Recurrence => "recurrence",
            Self::Activations => "activations",
        }
    }
}

/// What one part does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RooflinePoint {
    /// Of which pass.
    pub work: Work,
    /// Which part.
    pub part: Part,
    /// Operations.
    pub operations: f64,
    /// Bytes moved between the device and its memory.
    pub bytes: f64,
    /// Predicted time.
    pub seconds: f64,
}

impl RooflinePoint {
    /// Operations per byte; none where no operation is done, or no byte moved.
    pub fn intensity(&self) -> Option<f64> {
        (self.operations > 0.0 && self.bytes > 0.0).then(|| self.operations / self.bytes)
    }

    /// Operations per second.
    pub fn rate(&self) -> f64 {
        self.operations / self.seconds
    }

    /// Bytes per second.
    pub fn bytes_per_s(&self) -> f64 {
        self.bytes / self.seconds
    }
}

/// What the model asks for in a pass, where terms say only one of operations and bytes.
struct Ratios {
    /// Operations of attention over plain caches per byte of cache.
    attention: f64,
    /// Operations on states per byte of state.
    recurrence: f64,
    /// Share of routed experts in the operations of a decoding pass.
    experts: f64,
}

impl Ratios {
    fn of(model: &ModelSpec, step: &Step, manner: &Manner) -> Self {
        let mut sum = Demand::default();
        for (layer, count) in model.decoder.counted() {
            sum.add(&Demand::of_layer(layer, step, manner), count as f64);
        }
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let output = 2.0 * (model.hidden_size as f64) * (model.vocabulary_size as f64) * step.sequences;
        let states =
            sum.recurrence.iter().fold((0.0, 0.0), |(flops, bytes), own| (flops + own.flops, bytes + own.state_bytes));
        Self {
            attention: ratio(sum.attention_flops + sum.latent_flops, sum.cache_bytes),
            recurrence: ratio(states.0, states.1),
            experts: ratio(sum.expert_flops, sum.expert_flops + sum.matmul_flops + output),
        }
    }
}

/// The device whose roof is drawn.
struct Roof {
    rates: Rates,
    group: Runner,
}

impl Roof {
    /// Bytes and operations that a term stands for.
    fn work(&self, cost: &Cost, term: &Term) -> (f64, f64) {
        use Resource as R;
        let place = &cost.places[usize::from(term.place)];
        let peak = match term.resource {
            R::DecodeWeights
            | R::DecodeExperts
            | R::CacheRead
            | R::StateTraffic
            | R::PrefillWeights
            | R::Activations => return (term.ideal * self.rates.bandwidth, 0.0),
            R::DecodeOperations => self.rates.vector_products(place, term.kernel),
            R::Recurrence => self.rates.vector,
            R::PrefillAttention => self.rates.score_products(place),
            R::DecodeLatent | R::PrefillLatent => self.rates.matrix16,
            R::Matmul | R::ExpertMatmul if self.group == Runner::Serving => self.rates.serving_products(term.kernel),
            R::Matmul | R::ExpertMatmul => self.rates.products(place, term.kernel),
            // Padding is time without work; counts of kernels and exchanges touch no memory.
            _ => 0.0,
        };
        (0.0, term.ideal * peak)
    }

    /// The points of one pass on the first device.
    fn points(&self, work: Work, cost: &Cost, ratios: &Ratios, efficiencies: &Efficiencies) -> Vec<RooflinePoint> {
        let (seconds, shares) = cost.shares(efficiencies);
        let mut whole = RooflinePoint { work, part: Part::Whole, operations: 0.0, bytes: 0.0, seconds: 0.0 };
        let mut parts = Part::PARTS.map(|part| RooflinePoint { part, ..whole });
        let has_experts = cost.terms.iter().any(|term| term.resource == Resource::DecodeExperts && term.place == 0);
        for (term, share) in cost.terms.iter().zip(&shares).filter(|(term, _)| term.place == 0) {
            whole.seconds += seconds * share;
            let (bytes, operations) = self.work(cost, term);
            let mut add = |part: Part, share_of: f64| {
                if let Some(point) = parts.iter_mut().find(|point| point.part == part) {
                    point.bytes += bytes * share_of;
                    point.operations += operations * share_of;
                    point.seconds += seconds * share * share_of;
                }
            };
            match term.resource {
                // One kernel's operations with both kinds of weights, told apart by what the model asks.
                Resource::DecodeOperations if has_experts => {
                    add(Part::Experts, ratios.experts);
                    add(Part::Dense, 1.0 - ratios.experts);
                }
                _ => {
                    if let Some(part) = part(cost, term) {
                        add(part, 1.0);
                    }
                }
            }
        }
        for point in &mut parts {
            complete(point, ratios);
            whole.bytes += point.bytes;
            whole.operations += point.operations;
        }
        std::iter::once(whole).chain(parts).filter(|point| point.seconds > 0.0).collect()
    }
}

/// The part that a term belongs to.
fn part(cost: &Cost, term: &Term) -> Option<Part> {
    use Resource as R;
    Some(match term.resource {
        R::DecodeWeights | R::DecodeOperations | R::Matmul => Part::Dense,
        R::DecodeExperts | R::ExpertMatmul | R::ExpertTile => Part::Experts,
        // Weights of a pass over many tokens run beside the products that need them.
        R::PrefillWeights => {
            let is_beside =
                |other: &&Term| other.overlap == term.overlap && other.resource == R::ExpertMatmul && term.overlap > 0;
            if cost.terms.iter().any(|other| is_beside(&other)) { Part::Experts } else { Part::Dense }
        }
        R::CacheRead | R::DecodeLatent | R::PrefillAttention | R::PrefillLatent => Part::Attention,
        R::StateTraffic | R::Recurrence => Part::Recurrence,
        R::Activations => Part::Activations,
        _ => return None,
    })
}

/// Fills in the one of bytes and operations that the projection does not charge for.
fn complete(point: &mut RooflinePoint, ratios: &Ratios) {
    let ratio = match point.part {
        Part::Attention => ratios.attention,
        Part::Recurrence => ratios.recurrence,
        _ => return,
    };
    if point.operations == 0.0 {
        point.operations = point.bytes * ratio;
    } else if point.bytes == 0.0 && ratio > 0.0 {
        point.bytes = point.operations / ratio;
    }
}

/// The peaks that are known of a device, those of one rate together.
fn ceilings(prepared: &Prepared, rates: &Rates) -> Vec<Ceiling> {
    let Some(spec) = prepared.settings.devices.first().and_then(|device| device.spec.as_deref()) else {
        return vec![Ceiling { name: "fp32".to_owned(), operations_per_s: rates.vector }];
    };
    let peaks = &spec.peaks;
    let known = [
        ("fp32", peaks.fp32),
        ("fp16", peaks.fp16),
        ("bf16", peaks.bf16),
        ("fp16 summed in fp16", peaks.fp16_acc16),
        ("int8", peaks.int8),
        ("fp8", peaks.fp8),
        ("fp4", peaks.fp4),
    ];
    let mut ceilings: Vec<Ceiling> = Vec::new();
    for (name, rate) in known.into_iter().filter_map(|(name, rate)| Some((name, rate?.0))) {
        match ceilings.iter_mut().find(|own| (own.operations_per_s / rate - 1.0).abs() < 0.01) {
            // A wider sum that costs nothing needs no words of its own.
            Some(_) if name == "fp16 summed in fp16" => {}
            Some(own) => own.name = format!("{}, {name}", own.name),
            None => ceilings.push(Ceiling { name: name.to_owned(), operations_per_s: rate }),
        }
    }
    ceilings.sort_by(|left, right| left.operations_per_s.total_cmp(&right.operations_per_s));
    ceilings
}

/// The rates of the first device, or of the processor where there is none.
fn rates(prepared: &Prepared) -> Result<(String, Rates), PlotError> {
    let names = &Efficiencies::embedded().vocabulary;
    let settings = &prepared.settings;
    let (device, rates) = match (settings.devices.first(), &settings.host) {
        (Some(device), _) if device.kind == DeviceKind::Cpu => (device, Rates::of_processor(device, names)),
        (Some(device), _) => (device, Rates::of_device(device, names)),
        (None, Some(host)) => (host, Rates::of_processor(host, names)),
        (None, None) => {
            return Ok(("a usual desktop".to_owned(), Rates::usual_host(settings, &mut Assumptions::default())));
        }
    };
    Ok((device.name.clone(), rates.map_err(PlotError::Roofline)?))
}

/// What the projection's passes ask of the model, per pass.
fn ratios(prepared: &Prepared, projection: &Projection, work: Work) -> Ratios {
    let (key, value) = prepared.cache_types();
    let settings = &prepared.settings;
    let depth = settings.depth.unwrap_or(0) as f64;
    // The serving engines expand latents of a prompt; everything else attends to them as they are.
    let is_expanded = work == Work::Prefill && projection.group == Runner::Serving;
    let latent = if is_expanded { LatentPath::Expanded } else { LatentPath::Absorbed };
    let manner = Manner { key, value, latent, activation_bytes: 2.0 };
    let step = match work {
        Work::Decode => {
            let prompt = settings.prompt.unwrap_or(0) as f64;
            Step { sequences: 1.0, tokens: 1.0, depth: depth + prompt + projection.generated / 2.0 }
        }
        Work::Prefill => Step { sequences: 1.0, tokens: projection.prompt, depth },
    };
    Ratios::of(&prepared.model.spec, &step, &manner)
}

impl Planner {
    /// The roofline of a plan's first device, with the plan's work on it.
    pub fn plot_roofline(&self, request: &PlanRequest) -> Result<RooflinePlot, PlotError> {
        let prepared = self.prepare(request)?;
        let projection = projection(&prepared)?;
        let (device, rates) = rates(&prepared)?;
        let efficiencies = Efficiencies::embedded();
        let roof = Roof { rates, group: projection.group };
        let mut points = Vec::new();
        for (work, cost) in [(Work::Decode, &projection.pass), (Work::Prefill, &projection.prefill)] {
            points.extend(roof.points(work, cost, &ratios(&prepared, &projection, work), efficiencies));
        }
        let more = [batch(&prepared), format!("prompt of {}", tokens(projection.prompt))];
        let mut heading = Heading::of_plan("Roofline", &prepared, &more);
        if projection.pass.places.len() > 1 || prepared.settings.devices.len() > 1 {
            heading.notes.push(format!("What one {device} does; other devices and the host are left out."));
        }
        if points.iter().any(|point| point.bytes > 0.0 && point.intensity().is_none()) {
            let note = "Parts without operations stand on the left edge: their bandwidth against the slope's.";
            heading.notes.push(note.to_owned());
        }
        Ok(RooflinePlot {
            heading,
            device,
            bandwidth_bytes_per_s: rates.bandwidth,
            ceilings: ceilings(&prepared, &rates),
            points,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::DeviceRequest;

    fn plot(model: &str, engine: &str, device: &str) -> RooflinePlot {
        let request = PlanRequest {
            model: model.to_owned(),
            engine: Some(engine.to_owned()),
            weights: (engine == "llama.cpp").then(|| "Q4_K_M".to_owned()),
            devices: vec![DeviceRequest { name: device.to_owned(), ..DeviceRequest::default() }],
            ..PlanRequest::default()
        };
        Planner::default().plot_roofline(&request).expect("model and device are known")
    }

    fn point(plot: &RooflinePlot, work: Work, part: Part) -> RooflinePoint {
        *plot.points.iter().find(|point| point.work == work && point.part == part).expect("the plan has that part")
    }

    #[test]
    fn decoding_does_two_operations_per_weight_and_reads_each_once() {
        let plot = plot("llama-3.1-8b", "vllm", "H100");
        let dense = point(&plot, Work::Decode, Part::Dense);
        // 16-bit weights: two operations per two bytes.
        let intensity = dense.intensity().expect("it reads weights");
        assert!((intensity - 1.0).abs() < 0.01, "{intensity}");
        // 8.03e9 weights, less the embedding of 128256 x 4096.
        assert!((dense.operations / 15.0e9 - 1.0).abs() < 0.01, "{}", dense.operations);
    }

    #[test]
    fn grouped_queries_share_their_cache() {
        let plot = plot("llama-3.1-8b", "llama.cpp", "RTX 3090");
        // Four query heads per key-value head, 16-bit entries: four operations per byte.
        let intensity = point(&plot, Work::Decode, Part::Attention).intensity().expect("it reads its cache");
        assert!((intensity / 4.0 - 1.0).abs() < 0.05, "{intensity}");
    }

    #[test]
    fn nothing_attained_lies_above_the_roof() {
        for (model, engine, device) in [
            ("qwen3-30b-a3b", "llama.cpp", "RTX 4090"),
            ("qwen3-30b-a3b", "vllm", "H100"),
            ("falcon-mamba-7b", "llama.cpp", "RTX 3090"),
        ] {
            let plot = plot(model, engine, device);
            let top = plot.ceilings.last().expect("peaks are known").operations_per_s;
            for point in &plot.points {
                let Some(intensity) = point.intensity() else { continue };
                let roof = top.min(plot.bandwidth_bytes_per_s * intensity);
                assert!(point.rate() < roof * 1.2, "{model} {point:?}");
            }
        }
    }

    #[test]
    fn memory_operations_have_no_intensity_and_still_a_bandwidth() {
        let plot = plot("llama-3.1-8b", "llama.cpp", "RTX 3090");
        let activations = point(&plot, Work::Prefill, Part::Activations);
        assert_eq!(activations.intensity(), None);
        assert!(activations.bytes_per_s() > 0.0 && activations.bytes_per_s().is_finite());
    }
}
