//! Predictions corrected by what was measured.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use hwledger_core::calibration::{Calibrated, Calibration, Correction, Figure, Key, Subject};
use hwledger_core::settings::{DeviceKind, LayerCount, SplitMode, Switch};
use hwledger_core::{Assumptions, Basis, ElementType, Estimate};

use crate::planner::Prepared;
use hwledger_core::projection::Speed;

/// Corrections kept; a run over more computes each again.
const CORRECTIONS_KEPT: usize = 4096;

/// The speeds of an answer, each figure with its place.
pub(crate) fn figures(speed: &mut Speed) -> [(Figure, &mut Option<Estimate<f64>>); 7] {
    [
        (Figure::PrefillTokensPerS, &mut speed.prefill_tokens_per_s),
        (Figure::DecodeTokensPerS, &mut speed.decode_tokens_per_s),
        (Figure::TtftMs, &mut speed.ttft_ms),
        (Figure::TpotMs, &mut speed.tpot_ms),
        (Figure::OutputTokensPerS, &mut speed.output_tokens_per_s),
        (Figure::RequestsPerS, &mut speed.requests_per_s),
        (Figure::TotalMs, &mut speed.total_ms),
    ]
}

/// A calibration that plans are corrected by, each correction computed once.
#[derive(Debug, Default)]
pub struct Learned {
    calibration: Calibration,
    corrections: Mutex<HashMap<Key, Option<Correction>>>,
    is_stale: bool,
}

impl Learned {
    /// What a store teaches.
    pub fn new(store: super::Store) -> Self {
        let is_stale = store.is_stale();
        Self { calibration: Calibration::new(store.samples), is_stale, ..Self::default() }
    }

    fn correction(&self, key: &Key) -> Option<Correction> {
        // A panic elsewhere leaves whole entries behind, so a poisoned lock still guards a sound map.
        let known = self.corrections.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        if let Some(known) = known {
            return known;
        }
        let found = self.calibration.correction(key);
        let mut all = self.corrections.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= CORRECTIONS_KEPT {
            all.clear();
        }
        all.insert(key.clone(), found.clone());
        found
    }

    /// The correction of a figure, or that of the figure that says the same the other way round.
    fn correct(&self, prepared: &Prepared, figure: Figure, formula: Estimate<f64>) -> Calibrated {
        let key = key(prepared, figure);
        let inferred = match self.correction(&key) {
            Some(correction) => correction.apply(formula),
            None => self.by_counterpart(prepared, figure, formula),
        };
        self.calibration.prefer_own_run(&key, &subject(prepared, figure), inferred)
    }

    fn by_counterpart(&self, prepared: &Prepared, figure: Figure, formula: Estimate<f64>) -> Calibrated {
        let found = counterparts(figure).iter().find_map(|(other, is_inverse)| {
            self.correction(&key(prepared, *other)).map(|correction| (correction, *is_inverse))
        });
        let Some((mut correction, is_inverse)) = found else { return Calibrated::unchanged(formula) };
        if is_inverse {
            correction.location = -correction.location;
        }
        correction.apply(formula)
    }

    /// The correction of a figure that is no speed, where there is any; the assumptions say by what.
    pub(crate) fn corrected(
        &self,
        prepared: &Prepared,
        figure: Figure,
        formula: Estimate<f64>,
        assumptions: &mut Assumptions,
    ) -> Option<Estimate<f64>> {
        let found = self.correct(prepared, figure, formula);
        note(figure.name().to_owned(), &found, assumptions);
        found.key_used.map(|_| found.calibrated)
    }

    /// The corrected speeds, where any is; the assumptions say by what.
    pub(crate) fn apply(&self, prepared: &Prepared, speed: &Speed, assumptions: &mut Assumptions) -> Option<Speed> {
        let mut corrected = *speed;
        let mut is_corrected = false;
        for (figure, slot) in figures(&mut corrected) {
            let Some(formula) = *slot else { continue };
            let found = self.correct(prepared, figure, formula);
            note(format!("speed.{figure}"), &found, assumptions);
            if found.key_used.is_some() {
                *slot = Some(found.calibrated);
                is_corrected = true;
            }
        }
        if is_corrected && self.is_stale {
            assumptions.note("calibration", "stale", "the store was written by another version of the formulas");
        }
        is_corrected.then_some(corrected)
    }
}

/// Says by what a figure was corrected.
fn note(what: String, found: &Calibrated, assumptions: &mut Assumptions) {
    let Calibrated { formula, calibrated, key_used: Some(used), samples } = found else { return };
    let runs = if *samples == 1 { "1 run".to_owned() } else { format!("{samples} runs") };
    let (value, why) = match calibrated.basis {
        Basis::Measured => ("measured", format!("{runs} of exactly this on this machine")),
        _ => ("calibrated", format!("the formula's {:.4}, corrected by {runs} of {used}", formula.value)),
    };
    assumptions.note(what, value, why);
}

/// The figures that say the same or nearly so, each with whether as its inverse.
fn counterparts(figure: Figure) -> &'static [(Figure, bool)] {
    match figure {
        Figure::DecodeTokensPerS => &[(Figure::TpotMs, true)],
        Figure::TpotMs => &[(Figure::DecodeTokensPerS, true)],
        Figure::PrefillTokensPerS => &[(Figure::TtftMs, true)],
        Figure::TtftMs => &[(Figure::PrefillTokensPerS, true)],
        Figure::OutputTokensPerS => &[(Figure::RequestsPerS, false)],
        Figure::RequestsPerS => &[(Figure::OutputTokensPerS, false)],
        // Most of a request's time goes into its tokens after the first.
        Figure::TotalMs => &[(Figure::TpotMs, false), (Figure::DecodeTokensPerS, true)],
        _ => &[],
    }
}

/// What a plan's figure is calibrated as.
pub(crate) fn key(prepared: &Prepared, figure: Figure) -> Key {
    let settings = &prepared.settings;
    let version = settings.engine_version.as_deref().map(|text| text.trim().trim_start_matches(['v', 'V', 'b', 'B']));
    Key {
        figure,
        engine: Some(prepared.engine.name().to_owned()),
        engine_version: version.filter(|text| !text.is_empty()).map(str::to_owned),
        device: devices(prepared),
        backend: backend(prepared),
        quantisation: Some(
            settings
                .weights
                .as_ref()
                .or(prepared.model.spec.stored_format.as_ref())
                .map_or_else(|| "as stored".to_owned(), |name| name.to_ascii_uppercase()),
        ),
        architecture: Some(prepared.model.spec.architecture.clone()),
        workload: workload_class(prepared, figure),
    }
}

/// Lengths and requests in flight, each to a factor of four; none for memory.
fn workload_class(prepared: &Prepared, figure: Figure) -> Option<String> {
    let settings = &prepared.settings;
    let (prompt, depth) = (settings.prompt.unwrap_or(0), settings.depth.unwrap_or(0));
    let (name, length, before) = match figure {
        Figure::PrefillTokensPerS | Figure::TtftMs | Figure::InputJoulesPerToken => ("prompt", prompt, depth),
        Figure::DecodeTokensPerS | Figure::TpotMs | Figure::OutputJoulesPerToken => {
            ("decode", 0, depth.saturating_add(prompt))
        }
        Figure::OutputTokensPerS | Figure::RequestsPerS | Figure::TotalMs | Figure::RequestJoules => {
            ("request", prompt, depth)
        }
        _ => return None,
    };
    let mut class = name.to_owned();
    let requests = settings.concurrency.filter(|requests| *requests > 1);
    for (text, count) in [(" ", length), (" after ", before), (" by ", requests.unwrap_or(0))] {
        if count > 0 {
            // 4^k and what is below 4^(k+1).
            let low = 1_u64 << (count.ilog2() / 2 * 2);
            // Writing to a string cannot fail.
            let _ = write!(class, "{text}{low}-{}", low.saturating_mul(4) - 1);
        }
    }
    Some(class)
}

/// `RTX 3090`, `2x H100`, `RTX 3090 + RTX 4090`.
fn devices(prepared: &Prepared) -> Option<String> {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for device in &prepared.settings.devices {
        match kinds.iter_mut().find(|(name, _)| *name == device.name) {
            Some((_, count)) => *count += 1,
            None => kinds.push((&device.name, 1)),
        }
    }
    kinds.sort_unstable();
    let names: Vec<String> = kinds
        .into_iter()
        .map(|(name, count)| if count == 1 { name.to_owned() } else { format!("{count}x {name}") })
        .collect();
    (!names.is_empty()).then(|| names.join(" + "))
}

/// The backend that was named, or the usual one of the devices.
fn backend(prepared: &Prepared) -> Option<String> {
    if let Some(name) = &prepared.settings.backend {
        return Some(match name.to_ascii_lowercase().as_str() {
            "mtl" => "metal".to_owned(),
            "hip" => "rocm".to_owned(),
            other => other.to_owned(),
        });
    }
    let name = match prepared.settings.devices.first()?.kind {
        DeviceKind::Nvidia => "cuda",
        DeviceKind::Amd | DeviceKind::SharedMemory => "rocm",
        DeviceKind::Intel => "sycl",
        DeviceKind::Apple => "metal",
        DeviceKind::Cpu => "cpu",
        DeviceKind::Other => return None,
    };
    Some(name.to_owned())
}

/// Exactly what a plan's figure is about: the model and everything that moves the figure, with
/// settings left out that are the engine's defaults.
pub(crate) fn subject(prepared: &Prepared, figure: Figure) -> Subject {
    let settings = &prepared.settings;
    let mut workload = String::new();
    let mut say = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = write!(workload, "{}{name}={value}", if workload.is_empty() { "" } else { " " });
        }
    };
    let number = |value: Option<u64>, usual: u64| value.filter(|value| *value != usual).map(|value| value.to_string());
    let before = settings.depth.unwrap_or(0);
    match figure {
        Figure::PrefillTokensPerS | Figure::TtftMs | Figure::InputJoulesPerToken => {
            say("prompt", number(settings.prompt, 0));
            say("depth", number(Some(before), 0));
        }
        // A token costs the same after a prompt as after as many tokens of depth.
        Figure::DecodeTokensPerS | Figure::TpotMs | Figure::OutputJoulesPerToken => {
            say("generate", number(settings.generate, 0));
            say("depth", number(Some(before.saturating_add(settings.prompt.unwrap_or(0))), 0));
        }
        _ => {
            say("prompt", number(settings.prompt, 0));
            say("generate", number(settings.generate, 0));
            say("depth", number(Some(before), 0));
            say("context", settings.context.map(|tokens| tokens.to_string()));
        }
    }
    say("concurrency", number(settings.concurrency, 1));
    let cache = |kind: Option<ElementType>| kind.filter(|kind| *kind != ElementType::F16).map(|kind| kind.to_string());
    say("kv_type_k", cache(settings.kv_type_k));
    say("kv_type_v", cache(settings.kv_type_v));
    say("ubatch", number(settings.ubatch, 512));
    say("max_batched_tokens", number(settings.max_batched_tokens, 0));
    let layers = prepared.model.spec.decoder.len() as u64;
    say(
        "gpu_layers",
        match settings.gpu_layers {
            Some(LayerCount::Some(count)) if count <= layers => Some(count.to_string()),
            _ => None,
        },
    );
    say(
        "cpu_moe_layers",
        match settings.cpu_moe_layers {
            Some(LayerCount::Some(0)) | None => None,
            Some(LayerCount::Some(count)) => Some(count.to_string()),
            Some(LayerCount::All) => Some("all".to_owned()),
        },
    );
    say("flash_attention", matches!(settings.flash_attention, Some(Switch::Off)).then(|| "off".to_owned()));
    say(
        "split_mode",
        match settings.split_mode {
            Some(SplitMode::Row) => Some("row".to_owned()),
            Some(SplitMode::Tensor) => Some("tensor".to_owned()),
            Some(SplitMode::Layer) | None => None,
        },
    );
    say("tensor_parallel", number(settings.tensor_parallel, 1));
    say("pipeline_parallel", number(settings.pipeline_parallel, 1));
    say("data_parallel", number(settings.data_parallel, 1));
    say("expert_parallel", number(settings.expert_parallel, 1));
    say("draft", prepared.draft.as_ref().map(|_| "yes".to_owned()));
    Subject { model: prepared.model.name.clone(), workload }
}
