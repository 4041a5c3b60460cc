use hwledger_core::pareto::dominates;

use super::*;
use crate::cost::CostRequest;
use crate::locate::LocateOptions;
use crate::request::{DeviceRequest, PlanRequest};

fn planner() -> Planner {
    Planner::new(LocateOptions { is_offline: true, ..LocateOptions::default() })
}

fn device(name: &str) -> DeviceRequest {
    DeviceRequest { name: name.to_owned(), ..DeviceRequest::default() }
}

fn request() -> SearchRequest {
    SearchRequest {
        models: vec!["llama-3.1-8b".to_owned()],
        users: Some(4),
        prompt: Some(1024),
        generate: Some(256),
        devices: ["RTX 3060", "RTX 3090", "RTX 4090", "H100", "RX 7900 XTX", "Tesla P40"].map(device).to_vec(),
        counts: vec![1, 2],
        ..SearchRequest::default()
    }
}

fn found(request: &SearchRequest) -> ModelFound {
    planner().search(request).expect("the search runs").models.remove(0)
}

/// Every combination is either within the limits or ended for one reason; layouts and offloads are
/// tried beside the one that they start from.
#[test]
fn no_combination_is_lost_without_a_reason() {
    let own = SearchRequest { counts: vec![1], engines: vec!["llama.cpp".to_owned()], ..request() };
    let answer = found(&own);
    let ended: u64 = answer.lost.iter().map(|loss| loss.count).sum();
    assert_eq!(ended + answer.frontier.len() as u64, answer.combinations);
}

#[test]
fn nothing_on_the_frontier_beats_another_there() {
    let own = request();
    let answer = found(&own);
    assert!(answer.frontier.len() > 1);
    let point = |one: &Candidate| {
        [one.purchase_usd.expect("a price"), -one.speed.output_tokens_per_s.expect("a speed").value, -one.bits]
    };
    let least = [hwledger_core::pareto::Direction::Minimise; 3];
    for one in &answer.frontier {
        assert!(!answer.frontier.iter().any(|other| dominates(&point(other), &point(one), &least)));
    }
}

/// The search says of a combination what a plan of it says.
#[test]
fn a_candidate_and_the_plan_of_its_request_agree() {
    let planner = planner();
    let answer = planner.search(&request()).expect("the search runs");
    for one in &answer.models[0].frontier {
        let plan = planner.plan(&one.request).expect("it can be planned");
        assert_eq!(plan.verdict, one.verdict, "{}", one.command);
        let (left, right) = (plan.speed.output_tokens_per_s, one.speed.output_tokens_per_s);
        let ratio = left.expect("a speed").value / right.expect("a speed").value;
        assert!((ratio - 1.0).abs() < 1e-9, "{}: {ratio}", one.command);
    }
}

/// A million tokens cost what the plan says of the requests that they take.
#[test]
fn a_candidate_costs_what_its_plan_costs() {
    let planner = planner();
    let own = SearchRequest { devices: vec![device("RTX 3090"), device("H100")], ..request() };
    let answer = planner.search(&own).expect("the search runs");
    assert!(!answer.models[0].frontier.is_empty());
    for one in &answer.models[0].frontier {
        let asked = PlanRequest { cost: Some(CostRequest::default()), ..one.request.clone() };
        let cost = planner.plan(&asked).expect("it can be planned").cost.expect("it has a cost");
        let each = [cost.own.map(|own| own.work), cost.rent.map(|rent| rent.work)];
        let cheapest = each.iter().flatten().map(|work| work.usd_per_request.value).fold(f64::INFINITY, f64::min);
        let ratio = one.usd_per_million_tokens.expect("a cost") / (cheapest / 256.0 * 1e6);
        assert!((ratio - 1.0).abs() < 1e-6, "{}: {ratio}", one.command);
    }
}

#[test]
fn money_per_token_can_be_what_combinations_compete_in() {
    let own = SearchRequest { objectives: vec![Objective::UsdPerMillionTokens], ..request() };
    let answer = found(&own);
    assert_eq!(answer.frontier.len(), 1, "one is the cheapest");
    let hourly = SearchRequest { hourly_usd: Some(1.0), ..request() };
    let rented = found(&hourly);
    assert!(!rented.frontier.is_empty() && rented.lost.iter().any(|loss| loss.reason == Reason::Rent));
    assert!(rented.frontier.iter().all(|one| one.rent_usd_per_hour.expect("a rent") <= 1.0));
}

#[test]
fn limits_hold_and_say_by_how_much_they_are_missed() {
    let own = SearchRequest { tpot_ms: Some(9.0), budget_usd: Some(2000.0), bits: Some(8.0), ..request() };
    let answer = found(&own);
    for one in &answer.frontier {
        assert!(one.speed.tpot_ms.expect("a speed").value <= 9.0);
        assert!(one.purchase_usd.expect("a price") <= 2000.0 && one.bits >= 8.0);
    }
    let missed = |reason| answer.lost.iter().find(|loss| loss.reason == reason).and_then(|loss| loss.missed_by);
    assert!(missed(Reason::Budget).expect("two of the cards cost more") > 1.0);
    assert!(missed(Reason::Tpot).expect("old cards are slower") > 1.0);
}

#[test]
fn the_bad_end_of_the_interval_is_the_harder_limit() {
    let usual = SearchRequest { tpot_ms: Some(9.0), ..request() };
    let sure = SearchRequest { sure: true, ..usual.clone() };
    assert!(found(&sure).feasible < found(&usual).feasible);
}

#[test]
fn what_does_not_fit_a_card_may_stay_on_the_host() {
    let own = SearchRequest {
        models: vec!["qwen3-30b-a3b".to_owned()],
        users: Some(1),
        devices: vec![device("RTX 3060")],
        engines: vec!["llama.cpp".to_owned()],
        weights: vec!["Q4_K_M".to_owned()],
        counts: vec![1],
        ..request()
    };
    assert_eq!(found(&own).feasible, 0);
    let offloaded = found(&SearchRequest { offload: true, ..own });
    assert!(offloaded.frontier.iter().any(|one| one.request.cpu_moe_layers.is_some()), "experts on the host");
}

#[test]
fn a_rate_that_cannot_be_served_is_an_overload() {
    let own = SearchRequest { users: None, request_rate: Some(1e5), ..request() };
    let answer = found(&own);
    assert_eq!(answer.feasible, 0);
    assert!(answer.lost.iter().any(|loss| loss.reason == Reason::Overload));
}

#[test]
fn values_without_sense_are_refused_by_name() {
    let planner = planner();
    let refused = |own: SearchRequest| planner.search(&own).expect_err("it means nothing").to_string();
    assert!(refused(SearchRequest { tpot_ms: Some(-1.0), ..request() }).contains("tpot_ms"));
    assert!(refused(SearchRequest { users: Some(0), ..request() }).contains("users"));
    assert!(refused(SearchRequest { counts: vec![0], ..request() }).contains("counts"));
    assert!(refused(SearchRequest { weights: vec!["Q99".to_owned()], ..request() }).contains("weights"));
    assert!(refused(SearchRequest { engines: vec!["nobody".to_owned()], ..request() }).contains("engine"));
    assert!(refused(SearchRequest { request_rate: Some(1.0), ..request() }).contains("request_rate"));
    assert!(refused(SearchRequest { models: Vec::new(), ..request() }).contains("model"));
}
