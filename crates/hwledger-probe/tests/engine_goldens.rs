//! Scrapes of engines, and the readings that come of each. `golden/PROVENANCE.md` says which are real.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use hwledger_probe::engine::{Content, Document, Exposition, GAP_MAX_S, Mapping, Reader, Scrape, recognise};
use hwledger_probe::{Outcome, Reading};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A scrape of the files of a golden, by path on the server.
fn scrape(name: &str, files: &[(&str, &str)]) -> Scrape {
    let document = |file: &str| {
        let bytes = std::fs::read(folder(name).join(file)).expect(file);
        let content = match Path::new(file).extension().and_then(|extension| extension.to_str()) {
            Some("json") => Content::Json(serde_json::from_slice(&bytes).expect(file)),
            _ => Content::Metrics(Exposition::parse(&bytes).expect(file)),
        };
        Document { content, server: None }
    };
    let documents: BTreeMap<_, _> = files.iter().map(|(path, file)| ((*path).to_owned(), document(file))).collect();
    Scrape { address: "golden".to_owned(), taken_at_ns: 1, monotonic_ns: 2_000_000_000, documents }
}

fn readings(scrape: &Scrape, before: Option<&Scrape>, version: Option<&str>) -> Vec<Reading> {
    let row = recognise(scrape).expect("the engine is recognised");
    let mut engine = row.with_version(scrape);
    if let Some(version) = version {
        engine.version = hwledger_probe::engine::Version::parse(version);
    }
    let mapping = Mapping::built_in();
    let reader = Reader::new(&mapping, &engine, scrape);
    match before {
        Some(before) => reader.since(before, GAP_MAX_S).readings(),
        None => reader.readings(),
    }
}

/// One line per reading.
fn lines(readings: &[Reading]) -> String {
    let mut text = String::new();
    for reading in readings {
        let labels: Vec<String> = reading.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let outcome = match &reading.outcome {
            Outcome::Measured { value } => format!("{value} (measured)"),
            Outcome::Derived { value } => format!("{value:.6} (derived)"),
            Outcome::Unsupported { reason } => format!("unsupported: {reason}"),
            Outcome::Error { reason } => format!("error: {reason}"),
        };
        let name = reading.metric.strip_prefix("hwl_engine_").expect("all are of engines");
        writeln!(text, "{name}{{{}}} {outcome} <- {}", labels.join(","), reading.source).expect("a text takes all");
    }
    text
}

/// The value of a metric with these labels and no others.
fn value(readings: &[Reading], metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let wanted: Vec<(String, String)> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut found = readings.iter().filter(|reading| reading.metric == metric && reading.labels == wanted);
    let value = found.next()?.outcome.value();
    assert!(found.next().is_none(), "{metric} is there twice");
    value
}

fn near(found: Option<f64>, expected: f64) {
    assert!(found.is_some_and(|found| (found - expected).abs() <= 1e-9 * expected.abs()), "{found:?} != {expected}");
}

const MODEL: (&str, &str) = ("model", "Qwen/Qwen3-8B");
const DEMO: (&str, &str) = ("model", "demo");

#[test]
fn vllm_as_its_source_declares() {
    for version in ["0.6.6.post1", "0.9.2", "0.11.0"] {
        let scrape = scrape(&format!("vllm-{version}"), &[("/metrics", "metrics.txt")]);
        let readings = readings(&scrape, None, Some(version));
        // Two engines, each as `declared.py` sets it.
        near(value(&readings, "hwl_engine_requests_running", &[MODEL]), 14.0);
        near(value(&readings, "hwl_engine_kv_used_ratio", &[MODEL]), 0.625);
        near(value(&readings, "hwl_engine_prompt_tokens_total", &[MODEL]), 122_880.0);
        near(value(&readings, "hwl_engine_kv_total_tokens", &[]), 262_144.0);
        let has_own = value(
            &readings,
            "hwl_engine_time_per_output_token_seconds",
            &[MODEL, ("over", "lifetime"), ("statistic", "mean")],
        );
        assert_eq!(has_own.is_some(), version == "0.11.0", "{version}");
        insta::assert_snapshot!(format!("vllm_{version}"), lines(&readings));
    }
}

#[test]
fn vllm_as_it_answered() {
    let files = |metrics| [("/metrics", metrics), ("/version", "version.json"), ("/v1/models", "v1-models.json")];
    let mut before = scrape("vllm-0.32.0", &files("metrics.before.txt"));
    before.monotonic_ns = 0;
    let busy = readings(&scrape("vllm-0.32.0", &files("metrics.busy.txt")), None, None);
    near(value(&busy, "hwl_engine_requests_running", &[DEMO]), 4.0);
    near(value(&busy, "hwl_engine_requests_waiting", &[DEMO]), 4.0);
    near(value(&busy, "hwl_engine_kv_used_ratio", &[DEMO]), 0.625);
    let after = readings(&scrape("vllm-0.32.0", &files("metrics.txt")), Some(&before), None);
    // Nine requests of 183 tokens, 16 tokens generated for the first and 300 for each of the others.
    near(value(&after, "hwl_engine_requests_total", &[DEMO]), 9.0);
    near(value(&after, "hwl_engine_prompt_tokens_total", &[DEMO]), 9.0 * 183.0);
    near(value(&after, "hwl_engine_output_tokens_total", &[DEMO]), 16.0 + 8.0 * 300.0);
    near(value(&after, "hwl_engine_output_tokens_per_second", &[DEMO]), 1200.0);
    near(value(&after, "hwl_engine_preemptions_total", &[DEMO]), 8.0);
    // Eight requests found one block of 128 tokens.
    near(value(&after, "hwl_engine_prefix_cache_hit_ratio", &[DEMO, ("over", "lifetime")]), 1024.0 / 1647.0);
    near(value(&after, "hwl_engine_draft_acceptance_ratio", &[DEMO, ("over", "lifetime")]), 1656.0 / 2072.0);
    near(value(&after, "hwl_engine_kv_total_tokens", &[]), 9.0 * 128.0);
    near(value(&after, "hwl_engine_context_tokens", &[]), 512.0);
    // The server was given room for 1 GiB and nine blocks: what was asked for is not what is held.
    assert!(value(&after, "hwl_engine_kv_pool_bytes", &[]).is_none());
    insta::assert_snapshot!("vllm_0.32.0", lines(&after));
}

#[test]
fn sglang_as_its_source_declares() {
    for version in ["0.4.6", "0.5.5"] {
        let scrape = scrape(&format!("sglang-{version}"), &[("/metrics", "metrics.txt")]);
        let readings = readings(&scrape, None, Some(version));
        // Two ranks of one replica tell the same: taken once.
        near(value(&readings, "hwl_engine_requests_running", &[MODEL]), 7.0);
        near(value(&readings, "hwl_engine_output_tokens_total", &[MODEL]), 24_576.0);
        near(
            value(&readings, "hwl_engine_prefix_cache_hit_ratio", &[MODEL, ("over", "lifetime")]),
            20_000.0 / 61_440.0,
        );
        insta::assert_snapshot!(format!("sglang_{version}"), lines(&readings));
    }
}

#[test]
fn sglang_as_it_answered() {
    let files = |metrics| [("/metrics", metrics), ("/server_info", "server_info.json")];
    let mut before = scrape("sglang-0.5.23", &files("metrics.before.txt"));
    before.monotonic_ns = 0;
    let busy = readings(&scrape("sglang-0.5.23", &files("metrics.busy.txt")), None, None);
    near(value(&busy, "hwl_engine_requests_running", &[DEMO]), 4.0);
    near(value(&busy, "hwl_engine_requests_waiting", &[DEMO]), 4.0);
    near(value(&busy, "hwl_engine_kv_used_ratio", &[DEMO]), 0.06);
    let after = readings(&scrape("sglang-0.5.23", &files("metrics.txt")), Some(&before), None);
    // A warm-up, one short request and eight long ones; streamed and whole replies are counted apart and added.
    near(value(&after, "hwl_engine_requests_total", &[DEMO]), 10.0);
    near(value(&after, "hwl_engine_output_tokens_total", &[DEMO]), 1224.0 + 1200.0);
    near(value(&after, "hwl_engine_output_tokens_per_second", &[DEMO]), 1200.0);
    near(value(&after, "hwl_engine_prefix_cache_hit_ratio", &[DEMO, ("over", "lifetime")]), 1456.0 / 1676.0);
    // Keys and values of 4096 tokens and one more slot: two layers, two heads of 32, four bytes.
    near(value(&after, "hwl_engine_kv_pool_bytes", &[DEMO]), 4097.0 * 1024.0);
    near(value(&after, "hwl_engine_kv_total_tokens", &[DEMO]), 4096.0);
    near(value(&after, "hwl_engine_context_tokens", &[DEMO]), 512.0);
    // It tells an acceptance of zero where nothing is drafted, and no retractions before there was one.
    assert!(value(&after, "hwl_engine_draft_acceptance_ratio", &[DEMO]).is_none());
    assert!(value(&after, "hwl_engine_preemptions_total", &[DEMO]).is_none());
    insta::assert_snapshot!("sglang_0.5.23", lines(&after));
}

#[test]
fn sglang_of_two_ranks_with_priorities_as_it_answered() {
    let files = [("/metrics", "metrics.busy.txt"), ("/server_info", "server_info.busy.json")];
    let readings = readings(&scrape("sglang-0.5.23-two-ranks", &files), None, None);
    // Both ranks tell the total, and the same again for the one priority that there is.
    near(value(&readings, "hwl_engine_requests_running", &[DEMO]), 2.0);
    near(value(&readings, "hwl_engine_requests_waiting", &[DEMO]), 6.0);
    // 1024 tokens and one more slot on each rank: two layers, one head of 32, four bytes.
    near(value(&readings, "hwl_engine_kv_pool_bytes", &[DEMO]), 2.0 * 1025.0 * 512.0);
    near(value(&readings, "hwl_engine_kv_total_tokens", &[DEMO]), 1024.0);
    // It says that its weights take less than nothing.
    assert!(value(&readings, "hwl_engine_weights_bytes", &[DEMO]).is_none());
    assert!(lines(&readings).contains(
        "weights_bytes{} unsupported: `sglang:weight_memory_usage_gb * 1073741824 * /server_info#/tp_size` is negative"
    ));
}

#[test]
fn sglang_tells_memory_in_its_server_info() {
    let files = [("/metrics", "metrics.txt"), ("/get_server_info", "server_info.json")];
    let readings = readings(&scrape("sglang-0.5.5", &files), None, None);
    // 4.06 and 6.03 GiB on each of two ranks.
    near(value(&readings, "hwl_engine_weights_bytes", &[]), 2.0 * 4.06 * 1_073_741_824.0);
    near(value(&readings, "hwl_engine_kv_pool_bytes", &[]), 2.0 * 6.03 * 1_073_741_824.0);
    near(value(&readings, "hwl_engine_kv_total_tokens", &[]), 131_072.0);
    assert!(readings[0].labels.contains(&("version".to_owned(), "0.5.5".to_owned())));
}

#[test]
fn llama_cpp_as_it_answered() {
    let documents = [("/props", "props.json"), ("/slots", "slots.json")];
    let files = |metrics| [("/metrics", metrics), documents[0], documents[1]];
    let mut before = scrape("llamacpp-0.6.0", &files("metrics.before.txt"));
    before.monotonic_ns = 0;
    let after = scrape("llamacpp-0.6.0", &files("metrics.txt"));
    let readings = readings(&after, Some(&before), None);
    // 540 tokens generated in what the test calls two seconds.
    near(value(&readings, "hwl_engine_output_tokens_per_second", &[]), 270.0);
    // 49 that were computed and 41 that were found in the cache.
    near(value(&readings, "hwl_engine_prompt_tokens_per_second", &[]), 45.0);
    near(value(&readings, "hwl_engine_prefix_cache_hit_ratio", &[("over", "lifetime")]), 41.0 / 97.0);
    near(value(&readings, "hwl_engine_prefix_cache_hit_ratio", &[("over", "window")]), 41.0 / 90.0);
    near(value(&readings, "hwl_engine_context_tokens", &[]), 512.0);
    insta::assert_snapshot!("llamacpp_0.6.0", lines(&readings));
}

#[test]
fn llama_cpp_of_the_next_version_as_it_answered() {
    let busy = [("/metrics", "metrics.busy.txt"), ("/props", "props.json"), ("/slots", "slots.busy.json")];
    let busy = readings(&scrape("llamacpp-0.7.0", &busy), None, None);
    near(value(&busy, "hwl_engine_requests_running", &[]), 2.0);
    near(value(&busy, "hwl_engine_requests_waiting", &[]), 4.0);
    let files = [("/metrics", "metrics.txt"), ("/slots", "slots.json"), ("/props", "props.json")];
    let after = readings(&scrape("llamacpp-0.7.0", &files), None, None);
    // Nine prompts of 34 tokens, whether computed or found in the cache.
    near(value(&after, "hwl_engine_prompt_tokens_total", &[]), 9.0 * 34.0);
    near(value(&after, "hwl_engine_output_tokens_total", &[]), 1616.0);
    insta::assert_snapshot!("llamacpp_0.7.0", lines(&after));
}

#[test]
fn llama_cpp_while_busy_and_after_a_reply() {
    let files = [("/metrics", "metrics.busy.txt"), ("/slots", "slots.busy.json"), ("response", "response.json")];
    let readings = readings(&scrape("llamacpp-0.6.0", &files), None, None);
    near(value(&readings, "hwl_engine_requests_running", &[]), 2.0);
    near(value(&readings, "hwl_engine_requests_waiting", &[]), 4.0);
    near(value(&readings, "hwl_engine_time_to_first_token_seconds", &[("statistic", "mean")]), 0.001_44);
    near(value(&readings, "hwl_engine_prompt_tokens_per_second", &[]), 4_861.111_111_111_111);
}

#[test]
fn llama_cpp_without_metrics_is_known_by_its_properties() {
    let mut scrape = scrape("llamacpp-0.6.0", &[("/props", "props.json"), ("/slots", "slots.busy.json")]);
    let reason = "status 501: This server does not support metrics endpoint. Start it with `--metrics`".to_owned();
    scrape.documents.insert("/metrics".to_owned(), Document { content: Content::Missing(reason), server: None });
    let readings = readings(&scrape, None, None);
    near(value(&readings, "hwl_engine_requests_running", &[]), 2.0);
    assert!(
        lines(&readings).contains("requests_waiting{} unsupported: `/metrics`: status 501"),
        "{}",
        lines(&readings)
    );
}

#[test]
fn tgi_mistral_rs_and_ollama_as_documented() {
    let tgi = scrape("tgi-3", &[("/metrics", "metrics.txt"), ("/info", "info.json")]);
    insta::assert_snapshot!("tgi_3", lines(&readings(&tgi, None, None)));
    let mistral_rs = scrape("mistralrs-0.9", &[("/metrics", "metrics.txt")]);
    insta::assert_snapshot!("mistralrs_0.9", lines(&readings(&mistral_rs, None, None)));
    let files = [("/api/version", "version.json"), ("/api/ps", "ps.json"), ("response", "response.json")];
    let ollama = readings(&scrape("ollama", &files), None, None);
    near(value(&ollama, "hwl_engine_device_memory_bytes", &[("model", "mistral:latest")]), 5_137_025_024.0);
    near(value(&ollama, "hwl_engine_output_tokens_per_second", &[]), 290.0 / 4.709_213);
    near(value(&ollama, "hwl_engine_time_to_first_token_seconds", &[("statistic", "mean")]), 5.025_959 + 0.325_953);
    insta::assert_snapshot!("ollama", lines(&ollama));
}

#[test]
fn mlx_lm_has_nothing_to_tell() {
    let files = [("/v1/models", "v1-models.json"), ("/health", "health.json")];
    let mut scrape = scrape("mlx-lm-0.32.2", &files);
    let document = scrape.documents.get_mut("/v1/models").expect("it is one of the files");
    document.server = Some("BaseHTTP/0.6 Python/3.11.7".to_owned());
    let readings = readings(&scrape, None, None);
    assert!(readings[1..].iter().all(|reading| matches!(reading.outcome, Outcome::Unsupported { .. })));
    assert!(lines(&readings).contains("mlx-lm's server has no metrics"));
    // The same list from another server is of an engine that is not known.
    scrape.documents.get_mut("/v1/models").expect("it is one of the files").server = Some("uvicorn".to_owned());
    assert!(recognise(&scrape).is_none());
}
