//! What takes time, and the kinds of kernel and place that decide how well it goes.

use std::fmt;

use super::demand::RecurrenceKernel;
use crate::settings::{Device, DeviceKind, Engine, Settings};
use crate::weight_format::gguf::{FileType, GgufFormat};
use crate::weight_format::{Coverage, WeightFormat};
use crate::{Assumptions, ElementType};

macro_rules! named {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$note:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name { $($(#[$note])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in data files.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The one with this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.name())
            }
        }
    };
}

named! {
    /// One cause of time. Each has an ideal (bytes over peak bandwidth, operations over peak rate,
    /// a count times a unit of time) and an efficiency that divides it.
    pub enum Resource {
        /// Weights read for a few tokens at once, by matrix-vector kernels.
        DecodeWeights = "decode_weights",
        /// Routed experts' weights read for a few tokens at once.
        DecodeExperts = "decode_experts",
        /// Operations of matrix-vector kernels, unpacking included.
        DecodeOperations = "decode_operations",
        /// The cache read by decoding attention.
        CacheRead = "cache_read",
        /// Operations of decoding attention over latents.
        DecodeLatent = "decode_latent",
        /// Recurrent states read and written by decoding.
        StateTraffic = "state_traffic",
        /// Kernels started by a decoding pass.
        DecodeLaunch = "decode_launch",
        /// What a decoding pass costs beside its kernels: sampling, scheduling, synchronisation.
        DecodeStep = "decode_step",
        /// What each sequence of a batch adds to a decoding pass.
        SequenceOverhead = "sequence_overhead",
        /// Weights read by a pass over many tokens.
        PrefillWeights = "prefill_weights",
        /// Matrix products of many tokens.
        Matmul = "matmul",
        /// Matrix products of many tokens with routed experts.
        ExpertMatmul = "expert_matmul",
        /// Padding of each touched expert's tokens to whole tiles.
        ExpertTile = "expert_tile",
        /// Attention of many tokens over a plain cache.
        PrefillAttention = "prefill_attention",
        /// Attention of many tokens over latents.
        PrefillLatent = "prefill_latent",
        /// Recurrences over many tokens.
        Recurrence = "recurrence",
        /// Activations written and read between kernels.
        Activations = "activations",
        /// Kernels started by a pass over many tokens.
        PrefillLaunch = "prefill_launch",
        /// What a pass over many tokens costs beside its kernels.
        PrefillStep = "prefill_step",
        /// Weights that a processor reads while cards hold the rest.
        HostWeights = "host_weights",
        /// Operations of that processor.
        HostOperations = "host_operations",
        /// Weights copied to a card for a pass over many tokens.
        HostLink = "host_link",
        /// Hand-overs between devices.
        Boundary = "boundary",
        /// Start of a collective operation among ranks.
        CollectiveStart = "collective_start",
        /// Bytes that collective operations move.
        CollectiveBytes = "collective_bytes",
        /// Prefills of other requests between one request's decoding passes.
        Interference = "interference",
        /// Prefills of other requests before one's own.
        Queue = "queue",
        /// Requests that the cache pool does not hold, served before one's own.
        Waiting = "waiting",
        /// Everything of a decoding pass.
        OverallDecode = "overall_decode",
        /// Everything of a prefill.
        OverallPrefill = "overall_prefill",
    }
}

impl RecurrenceKernel {
    /// What its kernels are called where efficiencies are kept.
    pub const fn kernel(self) -> Kernel {
        match self {
            Self::Scan => Kernel::Scan,
            Self::Delta => Kernel::Delta,
            Self::Convolution => Kernel::Convolution,
            Self::TokenShift => Kernel::TokenShift,
        }
    }
}

impl Resource {
    /// Whether it depends on how weights are held, by kernels written for each family of devices.
    pub const fn reads_weights(self) -> bool {
        matches!(self, Self::DecodeWeights | Self::DecodeExperts | Self::Matmul | Self::ExpertMatmul)
    }

    /// Whether engines that share kernels still differ in it: what happens between kernels.
    pub const fn is_engines_own(self) -> bool {
        matches!(
            self,
            Self::OverallDecode
                | Self::OverallPrefill
                | Self::DecodeLaunch
                | Self::DecodeStep
                | Self::SequenceOverhead
                | Self::PrefillStep
                | Self::CollectiveStart
                | Self::CollectiveBytes
                | Self::Interference
                | Self::Queue
                | Self::Waiting
        )
    }
}

named! {
    /// What runs kernels.
    #[expect(missing_docs, reason = "each name is the backend's own")]
    pub enum Backend {
        Cuda = "cuda",
        Rocm = "rocm",
        Vulkan = "vulkan",
        Metal = "metal",
        Sycl = "sycl",
        Cpu = "cpu",
        Other = "other",
    }
}

named! {
    /// Kernels that differ in speed: by how weights are held, by attention, by recurrence.
    #[expect(missing_docs, reason = "each name is the format's own")]
    pub enum Kernel {
        Any = "any",
        F32 = "f32",
        F16 = "f16",
        Bf16 = "bf16",
        Q8 = "q8_0",
        Q6K = "q6_k",
        Q5K = "q5_k",
        Q5Legacy = "q5_0",
        Q4K = "q4_k",
        Q4Legacy = "q4_0",
        Q3K = "q3_k",
        Q2K = "q2_k",
        Iq4 = "iq4",
        Iq3 = "iq3",
        Iq2 = "iq2",
        Iq1 = "iq1",
        Ternary = "ternary",
        Mxfp4 = "mxfp4",
        Nvfp4 = "nvfp4",
        Fp8 = "fp8",
        Int8 = "int8",
        Int4 = "int4",
        Affine4 = "affine4",
        Affine8 = "affine8",
        FlashOn = "flash_on",
        FlashOff = "flash_off",
        QuantisedCache = "quantised_cache",
        Scan = "scan",
        Delta = "delta",
        Convolution = "convolution",
        TokenShift = "token_shift",
    }
}

named! {
    /// Engines by the kernels they share, and single engines where they differ.
    #[expect(missing_docs, reason = "each name is the engine's own")]
    pub enum Runner {
        /// llama.cpp and everything built on ggml.
        Ggml = "ggml",
        Mlx = "mlx",
        /// Engines that serve batches from graphs of fused kernels.
        Serving = "serving",
        LlamaCpp = "llama.cpp",
        IkLlamaCpp = "ik_llama.cpp",
        Ollama = "ollama",
        Vllm = "vllm",
        Sglang = "sglang",
        TensorRtLlm = "tensorrt-llm",
        Tgi = "tgi",
        MistralRs = "mistral.rs",
        Transformers = "transformers",
        Native = "hwledger",
    }
}

impl Runner {
    /// The engine by itself.
    pub const fn of(engine: Engine) -> Self {
        match engine {
            Engine::LlamaCpp => Self::LlamaCpp,
            Engine::IkLlamaCpp => Self::IkLlamaCpp,
            Engine::Ollama => Self::Ollama,
            Engine::Vllm => Self::Vllm,
            Engine::Sglang => Self::Sglang,
            Engine::TensorRtLlm => Self::TensorRtLlm,
            Engine::Tgi => Self::Tgi,
            Engine::Mlx => Self::Mlx,
            Engine::MistralRs => Self::MistralRs,
            Engine::Transformers => Self::Transformers,
            Engine::Hwledger => Self::Native,
        }
    }

    /// The engines whose kernels it shares.
    pub const fn group(engine: Engine) -> Self {
        match engine {
            // mistral.rs runs the same kinds of kernels from the same files.
            Engine::LlamaCpp | Engine::IkLlamaCpp | Engine::Ollama | Engine::MistralRs => Self::Ggml,
            Engine::Hwledger => Self::Native,
            Engine::Mlx => Self::Mlx,
            Engine::Vllm | Engine::Sglang | Engine::TensorRtLlm | Engine::Tgi | Engine::Transformers => Self::Serving,
        }
    }
}

impl Backend {
    /// The backend that a request names, or the usual one for the device.
    pub fn resolve(settings: &Settings, device: Option<&Device>, assumptions: &mut Assumptions) -> Self {
        if let Some(named) = settings.backend.as_deref().map(str::to_ascii_lowercase) {
            let known = [
                ("cuda", Self::Cuda),
                ("rocm", Self::Rocm),
                ("hip", Self::Rocm),
                ("vulkan", Self::Vulkan),
                ("metal", Self::Metal),
                ("mps", Self::Metal),
                ("sycl", Self::Sycl),
                ("oneapi", Self::Sycl),
                ("cpu", Self::Cpu),
                ("blas", Self::Cpu),
            ];
            return known.iter().find(|(word, _)| named.contains(word)).map_or(Self::Other, |(_, backend)| *backend);
        }
        let usual = Self::usual(device);
        if let Some(device) = device {
            assumptions.note("backend", usual.name(), format!("the usual backend of {}", device.name));
        }
        usual
    }

    /// The usual backend of a device; of a named AMD APU, whose ROCm support varies, Vulkan.
    fn usual(device: Option<&Device>) -> Self {
        let Some(device) = device else { return Self::Cpu };
        match device.kind {
            DeviceKind::Nvidia => Self::Cuda,
            DeviceKind::Amd => Self::Rocm,
            DeviceKind::Intel => Self::Sycl,
            DeviceKind::Apple => Self::Metal,
            DeviceKind::SharedMemory
                if device.spec.as_ref().is_some_and(|spec| spec.compute_capability().is_some()) =>
            {
                Self::Cuda
            }
            DeviceKind::SharedMemory => Self::Vulkan,
            DeviceKind::Cpu => Self::Cpu,
            DeviceKind::Other => Self::Other,
        }
    }
}

impl Kernel {
    /// The kernel that reads weights of one element type.
    pub fn of_element(element: ElementType) -> Self {
        use ElementType as E;
        match element {
            E::F32 => Self::F32,
            E::F16 => Self::F16,
            E::BF16 => Self::Bf16,
            E::Q8_0 => Self::Q8,
            E::Fp8 => Self::Fp8,
            E::Mxfp4 => Self::Mxfp4,
            E::Nvfp4 => Self::Nvfp4,
            E::I8 | E::Grouped { bits: 8, .. } => Self::Int8,
            E::Grouped { bits: 4, .. } => Self::Int4,
            _ => match element.bytes_per_element() * 8.0 {
                bits if bits < 2.0 => Self::Iq1,
                bits if bits < 2.7 => Self::Q2K,
                bits if bits < 3.6 => Self::Q3K,
                bits if bits < 4.8 => Self::Q4K,
                bits if bits < 5.8 => Self::Q5K,
                bits if bits < 7.0 => Self::Q6K,
                _ => Self::Q8,
            },
        }
    }

    /// The kernel that most of a GGUF mixture goes through.
    pub fn of_gguf(format: GgufFormat) -> Self {
        use FileType as T;
        match format.file_type {
            T::F32 => Self::F32,
            T::F16 => Self::F16,
            T::BF16 => Self::Bf16,
            T::Q8_0 => Self::Q8,
            T::Q6_K => Self::Q6K,
            T::Q5_K_S | T::Q5_K_M => Self::Q5K,
            T::Q5_0 | T::Q5_1 => Self::Q5Legacy,
            T::Q4_K_S | T::Q4_K_M => Self::Q4K,
            T::Q4_0 | T::Q4_1 => Self::Q4Legacy,
            T::Q3_K_S | T::Q3_K_M | T::Q3_K_L => Self::Q3K,
            T::Q2_K | T::Q2_K_S => Self::Q2K,
            T::IQ4_NL | T::IQ4_XS => Self::Iq4,
            T::IQ3_XXS | T::IQ3_XS | T::IQ3_S | T::IQ3_M => Self::Iq3,
            T::IQ2_XXS | T::IQ2_XS | T::IQ2_S | T::IQ2_M => Self::Iq2,
            T::IQ1_S | T::IQ1_M => Self::Iq1,
            T::TQ1_0 | T::TQ2_0 => Self::Ternary,
            T::MXFP4 => Self::Mxfp4,
            T::NVFP4 => Self::Nvfp4,
            T::Extension => format.extension.map_or(Self::Any, |element| match element.bytes_per_element() * 8.0 {
                bits if bits < 2.0 => Self::Iq1,
                bits if bits < 3.0 => Self::Iq2,
                bits if bits < 4.0 => Self::Iq3,
                bits if bits < 5.0 => Self::Iq4,
                bits if bits < 6.0 => Self::Q5K,
                _ => Self::Q6K,
            }),
        }
    }

    /// The kernel of a weight format's quantised matrices; `label` is the format's name, which
    /// tells floats from integers of the same width.
    pub fn of_format(format: &WeightFormat, label: &str) -> Self {
        let scheme = match format {
            WeightFormat::Plain(element) => return Self::of_element(*element),
            WeightFormat::Gguf(gguf) => return Self::of_gguf(*gguf),
            WeightFormat::Scheme(scheme) => scheme,
        };
        let label = label.to_ascii_lowercase();
        let says = |word: &str| label.contains(word);
        match scheme.element_type {
            ElementType::Mxfp4 => Self::Mxfp4,
            ElementType::Nvfp4 => Self::Nvfp4,
            ElementType::Fp8 => Self::Fp8,
            ElementType::I8 => Self::Int8,
            _ if says("nvfp4") => Self::Nvfp4,
            _ if says("mxfp4") => Self::Mxfp4,
            _ if says("fp8") => Self::Fp8,
            ElementType::Grouped { bits, .. } if scheme.coverage == Coverage::EveryMatrix => {
                if bits > 5 {
                    Self::Affine8
                } else {
                    Self::Affine4
                }
            }
            ElementType::Grouped { bits, .. } if bits > 5 => Self::Int8,
            ElementType::Grouped { .. } => Self::Int4,
            element => Self::of_element(element),
        }
    }
}
