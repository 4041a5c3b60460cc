//! One combination: whether it meets the limits, and how good it is.

use hwledger_core::cost::{
    BoundShares, Owning, Parameter, Parameters, PriceBook, PriceKind, Wanted, average_power, purchase_price,
};
use hwledger_core::device::DeploymentPath;
use hwledger_core::engine::deployment::deployment;
use hwledger_core::inverse::{Question, largest};
use hwledger_core::model::{FeedForward, ModelSpec};
use hwledger_core::projection::{Efficiencies, Projection, Speed};
use hwledger_core::settings::{DeviceKind, Engine, LayerCount, Settings};
use hwledger_core::units::{BytesPerSecond, Money, Watts};
use hwledger_core::verdict::Verdict;
use hwledger_core::{Assumptions, Bytes, Estimate};

use super::answer::Candidate;
use super::fate::{Fates, Reason};
use super::request::{Checked, Objective, SearchRequest};
use super::space::{Machine, Space, Weights};
use crate::command::command;
use crate::model::LoadedModel;
use crate::planner::held_requests;
use crate::request::{CountOrAll, DeviceRequest, PlanRequest};

/// llama.cpp rounds contexts up to these steps.
const CONTEXT_STEP: u64 = 256;

/// A model's weights need at least this share of their nominal bytes: engines may leave out what a
/// plan does not use (prediction layers, towers).
const WEIGHTS_NEEDED: f64 = 0.85;

/// What of a model stays on the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offload {
    /// Nothing.
    None,
    /// The experts of so many layers.
    Experts(u64),
    /// All layers but so many, the output layer counting as one.
    Layers(u64),
}

/// One combination, as indices into the space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) device: usize,
    pub(super) count: u64,
    pub(super) engine: usize,
    pub(super) weights: usize,
    pub(super) kv_type: usize,
    /// Tensor-parallel ranks of each replica; replicas fill the count.
    pub(super) tensor: u64,
    pub(super) offload: Offload,
}

/// A combination that meets every limit.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) point: Point,
    pub(super) verdict: Verdict,
    pub(super) speed: Speed,
    pub(super) bits: f64,
    pub(super) purchase_usd: Option<f64>,
    pub(super) rent_usd_per_hour: Option<f64>,
    pub(super) usd_per_million_tokens: Option<f64>,
    pub(super) power_w: Option<f64>,
}

/// Tries combinations of one model.
pub(super) struct Evaluator<'a> {
    request: &'a SearchRequest,
    asked: &'a Checked,
    name: &'a str,
    model: &'a ModelSpec,
    space: &'a Space,
    efficiencies: &'a Efficiencies,
    has_experts: bool,
    heads: u64,
    prices: &'a PriceBook,
    /// Parameters of cost of a device that is a whole computer.
    computer: Parameters,
}

/// What one machine of so many devices costs and draws.
#[derive(Clone, Copy, Debug, Default)]
struct Means {
    purchase_usd: Option<f64>,
    rent_usd_per_hour: Option<f64>,
    power_w: Option<f64>,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(
        request: &'a SearchRequest,
        asked: &'a Checked,
        name: &'a str,
        model: &'a LoadedModel,
        space: &'a Space,
        prices: &'a PriceBook,
    ) -> Self {
        let is_host = |parameter| matches!(parameter, Parameter::HostPriceShare | Parameter::HostPower);
        let kinds = &model.spec.decoder.kinds;
        let heads = kinds.iter().filter_map(|layer| layer.mixer.attention()).map(|attention| attention.heads).max();
        Self {
            request,
            asked,
            name,
            model: &model.spec,
            space,
            efficiencies: Efficiencies::embedded(),
            has_experts: kinds.iter().any(|layer| matches!(layer.feed_forward, FeedForward::Experts(_))),
            heads: heads.unwrap_or(1).max(1),
            prices,
            computer: Parameters::new(|parameter| is_host(parameter).then_some(0.0)),
        }
    }

    /// Everything that one device of the space may do.
    pub(super) fn device(&self, index: usize) -> (Vec<Found>, Fates) {
        let machine = &self.space.devices[index];
        let (mut found, mut fates) = (Vec::new(), Fates::default());
        for (engine_index, &engine) in self.space.engines.iter().enumerate() {
            let formats = self.space.weights[engine_index].len();
            if formats == 0 {
                continue;
            }
            let start = Point {
                device: index,
                count: machine.counts[0],
                engine: engine_index,
                weights: 0,
                kv_type: 0,
                tensor: 1,
                offload: Offload::None,
            };
            if let Some(why) = machine.obstacles[engine_index] {
                let count = machine.counts.len() * formats * self.asked.kv_types.len();
                fates.end_several(Reason::Engine, f64::INFINITY, start, Some(why), count as u64);
                continue;
            }
            let mut settings = self.settings(engine);
            for &count in &machine.counts {
                let means = self.means(machine, count);
                let point = Point { count, ..start };
                if let Some((reason, missed)) = self.over_limits(&means) {
                    let ended = formats * self.asked.kv_types.len();
                    fates.end_several(reason, missed, point, None, ended as u64);
                    continue;
                }
                settings.devices.clear();
                settings.devices.resize(usize::try_from(count).unwrap_or(1), machine.device.clone());
                for weights in 0..formats {
                    for kv_type in 0..self.asked.kv_types.len() {
                        let point = Point { weights, kv_type, ..point };
                        self.layouts(point, &means, &mut settings, &mut found, &mut fates);
                    }
                }
            }
        }
        (found, fates)
    }

    /// Price, rent and power of so many devices.
    fn means(&self, machine: &Machine, count: u64) -> Means {
        let Some(spec) = machine.device.spec.as_deref() else { return Means::default() };
        let all = |one: f64| one * count as f64;
        let wanted = |kind| Wanted { kind: Some(kind), ..Wanted::default() };
        let offer = |kind| self.prices.cheapest(&spec.name, count, wanted(kind));
        let rent = offer(PriceKind::OnDemand).or_else(|| offer(PriceKind::Community));
        Means {
            purchase_usd: purchase_price(spec).map(|price| all(price.usd.0)),
            rent_usd_per_hour: rent.map(|offer| offer.machine_hour().times(offer.machines(count)).money().0),
            power_w: spec.power.map(|power| all(power.0)),
        }
    }

    /// What a million generated tokens cost, their prompts included, by owning or renting, whichever
    /// is the cheaper.
    fn per_million(&self, point: Point, projection: &Projection, speed: &Speed, means: &Means) -> Option<f64> {
        let machine = &self.space.devices[point.device];
        let output = speed.output_tokens_per_s?.value;
        let owned = || {
            let (price, limit) = (means.purchase_usd?, means.power_w?);
            let is_computer = machine.device.kind == DeviceKind::Apple;
            let parameters = if is_computer { &self.computer } else { Parameters::defaults() };
            let watts = |cost| average_power(Watts(limit), BoundShares::of(cost, self.efficiencies), parameters).value;
            let (prefill, decode) = (watts(&projection.prefill), watts(&projection.pass));
            // Prompts take this share of the machine's time.
            let replicas = if is_served(self.space.engines[point.engine]) { point.count / point.tensor } else { 1 };
            let prompt = speed.prefill_tokens_per_s.map_or(0.0, |rate| projection.prompt / rate.value);
            let share = (prompt / replicas as f64 * speed.requests_per_s?.value).min(1.0);
            let power = Estimate::exact(prefill.scaled(share) + decode.scaled(1.0 - share));
            let owning = Owning { price: Money(price), devices: point.count as f64, power };
            Some(owning.per_hour(parameters).value.0)
        };
        let hourly = match (owned(), means.rent_usd_per_hour) {
            (Some(own), Some(rent)) => own.min(rent),
            (own, rent) => own.or(rent)?,
        };
        Some(hourly / (output * 3600.0) * 1e6)
    }

    /// The limit that a machine is over whatever runs on it, and by what factor.
    fn over_limits(&self, means: &Means) -> Option<(Reason, f64)> {
        let limits = [
            (self.request.budget_usd, means.purchase_usd, Reason::PriceUnknown, Reason::Budget),
            (self.request.hourly_usd, means.rent_usd_per_hour, Reason::RentUnknown, Reason::Rent),
            (self.request.power_w, means.power_w, Reason::PowerUnknown, Reason::Power),
        ];
        limits.into_iter().find_map(|(limit, own, unknown, over)| match (limit?, own) {
            (_, None) => Some((unknown, f64::INFINITY)),
            (limit, Some(own)) if own > limit => Some((over, own / limit)),
            _ => None,
        })
    }

    /// The settings that all combinations of an engine share.
    fn settings(&self, engine: Engine) -> Settings {
        let is_slotted = is_slotted(engine);
        let host = self.request.host.as_ref();
        Settings {
            engine: Some(engine),
            sequences: is_slotted.then_some(self.asked.users),
            prompt: Some(self.asked.prompt),
            generate: Some(self.asked.generate),
            concurrency: Some(self.asked.users),
            request_rate: self.request.request_rate,
            prefix_hit_rate: self.request.prefix_hit_rate,
            context: Some(self.context(engine)),
            host_memory: host.and_then(|host| host.memory_gib).map(Bytes::from_gibibytes),
            host_bandwidth: host.and_then(|host| host.bandwidth_gb_s).map(BytesPerSecond::from_gigabytes),
            ..Settings::default()
        }
    }

    /// The context that an engine is started with.
    fn context(&self, engine: Engine) -> u64 {
        let own = self.asked.context.next_multiple_of(CONTEXT_STEP);
        // Slots of llama.cpp share one context.
        if matches!(engine, Engine::LlamaCpp | Engine::IkLlamaCpp) { own.saturating_mul(self.asked.users) } else { own }
    }

    /// A combination with each layout of its ranks, or with what must stay on the processor.
    fn layouts(&self, point: Point, means: &Means, settings: &mut Settings, found: &mut Vec<Found>, fates: &mut Fates) {
        let weights = &self.space.weights[point.engine][point.weights];
        if let Some(why) = weights.obstacle {
            return fates.end(Reason::Format, f64::INFINITY, point, Some(why));
        }
        let stored = self.model.stored_format.as_deref();
        let engine = self.space.engines[point.engine];
        let path = deployment(engine, &self.space.devices[point.device].device, weights.format.as_deref(), stored);
        if let Some(path) = path.filter(|path| path.path == DeploymentPath::Unsupported) {
            return fates.end(Reason::Path, f64::INFINITY, point, Some(path.reason));
        }
        if weights.bits < self.asked.bits {
            return fates.end(Reason::Bits, self.asked.bits / weights.bits, point, None);
        }
        settings.weights.clone_from(&weights.format);
        settings.kv_type_k = self.asked.kv_types[point.kv_type];
        settings.kv_type_v = settings.kv_type_k;
        settings.gpu_layers = None;
        settings.cpu_moe_layers = None;
        if !is_served(engine) {
            settings.tensor_parallel = None;
            settings.data_parallel = None;
            return self.offloads(point, weights, means, settings, found, fates);
        }
        let mut tensor = 1;
        while tensor <= point.count {
            // Ranks divide the heads evenly, and replicas the devices.
            if point.count.is_multiple_of(tensor) && self.heads.is_multiple_of(tensor) {
                settings.tensor_parallel = Some(tensor);
                settings.data_parallel = Some(point.count / tensor);
                let point = Point { tensor, ..point };
                match self.outcome(point, weights, means, settings, false) {
                    Ok(one) => found.push(one),
                    Err((reason, missed, detail)) => fates.end(reason, missed, point, detail.as_deref()),
                }
            }
            tensor *= 2;
        }
    }

    fn offloads(
        &self,
        point: Point,
        weights: &Weights,
        means: &Means,
        settings: &mut Settings,
        found: &mut Vec<Found>,
        fates: &mut Fates,
    ) {
        let first = self.outcome(point, weights, means, settings, false);
        let (reason, missed, detail) = match first {
            Ok(one) => return found.push(one),
            Err(lost) => lost,
        };
        fates.end(reason, missed, point, detail.as_deref());
        let engine = self.space.engines[point.engine];
        let is_card = matches!(
            self.space.devices[point.device].device.kind,
            DeviceKind::Nvidia | DeviceKind::Amd | DeviceKind::Intel
        );
        if !self.request.offload || !is_card || !matches!(reason, Reason::Weights | Reason::Memory) {
            return;
        }
        let mut attempt = |offload: Offload, settings: &Settings| {
            let point = Point { offload, ..point };
            match self.outcome(point, weights, means, settings, false) {
                Ok(one) => found.push(one),
                Err((reason, missed, detail)) => fates.end(reason, missed, point, detail.as_deref()),
            }
        };
        let question = Question { engine, model: self.model, draft: None, settings };
        let layers = self.model.decoder.len() as u64;
        let fits = |own: &Settings| matches!(question.verdict(own), Verdict::Fits | Verdict::Tight);
        let mut own = settings.clone();
        if self.has_experts {
            // As few layers' experts on the processor as will do.
            let most = largest(layers, |kept| {
                own.cpu_moe_layers = Some(LayerCount::Some(layers - kept));
                fits(&own)
            });
            own.cpu_moe_layers = Some(LayerCount::Some(layers - most.unwrap_or(0)));
            attempt(Offload::Experts(layers - most.unwrap_or(0)), &own);
            own.cpu_moe_layers = None;
        }
        let most = largest(layers, |kept| {
            own.gpu_layers = Some(LayerCount::Some(kept));
            fits(&own)
        });
        if let Some(kept) = most {
            own.gpu_layers = Some(LayerCount::Some(kept));
            attempt(Offload::Layers(kept), &own);
        }
    }

    /// The figures of a combination, or why it is out and by what factor it missed. With
    /// `is_final` it is told whole.
    fn outcome(
        &self,
        point: Point,
        weights: &Weights,
        means: &Means,
        settings: &Settings,
        is_final: bool,
    ) -> Result<Found, (Reason, f64, Option<String>)> {
        let engine = self.space.engines[point.engine];
        let device = &self.space.devices[point.device].device;
        let holders = match point.offload {
            Offload::None if is_served(engine) => point.tensor as f64,
            Offload::None => point.count as f64,
            Offload::Experts(_) | Offload::Layers(_) => f64::INFINITY,
        };
        if let Some(memory) = device.memory {
            let share = weights.bytes.0 as f64 * WEIGHTS_NEEDED / holders / memory.0 as f64;
            if share > 1.0 {
                return Err((Reason::Weights, share, None));
            }
        }
        let question = Question { engine, model: self.model, draft: None, settings };
        let plan =
            question.plan(settings).map_err(|error| (Reason::Refused, f64::INFINITY, Some(error.to_string())))?;
        let verdict = Verdict::of_plan(&plan);
        match verdict {
            Verdict::DoesNotFit => return Err((Reason::Memory, used(&plan), None)),
            Verdict::Unknown => return Err((Reason::MemoryUnknown, f64::INFINITY, None)),
            Verdict::Tight if self.request.sure => return Err((Reason::Memory, used(&plan), None)),
            Verdict::Tight | Verdict::Fits => {}
        }
        let held = held_requests(plan.max_concurrency, settings, self.context(engine));
        let projection = Projection::resolve(
            engine,
            self.model,
            None,
            settings,
            held,
            self.efficiencies,
            &mut Assumptions::default(),
        )
        .map_err(|gap| {
            let reason = if gap.key == "request_rate" { Reason::Overload } else { Reason::SpeedUnknown };
            (reason, f64::INFINITY, Some(gap.to_string()))
        })?;
        let speed = projection.speed(self.efficiencies);
        self.within(&speed).map_or(Ok(()), |(reason, missed)| Err((reason, missed, None)))?;
        // It takes as long as the speed itself, and few searches compete in it.
        let is_asked = self.asked.objectives.contains(&Objective::UsdPerMillionTokens);
        let usd_per_million_tokens =
            if is_asked || is_final { self.per_million(point, &projection, &speed, means) } else { None };
        Ok(Found {
            point,
            verdict,
            speed,
            bits: weights.bits,
            purchase_usd: means.purchase_usd,
            rent_usd_per_hour: means.rent_usd_per_hour,
            usd_per_million_tokens,
            power_w: means.power_w,
        })
    }

    /// The limit that speeds miss, and by what factor.
    fn within(&self, speed: &Speed) -> Option<(Reason, f64)> {
        let late = |figure: Option<Estimate<f64>>| {
            figure.map_or(f64::NAN, |figure| if self.request.sure { figure.high } else { figure.value })
        };
        let few = |figure: Option<Estimate<f64>>| {
            figure.map_or(f64::NAN, |figure| if self.request.sure { figure.low } else { figure.value })
        };
        let missed = [
            (Reason::Ttft, self.request.ttft_ms.map(|limit| late(speed.ttft_ms) / limit)),
            (Reason::Tpot, self.request.tpot_ms.map(|limit| late(speed.tpot_ms) / limit)),
            (Reason::Output, self.request.output_tokens_per_s.map(|limit| limit / few(speed.output_tokens_per_s))),
        ];
        missed.into_iter().find_map(|(reason, missed)| missed.filter(|factor| *factor > 1.0).map(|by| (reason, by)))
    }

    /// The settings of one combination.
    fn settings_of(&self, point: Point) -> Settings {
        let engine = self.space.engines[point.engine];
        let mut settings = self.settings(engine);
        let device = &self.space.devices[point.device].device;
        settings.devices = vec![device.clone(); usize::try_from(point.count).unwrap_or(1)];
        settings.weights.clone_from(&self.space.weights[point.engine][point.weights].format);
        settings.kv_type_k = self.asked.kv_types[point.kv_type];
        settings.kv_type_v = settings.kv_type_k;
        if is_served(engine) {
            settings.tensor_parallel = Some(point.tensor);
            settings.data_parallel = Some(point.count / point.tensor);
        }
        match point.offload {
            Offload::None => {}
            Offload::Experts(layers) => settings.cpu_moe_layers = Some(LayerCount::Some(layers)),
            Offload::Layers(layers) => settings.gpu_layers = Some(LayerCount::Some(layers)),
        }
        settings
    }

    /// The plan request of a combination.
    pub(super) fn request(&self, point: Point) -> PlanRequest {
        let machine = &self.space.devices[point.device];
        let engine = self.space.engines[point.engine];
        let settings = self.settings(engine);
        let has_sizes = machine.device.spec.as_ref().is_some_and(|spec| spec.memory_sizes.len() > 1);
        let is_serving = is_served(engine);
        PlanRequest {
            model: self.name.to_owned(),
            weights: self.space.weights[point.engine][point.weights].format.clone(),
            engine: Some(engine.name().to_owned()),
            context: settings.context,
            sequences: settings.sequences,
            kv_type: self.asked.kv_types[point.kv_type].map(|kind| kind.to_string()),
            devices: vec![DeviceRequest {
                name: machine.device.name.clone(),
                count: Some(point.count),
                memory_gib: machine.device.memory.filter(|_| has_sizes).map(Bytes::gibibytes),
                ..DeviceRequest::default()
            }],
            tensor_parallel: is_serving.then_some(point.tensor).filter(|&ranks| ranks > 1 || point.count > 1),
            data_parallel: Some(point.count / point.tensor).filter(|&replicas| is_serving && replicas > 1),
            cpu_moe_layers: match point.offload {
                Offload::Experts(layers) => Some(CountOrAll::Count(i64::try_from(layers).unwrap_or(i64::MAX))),
                _ => None,
            },
            gpu_layers: match point.offload {
                Offload::Layers(layers) => Some(CountOrAll::Count(i64::try_from(layers).unwrap_or(i64::MAX))),
                _ => None,
            },
            prompt: settings.prompt,
            generate: settings.generate,
            concurrency: settings.concurrency.filter(|_| settings.request_rate.is_none()),
            request_rate: settings.request_rate,
            prefix_hit_rate: settings.prefix_hit_rate,
            host: self.request.host.clone(),
            ..PlanRequest::default()
        }
    }

    /// A combination with everything that is known of it.
    pub(super) fn candidate(&self, found: &Found) -> Candidate {
        let point = found.point;
        let request = self.request(point);
        let machine = &self.space.devices[point.device];
        let device = &machine.device;
        let weights = &self.space.weights[point.engine][point.weights];
        let means = self.means(machine, point.count);
        let whole = self.outcome(point, weights, &means, &self.settings_of(point), true);
        Candidate {
            device: device.name.clone(),
            memory_gib: device.memory.map(Bytes::gibibytes),
            count: point.count,
            engine: self.space.engines[point.engine].name(),
            weights: request.weights.clone().unwrap_or_else(|| "as stored".to_owned()),
            bits: found.bits,
            purchase_usd: found.purchase_usd,
            rent_usd_per_hour: found.rent_usd_per_hour,
            usd_per_million_tokens: whole.ok().and_then(|whole| whole.usd_per_million_tokens),
            power_w: found.power_w,
            verdict: found.verdict,
            speed: found.speed,
            command: command("plan", &request),
            request,
        }
    }
}

/// Whether an engine allocates the cache of every sequence when it starts.
const fn is_slotted(engine: Engine) -> bool {
    matches!(engine, Engine::LlamaCpp | Engine::IkLlamaCpp | Engine::Ollama | Engine::MistralRs | Engine::Hwledger)
}

/// Whether an engine divides matrices among ranks and admits what its cache pool holds.
const fn is_served(engine: Engine) -> bool {
    !is_slotted(engine) && !matches!(engine, Engine::Mlx)
}

/// The share of its capacity that the fullest device would need.
fn used(plan: &hwledger_core::engine::MemoryPlan) -> f64 {
    let share = |device: &hwledger_core::engine::DeviceMemory| {
        Some(device.needed()?.value.0 as f64 / device.capacity?.0 as f64)
    };
    plan.devices.iter().filter_map(share).fold(1.0, f64::max)
}
