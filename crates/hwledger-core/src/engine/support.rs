//! Where an engine runs at all, and what it reads.

use crate::settings::{Device, DeviceKind, Engine};
use crate::weight_format::WeightFormat;

/// Why `engine` does not run on `device`; `None` where it does, or where that is not known.
///
/// **Source**: the engines' own lists of supported hardware: vLLM "GPU installation" (compute
/// capability 7.0 and above, AMD, Intel, processors), `SGLang` "Install" (7.5, AMD Instinct),
/// TensorRT-LLM "Support matrix" (8.0), TGI "Supported hardware" (7.5, Instinct, Gaudi), `MLX`
/// (Apple silicon; "Build and Install" has processors on Linux too), `ik_llama.cpp` (CUDA and processors).
pub fn obstacle(engine: Engine, device: &Device) -> Option<&'static str> {
    let needs = |least: f64, why| (compute_capability(device).is_some_and(|own| own < least)).then_some(why);
    match (engine, device.kind) {
        // Nobody knows what a device is that nobody knows; of the known others vLLM has plugins.
        (Engine::Vllm, DeviceKind::Other)
        | (Engine::Mlx, DeviceKind::Apple | DeviceKind::Cpu)
        | (Engine::IkLlamaCpp, DeviceKind::Nvidia | DeviceKind::Cpu) => None,
        (_, DeviceKind::Other) => device.spec.is_some().then_some("no backend of it for this device is known"),
        (Engine::Mlx, _) => Some("mlx is planned on Apple silicon and on processors"),
        (Engine::TensorRtLlm, DeviceKind::Nvidia) => needs(8.0, "TensorRT-LLM needs compute capability 8.0"),
        (Engine::TensorRtLlm, _) => Some("TensorRT-LLM runs on NVIDIA cards"),
        (Engine::Vllm, DeviceKind::Nvidia) => needs(7.0, "vLLM needs compute capability 7.0"),
        (Engine::Vllm, DeviceKind::Apple) => Some("vLLM does not use Apple's graphics"),
        (Engine::Sglang, DeviceKind::Nvidia) => needs(7.5, "SGLang needs compute capability 7.5"),
        (Engine::Tgi, DeviceKind::Nvidia) => needs(7.5, "TGI needs compute capability 7.5"),
        (Engine::Sglang | Engine::Tgi, DeviceKind::Amd) => {
            // RDNA 4 has the 8-bit matrix instructions that `SGLang`'s kernels for CDNA 3 use, and was measured.
            let family = device.spec.as_ref().and_then(|spec| spec.family.as_deref());
            let is_supported = family.is_none_or(|family| {
                family.starts_with("cdna") || (engine == Engine::Sglang && family.starts_with("rdna4"))
            });
            (!is_supported).then_some("it supports AMD Instinct, not this Radeon")
        }
        (Engine::Sglang | Engine::Tgi, DeviceKind::Apple | DeviceKind::SharedMemory) => {
            Some("it runs on datacentre cards")
        }
        (Engine::IkLlamaCpp, _) => Some("ik_llama.cpp runs on NVIDIA cards and processors"),
        _ => None,
    }
}

/// Why `engine` does not read weights of a format, by the name that its ecosystem gives it; `None`
/// where it does.
///
/// **Source**: the engines' documentation of quantisations: GGUF files are read by llama.cpp and its
/// relatives and by vLLM and `SGLang`; `MLX`'s groups by `mlx` alone, which converts from 16 bits.
pub fn format_obstacle(engine: Engine, label: &str, format: &WeightFormat) -> Option<&'static str> {
    let is_mlx = label.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("mlx"));
    let is = |name: &str| label.eq_ignore_ascii_case(name);
    let is_float4 = is("mxfp4") || is("nvfp4");
    let is_mixture = matches!(format, WeightFormat::Gguf(_));
    match engine {
        Engine::Mlx => {
            let is_wide = matches!(format, WeightFormat::Plain(kind) if !kind.is_quantised());
            (!is_mlx && !is_wide && !is_float4).then_some("mlx reads its own formats")
        }
        _ if is_mlx => Some("only mlx reads it"),
        // `ggml` has types for both.
        Engine::LlamaCpp | Engine::IkLlamaCpp | Engine::Ollama if is_float4 => None,
        Engine::LlamaCpp | Engine::IkLlamaCpp | Engine::Ollama => {
            let is_file = matches!(format, WeightFormat::Plain(_) | WeightFormat::Gguf(_));
            (!is_file).then_some("no GGUF file holds it")
        }
        Engine::TensorRtLlm | Engine::Tgi if is_mixture => Some("it reads no GGUF files"),
        _ => None,
    }
}

/// CUDA compute capability, where the device has one.
pub(super) fn compute_capability(device: &Device) -> Option<f64> {
    device.spec.as_ref()?.compute.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::find;

    #[test]
    fn engines_run_where_their_makers_say() {
        let at = |engine, name| {
            let device = find(name, None).expect("one device").device;
            assert!(device.spec.is_some(), "{name} is in the catalogue");
            obstacle(engine, &device)
        };
        assert_eq!(at(Engine::Mlx, "Apple M2 Ultra"), None);
        assert!(at(Engine::Mlx, "RTX 4090").is_some());
        assert!(at(Engine::Vllm, "Tesla P40").is_some());
        assert_eq!(at(Engine::Vllm, "RTX 2080 Ti"), None);
        assert!(at(Engine::TensorRtLlm, "RTX 2080 Ti").is_some());
        assert!(at(Engine::Sglang, "RX 7900 XTX").is_some());
        assert_eq!(at(Engine::Sglang, "MI300X"), None);
        assert_eq!(at(Engine::Sglang, "Radeon AI PRO R9700"), None);
        assert_eq!(at(Engine::LlamaCpp, "Tesla P40"), None);
    }

    #[test]
    fn engines_read_what_their_files_hold() {
        let at = |engine, label: &str| {
            let format: WeightFormat = label.parse().expect("a known format");
            format_obstacle(engine, label, &format).is_none()
        };
        assert!(at(Engine::LlamaCpp, "Q4_K_M") && at(Engine::LlamaCpp, "BF16"));
        assert!(!at(Engine::LlamaCpp, "AWQ-4bit") && at(Engine::LlamaCpp, "MXFP4"));
        assert!(at(Engine::Vllm, "AWQ-4bit") && at(Engine::Vllm, "Q4_K_M") && !at(Engine::Vllm, "MLX-4bit"));
        assert!(at(Engine::Mlx, "MLX-4bit") && at(Engine::Mlx, "BF16") && !at(Engine::Mlx, "Q4_K_M"));
        assert!(!at(Engine::TensorRtLlm, "Q8_0"));
    }
}
