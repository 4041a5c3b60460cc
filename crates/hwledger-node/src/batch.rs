//! Many requests, one JSON object per line, answered in order.

use std::io::{self, BufRead, Write};

use serde::Serialize;
use serde_json::Value;

use crate::planner::{PlanFailure, Planner, with_causes};
use crate::request::PlanRequest;

/// Lines that are read, answered and written together.
const LINES_TOGETHER: usize = 256;

/// Longest line that is believed to be a request.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// An answer that is an error.
#[derive(Debug, Serialize)]
struct ErrorAnswer<'a> {
    id: &'a Value,
    error: ErrorBody,
}

#[derive(Debug, Serialize)]
struct ErrorBody {
    code: &'static str,
    message: String,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests answered with a plan.
    pub plans: u64,
    /// Requests answered with an error.
    pub errors: u64,
}

/// Answers every line of `input` on a line of `output`, in order; blank lines are skipped.
pub fn answer_lines(planner: &Planner, mut input: impl BufRead, mut output: impl Write) -> io::Result<Outcome> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut outcome = Outcome::default();
    let mut lines = Vec::with_capacity(LINES_TOGETHER);
    loop {
        lines.clear();
        while lines.len() < LINES_TOGETHER {
            let Some(line) = read_line(&mut input)? else { break };
            if !line.trim_ascii().is_empty() {
                lines.push(line);
            }
        }
        if lines.is_empty() {
            output.flush()?;
            return Ok(outcome);
        }
        let share = lines.len().div_ceil(workers);
        let answered: Vec<(Vec<u8>, Outcome)> = std::thread::scope(|scope| {
            let handles: Vec<_> =
                lines.chunks(share).map(|chunk| scope.spawn(move || answer_chunk(planner, chunk))).collect();
            handles.into_iter().map(|handle| handle.join().unwrap_or_default()).collect()
        });
        for (text, part) in answered {
            output.write_all(&text)?;
            outcome.plans += part.plans;
            outcome.errors += part.errors;
        }
    }
}

/// One line without its end, at most [`LINE_BYTES_MAX`] bytes of it; `None` at the end of the input.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = io::Read::take(&mut *input, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') && read as u64 == LINE_BYTES_MAX {
        // The rest of an endless line is passed over: what was kept is no valid JSON and gets its error.
        skip_line(input)?;
    }
    Ok(Some(line))
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let (used, is_done) = match buffer.iter().position(|&byte| byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), false),
        };
        input.consume(used);
        if is_done {
            return Ok(());
        }
    }
}

fn answer_chunk(planner: &Planner, lines: &[Vec<u8>]) -> (Vec<u8>, Outcome) {
    let mut text = Vec::with_capacity(lines.len() * 4096);
    let mut outcome = Outcome::default();
    for line in lines {
        let result = serde_json::from_slice::<PlanRequest>(line)
            .map_err(|error| PlanFailure::NotARequest(error.to_string()))
            .and_then(|request| planner.plan(&request));
        let written = match result {
            Ok(answer) => {
                outcome.plans += 1;
                serde_json::to_writer(&mut text, &answer)
            }
            Err(failure) => {
                outcome.errors += 1;
                let id = id_of(line);
                let mut message = with_causes(&failure);
                if let Some(hint) = failure.hint() {
                    message = format!("{message}; hint: {hint}");
                }
                let error = ErrorBody { code: failure.code(), message };
                serde_json::to_writer(&mut text, &ErrorAnswer { id: &id, error })
            }
        };
        written.expect("answers hold only strings and numbers, and memory does not refuse writes");
        text.push(b'\n');
    }
    (text, outcome)
}

/// The `id` of a request that could not be read, whatever its type.
fn id_of(line: &[u8]) -> Value {
    serde_json::from_slice::<Value>(line)
        .ok()
        .and_then(|mut value| value.get_mut("id").map(Value::take))
        .unwrap_or(Value::Null)
}
