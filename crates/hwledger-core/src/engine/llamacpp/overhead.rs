//! What lies outside llama.cpp's own buffers: driver context, kernels, workspaces.

use crate::model::{ModelSpec, Weight};
use crate::settings::{Device, DeviceKind};
use crate::units::MEBIBYTE;
use crate::{Bytes, ElementType, Estimate};

/// What a driver holds for one process on one card, in MiB: lower end, best figure, upper end.
///
/// Ollama reserves 457 MiB per CUDA or ROCm card and 512 MiB on Metal before it places layers
/// (`MinimumMemory` of its discovery code), chosen so that loading does not fail; contexts alone
/// are smaller, the matrix library's workspaces grow with the first large batch.
const fn context_mebibytes(kind: DeviceKind) -> (u64, u64, u64) {
    match kind {
        DeviceKind::Nvidia => (150, 300, 700),
        DeviceKind::Amd => (100, 300, 700),
        // No separate context: the driver's own allocations only.
        DeviceKind::SharedMemory | DeviceKind::Intel => (20, 150, 500),
        // Nothing is known of a card that nobody named.
        DeviceKind::Other => (0, 0, 500),
        DeviceKind::Apple => (20, 100, 512),
        DeviceKind::Cpu => (0, 0, 0),
    }
}

/// The most that reading a prompt takes beside the compute buffer where products of quantised
/// matrices are left to the vendor's library: the largest matrix at 16 bits.
///
/// **Source**: `ggml_cuda_op_mul_mat_cublas` of llama.cpp, whose pool keeps it once allocated; HIP
/// and Vulkan use such products for batches, CUDA cards since Turing have kernels of their own.
fn dequantised(model: &ModelSpec) -> Bytes {
    let matrices = model.decoder.kinds.iter().flat_map(|layer| &layer.weights);
    let is_large = |weight: &&Weight| !weight.is_vector() && !weight.role.is_routed_expert();
    let largest = matrices.filter(is_large).map(|weight| weight.rows.saturating_mul(weight.columns)).max();
    Bytes(ElementType::F16.row_bytes(largest.unwrap_or(0)))
}

/// The overhead on `card`.
pub(super) fn of_card(model: &ModelSpec, card: &Device, backend: Option<&str>) -> Estimate<Bytes> {
    let is_vulkan = backend.is_some_and(|name| name.eq_ignore_ascii_case("vulkan"));
    let kind = if is_vulkan { DeviceKind::SharedMemory } else { card.kind };
    let (low, value, high) = context_mebibytes(kind);
    let workspace = match kind {
        DeviceKind::Amd | DeviceKind::SharedMemory => dequantised(model),
        _ => Bytes::ZERO,
    };
    Estimate::formula(Bytes(low * MEBIBYTE), Bytes(value * MEBIBYTE), Bytes(high * MEBIBYTE) + workspace)
}

/// The overhead in host memory. The process itself, its vocabulary and graph descriptions are no
/// allocation that the engine accounts for; they fit below the upper end.
pub(super) const fn of_host() -> Estimate<Bytes> {
    Estimate::formula(Bytes::ZERO, Bytes::ZERO, Bytes(300 * MEBIBYTE))
}
