//! By which path a model gets onto silicon, and what to use where there is none.

use serde::{Deserialize, Serialize};

use super::capability::Level;
use super::precision::{Fp4Maturity, Precision};
use super::tier::Tier;

/// Where kernels come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KernelSource {
    /// Binaries that somebody built, perhaps for an older architecture.
    #[default]
    Precompiled,
    /// Compiled for this silicon now.
    FreshCompile,
}

/// The path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathClass {
    /// Native units, kernels that use them.
    NativeFast,
    /// Native 4-bit units, kernels that do not use them yet.
    Fp4RuntimeImmature,
    /// Binaries of an older architecture, at speed.
    CompatFast,
    /// A fresh compilation finds no instruction for it.
    CompatBlocked,
    /// General-purpose cores.
    CudaCoreFallback,
    /// None.
    Unsupported,
}

/// The path and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deployment {
    /// The path.
    pub path: PathClass,
    /// Why, in words.
    pub reason: &'static str,
    /// What to use instead, where the path is not the best.
    pub hint: Option<String>,
}

/// The precisions that a tier runs on native units, best first for a language model.
fn native(tier: &Tier) -> Vec<Precision> {
    let order = [Precision::Q4Km, Precision::Int8, Precision::Fp8, Precision::Bf16, Precision::Nvfp4];
    order.into_iter().filter(|&precision| tier.capability(precision).level == Level::TensorNative).collect()
}

/// What to use instead of `precision` on `tier`.
pub(super) fn retarget(tier: &Tier, precision: Precision) -> Option<String> {
    let others: Vec<&str> = native(tier).into_iter().filter(|&other| other != precision).map(Precision::name).collect();
    match others.split_last() {
        None => None,
        Some((last, [])) => Some(format!("use a model in {last}, which {} runs natively", tier.name)),
        Some((last, rest)) => {
            Some(format!("use a model in {} or {last}, which {} runs natively", rest.join(", "), tier.name))
        }
    }
}

/// The path of a precision onto a tier.
pub fn deployment(tier: &Tier, precision: Precision, kernels: KernelSource, maturity: Fp4Maturity) -> Deployment {
    let capability = tier.capability(precision);
    let path = match (capability.level, kernels) {
        (Level::TensorNative, _) if precision == Precision::Nvfp4 && maturity == Fp4Maturity::Immature => {
            PathClass::Fp4RuntimeImmature
        }
        (Level::TensorNative, _) => PathClass::NativeFast,
        (Level::TensorCompat, KernelSource::Precompiled) => PathClass::CompatFast,
        (Level::TensorCompat, KernelSource::FreshCompile) => PathClass::CompatBlocked,
        (Level::CudaCore, _) => PathClass::CudaCoreFallback,
        (Level::Unsupported, _) => PathClass::Unsupported,
    };
    let hint = match path {
        PathClass::NativeFast | PathClass::CompatFast => None,
        PathClass::CompatBlocked => Some(match retarget(tier, precision) {
            Some(other) => format!("use precompiled kernels, or {other}"),
            None => "use precompiled kernels".to_owned(),
        }),
        PathClass::Fp4RuntimeImmature | PathClass::CudaCoreFallback | PathClass::Unsupported => {
            retarget(tier, precision)
        }
    };
    Deployment { path, reason: capability.reason, hint }
}

#[cfg(test)]
mod tests {
    use super::super::registry::tier;
    use super::*;

    fn path(name: &str, precision: Precision, kernels: KernelSource, maturity: Fp4Maturity) -> Deployment {
        deployment(tier(name).expect("a tier of the registry"), precision, kernels, maturity)
    }

    #[test]
    fn each_path_has_its_case() {
        use Fp4Maturity::{Immature, Mature};
        use KernelSource::{FreshCompile, Precompiled};
        let check = |name, precision, kernels, maturity, expected| {
            assert_eq!(path(name, precision, kernels, maturity).path, expected, "{name} {precision:?}");
        };
        check("NPU High", Precision::Bf16, Precompiled, Mature, PathClass::NativeFast);
        check("RTX 5090", Precision::Nvfp4, Precompiled, Immature, PathClass::Fp4RuntimeImmature);
        check("RTX 5090", Precision::Nvfp4, Precompiled, Mature, PathClass::NativeFast);
        check("RTX 5090", Precision::Int8, Precompiled, Mature, PathClass::CompatFast);
        check("RTX 5090", Precision::Int8, FreshCompile, Mature, PathClass::CompatBlocked);
        check("NPU Mid", Precision::Fp8, Precompiled, Mature, PathClass::Unsupported);
    }

    #[test]
    fn where_there_is_no_path_another_is_named() {
        let none = path("NPU Mid", Precision::Bf16, KernelSource::Precompiled, Fp4Maturity::Mature);
        assert_eq!(none.hint.as_deref(), Some("use a model in q4_km or int8, which NPU Mid runs natively"));
        let blocked = path("RTX 5090", Precision::Int8, KernelSource::FreshCompile, Fp4Maturity::Mature);
        assert!(blocked.hint.is_some_and(|hint| hint.starts_with("use precompiled kernels")));
        let fast = path("RTX 5090", Precision::Fp8, KernelSource::FreshCompile, Fp4Maturity::Mature);
        assert_eq!(fast.hint, None);
    }
}
