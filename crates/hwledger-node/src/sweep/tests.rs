use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::*;
use crate::locate::LocateOptions;
use crate::request::{DeviceRequest, DraftRequest};
use crate::table::{Cell, TableError};

fn planner() -> Planner {
    Planner::new(LocateOptions { is_offline: true, ..LocateOptions::default() })
}

/// A sink that keeps everything.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<Block>>>);

impl BlockSink for Kept {
    fn write(&mut self, block: Block) -> Result<(), TableError> {
        self.0.lock().expect("no other panicked").push(block);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), TableError> {
        Ok(())
    }
}

/// Rows by column name.
fn run(sweep: &Sweep<'_>) -> (Vec<HashMap<String, Cell>>, SweepAnswer) {
    let (fields, kept) = (sweep.fields(), Kept::default());
    let answer = sweep.run(Box::new(kept.clone())).expect("memory takes it");
    let blocks = kept.0.lock().expect("no other panicked");
    let named = |block: &Block, row: usize| {
        fields.iter().enumerate().map(|(at, field)| (field.name.to_string(), block.cell(at, row))).collect()
    };
    let all = blocks.iter().flat_map(|block| (0..block.rows()).map(|row| named(block, row)).collect::<Vec<_>>());
    (all.collect(), answer)
}

fn rows(planner: &Planner, request: SweepRequest) -> (Vec<HashMap<String, Cell>>, SweepAnswer) {
    run(&planner.sweep(request).expect("it can be read"))
}

fn plan() -> PlanRequest {
    PlanRequest {
        model: "llama-3.1-8b".to_owned(),
        engine: Some("llama.cpp".to_owned()),
        weights: Some("Q4_K_M".to_owned()),
        devices: vec![DeviceRequest { name: "RTX 3090".to_owned(), ..DeviceRequest::default() }],
        ..PlanRequest::default()
    }
}

fn sweep(vary: &[&str]) -> SweepRequest {
    let vary = vary.iter().map(|text| Axis::parse(text).expect("it can be read")).collect();
    SweepRequest { plan: plan(), vary, limit: None }
}

/// Whatever varies, a row is the plan of its combination.
#[test]
fn every_row_is_the_plan_of_its_combination() {
    let planner = planner();
    let request = sweep(&[
        "device=RTX 3060,2x RTX 3090,M2 Max 64GB",
        "engine=llama.cpp,vllm,mlx",
        "context=4K,16K",
        "prompt=128,2048",
        "concurrency=1,3",
    ]);
    let request = SweepRequest { plan: PlanRequest { weights: None, ..request.plan.clone() }, ..request };
    let (rows, answer) = rows(&planner, request.clone());
    assert_eq!((rows.len(), answer.rows), (72, 72));
    for row in rows {
        let word = |key: &str| match &row[key] {
            Cell::Text(text) => text.to_string(),
            other => panic!("{key} is {other:?}"),
        };
        let count = |key: &str| match row[key] {
            Cell::Integer(count) => count.cast_unsigned(),
            ref other => panic!("{key} is {other:?}"),
        };
        let plan = planner
            .plan(&PlanRequest {
                devices: vec![DeviceRequest { name: word("device"), ..DeviceRequest::default() }],
                engine: Some(word("engine")),
                context: Some(count("context")),
                prompt: Some(count("prompt")),
                concurrency: Some(count("concurrency")),
                ..request.plan.clone()
            })
            .expect("it can be planned");
        assert_eq!(word("verdict"), plan.verdict.name(), "{row:?}");
        assert_eq!(row["memory_bytes"], Cell::count(plan.memory.total.map(|sum| sum.value.0)), "{row:?}");
        assert_eq!(row["ttft_ms"], Cell::real(plan.speed.ttft_ms.map(|time| time.value)), "{row:?}");
        let output = plan.speed.output_tokens_per_s.map(|rate| rate.value);
        assert_eq!(row["output_tokens_per_s"], Cell::real(output), "{row:?}");
    }
}

#[test]
fn the_last_axis_varies_fastest_and_chunks_keep_their_order() {
    let (rows, _) = rows(&planner(), sweep(&["context=4K..80K..4K", "prompt=1..300"]));
    assert_eq!(rows.len(), 20 * 300);
    for (number, row) in (0_i64..).zip(&rows) {
        assert_eq!(row["context"], Cell::Integer(4096 * (number / 300 + 1)));
        assert_eq!(row["prompt"], Cell::Integer(number % 300 + 1));
    }
}

#[test]
fn a_combination_that_is_refused_is_a_row_that_says_why() {
    let (rows, answer) = rows(&planner(), sweep(&["weights=Q4_K_M,AWQ-4bit"]));
    assert_eq!((answer.rows, answer.refused), (2, 1));
    assert!(matches!(&rows[1]["why"], Cell::Text(why) if why.contains("AWQ-4bit")), "{:?}", rows[1]["why"]);
    assert_eq!(rows[1]["memory_bytes"], Cell::Absent);
    assert_eq!(rows[0]["why"], Cell::Absent);
}

#[test]
fn keys_within_objects_vary() {
    let draft = DraftRequest {
        model: Some("llama-3.2-1b".to_owned()),
        weights: Some("Q4_K_M".to_owned()),
        ..DraftRequest::default()
    };
    let plan = PlanRequest { draft: Some(draft), ..plan() };
    let request = SweepRequest { plan, ..sweep(&["draft.tokens=1..8", "draft.acceptance=0.5,0.9"]) };
    let (rows, answer) = rows(&planner(), request);
    assert_eq!((answer.rows, answer.fits), (16, 16));
    let rate = |row: usize| match rows[row]["decode_tokens_per_s"] {
        Cell::Real(rate) => rate,
        ref other => panic!("{other:?}"),
    };
    assert!(rate(1) > rate(0), "more are accepted");
}

#[test]
fn workload_records_are_the_two_phases_of_each_combination() {
    let planner = planner();
    let run_of = Run { id: "test".to_owned(), started_ns: 5 };
    let asked = sweep(&["prompt=100,200", "generate=11"]);
    let (records, _) = run(&planner.sweep(asked.clone()).expect("it can be read").as_records(run_of));
    let (rows, _) = rows(&planner, asked);
    assert_eq!(records.len(), 4);
    assert_eq!(records[3]["record_id"], Cell::Text("test-1-decode".into()));
    assert_eq!((&records[2]["llm_prompt_tokens"], &records[2]["t_wall_ns"]), (&Cell::Integer(200), &Cell::Integer(5)));
    let (Cell::Integer(prefill), Cell::Integer(decode)) = (&records[0]["latency_ns"], &records[1]["latency_ns"]) else {
        panic!("{records:?}");
    };
    let Cell::Real(whole) = rows[0]["total_ms"] else { panic!("{rows:?}") };
    assert!(((prefill + decode) as f64 / 1e6 / whole - 1.0).abs() < 1e-6, "the phases are the whole");
    // A prompt that is in the cache already is not computed, and one token needs no decoding.
    let run_of = || Run { id: "test".to_owned(), started_ns: 5 };
    let warm = sweep(&["prefix_hit_rate=0.5", "prompt=200", "generate=1"]);
    let (records_warm, _) = run(&planner.sweep(warm).expect("it can be read").as_records(run_of()));
    assert_eq!((records_warm.len(), &records_warm[0]["llm_prompt_tokens"]), (1, &Cell::Integer(100)));
    // Ten of eleven tokens are decoded: the first comes with the prompt.
    assert_eq!(records[1]["macs"], Cell::Integer(7_504_924_672 * 10));
}

#[test]
fn ranges_are_read_as_they_are_written() {
    let values = |text: &str| Axis::parse(text).expect("it can be read").values;
    assert_eq!(values("context=1K,2K"), [json!(1024), json!(2048)]);
    assert_eq!(values("users=1..3"), [json!(1), json!(2), json!(3)]);
    assert_eq!(values("users=1..10..4"), [json!(1), json!(5), json!(9)]);
    assert_eq!(values("users=1..20*4"), [json!(1), json!(4), json!(16)]);
    assert_eq!(values("gpu-memory-utilization=0.8,0.9"), [json!(0.8), json!(0.9)]);
    assert_eq!(values("kv-unified=true"), [json!(true)]);
    for wrong in ["context", "=1", "context=1..2..0", "context=1..9*1", "context=0..9*2..", "context=1..99999999999"] {
        assert!(Axis::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn nonsense_is_refused_before_anything_is_computed() {
    let planner = planner();
    let refused = |vary: &[&str]| planner.sweep(sweep(vary)).expect_err("it means nothing").to_string();
    assert!(refused(&["contxt=1"]).contains("contxt"));
    assert!(refused(&["host.bandwidth_gbs=1"]).contains("host.bandwidth_gbs"));
    assert!(refused(&["context=many"]).contains("context"));
    let unknown =
        SweepRequest { plan: PlanRequest { model: "no-such-model".to_owned(), ..plan() }, ..sweep(&["prompt=1"]) };
    assert!(planner.sweep(unknown).is_err(), "the fixed part is checked too");
    assert!(refused(&["context=0"]).contains("context"));
    assert!(refused(&["device=RTX 3090,A100"]).contains("A100"));
    assert!(refused(&["model=no-such-model-anywhere"]).contains("no-such-model"));
    assert!(refused(&["context=1K", "context=2K"]).contains("context"));
    let endless = ["context=1..2000", "prompt=1..2000", "generate=1..2000"];
    assert!(refused(&endless).contains("combinations"));
}
