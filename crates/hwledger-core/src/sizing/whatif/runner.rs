//! Running what-ifs: one point, a sweep, a grid, a frontier.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::kpi::{ChipSummary, Kpi};
use super::profile::Profile;
use super::slider::{Category, Slider, by_category};
use crate::pareto::{self, Direction};
use crate::sizing::error::SizingError;

/// Most steps of one slider.
pub const STEPS_MAX: usize = 1000;
/// Most points of one question.
const POINTS_MAX: usize = 100_000;

/// What a profile and a workload come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// Demands against budgets.
    pub kpis: Vec<Kpi>,
    /// Quantities to compare points by; one that is not known is left out.
    pub metrics: BTreeMap<String, f64>,
}

/// One setting of all sliders and what it comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The value of every slider.
    pub values: BTreeMap<String, f64>,
    /// Demands against budgets.
    pub kpis: Vec<Kpi>,
    /// Quantities to compare points by.
    pub metrics: BTreeMap<String, f64>,
    /// The chip in one line.
    pub summary: ChipSummary,
}

/// Two sliders against each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grid {
    /// The slider of the columns.
    pub x: String,
    /// Its values.
    pub x_values: Vec<f64>,
    /// The slider of the rows.
    pub y: String,
    /// Its values.
    pub y_values: Vec<f64>,
    /// A summary for each row and column.
    pub cells: Vec<Vec<ChipSummary>>,
}

/// A quantity to be made small or large: a slider's value, or a metric of the evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Objective {
    /// The slider or the metric.
    pub name: String,
    /// Which way it is good.
    pub direction: Direction,
}

impl Objective {
    /// Reads `max:decode_tokens_per_second` or `min:memory_rate`.
    pub fn parse(text: &str) -> Result<Self, SizingError> {
        let (word, name) = text.split_once(':').unwrap_or_default();
        let direction = match word {
            "min" => Direction::Minimise,
            "max" => Direction::Maximise,
            _ => {
                let hint = "write `min:NAME` or `max:NAME`";
                return Err(SizingError::BadValue { what: "objective", given: text.to_owned(), hint });
            }
        };
        Ok(Self { name: name.to_owned(), direction })
    }
}

/// A point that no other beats on every objective at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrontierPoint {
    /// The values of the sliders that were moved or set.
    pub values: BTreeMap<String, f64>,
    /// The objectives, in the order asked for.
    pub objectives: Vec<f64>,
    /// The chip in one line.
    pub summary: ChipSummary,
}

/// What a runner asks for each point.
type Evaluate<'a, W> = Box<dyn Fn(&Profile, &W) -> Result<Evaluation, SizingError> + 'a>;

/// Runs what-ifs over a profile and a workload of type `W`.
///
/// Every point starts from a fresh profile and a fresh workload, and **all** sliders are applied, those
/// at their defaults too: a point depends on its overrides and on nothing that ran before.
pub struct Runner<'a, W> {
    sliders: Vec<Slider<W>>,
    profile: Box<dyn Fn() -> Profile + 'a>,
    workload: Box<dyn Fn() -> W + 'a>,
    evaluate: Evaluate<'a, W>,
}

impl<W> fmt::Debug for Runner<'_, W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.sliders.iter().map(|slider| slider.name).collect();
        formatter.debug_struct("Runner").field("sliders", &names).finish_non_exhaustive()
    }
}

impl<'a, W> Runner<'a, W> {
    /// A runner over `sliders`; the closures give a fresh profile, a fresh workload, and what the two
    /// come to.
    pub fn new(
        sliders: Vec<Slider<W>>,
        profile: impl Fn() -> Profile + 'a,
        workload: impl Fn() -> W + 'a,
        evaluate: impl Fn(&Profile, &W) -> Result<Evaluation, SizingError> + 'a,
    ) -> Self {
        Self { sliders, profile: Box::new(profile), workload: Box::new(workload), evaluate: Box::new(evaluate) }
    }

    /// The sliders.
    pub fn sliders(&self) -> &[Slider<W>] {
        &self.sliders
    }

    /// The sliders by what they are about.
    pub fn categories(&self) -> BTreeMap<Category, Vec<&Slider<W>>> {
        by_category(&self.sliders)
    }

    /// The value of every slider where nobody moves it.
    pub fn defaults(&self) -> BTreeMap<String, f64> {
        self.sliders.iter().map(|slider| (slider.name.to_owned(), slider.default)).collect()
    }

    /// The slider of a name.
    pub fn slider(&self, name: &str) -> Result<&Slider<W>, SizingError> {
        let found = self.sliders.iter().find(|slider| slider.name == name);
        found.ok_or_else(|| SizingError::unknown("slider", name, self.sliders.iter().map(|slider| slider.name)))
    }

    /// One point: the defaults with `overrides` over them, clamped.
    ///
    /// **Errors**: an override of a slider that is not there.
    pub fn point(&self, overrides: &BTreeMap<String, f64>) -> Result<Point, SizingError> {
        for name in overrides.keys() {
            self.slider(name)?;
        }
        let (mut profile, mut workload) = ((self.profile)(), (self.workload)());
        let mut values = BTreeMap::new();
        for slider in &self.sliders {
            let value = slider.clamp(overrides.get(slider.name).copied().unwrap_or(slider.default));
            slider.set(&mut profile, &mut workload, value)?;
            values.insert(slider.name.to_owned(), value);
        }
        let Evaluation { kpis, metrics } = (self.evaluate)(&profile, &workload)?;
        let summary = ChipSummary::of(&kpis);
        Ok(Point { values, kpis, metrics, summary })
    }

    /// Points along one slider, or along several that move together, from their least to their
    /// greatest values.
    ///
    /// **Errors**: fewer than two steps, or more than [`STEPS_MAX`]; a slider that is not there.
    pub fn sweep(
        &self,
        names: &[&str],
        steps: usize,
        overrides: &BTreeMap<String, f64>,
    ) -> Result<Vec<Point>, SizingError> {
        let values = self.values(names, steps)?;
        let row = |step: usize| {
            let mut moved = overrides.clone();
            for (name, values) in names.iter().zip(&values) {
                moved.insert((*name).to_owned(), values[step]);
            }
            self.point(&moved)
        };
        (0..steps).map(row).collect()
    }

    fn values(&self, names: &[&str], steps: usize) -> Result<Vec<Vec<f64>>, SizingError> {
        if !(2..=STEPS_MAX).contains(&steps) {
            return Err(SizingError::BadValue { what: "steps", given: steps.to_string(), hint: "from 2 to 1000" });
        }
        names.iter().map(|name| Ok(self.slider(name)?.values(steps))).collect()
    }

    /// Two sliders against each other: a summary for each pair of values.
    pub fn grid(&self, x: &str, y: &str, steps: usize, overrides: &BTreeMap<String, f64>) -> Result<Grid, SizingError> {
        let values = self.values(&[x, y], steps)?;
        let cell = |across: f64, down: f64| {
            let mut moved = overrides.clone();
            moved.extend([(x.to_owned(), across), (y.to_owned(), down)]);
            Ok(self.point(&moved)?.summary)
        };
        let row = |&down: &f64| values[0].iter().map(|&across| cell(across, down)).collect::<Result<Vec<_>, _>>();
        let cells = values[1].iter().map(row).collect::<Result<Vec<_>, SizingError>>()?;
        let [x_values, y_values] = [values[0].clone(), values[1].clone()];
        Ok(Grid { x: x.to_owned(), x_values, y: y.to_owned(), y_values, cells })
    }

    /// The points of a grid over any number of sliders that no other point of it beats on every
    /// objective at once. Points that are not viable take part only if `is_viable_only` is off.
    ///
    /// **Errors**: no objective, one that is neither a slider nor a metric, or more than 100,000 points.
    pub fn frontier(
        &self,
        names: &[&str],
        steps: usize,
        overrides: &BTreeMap<String, f64>,
        objectives: &[Objective],
        is_viable_only: bool,
    ) -> Result<Vec<FrontierPoint>, SizingError> {
        let values = self.values(names, steps)?;
        if objectives.is_empty() {
            let hint = "name at least one, as `max:NAME` or `min:NAME`";
            return Err(SizingError::BadValue { what: "objectives", given: "none".to_owned(), hint });
        }
        let count =
            names.iter().try_fold(1_usize, |count, _| count.checked_mul(steps)).filter(|&count| count <= POINTS_MAX);
        let Some(count) = count else {
            let hint = "take fewer sliders or fewer steps: at most 100000 points";
            return Err(SizingError::BadValue { what: "points", given: format!("{steps}^{}", names.len()), hint });
        };
        self.check(objectives)?;
        let mut points = Vec::new();
        for mut index in 0..count {
            let mut moved = overrides.clone();
            for (name, values) in names.iter().zip(&values) {
                moved.insert((*name).to_owned(), values[index % steps]);
                index /= steps;
            }
            let point = self.point(&moved)?;
            if is_viable_only && !point.summary.is_viable {
                continue;
            }
            let of = |objective: &Objective| {
                let found = point.values.get(&objective.name).or_else(|| point.metrics.get(&objective.name));
                found.copied().unwrap_or(f64::NAN)
            };
            let objectives = objectives.iter().map(of).collect();
            points.push(FrontierPoint { values: moved, objectives, summary: point.summary });
        }
        let directions: Vec<Direction> = objectives.iter().map(|objective| objective.direction).collect();
        let coordinates: Vec<&[f64]> = points.iter().map(|point| point.objectives.as_slice()).collect();
        let kept = pareto::frontier(&coordinates, &directions);
        Ok(kept.into_iter().map(|index| points[index].clone()).collect())
    }

    /// Whether all objectives are sliders or metrics of the default point.
    fn check(&self, objectives: &[Objective]) -> Result<(), SizingError> {
        let usual = self.point(&BTreeMap::new())?;
        let known: Vec<&str> = usual.values.keys().chain(usual.metrics.keys()).map(String::as_str).collect();
        for objective in objectives {
            if !known.contains(&objective.name.as_str()) {
                return Err(SizingError::unknown("objective", &objective.name, known.iter().copied()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Demand, Engine, KpiPolicy, kpis};
    use super::*;
    use std::cell::Cell;

    fn slider(name: &'static str, apply: super::super::slider::Apply<f64>) -> Slider<f64> {
        Slider {
            name,
            description: "",
            category: Category::Capability,
            units: "",
            default: 5.0,
            min: 0.0,
            max: 10.0,
            step: 1.0,
            affects: Vec::new(),
            apply: Some(apply),
        }
    }

    /// Bandwidth against a demand of tokens: cost grows with bandwidth, value with both.
    fn runner(loads: &Cell<usize>) -> Runner<'_, f64> {
        let sliders = vec![
            slider("bandwidth", |profile, _, value| profile.set("memory.bandwidth_gb_s", value * 10.0)),
            slider("demand", |_, workload, value| {
                *workload = value;
                Ok(())
            }),
        ];
        let load = move || {
            loads.set(loads.get() + 1);
            Profile::default()
        };
        Runner::new(
            sliders,
            load,
            || 0.0,
            |profile, demand| {
                let load = Demand { bandwidth_gb_s: *demand, ..Demand::new("model", Engine::Npu) };
                let metrics =
                    [("served".to_owned(), demand.min(profile.number("memory.bandwidth_gb_s").unwrap_or(0.0)))];
                Ok(Evaluation { kpis: kpis(profile, &[load], &KpiPolicy::default()), metrics: metrics.into() })
            },
        )
    }

    #[test]
    fn all_sliders_are_applied_on_a_fresh_profile() {
        let loads = Cell::new(0);
        let runner = runner(&loads);
        let usual = runner.point(&BTreeMap::new()).expect("sound");
        assert_eq!(usual.values, runner.defaults());
        assert!((usual.metrics["served"] - 5.0).abs() < 1e-12);
        let far = runner.point(&[("demand".to_owned(), 99.0)].into()).expect("sound");
        assert!((far.values["demand"] - 10.0).abs() < 1e-12, "clamped");
        assert_eq!(runner.point(&BTreeMap::new()).expect("sound"), usual);
        assert_eq!(loads.get(), 3);
        assert!(runner.point(&[("speed".to_owned(), 1.0)].into()).is_err());
    }

    #[test]
    fn sweeps_hold_both_ends_and_move_several_sliders_together() {
        let loads = Cell::new(0);
        let runner = runner(&loads);
        let rows = runner.sweep(&["bandwidth", "demand"], 3, &BTreeMap::new()).expect("sound");
        let moved: Vec<f64> = rows.iter().flat_map(|row| [row.values["bandwidth"], row.values["demand"]]).collect();
        assert_eq!(moved, [0.0, 0.0, 5.0, 5.0, 10.0, 10.0]);
        assert!(runner.sweep(&["demand"], 1, &BTreeMap::new()).is_err());
        assert!(runner.sweep(&["speed"], 3, &BTreeMap::new()).is_err());
    }

    #[test]
    fn grids_are_rows_of_y() {
        let loads = Cell::new(0);
        let grid = runner(&loads).grid("bandwidth", "demand", 2, &BTreeMap::new()).expect("sound");
        let viable: Vec<Vec<bool>> =
            grid.cells.iter().map(|row| row.iter().map(|cell| cell.is_viable).collect()).collect();
        // Without demand everything is viable; with it, only with bandwidth.
        assert_eq!(viable, [[true, true], [false, true]]);
    }

    #[test]
    fn the_frontier_holds_no_point_that_another_beats() {
        let loads = Cell::new(0);
        let runner = runner(&loads);
        let objectives = ["min:bandwidth", "max:served"].map(|text| Objective::parse(text).expect("sound"));
        let points = runner.frontier(&["bandwidth", "demand"], 11, &BTreeMap::new(), &objectives, true).expect("sound");
        let directions = [Direction::Minimise, Direction::Maximise];
        assert!(points.len() > 2 && points.iter().all(|point| point.summary.is_viable));
        for a in &points {
            assert!(!points.iter().any(|b| pareto::dominates(&b.objectives, &a.objectives, &directions)));
        }
        assert!(runner.frontier(&["bandwidth"], 3, &BTreeMap::new(), &[], true).is_err());
        let unknown = Objective::parse("max:profit").expect("well formed");
        assert!(runner.frontier(&["bandwidth"], 3, &BTreeMap::new(), &[unknown], true).is_err());
        assert!(Objective::parse("profit").is_err());
    }
}
