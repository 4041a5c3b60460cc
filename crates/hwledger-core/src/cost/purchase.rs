//! What a device costs to buy.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Serialize;

use super::date::Date;
use crate::device::DeviceSpec;
use crate::units::Money;

/// What a device was sold for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Purchase {
    /// One device.
    pub usd: Money,
    /// When, where known.
    pub date: Option<String>,
    /// Where it was read.
    pub source: String,
}

static STREET: LazyLock<HashMap<&'static str, Purchase>> =
    LazyLock::new(|| include_str!("purchases.tsv").lines().filter_map(read).collect());

fn read(line: &'static str) -> Option<(&'static str, Purchase)> {
    let fields: Vec<&'static str> = line.split('\t').collect();
    let [device, usd, date, source] = fields.try_into().ok()?;
    let usd = Money(usd.parse().ok()?);
    Some((device, Purchase { usd, date: Some(Date::parse(date)?.to_string()), source: source.to_owned() }))
}

/// The street price of a device, or else its launch price; `None` where neither is known.
pub fn purchase_price(spec: &DeviceSpec) -> Option<Purchase> {
    STREET.get(&*spec.name).cloned().or_else(|| {
        let launch = spec.price?;
        let date = launch.date.map(|month| month.to_string());
        Some(Purchase { usd: launch.amount, date, source: "launch price of the device table".to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::catalogue;

    #[test]
    fn every_street_price_is_of_a_known_device() {
        let rows = include_str!("purchases.tsv").lines().filter(|line| !line.starts_with('#')).count() - 1;
        assert_eq!(STREET.len(), rows);
        for (name, purchase) in STREET.iter() {
            assert!(catalogue().iter().any(|spec| spec.name == *name), "{name}");
            assert!(purchase.usd.0 > 100.0 && !purchase.source.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_launch_price_stands_in_where_no_street_price_is_known() {
        let spec = catalogue().iter().find(|spec| spec.name == "NVIDIA GeForce RTX 4090").expect("it is in the table");
        assert_eq!(purchase_price(spec).map(|price| price.usd), Some(Money(1599.0)));
    }
}
