//! The rows of the device catalogue.

use std::sync::LazyLock;

use super::name::Key;
use crate::Bytes;
use crate::settings::DeviceKind;

/// One device of the catalogue. `None` and empty lists mean "not known".
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceSpec {
    /// The name that its driver gives.
    pub name: &'static str,
    /// What decides how engines treat its memory.
    pub kind: DeviceKind,
    /// Sizes sold; the first is taken where nobody says.
    pub memory_sizes: Vec<Bytes>,
    /// What the driver reports as total for the first size, lowest and highest seen, in GiB.
    pub total_gib: Option<(f64, f64)>,
    /// Peak memory bandwidth in GB/s (decimal).
    pub bandwidth_gb_s: Option<f64>,
    /// Year in which it came out.
    pub year: Option<u16>,
    /// CUDA compute capability, or the LLVM target of an AMD device.
    pub compute: Option<&'static str>,
    /// Where the figures come from.
    pub source: &'static str,
    /// Its name and aliases, taken apart.
    pub(super) keys: Vec<Key>,
}

impl DeviceSpec {
    /// The size that is taken where nobody says.
    pub fn standard_size(&self) -> Option<Bytes> {
        self.memory_sizes.first().copied()
    }

    /// CUDA compute capability as a number (8.9), where the device has one.
    pub fn compute_capability(&self) -> Option<f64> {
        self.compute?.parse().ok()
    }
}

static CATALOGUE: LazyLock<Vec<DeviceSpec>> = LazyLock::new(|| read(include_str!("devices.tsv")));

/// All devices of the catalogue.
pub fn catalogue() -> &'static [DeviceSpec] {
    &CATALOGUE
}

fn kind(text: &str) -> DeviceKind {
    match text {
        "nvidia" => DeviceKind::Nvidia,
        "amd" => DeviceKind::Amd,
        "intel" => DeviceKind::Intel,
        "apple" => DeviceKind::Apple,
        "shared" => DeviceKind::SharedMemory,
        "cpu" => DeviceKind::Cpu,
        _ => DeviceKind::Other,
    }
}

fn text(field: &'static str) -> Option<&'static str> {
    Some(field).filter(|text| !text.is_empty())
}

/// Reads the table. Columns are found by the header line, so that later columns disturb nothing.
fn read(table: &'static str) -> Vec<DeviceSpec> {
    let mut lines = table.lines().filter(|line| !line.starts_with('#'));
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let column = |name: &str| header.iter().position(|&title| title == name).unwrap_or(usize::MAX);
    let [name, aliases, kinds, memory, total, bandwidth, year, compute, source] =
        ["name", "aliases", "kind", "memory_gib", "total_gib", "bandwidth_gb_s", "year", "compute", "source"]
            .map(column);
    lines
        .map(|line| {
            let fields: Vec<&'static str> = line.split('\t').collect();
            let field = |index: usize| fields.get(index).copied().unwrap_or_default();
            let total_gib =
                field(total).split_once('-').and_then(|(low, high)| low.parse().ok().zip(high.parse().ok()));
            let names = std::iter::once(field(name)).chain(field(aliases).split(';').filter(|alias| !alias.is_empty()));
            DeviceSpec {
                name: field(name),
                kind: kind(field(kinds)),
                memory_sizes: field(memory)
                    .split('/')
                    .filter_map(|size| size.parse().ok())
                    .map(Bytes::from_gibibytes)
                    .collect(),
                total_gib,
                bandwidth_gb_s: field(bandwidth).parse().ok(),
                year: field(year).parse().ok(),
                compute: text(field(compute)),
                source: field(source),
                keys: names.map(Key::of).collect(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_complete() {
        assert!(catalogue().len() >= 250);
        for spec in catalogue() {
            assert!(!spec.memory_sizes.is_empty(), "{} has no memory", spec.name);
            assert!(spec.bandwidth_gb_s.is_some_and(|rate| rate > 1.0), "{} has no bandwidth", spec.name);
            assert!(spec.year.is_some_and(|year| (2010..2030).contains(&year)), "{} has no year", spec.name);
            assert!(!spec.source.is_empty(), "{} has no source", spec.name);
            if spec.kind == DeviceKind::Nvidia {
                assert!(spec.compute_capability().is_some(), "{} has no compute capability", spec.name);
            }
            if let Some((low, high)) = spec.total_gib {
                let standard = spec.standard_size().unwrap_or_default().gibibytes();
                assert!(low <= high && high <= standard && low > 0.89 * standard, "{}: total {low}-{high}", spec.name);
            }
        }
    }
}
