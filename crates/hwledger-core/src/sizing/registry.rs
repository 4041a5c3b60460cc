//! The reference tiers.

use std::sync::LazyLock;

use super::capability::CapabilityTable;
use super::error::SizingError;
use super::memory::{MemoryInterface, MemoryKind};
use super::precision::Precision;
use super::provenance::{Calibration, Confidence, Method};
use super::table::{Row, Table};
use super::tier::{CpuComplex, Efficiency, LaunchTime, Measurements, Peaks, RateAnchor, Tier, VisionAnchor};
use crate::nearest::folded;

static TIERS: LazyLock<Vec<Tier>> = LazyLock::new(|| read(include_str!("tiers.tsv"), include_str!("measurements.tsv")));

/// All reference tiers, in the order of the data file.
pub fn tiers() -> &'static [Tier] {
    &TIERS
}

/// The reference tier of a name; `NPU` and `RTX` may be left out, case and separators do not count.
pub fn tier(name: &str) -> Result<&'static Tier, SizingError> {
    let given = folded(name);
    let found = tiers().iter().find(|tier| {
        let full = folded(&tier.name);
        let short = full.strip_prefix("npu").or_else(|| full.strip_prefix("rtx"));
        full == given || short == Some(given.as_str())
    });
    found.ok_or_else(|| SizingError::unknown("tier", name, tiers().iter().map(|tier| tier.name.as_str())))
}

/// What the data files state; the tests read every row.
const CERTAIN: &str = "the data files are part of the program, and tests read every row";

fn calibration(row: Row<'_>) -> Calibration {
    let method = Method::of_word(row.text("method")).expect(CERTAIN);
    let confidence = Confidence::of_word(row.text("confidence")).expect(CERTAIN);
    Calibration::new(method, confidence, row.text("reference"))
}

fn launch(row: Row<'_>) -> LaunchTime {
    let method = Method::of_word(row.text("launch_method")).expect(CERTAIN);
    let reference = match method {
        Method::Default => "the RTX 5090's figure, within nothing and twice as much: none was measured here",
        _ => "what three measured models leave over beside their memory traffic (docs/chip-sizing.md)",
    };
    LaunchTime {
        low_us: row.number("launch_low_us"),
        usual_us: row.number("launch_usual_us"),
        high_us: row.number("launch_high_us"),
        calibration: Calibration::new(method, Confidence::Medium, reference),
    }
}

fn cpu(row: Row<'_>) -> Option<CpuComplex> {
    Some(CpuComplex {
        cores: row.value("cpu_cores")?,
        microarchitecture: row.filled("cpu_microarchitecture")?,
        clock_ghz: row.value("cpu_clock_ghz")?,
    })
}

fn measurements(table: &Table, tier: &str) -> Measurements {
    let of_kind =
        |kind: &'static str| table.rows().filter(move |row| row.text("tier") == tier && row.text("kind") == kind);
    let rate = |row: Row<'_>| RateAnchor {
        model: row.text("model").to_owned(),
        tokens_per_second: row.number("value"),
        npu_share: 1.0,
        calibration: calibration(row),
    };
    let vision = |row: Row<'_>| VisionAnchor {
        model: row.text("model").to_owned(),
        input_resolution: row.text("detail").to_owned(),
        latency_ms: row.number("value"),
        precision: Precision::Int8,
        calibration: calibration(row),
    };
    Measurements {
        decode: of_kind("decode").map(rate).collect(),
        prefill: of_kind("prefill").map(rate).collect(),
        vision: of_kind("vision").map(vision).collect(),
        ..Measurements::default()
    }
}

fn read(tiers: &'static str, measured: &'static str) -> Vec<Tier> {
    let measured = Table::read(measured);
    let read_row = |row: Row<'_>| Tier {
        name: row.text("name").to_owned(),
        peaks: Peaks {
            bf16_tops: row.number("bf16_tops"),
            int8_tops: row.number("int8_tops"),
            fp8_tops: row.number("fp8_tops"),
            fp4_tops: row.number("fp4_tops"),
        },
        memory: MemoryInterface {
            kind: MemoryKind::find(row.text("memory")).expect(CERTAIN),
            bus_bits: row.value("bus_bits").expect(CERTAIN),
            rate_gt_s: row.number("rate_gt_s"),
            bandwidth_gb_s: row.number("bandwidth_gb_s"),
        },
        capacity_gb: row.number("capacity_gb"),
        efficiency: Efficiency {
            compute: row.number("compute_efficiency"),
            bandwidth: row.number("bandwidth_efficiency"),
            vision_utilisation: row.number("vision_utilisation"),
            llm_utilisation: row.number("llm_utilisation"),
        },
        launch: launch(row),
        overhead_ms: row.number("overhead_ms"),
        npu_share: row.number("npu_share"),
        tdp_w: row.number("tdp_w"),
        family: row.text("family").to_owned(),
        capabilities: CapabilityTable::ALL.into_iter().find(|table| table.word() == row.text("capabilities")),
        rung: None,
        cpu: cpu(row),
        calibration: calibration(row),
        stock: None,
        measurements: measurements(&measured, row.text("name")),
    };
    Table::read(tiers).rows().map(read_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nine_reference_tiers_are_there() {
        let names: Vec<&str> = tiers().iter().map(|tier| tier.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "NPU Low-LP4",
                "NPU Low-LP5-32bit",
                "NPU Low-LP5-64bit",
                "NPU Low-LP5X",
                "NPU i.MX 93",
                "NPU i.MX 95",
                "NPU Mid",
                "NPU High",
                "RTX 5090"
            ]
        );
        assert!(tiers().iter().all(|tier| tier.capabilities.is_some()));
    }

    #[test]
    fn every_figure_has_a_source_and_no_default_is_trusted() {
        for tier in tiers() {
            let rates = tier.measurements.decode.iter().chain(&tier.measurements.prefill);
            let all = rates
                .map(|anchor| &anchor.calibration)
                .chain(tier.measurements.vision.iter().map(|anchor| &anchor.calibration))
                .chain([&tier.calibration, &tier.launch.calibration]);
            for calibration in all {
                assert!(calibration.is_consistent(), "{}: {calibration:?}", tier.name);
                assert!(!calibration.reference.is_empty(), "{}", tier.name);
            }
        }
    }

    #[test]
    fn bandwidths_are_width_times_rate() {
        for tier in tiers() {
            let memory = tier.memory;
            let expected = f64::from(memory.bus_bits) * memory.rate_gt_s / 8.0;
            assert!((memory.bandwidth_gb_s - expected).abs() < 1e-9, "{}", tier.name);
        }
    }

    #[test]
    fn measurements_find_their_tiers() {
        let count = |tier: &Tier| {
            tier.measurements.decode.len() + tier.measurements.prefill.len() + tier.measurements.vision.len()
        };
        assert_eq!(tiers().iter().map(count).sum::<usize>(), 3);
        assert_eq!(count(tier("mid").expect("known by its short name")), 2);
    }

    #[test]
    fn names_are_found_as_people_write_them() {
        assert_eq!(tier("imx95").map(|tier| tier.name.as_str()), Ok("NPU i.MX 95"));
        assert_eq!(tier("5090").map(|tier| tier.name.as_str()), Ok("RTX 5090"));
        assert!(tier("NPU Med").expect_err("no such tier").hint().is_some_and(|hint| hint.contains("`NPU Mid`")));
    }
}
