//! Keeps the engine busy and holds every reply against the single run of its request.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hwledger_engine::scheduler::{Event, FinishReason, RequestId, Scheduler, SubmitError};

use crate::WAITING_MAX;
use crate::cases::{Cancellation, Case, Mix, Reply};
use crate::options::{Fault, Options};
use crate::record::Record;

/// Requests that wait while there is neither a burst nor a lull: enough that a free place is taken at once.
const WAITING: usize = 4;
/// Steps between faults.
const FAULT_STEPS: u64 = 500;

/// A request under way.
struct Flight {
    case: Rc<Case>,
    cancellation: Cancellation,
    found: Reply,
    submitted_step: u64,
    heard_step: u64,
    heard: Instant,
    is_stuck: bool,
}

/// The engine and the requests under way.
pub(crate) struct Driver {
    scheduler: Scheduler,
    flights: HashMap<RequestId, Flight>,
    steps: u64,
    /// Steps in which nothing is asked.
    lull: usize,
    /// The most steps that a request may wait for its first token, all requests before it being as long as can be.
    steps_max: u64,
    wait_limit: Duration,
    fault: Option<Fault>,
    kept: Vec<Vec<u8>>,
}

impl Driver {
    pub(crate) fn new(scheduler: Scheduler, options: &Options, context: usize) -> Self {
        let before = WAITING_MAX + options.sequences;
        Self {
            scheduler,
            flights: HashMap::new(),
            steps: 0,
            lull: 0,
            steps_max: (before * 2 * context) as u64,
            wait_limit: options.wait_limit,
            fault: options.fault,
            kept: Vec::new(),
        }
    }

    pub(crate) const fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Asks for more: mostly as much as keeps the engine full, sometimes more than may wait, sometimes nothing.
    pub(crate) fn submit(&mut self, cases: &[Rc<Case>], mix: &mut Mix, record: &mut Record) {
        if self.lull > 0 {
            self.lull -= 1;
            return;
        }
        if mix.once_in(3000) {
            self.lull = 400;
            record.count("lulls", 1);
        }
        if mix.once_in(20) {
            let (request, name, is_expected) = mix.wrong();
            match self.scheduler.submit(request) {
                Err(error) if is_expected(&error) => record.count(name, 1),
                other => record.violation(&format!("{name} was expected, found {other:?}")),
            }
        }
        let wanted = if mix.once_in(400) { WAITING_MAX + 4 } else { WAITING };
        for _ in self.scheduler.waiting()..wanted {
            let case = Rc::clone(&cases[mix.below(cases.len())]);
            let is_full = self.scheduler.waiting() >= WAITING_MAX;
            match self.scheduler.submit(case.request.clone()) {
                Ok(id) if !is_full => self.fly(id, case, mix.cancellation(), record),
                Err(SubmitError::Full { .. }) if is_full => record.count("refused_full", 1),
                other => record.violation(&format!("a good request: {other:?}, {is_full}")),
            }
        }
    }

    fn fly(&mut self, id: RequestId, case: Rc<Case>, cancellation: Cancellation, record: &mut Record) {
        record.count("submitted", 1);
        if cancellation == Cancellation::AtOnce {
            self.scheduler.cancel(id);
        }
        let (submitted_step, found) = (self.steps, Reply::default());
        let (heard_step, heard) = (self.steps, Instant::now());
        let flight = Flight { case, cancellation, found, submitted_step, heard_step, heard, is_stuck: false };
        self.flights.insert(id, flight);
    }

    /// One step of the engine, and what it told.
    pub(crate) fn step(&mut self, record: &mut Record) {
        let start = Instant::now();
        let events = self.scheduler.step();
        let took = start.elapsed();
        let ended = events.iter().filter(|event| !matches!(event, Event::Token { .. })).count();
        record.step(took, ended, &self.scheduler);
        self.steps += 1;
        for event in events {
            self.take(event, record);
        }
        self.look_after(record);
        if self.fault.is_some() && self.steps.is_multiple_of(FAULT_STEPS) {
            self.break_something();
        }
    }

    /// Steps until nothing is left, or until that takes longer than it may.
    pub(crate) fn drain(&mut self, record: &mut Record) {
        let mut steps = 0;
        while !self.scheduler.is_idle() && steps < self.steps_max {
            self.step(record);
            steps += 1;
        }
        if !self.scheduler.is_idle() {
            record.violation("the engine does not come to an end");
        }
        for flight in self.flights.values() {
            record.violation(&format!("a request never ended, after {} tokens", flight.found.choices.len()));
        }
    }

    fn take(&mut self, event: Event, record: &mut Record) {
        let (id, is_end) = match &event {
            Event::Token { request, .. } => (*request, false),
            Event::Finished { request, .. } | Event::Failed { request, .. } => (*request, true),
        };
        let Some(flight) = self.flights.get_mut(&id) else {
            record.violation(&format!("request {id} was told of after its end"));
            return;
        };
        if self.fault == Some(Fault::Stall) && is_end && self.steps.is_multiple_of(FAULT_STEPS) {
            return;
        }
        record.heard(self.steps - flight.heard_step, flight.heard.elapsed(), flight.found.choices.is_empty());
        (flight.heard_step, flight.heard) = (self.steps, Instant::now());
        if let Event::Finished { usage, .. } = &event {
            record.count("prompt_tokens", usage.prompt_tokens as u64);
            record.count("reply_tokens", usage.reply_tokens as u64);
        }
        flight.found.take(event);
        if !is_end {
            if flight.cancellation == Cancellation::AtToken(flight.found.choices.len()) {
                self.scheduler.cancel(id);
            }
            return;
        }
        let Some(mut flight) = self.flights.remove(&id) else { return };
        if self.fault == Some(Fault::Tokens)
            && self.steps.is_multiple_of(FAULT_STEPS)
            && let Some(choice) = flight.found.choices.last_mut()
        {
            choice.token ^= 1;
        }
        judge(&flight, record);
    }

    /// Cancels what is due, and sees to it that each request hears something in time.
    fn look_after(&mut self, record: &mut Record) {
        for (&id, flight) in &mut self.flights {
            if flight.cancellation == Cancellation::AfterSteps(self.steps - flight.submitted_step) {
                self.scheduler.cancel(id);
            }
            let silent = self.steps - flight.heard_step;
            // Every step brings a token to each reply that has its first.
            let steps_max = if flight.found.choices.is_empty() { self.steps_max } else { 0 };
            if !flight.is_stuck && (silent > steps_max || flight.heard.elapsed() > self.wait_limit) {
                flight.is_stuck = true;
                record.count("stuck", 1);
                let tokens = flight.found.choices.len();
                record.violation(&format!("request {id} with {tokens} tokens heard nothing for {silent} steps"));
            }
        }
    }

    fn break_something(&mut self) {
        match self.fault {
            Some(Fault::Pages) => {
                let cache = self.scheduler.decoder_mut().cache_mut();
                let sequence = cache.create();
                // None may be free now.
                drop(cache.extend(sequence, 1));
            }
            Some(Fault::Memory) => self.kept.push(vec![1; 1 << 20]),
            Some(Fault::Tokens | Fault::Stall) | None => {}
        }
    }
}

/// Holds a reply that ended against what its request gets alone.
fn judge(flight: &Flight, record: &mut Record) {
    let Flight { case, cancellation, found, .. } = flight;
    record.count("compared", 1);
    record.count("compared_tokens", found.choices.len() as u64);
    let is_first = found.choices.is_empty();
    record.count(
        match &found.end {
            Some(Ok(FinishReason::Stop)) => "finished_stop",
            Some(Ok(FinishReason::Length)) => "finished_length",
            Some(Ok(FinishReason::Cancelled)) if is_first => "cancelled_before_first_token",
            Some(Ok(FinishReason::Cancelled)) => "cancelled_after_first_token",
            Some(Err(_)) | None => "failed",
        },
        1,
    );
    if !is_same(case, *cancellation, found) {
        record.count("mismatches", 1);
        let (end, single) = (&found.end, &case.single);
        record.violation(&format!(
            "{cancellation:?}: {end:?} after {} tokens with {:?}; alone {:?} after {} tokens with {:?}",
            found.choices.len(),
            found.text,
            single.end,
            single.choices.len(),
            single.text
        ));
    }
}

/// Whether a reply is the one that the request gets alone; up to where it was cancelled, if that was asked for.
fn is_same(case: &Case, cancellation: Cancellation, found: &Reply) -> bool {
    let tokens = found.choices.len();
    if found.end != Some(Ok(FinishReason::Cancelled)) {
        let is_in_time = match cancellation {
            Cancellation::AtOnce => false,
            Cancellation::AtToken(count) => tokens <= count,
            Cancellation::Never | Cancellation::AfterSteps(_) => true,
        };
        return is_in_time && *found == case.single;
    }
    let is_asked = match cancellation {
        Cancellation::Never => false,
        Cancellation::AtOnce => tokens == 0,
        Cancellation::AtToken(count) => tokens == count,
        Cancellation::AfterSteps(_) => true,
    };
    // A character that was cut in two is shown as one that cannot be read.
    let text = found.text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    is_asked && case.single.choices.starts_with(&found.choices) && case.whole.starts_with(text)
}
