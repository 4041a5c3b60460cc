//! `devices`: the catalogue of hardware, as a list or one by one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use hwledger_node::hardware::{DeviceAnswer, DeviceRow, DevicesRequest, list};
use hwledger_node::planner::with_causes;
use hwledger_node::{PlanFailure, Planner};

use crate::speed::number;
use crate::table::Table;
use crate::{fail, json, say};

/// Arguments of `devices`.
#[derive(Debug, Args)]
pub(crate) struct DevicesArguments {
    /// Words that the name holds; with `--show` one name, as people and drivers write it
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// nvidia, amd, intel, apple, shared, cpu, other
    #[arg(long)]
    kind: Option<String>,
    /// Least memory
    #[arg(long, value_name = "GIB")]
    memory_gib: Option<f64>,
    /// Everything that is known of the one device of this name
    #[arg(long)]
    show: bool,
    /// Print one JSON object per device
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV
    #[arg(long, conflicts_with = "show")]
    csv: bool,
}

/// Runs `devices`: status 0 where any is found.
pub(crate) fn run(planner: &Planner, arguments: &DevicesArguments) -> Result<ExitCode, PlanFailure> {
    if arguments.show {
        let answer = planner.device(&arguments.words.join(" "))?;
        let text = if arguments.json { json(&answer) } else { one(&answer) };
        return Ok(say(&text, true));
    }
    let request = DevicesRequest {
        words: arguments.words.clone(),
        kind: arguments.kind.clone(),
        memory_gib: arguments.memory_gib,
    };
    let rows = list(&request)?;
    let text = if arguments.json {
        rows.iter().map(json).collect()
    } else if arguments.csv {
        csv(&rows)
    } else {
        many(&rows)
    };
    Ok(say(&text, !rows.is_empty()))
}

/// A planner that knows the devices of these files too.
pub(crate) fn with_files(mut planner: Planner, files: &[PathBuf]) -> Result<Planner, ExitCode> {
    for file in files {
        let refused = |error: &dyn std::fmt::Display| fail(format_args!("`{}`: {error}", file.display()));
        planner = match hwledger_node::hardware::read_devices(Path::new(file)) {
            Ok(devices) => match planner.with_devices(&devices) {
                Ok(planner) => planner,
                Err(failure) => return Err(refused(&with_causes(&failure))),
            },
            Err(failure) => return Err(refused(&with_causes(&failure))),
        };
    }
    Ok(planner)
}

fn cell(figure: Option<f64>) -> String {
    figure.map_or_else(|| "?".to_owned(), number)
}

fn sizes(row: &DeviceRow, between: &str) -> String {
    let shown: Vec<String> = row.memory_gib.iter().map(|size| format!("{size}")).collect();
    shown.join(between)
}

fn many(rows: &[DeviceRow]) -> String {
    let mut table = Table::new(&["device", "kind", "GiB", "GB/s", "16-bit Tflop/s", "W", "year", "launch, USD"]);
    for row in rows {
        let price = row.launch_usd.map_or_else(|| "?".to_owned(), |usd| format!("{usd:.0}"));
        let date = row.launch_date.as_ref().map_or_else(String::new, |date| format!(" ({date})"));
        table.row(vec![
            row.name.clone(),
            row.kind.to_owned(),
            sizes(row, "/"),
            cell(row.bandwidth_gb_s),
            cell(row.bf16_tflops),
            cell(row.power_w),
            row.year.map_or_else(|| "?".to_owned(), |year| year.to_string()),
            format!("{price}{date}"),
        ]);
    }
    let mut lines = table.lines("");
    lines.push(format!("{} devices", rows.len()));
    lines.join("\n") + "\n"
}

fn csv(rows: &[DeviceRow]) -> String {
    let mut text = "name,kind,memory_gib,bandwidth_gb_s,bf16_tflops,power_w,year,launch_usd,launch_date\n".to_owned();
    let plain = |figure: Option<f64>| figure.map_or_else(String::new, |figure| figure.to_string());
    for row in rows {
        let name = if row.name.contains([',', '"']) {
            format!("\"{}\"", row.name.replace('"', "\"\""))
        } else {
            row.name.clone()
        };
        let cells = [
            name,
            row.kind.to_owned(),
            sizes(row, ";"),
            plain(row.bandwidth_gb_s),
            plain(row.bf16_tflops),
            plain(row.power_w),
            row.year.map_or_else(String::new, |year| year.to_string()),
            plain(row.launch_usd),
            row.launch_date.clone().unwrap_or_default(),
        ];
        text.push_str(&(cells.join(",") + "\n"));
    }
    text
}

fn one(answer: &DeviceAnswer) -> String {
    let mut lines = vec![answer.row.name.clone()];
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("  {name:<24} {value}"));
        }
    };
    let with = |figure: Option<f64>, unit: &str| figure.map(|figure| format!("{} {unit}", number(figure)));
    fact("kind", Some(answer.row.kind.to_owned()));
    fact("family", answer.family.clone());
    fact("compute", answer.compute.clone());
    fact("year", answer.row.year.map(|year| year.to_string()));
    fact("units", answer.units.map(|units| units.to_string()));
    fact("memory", Some(format!("{} GiB", sizes(&answer.row, ", "))).filter(|_| !answer.row.memory_gib.is_empty()));
    fact("total, as reported", answer.total_gib.map(|(low, high)| format!("{low} to {high} GiB")));
    fact("bandwidth", with(answer.row.bandwidth_gb_s, "GB/s"));
    fact("bandwidth, measured", with(answer.sustained_gb_s, "GB/s"));
    fact("last-level cache", with(answer.cache_mib, "MiB"));
    fact("link to the host", with(answer.host_link_gb_s, "GB/s each way"));
    fact("links to others", with(answer.peer_link_gb_s, "GB/s each way"));
    fact("power limit", with(answer.row.power_w, "W"));
    let date = answer.row.launch_date.as_ref().map_or_else(String::new, |date| format!(" in {date}"));
    fact("launch price", answer.row.launch_usd.map(|usd| format!("{usd:.0} USD{date}")));
    for (name, rate) in &answer.rates {
        fact(name, Some(number(*rate)));
    }
    fact("source", Some(answer.source.clone()));
    if !answer.types.is_empty() {
        let mut table = Table::new(&["type", "level", "computed as", "Tera/s", "why"]);
        for own in &answer.types {
            table.row(vec![
                own.name.to_owned(),
                own.level.to_owned(),
                own.executes_as.unwrap_or("").to_owned(),
                cell(own.tera_per_s),
                own.reason.to_owned(),
            ]);
        }
        lines.push(String::new());
        lines.extend(table.lines("  "));
    }
    lines.join("\n") + "\n"
}
