//! Prices of rented devices: rows with a provider, a date and a source.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde::Serialize;

use super::amount::MicroDollars;
use super::date::Date;
use crate::device::{DeviceError, catalogue, find};
use crate::units::{Money, Seconds};

/// How a device is rented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PriceKind {
    /// For as long as one likes.
    OnDemand,
    /// For months or years, promised ahead.
    Reserved,
    /// Until somebody else wants it.
    Spot,
    /// From a private host of a market place, who may leave.
    Community,
}

impl PriceKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::OnDemand, Self::Reserved, Self::Spot, Self::Community];

    /// The name in tables and requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Reserved => "reserved",
            Self::Spot => "spot",
            Self::Community => "community",
        }
    }

    /// The kind with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether the machine can be taken away while it works.
    pub const fn is_interruptible(self) -> bool {
        matches!(self, Self::Spot)
    }
}

/// How time is billed: rounded up to whole steps, and no less than a minimum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Billing {
    /// The step.
    pub step_s: u32,
    /// The least that is billed.
    pub minimum_s: u32,
}

impl Billing {
    /// The time on the bill for so much use.
    pub fn billed(self, used: Seconds) -> Seconds {
        let step = f64::from(self.step_s.max(1));
        // Less than a millionth of a step is rounding of ours, not use.
        let steps = (used.0 / step - 1e-6).ceil().max(0.0);
        Seconds((steps * step).max(f64::from(self.minimum_s)))
    }
}

/// One price.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Price {
    /// Who lets the device.
    pub provider: Cow<'static, str>,
    /// The device's name in the catalogue.
    pub device: &'static str,
    /// Devices of one machine; fewer cannot be rented.
    pub count: u32,
    /// How it is rented.
    pub kind: PriceKind,
    /// For one device and hour.
    #[serde(rename = "microdollars_per_device_hour")]
    pub per_device_hour: MicroDollars,
    /// The currency that the provider bills in; the price is in dollars all the same.
    pub currency: Cow<'static, str>,
    /// Where.
    pub region: Cow<'static, str>,
    /// When it was known; `None` for a price that a request states.
    pub date: Option<Date>,
    /// How time is billed.
    pub billing: Billing,
    /// Storage, a GB and month.
    #[serde(rename = "storage_microdollars_per_gb_month")]
    pub storage_per_gb_month: Option<MicroDollars>,
    /// Traffic to the outside, a GB.
    #[serde(rename = "egress_microdollars_per_gb")]
    pub egress_per_gb: Option<MicroDollars>,
    /// Where it was read.
    pub source: Cow<'static, str>,
    /// Whether it comes from the user's own file.
    pub is_private: bool,
}

/// A row that is no price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadRow {
    /// Its line, the first being 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// Dearest hour of one device that is believed, in dollars.
const DEVICE_HOUR_MAX: i64 = 1000;
/// Dearest GB, of storage or traffic, that is believed.
const GIGABYTE_MAX: i64 = 100;
/// Most devices of one machine.
const DEVICES_MAX: u32 = 1024;
/// Longest step or minimum of billing: a year.
const BILLING_MAX_S: u32 = 366 * 86_400;

/// A line by the names of its columns.
struct Row<'text> {
    header: &'text [&'text str],
    fields: Vec<&'text str>,
}

impl<'text> Row<'text> {
    fn text(&self, column: &str) -> &'text str {
        let index = self.header.iter().position(|&title| title == column);
        index.and_then(|index| self.fields.get(index)).copied().unwrap_or_default().trim()
    }

    fn owned(&self, column: &str) -> Cow<'static, str> {
        Cow::Owned(self.text(column).to_owned())
    }

    fn dollars(&self, column: &str, most: i64) -> Result<Option<MicroDollars>, String> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        match MicroDollars::parse(text) {
            Some(amount) if amount <= MicroDollars(most * 1_000_000) => Ok(Some(amount)),
            _ => Err(format!("`{column}` cannot be `{text}`: dollars from 0 to {most}, at most six decimals")),
        }
    }

    fn count(&self, column: &str, usual: u32, (least, most): (u32, u32)) -> Result<u32, String> {
        match self.text(column) {
            "" => Ok(usual),
            text => text
                .parse()
                .ok()
                .filter(|&count| count >= least && count <= most)
                .ok_or_else(|| format!("`{column}` cannot be `{text}`: a whole number from {least} to {most}")),
        }
    }

    fn device(&self) -> Result<&'static str, String> {
        let text = self.text("device");
        if let Some(spec) = catalogue().iter().find(|spec| spec.name == text) {
            return Ok(&spec.name);
        }
        let found = find(text, None).map_err(|error| match error {
            DeviceError::Empty => "it names no `device`".to_owned(),
            ambiguous @ DeviceError::Ambiguous { .. } => ambiguous.to_string(),
        })?;
        let known = found.device.spec.as_ref().and_then(|spec| catalogue().iter().find(|own| own.name == spec.name));
        known.map(|spec| &*spec.name).ok_or_else(|| format!("no device is known as `{text}`"))
    }

    fn price(&self, is_private: bool) -> Result<Price, String> {
        if self.fields.len() > self.header.len() {
            return Err(format!("it has {} columns, the header {}", self.fields.len(), self.header.len()));
        }
        if self.text("provider").is_empty() {
            return Err("it names no `provider`".to_owned());
        }
        let per_device_hour = self.dollars("usd_per_device_hour", DEVICE_HOUR_MAX)?;
        let kind = match self.text("kind") {
            "" => PriceKind::OnDemand,
            text => PriceKind::named(text)
                .ok_or_else(|| format!("`kind` cannot be `{text}`: one of on-demand, reserved, spot, community"))?,
        };
        let date = self.text("date");
        Ok(Price {
            provider: self.owned("provider"),
            device: self.device()?,
            count: self.count("count", 1, (1, DEVICES_MAX))?,
            kind,
            per_device_hour: per_device_hour.ok_or("it has no `usd_per_device_hour`")?,
            currency: if self.text("currency").is_empty() { Cow::Borrowed("USD") } else { self.owned("currency") },
            region: self.owned("region"),
            date: Some(Date::parse(date).ok_or_else(|| format!("`date` cannot be `{date}`: YYYY-MM or YYYY-MM-DD"))?),
            billing: Billing {
                step_s: self.count("granularity_s", 1, (1, BILLING_MAX_S))?,
                minimum_s: self.count("minimum_s", 0, (0, BILLING_MAX_S))?,
            },
            storage_per_gb_month: self.dollars("storage_usd_per_gb_month", GIGABYTE_MAX)?,
            egress_per_gb: self.dollars("egress_usd_per_gb", GIGABYTE_MAX)?,
            source: self.owned("source"),
            is_private,
        })
    }
}

/// Reads a table of prices: tab-separated, a header with the columns' names, `#` before remarks.
/// Rows that cannot be read are left out and named.
fn read(text: &str, is_private: bool) -> (Vec<Price>, Vec<BadRow>) {
    let plain = |(_, line): &(usize, &str)| !line.starts_with('#') && !line.trim().is_empty();
    let mut lines = text.lines().enumerate().filter(plain);
    let (mut prices, mut bad) = (Vec::new(), Vec::new());
    let Some((at, first)) = lines.next() else { return (prices, bad) };
    let header: Vec<&str> = first.split('\t').map(str::trim).collect();
    if let Some(lacking) =
        ["provider", "device", "usd_per_device_hour", "date"].iter().find(|own| !header.contains(own))
    {
        bad.push(BadRow { line: at + 1, why: format!("the header has no column `{lacking}`") });
        return (prices, bad);
    }
    for (at, line) in lines {
        match (Row { header: &header, fields: line.split('\t').collect() }).price(is_private) {
            Ok(price) => prices.push(price),
            Err(why) => bad.push(BadRow { line: at + 1, why }),
        }
    }
    (prices, bad)
}

/// What is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wanted<'text> {
    /// The provider's name, in any case.
    pub provider: Option<&'text str>,
    /// How it is rented.
    pub kind: Option<PriceKind>,
    /// Where, in any case.
    pub region: Option<&'text str>,
}

/// All prices known.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceBook {
    /// The prices.
    pub prices: Vec<Price>,
    /// Rows of the user's file that are none.
    pub rejected: Vec<BadRow>,
}

static EMBEDDED: LazyLock<PriceBook> = LazyLock::new(|| {
    let (prices, rejected) = read(include_str!("prices.tsv"), false);
    PriceBook { prices, rejected }
});

impl PriceBook {
    /// The prices of `prices.tsv`.
    pub fn embedded() -> &'static Self {
        &EMBEDDED
    }

    /// These prices with those of a user's table, which stand in for rows of the same offer.
    pub fn with_private(&self, text: &str) -> Self {
        let (private, rejected) = read(text, true);
        let same = |one: &Price, other: &Price| {
            let key = |price: &Price| (price.device, price.count, price.kind);
            key(one) == key(other)
                && one.provider.eq_ignore_ascii_case(&other.provider)
                && (other.region.is_empty() || one.region.eq_ignore_ascii_case(&other.region))
        };
        let kept = self.prices.iter().filter(|price| !private.iter().any(|own| same(price, own))).cloned();
        let prices = kept.chain(private.iter().cloned()).collect();
        Self { prices, rejected: self.rejected.iter().cloned().chain(rejected).collect() }
    }

    /// Prices from the user's file.
    pub fn private_count(&self) -> usize {
        self.prices.iter().filter(|price| price.is_private).count()
    }

    /// Prices of one device that are wanted, in the order of the tables.
    pub fn offers<'own>(&'own self, device: &str, wanted: Wanted<'_>) -> impl Iterator<Item = &'own Price> {
        self.prices.iter().filter(move |price| {
            let is = |asked: Option<&str>, own: &str| asked.is_none_or(|asked| asked.eq_ignore_ascii_case(own));
            price.device == device
                && wanted.kind.is_none_or(|kind| kind == price.kind)
                && is(wanted.provider, &price.provider)
                && is(wanted.region, &price.region)
        })
    }

    /// The offer that gives `devices` of one device on the fewest machines, as devices of one plan
    /// must reach each other, and of these for the least per hour, whole machines counted. Of equals
    /// the first.
    pub fn cheapest<'own>(&'own self, device: &str, devices: u64, wanted: Wanted<'_>) -> Option<&'own Price> {
        self.offers(device, wanted).min_by_key(|price| {
            let machines = price.machines(devices);
            (machines, price.machine_hour().times(machines))
        })
    }

    /// Every provider, once, in alphabetical order.
    pub fn providers(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.prices.iter().map(|price| &*price.provider).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Price {
    /// The price that somebody states for one hour of one device, on a machine of `count`; `None` if
    /// it is no such price.
    pub fn stated(device: &str, count: u32, usd: f64) -> Option<Self> {
        let known = catalogue().iter().find(|spec| spec.name == device)?;
        (0.0..=DEVICE_HOUR_MAX as f64).contains(&usd).then(|| Self {
            provider: "stated".into(),
            device: &known.name,
            count: count.max(1),
            kind: PriceKind::OnDemand,
            per_device_hour: MicroDollars::rounded(Money(usd)),
            currency: "USD".into(),
            region: "".into(),
            date: None,
            billing: Billing { step_s: 1, minimum_s: 0 },
            storage_per_gb_month: None,
            egress_per_gb: None,
            source: "stated in the request".into(),
            is_private: true,
        })
    }

    /// Machines that hold `devices`.
    pub fn machines(&self, devices: u64) -> u64 {
        devices.div_ceil(u64::from(self.count)).max(1)
    }

    /// An hour of one machine.
    pub fn machine_hour(&self) -> MicroDollars {
        self.per_device_hour.times(u64::from(self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_sound() {
        let book = PriceBook::embedded();
        assert_eq!(book.rejected, []);
        assert!(book.prices.len() >= 100, "{} prices", book.prices.len());
        let names: Vec<&str> = include_str!("prices.tsv")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split('\t').nth(1))
            .skip(1)
            .collect();
        assert_eq!(names.len(), book.prices.len());
        for (price, name) in book.prices.iter().zip(names) {
            assert_eq!(price.device, name, "the device must be named as in the catalogue");
            assert!(!price.source.is_empty() && !price.region.is_empty(), "{price:?}");
            assert!(["USD", "EUR"].contains(&&*price.currency), "{price:?}");
            // A cent is less than the energy of the smallest card, twenty dollars more than any asks.
            let dollars = price.per_device_hour.money().0;
            assert!((0.03..=20.0).contains(&dollars), "{price:?}");
        }
    }

    #[test]
    fn a_spot_price_is_below_the_same_machine_on_demand() {
        let book = PriceBook::embedded();
        for spot in book.prices.iter().filter(|price| price.kind != PriceKind::OnDemand) {
            let wanted = Wanted { provider: Some(&spot.provider), kind: Some(PriceKind::OnDemand), region: None };
            for full in book.offers(spot.device, wanted).filter(|full| full.count == spot.count) {
                assert!(spot.per_device_hour <= full.per_device_hour, "{spot:?} against {full:?}");
            }
        }
    }

    #[test]
    fn no_offer_stands_twice() {
        let mut keys: Vec<_> = PriceBook::embedded()
            .prices
            .iter()
            .map(|price| (&price.provider, price.device, price.count, price.kind, &price.region))
            .collect();
        keys.sort_unstable();
        let twice: Vec<_> = keys.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    #[test]
    fn time_is_billed_in_whole_steps() {
        let billed = |step_s, minimum_s, used| Billing { step_s, minimum_s }.billed(Seconds(used)).0;
        // 3601 s by the hour are two hours; 61 s by the minute two minutes; 10 s of at least 60 are 60.
        for (step, minimum, used, expected) in [
            (3600, 0, 3601.0, 7200.0),
            (60, 0, 61.0, 120.0),
            (1, 60, 10.0, 60.0),
            (3600, 0, 3600.0, 3600.0),
            (1, 0, 0.0, 0.0),
        ] {
            let got: f64 = billed(step, minimum, used);
            assert!((got - expected).abs() < 1e-9, "{used} s in steps of {step} s: {got}");
        }
    }

    const HEADER: &str = "provider\tdevice\tusd_per_device_hour\tdate\tcount\tkind\n";

    #[test]
    fn bad_rows_are_named_and_left_out() {
        let rows = [
            "mine\tRTX 4090\t0.29\t2025-06\t\t",
            "mine\tno such card\t0.29\t2025-06\t\t",
            "mine\tRTX 4090\t-1\t2025-06\t\t",
            "mine\tRTX 4090\tNaN\t2025-06\t\t",
            "mine\tRTX 4090\t1e6\t2025-06\t\t",
            "mine\tRTX 4090\t0.29\tyesterday\t\t",
            "mine\tRTX 4090\t0.29\t2025-06\t0\t",
            "mine\tRTX 4090\t0.29\t2025-06\t1\tgratis",
            "\tRTX 4090\t0.29\t2025-06\t1\t",
            "mine\tA100\t0.29\t2025-06\t1\t",
            "mine\tRTX 4090\t\t2025-06\t1\t",
        ];
        let book = PriceBook { prices: Vec::new(), rejected: Vec::new() };
        let book = book.with_private(&format!("# mine\n{HEADER}{}\n", rows.join("\n")));
        assert_eq!(book.prices.len(), 1);
        assert_eq!(book.prices[0].device, "NVIDIA GeForce RTX 4090");
        let lines: Vec<usize> = book.rejected.iter().map(|row| row.line).collect();
        assert_eq!(lines, (4..=13).collect::<Vec<_>>());
        assert!(book.rejected.iter().all(|row| !row.why.is_empty()));
    }

    #[test]
    fn a_table_without_its_header_is_named_at_its_line() {
        let book = PriceBook::embedded().with_private("\nlambda\tA100\t1\n");
        assert_eq!(book.rejected.len(), 1);
        assert_eq!(book.rejected[0].line, 2);
    }

    #[test]
    fn a_private_row_stands_in_for_the_same_offer() {
        let all = PriceBook::embedded();
        let first = &all.prices[0];
        let row = format!("{}\t{}\t0.5\t2026-01\t{}\t{}", first.provider, first.device, first.count, first.kind.name());
        let book = all.with_private(&format!("{HEADER}{row}\n"));
        assert_eq!(book.private_count(), 1);
        let wanted = Wanted { provider: Some(&first.provider), kind: Some(first.kind), region: None };
        let mine: Vec<_> = book.offers(first.device, wanted).filter(|own| own.count == first.count).collect();
        assert_eq!(mine.len(), 1);
        assert_eq!(mine[0].per_device_hour, MicroDollars(500_000));
    }

    #[test]
    fn whole_machines_decide_what_is_cheapest() {
        let rows = "eight\tH100 SXM\t1\t2025-06\t8\t\none\tH100 SXM\t2\t2025-06\t1\t\n";
        let book = PriceBook { prices: Vec::new(), rejected: Vec::new() }.with_private(&format!("{HEADER}{rows}"));
        assert_eq!(book.rejected, []);
        let device = book.prices[0].device;
        // One device: 8 x 1 $ against 1 x 2 $. Five devices: one machine of 8 against five of 1.
        let provider =
            |devices| book.cheapest(device, devices, Wanted::default()).map(|price| price.provider.to_string());
        assert_eq!(provider(1).as_deref(), Some("one"));
        assert_eq!(provider(5).as_deref(), Some("eight"));
        // Two single devices would be cheaper, and are no machine of two.
        assert_eq!(provider(2).as_deref(), Some("eight"));
    }
}
