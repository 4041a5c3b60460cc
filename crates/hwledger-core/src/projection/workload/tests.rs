use crate::lora::{Adapters, Targets};
use crate::model::fixture::llama_8b;
use crate::projection::{Efficiencies, Projection, Speed};
use crate::settings::{Draft, Engine, Settings};
use crate::{Assumptions, ModelSpec, device};

fn settings() -> Settings {
    let card = device::find("H100", None).expect("the catalogue knows it").device;
    Settings {
        weights: Some("BF16".to_owned()),
        prompt: Some(1000),
        generate: Some(200),
        devices: vec![card],
        ..Settings::default()
    }
}

fn speed_with(settings: &Settings, draft: Option<&ModelSpec>) -> Result<Speed, String> {
    let efficiencies = Efficiencies::embedded();
    let model = llama_8b();
    Projection::resolve(Engine::Vllm, &model, draft, settings, None, efficiencies, &mut Assumptions::default())
        .map(|projection| projection.speed(efficiencies))
        .map_err(|gap| gap.to_string())
}

fn speed(settings: &Settings) -> Speed {
    speed_with(settings, None).expect("everything is known")
}

/// Time per token, time to the first, requests per second.
fn figures(speed: &Speed) -> [f64; 3] {
    [speed.tpot_ms, speed.ttft_ms, speed.requests_per_s].map(|figure| figure.expect("it is known").value)
}

#[test]
fn a_few_requests_per_second_are_served_as_if_alone() {
    let alone = figures(&speed(&settings()));
    let slow = figures(&speed(&Settings { request_rate: Some(0.01), ..settings() }));
    assert!((slow[0] / alone[0] - 1.0).abs() < 0.01, "{slow:?} is not {alone:?}");
    assert!((slow[1] / alone[1] - 1.0).abs() < 0.05, "{slow:?} is not {alone:?}");
    assert!((slow[2] - 0.01).abs() < 1e-12);
}

#[test]
fn times_grow_with_the_rate_until_the_queue_has_no_end() {
    let mut before = [0.0; 2];
    for rate in [0.1, 1.0, 4.0, 8.0, 12.0] {
        let [token, first, served] = figures(&speed(&Settings { request_rate: Some(rate), ..settings() }));
        assert!(token > before[0] && first > before[1], "at {rate} per second");
        assert!((served - rate).abs() < 1e-9);
        before = [token, first];
    }
    let refused = speed_with(&Settings { request_rate: Some(1e4), ..settings() }, None).expect_err("too much");
    assert!(refused.contains("grows without end"), "{refused}");
}

#[test]
fn a_rate_and_the_concurrency_that_it_comes_to_agree_on_the_time_per_token() {
    let efficiencies = Efficiencies::embedded();
    let asked = Settings { request_rate: Some(8.0), ..settings() };
    let model = llama_8b();
    let open = Projection::resolve(Engine::Vllm, &model, None, &asked, None, efficiencies, &mut Assumptions::default())
        .expect("everything is known");
    // Little's law: what is in flight is the rate times the time.
    assert!((open.concurrency / (8.0 * open.whole.seconds(efficiencies)) - 1.0).abs() < 1e-9);
    let users = (1..1000).find(|&users| users as f64 >= open.concurrency).expect("it is no large number");
    let closed = speed(&Settings { concurrency: Some(users), ..settings() });
    let ratio = figures(&closed)[0] / (open.per_token.seconds(efficiencies) * 1e3);
    assert!((ratio - 1.0).abs() < 0.1, "{ratio}");
}

#[test]
fn requests_beyond_the_slots_wait() {
    let free = figures(&speed(&Settings { concurrency: Some(32), ..settings() }));
    let slots = figures(&speed(&Settings { concurrency: Some(32), sequences: Some(8), ..settings() }));
    assert!(slots[0] < free[0], "fewer run at once: {slots:?} {free:?}");
    assert!(slots[1] > 2.0 * free[1], "the others wait: {slots:?} {free:?}");
}

#[test]
fn a_prompt_found_in_the_cache_is_not_computed_again() {
    let cold = figures(&speed(&settings()));
    let warm = figures(&speed(&Settings { prefix_hit_rate: Some(0.9), ..settings() }));
    assert!(warm[1] < cold[1]);
    assert!((warm[0] / cold[0] - 1.0).abs() < 1e-9, "a generated token reads the same cache");
    let whole = speed(&Settings { prefix_hit_rate: Some(1.0), ..settings() });
    assert!(figures(&whole)[1] > 0.0, "the last token is computed always");
}

/// The same model with an eighth of the layers.
fn drafter() -> ModelSpec {
    let mut draft = llama_8b();
    let last = draft.decoder.order.len() / 8;
    draft.decoder.order.truncate(last);
    draft
}

fn drafting(acceptance: f64) -> Settings {
    Settings { draft: Some(Draft { weights: None, tokens: 4, acceptance: Some(acceptance) }), ..settings() }
}

#[test]
fn a_draft_pays_where_it_is_right_and_costs_where_it_is_wrong() {
    let draft = drafter();
    let alone = figures(&speed(&settings()))[0];
    let at = |acceptance| figures(&speed_with(&drafting(acceptance), Some(&draft)).expect("everything is known"))[0];
    assert!(at(0.9) < alone, "{} is not below {alone}", at(0.9));
    assert!(at(0.0) > alone, "{} is not above {alone}", at(0.0));
    // Five tokens of each round against one: the same round.
    assert!((at(0.0) / at(1.0) - 5.0).abs() < 1e-9);
}

#[test]
fn an_assumed_acceptance_widens_the_interval() {
    let draft = drafter();
    let mut assumptions = Assumptions::default();
    let asked = Settings { draft: Some(Draft { weights: None, tokens: 4, acceptance: None }), ..settings() };
    let efficiencies = Efficiencies::embedded();
    let model = llama_8b();
    let guessed = Projection::resolve(Engine::Vllm, &model, Some(&draft), &asked, None, efficiencies, &mut assumptions)
        .expect("everything is known")
        .speed(efficiencies);
    let given = speed_with(&drafting(0.7), Some(&draft)).expect("everything is known");
    let width = |speed: &Speed| speed.tpot_ms.map(|time| time.high / time.low).expect("it is known");
    assert!(width(&guessed) > width(&given));
    assert!(assumptions.0.iter().any(|assumption| assumption.what == "draft.acceptance"));
}

#[test]
fn adapters_cost_their_reads_and_their_kernels() {
    let with = |count| {
        let adapters = Some(Adapters { rank: 64, count, targets: Targets::AllLinear });
        figures(&speed(&Settings { adapters, concurrency: Some(16), ..settings() }))[0]
    };
    let none = figures(&speed(&Settings { concurrency: Some(16), ..settings() }))[0];
    assert!(none < with(1) && with(1) < with(8), "{none} {} {}", with(1), with(8));
    assert!((with(16) / with(64) - 1.0).abs() < 1e-9, "sixteen sequences use at most sixteen");
}
