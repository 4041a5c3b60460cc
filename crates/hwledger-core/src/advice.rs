//! What stands in the way, and the cheapest changes that clear it.

use serde::Serialize;

use crate::engine::MemoryPlan;
use crate::inverse::{Question, largest};
use crate::model::FeedForward;
use crate::settings::{Device, DeviceKind, Engine, LayerCount, Switch};
use crate::verdict::Verdict;
use crate::{Bytes, ElementType, Estimate, Settings};

/// The device, or the pool, that decides a verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Constraint {
    /// The device that is nearest to its limit, or furthest beyond it.
    pub device: String,
    /// What it would have to hold.
    pub needed: Estimate<Bytes>,
    /// What it may hold.
    pub capacity: Bytes,
    /// The largest part of what it would hold, by its name in the answer.
    pub largest: &'static str,
}

/// The device that decides: the one whose use is the largest share of its capacity.
pub fn constraint(plan: &MemoryPlan) -> Option<Constraint> {
    const NAMES: [&str; 7] = ["weights", "repacked", "kv_cache", "recurrent_state", "compute", "output", "overhead"];
    let used = |needed: &Estimate<Bytes>, capacity: &Bytes| needed.high.0 as f64 / (capacity.0 as f64).max(1.0);
    plan.devices
        .iter()
        .filter_map(|device| Some((device, device.needed()?, device.capacity?)))
        .max_by(|a, b| used(&a.1, &a.2).total_cmp(&used(&b.1, &b.2)))
        .map(|(device, needed, capacity)| {
            let parts = device.components.parts();
            let size = |part: &Option<Estimate<Bytes>>| part.map_or(Bytes::ZERO, |part| part.value);
            let largest = (0..NAMES.len()).max_by_key(|&index| size(&parts[index])).unwrap_or(0);
            Constraint { device: device.name.clone(), needed, capacity, largest: NAMES[largest] }
        })
}

/// One change of a setting, and what the plan is with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The setting, by its name in the request.
    pub setting: &'static str,
    /// Its new value, as the request writes it.
    pub value: String,
    /// The verdict with the change.
    pub verdict: Verdict,
    /// Memory with the change, all devices together.
    pub total: Option<Estimate<Bytes>>,
    /// What it costs.
    pub price: &'static str,
}

/// Most changes that are offered.
const CHANGES_MAX: usize = 5;

/// Contexts below this are no use to anybody.
const CONTEXT_MIN: u64 = 1024;

/// The changes of one setting that make a plan fit which does not, cheapest first:
/// what costs nothing, then speed, then length, then quality, then money.
pub fn changes(question: &Question<'_>) -> Vec<Change> {
    let mut found = Vec::new();
    for candidate in CANDIDATES {
        if found.len() == CHANGES_MAX {
            break;
        }
        let Some(candidate) = candidate(question) else { continue };
        if let Ok(plan) = question.plan(&candidate.settings)
            && Verdict::of_plan(&plan) == Verdict::Fits
        {
            found.push(Change {
                setting: candidate.setting,
                value: candidate.value,
                verdict: Verdict::Fits,
                total: plan.summed().total(),
                price: candidate.price,
            });
        }
    }
    found
}

/// A setting changed, not yet judged.
struct Candidate {
    setting: &'static str,
    value: String,
    price: &'static str,
    settings: Settings,
}

type Propose = fn(&Question<'_>) -> Option<Candidate>;

const CANDIDATES: &[Propose] = &[
    flash_attention,
    micro_batch,
    experts_on_the_host,
    |question| cache_type(question, EIGHT_BIT_CACHE),
    fewer_sequences,
    shorter_context,
    fewer_gpu_layers,
    smaller_weights,
    |question| cache_type(question, FOUR_BIT_CACHE),
    more_cards,
];

const EIGHT_BIT_CACHE: [ElementType; 2] = [ElementType::Q8_0, ElementType::Fp8];
const FOUR_BIT_CACHE: [ElementType; 2] = [ElementType::Q4_0, ElementType::Nvfp4];

fn is_llamacpp(question: &Question<'_>) -> bool {
    matches!(question.engine, Engine::LlamaCpp | Engine::IkLlamaCpp | Engine::Ollama)
}

fn flash_attention(question: &Question<'_>) -> Option<Candidate> {
    if !is_llamacpp(question) || question.settings.flash_attention != Some(Switch::Off) {
        return None;
    }
    let settings = Settings { flash_attention: Some(Switch::On), ..question.settings.clone() };
    Some(Candidate { setting: "flash_attention", value: "on".to_owned(), price: "nothing", settings })
}

fn micro_batch(question: &Question<'_>) -> Option<Candidate> {
    const SMALL: u64 = 128;
    if !is_llamacpp(question) || question.settings.ubatch.is_some_and(|size| size <= SMALL) {
        return None;
    }
    let settings = Settings { ubatch: Some(SMALL), ..question.settings.clone() };
    Some(Candidate { setting: "ubatch", value: SMALL.to_string(), price: "slower prompts", settings })
}

fn experts_on_the_host(question: &Question<'_>) -> Option<Candidate> {
    let has_experts =
        question.model.decoder.kinds.iter().any(|layer| matches!(layer.feed_forward, FeedForward::Experts(_)));
    let has_card = question.settings.devices.iter().any(|device| !is_shared(device));
    if !is_llamacpp(question) || !has_experts || !has_card || question.settings.cpu_moe_layers.is_some() {
        return None;
    }
    let layers = u64::try_from(question.model.decoder.len()).unwrap_or(u64::MAX);
    let with = |count| Settings { cpu_moe_layers: Some(LayerCount::Some(count)), ..question.settings.clone() };
    // The fewest layers whose experts must go: the most that may stay.
    let stay = largest(layers, |stay| question.verdict(&with(layers - stay)) == Verdict::Fits).unwrap_or(0);
    let count = layers - stay;
    let price = "expert layers at the host's speed";
    Some(Candidate { setting: "cpu_moe_layers", value: count.to_string(), price, settings: with(count) })
}

fn is_shared(device: &Device) -> bool {
    matches!(device.kind, DeviceKind::Apple | DeviceKind::SharedMemory | DeviceKind::Cpu)
}

fn cache_type(question: &Question<'_>, [blocks, floats]: [ElementType; 2]) -> Option<Candidate> {
    let element_type = match question.engine {
        Engine::Vllm | Engine::Sglang | Engine::TensorRtLlm | Engine::Tgi => floats,
        Engine::Transformers | Engine::MistralRs => return None,
        _ => blocks,
    };
    let now = question.settings.kv_type_k.unwrap_or(ElementType::F16);
    if now.bytes_per_element() <= element_type.bytes_per_element() {
        return None;
    }
    let mut settings = question.settings.clone();
    settings.kv_type_k = Some(element_type);
    settings.kv_type_v = Some(element_type);
    if is_llamacpp(question) {
        // Quantised values need it.
        settings.flash_attention = Some(Switch::On);
    }
    Some(Candidate { setting: "kv_type", value: element_type.name().to_owned(), price: "a coarser cache", settings })
}

fn fewer_sequences(question: &Question<'_>) -> Option<Candidate> {
    let now = question.settings.sequences.filter(|&count| count > 1)?;
    let count = question.most_sequences(now - 1)?;
    let mut settings = Settings { sequences: Some(count), ..question.settings.clone() };
    if matches!(question.engine, Engine::LlamaCpp | Engine::IkLlamaCpp) {
        settings.context = question.settings.context.map(|tokens| tokens / now * count);
    }
    Some(Candidate { setting: "sequences", value: count.to_string(), price: "fewer requests at once", settings })
}

fn shorter_context(question: &Question<'_>) -> Option<Candidate> {
    let now = question.settings.context.filter(|&tokens| tokens > CONTEXT_MIN)?;
    let context = question.largest_context(256, now - 1).filter(|&tokens| tokens >= CONTEXT_MIN)?;
    let settings = Settings { context: Some(context), ..question.settings.clone() };
    Some(Candidate { setting: "context", value: context.to_string(), price: "shorter conversations", settings })
}

fn fewer_gpu_layers(question: &Question<'_>) -> Option<Candidate> {
    if !is_llamacpp(question) || question.settings.devices.iter().all(is_shared) {
        return None;
    }
    let all = u64::try_from(question.model.decoder.len()).unwrap_or(u64::MAX);
    let with = |count| Settings { gpu_layers: Some(LayerCount::Some(count)), ..question.settings.clone() };
    let count = largest(all, |count| question.verdict(&with(count)) == Verdict::Fits)?;
    let price = "the other layers at the host's speed";
    Some(Candidate { setting: "gpu_layers", value: count.to_string(), price, settings: with(count) })
}

/// Weight formats from the finest to the coarsest that each engine's users choose among.
pub const fn weight_ladder(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::LlamaCpp | Engine::IkLlamaCpp | Engine::Ollama => {
            &["BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "IQ3_XXS", "Q2_K"]
        }
        Engine::Mlx => &["BF16", "MLX-8bit", "MLX-6bit", "MLX-5bit", "MLX-4bit", "MLX-3bit"],
        _ => &["BF16", "FP8", "AWQ-4bit"],
    }
}

fn smaller_weights(question: &Question<'_>) -> Option<Candidate> {
    let now = question.plan(question.settings).ok()?.summed().weights?.value;
    weight_ladder(question.engine).iter().find_map(|format| {
        let settings =
            Settings { weights: Some((*format).to_owned()), weights_bytes: None, ..question.settings.clone() };
        let plan = question.plan(&settings).ok()?;
        let is_smaller = plan.summed().weights.is_some_and(|weights| weights.value < now);
        (is_smaller && Verdict::of_plan(&plan) == Verdict::Fits).then(|| Candidate {
            setting: "weights",
            value: (*format).to_owned(),
            price: "coarser weights",
            settings,
        })
    })
}

fn more_cards(question: &Question<'_>) -> Option<Candidate> {
    let first = question.settings.devices.first().filter(|device| !is_shared(device))?.clone();
    let now = question.settings.devices.len();
    [2, 4, 8].into_iter().filter(|&count| count > now).find_map(|count| {
        let mut settings = Settings { devices: vec![first.clone(); count], ..question.settings.clone() };
        if !is_llamacpp(question) {
            settings.tensor_parallel = u64::try_from(count).ok();
        }
        (question.verdict(&settings) == Verdict::Fits).then(|| Candidate {
            setting: "devices",
            value: format!("{count}x {}", first.name),
            price: "more cards",
            settings,
        })
    })
}
