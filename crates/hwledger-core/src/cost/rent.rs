//! Renting a machine, for as long as one likes or until somebody else wants it.

use super::parameter::{Parameter, Parameters};
use super::price::Price;
use crate::units::{Money, Seconds};

/// What is rented.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rental {
    /// Devices that the plan needs.
    pub devices: u64,
    /// Storage, in GB (10⁹ bytes).
    pub storage_gb: f64,
    /// Traffic to the outside, in GB.
    pub egress_gb: f64,
}

impl Rental {
    /// An hour of all machines: whole machines are paid for.
    pub fn per_hour(&self, price: &Price) -> Money {
        price.machine_hour().times(price.machines(self.devices)).money()
    }

    /// One job from start to end.
    ///
    /// **Formula**: `machines × hourly price × ⌈(start-up + work) / granularity⌉ + storage × GB ×
    /// time billed / month + egress × GB`. `None` where storage or traffic is asked for and the
    /// price of it is not known.
    pub fn job(&self, price: &Price, work: Seconds, parameters: &Parameters) -> Option<Money> {
        let billed = price.billing.billed(Seconds(parameters.get(Parameter::StartUp) + work.0));
        let hours = billed.0 / 3600.0;
        let beside = |amount: f64, each: Option<super::MicroDollars>| match each {
            _ if amount <= 0.0 => Some(Money::ZERO),
            each => each.map(|each| each.money().scaled(amount)),
        };
        let storage = beside(self.storage_gb, price.storage_per_gb_month)?.scaled(hours / super::HOURS_PER_MONTH);
        let egress = beside(self.egress_gb, price.egress_per_gb)?;
        Some(self.per_hour(price).scaled(hours) + storage + egress)
    }
}

/// Hours that are paid for each hour of work that counts, where machines are taken away.
///
/// **Formula**: `1 / (1 − λ × (lost work + start-up))`, λ the interruptions per hour and both times
/// in hours: of each hour paid, that much is done twice or waits. `None` where nothing is left.
/// **Source**: the first-order reckoning of Young 1974, "A first order approximation to the optimum
/// checkpoint interval", with the mean loss per interruption given as a parameter.
pub fn spot_factor(parameters: &Parameters) -> Option<f64> {
    let lost_s = parameters.get(Parameter::LostWork) + parameters.get(Parameter::StartUp);
    let kept = 1.0 - parameters.get(Parameter::Interruptions) * lost_s / 3600.0;
    (kept > 0.0).then(|| 1.0 / kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::PriceBook;

    const ROW: &str = "provider\tdevice\tusd_per_device_hour\tdate\tcount\tgranularity_s\tstorage_usd_per_gb_month\n\
                       mine\tH100 SXM\t2\t2025-06\t8\t3600\t0.1\n";

    fn parameters(interruptions: f64) -> Parameters {
        Parameters::new(|parameter| match parameter {
            Parameter::StartUp => Some(300.0),
            Parameter::LostWork => Some(600.0),
            Parameter::Interruptions => Some(interruptions),
            _ => None,
        })
    }

    #[test]
    fn whole_machines_and_whole_hours_are_paid() {
        let book = PriceBook { prices: Vec::new(), rejected: Vec::new() }.with_private(ROW);
        let price = &book.prices[0];
        // Nine devices are two machines of eight at 16 dollars. An hour and the start-up are two hours.
        let rental = Rental { devices: 9, storage_gb: 0.0, egress_gb: 0.0 };
        let job = |rental: Rental, work| rental.job(price, Seconds(work), &parameters(0.0)).map(|cost| cost.0);
        assert!((job(rental, 3600.0).expect("all is known") - 64.0).abs() < 1e-9);
        assert!((job(rental, 3300.0).expect("all is known") - 32.0).abs() < 1e-9);
        // 730.5 GB for one hour of a month of 730.5: 0.1 dollars.
        let stored = Rental { storage_gb: 730.5, ..rental };
        assert!((job(stored, 3300.0).expect("all is known") - 32.1).abs() < 1e-9);
        assert_eq!(job(Rental { egress_gb: 1.0, ..rental }, 3300.0), None);
    }

    #[test]
    fn interruptions_are_paid_for() {
        // One an hour loses 900 s of 3600: four hours paid for three.
        assert!((spot_factor(&parameters(1.0)).expect("three quarters are left") - 4.0 / 3.0).abs() < 1e-12);
        assert_eq!(spot_factor(&parameters(0.0)), Some(1.0));
        assert_eq!(spot_factor(&parameters(4.0)), None);
    }
}
