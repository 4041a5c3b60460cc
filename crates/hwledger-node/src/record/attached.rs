//! Measuring an engine that is running: said before, asked, timed, written down.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use hwledger_core::Bytes;
use hwledger_formats::measurement::{
    self, FILE_BYTES_MAX, Figures, Latency, MeasuredRun, Percentile, Place, RunSettings, Statistic, TestKind, Workload,
};
use hwledger_ledger::store::clock_ns;
use serde::Serialize;

use super::engines::{self, Attached};
use super::load::{Load, LoadResult, Server};
use super::prediction::words;
use super::{RecordError, Recorder};
use crate::locate::bounded;

/// An engine that is running, and what is to be asked of it.
#[derive(Clone, Debug, Default)]
pub struct AttachRequest {
    /// Where it listens: `http://127.0.0.1:8080`.
    pub url: String,
    /// Which engine it is, as plans call it.
    pub engine: String,
    /// Its version.
    pub engine_version: Option<String>,
    /// Where its model is found.
    pub model: String,
    /// What it calls its model; the same where absent.
    pub served_name: Option<String>,
    /// The bearer token that it wants.
    pub token: Option<String>,
    /// The device that it runs on; this machine's processor where absent.
    pub device: Option<String>,
    /// How it is set.
    pub settings: RunSettings,
    /// Its process, whose peak of memory is read.
    pub process: Option<u32>,
    /// What it printed while starting, with what it took.
    pub log: Option<PathBuf>,
    /// What to ask, load after load.
    pub loads: Vec<Load>,
}

/// What one load gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttachedRun {
    /// The run's name in the ledger.
    pub run: String,
    /// Tokens of each prompt, as the server counts.
    pub prompt_tokens: u64,
    /// Requests at once.
    pub concurrency: u64,
    /// Replies.
    pub replies: usize,
    /// Why others failed.
    pub failures: Vec<String>,
    /// Median milliseconds to the first token.
    pub ttft_ms: Option<f64>,
    /// Median milliseconds from one token to the next.
    pub tpot_ms: Option<f64>,
    /// Tokens of all replies per second.
    pub output_tokens_per_s: Option<f64>,
}

/// Sorted values' share `percent`.
fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = percent / 100.0 * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the slice's length")]
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64))
}

/// Whether an address is of this machine.
fn is_here(url: &str) -> bool {
    let host = host_of(url);
    let is_loopback = |address: IpAddr| address.is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_loopback)
}

/// The host of an address, without user, port and path.
pub(super) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    match place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((address, _)) => address,
        None => place.split_once(':').map_or(place, |(host, _)| host),
    }
}

fn latency(mut values: Vec<f64>) -> Latency {
    values.sort_by(f64::total_cmp);
    // The median is what counts: one request that waited says nothing about the others.
    let at = |percent| percentile(&values, percent).map(|value| Percentile { percent, value });
    Latency { mean: None, deviation: None, percentiles: [50.0, 90.0].into_iter().filter_map(at).collect() }
}

/// Peak of a process's resident memory (proc(5)).
fn peak_bytes(process: u32) -> Option<Bytes> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024).map(Bytes)
}

impl AttachRequest {
    fn run(&self, load: &Load, prompt: u64) -> MeasuredRun {
        let mut settings = self.settings.clone();
        settings.context.get_or_insert(prompt + load.generate);
        MeasuredRun {
            place: Place { file: "ledger".to_owned(), line: 0, record: 0 },
            engine: Some(self.engine.clone()),
            engine_version: self.engine_version.clone(),
            model: Some(self.served_name.clone().unwrap_or_else(|| self.engine.clone())),
            weights: None,
            size_bytes: None,
            parameters: None,
            device: self.device.clone(),
            device_count: Some(1),
            backend: self.device.is_none().then(|| "cpu".to_owned()),
            host_processor: None,
            settings,
            workload: Workload {
                kind: Some(TestKind::Serving),
                prompt: Some(prompt),
                generate: Some(load.generate),
                concurrency: Some(load.concurrency),
                requests: Some(load.requests),
                ..Workload::default()
            },
            figures: Figures::default(),
            memory: Vec::new(),
        }
    }

    /// Memory that its log reports.
    fn logged(&self) -> Result<Option<MeasuredRun>, RecordError> {
        let Some(path) = &self.log else { return Ok(None) };
        let bytes = bounded::read(path, FILE_BYTES_MAX as u64).map_err(|error| RecordError::Run(error.to_string()))?;
        let found = measurement::read(&bytes, &path.display().to_string(), None);
        let found = found.map_err(|error| RecordError::Run(error.to_string()))?;
        Ok(found.runs.into_iter().find(|run| !run.memory.is_empty()))
    }
}

fn with_result(run: &MeasuredRun, result: &LoadResult) -> MeasuredRun {
    let mut run = run.clone();
    let replies = &result.replies;
    let tokens: u64 = replies.iter().map(|reply| reply.tokens).sum();
    let rates = replies.iter().filter(|reply| reply.tokens > 1);
    let tpot = |reply: &super::load::Timed| (reply.whole_s - reply.first_s) * 1000.0 / (reply.tokens - 1) as f64;
    run.figures.ttft_ms = latency(replies.iter().map(|reply| reply.first_s * 1000.0).collect());
    run.figures.tpot_ms = latency(rates.map(tpot).collect());
    run.figures.request_ms = latency(replies.iter().map(|reply| reply.whole_s * 1000.0).collect());
    if run.workload.concurrency == Some(1) {
        run.figures.decode_tokens_per_s = run.figures.tpot_ms.typical().map(|tpot| Statistic::plain(1000.0 / tpot));
    }
    if result.seconds > 0.0 && !replies.is_empty() {
        run.figures.output_tokens_per_s = Some(Statistic::plain(tokens as f64 / result.seconds));
        run.figures.requests_per_s = Some(Statistic::plain(replies.len() as f64 / result.seconds));
    }
    run.workload.duration_s = Some(result.seconds);
    run
}

impl Recorder<'_> {
    /// Says that an engine is watched, and how it is set.
    fn tell_of(&self, request: &AttachRequest) -> Result<(), RecordError> {
        let Some(vault) = &self.vault else { return Ok(()) };
        let attached = Attached {
            address: &request.url,
            engine: &request.engine,
            version: request.engine_version.as_deref(),
            model: Some(request.served_name.as_ref().unwrap_or(&request.model)),
            settings: &words([serde_json::to_value(&request.settings)]),
        };
        engines::attach(self.ledger, vault, &attached).map(drop)
    }

    /// Measures a running engine: for each load a prediction, then the requests, then the measurement. `tell` gets each
    /// as it is done.
    ///
    /// # Errors
    ///
    /// The engine does not answer, the run cannot be planned, or the ledger takes nothing.
    pub fn attach(
        &self,
        request: &AttachRequest,
        mut tell: impl FnMut(&AttachedRun),
    ) -> Result<Vec<AttachedRun>, RecordError> {
        let name = request.served_name.clone().unwrap_or_else(|| request.model.clone());
        let server = Server::new(&request.url, &name, request.token.clone());
        let logged = request.logged()?;
        let mut done = Vec::new();
        for load in &request.loads {
            let (words, prompt) = server.words_for(load.prompt)?;
            if done.is_empty() {
                self.tell_of(request)?;
            }
            let run = request.run(load, prompt);
            // It has counted the prompt's tokens just now, or answered the load before this one.
            self.others.look_again(request.process);
            let prediction = self.predict(&run, &request.model)?;
            let mut surroundings = self.watch_process(request.process.map(|process| process.to_string()));
            let result = server.run(load, words, clock_ns());
            surroundings.set_work(match result.failures.is_empty() {
                _ if !is_here(&request.url) => Err("the engine runs on another machine"),
                false => Err("some requests failed"),
                true => Ok(result.replies.len() as f64),
            });
            if result.replies.is_empty() {
                return Err(RecordError::Run(result.failures.first().cloned().unwrap_or_default()));
            }
            let mut measured = with_result(&run, &result);
            measured.figures.peak_memory_bytes = request.process.and_then(peak_bytes);
            if let Some(logged) = &logged {
                measured.memory.clone_from(&logged.memory);
            }
            self.measure(&prediction, &measured, &surroundings, "requests to the running engine")?;
            let figures = &measured.figures;
            done.push(AttachedRun {
                run: prediction.run,
                prompt_tokens: prompt,
                concurrency: load.concurrency,
                replies: result.replies.len(),
                failures: result.failures,
                ttft_ms: figures.ttft_ms.typical(),
                tpot_ms: figures.tpot_ms.typical(),
                output_tokens_per_s: figures.output_tokens_per_s.map(|rate| rate.value),
            });
            done.last().into_iter().for_each(&mut tell);
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::{host_of, is_here, latency, percentile};

    #[test]
    fn hosts_are_read_out_of_addresses() {
        for (url, host, is_own) in [
            ("http://127.0.0.1:8080/v1", "127.0.0.1", true),
            ("https://[::1]:80", "::1", true),
            ("localhost:80/metrics", "localhost", true),
            ("http://user:word@engine.example:8000?x=127.0.0.1", "engine.example", false),
            ("10.0.0.5", "10.0.0.5", false),
        ] {
            assert_eq!((host_of(url), is_here(url)), (host, is_own), "{url}");
        }
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        assert_eq!(percentile(&[], 50.0), None);
        assert_eq!(percentile(&[3.0], 90.0), Some(3.0));
        assert_eq!(percentile(&[1.0, 2.0], 50.0), Some(1.5));
        assert_eq!(percentile(&[0.0, 10.0, 20.0], 100.0), Some(20.0));
        assert_eq!(latency(vec![4.0, 2.0, 9.0]).typical(), Some(4.0));
    }
}
