//! The demonstration model end to end: text to tokens to text, against an independent computation in double precision
//! (`bench/demo/check.py`).

use hwledger_engine::graph::{Outputs, Slice};
use hwledger_engine::scheduler::{Event, Request};
use serde_json::Value;

use super::{DEMO, FinishReason, NativeOptions, ReplyRequest, ResponseFormat, SamplingSettings, Session, Usage};
use crate::locate::LocateOptions;
use crate::metrics::{LabelledReading, canonical_metrics};

/// The most that the mean loss of a window may be off: activations are rounded to bytes, products to bfloat16.
const LOSS_TOLERANCE: f64 = 0.01;

fn session() -> Session {
    let options = NativeOptions { threads: Some(1), ..NativeOptions::default() };
    Session::open(DEMO, &LocateOptions::default(), &options).unwrap()
}

fn golden() -> Value {
    serde_json::from_str(include_str!("../../demo/golden.json")).unwrap()
}

fn token(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

fn request(text: &str, is_chat: bool) -> ReplyRequest {
    ReplyRequest {
        messages: vec![("user".to_owned(), text.to_owned())],
        is_raw: !is_chat,
        tokens_max: Some(24),
        sampling: SamplingSettings::default(),
        ..ReplyRequest::default()
    }
}

#[test]
fn greedy_replies_are_those_of_double_precision() {
    let mut session = session();
    for prompt in golden()["prompts"].as_array().unwrap() {
        let text = prompt["text"].as_str().unwrap();
        let request = request(text, prompt["is_chat"].as_bool().unwrap());
        let tokens: Vec<u32> = prompt["tokens"].as_array().unwrap().iter().map(token).collect();
        assert_eq!(session.prompt(&request).unwrap(), tokens, "{text}");
        let expected: Vec<u32> =
            prompt["greedy"].as_array().unwrap().iter().map(|step| token(&step["token"])).collect();
        session
            .engine
            .scheduler
            .submit(Request {
                prompt: tokens,
                tokens_max: Some(expected.len()),
                sampling: request.sampling,
                format: ResponseFormat::Text,
                stops: Vec::new(),
                ignores_end: true,
            })
            .unwrap();
        let mut found = Vec::new();
        session.engine.scheduler.run(|event| {
            if let Event::Token { choice, .. } = event {
                found.push(choice.token);
            }
        });
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn the_loss_of_unseen_prose_is_that_of_double_precision() {
    let mut session = session();
    let golden = golden();
    let held_out = &golden["held_out"];
    let text = held_out["text"].as_str().unwrap();
    let tokens = session.engine.tokenizer.encode_prompt(text, false).unwrap();
    assert_eq!(tokens.len() as u64, held_out["tokens"].as_u64().unwrap());
    let decoder = session.engine.scheduler.decoder_mut();
    let vocabulary = decoder.vocabulary();
    for (window, expected) in tokens.chunks_exact(512).zip(held_out["window_losses"].as_array().unwrap()) {
        // Every window starts as a text does.
        let mut window = window.to_vec();
        window[0] = tokens[0];
        let sequence = decoder.cache_mut().create();
        let logits = decoder.step(&[Slice { sequence, tokens: &window, outputs: Outputs::All }]).unwrap();
        let mut loss = 0.0;
        for (row, &next) in logits.chunks_exact(vocabulary).zip(&window[1..]) {
            let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
            loss += sum.ln() - f64::from(row[next as usize]);
        }
        let (found, expected) = (loss / (window.len() - 1) as f64, expected.as_f64().unwrap());
        assert!((found - expected).abs() < LOSS_TOLERANCE, "{found} for {expected}");
        decoder.cache_mut().remove(sequence);
    }
}

#[test]
fn a_conversation_is_answered() {
    let mut session = session();
    let mut parts = String::new();
    let asked = ReplyRequest { tokens_max: Some(120), ..request("Who are you?", true) };
    let reply = session.reply(&asked, |part| {
        parts += part;
        true
    });
    let reply = reply.unwrap();
    assert!(reply.text.contains("demonstration model of hwledger"), "{}", reply.text);
    assert_eq!((reply.reason, &parts), (FinishReason::Stop, &reply.text));
    // Whoever listens may end the reply.
    let reply = session.reply(&asked, |_| false).unwrap();
    assert_eq!(reply.reason, FinishReason::Cancelled);
    assert_eq!(session.engine.scheduler.decoder().cache().pages_used(), 0);
}

#[test]
fn the_native_engine_tells_every_canonical_metric() {
    let mut session = session();
    let value = |session: &Session, metric: &str| {
        let readings = session.readings();
        let reading = readings.iter().find(|reading| reading.reading.metric == metric);
        reading.expect("every canonical metric has a reading").reading.outcome.value()
    };
    assert_eq!(value(&session, "hwl_engine_time_to_first_token_seconds"), None);
    let replies =
        ["Who are you?", "What is a novel?"].map(|text| session.reply(&request(text, true), |_| true).unwrap());
    let sum = |count: fn(&Usage) -> usize| replies.iter().map(|reply| count(&reply.usage)).sum::<usize>() as f64;
    assert_eq!(value(&session, "hwl_engine_prompt_tokens_total"), Some(sum(|usage| usage.prompt_tokens)));
    assert_eq!(value(&session, "hwl_engine_output_tokens_total"), Some(sum(|usage| usage.reply_tokens)));
    assert_eq!(value(&session, "hwl_engine_requests_total"), Some(2.0));
    assert_eq!(value(&session, "hwl_engine_weights_bytes"), Some(session.memory().weights as f64));
    assert_eq!(value(&session, "hwl_engine_kv_pool_bytes"), Some(session.memory().cache as f64));
    assert_eq!(value(&session, "hwl_engine_activation_peak_bytes"), Some(session.memory().activations as f64));
    assert_eq!(value(&session, "hwl_engine_kv_used_ratio"), Some(0.0));
    let untold: Vec<&str> = canonical_metrics()
        .iter()
        .map(|metric| metric.name)
        .filter(|metric| value(&session, metric).is_none())
        .collect();
    assert_eq!(
        untold,
        [
            "hwl_engine_device_memory_bytes",
            "hwl_engine_cached_prompt_tokens_total",
            "hwl_engine_prefix_cache_hit_ratio",
            "hwl_engine_draft_tokens_total",
            "hwl_engine_draft_acceptance_ratio",
            "hwl_engine_prompt_tokens_per_second",
            "hwl_engine_output_tokens_per_second",
        ]
    );
    // Quantiles of two: the median is the shorter, and no longer than the mean.
    let readings = session.readings();
    let first_token = |label: &str, value: &str| {
        let is_wanted = |reading: &&LabelledReading| {
            reading.reading.metric == "hwl_engine_time_to_first_token_seconds"
                && reading.reading.labels.contains(&(label.to_owned(), value.to_owned()))
        };
        readings.iter().find(is_wanted).unwrap().reading.outcome.value().unwrap()
    };
    assert!(first_token("quantile", "0.5") <= first_token("statistic", "mean"));
    assert!(first_token("statistic", "mean") <= first_token("quantile", "0.99"));
}
