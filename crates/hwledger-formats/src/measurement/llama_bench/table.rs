//! llama-bench's default output: a Markdown table, the devices before it, the build behind it.

use super::{COLUMNS_MAX, LINE_BYTES_MAX, first_backend, label, set_devices, set_rate, switch, weights_of_label};
use crate::measurement::RECORDS_MAX;
use crate::measurement::error::MeasurementError;
use crate::measurement::log::Devices;
use crate::measurement::quantity::{parameters, size};
use crate::measurement::run::{MeasuredRun, Place, Statistic};

/// Whether a line is the head of such a table.
pub(in crate::measurement) fn is_header(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('|') && line.len() < LINE_BYTES_MAX && {
        let cells = cells(line);
        cells.contains(&"model") && cells.contains(&"t/s") && cells.contains(&"test")
    }
}

fn cells(line: &str) -> Vec<&str> {
    let line = line.trim().trim_start_matches('|');
    line.strip_suffix('|').unwrap_or(line).split('|').map(str::trim).take(COLUMNS_MAX).collect()
}

/// Reads every table in `text`; what is not a table is looked at for devices and builds.
pub(in crate::measurement) fn read_table(text: &str) -> Result<Vec<MeasuredRun>, MeasurementError> {
    let mut header: Vec<&str> = Vec::new();
    let mut devices = Devices::default();
    let mut runs: Vec<MeasuredRun> = Vec::new();
    // Runs whose table has not been closed by a build line yet.
    let mut open = 0;
    for (index, line) in text.lines().enumerate() {
        let number = index as u64 + 1;
        if line.len() > LINE_BYTES_MAX {
            return Err(MeasurementError::TooMany { line: number, what: "bytes of one line", limit: LINE_BYTES_MAX });
        }
        if is_header(line) {
            header = cells(line);
        } else if line.trim_start().starts_with('|') && !header.is_empty() {
            let cells = cells(line);
            if cells.iter().all(|cell| cell.bytes().all(|byte| matches!(byte, b'-' | b':' | b' '))) {
                continue;
            }
            if cells.len() != header.len() {
                return Err(MeasurementError::Cells { line: number, found: cells.len(), expected: header.len() });
            }
            if runs.len() >= RECORDS_MAX {
                return Err(MeasurementError::TooMany { line: number, what: "records", limit: RECORDS_MAX });
            }
            let place = Place { file: String::new(), line: number, record: runs.len() as u64 + 1 };
            runs.push(row(&header, &cells, place, &devices)?);
        } else if let Some(build) = build(line) {
            for run in &mut runs[open..] {
                run.engine_version = Some(build.clone());
            }
            open = runs.len();
            header = Vec::new();
        } else {
            if !header.is_empty() && runs.len() > open && Devices::begins_anew(line) {
                devices = Devices::default();
            }
            devices.read(line);
        }
    }
    if runs.is_empty() {
        return Err(MeasurementError::Nothing("table with the columns `model`, `test` and `t/s`"));
    }
    Ok(runs)
}

/// `build: 8cf427ff (5163)`
fn build(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("build: ")?;
    let (commit, number) = rest.split_once(" (")?;
    let number = number.strip_suffix(')')?;
    match number.parse::<u64>() {
        Ok(number) if number > 0 => Some(format!("b{number}")),
        _ => Some(commit.to_owned()),
    }
}

fn row(header: &[&str], cells: &[&str], place: Place, devices: &Devices) -> Result<MeasuredRun, MeasurementError> {
    let mut run = MeasuredRun { place, engine: Some("llama.cpp".to_owned()), ..MeasuredRun::default() };
    let mut rate = None;
    for (&title, &cell) in header.iter().zip(cells) {
        let wrong = |expected| MeasurementError::Value {
            line: run.place.line,
            record: run.place.record,
            key: title.to_owned(),
            found: cell.chars().take(60).collect(),
            expected,
        };
        if cell.is_empty() {
            continue;
        }
        let count = || cell.parse::<u64>().map(Some).map_err(|_| wrong("a whole number"));
        match title {
            "model" => {
                run.weights = weights_of_label(cell);
                run.model = Some(if label::is_gguf(cell) { label::model_of_file(cell) } else { cell.to_owned() });
            }
            "size" => run.size_bytes = Some(size(cell).ok_or_else(|| wrong("a size such as `3.56 GiB`"))?),
            "params" => run.parameters = Some(parameters(cell).ok_or_else(|| wrong("a count such as `6.74 B`"))?),
            "backend" => run.backend = Some(first_backend(cell).to_owned()),
            "ngl" => run.settings.gpu_layers = Some(cell.parse().map_err(|_| wrong("a whole number"))?),
            "threads" => run.settings.threads = count()?,
            "n_batch" => run.settings.batch = count()?,
            "n_ubatch" => run.settings.ubatch = count()?,
            "ncmoe" | "n_cpu_moe" => run.settings.cpu_moe_layers = count()?.filter(|layers| *layers > 0),
            "type_k" => run.settings.kv_type_k = Some(cell.to_owned()),
            "type_v" => run.settings.kv_type_v = Some(cell.to_owned()),
            "sm" => run.settings.split_mode = Some(cell.to_owned()),
            "fa" => run.settings.flash_attention = switch(cell).map(str::to_owned),
            "mla" | "fmoe" | "amb" | "rtr" | "ser" => run.engine = Some("ik_llama.cpp".to_owned()),
            "test" => {
                let lengths =
                    lengths(cell).ok_or_else(|| wrong("a test such as `pp512`, `tg128` or `pp512 @ d4096`"))?;
                (run.workload.prompt, run.workload.generate, run.workload.depth) = lengths;
            }
            "t/s" => rate = Some(statistic(cell).ok_or_else(|| wrong("a rate such as `132.19 ± 0.55`"))?),
            // Columns of later builds disturb nothing.
            _ => {}
        }
    }
    let rate = rate.ok_or(MeasurementError::Missing { line: run.place.line, record: run.place.record, key: "t/s" })?;
    set_rate(&mut run, rate);
    let is_cpu = run.backend.as_deref() == Some("CPU") || run.settings.gpu_layers == Some(0);
    run.host_processor.clone_from(&devices.processor);
    set_devices(&mut run, (!is_cpu).then(|| devices.cards.join(", ")).as_deref());
    Ok(run)
}

/// Tokens of prompt, reply and depth: `pp512`, `tg 128`, `pp512+tg128`, `tg128 @ d4096`.
fn lengths(test: &str) -> Option<(Option<u64>, Option<u64>, Option<u64>)> {
    let (test, depth) = match test.split_once('@') {
        Some((test, depth)) => (test, Some(depth.trim().strip_prefix('d')?.trim().parse().ok()?)),
        None => (test, None),
    };
    let (mut prompt, mut generate) = (None, None);
    for part in test.split('+').map(str::trim) {
        if let Some(tokens) = part.strip_prefix("pp") {
            prompt = Some(tokens.trim().parse().ok()?);
        } else if let Some(tokens) = part.strip_prefix("tg") {
            generate = Some(tokens.trim().parse().ok()?);
        } else {
            // `pg512,128` of the first builds that had it.
            let (first, second) = part.strip_prefix("pg")?.trim().split_once(',')?;
            (prompt, generate) = (Some(first.trim().parse().ok()?), Some(second.trim().parse().ok()?));
        }
    }
    Some((prompt, generate, depth))
}

/// `132.19 ± 0.55`, or the first number alone.
fn statistic(cell: &str) -> Option<Statistic> {
    let mut parts = cell.splitn(2, '±');
    let value = parts.next()?.trim().parse().ok()?;
    let deviation = parts.next().map(|text| text.trim().parse()).transpose().ok()?;
    Some(Statistic { value, deviation, samples: None })
}
