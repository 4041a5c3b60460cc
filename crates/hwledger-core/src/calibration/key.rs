//! What a correction is for, from the most specific description to the least.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A figure that is predicted and measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each name is the answer's own")]
pub enum Figure {
    PrefillTokensPerS,
    DecodeTokensPerS,
    TtftMs,
    TpotMs,
    OutputTokensPerS,
    RequestsPerS,
    TotalMs,
    WeightsBytes,
    KvCacheBytes,
    ComputeBytes,
    OverheadBytes,
    TotalBytes,
    InputJoulesPerToken,
    OutputJoulesPerToken,
    RequestJoules,
}

impl Figure {
    /// All figures.
    pub const ALL: &'static [Self] = &[
        Self::PrefillTokensPerS,
        Self::DecodeTokensPerS,
        Self::TtftMs,
        Self::TpotMs,
        Self::OutputTokensPerS,
        Self::RequestsPerS,
        Self::TotalMs,
        Self::WeightsBytes,
        Self::KvCacheBytes,
        Self::ComputeBytes,
        Self::OverheadBytes,
        Self::TotalBytes,
        Self::InputJoulesPerToken,
        Self::OutputJoulesPerToken,
        Self::RequestJoules,
    ];

    /// The figure's name in answers and stores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrefillTokensPerS => "prefill_tokens_per_s",
            Self::DecodeTokensPerS => "decode_tokens_per_s",
            Self::TtftMs => "ttft_ms",
            Self::TpotMs => "tpot_ms",
            Self::OutputTokensPerS => "output_tokens_per_s",
            Self::RequestsPerS => "requests_per_s",
            Self::TotalMs => "total_ms",
            Self::WeightsBytes => "weights_bytes",
            Self::KvCacheBytes => "kv_cache_bytes",
            Self::ComputeBytes => "compute_bytes",
            Self::OverheadBytes => "overhead_bytes",
            Self::TotalBytes => "total_bytes",
            Self::InputJoulesPerToken => "input_joules_per_token",
            Self::OutputJoulesPerToken => "output_joules_per_token",
            Self::RequestJoules => "request_joules",
        }
    }
}

impl Figure {
    /// The power of the share of the processors that others leave by which the figure moves: rates fall with it, times
    /// rise, and what is not time stays as it is.
    pub const fn load_exponent(self) -> f64 {
        match self {
            Self::PrefillTokensPerS | Self::DecodeTokensPerS | Self::OutputTokensPerS | Self::RequestsPerS => 1.0,
            Self::TtftMs | Self::TpotMs | Self::TotalMs => -1.0,
            Self::WeightsBytes
            | Self::KvCacheBytes
            | Self::ComputeBytes
            | Self::OverheadBytes
            | Self::TotalBytes
            | Self::InputJoulesPerToken
            | Self::OutputJoulesPerToken
            | Self::RequestJoules => 0.0,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Figure {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.iter().find(|figure| figure.name() == name).copied().ok_or(())
    }
}

/// A part of a key, in the order in which they are dropped.
///
/// A version is dropped first: most releases change nothing that matters. The class of the workload
/// comes next: formulas err alike on lengths that are alike. Architecture and
/// quantisation choose kernels on a device; the backend chooses the family of kernels; the device
/// sets what they can reach, so it stays longest. The engine goes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each names the field of `Key`")]
pub enum Part {
    EngineVersion,
    Workload,
    Architecture,
    Quantisation,
    Backend,
    Device,
    Engine,
}

impl Part {
    /// The order of dropping.
    pub const DROPPED: [Self; 7] = [
        Self::EngineVersion,
        Self::Workload,
        Self::Architecture,
        Self::Quantisation,
        Self::Backend,
        Self::Device,
        Self::Engine,
    ];
}

/// What a correction is for. A part that is `None` stands for all of its values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The figure.
    pub figure: Figure,
    /// The engine, by its name in requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The device, by its name in the catalogue where it has one, its count before it (`2x H100`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// CUDA, Vulkan, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Weight format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<String>,
    /// The model's architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The class of the workload: lengths and requests in flight that are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The engine's version or build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
}

impl Key {
    /// The root of a figure: every engine, every device.
    pub const fn root(figure: Figure) -> Self {
        Self {
            figure,
            engine: None,
            device: None,
            backend: None,
            quantisation: None,
            architecture: None,
            workload: None,
            engine_version: None,
        }
    }

    /// A part's value.
    pub const fn part(&self, part: Part) -> Option<&String> {
        match part {
            Part::EngineVersion => self.engine_version.as_ref(),
            Part::Workload => self.workload.as_ref(),
            Part::Architecture => self.architecture.as_ref(),
            Part::Quantisation => self.quantisation.as_ref(),
            Part::Backend => self.backend.as_ref(),
            Part::Device => self.device.as_ref(),
            Part::Engine => self.engine.as_ref(),
        }
    }

    /// The key without its most specific part; none of the root.
    ///
    /// ```
    /// use hwledger_core::calibration::{Figure, Key};
    /// let mut key = Key::root(Figure::DecodeTokensPerS);
    /// key.engine = Some("vllm".to_owned());
    /// key.device = Some("H100 SXM".to_owned());
    /// assert_eq!(key.parent().unwrap().device, None);
    /// assert_eq!(key.parent().unwrap().parent(), Some(Key::root(Figure::DecodeTokensPerS)));
    /// assert_eq!(Key::root(Figure::DecodeTokensPerS).parent(), None);
    /// ```
    pub fn parent(&self) -> Option<Self> {
        let part = Part::DROPPED.into_iter().find(|&part| self.part(part).is_some())?;
        let mut parent = self.clone();
        *match part {
            Part::EngineVersion => &mut parent.engine_version,
            Part::Workload => &mut parent.workload,
            Part::Architecture => &mut parent.architecture,
            Part::Quantisation => &mut parent.quantisation,
            Part::Backend => &mut parent.backend,
            Part::Device => &mut parent.device,
            Part::Engine => &mut parent.engine,
        } = None;
        Some(parent)
    }

    /// The key, its parent, and so on to the root.
    pub fn chain(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self.clone()), Self::parent)
    }

    /// Whether `other` is described by this key.
    pub fn covers(&self, other: &Self) -> bool {
        self.figure == other.figure
            && Part::DROPPED.into_iter().all(|part| self.part(part).is_none_or(|value| other.part(part) == Some(value)))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.figure)?;
        let mut is_root = true;
        for part in Part::DROPPED.into_iter().rev() {
            if let Some(value) = self.part(part) {
                is_root = false;
                write!(formatter, " / {value}")?;
            }
        }
        if is_root { formatter.write_str(" / all") } else { Ok(()) }
    }
}
