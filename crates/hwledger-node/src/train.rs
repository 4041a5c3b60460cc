//! Training and fine-tuning of one model.

use hwledger_core::lora::Targets;
use hwledger_core::training::{Method, Optimizer, Training, TrainingMemory, training_memory};
use hwledger_core::verdict::Verdict;
use hwledger_core::weight_format::WeightFormat;
use hwledger_core::{Assumptions, Bytes, Estimate};
use serde::{Deserialize, Serialize};

use crate::planner::{PlanFailure, Planner};
use crate::request::PlanRequest;

/// What is trained and how; what is left open takes the usual value, and the answer says so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainRequest {
    /// `full`, `lora`, `qlora`.
    pub method: Option<String>,
    /// Rank of the adapters.
    pub rank: Option<u64>,
    /// `attention` or `all`.
    pub targets: Option<String>,
    /// `adamw`, `adamw-8bit`, `sgd`, `adafactor`.
    pub optimizer: Option<String>,
    /// Sequences per device and step.
    pub batch: Option<u64>,
    /// Tokens per sequence.
    pub sequence: Option<u64>,
    /// Whether activations are computed again in the backward pass.
    pub checkpointing: Option<bool>,
    /// Whether attention keeps no score matrix.
    pub flash_attention: Option<bool>,
    /// `ZeRO` stage, 0 to 3.
    pub zero: Option<u64>,
}

/// Memory of training, per device.
#[derive(Clone, Debug, Serialize)]
pub struct TrainAnswer {
    /// `hwledger.train/1`.
    pub schema: &'static str,
    /// The model's name.
    pub model: String,
    /// Devices that share the work.
    pub devices: u64,
    /// One device's memory.
    pub memory: TrainingMemory,
    /// All of it.
    pub total: Estimate<Bytes>,
    /// What one device has, where known.
    pub capacity: Option<Bytes>,
    /// Whether it fits.
    pub verdict: Verdict,
    /// What had to be assumed.
    pub assumptions: Assumptions,
}

fn unknown(key: &str, value: &str, hint: &str) -> PlanFailure {
    PlanFailure::BadRequest { key: key.to_owned(), value: value.to_owned(), hint: hint.to_owned() }
}

impl TrainRequest {
    fn method(&self, assumptions: &mut Assumptions) -> Result<Method, PlanFailure> {
        let targets = match self.targets.as_deref() {
            None | Some("all") => Targets::AllLinear,
            Some("attention") => Targets::Attention,
            Some(other) => return Err(unknown("targets", other, "one of `attention`, `all`")),
        };
        let method = assumptions.or(self.method.clone(), "method", "full".to_owned(), "nothing else was asked for");
        let mut rank = || assumptions.or(self.rank, "rank", 16, "the usual rank");
        match method.as_str() {
            "full" => Ok(Method::Full),
            "lora" => Ok(Method::Lora { rank: rank(), targets }),
            "qlora" => Ok(Method::QLora { rank: rank(), targets }),
            other => Err(unknown("method", other, "one of `full`, `lora`, `qlora`")),
        }
    }

    fn training(&self, devices: u64, assumptions: &mut Assumptions) -> Result<Training, PlanFailure> {
        let method = self.method(assumptions)?;
        let name = assumptions.or(self.optimizer.clone(), "optimizer", "adamw".to_owned(), "the usual optimizer");
        let optimizer = match name.as_str() {
            "adamw" | "adam" => Optimizer::AdamW,
            "adamw-8bit" | "adamw8bit" => Optimizer::AdamW8bit,
            "sgd" => Optimizer::Sgd,
            "adafactor" => Optimizer::Adafactor,
            other => return Err(unknown("optimizer", other, "one of `adamw`, `adamw-8bit`, `sgd`, `adafactor`")),
        };
        let zero_stage = assumptions.or(self.zero, "zero", 0, "every device keeps everything");
        if zero_stage > 3 {
            return Err(unknown("zero", &zero_stage.to_string(), "a stage from 0 to 3"));
        }
        Ok(Training {
            method,
            optimizer,
            batch: assumptions.or(self.batch, "batch", 1, "the smallest batch"),
            sequence: assumptions.or(self.sequence, "sequence", 2048, "a usual length of training sequences"),
            has_checkpointing: assumptions.or(self.checkpointing, "checkpointing", true, "the usual choice"),
            has_flash_attention: assumptions.or(self.flash_attention, "flash_attention", true, "the usual choice"),
            zero_stage,
            devices,
        })
    }
}

impl Planner {
    /// Memory of training the model of `request` on its devices.
    pub fn train(&self, request: &PlanRequest, train: &TrainRequest) -> Result<TrainAnswer, PlanFailure> {
        let prepared = self.prepare(request)?;
        let mut assumptions = Assumptions::default();
        let devices = u64::try_from(prepared.settings.devices.len()).unwrap_or(u64::MAX).max(1);
        let training = train.training(devices, &mut assumptions)?;
        let format = WeightFormat::asked(&prepared.settings).map_err(|error| PlanFailure::Refused(error.into()))?;
        let memory = training_memory(&prepared.model.spec, format.as_ref(), &training, &mut assumptions);
        let total = memory.total();
        let capacity = prepared.settings.devices.iter().filter_map(|device| Some(device.total()?.value)).min();
        let verdict = match capacity {
            None => Verdict::Unknown,
            Some(capacity) if total.value > capacity => Verdict::DoesNotFit,
            Some(capacity) if total.high > capacity => Verdict::Tight,
            Some(_) => Verdict::Fits,
        };
        Ok(TrainAnswer {
            schema: "hwledger.train/1",
            model: prepared.model.name.clone(),
            devices,
            memory,
            total,
            capacity,
            verdict,
            assumptions,
        })
    }
}
