//! What a device can do at best: the denominators of ideal times.

use super::Gap;
use super::efficiency::Place;
use super::resource::{Backend, Kernel, Runner};
use super::vocabulary::Vocabulary;
use crate::Assumptions;
use crate::device::Instructions;
use crate::settings::{Device, DeviceKind, Settings};

/// Peak rates of one device, per second, in bytes and operations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Bytes of its memory.
    pub bandwidth: f64,
    /// Operations of its vector units in 32 bits.
    pub vector: f64,
    /// 16-bit matrix products summed in 32 bits.
    pub matrix16: f64,
    /// 16-bit matrix products summed in 16 bits.
    pub matrix16_short: f64,
    /// 8-bit float matrix products; the 16-bit rate where there is no such path.
    pub matrix8_float: f64,
    /// 8-bit integer products; the 16-bit rate where there is no such path.
    pub matrix8: f64,
    /// 8-bit integer products of vectors, as far as the processor's instructions have them.
    pub integer: Option<f64>,
    /// 16-bit products in tiles, where a processor has them.
    pub tiles: Option<f64>,
    /// Cores, compute units or streaming multiprocessors.
    pub cores: f64,
    /// 4-bit float matrix products; the 8-bit float rate where there is no such path.
    pub matrix4: f64,
    /// Bytes of the link to the host, one direction.
    pub host_link: f64,
    /// Bytes of the links to other devices, one direction.
    pub peer_link: f64,
    /// Power limit in watts, where known.
    pub power: Option<f64>,
    /// Its family, if efficiencies know it.
    pub family: Option<u16>,
    /// The device, if efficiencies know it.
    pub device: Option<u16>,
}

/// Bandwidth and arithmetic of a host that nobody described: a desktop of 2022 with two channels
/// of DDR5-4800 (76.8 GB/s) and eight cores with 256-bit vectors at 4.5 GHz (1.15 TFLOP/s).
const USUAL_HOST: (f64, f64) = (76.8e9, 1.15e12);

/// Its cores.
const USUAL_CORES: f64 = 8.0;

/// One direction of a link that no data sheet gave: sixteen lanes of `PCIe` 4.0.
const USUAL_LINK: f64 = 31.5e9;

impl Rates {
    /// What a card, or a chip with memory of its own, can do.
    pub fn of_device(device: &Device, names: &Vocabulary) -> Result<Self, Gap> {
        let spec = device.spec.as_deref().ok_or_else(|| {
            Gap::new("devices", format!("no device is known by the name `{}`, so neither are its rates", device.name))
        })?;
        let missing = |figure: &str| Gap::new("devices", format!("the {figure} of {} is not known", spec.name));
        let bandwidth = spec.bandwidth.ok_or_else(|| missing("memory bandwidth"))?.0;
        let peaks = &spec.peaks;
        let fp16 = peaks.fp16.or(peaks.bf16).or(peaks.fp32).ok_or_else(|| missing("peak rate"))?.0;
        let fp32 = peaks.fp32.map_or(fp16 / 2.0, |rate| rate.0);
        // Parts without fast 16-bit arithmetic (Pascal) do it in 32 bits.
        let matrix16 = fp16.max(fp32);
        let matrix8_float = peaks.fp8.map_or(matrix16, |rate| rate.0);
        let link = spec.host_link.map_or(USUAL_LINK, |rate| rate.0);
        Ok(Self {
            bandwidth,
            vector: fp32,
            matrix16,
            matrix16_short: peaks.fp16_acc16.map_or(matrix16, |rate| rate.0.max(matrix16)),
            matrix8_float,
            matrix8: peaks.int8.map_or(matrix16, |rate| rate.0.max(matrix16)),
            integer: peaks.int8.map(|rate| rate.0),
            tiles: peaks.bf16.map(|rate| rate.0),
            cores: f64::from(spec.units.unwrap_or(1).max(1)),
            matrix4: peaks.fp4.map_or(matrix8_float, |rate| rate.0),
            // Memory that is the host's needs no copy; what is written there is read there.
            host_link: if is_shared(device) { bandwidth } else { link },
            peer_link: spec.peer_link.map_or(link, |rate| rate.0),
            power: spec.power.map(|power| power.0),
            family: spec.family.as_deref().and_then(|family| names.number(family)),
            device: names.number(&spec.name),
        })
    }

    /// What the processor of a machine can do: a processor's own figures, or what the processor of
    /// an integrated part reaches on the memory that it shares with the graphics.
    pub fn of_processor(device: &Device, names: &Vocabulary) -> Result<Self, Gap> {
        let mut rates = Self::of_device(device, names)?;
        if device.kind != DeviceKind::Cpu {
            // The catalogue describes the graphics; the processor beside it is a usual one.
            rates.vector = rates.vector.min(USUAL_HOST.1);
            rates.matrix16 = rates.vector;
            rates.matrix16_short = rates.vector;
            rates.integer = None;
            rates.tiles = None;
            rates.cores = USUAL_CORES;
            rates.matrix8 = rates.vector;
            rates.matrix8_float = rates.vector;
            rates.matrix4 = rates.vector;
        }
        Ok(rates)
    }

    /// A host that nobody described.
    pub fn usual_host(settings: &Settings, assumptions: &mut Assumptions) -> Self {
        let bandwidth = settings.host_bandwidth.map_or(USUAL_HOST.0, |rate| rate.0);
        if settings.host_bandwidth.is_none() {
            let shown = format!("{:.1}", USUAL_HOST.0 / 1e9);
            assumptions.note("host.bandwidth_gb_s", &shown, "nobody named the host; two channels of DDR5-4800");
        }
        let vector = USUAL_HOST.1;
        Self {
            bandwidth,
            vector,
            matrix16: vector,
            matrix16_short: vector,
            matrix8_float: vector,
            matrix8: vector,
            integer: None,
            tiles: None,
            cores: USUAL_CORES,
            matrix4: vector,
            host_link: bandwidth,
            peer_link: USUAL_LINK,
            power: None,
            family: None,
            device: None,
        }
    }

    /// The peak of matrix products with weights of a kernel at a place of ggml, MLX or the native engine.
    ///
    /// CUDA multiplies quantised blocks as 8-bit integers (`mmq.cu`) and 16-bit weights by cuBLAS
    /// with sums in 16 bits; the other backends unpack to 16 bits. On processors the native engine
    /// multiplies whole numbers, or in tiles; MLX works with one thread.
    pub fn products(&self, place: &Place, kernel: Kernel) -> f64 {
        let is_tiled = place.group == Runner::Native && place.instructions == Some(Instructions::Amx);
        match (place.backend, kernel) {
            (Backend::Cpu, Kernel::F16 | Kernel::F32) => self.vector_products(place, kernel),
            (Backend::Cpu, _) => self.tiles.filter(|_| is_tiled).unwrap_or_else(|| self.vector_products(place, kernel)),
            (_, Kernel::F32) => self.vector,
            (Backend::Cuda, Kernel::F16) => self.matrix16_short,
            (_, Kernel::F16 | Kernel::Bf16) => self.matrix16,
            (Backend::Cuda, _) => self.matrix8,
            _ => self.matrix16,
        }
    }

    /// The peak of the vector units in products of a few tokens with weights of a kernel.
    pub fn vector_products(&self, place: &Place, kernel: Kernel) -> f64 {
        match (place.group, place.backend) {
            (Runner::Mlx, Backend::Cpu) => self.vector / self.cores,
            (Runner::Native, Backend::Cpu) if !matches!(kernel, Kernel::F32 | Kernel::F16 | Kernel::Bf16) => {
                self.integer_products(place.instructions)
            }
            _ => self.vector,
        }
    }

    /// The peak of products of attention with a plain cache over many tokens.
    pub fn score_products(&self, place: &Place) -> f64 {
        match (place.group, place.backend) {
            (Runner::Mlx, Backend::Cpu) => self.vector / self.cores,
            _ => self.matrix16,
        }
    }

    /// 8-bit integer products of the vector units: as stated, or four times as many as fused products of 32-bit floats, of
    /// which as many start in a cycle: one instruction multiplies four times as many pairs (`vpdpbusd`, `sdot`; with AVX2
    /// `vpmaddubsw`, whose sums have 16 bits). Tiles of AMX are no vectors.
    fn integer_products(&self, instructions: Option<Instructions>) -> f64 {
        let set = instructions.unwrap_or(Instructions::Avx2);
        let ratio = if set == Instructions::Scalar { 1.0 } else { 4.0 };
        self.integer.filter(|_| set != Instructions::Amx).unwrap_or(ratio * self.vector)
    }

    /// The peak of matrix products of the serving engines' kernels.
    pub fn serving_products(&self, kernel: Kernel) -> f64 {
        match kernel {
            Kernel::F32 => self.vector,
            Kernel::Fp8 => self.matrix8_float,
            Kernel::Int8 => self.matrix8,
            Kernel::Nvfp4 | Kernel::Mxfp4 => {
                // Without 4-bit units the weights are unpacked to 16 bits.
                if self.matrix4 > self.matrix8_float { self.matrix4 } else { self.matrix16 }
            }
            _ => self.matrix16,
        }
    }
}

fn is_shared(device: &Device) -> bool {
    matches!(device.kind, DeviceKind::SharedMemory | DeviceKind::Apple | DeviceKind::Cpu)
}
