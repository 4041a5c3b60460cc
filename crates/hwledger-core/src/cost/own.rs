//! Owning a machine, and when it beats renting one.

use super::HOURS_PER_YEAR;
use super::parameter::{Parameter, Parameters};
use crate::Estimate;
use crate::units::{Money, Watts};

/// Devices that somebody owns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Owning {
    /// Price of all devices, the host left out.
    pub price: Money,
    /// How many they are.
    pub devices: f64,
    /// Mean power of all of them while they work.
    pub power: Estimate<Watts>,
}

impl Owning {
    /// What is paid once: the devices and their share of the hosts.
    pub fn capital(&self, parameters: &Parameters) -> Money {
        self.price.scaled(1.0 + parameters.get(Parameter::HostPriceShare))
    }

    /// Energy of an hour of work.
    ///
    /// **Formula**: `(devices' power + devices × host power / devices per host) × PUE / 1000 × price`
    /// per kWh.
    pub fn energy_per_hour(&self, parameters: &Parameters) -> Estimate<Money> {
        let of = |parameter| parameters.get(parameter);
        let hosts = self.devices / of(Parameter::DevicesPerHost) * of(Parameter::HostPower);
        let dollars =
            |watts: Watts| Money((watts.0 + hosts) / 1000.0 * of(Parameter::Pue) * of(Parameter::EnergyPrice));
        Estimate::formula(dollars(self.power.low), dollars(self.power.value), dollars(self.power.high))
    }

    /// An hour of work, all hours that nobody uses paid for: switched off, they cost no energy.
    ///
    /// **Formula**: `capital × (1 − resale) / (life × 8766 h × duty) + energy`. The interval takes
    /// the spans of life, resale and power end to end.
    /// **Units**: dollars per hour in which the machine works.
    pub fn per_hour(&self, parameters: &Parameters) -> Estimate<Money> {
        let capital = self.capital(parameters);
        let duty = parameters.get(Parameter::Duty);
        let lost = |life: f64, resale: f64| capital.scaled((1.0 - resale) / (life * HOURS_PER_YEAR * duty));
        let (life, resale) = (parameters.span(Parameter::LifeYears), parameters.span(Parameter::ResaleShare));
        let energy = self.energy_per_hour(parameters);
        Estimate::formula(
            lost(life.1, resale.1) + energy.low,
            lost(parameters.get(Parameter::LifeYears), parameters.get(Parameter::ResaleShare)) + energy.value,
            lost(life.0, resale.0) + energy.high,
        )
    }
}

/// Hours of work after which owning has cost less than renting; `None` where it never does.
///
/// **Formula**: `capital × (1 − resale) / (rent per hour − energy per hour)`, all in dollars.
/// Divided by the hours of the machine's life it is the share of them at which both cost the same.
pub fn break_even(owning: &Owning, rent_per_hour: Money, parameters: &Parameters) -> Option<f64> {
    let saved = rent_per_hour.0 - owning.energy_per_hour(parameters).value.0;
    let lost = owning.capital(parameters).scaled(1.0 - parameters.get(Parameter::ResaleShare));
    (saved > 0.0).then(|| lost.0 / saved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> (Owning, Parameters) {
        let parameters = Parameters::new(|parameter| {
            Some(match parameter {
                Parameter::LifeYears => 2.0,
                Parameter::ResaleShare => 0.25,
                Parameter::Duty | Parameter::HostPriceShare => 0.5,
                Parameter::HostPower => 100.0,
                Parameter::DevicesPerHost => 1.0,
                Parameter::Pue => 1.5,
                Parameter::EnergyPrice => 0.2,
                other => other.row().value,
            })
        });
        (Owning { price: Money(1000.0), devices: 1.0, power: Estimate::exact(Watts(300.0)) }, parameters)
    }

    #[test]
    fn an_hour_of_owning_is_lost_capital_and_energy() {
        let (card, parameters) = card();
        // 1500 × 0.75 = 1125 dollars over 2 × 8766 × 0.5 = 8766 hours; 0.4 kW × 1.5 × 0.2 = 0.12.
        let hour = card.per_hour(&parameters);
        assert!((hour.value.0 - (1125.0 / 8766.0 + 0.12)).abs() < 1e-12);
        assert_eq!((hour.low, hour.high), (hour.value, hour.value));
    }

    #[test]
    fn the_spans_of_defaults_widen_the_interval() {
        let (card, _) = card();
        let hour = card.per_hour(Parameters::defaults());
        assert!(hour.low < hour.value && hour.value < hour.high);
    }

    #[test]
    fn owning_pays_once_the_rent_saved_is_the_capital_lost() {
        let (card, parameters) = card();
        // 1125 / (0.57 − 0.12) = 2500 hours.
        let hours = break_even(&card, Money(0.57), &parameters).expect("the rent is above the energy");
        assert!((hours - 2500.0).abs() < 1e-9);
        assert_eq!(break_even(&card, Money(0.12), &parameters), None);
    }
}
