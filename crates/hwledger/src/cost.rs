//! Flags and tables of cost.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use hwledger_core::Estimate;
use hwledger_core::cost::{Date, PriceBook};
use hwledger_node::cost::{CostAnswer, CostRequest, WorkCost};
use hwledger_node::price::{PriceAnswer, prices, read_prices};
use hwledger_node::{PlanFailure, Planner};

use crate::speed::number;
use crate::table::Table;

/// What is stated about cost; each flag is a key of the request's `cost`.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "fields are named as their flags")]
pub(crate) struct CostArguments {
    /// Price of one device, in dollars
    #[arg(long, value_name = "USD")]
    cost_price_usd: Option<f64>,
    /// Rent of one device and hour, in dollars
    #[arg(long, value_name = "USD")]
    cost_hourly_usd: Option<f64>,
    /// Only offers of this provider
    #[arg(long, value_name = "NAME")]
    cost_provider: Option<String>,
    /// Requests of one job
    #[arg(long, value_name = "N")]
    cost_requests: Option<u64>,
    /// Requests per second that a month brings; without it, the machine works all hours
    #[arg(long, value_name = "RATE")]
    cost_requests_per_s: Option<f64>,
    /// Storage that a rented job needs, in GB
    #[arg(long, value_name = "GB")]
    cost_storage_gb: Option<f64>,
    /// Traffic that a rented job sends out, in GB
    #[arg(long, value_name = "GB")]
    cost_egress_gb: Option<f64>,
    /// Years until the devices are sold
    #[arg(long, value_name = "N")]
    cost_life_years: Option<f64>,
    /// What they bring then, as a share of their price
    #[arg(long, value_name = "SHARE")]
    cost_resale_share: Option<f64>,
    /// Share of all hours in which an owned machine works
    #[arg(long, value_name = "SHARE")]
    cost_duty: Option<f64>,
    /// Price of energy
    #[arg(long, value_name = "USD")]
    cost_energy_usd_per_kwh: Option<f64>,
    /// Energy of the site for each unit of the machine
    #[arg(long, value_name = "N")]
    cost_pue: Option<f64>,
    /// Idle power as a share of the limit
    #[arg(long, value_name = "SHARE")]
    cost_idle_power_share: Option<f64>,
    /// How far from idle to the limit arithmetic takes it
    #[arg(long, value_name = "SHARE")]
    cost_arithmetic_power_share: Option<f64>,
    /// How far memory traffic takes it
    #[arg(long, value_name = "SHARE")]
    cost_memory_power_share: Option<f64>,
    /// How far waiting takes it
    #[arg(long, value_name = "SHARE")]
    cost_other_power_share: Option<f64>,
    /// Factor on the modelled power
    #[arg(long, value_name = "N")]
    cost_power_spread: Option<f64>,
    /// Price of the host as a share of the devices
    #[arg(long, value_name = "SHARE")]
    cost_host_price_share: Option<f64>,
    /// Power of one host
    #[arg(long, value_name = "N")]
    cost_host_power_w: Option<f64>,
    /// Devices of one host
    #[arg(long, value_name = "N")]
    cost_devices_per_host: Option<f64>,
    /// Share of capacity that a service is planned for
    #[arg(long, value_name = "SHARE")]
    cost_target_utilization: Option<f64>,
    /// Seconds from renting to the first request
    #[arg(long, value_name = "N")]
    cost_start_up_s: Option<f64>,
    /// Interruptions of a spot machine
    #[arg(long, value_name = "N")]
    cost_interruptions_per_hour: Option<f64>,
    /// Seconds of work that one loses
    #[arg(long, value_name = "N")]
    cost_lost_work_s: Option<f64>,
}

impl CostArguments {
    /// The request's `cost`, if anything is stated.
    pub(crate) fn request(&self) -> Option<CostRequest> {
        let request = CostRequest {
            price_usd: self.cost_price_usd,
            hourly_usd: self.cost_hourly_usd,
            provider: self.cost_provider.clone(),
            requests: self.cost_requests,
            requests_per_s: self.cost_requests_per_s,
            storage_gb: self.cost_storage_gb,
            egress_gb: self.cost_egress_gb,
            life_years: self.cost_life_years,
            resale_share: self.cost_resale_share,
            duty: self.cost_duty,
            energy_usd_per_kwh: self.cost_energy_usd_per_kwh,
            pue: self.cost_pue,
            idle_power_share: self.cost_idle_power_share,
            arithmetic_power_share: self.cost_arithmetic_power_share,
            memory_power_share: self.cost_memory_power_share,
            other_power_share: self.cost_other_power_share,
            power_spread: self.cost_power_spread,
            host_price_share: self.cost_host_price_share,
            host_power_w: self.cost_host_power_w,
            devices_per_host: self.cost_devices_per_host,
            target_utilization: self.cost_target_utilization,
            start_up_s: self.cost_start_up_s,
            interruptions_per_hour: self.cost_interruptions_per_hour,
            lost_work_s: self.cost_lost_work_s,
        };
        (request != CostRequest::default()).then_some(request)
    }
}

/// Arguments of `price`.
#[derive(Debug, Args)]
pub(crate) struct PriceArguments {
    /// Devices, as people write them; without one, all
    #[arg(value_name = "DEVICE")]
    devices: Vec<String>,
    /// Only offers of this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The prices in use: the built-in ones, with those of a file.
pub(crate) fn book(path: Option<&PathBuf>) -> Result<Option<PriceBook>, PlanFailure> {
    path.map(|path| read_prices(path)).transpose()
}

/// The planner with the prices of a file, if one is named.
pub(crate) fn with_prices(planner: Planner, path: Option<&PathBuf>) -> Result<Planner, PlanFailure> {
    Ok(match book(path)? {
        Some(book) => planner.with_prices(book),
        None => planner,
    })
}

/// Lists prices.
pub(crate) fn run(arguments: &PriceArguments, path: Option<&PathBuf>) -> Result<ExitCode, PlanFailure> {
    let own = book(path)?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let Some(today) = Date::from_unix_seconds(seconds) else {
        return Ok(crate::fail("the clock of this machine is beyond the year 9999"));
    };
    let book = own.as_ref().unwrap_or_else(|| PriceBook::embedded());
    let answer = prices(book, &arguments.devices, arguments.provider.as_deref(), today)?;
    let text = if arguments.json { crate::json(&answer) } else { price_lines(&answer).join("\n") + "\n" };
    Ok(crate::say(&text, !answer.offers.is_empty()))
}

fn price_lines(answer: &PriceAnswer) -> Vec<String> {
    let mut table = Table::new(&["device", "provider", "kind", "devices", "$/device/h", "date", "age"]);
    for row in &answer.offers {
        let offer = &row.offer;
        let age = row.age_days.map_or_else(String::new, |days| format!("{days} d"));
        table.row(vec![
            offer.device.to_owned(),
            offer.provider.to_string(),
            offer.kind.name().to_owned(),
            offer.count.to_string(),
            dollars(offer.per_device_hour.money().0),
            offer.date.map_or_else(String::new, |date| date.to_string()),
            if row.is_stale { format!("{age}, stale") } else { age },
        ]);
    }
    let mut lines: Vec<String> = answer
        .purchases
        .iter()
        .map(|row| {
            let date = row.purchase.date.as_deref().unwrap_or("no date");
            format!("{}: ${:.0} to buy ({date}: {})", row.device, row.purchase.usd.0, row.purchase.source)
        })
        .collect();
    if answer.offers.is_empty() {
        lines.push("nobody is known to let it".to_owned());
    } else {
        lines.extend(table.lines(""));
    }
    lines
}

/// Dollars with the digits that count.
fn dollars(value: f64) -> String {
    match value.abs() {
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        size if size >= 0.01 => format!("{value:.3}"),
        size if size >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.6}"),
    }
}

/// The cost of a plan as a table; nothing where it is not known.
pub(crate) fn lines(cost: Option<&CostAnswer>) -> Vec<String> {
    let Some(cost) = cost else { return Vec::new() };
    let own = cost.own.as_ref().map(|own| &own.work);
    let ways = [own, cost.rent.as_ref().map(|rent| &rent.work), cost.spot.as_ref().map(|spot| &spot.work)];
    let mut table = Table::new(&["cost, dollars", "own", "rent", "spot"]);
    let mut row = |name: &str, of: fn(&WorkCost) -> Option<Estimate<f64>>| {
        let cells = ways.map(|way| {
            way.and_then(of).map(|one| {
                if one.low < one.high {
                    format!("{} ({} to {})", dollars(one.value), dollars(one.low), dollars(one.high))
                } else {
                    dollars(one.value)
                }
            })
        });
        if cells.iter().any(Option::is_some) {
            let cells = cells.map(|cell| cell.unwrap_or_else(|| "?".to_owned()));
            table.row(std::iter::once(name.to_owned()).chain(cells).collect());
        }
    };
    row("hour of work", |work| Some(work.hourly_usd));
    row("million input tokens", |work| work.usd_per_million_input_tokens);
    row("million output tokens", |work| work.usd_per_million_output_tokens);
    row("request", |work| Some(work.usd_per_request));
    row("job", |work| work.job_usd);
    row("month", |work| Some(work.monthly_usd));
    let mut lines = vec![String::new()];
    if ways.iter().any(Option::is_some) {
        lines.extend(table.lines("  "));
    }
    lines.extend(notes(cost).into_iter().map(|note| format!("  {note}")));
    lines
}

fn notes(cost: &CostAnswer) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(own) = &cost.own {
        let from =
            own.purchases.iter().map(|one| format!("{} ({})", one.usd, one.date.as_deref().unwrap_or("no date")));
        lines.push(format!(
            "own: {}, with its host ${:.0} in all",
            from.collect::<Vec<_>>().join(", "),
            own.capital_usd
        ));
    }
    for (name, rent) in [("rent", &cost.rent), ("spot", &cost.spot)] {
        if let Some(rent) = rent {
            let date = rent.offer.date.map_or_else(String::new, |date| format!(", {date}"));
            lines.push(format!(
                "{name}: {} ({}{date}), {} x {} device(s); {} provider(s) considered",
                rent.offer.provider,
                rent.offer.kind.name(),
                rent.machines,
                rent.offer.count,
                rent.providers.len()
            ));
        }
    }
    if let Some(even) = cost.break_even {
        lines.push(match even.utilization {
            Some(share) => format!(
                "owning beats renting after {:.0} hours of work ({:.1} months at this duty), above {:.0} % of its life",
                even.hours,
                even.months,
                share * 100.0
            ),
            None => "owning does not beat renting within the devices' life".to_owned(),
        });
    }
    if let Some(energy) = cost.energy {
        let joules = |one: Option<Estimate<f64>>| one.map_or_else(|| "?".to_owned(), |one| number(one.value));
        lines.push(format!(
            "energy of the devices: {} W, {} J per input token, {} J per output token",
            number(energy.watts.value),
            joules(energy.input_joules_per_token),
            joules(energy.output_joules_per_token)
        ));
    }
    let taken: Vec<String> = cost
        .assumptions
        .0
        .iter()
        .map(|one| format!("{} {}", one.what.trim_start_matches("cost."), one.value))
        .collect();
    if !taken.is_empty() {
        lines.push("taken for cost (--json says why):".to_owned());
        lines.extend(taken.chunks(5).map(|some| format!("  {}", some.join(", "))));
    }
    lines
}
