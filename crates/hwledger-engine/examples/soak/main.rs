//! Mixed load in one process for as long as is asked: memory stays flat, no sequence gets stuck, and every reply is the
//! one that its request gets alone.
//!
//! `cargo run --release -p hwledger-engine --example soak -- [MODEL.gguf] [--minutes N] [--seed N] [--threads N]
//! [--sequences N] [--context N] [--cache-tokens N] [--instructions SET] [--growth-limit MIB] [--wait-limit SECONDS]
//! [--output FILE] [--fault pages|tokens|memory|stall]`
//!
//! Requests come without end: short and long prompts, greedy and seeded replies, penalties, stop texts, replies
//! that follow a schema or a pattern, replies that reach the end of the context, cancellations before, at and after the first token, settings that fail after they
//! were taken, requests that are refused, bursts beyond what may wait, and lulls. The cache holds half of what the
//! sequences could fill, so that requests wait for pages. The seed decides what comes, time decides beside what.
//!
//! One line of JSON tells the set-up, one each minute, one the verdict. The exit status is 0 if it passed, 1 if not.
//! `--fault` breaks one thing on purpose: a soak that passes with it could not fail.

#![expect(clippy::print_stderr, clippy::unwrap_used, reason = "a benchmark tells, and stops when it cannot run")]

mod cases;
mod driver;
mod options;
mod record;

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hwledger_engine::graph::{Decoder, Machine};
use hwledger_engine::model::ModelFile;
use hwledger_engine::scheduler::{Scheduler, SchedulerOptions};
use hwledger_engine::{CacheFormat, Engine, EngineOptions, InstructionSet, PAGE_TOKENS, Pool};
use serde_json::{Value, json};

use cases::{Case, Mix};
use driver::Driver;
use options::Options;
use record::Record;

/// Different requests at any time.
const CASES: usize = 384;
/// Of these, so many are replaced every minute.
const CASES_RENEWED: usize = 16;
/// The most requests that wait.
const WAITING_MAX: usize = 24;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(words) => {
            eprintln!("error: {words}");
            return ExitCode::from(2);
        }
    };
    let mut output: Box<dyn Write> = match &options.output {
        Some(path) => Box::new(File::create(path).unwrap()),
        None => Box::new(std::io::stdout()),
    };
    let mut tell = |line: Value| {
        writeln!(output, "{line}").unwrap();
        output.flush().unwrap();
    };
    let verdict = soak(&options, &mut tell);
    let has_passed = verdict["passed"] == true;
    tell(verdict);
    if has_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn engine(options: &Options) -> Engine {
    // Tiles of bfloat16 compute other bits in large batches than in small ones: nothing could be compared exactly.
    let exact = InstructionSet::detect().min(InstructionSet::Avx512);
    let defaults = EngineOptions::default();
    let mut engine_options = EngineOptions {
        context: options.context,
        threads: options.threads.unwrap_or(defaults.threads),
        instructions: Some(options.instructions.map_or(exact, |set| set.min(exact))),
        scheduler: SchedulerOptions {
            sequences_max: options.sequences,
            waiting_max: WAITING_MAX,
            ..SchedulerOptions::default()
        },
        ..defaults
    };
    let open = |engine_options: &EngineOptions| {
        Engine::open(vec![ModelFile::open(&options.model).unwrap()], engine_options)
            .unwrap_or_else(|error| panic!("`{}` cannot be loaded: {error}", options.model.display()))
    };
    let Some(cache_tokens) = options.cache_tokens else {
        // The context is known once the model is.
        let context = open(&engine_options).context;
        engine_options.cache_tokens = Some((context * options.sequences / 2).max(context));
        return open(&engine_options);
    };
    engine_options.cache_tokens = Some(cache_tokens);
    open(&engine_options)
}

/// A scheduler of the same weights with a cache of its own, for one request at a time.
fn single(engine: &Engine) -> Scheduler {
    let decoder = engine.scheduler.decoder();
    let machine = Machine { pool: Pool::new(engine.threads).unwrap(), set: engine.instructions };
    let pages = engine.context.div_ceil(PAGE_TOKENS);
    let alone = Decoder::new(decoder.model().clone(), CacheFormat::F16, pages, machine).unwrap();
    let options = SchedulerOptions { context: engine.context, sequences_max: 1, ..SchedulerOptions::default() };
    Scheduler::new(alone, Some(engine.tokenizer.clone()), options)
}

fn soak(options: &Options, tell: &mut impl FnMut(Value)) -> Value {
    let engine = engine(options);
    let mut single = single(&engine);
    let mut mix = Mix::new(options.seed, engine.context, engine.tokenizer.clone());
    let mut cases: Vec<Rc<Case>> = (0..CASES).map(|_| Rc::new(mix.case(&mut single))).collect();
    tell(setup(options, &engine, &cases));
    let context = engine.context;
    let mut driver = Driver::new(engine.scheduler, options, context);
    let duration = Duration::from_secs_f64(options.minutes * 60.0);
    let mut record = Record::new(options, duration);
    let (start, mut minute) = (Instant::now(), 1);
    while start.elapsed() < duration {
        driver.submit(&cases, &mut mix, &mut record);
        driver.step(&mut record);
        record.sample(start.elapsed());
        if start.elapsed() >= Duration::from_secs(60 * minute) {
            tell(record.minute(minute, driver.scheduler()));
            minute += 1;
            for _ in 0..CASES_RENEWED {
                let place = mix.below(cases.len());
                cases[place] = Rc::new(mix.case(&mut single));
                record.count("renewed", 1);
            }
        }
    }
    driver.drain(&mut record);
    record.verdict(driver.scheduler(), options)
}

fn setup(options: &Options, engine: &Engine, cases: &[Rc<Case>]) -> Value {
    let model = options.model.file_name().map(|name| name.to_string_lossy().into_owned());
    let cache = engine.scheduler.decoder().cache();
    let tokens: usize = cases.iter().map(|case| case.single.choices.len()).sum();
    json!({
        "kind": "setup",
        "version": env!("CARGO_PKG_VERSION"),
        "machine": record::processor(),
        "model": model,
        "minutes": options.minutes,
        "seed": options.seed,
        "threads": engine.threads,
        "instructions": engine.instructions.name(),
        "sequences": options.sequences,
        "waiting_max": WAITING_MAX,
        "context": engine.context,
        "pages": cache.pages_max(),
        "cases": cases.len(),
        "tokens_of_singles": tokens,
        "growth_limit_bytes": options.growth_limit,
        "wait_limit_seconds": options.wait_limit.as_secs_f64(),
        "fault": options.fault.map(options::Fault::name),
    })
}
