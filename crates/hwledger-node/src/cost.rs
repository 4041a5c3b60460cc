//! The section "cost" of a plan: owning, renting and spot machines, per hour, token, job and month.

use hwledger_core::calibration::Figure;
use hwledger_core::cost::{
    BoundShares, HOURS_PER_MONTH, HOURS_PER_YEAR, Owning, Parameter, Parameters, Price, PriceBook, PriceKind, Purchase,
    Rental, Wanted, average_power, break_even, purchase_price, spot_factor,
};
use hwledger_core::projection::{Efficiencies, Projection, Speed};
use hwledger_core::settings::{Device, DeviceKind};
use hwledger_core::units::{Money, Seconds, Watts};
use hwledger_core::{Assumptions, Basis, Estimate};
use serde::{Deserialize, Serialize};

use crate::planner::{PlanFailure, Prepared};

/// What a request says about cost; the parameters' names are those of the table of defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct CostRequest {
    pub price_usd: Option<f64>,
    pub hourly_usd: Option<f64>,
    pub provider: Option<String>,
    pub requests: Option<u64>,
    pub requests_per_s: Option<f64>,
    pub storage_gb: Option<f64>,
    pub egress_gb: Option<f64>,
    pub life_years: Option<f64>,
    pub resale_share: Option<f64>,
    pub duty: Option<f64>,
    pub energy_usd_per_kwh: Option<f64>,
    pub pue: Option<f64>,
    pub idle_power_share: Option<f64>,
    pub arithmetic_power_share: Option<f64>,
    pub memory_power_share: Option<f64>,
    pub other_power_share: Option<f64>,
    pub power_spread: Option<f64>,
    pub host_price_share: Option<f64>,
    pub host_power_w: Option<f64>,
    pub devices_per_host: Option<f64>,
    pub target_utilization: Option<f64>,
    pub start_up_s: Option<f64>,
    pub interruptions_per_hour: Option<f64>,
    pub lost_work_s: Option<f64>,
}

/// Dearest price, most requests and most gigabytes that are believed.
const AMOUNT_MAX: f64 = 1e12;

impl CostRequest {
    /// What is stated of one parameter.
    pub const fn stated(&self, parameter: Parameter) -> Option<f64> {
        match parameter {
            Parameter::LifeYears => self.life_years,
            Parameter::ResaleShare => self.resale_share,
            Parameter::Duty => self.duty,
            Parameter::EnergyPrice => self.energy_usd_per_kwh,
            Parameter::Pue => self.pue,
            Parameter::IdlePowerShare => self.idle_power_share,
            Parameter::ArithmeticPowerShare => self.arithmetic_power_share,
            Parameter::MemoryPowerShare => self.memory_power_share,
            Parameter::OtherPowerShare => self.other_power_share,
            Parameter::PowerSpread => self.power_spread,
            Parameter::HostPriceShare => self.host_price_share,
            Parameter::HostPower => self.host_power_w,
            Parameter::DevicesPerHost => self.devices_per_host,
            Parameter::TargetUtilization => self.target_utilization,
            Parameter::StartUp => self.start_up_s,
            Parameter::Interruptions => self.interruptions_per_hour,
            Parameter::LostWork => self.lost_work_s,
        }
    }

    /// Refuses values that mean nothing.
    ///
    /// # Errors
    ///
    /// The key, its value and what would do.
    pub fn check(&self) -> Result<(), PlanFailure> {
        let bad = |key: &str, value: f64, hint: String| {
            Err(PlanFailure::BadRequest { key: format!("cost.{key}"), value: value.to_string(), hint })
        };
        for parameter in Parameter::ALL {
            if let Some(value) = self.stated(parameter).filter(|&value| !parameter.admits(value)) {
                let (min, max) = parameter.row().bounds;
                return bad(parameter.name(), value, format!("from {min} to {max} {}", parameter.row().unit));
            }
        }
        for (key, value) in [
            ("price_usd", self.price_usd),
            ("hourly_usd", self.hourly_usd),
            ("requests_per_s", self.requests_per_s),
            ("storage_gb", self.storage_gb),
            ("egress_gb", self.egress_gb),
        ] {
            if let Some(value) = value.filter(|value| !(0.0..=AMOUNT_MAX).contains(value)) {
                return bad(key, value, format!("from 0 to {AMOUNT_MAX}"));
            }
        }
        Ok(())
    }
}

/// What a plan costs.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct CostAnswer {
    pub own: Option<OwnAnswer>,
    pub rent: Option<RentAnswer>,
    pub spot: Option<RentAnswer>,
    pub break_even: Option<BreakEvenAnswer>,
    pub energy: Option<EnergyAnswer>,
    /// Every default taken.
    pub assumptions: Assumptions,
}

/// One way of paying for the machine, per unit of work.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct WorkCost {
    pub hourly_usd: Estimate<f64>,
    pub usd_per_million_input_tokens: Option<Estimate<f64>>,
    pub usd_per_million_output_tokens: Option<Estimate<f64>>,
    pub usd_per_request: Estimate<f64>,
    pub job_usd: Option<Estimate<f64>>,
    pub monthly_usd: Estimate<f64>,
    /// Copies of the whole plan that the month is for.
    pub copies: u64,
}

/// Owning the devices.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct OwnAnswer {
    pub capital_usd: f64,
    pub purchases: Vec<Purchase>,
    #[serde(flatten)]
    pub work: WorkCost,
}

/// Renting them.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct RentAnswer {
    pub offer: Price,
    pub machines: u64,
    pub providers: Vec<String>,
    #[serde(flatten)]
    pub work: WorkCost,
}

/// When owning beats renting.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct BreakEvenAnswer {
    pub hours: f64,
    pub months: f64,
    /// Share of all hours of the machine's life; null where that is more than all.
    pub utilization: Option<f64>,
}

/// Power and energy of the devices alone.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct EnergyAnswer {
    pub watts: Estimate<f64>,
    pub input_joules_per_token: Option<Estimate<f64>>,
    pub output_joules_per_token: Option<Estimate<f64>>,
}

impl EnergyAnswer {
    /// Takes the joules per token that are known better.
    pub(crate) fn correct(&mut self, best: &[(Figure, Estimate<f64>)]) {
        let of = |figure| best.iter().find(|(known, _)| *known == figure).map(|(_, joules)| *joules);
        self.input_joules_per_token = of(Figure::InputJoulesPerToken).or(self.input_joules_per_token);
        self.output_joules_per_token = of(Figure::OutputJoulesPerToken).or(self.output_joules_per_token);
    }
}

fn product(left: Estimate<f64>, right: Estimate<f64>) -> Estimate<f64> {
    Estimate {
        value: left.value * right.value,
        low: left.low * right.low,
        high: left.high * right.high,
        basis: left.basis.max(right.basis),
    }
}

fn scaled(estimate: Estimate<f64>, factor: f64) -> Estimate<f64> {
    product(estimate, Estimate { basis: estimate.basis, ..Estimate::exact(factor) })
}

fn amount(estimate: Estimate<Money>) -> Estimate<f64> {
    Estimate::formula(estimate.low.0, estimate.value.0, estimate.high.0)
}

/// Machine time of one request at full use, divided between its prompt and its output.
///
/// A request takes `1 / requests per second` of the machine. Its prompt takes `prompt tokens /
/// prefill rate` of that, its output the rest, so that both parts sum to the whole.
#[derive(Clone, Copy, Debug, PartialEq)]
struct WorkTime {
    request_s: Estimate<f64>,
    prompt_s: f64,
    prompt_tokens: f64,
    output_tokens: f64,
}

impl WorkTime {
    fn new(speed: &Speed, projection: &Projection, replicas: f64) -> Option<Self> {
        let rate = speed.requests_per_s.filter(|rate| rate.low > 0.0 && rate.high.is_finite())?;
        let prefill = speed.prefill_tokens_per_s.filter(|rate| rate.value > 0.0);
        let request_s =
            Estimate { value: 1.0 / rate.value, low: 1.0 / rate.high, high: 1.0 / rate.low, basis: rate.basis };
        let prompt_s = prefill.map_or(0.0, |rate| projection.prompt / rate.value / replicas).min(request_s.value);
        Some(Self { request_s, prompt_s, prompt_tokens: projection.prompt, output_tokens: projection.generated })
    }

    /// Seconds of the machine per token of the prompt; the interval is the whole request's.
    fn input_s(&self) -> Option<Estimate<f64>> {
        let share = self.prompt_s / self.request_s.value;
        (self.prompt_tokens > 0.0 && share > 0.0).then(|| scaled(self.request_s, share / self.prompt_tokens))
    }

    /// The same per generated token.
    fn output_s(&self) -> Option<Estimate<f64>> {
        let share = 1.0 - self.prompt_s / self.request_s.value;
        (self.output_tokens > 0.0 && share > 0.0).then(|| scaled(self.request_s, share / self.output_tokens))
    }
}

/// A month's demand: copies of the plan, and the share of their hours in which they work.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Demand {
    copies: u64,
    busy: f64,
}

impl Demand {
    /// Without a request rate one copy works all hours.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded below and above")]
    fn new(rate: Option<f64>, time: &WorkTime, parameters: &Parameters) -> Self {
        let Some(rate) = rate else { return Self { copies: 1, busy: 1.0 } };
        let load = rate * time.request_s.value;
        let copies = (load / parameters.get(Parameter::TargetUtilization)).ceil().clamp(1.0, 1e15);
        Self { copies: copies as u64, busy: (load / copies).min(1.0) }
    }
}

fn work(hourly: Estimate<f64>, monthly: Estimate<f64>, copies: u64, time: &WorkTime) -> WorkCost {
    let million = |seconds: Estimate<f64>| scaled(product(hourly, seconds), 1e6 / 3600.0);
    WorkCost {
        hourly_usd: hourly,
        usd_per_million_input_tokens: time.input_s().map(million),
        usd_per_million_output_tokens: time.output_s().map(million),
        usd_per_request: scaled(product(hourly, time.request_s), 1.0 / 3600.0),
        job_usd: None,
        monthly_usd: monthly,
        copies,
    }
}

/// Mean power of all devices in a phase, or idle.
fn watts(devices: &[Device], shares: BoundShares, parameters: &Parameters) -> Option<Estimate<Watts>> {
    let each = devices.iter().map(|device| Some(average_power(device.spec.as_ref()?.power?, shares, parameters)));
    let all: Vec<_> = each.collect::<Option<_>>()?;
    let sum = |end: fn(&Estimate<Watts>) -> Watts| all.iter().map(end).sum();
    (!all.is_empty()).then(|| Estimate::formula(sum(|one| one.low), sum(|one| one.value), sum(|one| one.high)))
}

/// All that the parts of the answer are computed from.
struct Question<'a> {
    prepared: &'a Prepared,
    request: &'a CostRequest,
    book: &'a PriceBook,
    parameters: Parameters,
    time: WorkTime,
    demand: Demand,
}

impl Question<'_> {
    /// Mean power of all devices in a phase, or idle.
    fn watts(&self, shares: BoundShares) -> Option<Estimate<Watts>> {
        watts(&self.prepared.settings.devices, shares, &self.parameters)
    }

    /// Mean power while working, and energy per token.
    fn energy(&self, projection: &Projection) -> Option<(Estimate<Watts>, EnergyAnswer)> {
        let efficiencies = Efficiencies::embedded();
        let plain = |watts: Estimate<Watts>| Estimate::formula(watts.low.0, watts.value.0, watts.high.0);
        let prefill = self.watts(BoundShares::of(&projection.prefill, efficiencies))?;
        let decode = self.watts(BoundShares::of(&projection.pass, efficiencies))?;
        let share = self.time.prompt_s / self.time.request_s.value;
        let mixed = |prefill: Watts, decode: Watts| prefill.scaled(share) + decode.scaled(1.0 - share);
        let mean = Estimate::formula(
            mixed(prefill.low, decode.low),
            mixed(prefill.value, decode.value),
            mixed(prefill.high, decode.high),
        );
        let answer = EnergyAnswer {
            watts: plain(mean),
            input_joules_per_token: self.time.input_s().map(|seconds| product(plain(prefill), seconds)),
            output_joules_per_token: self.time.output_s().map(|seconds| product(plain(decode), seconds)),
        };
        Some((mean, answer))
    }

    fn purchases(&self) -> Option<Vec<Purchase>> {
        let devices = &self.prepared.settings.devices;
        let stated = self.request.price_usd.map(|usd| Purchase {
            usd: Money(usd),
            date: None,
            source: "stated in the request".to_owned(),
        });
        let each = devices.iter().map(|device| stated.clone().or_else(|| purchase_price(device.spec.as_ref()?)));
        let all: Vec<_> = each.collect::<Option<_>>()?;
        (!all.is_empty()).then_some(all)
    }

    fn own(&self, power: Estimate<Watts>) -> Option<(Owning, OwnAnswer)> {
        let mut purchases = self.purchases()?;
        let owning = Owning {
            price: purchases.iter().map(|purchase| purchase.usd).sum(),
            devices: purchases.len() as f64,
            power,
        };
        purchases.dedup();
        let parameters = &self.parameters;
        let idle = Owning { power: self.watts(BoundShares::default())?, ..owning };
        // A month of all hours: what the hours of work do not use, the machine idles.
        let capital = Parameters::new(|parameter| match parameter {
            Parameter::Duty => Some(1.0),
            Parameter::EnergyPrice => Some(0.0),
            Parameter::LifeYears | Parameter::ResaleShare => self.request.stated(parameter),
            other => Some(parameters.get(other)),
        });
        let lost = amount(owning.per_hour(&capital));
        let energy = amount(owning.energy_per_hour(parameters));
        let idling = amount(idle.energy_per_hour(parameters));
        let (busy, hours) = (self.demand.busy, HOURS_PER_MONTH * self.demand.copies as f64);
        let month = |lost: f64, energy: f64, idle: f64| (lost + energy * busy + idle * (1.0 - busy)) * hours;
        let monthly = Estimate::formula(
            month(lost.low, energy.low, idling.low),
            month(lost.value, energy.value, idling.value),
            month(lost.high, energy.high, idling.high),
        );
        let mut work = work(amount(owning.per_hour(parameters)), monthly, self.demand.copies, &self.time);
        work.job_usd = self.request.requests.map(|requests| scaled(work.usd_per_request, requests as f64));
        Some((owning, OwnAnswer { capital_usd: owning.capital(parameters).0, purchases, work }))
    }

    /// The cheapest offer of a kind; `None` where devices differ or nobody lets them.
    fn rent(&self, kind: PriceKind, factor: f64) -> Option<RentAnswer> {
        let devices = &self.prepared.settings.devices;
        let name = &*devices.first()?.spec.as_ref()?.name;
        let is_one_kind = devices.iter().all(|device| device.spec.as_ref().is_some_and(|spec| spec.name == name));
        if !is_one_kind {
            return None;
        }
        let count = devices.len() as u64;
        let wanted = Wanted { provider: self.request.provider.as_deref(), kind: Some(kind), region: None };
        let offer = match self.request.hourly_usd {
            Some(usd) if kind == PriceKind::OnDemand => Price::stated(name, u32::try_from(count).ok()?, usd)?,
            _ => self.book.cheapest(name, count, wanted)?.clone(),
        };
        let mut providers: Vec<_> = self.book.offers(name, wanted).map(|price| price.provider.to_string()).collect();
        providers.sort_unstable();
        providers.dedup();
        let rental = Rental {
            devices: count,
            storage_gb: self.request.storage_gb.unwrap_or(0.0),
            egress_gb: self.request.egress_gb.unwrap_or(0.0),
        };
        let hour = rental.per_hour(&offer).0 * factor;
        let month = hour * HOURS_PER_MONTH * self.demand.copies as f64;
        let mut work = work(Estimate::exact(hour), Estimate::exact(month), self.demand.copies, &self.time);
        let job = |requests: u64, request_s: f64| {
            let seconds = requests as f64 * request_s * factor;
            rental.job(&offer, Seconds(seconds), &self.parameters).map(|cost| cost.0)
        };
        work.job_usd = self.request.requests.and_then(|requests| {
            let time = self.time.request_s;
            let (value, low) = (job(requests, time.value)?, job(requests, time.low)?);
            Some(Estimate { value, low, high: job(requests, time.high)?, basis: time.basis.max(Basis::Formula) })
        });
        Some(RentAnswer { machines: offer.machines(count), offer, providers, work })
    }

    fn break_even(&self, owning: &Owning, rent: &RentAnswer) -> Option<BreakEvenAnswer> {
        let hours = break_even(owning, Money(rent.work.hourly_usd.value), &self.parameters)?;
        let of = |parameter| self.parameters.get(parameter);
        let share = hours / (of(Parameter::LifeYears) * HOURS_PER_YEAR);
        let months = hours / (HOURS_PER_MONTH * of(Parameter::Duty));
        Some(BreakEvenAnswer { hours, months, utilization: (share <= 1.0).then_some(share) })
    }
}

impl Prepared {
    /// Whether the devices are sold as whole computers, with nothing round them to pay for.
    fn is_whole_computer(&self) -> bool {
        let devices = &self.settings.devices;
        !devices.is_empty() && devices.iter().all(|device| device.kind == DeviceKind::Apple)
    }

    /// Energy of the devices alone at this speed, as far as their power limits and the speed are known: joules per token
    /// of a prompt, per generated token, and per request.
    ///
    /// **Formula**: mean power of the phase × time of the machine per token; where a request has no end (a prompt alone,
    /// tokens alone), the time is the inverse of the phase's rate, of all sequences together.
    pub(crate) fn energy(&self, speed: &Speed) -> Vec<(Figure, Estimate<f64>)> {
        let efficiencies = Efficiencies::embedded();
        let Ok(projection) = self.projection(efficiencies, &mut Assumptions::default()) else { return Vec::new() };
        let replicas = self.settings.data_parallel.unwrap_or(1).max(1) as f64;
        let time = WorkTime::new(speed, &projection, replicas);
        let watts = |shares| {
            let watts = watts(&self.settings.devices, shares, Parameters::defaults())?;
            Some(Estimate::formula(watts.low.0, watts.value.0, watts.high.0))
        };
        let sequences = self.settings.concurrency.unwrap_or(1).max(1) as f64;
        let inverse = |rate: Option<Estimate<f64>>, sequences: f64| {
            let rate = rate.filter(|rate| rate.low > 0.0 && rate.high.is_finite())?;
            let seconds = |end: f64| 1.0 / (end * sequences);
            Some(Estimate { value: seconds(rate.value), low: seconds(rate.high), high: seconds(rate.low), ..rate })
        };
        let joules = |shares: BoundShares, seconds: Option<Estimate<f64>>| Some(product(watts(shares)?, seconds?));
        let prefill = BoundShares::of(&projection.prefill, efficiencies);
        let pass = BoundShares::of(&projection.pass, efficiencies);
        let input_s = time.and_then(|time| time.input_s());
        let output_s = time.and_then(|time| time.output_s());
        let input = joules(prefill, input_s.or_else(|| inverse(speed.prefill_tokens_per_s, 1.0)));
        let output = joules(pass, output_s.or_else(|| inverse(speed.decode_tokens_per_s, sequences)));
        let request = input.zip(output).filter(|_| time.is_some()).map(|(input, output)| {
            let (prompt, generated) = (projection.prompt, projection.generated);
            let sum = |input: f64, output: f64| input * prompt + output * generated;
            Estimate {
                value: sum(input.value, output.value),
                low: sum(input.low, output.low),
                high: sum(input.high, output.high),
                basis: input.basis.max(output.basis),
            }
        });
        let found = [
            (Figure::InputJoulesPerToken, input),
            (Figure::OutputJoulesPerToken, output),
            (Figure::RequestJoules, request),
        ];
        found.into_iter().filter_map(|(figure, joules)| Some((figure, joules?))).collect()
    }

    /// The same, corrected by what counters have told of earlier runs: `formula` is the speed of the formulas alone,
    /// `speed` the best that is known.
    pub(crate) fn best_energy(
        &self,
        formula: &Speed,
        speed: &Speed,
        told: &mut Assumptions,
    ) -> Vec<(Figure, Estimate<f64>)> {
        let mut best = self.energy(speed);
        let Some(learned) = &self.learned else { return best };
        for (figure, said) in self.energy(formula) {
            let Some(corrected) = learned.corrected(self, figure, said, told) else { continue };
            best.retain(|(known, _)| *known != figure);
            best.push((figure, corrected));
        }
        best.sort_by_key(|(figure, _)| *figure);
        best
    }

    /// What the plan costs at this speed; `None` where that cannot be said, with the reason among
    /// the plan's assumptions.
    pub(crate) fn cost(&self, request: &CostRequest, speed: &Speed, told: &mut Assumptions) -> Option<CostAnswer> {
        // The projection's own assumptions were told with the speed.
        let projection = self.projection(Efficiencies::embedded(), &mut Assumptions::default()).ok();
        let replicas = self.settings.data_parallel.unwrap_or(1).max(1) as f64;
        let timed = projection.and_then(|found| WorkTime::new(speed, &found, replicas).map(|time| (found, time)));
        let Some((projection, time)) = timed else {
            told.note("cost", "unknown", "the speed is not known");
            return None;
        };
        let is_computer = self.is_whole_computer();
        let parameters = Parameters::new(|parameter| {
            let is_host = matches!(parameter, Parameter::HostPriceShare | Parameter::HostPower);
            request.stated(parameter).or((is_computer && is_host).then_some(0.0))
        });
        let demand = Demand::new(request.requests_per_s, &time, &parameters);
        let book = self.prices.as_deref().unwrap_or_else(|| PriceBook::embedded());
        let question = Question { prepared: self, request, book, parameters, time, demand };
        let (power, energy) = question.energy(&projection).unzip();
        let (owning, own) = power.and_then(|power| question.own(power)).unzip();
        // Where only private hosts let a device, theirs is the rent.
        let rent = question.rent(PriceKind::OnDemand, 1.0).or_else(|| question.rent(PriceKind::Community, 1.0));
        let spot = spot_factor(&question.parameters).and_then(|factor| question.rent(PriceKind::Spot, factor));
        if own.is_none() && rent.is_none() && spot.is_none() && energy.is_none() {
            told.note("cost", "unknown", "neither the rent nor the power of these devices is known");
            return None;
        }
        let break_even = owning.zip(rent.as_ref()).and_then(|(owning, rent)| question.break_even(&owning, rent));
        let mut assumptions = Assumptions::default();
        for parameter in Parameter::ALL {
            let is_taken = match parameter {
                Parameter::TargetUtilization => request.requests_per_s.is_some(),
                Parameter::StartUp => spot.is_some() || request.requests.is_some(),
                Parameter::Interruptions | Parameter::LostWork => spot.is_some(),
                _ => energy.is_some(),
            };
            let is_host = matches!(parameter, Parameter::HostPriceShare | Parameter::HostPower);
            if is_taken && is_host && is_computer && request.stated(parameter).is_none() {
                let why = "price and power of the device are those of the whole computer";
                assumptions.note(format!("cost.{}", parameter.name()), "0", why);
            } else if is_taken {
                parameter.or_default(request.stated(parameter), &mut assumptions);
            }
        }
        if let Some(rent) = rent.as_ref().filter(|rent| rent.machines > 1) {
            let why = "no machine let holds all devices; the network between them is not in the speed";
            assumptions.note("cost.rent.machines", &rent.machines, why);
        }
        let unknown = [
            ("own", own.is_some(), "the price or the power of a device is not known"),
            ("rent", rent.is_some(), "nobody is known to let these devices"),
            ("spot", spot.is_some(), "nobody is known to let these devices as spot machines"),
        ];
        for (key, _, why) in unknown.into_iter().filter(|(_, is_known, _)| !is_known) {
            assumptions.note(format!("cost.{key}"), "unknown", why);
        }
        Some(CostAnswer { own, rent, spot, break_even, energy, assumptions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time() -> WorkTime {
        let request_s = Estimate::formula(8.0, 10.0, 20.0);
        WorkTime { request_s, prompt_s: 2.0, prompt_tokens: 1000.0, output_tokens: 100.0 }
    }

    #[test]
    fn the_parts_of_a_request_sum_to_the_whole() {
        // 3.6 dollars an hour are 0.001 dollars a second: 10 s are a cent.
        let cost = work(Estimate::exact(3.6), Estimate::exact(0.0), 1, &time());
        let input = cost.usd_per_million_input_tokens.expect("there is a prompt").value;
        let output = cost.usd_per_million_output_tokens.expect("there is output").value;
        assert!((input - 2.0).abs() < 1e-9, "2 s over 1000 tokens: {input}");
        assert!((output - 80.0).abs() < 1e-9, "8 s over 100 tokens: {output}");
        assert!((cost.usd_per_request.value - (1000.0 * input + 100.0 * output) / 1e6).abs() < 1e-12);
        assert!((cost.usd_per_request.high - 0.02).abs() < 1e-12);
    }

    #[test]
    fn more_requests_than_one_copy_serves_take_more_copies() {
        let parameters = Parameters::defaults();
        assert_eq!(Demand::new(None, &time(), parameters), Demand { copies: 1, busy: 1.0 });
        // 0.2 requests a second of 10 s are a load of 2; at most 0.8 of each copy: three.
        let demand = Demand::new(Some(0.2), &time(), parameters);
        assert_eq!(demand.copies, 3);
        assert!((demand.busy - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        for text in [r#"{"pue": 0.5}"#, r#"{"price_usd": -1}"#, r#"{"duty": 0}"#] {
            let request: CostRequest = serde_json::from_str(text).expect("the shape is right");
            let failure = request.check().expect_err(text);
            assert!(failure.to_string().contains("cost."), "{failure}");
        }
        assert!(CostRequest::default().check().is_ok());
    }
}
