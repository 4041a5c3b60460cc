//! Speeds on processors beside what was measured on them.

use hwledger_core::Estimate;
use hwledger_formats::device_file::DeviceDescription;
use hwledger_node::answer::Answer;
use hwledger_node::locate::LocateOptions;
use hwledger_node::planner::Planner;
use hwledger_node::request::{DeviceRequest, PlanRequest};

/// Two cores of a processor: what their vector units and tiles can do at most, in 10^12 a second, and the bytes that
/// they read from memory in the minutes of the measurement, in 10^9.
struct Cores {
    instructions: &'static str,
    fp32: f64,
    int8: Option<f64>,
    bf16: Option<f64>,
    bandwidth: f64,
}

impl Cores {
    fn answer(&self, engine: &str, weights: &str) -> Answer {
        let spec = DeviceDescription {
            name: "two cores".to_owned(),
            kind: Some("cpu".to_owned()),
            units: Some(2),
            bandwidth_gb_s: Some(self.bandwidth),
            fp32_tflops: Some(self.fp32),
            int8_tops: self.int8,
            bf16_tflops: self.bf16,
            ..DeviceDescription::default()
        };
        let device = DeviceRequest { name: spec.name.clone(), spec: Some(spec), ..DeviceRequest::default() };
        let request = PlanRequest {
            model: "llama-3.2-1b".to_owned(),
            engine: Some(engine.to_owned()),
            weights: Some(weights.to_owned()),
            instructions: Some(self.instructions.to_owned()),
            prompt: Some(512),
            generate: Some(16),
            context: Some(1024),
            devices: vec![device],
            ..PlanRequest::default()
        };
        Planner::new(LocateOptions::default()).plan(&request).expect("a plan")
    }
}

fn value(estimate: Option<Estimate<f64>>) -> f64 {
    estimate.expect("a speed").value
}

const XEON_AVX2: Cores = Cores { instructions: "avx2", fp32: 0.238, int8: None, bf16: None, bandwidth: 37.2 };
const ZEN3_AVX2: Cores = Cores { instructions: "avx2", fp32: 0.199, int8: None, bf16: None, bandwidth: 27.1 };
const XEON_AVX_VNNI: Cores =
    Cores { instructions: "avx_vnni", fp32: 0.238, int8: Some(1.03), bf16: None, bandwidth: 35.9 };
const XEON_AVX512: Cores = Cores { instructions: "avx512", fp32: 0.477, int8: Some(1.91), bf16: None, bandwidth: 24.4 };
const XEON_AMX: Cores = Cores { instructions: "amx", fp32: 0.477, int8: None, bf16: Some(7.35), bandwidth: 24.0 };
const ZEN4_AVX2: Cores = Cores { instructions: "avx2", fp32: 0.2235, int8: None, bf16: None, bandwidth: 37.4 };
const ZEN4_AVX512: Cores =
    Cores { instructions: "avx512", fp32: 0.2235, int8: Some(0.894), bf16: None, bandwidth: 37.0 };

/// `bench/native/results`: `masked-xeon-amx-2-cores`, `compare-xeon-amx-2-cores`, `compare-zen4-2-cores`, `compare-zen3-2-cores` and
/// the limits beside them; prefill of 512 tokens and decode of one sequence, tokens per second.
const MEASURED: &[(&Cores, &str, f64, f64)] = &[
    (&ZEN3_AVX2, "Q4_K_M", 116.6, 26.7),
    (&ZEN3_AVX2, "Q8_0", 64.1, 16.8),
    // The rows of AVX2 that follow are of kernels that were slower.
    (&XEON_AVX2, "Q4_K_M", 123.6, 24.1),
    (&XEON_AVX2, "Q8_0", 87.5, 16.0),
    (&XEON_AVX_VNNI, "Q4_K_M", 157.0, 24.3),
    (&XEON_AVX_VNNI, "Q8_0", 143.7, 16.5),
    (&XEON_AVX512, "Q4_K_M", 269.4, 27.7),
    (&XEON_AVX512, "Q8_0", 293.5, 20.4),
    (&XEON_AMX, "Q4_K_M", 490.2, 26.0),
    (&XEON_AMX, "Q8_0", 453.0, 18.1),
    (&ZEN4_AVX2, "Q4_K_M", 121.0, 27.7),
    (&ZEN4_AVX512, "Q4_K_M", 268.0, 36.6),
    (&ZEN4_AVX512, "Q8_0", 252.8, 23.6),
];

#[test]
fn the_native_engine_is_predicted_by_what_its_kernels_do() {
    let mut report = Vec::new();
    for (cores, weights, prefill, decode) in MEASURED {
        let answer = cores.answer("hwledger", weights);
        for (what, found, measured) in [
            ("prefill", answer.speed.prefill_tokens_per_s, prefill),
            ("decode", answer.speed.decode_tokens_per_s, decode),
        ] {
            let ratio = value(found) / measured;
            println!("{} {weights} {what}: {:.1}, measured {measured}, {ratio:.2}", cores.instructions, value(found));
            if !(1.0 / 1.7..=1.7).contains(&ratio) {
                report.push(format!("{} {weights} {what}: {ratio:.2} of what was measured", cores.instructions));
            }
        }
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}

#[test]
fn mlx_multiplies_on_one_core_and_unpacks_without_vectors() {
    let of = |weights| value(ZEN4_AVX2.answer("mlx", weights).speed.decode_tokens_per_s);
    // Two operations for each of 1.24e9 weights, at a thousandth of what one core's vector units can do.
    let expected = 0.001 * 0.2235e12 / 2.0 / 2.47e9;
    let found = of("MLX-4bit");
    assert!((found / expected - 1.0).abs() < 0.1, "{found} tokens per second, {expected} expected");
    // Half as many bits are no faster, and whole floats are.
    assert!((of("MLX-8bit") / found - 1.0).abs() < 0.1);
    assert!(of("F16") > 4.0 * found);
}
