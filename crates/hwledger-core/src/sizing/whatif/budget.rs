//! Demands and figures as comma-separated text, units in the header.

use std::fmt::Write;

use super::demand::Demand;
use super::kpi::{Kpi, Status};

/// A field, quoted where it must be (RFC 4180).
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// A number with as many places as it needs, three at most.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(String::new, number)
}

/// The platform budget: a line per subsystem and one of their sums, as comma-separated text.
pub fn budget_csv(demands: &[Demand]) -> String {
    let mut text = String::from(
        "subsystem,engine,arithmetic (TOPS),precision,CPU (cores),video (Mpixel/s),memory bandwidth (GB/s),\
         memory (MB),p99 latency (ms),notes\n",
    );
    for demand in demands {
        let fields = [
            field(&demand.name),
            demand.target.name().to_owned(),
            number(demand.tops),
            demand.precision.map_or("", super::super::precision::Dtype::name).to_owned(),
            number(demand.cpu_cores),
            number(demand.megapixels_per_second),
            number(demand.bandwidth_gb_s),
            number(demand.capacity_mb),
            optional(demand.p99_ms),
            field(&demand.notes),
        ];
        let _ = writeln!(text, "{}", fields.join(","));
    }
    let sum = |of: fn(&Demand) -> f64| number(demands.iter().map(of).sum());
    let total = [
        "total".to_owned(),
        String::new(),
        sum(|demand| demand.tops),
        String::new(),
        sum(|demand| demand.cpu_cores),
        sum(|demand| demand.megapixels_per_second),
        sum(|demand| demand.bandwidth_gb_s),
        sum(|demand| demand.capacity_mb),
        String::new(),
        String::new(),
    ];
    let _ = writeln!(text, "{}", total.join(","));
    text
}

/// Figures, a line each, as comma-separated text. The unit of a line is in its `units` column.
pub fn kpi_csv(kpis: &[Kpi]) -> String {
    let mut text =
        String::from("target,metric,required (units),budget (units),units,status,margin (units),margin (%),notes\n");
    for kpi in kpis {
        let status = match kpi.status {
            Status::Pass => "PASS",
            Status::Warn => "WARN",
            Status::Fail => "FAIL",
        };
        let fields = [
            field(&kpi.target),
            kpi.metric.to_owned(),
            number(kpi.required),
            number(kpi.budget),
            kpi.units.to_owned(),
            status.to_owned(),
            number(kpi.margin),
            optional(kpi.margin_pct),
            field(&kpi.notes),
        ];
        let _ = writeln!(text, "{}", fields.join(","));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::demand::Engine;
    use super::super::{KpiPolicy, Profile, kpis};
    use super::*;

    #[test]
    fn headers_carry_units_and_fields_are_quoted() {
        let demand = Demand {
            tops: 12.5,
            bandwidth_gb_s: 3.0,
            notes: "the \"big\" one, at night".to_owned(),
            ..Demand::new("detector", Engine::Npu)
        };
        let text = budget_csv(&[demand.clone(), Demand { notes: String::new(), ..demand.clone() }]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("memory bandwidth (GB/s)"));
        assert_eq!(lines[1], r#"detector,npu,12.5,,0,0,3,0,,"the ""big"" one, at night""#);
        assert_eq!(lines[3], "total,,25,,0,0,6,0,,");
        let table = kpi_csv(&kpis(&Profile::default(), &[demand], &KpiPolicy::default()));
        assert_eq!(table.lines().next().map(|line| line.split(',').count()), Some(9));
        assert!(table.contains("detector,arithmetic,12.5,0,TOPS,FAIL,-12.5,,"), "{table}");
    }
}
