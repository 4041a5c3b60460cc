//! Replies that must follow a schema or a grammar, beside others that need not.

use hwledger_engine::sampling::{ResponseFormat, SamplingError, SamplingSettings};
use hwledger_engine::scheduler::{FinishReason, Request, SubmitError};
use serde_json::Value;

use crate::models::VOCABULARY;
use crate::noise::Noise;
use crate::scheduling::{Replies, Reply, alone, assert_nothing_is_left, engine};

const SCHEMA: &str = r#"{"type": "object", "properties": {"size": {"type": "integer", "minimum": -5, "maximum": 90},
    "name": {"type": "string", "pattern": "^[a-z]{2,6}$"}, "tags": {"type": "array", "items": {"enum": ["x", "yy"]},
    "maxItems": 3}}, "required": ["size", "name", "tags"], "additionalProperties": false,
    "x-guidance": {"whitespace_flexible": false}}"#;

const GRAMMAR: &str = r#"start: "yes" | "no" ", " WORD
WORD: /[a-z]{1,4}/"#;

fn request(seed: u64, format: ResponseFormat) -> Request {
    Request {
        prompt: Noise(seed).tokens(3 + usize::try_from(seed % 40).unwrap(), 256),
        tokens_max: Some(if format == ResponseFormat::Text { 40 } else { 110 }),
        sampling: SamplingSettings { temperature: 1.0, seed, logprobs: Some(2), ..SamplingSettings::default() },
        format,
        stops: Vec::new(),
        ignores_end: seed.is_multiple_of(3),
    }
}

/// Whether a text is what was asked for.
fn follows(text: &str, format: &ResponseFormat) -> bool {
    match format {
        ResponseFormat::JsonSchema(_) => {
            let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let name = value["name"].as_str().unwrap();
            (-5..=90).contains(&value["size"].as_i64().unwrap())
                && (2..=6).contains(&name.len())
                && name.bytes().all(|letter| letter.is_ascii_lowercase())
                && value["tags"].as_array().unwrap().iter().all(|tag| tag == "x" || tag == "yy")
                && value["tags"].as_array().unwrap().len() <= 3
                && value.as_object().unwrap().len() == 3
        }
        ResponseFormat::Regex(_) => text.len() == 6 && &text[3..4] == "-" && text[4..].parse::<u8>().is_ok(),
        ResponseFormat::Grammar(_) => {
            let word = text.strip_prefix("no, ");
            text == "yes" || word.is_some_and(|word| (1..=4).contains(&word.len()))
        }
        ResponseFormat::Text | ResponseFormat::JsonObject => true,
    }
}

#[test]
fn constrained_replies_follow_beside_free_ones_and_change_none() {
    let formats = [
        ResponseFormat::JsonSchema(SCHEMA.to_owned()),
        ResponseFormat::Text,
        ResponseFormat::Regex("[ab]{3}-[0-9]{2}".to_owned()),
        ResponseFormat::Grammar(GRAMMAR.to_owned()),
    ];
    let requests: Vec<Request> =
        (0..16_u64).map(|seed| request(seed, formats[usize::try_from(seed % 4).unwrap()].clone())).collect();
    let mut engine = engine(16, 16);
    let ids: Vec<_> = requests.iter().map(|request| engine.scheduler.submit(request.clone()).unwrap()).collect();
    let mut replies = Replies::default();
    engine.scheduler.run(|event| replies.take(event));
    for (request, id) in requests.iter().zip(ids) {
        let reply = &replies.0[&id];
        assert_eq!(reply, &alone(request.clone()), "{:?}", request.format);
        assert!(follows(&reply.text, &request.format), "{}", reply.text);
        if request.format != ResponseFormat::Text {
            assert_eq!(reply.ends, [Ok(FinishReason::Stop)], "{}", reply.text);
        }
    }
    assert_nothing_is_left(&engine);
}

#[test]
fn probabilities_are_those_before_the_constraint() {
    let free = alone(request(5, ResponseFormat::Text));
    let bound = alone(request(5, ResponseFormat::Regex("z{3}".to_owned())));
    assert_eq!(bound.text, "zzz");
    assert_eq!(free.top[0], bound.top[0]);
    assert!(bound.top[0].iter().all(|&(token, _)| token != bound.tokens[0]), "an unlikely letter was asked for");
}

#[test]
fn what_cannot_be_followed_ends_its_own_request() {
    let mut engine = engine(16, 16);
    let mut refuse = |format, words: &str| {
        let error = engine.scheduler.submit(request(1, format)).unwrap_err();
        assert!(matches!(error, SubmitError::Constraint(_)));
        assert_eq!(error.to_string(), words);
    };
    refuse(
        ResponseFormat::JsonSchema("{\"type\": 3".to_owned()),
        "the text is no JSON schema: EOF while parsing an object at line 1 column 10",
    );
    refuse(
        ResponseFormat::JsonSchema(r#"{"type": "thing"}"#.to_owned()),
        "the grammar cannot be used: Invalid type: thing",
    );
    refuse(
        ResponseFormat::Grammar("start: other".to_owned()),
        "the grammar cannot be used: at 1(8): unknown name: \"other\"",
    );
    // All letters that the pattern allows are forbidden.
    let mut bad = request(2, ResponseFormat::Regex("[ab]+".to_owned()));
    let all = (0..u32::try_from(VOCABULARY).unwrap()).filter(|&token| token != 0);
    bad.sampling.logit_bias = all.map(|token| (token, f32::NEG_INFINITY)).collect();
    let bad = engine.scheduler.submit(bad).unwrap();
    let good = engine.scheduler.submit(request(3, ResponseFormat::Grammar(GRAMMAR.to_owned()))).unwrap();
    let mut replies = Replies::default();
    engine.scheduler.run(|event| replies.take(event));
    assert_eq!(replies.0[&bad].ends, [Err(SamplingError::NoToken.to_string())]);
    let single: Reply = alone(request(3, ResponseFormat::Grammar(GRAMMAR.to_owned())));
    assert_eq!(replies.0[&good], single);
    assert_nothing_is_left(&engine);
}

/// An engine may be moved to the thread that runs it.
#[test]
fn engines_can_be_sent_to_another_thread() {
    const fn is_send<T: Send>(_: &T) {}
    is_send(&engine(2, 2));
}
