//! What is searched for, as people and programs write it.

use hwledger_core::pareto::Direction;
use hwledger_core::settings::Engine;
use hwledger_core::{Assumptions, ElementType};
use serde::{Deserialize, Serialize};

use super::evaluate::Found;
use crate::planner::PlanFailure;
use crate::request::{DeviceRequest, HostRequest, bad, engine};

/// Requests at a time where nobody says.
const USERS: u64 = 1;
/// Prompt and generated tokens where nobody says: a question with some context, a page of answer.
const PROMPT: u64 = 2048;
/// Generated tokens where nobody says.
const GENERATE: u64 = 512;
/// Bits per weight below which answers get visibly worse (published comparisons of `llama.cpp`'s
/// quantisations put 4-bit mixtures within a few percent of 16 bits in perplexity, 3 bits not).
const BITS_MIN: f64 = 4.0;

/// What to serve, within which limits, and what may be used. Lists left empty mean "all".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchRequest {
    /// Models, each searched by itself.
    pub models: Vec<String>,
    /// Requests in flight; 1 where nobody says.
    pub users: Option<u64>,
    /// Requests that arrive per second, instead of users.
    pub request_rate: Option<f64>,
    /// Prompt tokens of one request; 2048 where nobody says.
    pub prompt: Option<u64>,
    /// Generated tokens of one request; 512 where nobody says.
    pub generate: Option<u64>,
    /// Tokens that a request may hold at most; prompt and generated tokens where nobody says.
    pub context: Option<u64>,
    /// Share of a prompt that an earlier request left in the cache.
    pub prefix_hit_rate: Option<f64>,
    /// Longest time to the first token, in milliseconds.
    pub ttft_ms: Option<f64>,
    /// Longest time per generated token, in milliseconds.
    pub tpot_ms: Option<f64>,
    /// Fewest generated tokens per second of all requests.
    pub output_tokens_per_s: Option<f64>,
    /// Most that the devices may cost.
    pub budget_usd: Option<f64>,
    /// Most that renting them may cost per hour.
    pub hourly_usd: Option<f64>,
    /// Most power of the devices together, in watts.
    pub power_w: Option<f64>,
    /// Fewest bits per weight; 4 where nobody says.
    pub bits: Option<f64>,
    /// Devices; the whole catalogue where none is named.
    pub devices: Vec<DeviceRequest>,
    /// How many of one device; 1, 2, 4 and 8 where nobody says.
    pub counts: Vec<u64>,
    /// Engines.
    pub engines: Vec<String>,
    /// Weight formats; each engine's usual ones where none is named.
    pub weights: Vec<String>,
    /// Types of cached keys and values; the engine's own where none is named.
    pub kv_types: Vec<String>,
    /// Whether layers or experts may stay on the processor.
    pub offload: bool,
    /// The machine that holds the devices.
    pub host: Option<HostRequest>,
    /// Whether limits must hold at the bad end of each interval.
    pub sure: bool,
    /// What to be best in.
    pub objectives: Vec<Objective>,
}

/// Something to be best in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// What the devices cost.
    PurchaseUsd,
    /// What renting them costs per hour.
    RentUsdPerHour,
    /// What a million generated tokens cost, prompts included.
    UsdPerMillionTokens,
    /// Power of the devices together.
    PowerW,
    /// Generated tokens per second of all requests.
    OutputTokensPerS,
    /// Time to the first token.
    TtftMs,
    /// Time per generated token.
    TpotMs,
    /// Bits per weight.
    Bits,
}

impl Objective {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::PurchaseUsd,
        Self::RentUsdPerHour,
        Self::UsdPerMillionTokens,
        Self::PowerW,
        Self::OutputTokensPerS,
        Self::TtftMs,
        Self::TpotMs,
        Self::Bits,
    ];

    /// The name in requests and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PurchaseUsd => "purchase_usd",
            Self::RentUsdPerHour => "rent_usd_per_hour",
            Self::UsdPerMillionTokens => "usd_per_million_tokens",
            Self::PowerW => "power_w",
            Self::OutputTokensPerS => "output_tokens_per_s",
            Self::TtftMs => "ttft_ms",
            Self::TpotMs => "tpot_ms",
            Self::Bits => "bits",
        }
    }

    /// The objective of this name.
    ///
    /// # Errors
    ///
    /// A name that is none of them.
    pub fn named(name: &str) -> Result<Self, PlanFailure> {
        let plain = name.replace('-', "_");
        Self::ALL.into_iter().find(|one| one.name() == plain).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|one| one.name()).collect();
            bad("objectives", name, format!("one of {}", names.join(", ")))
        })
    }

    pub(super) const fn direction(self) -> Direction {
        match self {
            Self::OutputTokensPerS | Self::Bits => Direction::Maximise,
            _ => Direction::Minimise,
        }
    }

    /// The value of a combination; NaN where it is not known.
    pub(super) fn of(self, found: &Found) -> f64 {
        let known = |figure: Option<f64>| figure.unwrap_or(f64::NAN);
        let value = |figure: Option<hwledger_core::Estimate<f64>>| known(figure.map(|figure| figure.value));
        match self {
            Self::PurchaseUsd => known(found.purchase_usd),
            Self::RentUsdPerHour => known(found.rent_usd_per_hour),
            Self::UsdPerMillionTokens => known(found.usd_per_million_tokens),
            Self::PowerW => known(found.power_w),
            Self::OutputTokensPerS => value(found.speed.output_tokens_per_s),
            Self::TtftMs => value(found.speed.ttft_ms),
            Self::TpotMs => value(found.speed.tpot_ms),
            Self::Bits => found.bits,
        }
    }
}

/// A request whose values are sound, defaults filled in.
pub(super) struct Checked {
    pub(super) users: u64,
    pub(super) prompt: u64,
    pub(super) generate: u64,
    pub(super) context: u64,
    pub(super) bits: f64,
    pub(super) counts: Vec<u64>,
    pub(super) engines: Vec<Engine>,
    pub(super) kv_types: Vec<Option<ElementType>>,
    pub(super) objectives: Vec<Objective>,
}

/// Engines that are tried where none is named: those whose speeds were measured.
const ENGINES: [Engine; 8] = [
    Engine::LlamaCpp,
    Engine::IkLlamaCpp,
    Engine::Ollama,
    Engine::Vllm,
    Engine::Sglang,
    Engine::TensorRtLlm,
    Engine::Tgi,
    Engine::Mlx,
];

/// Most of anything that is counted here: users, tokens of a request.
const COUNT_MAX: u64 = 1 << 24;

impl SearchRequest {
    pub(super) fn checked(&self, assumptions: &mut Assumptions) -> Result<Checked, PlanFailure> {
        let limits = [
            ("ttft_ms", self.ttft_ms),
            ("tpot_ms", self.tpot_ms),
            ("output_tokens_per_s", self.output_tokens_per_s),
            ("budget_usd", self.budget_usd),
            ("hourly_usd", self.hourly_usd),
            ("power_w", self.power_w),
            ("bits", self.bits),
            ("request_rate", self.request_rate),
        ];
        for (key, value) in limits {
            if let Some(value) = value.filter(|value| !(*value > 0.0 && value.is_finite())) {
                return Err(bad(key, &value.to_string(), "a number above 0"));
            }
        }
        if let Some(share) = self.prefix_hit_rate.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(bad("prefix_hit_rate", &share.to_string(), "a share from 0 to 1"));
        }
        let count = |key, value: Option<u64>| match value {
            Some(value) if value == 0 || value > COUNT_MAX => {
                Err(bad(key, &value.to_string(), format!("from 1 to {COUNT_MAX}")))
            }
            value => Ok(value),
        };
        let users = count("users", self.users)?;
        if users.is_some() && self.request_rate.is_some() {
            return Err(bad("request_rate", "beside users", "one of both: the rate decides how many are in flight"));
        }
        let users = if self.request_rate.is_some() {
            1
        } else {
            assumptions.or(users, "users", USERS, "nobody said how many requests are in flight")
        };
        let prompt = assumptions.or(count("prompt", self.prompt)?, "prompt", PROMPT, "nobody said");
        let generate = assumptions.or(count("generate", self.generate)?, "generate", GENERATE, "nobody said");
        let context = count("context", self.context)?.unwrap_or(prompt + generate).max(prompt + generate);
        let bits = assumptions.or(self.bits, "bits", BITS_MIN, "coarser weights answer visibly worse");
        let counts = if self.counts.is_empty() { vec![1, 2, 4, 8] } else { self.counts.clone() };
        if let Some(wrong) = counts.iter().find(|&&count| count == 0 || count > 4096) {
            return Err(bad("counts", &wrong.to_string(), "from 1 to 4096"));
        }
        let engines = if self.engines.is_empty() {
            ENGINES.to_vec()
        } else {
            self.engines.iter().map(|name| engine(name)).collect::<Result<_, _>>()?
        };
        let kv_type = |name: &String| match name.as_str() {
            "auto" => Ok(None),
            name => name.parse().map(Some).map_err(|_| bad("kv_types", name, "one of auto, f16, fp8, q8_0, q4_0 …")),
        };
        let kv_types = if self.kv_types.is_empty() {
            vec![None]
        } else {
            self.kv_types.iter().map(kv_type).collect::<Result<_, _>>()?
        };
        for name in &self.weights {
            if let Err(error) = name.parse::<hwledger_core::weight_format::WeightFormat>() {
                return Err(bad("weights", name, error.hint()));
            }
        }
        let objectives = if self.objectives.is_empty() {
            let price = if self.hourly_usd.is_some() { Objective::RentUsdPerHour } else { Objective::PurchaseUsd };
            vec![price, Objective::OutputTokensPerS, Objective::Bits]
        } else {
            self.objectives.clone()
        };
        Ok(Checked { users, prompt, generate, context, bits, counts, engines, kv_types, objectives })
    }
}
