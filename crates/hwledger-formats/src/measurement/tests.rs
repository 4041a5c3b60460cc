use hwledger_core::Bytes;
use hwledger_core::units::{GIBIBYTE, MEBIBYTE};

use super::*;

/// The golden files, by name.
const FILES: &[(&str, Format, &str)] = &[
    ("llama-bench.md", Format::LlamaBenchTable, include_str!("../../testdata/measurements/llama-bench.md")),
    ("llama-bench.csv", Format::LlamaBenchCsv, include_str!("../../testdata/measurements/llama-bench.csv")),
    ("llama-bench.json", Format::LlamaBenchJson, include_str!("../../testdata/measurements/llama-bench.json")),
    ("llama-bench.jsonl", Format::LlamaBenchJson, include_str!("../../testdata/measurements/llama-bench.jsonl")),
    ("llama-bench.sql", Format::LlamaBenchSql, include_str!("../../testdata/measurements/llama-bench.sql")),
    ("vllm-serving.json", Format::VllmServing, include_str!("../../testdata/measurements/vllm-serving.json")),
    ("vllm-throughput.json", Format::VllmThroughput, include_str!("../../testdata/measurements/vllm-throughput.json")),
    ("vllm-latency.json", Format::VllmLatency, include_str!("../../testdata/measurements/vllm-latency.json")),
    ("sglang-serving.jsonl", Format::SglangServing, include_str!("../../testdata/measurements/sglang-serving.jsonl")),
    ("sglang-batch.jsonl", Format::SglangBatch, include_str!("../../testdata/measurements/sglang-batch.jsonl")),
    ("llama.cpp.log", Format::LlamaCppLog, include_str!("../../testdata/measurements/llama.cpp.log")),
    ("llama.cpp-server.log", Format::LlamaCppLog, include_str!("../../testdata/measurements/llama.cpp-server.log")),
    ("vllm-v0.log", Format::VllmLog, include_str!("../../testdata/measurements/vllm-v0.log")),
    ("vllm-v1.log", Format::VllmLog, include_str!("../../testdata/measurements/vllm-v1.log")),
    ("sglang.log", Format::SglangLog, include_str!("../../testdata/measurements/sglang.log")),
    ("ollama-v0.log", Format::OllamaLog, include_str!("../../testdata/measurements/ollama-v0.log")),
    ("ollama-v1.log", Format::OllamaLog, include_str!("../../testdata/measurements/ollama-v1.log")),
    ("ollama-v2.log", Format::OllamaLog, include_str!("../../testdata/measurements/ollama-v2.log")),
    ("own.jsonl", Format::Own, include_str!("../../testdata/measurements/own.jsonl")),
];

fn golden(name: &str) -> Vec<MeasuredRun> {
    let (_, format, text) = FILES.iter().find(|(known, ..)| *known == name).unwrap();
    let found = read(text.as_bytes(), name, None).unwrap();
    assert_eq!(found.format, *format);
    assert_eq!(found.excluded, []);
    found.runs
}

fn value(statistic: Option<Statistic>) -> f64 {
    statistic.unwrap().value
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6 * expected.abs(), "{found} is not {expected}");
}

#[test]
fn every_format_is_recognised_and_may_be_named() {
    for (name, format, text) in FILES {
        assert_eq!(detect::detect(text), Some(*format), "{name}");
        assert_eq!(format.name().parse::<Format>().unwrap(), *format);
        let named = read(text.as_bytes(), name, Some(*format)).unwrap();
        assert!(!named.runs.is_empty(), "{name}");
        for run in named.runs {
            assert!(run.place.line > 0 && run.place.record > 0 && run.place.file == *name, "{name}: {run:?}");
        }
    }
    assert!("no such".parse::<Format>().is_err());
    for text in ["", "hello", "{}", "[]", "[1]", "{\"a\": 1}", "| a | b |\n"] {
        let error = read(text.as_bytes(), "it", None).unwrap_err();
        assert!(matches!(error, MeasurementError::UnknownFormat), "{text}");
        assert!(error.hint().contains("llama-bench"));
    }
}

#[test]
fn a_table_names_devices_and_builds() {
    let runs = golden("llama-bench.md");
    assert_eq!(runs.len(), 6);
    let first = &runs[0];
    assert_eq!(first.engine.as_deref(), Some("llama.cpp"));
    assert_eq!(first.engine_version.as_deref(), Some("b5163"));
    assert_eq!(first.device.as_deref(), Some("NVIDIA GeForce RTX 4080"));
    assert_eq!((first.device_count, first.backend.as_deref()), (Some(1), Some("CUDA")));
    assert_eq!(first.weights.as_deref(), Some("Q4_K_M"));
    assert_eq!(first.size_bytes, quantity::size("4.36 GiB"));
    assert_eq!(first.parameters, Some(7_620_000_000));
    assert_eq!(first.workload.kind, Some(TestKind::Prefill));
    assert_eq!((first.workload.prompt, first.workload.depth), (Some(512), None));
    close(value(first.figures.prefill_tokens_per_s), 7340.20);
    assert_eq!(first.figures.prefill_tokens_per_s.unwrap().deviation, Some(23.45));
    assert_eq!(first.place.line, 5);
    assert_eq!((runs[3].workload.generate, runs[3].workload.depth), (Some(128), Some(512)));
    close(value(runs[3].figures.decode_tokens_per_s), 116.71);
    let cpu = &runs[5];
    assert_eq!((cpu.settings.threads, cpu.device.as_deref(), cpu.engine_version.as_deref()), (Some(1), None, None));
    assert_eq!(cpu.weights.as_deref(), Some("Q4_0"));
}

#[test]
fn all_fields_of_llama_bench_agree_between_formats() {
    let csv = golden("llama-bench.csv");
    let sql = golden("llama-bench.sql");
    assert_eq!(csv.len(), 2);
    for (csv, sql) in csv.iter().zip(&sql) {
        assert_eq!(
            MeasuredRun { place: Place::default(), ..csv.clone() },
            MeasuredRun { place: Place::default(), ..sql.clone() }
        );
    }
    let json = golden("llama-bench.json");
    let lines = golden("llama-bench.jsonl");
    assert_eq!(json.len(), 2);
    assert_eq!((lines[0].place.line, lines[1].place.line), (1, 2));
    let run = &lines[1];
    assert_eq!(run.figures, json[1].figures);
    assert_eq!(run.model.as_deref(), Some("Qwen2.5-7B-Instruct"));
    assert_eq!(run.size_bytes, Some(Bytes(4_677_120_000)));
    assert_eq!(run.settings.gpu_layers, Some(-1));
    assert_eq!(run.settings.flash_attention.as_deref(), Some("auto"));
    assert_eq!((run.settings.ubatch, run.settings.kv_type_k.as_deref()), (Some(512), Some("f16")));
    assert_eq!(run.figures.decode_tokens_per_s.unwrap().samples, Some(5));
    assert_eq!(csv[1].settings, run.settings);
    assert_eq!(csv[1].device, run.device);
}

#[test]
fn what_is_printed_before_json_is_passed_over() {
    let (_, _, text) = FILES.iter().find(|(name, ..)| *name == "llama-bench.json").unwrap();
    let mixed = format!("ggml_cuda_init: found 1 CUDA devices:\n  Device 0: NVIDIA GeForce RTX 4080\n{text}");
    let found = read(mixed.as_bytes(), "it", None).unwrap();
    assert_eq!((found.format, found.runs.len(), found.runs[0].place.line), (Format::LlamaBenchJson, 2, 3));
    let broken = mixed.replace("\"n_gen\": 128,", "\"n_gen\": 128 128,");
    let line = 1 + broken.lines().position(|line| line.contains("128 128")).unwrap();
    assert_eq!(read(broken.as_bytes(), "it", None).unwrap_err().to_string(), format!("line {line} is not valid JSON"));
}

#[test]
fn serving_results_keep_latencies_and_rates() {
    let run = &golden("vllm-serving.json")[0];
    assert_eq!((run.engine.as_deref(), run.device.as_deref()), (Some("vllm"), Some("H100")));
    assert_eq!(run.workload.requests, Some(1000));
    assert_eq!((run.workload.prompt, run.workload.generate), (Some(230), Some(203)));
    assert_eq!(run.workload.request_rate, None);
    close(run.figures.ttft_ms.mean.unwrap(), 9626.13);
    assert_eq!(run.figures.tpot_ms.percentiles.len(), 2);
    close(value(run.figures.output_tokens_per_s), 6582.87);
    let run = &golden("sglang-serving.jsonl")[0];
    assert_eq!((run.engine.as_deref(), run.engine_version.as_deref()), (Some("sglang"), Some("0.4.0.post2")));
    assert_eq!(run.settings.tensor_parallel, Some(1));
    assert_eq!(run.settings.kv_type_k, None);
    close(run.figures.request_ms.mean.unwrap(), 80126.93);
    assert_eq!(run.figures.itl_ms.percentiles.iter().map(|one| one.percent).collect::<Vec<_>>(), [50.0, 95.0, 99.0]);
}

#[test]
fn a_chosen_load_is_told_from_a_limit() {
    let text = FILES.iter().find(|(name, ..)| *name == "vllm-serving.json").unwrap().2;
    let text = text.replace("\"request_rate\": \"inf\"", "\"request_rate\": 2.5");
    let run = &read(text.as_bytes(), "it", None).unwrap().runs[0];
    assert_eq!(run.workload.request_rate, Some(2.5));
}

#[test]
fn batch_results_are_read() {
    let runs = golden("sglang-batch.jsonl");
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[1].place.line, 10);
    close(value(runs[1].figures.decode_tokens_per_s), 1.0 / 0.018_887_758_255_004_883);
    close(value(runs[1].figures.output_tokens_per_s), 211.777_382_259_754_35);
    assert_eq!(runs[1].workload.concurrency, Some(4));
    assert_eq!(runs[0].figures.decode_tokens_per_s, None);
    close(golden("vllm-latency.json")[0].figures.request_ms.mean.unwrap(), 1251.2);
    close(value(golden("vllm-throughput.json")[0].figures.requests_per_s), 42.735_042_7);
}

#[test]
fn logs_report_memory() {
    let mebibytes = |count: f64| Some(Bytes(1).scaled((count * MEBIBYTE as f64).round()));
    let gibibytes = |count: f64| Some(Bytes(1).scaled((count * GIBIBYTE as f64).round()));
    let run = &golden("llama.cpp.log")[0];
    assert_eq!(run.model.as_deref(), Some("Qwen3.5-9B"));
    assert_eq!((run.weights.as_deref(), run.backend.as_deref()), (Some("Q4_K_M"), Some("CUDA")));
    assert_eq!((run.device.as_deref(), run.device_count), (Some("NVIDIA GeForce RTX 3060"), Some(1)));
    assert_eq!((run.settings.context, run.settings.sequences), (Some(262_144), Some(2)));
    assert_eq!(run.settings.kv_type_v.as_deref(), Some("q8_0"));
    assert_eq!((run.settings.gpu_layers, run.settings.flash_attention.as_deref()), (Some(33), Some("on")));
    assert_eq!(run.engine_version.as_deref(), Some("b6976"));
    let card = run.memory.iter().find(|one| one.device == "CUDA0").unwrap();
    assert_eq!(card.weights_bytes, mebibytes(5060.88));
    assert_eq!(card.kv_cache_bytes, mebibytes(4352.0));
    assert_eq!(card.recurrent_state_bytes, mebibytes(100.5));
    assert_eq!(card.compute_bytes, mebibytes(808.02));
    assert!(run.memory.iter().any(|one| one.is_host() && one.output_bytes == mebibytes(1.9)));

    let run = &golden("vllm-v0.log")[0];
    assert_eq!(run.model.as_deref(), Some("Qwen/Qwen2-VL-7B-Instruct-AWQ"));
    assert_eq!((run.engine_version.as_deref(), run.weights.as_deref()), (Some("0.6.5"), Some("awq_marlin")));
    assert_eq!(run.settings.gpu_memory_utilization, Some(0.15));
    let [worker] = &run.memory[..] else { panic!("{run:?}") };
    assert_eq!((worker.weights_bytes, worker.kv_cache_bytes), (gibibytes(8.51), gibibytes(2.18)));
    assert_eq!((worker.compute_bytes, worker.overhead_bytes), (gibibytes(0.94), gibibytes(0.26)));

    let run = &golden("vllm-v1.log")[0];
    assert_eq!((run.settings.context, run.figures.kv_cache_tokens), (Some(4096), Some(193_218)));
    assert_eq!(run.settings.kv_type_k.as_deref(), Some("fp8"));
    assert_eq!((run.memory[0].weights_bytes, run.memory[0].compute_bytes), (gibibytes(14.99), gibibytes(1.89)));

    let run = &golden("sglang.log")[0];
    assert_eq!((run.settings.tensor_parallel, run.figures.kv_cache_tokens), (Some(4), Some(298_447)));
    assert_eq!(run.memory.len(), 2);
    assert_eq!(run.memory[0].kv_cache_bytes, Some(gibibytes(5.69).unwrap() + gibibytes(5.69).unwrap()));

    let run = &golden("ollama-v0.log")[0];
    assert_eq!((run.settings.gpu_layers, run.settings.context), (Some(29), Some(2048)));
    assert_eq!(run.figures.peak_memory_bytes, gibibytes(9.6));
    let run = &golden("ollama-v1.log")[0];
    assert_eq!(run.memory.len(), 2);
    assert_eq!(run.memory[0].weights_bytes, gibibytes(59.8));
    assert_eq!(run.figures.peak_memory_bytes, gibibytes(61.4));
}

#[test]
fn ollama_tells_what_the_server_below_it_allocated() {
    let mebibytes = |size: f64| Some(Bytes(1).scaled(size * MEBIBYTE as f64));
    let runs = golden("ollama-v2.log");
    assert_eq!(runs.len(), 2);
    let run = &runs[0];
    assert_eq!((run.engine.as_deref(), run.engine_version.as_deref()), (Some("ollama"), Some("0.33.3")));
    assert_eq!(
        (run.settings.context, run.settings.ubatch, run.settings.gpu_layers),
        (Some(32768), Some(1024), Some(29))
    );
    assert_eq!(run.settings.kv_type_k.as_deref(), Some("f16"));
    let card = run.memory.iter().find(|row| row.device == "CUDA0").unwrap();
    assert_eq!((card.weights_bytes, card.kv_cache_bytes), (mebibytes(4168.09), mebibytes(1792.0)));
    assert_eq!(card.compute_bytes, mebibytes(608.02));
    let next = &runs[1];
    assert_eq!((next.place.line, next.memory.len()), (18, 1));
    assert_eq!((next.memory[0].weights_bytes, next.memory[0].kv_cache_bytes), (mebibytes(500.0), mebibytes(64.0)));
    assert_eq!(next.memory[0].compute_bytes, None);

    // An older one printed an estimate first.
    let (_, _, estimate) = FILES.iter().find(|(name, ..)| *name == "ollama-v0.log").unwrap();
    let text = format!("{estimate}\nload_tensors:        CUDA0 model buffer size =  6000.00 MiB\n");
    let run = &read(text.as_bytes(), "it", None).unwrap().runs[0];
    assert_eq!((run.memory.len(), run.memory[0].weights_bytes), (1, mebibytes(6000.0)));
    assert_eq!(run.figures.peak_memory_bytes, Some(Bytes(1).scaled(9.6 * GIBIBYTE as f64)));
}

#[test]
fn logs_of_2026_are_read_like_those_before() {
    let mebibytes = |size: f64| Some(Bytes(1).scaled(size * MEBIBYTE as f64));
    let run = &golden("llama.cpp-server.log")[0];
    // It was built outside version control.
    assert_eq!((run.engine_version.as_deref(), run.model.as_deref()), (None, Some("demo")));
    assert_eq!((run.settings.context, run.settings.sequences, run.settings.ubatch), (Some(2048), Some(2), Some(512)));
    let host = run.memory.iter().find(|row| row.device == "CPU").unwrap();
    assert_eq!((host.kv_cache_bytes, host.compute_bytes), (mebibytes(4.0), mebibytes(8.02)));
    assert_eq!(run.memory.iter().find_map(|row| row.weights_bytes), mebibytes(3.73));
    let build = "0.00.043.116 I cmn  common_param: common_params_print_info: build 10488 (a4b54f2697) with GNU 13\n\
                 0.00.074.755 I load_tensors:  CUDA0 model buffer size =  3.73 MiB\n";
    let read_as = |text: &str| read(text.as_bytes(), "it", None).unwrap().runs.remove(0);
    assert_eq!(read_as(build).engine_version.as_deref(), Some("b10488"));

    let sglang = "[2026-11-01 10:00:00 TP0] Load weight end. elapsed=3.10 s, type=LlamaForCausalLM, avail mem=60.00 GB, mem usage=15.00 GB.\n\
                  [2026-11-01 10:00:01 TP0] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 1000, K size: 2.00 GB, V size: 2.00 GB\n\
                  [2026-11-01 10:00:02 TP0] Capture target decode CUDA graph end. elapsed=1.00 s, mem usage=0.50 GB, avail mem=50.00 GB.\n\
                  [2026-11-01 10:00:03 TP0] Capture target prefill CUDA graph end. elapsed=1.00 s, mem usage=0.25 GB, avail mem=49.00 GB.\n";
    let row = &read_as(sglang).memory[0];
    let gibibytes = |size: f64| Some(Bytes(1).scaled(size * GIBIBYTE as f64));
    assert_eq!((row.weights_bytes, row.kv_cache_bytes), (gibibytes(15.0), gibibytes(4.0)));
    assert_eq!(row.compute_bytes, gibibytes(0.75));

    let vllm = "INFO Model loading took 14.99 GiB memory and 2.1 seconds\n\
                INFO Available KV cache memory: 5.5 GiB\n\
                INFO GPU + host KV cache size: 193,218 tokens, Maximum concurrency for 4,096 tokens per request: 47.17x\n";
    let run = read_as(vllm);
    assert_eq!((run.figures.kv_cache_tokens, run.memory[0].kv_cache_bytes), (Some(193_218), gibibytes(5.5)));
}

#[test]
fn our_own_format_comes_back_as_it_went() {
    for (name, _, text) in FILES {
        for run in read(text.as_bytes(), name, None).unwrap().runs {
            let line = to_line(&run);
            let again = read(line.as_bytes(), name, None).unwrap();
            assert_eq!(again.diagnostics, [], "{line}");
            let [again] = &again.runs[..] else { panic!("{line}") };
            assert_eq!(MeasuredRun { place: run.place.clone(), ..again.clone() }, run, "{line}");
        }
    }
    let odd = r#"{"schema": "hwledger.measurement/1", "colour": "red", "figures": {"decode_tokens_per_s": 3}}"#;
    let found = read(odd.as_bytes(), "it", None).unwrap();
    assert_eq!(found.diagnostics[0].place, "colour");
}

/// The one run of a llama-bench line with some values replaced.
fn bench(changes: &[(&str, &str)]) -> Measurements {
    let mut text =
        FILES.iter().find(|(name, ..)| *name == "llama-bench.jsonl").unwrap().2.lines().nth(1).unwrap().to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    read(text.as_bytes(), "it", None).unwrap()
}

#[test]
fn impossible_rows_are_named_and_left_out() {
    let cases: &[(&str, &str, &str)] = &[
        ("\"avg_ts\": 118.881588", "\"avg_ts\": 0", "`decode_tokens_per_s` is 0"),
        ("\"avg_ts\": 118.881588", "\"avg_ts\": -3.5", "`decode_tokens_per_s` is -3.5"),
        ("\"avg_ts\": 118.881588", "\"avg_ts\": nan", "NaN"),
        ("\"avg_ts\": 118.881588", "\"avg_ts\": inf", "inf"),
        ("\"avg_ts\": 118.881588", "\"avg_ts\": 1e12", "more than any engine"),
        ("\"stddev_ts\": 1.041811", "\"stddev_ts\": 500", "exceeds its mean"),
        ("\"stddev_ts\": 1.041811", "\"stddev_ts\": -nan", "standard deviation"),
        ("\"avg_ns\": 1076767880", "\"avg_ns\": 0", "it took 0 s"),
        ("\"avg_ns\": 1076767880", "\"avg_ns\": 10767678800", "128 tokens in"),
        ("\"model_size\": 4677120000", "\"model_size\": 4677120000000", "bits for each"),
    ];
    for (from, to, reason) in cases {
        let found = bench(&[(from, to)]);
        assert!(found.runs.is_empty(), "{to}");
        assert!(found.excluded[0].reason.contains(reason), "{to}: {}", found.excluded[0].reason);
        assert_eq!(found.excluded[0].place.to_string(), "it:1");
    }
    let serving = FILES.iter().find(|(name, ..)| *name == "vllm-serving.json").unwrap().2;
    for (from, to, reason) in [
        ("\"completed\": 1000", "\"completed\": 0", "no request"),
        ("\"duration\": 30.85", "\"duration\": 0.0", "it took 0 s"),
        ("\"p99_ttft_ms\": 12666.73", "\"p99_ttft_ms\": 1.0", "do not ascend"),
        ("\"mean_itl_ms\": 38.13", "\"mean_itl_ms\": NaN", "`itl_ms` is NaN"),
    ] {
        assert!(serving.contains(from), "{from}");
        let found = read(serving.replace(from, to).as_bytes(), "it", None).unwrap();
        assert!(found.excluded.first().is_some_and(|one| one.reason.contains(reason)), "{to}: {:?}", found.excluded);
    }
}

#[test]
fn malformed_records_are_errors_with_their_place() {
    let error = |text: &str, format: Option<Format>| {
        let error = read(text.as_bytes(), "it", format).unwrap_err();
        assert!(!error.hint().is_empty());
        (error.to_string(), error.hint())
    };
    let line = FILES.iter().find(|(name, ..)| *name == "llama-bench.jsonl").unwrap().2;
    let (text, hint) = error(&line.replacen("\"n_gen\": 128", "\"n_gen\": \"many\"", 1), None);
    assert_eq!((text.as_str(), hint.as_str()), ("record 2 at line 2: `n_gen` cannot be `many`", "expected a number"));
    assert!(
        error(&line.replacen("\"avg_ts\": 118.881588, ", "\"avg_ts\": null, ", 1), None).0.contains("has no `avg_ts`")
    );
    assert!(error(&line.replacen("\"n_gen\": 128", "\"n_gen\": -1", 1), None).1.contains("from 0"));
    assert_eq!(error(&line[..line.len() - 20], None).0, "line 2 is not valid JSON");
    assert!(error("[1, 2]", Some(Format::LlamaBenchJson)).0.contains("not an object"));
    assert!(error("a,avg_ts,model_type\n1,2\n", None).0.contains("has 2 cells, its header 3"));
    assert!(error("a,avg_ts,model_type\n\"1,2,3\n", None).0.contains("line 2 has no end"));
    assert!(error("INSERT INTO t (avg_ts", None).0.contains("line 1 has no end"));
    assert!(error("INSERT INTO t (avg_ts) VALUES ('1', '2');", None).0.contains("2 cells"));
    let table = "| model | test | t/s |\n| --- | --- | --- |\n| x | zz9 | 3 |\n";
    assert!(error(table, None).0.contains("line 3: `test` cannot be `zz9`"));
    assert!(error(&table.replace("zz9 | 3", "pp9 | fast"), None).1.contains("132.19"));
    assert!(error("x", Some(Format::LlamaBenchTable)).0.contains("holds no table"));
    let wrong = read(b"one\ntwo \xff", "it", None).unwrap_err();
    assert_eq!(wrong.to_string(), "line 2 is not UTF-8 text");
    let own = r#"{"schema": "hwledger.measurement/2"}"#;
    assert!(error(own, None).1.contains("hwledger.measurement/1"));
    let deep = format!("{{\"schema\": {}", "[".repeat(100_000));
    assert!(error(&deep, Some(Format::Own)).0.contains("not valid JSON"));
}

#[test]
fn cut_and_flipped_files_never_panic() {
    for (name, format, text) in FILES {
        let bytes = text.as_bytes();
        for end in (0..bytes.len()).step_by(1 + bytes.len() / 97) {
            let _ = read(&bytes[..end], name, None);
            let _ = read(&bytes[..end], name, Some(*format));
            let mut flipped = bytes.to_vec();
            flipped[end] ^= 1 << (end % 7);
            let _ = read(&flipped, name, Some(*format));
        }
        for other in Format::ALL {
            let _ = read(bytes, name, Some(*other));
        }
    }
}
