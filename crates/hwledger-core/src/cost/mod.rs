//! What it costs: prices with a date and a source, parameters with spans, and the formulas between
//! them and a speed. Formulas and sources in `docs/cost.md`.

mod amount;
mod date;
mod own;
mod parameter;
mod power;
mod price;
mod purchase;
mod rent;

pub use amount::MicroDollars;
pub use date::{Date, STALE_DAYS};
pub use own::{Owning, break_even};
pub use parameter::{DefaultValue, Parameter, Parameters};
pub use power::{BoundShares, average_power};
pub use price::{BadRow, Billing, Price, PriceBook, PriceKind, Wanted};
pub use purchase::{Purchase, purchase_price};
pub use rent::{Rental, spot_factor};

/// Hours of a year, leap years counted.
pub const HOURS_PER_YEAR: f64 = 8766.0;
/// Hours of a month, the twelfth part.
pub const HOURS_PER_MONTH: f64 = HOURS_PER_YEAR / 12.0;
