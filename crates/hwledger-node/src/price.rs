//! The use case "price": what devices are let for, and how old that knowledge is.

use std::path::Path;

use hwledger_core::cost::{Date, Price, PriceBook, Purchase, Wanted, purchase_price};
use hwledger_core::device::find;
use serde::Serialize;

use crate::planner::PlanFailure;

/// Largest file of prices that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Prices, the cheapest hour first.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct PriceAnswer {
    pub schema: &'static str,
    pub today: Date,
    pub purchases: Vec<PurchaseRow>,
    pub offers: Vec<OfferRow>,
}

/// What a device is sold for.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct PurchaseRow {
    pub device: String,
    #[serde(flatten)]
    pub purchase: Purchase,
}

/// An offer and its age.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct OfferRow {
    #[serde(flatten)]
    pub offer: Price,
    pub age_days: Option<i64>,
    pub is_stale: bool,
}

/// The built-in prices with those of a private file.
///
/// # Errors
///
/// A file that cannot be read, or a row that is no price, with its line.
pub fn read_prices(path: &Path) -> Result<PriceBook, PlanFailure> {
    let refuse = |why: String, hint: &str| PlanFailure::BadRequest {
        key: "prices".to_owned(),
        value: why,
        hint: hint.to_owned(),
    };
    let shown = path.display();
    let length = std::fs::metadata(path).map_err(|error| refuse(format!("{shown}: {error}"), "a readable file"))?.len();
    if length > FILE_BYTES_MAX {
        return Err(refuse(format!("{shown}: {length} bytes"), "a table of at most 16 MiB"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refuse(format!("{shown}: {error}"), "a UTF-8 file"))?;
    let book = PriceBook::embedded().with_private(&text);
    match book.rejected.first() {
        Some(row) => Err(refuse(
            format!("{shown}, line {}: {}", row.line, row.why),
            "tab-separated columns provider, device, usd_per_device_hour, date; docs/cost.md lists all",
        )),
        None => Ok(book),
    }
}

/// Prices of the devices named, of all where none is.
///
/// # Errors
///
/// A name that is no device, or that may mean several.
pub fn prices(
    book: &PriceBook,
    devices: &[String],
    provider: Option<&str>,
    today: Date,
) -> Result<PriceAnswer, PlanFailure> {
    let mut names = Vec::new();
    let mut purchases = Vec::new();
    for text in devices {
        let found = find(text, None)?;
        let Some(spec) = found.device.spec else {
            let near = found.suggestions.first().map(|near| format!("; the nearest is `{near}`")).unwrap_or_default();
            return Err(PlanFailure::BadRequest {
                key: "device".to_owned(),
                value: text.clone(),
                hint: format!("no such device is known{near}"),
            });
        };
        if let Some(purchase) = purchase_price(&spec) {
            purchases.push(PurchaseRow { device: spec.name.to_string(), purchase });
        }
        names.push(spec.name.to_string());
    }
    let wanted = Wanted { provider, ..Wanted::default() };
    let all: Vec<&str> = if names.is_empty() {
        let mut all: Vec<&str> = book.prices.iter().map(|price| price.device).collect();
        all.sort_unstable();
        all.dedup();
        all
    } else {
        names.iter().map(String::as_str).collect()
    };
    let mut offers: Vec<OfferRow> = all
        .into_iter()
        .flat_map(|device| book.offers(device, wanted))
        .map(|offer| OfferRow {
            offer: offer.clone(),
            age_days: offer.date.map(|date| date.age_days(today)),
            is_stale: offer.date.is_some_and(|date| date.is_stale(today)),
        })
        .collect();
    offers.sort_by(|a, b| (a.offer.device, a.offer.per_device_hour).cmp(&(b.offer.device, b.offer.per_device_hour)));
    Ok(PriceAnswer { schema: "hwledger.price/1", today, purchases, offers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_of_a_device_come_cheapest_first_and_old_ones_are_marked() {
        let today = Date::parse("2026-01-01").expect("a date");
        let answer = prices(PriceBook::embedded(), &["L40S".to_owned()], None, today).expect("the device is known");
        assert!(answer.offers.len() > 5);
        assert!(answer.offers.is_sorted_by_key(|row| row.offer.per_device_hour));
        assert!(answer.offers.iter().all(|row| row.is_stale == row.age_days.is_some_and(|days| days > 90)));
        assert_eq!(answer.purchases.len(), 1);
    }

    #[test]
    fn an_unknown_device_is_named() {
        let today = Date::parse("2026-01-01").expect("a date");
        let failure = prices(PriceBook::embedded(), &["RTX 9999".to_owned()], None, today).expect_err("no such device");
        assert!(failure.to_string().contains("RTX 9999"));
    }
}
