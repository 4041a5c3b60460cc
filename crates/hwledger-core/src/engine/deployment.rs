//! How a model's weights end up being computed on a device by an engine.

use super::support::{compute_capability, format_obstacle, obstacle};
use crate::device::{CapabilityLevel, DataType, DeploymentPath, Fp4Maturity, KernelSource};
use crate::model::ModelSpec;
use crate::settings::{Device, DeviceKind, Engine, Settings};
use crate::weight_format::WeightFormat;

/// The path that work takes, why, and what would do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The path.
    pub path: DeploymentPath,
    /// Why this one.
    pub reason: &'static str,
    /// What to use instead, where something is better.
    pub hint: Option<&'static str>,
}

impl Deployment {
    const fn unsupported(reason: &'static str, hint: &'static str) -> Self {
        Self { path: DeploymentPath::Unsupported, reason, hint: Some(hint) }
    }
}

/// The path of a plan: that of the device where it is worst. `None` where too little is known of the
/// devices, or where the backend is the processor's.
pub fn deployment_of(engine: Engine, model: &ModelSpec, settings: &Settings) -> Option<Deployment> {
    if settings.backend.as_deref().is_some_and(|backend| backend.eq_ignore_ascii_case("cpu")) {
        return None;
    }
    let (asked, stored) = (settings.weights.as_deref(), model.stored_format.as_deref());
    let mut worst: Option<Deployment> = None;
    let mut before: Option<&str> = None;
    for device in &settings.devices {
        if before.replace(&device.name) == Some(&*device.name) {
            continue;
        }
        let found = deployment(engine, device, asked, stored)?;
        if worst.is_none_or(|worst| rank(found.path) > rank(worst.path)) {
            worst = Some(found);
        }
    }
    worst
}

/// The larger, the worse.
const fn rank(path: DeploymentPath) -> u8 {
    match path {
        DeploymentPath::NativeFast => 0,
        DeploymentPath::Fp4RuntimeImmature => 1,
        DeploymentPath::CompatFast => 2,
        DeploymentPath::CompatBlocked => 3,
        DeploymentPath::VectorFallback => 4,
        DeploymentPath::Unsupported => 5,
    }
}

/// The path of weights on `device` by `engine`: of the format asked for, or else of what the model's
/// files hold, which the engine may convert. `None` where too little is known of the device.
///
/// **Source**: beside [`obstacle`]'s, vLLM's "Supported hardware" of quantisations (FP8 from compute
/// capability 8.9, from 8.0 as weights alone through Marlin; 4-bit floats from 10.0, from 8.0
/// through Marlin; AWQ and GPTQ from 7.5), TensorRT-LLM's "Numerical precision" (FP8 from 8.9, NVFP4
/// from 10.0, MXFP4 from 9.0).
pub fn deployment(engine: Engine, device: &Device, asked: Option<&str>, stored: Option<&str>) -> Option<Deployment> {
    let label = asked.or(stored).unwrap_or_default();
    if let Some(reason) = obstacle(engine, device) {
        return Some(Deployment::unsupported(reason, engines_there(device.kind)));
    }
    let format: Option<WeightFormat> = label.parse().ok();
    let asked = format.as_ref().filter(|_| asked.is_some());
    if let Some(reason) = asked.and_then(|format| format_obstacle(engine, label, format)) {
        return Some(Deployment::unsupported(reason, formats_of(engine)));
    }
    let data_type = data_type(engine, label, format.as_ref());
    if !is_local(engine)
        && let Some(compute) = compute_capability(device).filter(|_| device.kind == DeviceKind::Nvidia)
        && let Some(found) = on_nvidia(engine, data_type, compute)
    {
        return Some(found);
    }
    let spec = device.spec.as_deref()?;
    let capability = spec.capability(data_type)?;
    let path = DeploymentPath::of(&capability, data_type, KernelSource::Precompiled, Fp4Maturity::Mature);
    let hint = (capability.level < CapabilityLevel::Native).then_some(match data_type {
        DataType::Mxfp4 | DataType::Nvfp4 | DataType::Fp8 => "formats that the device computes in natively",
        DataType::BlockQuantised => "nothing: the device has no matrix units for it",
        _ => "16-bit floats of the other kind, or quantised weights",
    });
    Some(Deployment { path, reason: capability.reason, hint })
}

const fn is_local(engine: Engine) -> bool {
    matches!(
        engine,
        Engine::LlamaCpp
            | Engine::IkLlamaCpp
            | Engine::Ollama
            | Engine::Mlx
            | Engine::MistralRs
            | Engine::Transformers
            | Engine::Hwledger
    )
}

/// Engines that run on a kind of device.
const fn engines_there(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Apple => "mlx, llama.cpp and Ollama run there",
        DeviceKind::Amd => "llama.cpp and vLLM run there",
        _ => "llama.cpp runs there",
    }
}

/// Formats that an engine reads.
const fn formats_of(engine: Engine) -> &'static str {
    match engine {
        Engine::LlamaCpp | Engine::IkLlamaCpp | Engine::Ollama => "Q8_0, Q6_K, Q4_K_M and other GGUF formats",
        Engine::Mlx => "BF16, MLX-8bit, MLX-4bit and their like",
        _ => "BF16, FP8, AWQ-4bit and their like",
    }
}

/// The type that weights of a format are computed in.
fn data_type(engine: Engine, label: &str, format: Option<&WeightFormat>) -> DataType {
    let says = |word: &str| label.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()));
    match format {
        _ if says("nvfp4") => DataType::Nvfp4,
        _ if says("mxfp4") => DataType::Mxfp4,
        _ if says("fp8") => DataType::Fp8,
        Some(WeightFormat::Plain(kind)) if !kind.is_quantised() => match kind {
            crate::ElementType::F32 => DataType::Fp32,
            crate::ElementType::F16 => DataType::Fp16,
            _ => DataType::Bf16,
        },
        Some(WeightFormat::Scheme(_)) if says("int8") && !is_local(engine) => DataType::Int8,
        Some(_) => DataType::BlockQuantised,
        None => DataType::Bf16,
    }
}

/// What the serving engines' kernels do with a type on a card of this compute capability; `None`
/// where the card's own capability decides.
fn on_nvidia(engine: Engine, data_type: DataType, compute: f64) -> Option<Deployment> {
    let is_tensorrt = engine == Engine::TensorRtLlm;
    let marlin = |reason, hint| Deployment { path: DeploymentPath::CompatFast, reason, hint: Some(hint) };
    match data_type {
        DataType::Fp8 if compute >= 8.9 => None,
        DataType::Fp8 if is_tensorrt => {
            Some(Deployment::unsupported("TensorRT-LLM computes FP8 from compute capability 8.9", "AWQ-4bit or BF16"))
        }
        DataType::Fp8 if compute >= 8.0 => {
            Some(marlin("FP8 weights are widened to 16 bits on the way to the matrix units", "AWQ-4bit is as fast"))
        }
        DataType::Fp8 => {
            Some(Deployment::unsupported("FP8 kernels need compute capability 8.0", "AWQ-4bit, GPTQ-4bit or F16"))
        }
        DataType::Nvfp4 if compute >= 12.0 => Some(Deployment {
            path: DeploymentPath::Fp4RuntimeImmature,
            reason: "the units are there, and not every kernel uses them on these cards yet",
            hint: Some("FP8 or AWQ-4bit where it is slow"),
        }),
        DataType::Nvfp4 | DataType::Mxfp4 if compute >= 10.0 => None,
        DataType::Nvfp4 if is_tensorrt => {
            Some(Deployment::unsupported("TensorRT-LLM computes NVFP4 from compute capability 10.0", "FP8 or AWQ-4bit"))
        }
        DataType::Mxfp4 if is_tensorrt && compute < 9.0 => {
            Some(Deployment::unsupported("TensorRT-LLM computes MXFP4 from compute capability 9.0", "AWQ-4bit"))
        }
        DataType::Nvfp4 | DataType::Mxfp4 if compute >= 8.0 => {
            Some(marlin("4-bit floats are widened to 16 bits on the way to the matrix units", "AWQ-4bit is as fast"))
        }
        DataType::Nvfp4 | DataType::Mxfp4 => {
            Some(Deployment::unsupported("4-bit floats need compute capability 8.0", "AWQ-4bit or GPTQ-4bit"))
        }
        DataType::Bf16 if compute < 8.0 => Some(Deployment {
            path: DeploymentPath::CompatFast,
            reason: "bfloat16 needs compute capability 8.0; the engine computes in float16",
            hint: Some("F16, so that nothing is converted"),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::find;

    fn at(engine: Engine, name: &str, label: &str) -> Deployment {
        let device = find(name, None).expect("one device").device;
        assert!(device.spec.is_some(), "{name} is in the catalogue");
        deployment(engine, &device, Some(label), None).expect("its rates are known")
    }

    #[test]
    fn paths_are_those_of_the_engines_own_tables() {
        use DeploymentPath::{CompatFast, Fp4RuntimeImmature, NativeFast, Unsupported};
        for (engine, device, label, path) in [
            (Engine::Vllm, "H100", "FP8", NativeFast),
            (Engine::Vllm, "A100 80GB PCIe", "FP8", CompatFast),
            (Engine::Vllm, "Tesla V100-SXM2-16GB", "FP8", Unsupported),
            (Engine::TensorRtLlm, "A100 80GB PCIe", "FP8", Unsupported),
            (Engine::Vllm, "B200", "NVFP4", NativeFast),
            (Engine::Vllm, "RTX 5090", "NVFP4", Fp4RuntimeImmature),
            (Engine::Vllm, "RTX 3090", "NVFP4", CompatFast),
            (Engine::TensorRtLlm, "H100", "NVFP4", Unsupported),
            (Engine::Vllm, "RTX 2080 Ti", "BF16", CompatFast),
            (Engine::Vllm, "Apple M2 Ultra", "BF16", Unsupported),
            (Engine::Mlx, "RTX 4090", "MLX-4bit", Unsupported),
            (Engine::LlamaCpp, "RTX 4090", "AWQ-4bit", Unsupported),
            (Engine::LlamaCpp, "RTX 4090", "Q4_K_M", NativeFast),
        ] {
            let found = at(engine, device, label);
            assert_eq!(found.path, path, "{} on {device} with {label}: {}", engine.name(), found.reason);
            assert!(path != Unsupported || found.hint.is_some());
        }
    }

    #[test]
    fn a_device_that_nobody_knows_has_no_path() {
        let device = find("Quantum Card 9000", None).expect("a name").device;
        assert_eq!(deployment(Engine::LlamaCpp, &device, Some("Q4_K_M"), None), None);
    }

    #[test]
    fn what_files_hold_is_converted_and_what_is_asked_for_is_not() {
        let device = find("RTX 3090", None).expect("a name").device;
        let path = |asked, stored| deployment(Engine::LlamaCpp, &device, asked, stored).map(|found| found.path);
        assert_eq!(path(Some("FP8"), None), Some(DeploymentPath::Unsupported));
        assert_ne!(path(None, Some("fp8")), Some(DeploymentPath::Unsupported));
    }

    #[test]
    fn the_worst_device_decides_whatever_the_order() {
        let model = crate::model::fixture::llama_8b();
        let [new, old] = ["RTX 4090", "Tesla P40"].map(|name| find(name, None).expect("a name").device);
        for devices in [vec![new.clone(), old.clone()], vec![old, new]] {
            let settings = Settings { devices, weights: Some("BF16".to_owned()), ..Settings::default() };
            let path = deployment_of(Engine::Vllm, &model, &settings).map(|found| found.path);
            assert_eq!(path, Some(DeploymentPath::Unsupported));
            let settings = Settings { backend: Some("CPU".to_owned()), ..settings };
            assert_eq!(deployment_of(Engine::Vllm, &model, &settings), None);
        }
    }
}
