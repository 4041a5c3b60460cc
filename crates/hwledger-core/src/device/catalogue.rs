//! The rows of the device catalogue.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::name::Key;
use super::spec::{DeviceSpec, Month, Peaks, Price};
use crate::Bytes;
use crate::settings::DeviceKind;
use crate::units::{BytesPerSecond, FlopsPerSecond, Money, Watts};

/// The tables, in the order in which choices and suggestions are listed.
const TABLES: [&str; 6] = [
    include_str!("catalogue/nvidia.tsv"),
    include_str!("catalogue/amd.tsv"),
    include_str!("catalogue/intel.tsv"),
    include_str!("catalogue/apple.tsv"),
    include_str!("catalogue/accelerators.tsv"),
    include_str!("catalogue/processors.tsv"),
];

static CATALOGUE: LazyLock<Vec<DeviceSpec>> = LazyLock::new(|| TABLES.iter().copied().flat_map(read).collect());

/// All devices of the catalogue.
pub fn catalogue() -> &'static [DeviceSpec] {
    &CATALOGUE
}

/// A row by the names of its columns, so that the order of columns means nothing.
struct Row<'table> {
    header: &'table [&'static str],
    fields: Vec<&'static str>,
}

impl Row<'_> {
    fn text(&self, column: &str) -> &'static str {
        let index = self.header.iter().position(|&title| title == column);
        index.and_then(|index| self.fields.get(index)).copied().unwrap_or_default()
    }

    fn known(&self, column: &str) -> Option<&'static str> {
        Some(self.text(column)).filter(|text| !text.is_empty())
    }

    fn number(&self, column: &str) -> Option<f64> {
        self.text(column).parse().ok()
    }

    fn bandwidth(&self, column: &str) -> Option<BytesPerSecond> {
        self.number(column).map(BytesPerSecond::from_gigabytes)
    }

    fn tera(&self, column: &str) -> Option<FlopsPerSecond> {
        self.number(column).map(FlopsPerSecond::from_tera)
    }

    fn peaks(&self) -> Peaks {
        Peaks {
            fp32: self.tera("fp32_tflops"),
            fp16: self.tera("fp16_tflops"),
            fp16_acc16: self.tera("fp16_acc16_tflops"),
            bf16: self.tera("bf16_tflops"),
            fp8: self.tera("fp8_tflops"),
            int8: self.tera("int8_tops"),
            fp4: self.tera("fp4_tflops"),
        }
    }

    fn spec(&self) -> DeviceSpec {
        let aliases = self.text("aliases").split(';').filter(|alias| !alias.is_empty());
        let sizes = self.text("memory_gib").split('/').filter_map(|size| size.parse().ok());
        let total = self.text("total_gib").split_once('-');
        let amount = self.number("price_usd").map(Money);
        DeviceSpec {
            memory_sizes: sizes.map(Bytes::from_gibibytes).collect(),
            total_gib: total.and_then(|(low, high)| low.parse().ok().zip(high.parse().ok())),
            bandwidth: self.bandwidth("bandwidth_gb_s"),
            year: self.text("year").parse().ok(),
            compute: self.known("compute").map(Cow::Borrowed),
            family: self.known("family").map(Cow::Borrowed),
            units: self.text("units").parse().ok(),
            peaks: self.peaks(),
            cache: self.number("cache_mib").map(|mebibytes| Bytes::from_gibibytes(mebibytes / 1024.0)),
            host_link: self.bandwidth("host_link_gb_s"),
            peer_link: self.bandwidth("peer_link_gb_s"),
            sustained: self.bandwidth("sustained_gb_s"),
            power: self.number("power_w").map(Watts),
            price: amount.map(|amount| Price { amount, date: Month::parse(self.text("price_date")) }),
            source: Cow::Borrowed(self.text("source")),
            keys: std::iter::once(self.text("name")).chain(aliases).map(Key::of).collect(),
            ..DeviceSpec::unknown(
                Cow::Borrowed(self.text("name")),
                DeviceKind::named(self.text("kind")).unwrap_or(DeviceKind::Other),
            )
        }
    }
}

/// The lines of a table that hold data, the header first.
fn lines(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| line.split('\t').collect())
}

fn read(table: &'static str) -> Vec<DeviceSpec> {
    let mut lines = lines(table);
    let header = lines.next().unwrap_or_default();
    lines.map(|fields| Row { header: &header, fields }.spec()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{DeviceError, find};
    use super::*;

    /// Columns that hold a number, and the range in which every device lies, wafers of SRAM among them.
    const FIGURES: [(&str, f64, f64); 15] = [
        ("bandwidth_gb_s", 1.0, 3e7),
        ("units", 1.0, 1e6),
        ("fp32_tflops", 0.005, 1_000.0),
        ("fp16_tflops", 0.005, 10_000.0),
        ("fp16_acc16_tflops", 1.0, 10_000.0),
        ("bf16_tflops", 0.05, 10_000.0),
        ("fp8_tflops", 5.0, 20_000.0),
        ("int8_tops", 0.02, 20_000.0),
        ("fp4_tflops", 50.0, 50_000.0),
        ("cache_mib", 0.1, 2_000.0),
        ("host_link_gb_s", 0.2, 1_000.0),
        ("peer_link_gb_s", 10.0, 3_000.0),
        ("sustained_gb_s", 1.0, 20_000.0),
        ("power_w", 1.0, 30_000.0),
        ("price_usd", 5.0, 50_000.0),
    ];

    #[test]
    fn every_field_is_read() {
        for table in TABLES {
            let mut lines = lines(table);
            let header = lines.next().expect("a table has a header");
            assert_eq!(header.len(), 25);
            for fields in lines {
                assert_eq!(fields.len(), header.len(), "{fields:?}");
                let row = Row { header: &header, fields };
                for (column, low, high) in FIGURES {
                    let is_sane = row.number(column).is_some_and(|value| value >= low && value <= high);
                    assert!(row.known(column).is_none() || is_sane, "{}: {column}", row.text("name"));
                }
                let spec = row.spec();
                let is_dated = spec.price.is_none_or(|price| price.date.is_some());
                assert!(is_dated, "{}: price without a month", spec.name);
                assert_eq!(row.known("total_gib").is_some(), spec.total_gib.is_some(), "{}: total", spec.name);
                assert_eq!(row.known("units").is_some(), spec.units.is_some(), "{}: units", spec.name);
                let kinds = ["nvidia", "amd", "intel", "apple", "shared", "cpu", "other"];
                assert!(kinds.contains(&row.text("kind")), "{}: kind", spec.name);
            }
        }
    }

    #[test]
    fn every_row_is_complete() {
        assert!(catalogue().len() >= 550);
        for spec in catalogue() {
            assert!(!spec.memory_sizes.is_empty(), "{} has no memory", spec.name);
            assert!(spec.bandwidth.is_some(), "{} has no bandwidth", spec.name);
            assert!(spec.year.is_some_and(|year| (2010..2030).contains(&year)), "{} has no year", spec.name);
            assert!(!spec.source.is_empty(), "{} has no source", spec.name);
            assert!(spec.family.is_some(), "{} has no family", spec.name);
            if spec.kind == DeviceKind::Nvidia {
                assert!(!spec.peaks.is_unknown(), "{} has no rate of arithmetic", spec.name);
                assert!(spec.compute_capability().is_some(), "{} has no compute capability", spec.name);
            }
            if let Some((low, high)) = spec.total_gib {
                let standard = spec.standard_size().unwrap_or_default().gibibytes();
                assert!(low <= high && high <= standard && low > 0.89 * standard, "{}: total {low}-{high}", spec.name);
            }
        }
    }

    #[test]
    fn few_rows_have_no_rate_of_arithmetic() {
        let unknown: Vec<_> =
            catalogue().iter().filter(|spec| spec.peaks.is_unknown()).map(|spec| &spec.name).collect();
        assert!(unknown.len() * 30 <= catalogue().len(), "{unknown:?}");
    }

    #[test]
    fn no_two_rows_have_one_name() {
        let mut names: Vec<_> = catalogue().iter().map(|spec| spec.name.to_lowercase()).collect();
        names.sort_unstable();
        let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    #[test]
    fn every_alias_leads_to_its_row() {
        for table in TABLES {
            let mut lines = lines(table);
            let header = lines.next().expect("a table has a header");
            for fields in lines {
                let row = Row { header: &header, fields };
                for alias in row.text("aliases").split(';').filter(|alias| !alias.is_empty()) {
                    let is_right = match find(alias, None) {
                        Ok(found) => found.device.name == row.text("name"),
                        Err(DeviceError::Ambiguous { choices, .. }) => choices.contains(&row.text("name")),
                        Err(DeviceError::Empty) => false,
                    };
                    assert!(is_right, "`{alias}` of {} leads elsewhere", row.text("name"));
                }
            }
        }
    }

    #[test]
    fn rates_stand_in_plausible_proportions() {
        for spec in catalogue() {
            let (peaks, name) = (spec.peaks, &spec.name);
            let ratio = |narrow: Option<FlopsPerSecond>, wide: Option<FlopsPerSecond>| {
                narrow.zip(wide).map_or(1.0, |(narrow, wide)| narrow.ratio(wide))
            };
            // AMX of processors before 2024 knows bfloat16 and integers only.
            let is_processor = spec.kind == DeviceKind::Cpu;
            assert!(is_processor || ratio(peaks.bf16, peaks.fp16) <= 1.01, "{name}: bf16 above fp16");
            assert!(ratio(peaks.fp8, peaks.bf16) >= 0.99, "{name}: fp8 below bf16");
            assert!(ratio(peaks.fp8, peaks.bf16) <= 4.5, "{name}: fp8 far above bf16");
            assert!(ratio(peaks.fp4, peaks.fp8) >= 0.99, "{name}: fp4 below fp8");
            assert!((0.99..=2.01).contains(&ratio(peaks.fp16_acc16, peaks.fp16)), "{name}: 16-bit sums");
            assert!(ratio(peaks.fp16, peaks.fp32) <= 40.0, "{name}: fp16 far above fp32");
            if spec.has_matrix_units() && !is_processor {
                assert!(ratio(peaks.int8, peaks.fp16) <= 8.0, "{name}: int8 far above fp16");
            }
            let reach = spec.sustained.zip(spec.bandwidth).map_or(0.8, |(reached, peak)| reached.ratio(peak));
            assert!((0.3..=1.0).contains(&reach), "{name}: sustained bandwidth is {reach} of the peak");
            let best = peaks.named().into_iter().filter_map(|(_, rate)| rate).map(|rate| rate.0).fold(0.0, f64::max);
            let ridge = best / spec.bandwidth.map_or(f64::NAN, |rate| rate.0);
            assert!(peaks.is_unknown() || (0.1..=4000.0).contains(&ridge), "{name}: {ridge} operations per byte");
        }
    }

    #[test]
    fn published_figures_are_there() {
        let check = |name: &str, expected: [(Option<FlopsPerSecond>, f64); 3]| {
            for (rate, published) in expected {
                let tera = rate.unwrap_or_default().tera();
                assert!((tera / published - 1.0).abs() < 0.01, "{name}: {tera}, published {published}");
            }
        };
        let peaks = |name: &str| {
            let spec = catalogue().iter().find(|spec| spec.name == name);
            spec.unwrap_or_else(|| panic!("{name} has no row")).peaks
        };
        let card = peaks("NVIDIA GeForce RTX 4090");
        check("RTX 4090", [(card.fp16, 165.2), (card.fp16_acc16, 330.3), (card.int8, 660.6)]);
        let card = peaks("NVIDIA GeForce RTX 3090");
        check("RTX 3090", [(card.bf16, 71.0), (card.fp16_acc16, 142.0), (card.int8, 284.0)]);
        let card = peaks("NVIDIA GeForce RTX 5090");
        check("RTX 5090", [(card.fp16, 209.5), (card.fp8, 419.0), (card.fp4, 1676.0)]);
        let card = peaks("NVIDIA RTX A6000");
        check("RTX A6000", [(card.fp16, 154.8), (card.fp16_acc16, 154.8), (card.fp32, 38.7)]);
        let card = peaks("NVIDIA H100 80GB HBM3");
        check("H100 SXM", [(card.bf16, 989.0), (card.fp8, 1979.0), (card.fp32, 67.0)]);
        let card = peaks("NVIDIA A100-SXM4-80GB");
        check("A100", [(card.fp32, 19.5), (card.bf16, 312.0), (card.int8, 624.0)]);
        let card = peaks("Tesla T4");
        check("T4", [(card.fp32, 8.1), (card.fp16, 65.0), (card.int8, 130.0)]);
        let card = peaks("Tesla P40");
        check("P40", [(card.fp32, 11.76), (card.fp16, 0.184), (card.int8, 47.0)]);
        let card = peaks("NVIDIA B200");
        check("B200", [(card.bf16, 2250.0), (card.fp8, 4500.0), (card.fp4, 9000.0)]);
    }
}
