//! Many requests at once: each ends once, with the reply that it gets alone, and leaves nothing behind.

use std::collections::HashMap;
use std::time::Duration;

use hwledger_core::ElementType;
use hwledger_engine::sampling::{ResponseFormat, SamplingSettings};
use hwledger_engine::scheduler::{Event, FinishReason, Request, RequestId, Scheduler, SchedulerOptions, SubmitError};
use hwledger_engine::{Engine, EngineOptions, PAGE_TOKENS};

use crate::harness::{best_without_tiles, decoder, file};
use crate::models::{END, Recipe, VOCABULARY};
use crate::noise::Noise;

const CONTEXT: usize = 128;

pub(crate) fn engine(cache_pages: usize, waiting_max: usize) -> Engine {
    let recipe = Recipe { heads: 6, kv_heads: 2, ..Recipe::new("llama") }.with_weights(ElementType::Q8_0);
    let scheduler = SchedulerOptions {
        sequences_max: 5,
        waiting_max,
        chunk_max: 24,
        step_target: Duration::from_millis(1),
        ..SchedulerOptions::default()
    };
    let options = EngineOptions {
        context: Some(CONTEXT),
        threads: 1,
        instructions: Some(best_without_tiles()),
        cache_tokens: Some(cache_pages * PAGE_TOKENS),
        scheduler,
        ..EngineOptions::default()
    };
    Engine::open(vec![file(recipe.bytes())], &options).unwrap()
}

/// A request whose reply is letters, drawn by a seed of its own, with the end mark among them.
fn request(seed: u64, prompt: usize, tokens_max: usize) -> Request {
    let is_wanted = |token: u32| token == END || (u32::from(b'a')..=u32::from(b'z')).contains(&token);
    let unwanted = (0..u32::try_from(VOCABULARY).unwrap()).filter(|&token| !is_wanted(token));
    let bias = unwanted.map(|token| (token, f32::NEG_INFINITY));
    Request {
        prompt: Noise(seed).tokens(prompt, 256),
        tokens_max: Some(tokens_max),
        sampling: SamplingSettings {
            temperature: 5.0,
            seed,
            logit_bias: bias.collect(),
            ..SamplingSettings::default()
        },
        format: ResponseFormat::Text,
        stops: Vec::new(),
        ignores_end: false,
    }
}

/// What became of one request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Reply {
    pub(crate) tokens: Vec<u32>,
    /// The likeliest tokens at each place, where they were asked for.
    pub(crate) top: Vec<Vec<(u32, f32)>>,
    pub(crate) text: String,
    /// How it ended; every time that it did.
    pub(crate) ends: Vec<Result<FinishReason, String>>,
}

#[derive(Default)]
pub(crate) struct Replies(pub(crate) HashMap<RequestId, Reply>);

impl Replies {
    pub(crate) fn take(&mut self, event: Event) {
        let id = match &event {
            Event::Token { request, .. } | Event::Finished { request, .. } | Event::Failed { request, .. } => *request,
        };
        let reply = self.0.entry(id).or_default();
        assert!(reply.ends.is_empty(), "nothing comes after the end of {id}");
        match event {
            Event::Token { choice, text, .. } => {
                reply.tokens.push(choice.token);
                reply.top.push(choice.top);
                reply.text += &text;
            }
            Event::Finished { reason, text, usage, .. } => {
                reply.text += &text;
                assert_eq!(usage.reply_tokens, reply.tokens.len());
                reply.ends.push(Ok(reason));
            }
            Event::Failed { error, .. } => reply.ends.push(Err(error.to_string())),
        }
    }
}

pub(crate) fn alone(request: Request) -> Reply {
    let mut engine = engine(8, 8);
    let id = engine.scheduler.submit(request).unwrap();
    let mut replies = Replies::default();
    engine.scheduler.run(|event| replies.take(event));
    replies.0.remove(&id).unwrap()
}

pub(crate) fn assert_nothing_is_left(engine: &Engine) {
    assert!(engine.scheduler.is_idle());
    let cache = engine.scheduler.decoder().cache();
    assert_eq!((cache.pages_used(), cache.sequences()), (0, 0));
}

#[test]
fn every_request_ends_once_with_the_reply_that_it_gets_alone() {
    // Room for some three of sixteen at a time.
    let mut engine = engine(9, 16);
    let mut requests: Vec<Request> = (0..16_u64)
        .map(|seed| {
            let prompt = [1, 3, 90, 33, 64, 20, 2, 50][usize::try_from(seed % 8).unwrap()];
            request(seed, prompt, 1 + usize::try_from(seed).unwrap() * 2)
        })
        .collect();
    let singles: Vec<Reply> = requests.iter().cloned().map(alone).collect();
    // Some stop where their reply alone has these letters.
    for index in [9, 11, 14] {
        let text = &singles[index].text;
        let middle = text.len() / 2;
        requests[index].stops = vec!["0123".to_owned(), text[middle..text.len().min(middle + 2)].to_owned()];
    }
    let ids: Vec<RequestId> =
        requests.iter().map(|request| engine.scheduler.submit(request.clone()).unwrap()).collect();
    assert!(matches!(engine.scheduler.submit(request(99, 4, 4)), Err(SubmitError::Full { waiting: 16 })));
    let mut replies = Replies::default();
    let cancelled = [(0, 12), (2, 3), (4, 15), (9, 5), (9, 5)];
    let mut steps = 0;
    while !engine.scheduler.is_idle() {
        for (_, index) in cancelled.iter().filter(|(step, _)| *step == steps) {
            engine.scheduler.cancel(ids[*index]);
        }
        engine.scheduler.step().into_iter().for_each(|event| replies.take(event));
        let cache = engine.scheduler.decoder().cache();
        assert!(cache.pages_used() <= 9 && engine.scheduler.running() <= 5);
        steps += 1;
        assert!(steps < 1000, "it comes to an end");
    }
    // Cancelling what is over does nothing.
    engine.scheduler.cancel(ids[0]);
    assert!(engine.scheduler.step().is_empty());
    for (index, (id, single)) in ids.iter().zip(&singles).enumerate() {
        let reply = &replies.0[id];
        assert_eq!(reply.ends.len(), 1, "request {index} ends once");
        if reply.ends == [Ok(FinishReason::Cancelled)] {
            assert!(cancelled.iter().any(|(_, cancelled)| *cancelled == index));
            assert!(single.tokens.starts_with(&reply.tokens) && single.text.starts_with(&reply.text));
        } else if let Some(stop) = requests[index].stops.last() {
            let cut = single.text.find(stop.as_str()).unwrap();
            assert_eq!((reply.text.as_str(), &reply.ends[0]), (&single.text[..cut], &Ok(FinishReason::Stop)));
        } else {
            assert_eq!(reply, single, "request {index}");
        }
    }
    let count = |reason| replies.0.values().filter(|reply| reply.ends == [Ok(reason)]).count();
    assert!(count(FinishReason::Cancelled) >= 2 && count(FinishReason::Stop) >= 3 && count(FinishReason::Length) >= 3);
    assert_nothing_is_left(&engine);
}

#[test]
fn what_can_never_be_answered_is_refused_at_once() {
    let mut engine = engine(2, 4);
    let scheduler = &mut engine.scheduler;
    let mut refuse = |request: Request, words: &str| {
        let error = scheduler.submit(request).unwrap_err();
        assert_eq!(error.to_string(), words);
    };
    refuse(request(1, 0, 4), "the prompt has no tokens");
    refuse(request(1, 128, 4), "a prompt of 128 tokens leaves no room for a reply in a context of 128");
    refuse(request(1, 40, 30), "70 tokens do not fit the cache, which holds 64");
    let unknown = Request { prompt: vec![1, 261], ..request(1, 1, 4) };
    refuse(unknown, "there is no token 261 in a vocabulary of 261");
    let sampling = SamplingSettings { top_p: 0.0, ..SamplingSettings::default() };
    scheduler.submit(Request { sampling, ..request(1, 1, 4) }).unwrap_err();
    assert_nothing_is_left(&engine);
    // One that fits to the last token.
    let id = engine.scheduler.submit(Request { ignores_end: true, ..request(1, 40, 24) }).unwrap();
    let mut replies = Replies::default();
    engine.scheduler.run(|event| replies.take(event));
    assert_eq!((replies.0[&id].tokens.len(), &replies.0[&id].ends[0]), (24, &Ok(FinishReason::Length)));
    assert_nothing_is_left(&engine);
}

#[test]
fn one_bad_stop_ends_its_request_only() {
    let mut engine = engine(8, 8);
    let bad = engine.scheduler.submit(Request { stops: vec![String::new()], ..request(1, 5, 4) }).map_err(drop);
    let good = engine.scheduler.submit(request(2, 5, 4)).unwrap();
    let mut replies = Replies::default();
    engine.scheduler.run(|event| replies.take(event));
    if let Ok(bad) = bad {
        assert!(replies.0[&bad].ends[0].is_err());
    }
    assert_eq!(replies.0[&good], alone(request(2, 5, 4)));
    assert_nothing_is_left(&engine);
}

#[test]
fn a_scheduler_of_nothing_at_a_time_still_ends() {
    let options = SchedulerOptions { sequences_max: 0, chunk_max: 0, ..SchedulerOptions::default() };
    let engine = engine(8, 8);
    let decoder = decoder(engine.scheduler.decoder().model(), best_without_tiles(), 1);
    let mut scheduler = Scheduler::new(decoder, None, options);
    let id = scheduler.submit(request(3, 4, 3)).unwrap();
    let mut replies = Replies::default();
    for _ in 0..20 {
        scheduler.step().into_iter().for_each(|event| replies.take(event));
    }
    assert_eq!(replies.0[&id].ends.len(), 1);
}
