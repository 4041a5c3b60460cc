//! Copies of weights that processors lay out anew, in whole plans.

use super::plan;
use crate::device::{Instructions, find};
use crate::engine::DeviceMemory;
use crate::model::ModelSpec;
use crate::model::fixture::llama_8b;
use crate::settings::LayerCount;
use crate::verdict::Verdict;
use crate::{Assumptions, Bytes, Estimate, Settings};

fn copies_of(model: &ModelSpec, settings: &Settings) -> Estimate<Bytes> {
    let plan = plan(model, settings, &mut Assumptions::default()).expect("the engine starts");
    plan.summed().repacked.expect("copies are always known")
}

/// Llama-3.1-8B in `Q4_0` on a processor.
fn on_processor(instructions: Option<Instructions>) -> Settings {
    Settings {
        weights: Some("Q4_0".to_owned()),
        backend: Some("CPU".to_owned()),
        gpu_layers: Some(LayerCount::Some(0)),
        context: Some(4096),
        instructions,
        ..Settings::default()
    }
}

#[test]
fn copies_of_weights_have_the_size_that_a_published_log_shows() {
    let model = llama_8b();
    let copies = |settings: &Settings| copies_of(&model, settings);
    // `CPU_AARCH64 model buffer size = 3744.00 MiB`: a Graviton4 in December 2024, Arm's learning path for chat-bots.
    for instructions in [Instructions::NeonI8mm, Instructions::Avx2] {
        let then = Settings { engine_version: Some("b4400".to_owned()), ..on_processor(Some(instructions)) };
        let found = copies(&then);
        assert!((found.value.mebibytes() - 3744.0).abs() < 0.01, "{instructions:?}: {found:?}");
    }
    let off = Settings { repack: Some(false), ..on_processor(Some(Instructions::Avx2)) };
    assert_eq!(copies(&off), Estimate::ZERO);
    assert_eq!(copies(&on_processor(Some(Instructions::Scalar))), Estimate::ZERO);
    let old = Settings { engine_version: Some("b4200".to_owned()), ..on_processor(Some(Instructions::Avx2)) };
    assert_eq!(copies(&old), Estimate::ZERO);
    // Nobody said which processor: perhaps none, perhaps as much as one with AMX makes.
    let unknown = copies(&on_processor(None));
    assert!(unknown.low == Bytes::ZERO && unknown.high > unknown.value && unknown.value.mebibytes() > 3700.0);
}

#[test]
fn what_the_system_may_drop_does_not_decide_whether_a_plan_fits() {
    let model = llama_8b();
    let plan = |settings: &Settings| plan(&model, settings, &mut Assumptions::default()).expect("the engine starts");
    let mapped = on_processor(Some(Instructions::Avx2));
    let read = Settings { mmap: Some(false), ..mapped.clone() };
    let (mapped_host, read_host) = (plan(&mapped).devices.remove(0), plan(&read).devices.remove(0));
    let total = |device: &DeviceMemory| device.components.total().expect("all is known").value;
    assert!((mapped_host.reclaimable.mebibytes() - 3744.0).abs() < 0.01 && read_host.reclaimable == Bytes::ZERO);
    // Read into memory, nothing is held twice, and just what must be held is.
    assert_eq!(total(&read_host), mapped_host.needed().expect("all is known").value);
    let middle = Bytes(u64::midpoint(total(&mapped_host).0, mapped_host.needed().expect("all is known").high.0));
    let enough = Settings { host_memory: Some(middle), ..mapped };
    assert!(total(&mapped_host) > middle);
    assert_eq!(Verdict::of_plan(&plan(&enough)), Verdict::Fits);
}

#[test]
fn weights_beside_cards_are_copied_only_where_no_driver_pins_memory() {
    let model = llama_8b();
    let copies = |name: &str| {
        let settings = Settings {
            backend: None,
            gpu_layers: Some(LayerCount::Some(17)),
            devices: vec![find(name, None).expect("it is in the catalogue").device],
            ..on_processor(None)
        };
        copies_of(&model, &settings).value.mebibytes()
    };
    assert!(copies("RTX 4090") < 0.01);
    // Sixteen of 32 layers and no output stay on the processor of an M1.
    assert!((copies("Apple M1 Max") - 3744.0 / 2.0).abs() < 0.01);
}
