//! Rules of the reader, on scrapes of a few lines.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    Content, Document, Engine, Exposition, GAP_MAX_S, Mapping, Reader, Scrape, Version, canonical_metrics, engines,
    recognise,
};
use crate::{Outcome, Reading};

fn scrape(text: &str, at_s: f64) -> Scrape {
    let content = Content::Metrics(Exposition::parse(text.as_bytes()).unwrap());
    let documents = BTreeMap::from([("/metrics".to_owned(), Document { content, server: None })]);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a test")]
    let monotonic_ns = (at_s * 1e9) as u64;
    Scrape { address: "here".to_owned(), taken_at_ns: 7, monotonic_ns, documents }
}

fn vllm(version: &str) -> Engine {
    Engine { name: "vllm".to_owned(), version: Version::parse(version) }
}

fn find<'a>(readings: &'a [Reading], metric: &str) -> &'a Reading {
    readings.iter().find(|reading| reading.metric == metric).unwrap()
}

/// The rate of generated tokens between two scrapes.
fn rate(before: &str, after: &str, seconds: f64) -> Result<f64, String> {
    let (mapping, engine) = (Mapping::built_in(), vllm("0.11"));
    let (before, after) = (scrape(before, 1.0), scrape(after, 1.0 + seconds));
    let readings = Reader::new(&mapping, &engine, &after).since(&before, GAP_MAX_S).readings();
    match &find(&readings, "hwl_engine_output_tokens_per_second").outcome {
        Outcome::Derived { value } => Ok(*value),
        Outcome::Unsupported { reason } => Err(reason.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn rates_survive_restarts_and_say_nothing_after_a_gap() {
    let tokens = |engine: u32, count: u32| format!("vllm:generation_tokens_total{{engine=\"{engine}\"}} {count}\n");
    let near = |found: Result<f64, String>, expected: f64| {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-9, "{found} != {expected}");
    };
    near(rate(&tokens(0, 100), &tokens(0, 300), 2.0), 100.0);
    near(rate(&tokens(0, 300), &tokens(0, 50), 2.0), 25.0);
    // One instance began anew while the other went on.
    near(rate(&(tokens(0, 300) + &tokens(1, 10)), &(tokens(0, 50) + &tokens(1, 30)), 2.0), 35.0);
    // The new process has counted further than the old one had: only its start tells.
    let started = |second: u32| format!("process_start_time_seconds {second}\n");
    near(rate(&(tokens(0, 100) + &started(5)), &(tokens(0, 300) + &started(9)), 2.0), 150.0);
    near(rate(&(tokens(0, 100) + &started(5)), &(tokens(0, 300) + &started(5)), 2.0), 100.0);
    let gap = rate(&tokens(0, 100), &tokens(0, 300), 10.5).unwrap_err();
    assert_eq!(gap, "10.5 s passed since the scrape before, more than 10.0 s");
    assert!(rate(&tokens(0, 100), &tokens(0, 300), 0.0).unwrap_err().contains("no time passed"));
    assert!(rate(&tokens(0, 1), "vllm:generation_tokens_total -5", 1.0).unwrap_err().contains("is no count"));
    assert!(rate("a 1", &tokens(0, 300), 1.0).unwrap_err().contains("is not in `/metrics`"));
}

#[test]
fn nothing_that_is_missing_is_zero() {
    let (mapping, engine, empty) = (Mapping::built_in(), vllm("0.11"), scrape("up 1\n", 1.0));
    let readings = Reader::new(&mapping, &engine, &empty).readings();
    assert_eq!(readings.len(), canonical_metrics().len() + 1);
    assert!(readings[1..].iter().all(|reading| matches!(reading.outcome, Outcome::Unsupported { .. })));
    let waiting = scrape("vllm:num_requests_waiting 0\nvllm:num_requests_running NaN\n", 1.0);
    let readings = Reader::new(&mapping, &engine, &waiting).readings();
    assert_eq!(find(&readings, "hwl_engine_requests_waiting").outcome, Outcome::Measured { value: 0.0 });
    let reason = "`vllm:num_requests_running` is no finite number".to_owned();
    assert_eq!(find(&readings, "hwl_engine_requests_running").outcome, Outcome::Unsupported { reason });
}

#[test]
fn versions_choose_rows() {
    let mapping = Mapping::built_in();
    let both = scrape("vllm:kv_cache_usage_perc 0.5\nvllm:gpu_cache_usage_perc 0.25\n", 1.0);
    let used = |version: &str| {
        let engine = vllm(version);
        let readings = Reader::new(&mapping, &engine, &both).readings();
        find(&readings, "hwl_engine_kv_used_ratio").outcome.value()
    };
    assert_eq!((used("0.8.5"), used("0.9"), used("unknown")), (Some(0.25), Some(0.5), Some(0.5)));
}

#[test]
fn a_histogram_tells_the_bounds_of_its_quantiles_also_past_the_last() {
    let text = "vllm:time_to_first_token_seconds_bucket{le=\"1.0\"} 1\nvllm:time_to_first_token_seconds_bucket{le=\"+Inf\"} 4\nvllm:time_to_first_token_seconds_sum 9\n";
    let (mapping, engine, scrape) = (Mapping::built_in(), vllm("0.11"), scrape(text, 1.0));
    let readings = Reader::new(&mapping, &engine, &scrape).readings();
    let of = |metric: &str, bound: Option<&str>| {
        let is_median = |reading: &&Reading| {
            reading.metric == metric
                && reading.labels.contains(&("quantile".to_owned(), "0.5".to_owned()))
                && bound.is_none_or(|bound| reading.labels.contains(&("bound".to_owned(), bound.to_owned())))
        };
        readings.iter().find(is_median).unwrap().outcome.value()
    };
    assert_eq!(of("hwl_engine_time_to_first_token_seconds", None), None);
    assert_eq!(of("hwl_engine_time_to_first_token_seconds_bound", Some("low")), Some(1.0));
    assert_eq!(of("hwl_engine_time_to_first_token_seconds_bound", Some("high")), None);
}

#[test]
fn requests_that_were_given_up_are_not_answered() {
    let counts = |reasons: &[(&str, u32)]| {
        let line = |(reason, count): &(&str, u32)| {
            format!("vllm:request_success_total{{finished_reason=\"{reason}\"}} {count}")
        };
        reasons.iter().map(line).collect::<Vec<_>>().join("\n") + "\n"
    };
    let answered = |text: &str, version: &str| {
        let (mapping, engine, scraped) = (Mapping::built_in(), vllm(version), scrape(text, 1.0));
        let readings = Reader::new(&mapping, &engine, &scraped).readings();
        find(&readings, "hwl_engine_requests_total").outcome.value()
    };
    let all = [("stop", 3), ("length", 2), ("abort", 40), ("error", 5), ("repetition", 1)];
    assert_eq!(answered(&counts(&all), "0.32.0"), Some(6.0));
    // A version that counts a reason only once it came up: nobody knows which there will be.
    assert_eq!(answered(&counts(&all[..3]), "0.6.6"), Some(45.0));
}

#[test]
fn a_label_that_is_picked_as_empty_may_be_missing() {
    let running = |text: &str| {
        let engine = Engine { name: "sglang".to_owned(), version: None };
        let (mapping, scraped) = (Mapping::built_in(), scrape(text, 1.0));
        let readings = Reader::new(&mapping, &engine, &scraped).readings();
        find(&readings, "hwl_engine_requests_running").outcome.value()
    };
    assert_eq!(running("sglang:num_running_reqs 4\n"), Some(4.0));
    // The total, and then how many there are of each priority.
    let parts = "sglang:num_running_reqs{priority=\"0\"} 3\nsglang:num_running_reqs{priority=\"5\"} 1\n";
    assert_eq!(running(&format!("sglang:num_running_reqs{{priority=\"\"}} 4\n{parts}")), Some(4.0));
    assert_eq!(running(parts), None);
}

#[test]
fn rows_of_a_user_come_first_and_are_checked() {
    let head = "metric\tengine\tversions\tkind\tcombine\tsource\n";
    let mine = "hwl_engine_requests_running\tvllm\t*\tgauge\tmax\tmine{kind=hot}@level * 2\n";
    let mapping = Mapping::built_in().with(&format!("# mine\n\n{head}{mine}")).unwrap();
    let text = "mine{kind=\"hot\",level=\"3\"} 1\nmine{kind=\"cold\",level=\"9\"} 1\nvllm:num_requests_running 8\n";
    let (engine, scraped) = (vllm("0.11"), scrape(text, 1.0));
    let readings = Reader::new(&mapping, &engine, &scraped).readings();
    assert_eq!(find(&readings, "hwl_engine_requests_running").outcome, Outcome::Derived { value: 6.0 });
    // Where theirs is not there, the built-in one still is.
    let plain = scrape("vllm:num_requests_running 8\n", 1.0);
    let readings = Reader::new(&mapping, &engine, &plain).readings();
    assert_eq!(find(&readings, "hwl_engine_requests_running").outcome, Outcome::Measured { value: 8.0 });

    let fault = |row: &str| Mapping::built_in().with(&format!("{head}{row}")).unwrap_err().to_string();
    assert_eq!(fault("a\tb"), "line 2, column `metric`: 2 columns separated by tabulators; there should be 6");
    assert!(fault("x\tvllm\t*\tgauge\tsum\ta").starts_with("line 2, column `metric`: `x` is no canonical metric"));
    assert!(fault("hwl_engine_weights_bytes\tx\t*\tgauge\tsum\ta").contains("column `engine`: `x` is no engine"));
    assert!(fault("hwl_engine_weights_bytes\tvllm\t9\tgauge\tsum\ta").contains("column `versions`"));
    assert!(fault("hwl_engine_weights_bytes\tvllm\t*\tx\tsum\ta").contains("column `kind`"));
    assert!(fault("hwl_engine_weights_bytes\tvllm\t*\tgauge\tx\ta").contains("column `combine`"));
    for source in ["", "a b", "5", "a / b / c", "a#b", "x#/y", "a{b}", "a{b=c", "a@", "1e999 * a"] {
        let row = format!("hwl_engine_weights_bytes\tvllm\t*\tgauge\tsum\t{source}");
        assert!(fault(&row).contains("column `source`"), "{source}: {}", fault(&row));
    }
    assert!(fault("hwl_engine_weights_bytes\tvllm\t*\tcounter\tsum\ta").contains("is no counter"));
    assert!(fault("hwl_engine_request_seconds\tvllm\t*\thistogram\tsum\ta * 2").contains("one name"));
    assert!(fault("hwl_engine_request_seconds\tvllm\t*\thistogram\tmax\ta").contains("are summed"));
    assert!(fault("hwl_engine_draft_acceptance_ratio\tvllm\t*\tratio\tsum\ta").contains("needs ` / `"));
    assert!(Mapping::built_in().with(&"#".repeat(2 << 20)).is_err());
    assert!(Mapping::built_in().with("a\tb\tc\td\te\tf\n").unwrap_err().what.contains("first row"));
}

#[test]
fn tables_are_whole() {
    let lines = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count() - 1;
    assert_eq!(canonical_metrics().len(), lines(include_str!("canonical.tsv")));
    assert_eq!(engines().len(), lines(include_str!("engines.tsv")));
    let mapping = Mapping::built_in();
    assert_eq!(mapping.describe().count(), lines(include_str!("metrics.tsv")));
    for metric in canonical_metrics() {
        let units = ["_bytes", "_seconds", "_ratio", "_tokens", "_total", "_second", "_running", "_waiting"];
        assert!(units.iter().any(|unit| metric.name.ends_with(unit)), "{} does not end in its unit", metric.name);
    }
    for engine in engines() {
        assert!(mapping.describe().any(|(_, name, _, _)| name == engine.name), "{} has no row", engine.name);
        let read = mapping.documents(engine.name);
        let asked: Vec<&str> = engine.documents.iter().flatten().copied().collect();
        assert!(read.iter().all(|path| asked.contains(path)), "{}: {read:?}", engine.name);
    }
}

#[test]
fn engines_are_recognised_by_metrics_before_documents() {
    assert_eq!(recognise(&scrape("tgi_queue_size 0\n", 1.0)).map(|row| row.name), Some("tgi"));
    assert!(recognise(&scrape("process_start_time_seconds 1\n", 1.0)).is_none());
    let mut both = scrape("vllm:num_requests_running 0\n", 1.0);
    let version = Document { content: Content::Json(json!({"version": "0.9.2"})), server: None };
    both.documents.insert("/version".to_owned(), version.clone());
    let row = recognise(&both).unwrap();
    assert_eq!(row.name, "vllm");
    assert_eq!(row.with_version(&both).version.unwrap().to_string(), "0.9.2");
    let ollama = Scrape { documents: BTreeMap::from([("/api/version".to_owned(), version)]), ..Scrape::default() };
    assert_eq!(recognise(&ollama).map(|row| row.name), Some("ollama"));
}

#[test]
fn our_own_names_pass_through() {
    let text = "hwl_engine_weights_bytes{model=\"m\"} 5\nhwl_engine_time_to_first_token_seconds{quantile=\"0.5\"} 2\nhwl_engine_time_to_first_token_seconds_bound{quantile=\"0.5\",bound=\"low\"} 1\nhwl_engine_time_to_first_token_seconds_count 4\n";
    let scrape = scrape(text, 1.0);
    let row = recognise(&scrape).unwrap();
    let (mapping, engine) = (Mapping::built_in(), row.with_version(&scrape));
    let readings = Reader::new(&mapping, &engine, &scrape).readings();
    assert_eq!(find(&readings, "hwl_engine_weights_bytes").outcome, Outcome::Measured { value: 5.0 });
    assert_eq!(find(&readings, "hwl_engine_weights_bytes").labels, [("model".to_owned(), "m".to_owned())]);
    let quantile = find(&readings, "hwl_engine_time_to_first_token_seconds");
    assert_eq!(quantile.labels, [("quantile".to_owned(), "0.5".to_owned())]);
    let value = |metric: &str| find(&readings, metric).outcome.value();
    assert_eq!(value("hwl_engine_time_to_first_token_seconds_bound"), Some(1.0));
    assert_eq!(value("hwl_engine_time_to_first_token_seconds_count"), Some(4.0));
}
