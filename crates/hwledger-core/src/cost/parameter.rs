//! What cost predictions take where nobody says: data with sources, told as assumptions.

use std::sync::LazyLock;

use super::date::Date;
use crate::Assumptions;

/// One parameter of cost predictions. The names are those of `defaults.tsv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Parameter {
    /// Years until a machine is sold or thrown away.
    LifeYears,
    /// What it brings then, as a share of its price.
    ResaleShare,
    /// Share of all hours in which it works.
    Duty,
    /// Price of energy.
    EnergyPrice,
    /// Energy that the site takes for each unit that the machine takes.
    Pue,
    /// Power of an idle device, as a share of its limit.
    IdlePowerShare,
    /// How far from idle to the limit a device is while arithmetic limits it.
    ArithmeticPowerShare,
    /// The same while its memory limits it.
    MemoryPowerShare,
    /// The same while neither does.
    OtherPowerShare,
    /// How far the power model is off.
    PowerSpread,
    /// Price of the machine round the devices, as a share of theirs.
    HostPriceShare,
    /// Power of that machine.
    HostPower,
    /// Devices that one machine holds.
    DevicesPerHost,
    /// Share of its capacity that a service is planned for.
    TargetUtilization,
    /// Seconds from renting a machine to its first request.
    StartUp,
    /// Interruptions of a spot machine per hour.
    Interruptions,
    /// Seconds of work that an interruption loses.
    LostWork,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DefaultValue {
    /// The parameter's name.
    pub name: &'static str,
    /// What is taken.
    pub value: f64,
    /// Span of the default, if the table gives one.
    pub span: Option<(f64, f64)>,
    /// Values that are believed when somebody states them.
    pub bounds: (f64, f64),
    /// The unit in words.
    pub unit: &'static str,
    /// When the source said so.
    pub date: Date,
    /// Where it comes from.
    pub source: &'static str,
}

static TABLE: LazyLock<Vec<DefaultValue>> =
    LazyLock::new(|| include_str!("defaults.tsv").lines().filter_map(DefaultValue::read).collect());

impl DefaultValue {
    fn read(line: &'static str) -> Option<Self> {
        let fields: Vec<&'static str> = line.split('\t').collect();
        let [name, value, low, high, min, max, unit, date, source] = fields.try_into().ok()?;
        Some(Self {
            name,
            value: value.parse().ok()?,
            span: low.parse().ok().zip(high.parse().ok()),
            bounds: (min.parse().ok()?, max.parse().ok()?),
            unit,
            date: Date::parse(date)?,
            source,
        })
    }
}

impl Parameter {
    /// All parameters.
    pub const ALL: [Self; 17] = [
        Self::LifeYears,
        Self::ResaleShare,
        Self::Duty,
        Self::EnergyPrice,
        Self::Pue,
        Self::IdlePowerShare,
        Self::ArithmeticPowerShare,
        Self::MemoryPowerShare,
        Self::OtherPowerShare,
        Self::PowerSpread,
        Self::HostPriceShare,
        Self::HostPower,
        Self::DevicesPerHost,
        Self::TargetUtilization,
        Self::StartUp,
        Self::Interruptions,
        Self::LostWork,
    ];

    /// The name in the table and in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LifeYears => "life_years",
            Self::ResaleShare => "resale_share",
            Self::Duty => "duty",
            Self::EnergyPrice => "energy_usd_per_kwh",
            Self::Pue => "pue",
            Self::IdlePowerShare => "idle_power_share",
            Self::ArithmeticPowerShare => "arithmetic_power_share",
            Self::MemoryPowerShare => "memory_power_share",
            Self::OtherPowerShare => "other_power_share",
            Self::PowerSpread => "power_spread",
            Self::HostPriceShare => "host_price_share",
            Self::HostPower => "host_power_w",
            Self::DevicesPerHost => "devices_per_host",
            Self::TargetUtilization => "target_utilization",
            Self::StartUp => "start_up_s",
            Self::Interruptions => "interruptions_per_hour",
            Self::LostWork => "lost_work_s",
        }
    }

    /// Its row.
    ///
    /// # Panics
    ///
    /// If the table lacks it, which a test rules out.
    pub fn row(self) -> &'static DefaultValue {
        TABLE.iter().find(|row| row.name == self.name()).expect("a test finds every parameter in the table")
    }

    /// Whether a stated value is believed.
    pub fn admits(self, value: f64) -> bool {
        let (min, max) = self.row().bounds;
        value >= min && value <= max
    }

    /// What was stated, or the default, told as an assumption.
    pub fn or_default(self, stated: Option<f64>, assumptions: &mut Assumptions) -> f64 {
        stated.unwrap_or_else(|| {
            let row = self.row();
            let why = format!("{} by default ({}: {})", row.unit, row.date, row.source);
            assumptions.note(format!("cost.{}", row.name), &row.value, why);
            row.value
        })
    }
}

/// All parameters with a value and the span that it is good to; what was stated has no span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    values: [(f64, f64, f64); Parameter::ALL.len()],
}

impl Parameters {
    /// What `stated` gives, the table's default elsewhere.
    pub fn new(stated: impl Fn(Parameter) -> Option<f64>) -> Self {
        Self {
            values: Parameter::ALL.map(|parameter| {
                let row = parameter.row();
                let (low, high) = row.span.unwrap_or((row.value, row.value));
                stated(parameter).map_or((low, row.value, high), |value| (value, value, value))
            }),
        }
    }

    /// The table's defaults, read once.
    pub fn defaults() -> &'static Self {
        static DEFAULTS: LazyLock<Parameters> = LazyLock::new(|| Parameters::new(|_| None));
        &DEFAULTS
    }

    /// The value of one.
    pub const fn get(&self, parameter: Parameter) -> f64 {
        self.values[parameter as usize].1
    }

    /// The least and the most that it may be.
    pub const fn span(&self, parameter: Parameter) -> (f64, f64) {
        let (low, _, high) = self.values[parameter as usize];
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_has_a_row_and_every_row_a_parameter() {
        let rows = include_str!("defaults.tsv").lines().filter(|line| !line.starts_with('#')).count() - 1;
        assert_eq!(rows, Parameter::ALL.len());
        assert_eq!(TABLE.len(), Parameter::ALL.len());
        for parameter in Parameter::ALL {
            let row = parameter.row();
            assert!(parameter.admits(row.value), "{}: the default is out of bounds", row.name);
            assert!(row.span.is_none_or(|(low, high)| low <= row.value && row.value <= high), "{}", row.name);
            assert!(!row.source.is_empty() && !row.unit.is_empty(), "{}", row.name);
        }
    }

    #[test]
    fn a_default_is_told_and_a_stated_value_is_not() {
        let mut assumptions = Assumptions::default();
        assert!((Parameter::Duty.or_default(Some(0.25), &mut assumptions) - 0.25).abs() < 1e-12);
        assert!(assumptions.0.is_empty());
        assert!((Parameter::Pue.or_default(None, &mut assumptions) - 1.56).abs() < 1e-12);
        assert_eq!(assumptions.0[0].what, "cost.pue");
        assert!(assumptions.0[0].why.contains("Uptime"));
    }

    #[test]
    fn parameters_stand_in_their_order_and_stated_ones_have_no_span() {
        for (index, parameter) in Parameter::ALL.into_iter().enumerate() {
            assert_eq!(parameter as usize, index);
        }
        let own = Parameters::new(|parameter| (parameter == Parameter::LifeYears).then_some(5.0));
        assert_eq!(own.span(Parameter::LifeYears), (5.0, 5.0));
        assert_eq!(Parameters::defaults().span(Parameter::LifeYears), (3.0, 6.0));
        assert!((own.get(Parameter::Pue) - 1.56).abs() < 1e-12);
    }

    #[test]
    fn nonsense_is_not_believed() {
        for wrong in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e9] {
            assert!(!Parameter::Duty.admits(wrong), "{wrong}");
        }
    }
}
