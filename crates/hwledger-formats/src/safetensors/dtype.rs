//! Element types of safetensors.

use hwledger_core::ElementType;

/// The element type with this name and its bits (the format's `Dtype`, version 0.7 of its reference crate).
///
/// Types below eight bits are packed without padding between elements.
pub(super) fn element_type(name: &str) -> Option<(ElementType, u64)> {
    let packed = |bits: u8, group: u32| ElementType::Grouped { bits, group, group_bits: 0 };
    Some(match name {
        "BOOL" | "U8" | "I8" => (ElementType::I8, 8),
        "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => (ElementType::Fp8, 8),
        "F4" => (packed(4, 2), 4),
        "F6_E2M3" | "F6_E3M2" => (packed(6, 4), 6),
        "U16" | "I16" => (ElementType::I16, 16),
        "F16" => (ElementType::F16, 16),
        "BF16" => (ElementType::BF16, 16),
        "U32" | "I32" => (ElementType::I32, 32),
        "F32" => (ElementType::F32, 32),
        "U64" | "I64" => (ElementType::I64, 64),
        "F64" | "C64" => (ElementType::F64, 64),
        _ => return None,
    })
}
