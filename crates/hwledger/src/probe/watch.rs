//! `probe watch` and `probe record`.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use hwledger_node::probe::{ProbeError, SourceName, Watch, WatchOptions, WatchRow, WatchSeries, Watched, clock, watch};

use super::list::bytes;
use super::{PaceArguments, RecordArguments, WatchArguments};
use crate::json;
use crate::table::Table;

/// Values that a line of blocks shows.
const HISTORY: usize = 20;

/// `probe watch`.
pub(crate) fn show(arguments: &WatchArguments) -> Result<ExitCode, ProbeError> {
    let is_terminal = io::stdout().is_terminal();
    let is_redrawn = is_terminal && !arguments.ndjson;
    let source = SourceName::parse(&arguments.source);
    let paces = is_redrawn && arguments.pace.count != Some(1);
    let options = WatchOptions { paces, ..options(source, &arguments.pace) };
    let mut is_first = true;
    let watched = watch(&options, |watch| {
        let text = if arguments.ndjson { json(watch.snapshot) } else { render(watch) };
        let before = match (is_redrawn, is_first, arguments.ndjson) {
            // Home, and below it nothing: the only thing that is asked of a terminal.
            (true, ..) => "\u{1b}[H\u{1b}[J",
            (false, false, false) => "\n",
            _ => "",
        };
        is_first = false;
        let mut output = io::stdout().lock();
        output.write_all(before.as_bytes())?;
        output.write_all(text.as_bytes())?;
        output.flush()?;
        Ok(true)
    })?;
    told(&arguments.pace, &watched)
}

/// `probe record`.
pub(crate) fn record(arguments: &RecordArguments) -> Result<ExitCode, ProbeError> {
    let source = SourceName::parse(&arguments.source);
    let options = WatchOptions { record: Some(arguments.file.clone()), ..options(source, &arguments.pace) };
    let watched = watch(&options, |_| Ok(true))?;
    let (count, file) = (watched.snapshots, arguments.file.display());
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(io::stderr(), "{count} snapshots are in `{file}`");
    told(&arguments.pace, &watched)
}

fn options(source: SourceName, pace: &PaceArguments) -> WatchOptions {
    WatchOptions { source, interval: pace.interval, count: pace.count, paces: false, history: HISTORY, record: None }
}

fn told(pace: &PaceArguments, watched: &Watched) -> Result<ExitCode, ProbeError> {
    if pace.overhead {
        let line = match watched.processor_time.zip(watched.processor_share()) {
            Some((time, share)) => format!(
                "the probe took {:.1} ms of processor time in {:.1} s, {} snapshots: {:.3} % of one processor",
                time.as_secs_f64() * 1e3,
                watched.elapsed.as_secs_f64(),
                watched.snapshots,
                share * 100.0
            ),
            None => "this system does not say how much processor time the probe took".to_owned(),
        };
        writeln!(io::stderr(), "{line}").map_err(ProbeError::Show)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One snapshot: when, and a row for the host and each device.
fn render(watch: &Watch) -> String {
    let mut table = Table::new(&["", "busy", "", "power", "", "memory", "", "of", "temperature"]);
    for row in watch.rows() {
        table.row(cells(&row));
    }
    format!("{}\n{}\n", clock(watch.snapshot.taken_at_ns), table.lines("  ").join("\n"))
}

fn cells(row: &WatchRow) -> Vec<String> {
    let known = |value: Option<f64>, print: fn(f64) -> String| value.map_or("?".to_owned(), print);
    vec![
        row.name.clone().unwrap_or_else(|| "host".to_owned()),
        known(row.utilization.value, |share| format!("{:.0} %", share * 100.0)),
        blocks(&row.utilization),
        known(row.power.value, |watts| format!("{watts:.0} W")),
        blocks(&row.power),
        known(row.memory.value, bytes),
        blocks(&row.memory),
        known(row.memory_total, bytes),
        known(row.temperature, |degrees| format!("{degrees:.0} °C")),
    ]
}

/// A line of blocks, one per value; a dot where there was none.
fn blocks(series: &WatchSeries) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let block = |share: &Option<f64>| match share {
        Some(share) => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shares are from 0 to 1")]
            let level = (share * 8.0) as usize;
            BLOCKS[level.min(7)]
        }
        None => '·',
    };
    let line: String = series.shares.iter().map(block).collect();
    format!("{line:<HISTORY$}")
}

#[cfg(test)]
mod tests {
    use super::{HISTORY, blocks};
    use hwledger_node::probe::WatchSeries;

    #[test]
    fn blocks_rise_and_gaps_are_dots() {
        let shares = vec![Some(0.0), Some(0.5), Some(1.0), None];
        let line = blocks(&WatchSeries { value: None, shares });
        assert_eq!(line.trim_end(), "▁▅█·");
        assert_eq!(line.chars().count(), HISTORY);
    }
}
