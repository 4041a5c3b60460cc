//! Fitting efficiencies to measurements.
//!
//! **Formula**: minimise over the logarithms of all factors the sum of
//! weight x rho((ln measured - ln predicted) / scatter) and of (factor / spread)^2, with the
//! robust loss rho of Student's t. That is the most probable set of factors where each has a
//! normal prior about none: factors of a device or a kernel stay near their parents' unless
//! measurements say otherwise, and by as much as they say. The factor of one engine, device and
//! architecture together may be far below none: software can be any number of times slower than its
//! parts (a kernel that is missing, graphs that cannot be captured), but not faster than they
//! are, so on that side its prior is Student's t as well.
//!
//! **Source**: Gelman, Hill 2006, chapter 12 (partial pooling); Lange, Little, Taylor 1989 (robust
//! regression with the t distribution); Levenberg 1944, Marquardt 1963 (damped steps).

use std::collections::HashMap;

use super::efficiency::{Efficiencies, FactorKey, FittedFactor, Level};
use super::term::{Cost, joined};

/// Standard deviation of ln(measured / predicted) that is nobody's fault: two honest measurements
/// of the same thing differ by about as much.
const SCATTER: f64 = 0.10;
/// Degrees of freedom of the loss: few, so that rows that contradict the rest count little.
const FREEDOM: f64 = 4.0;
/// Most steps.
const STEPS_MAX: usize = 14;
/// A step that improves less than this share of the loss is the last.
const IMPROVEMENT_MIN: f64 = 5e-4;

/// One measured time.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Its causes.
    pub cost: Cost,
    /// The time in seconds.
    pub seconds: f64,
    /// How much it counts.
    pub weight: f64,
}

/// The factors that measurements bear on, numbered.
#[derive(Debug, Default)]
struct Unknowns {
    numbers: HashMap<FactorKey, u32>,
    keys: Vec<FactorKey>,
    priors: Vec<Prior>,
}

/// What is thought of a factor's logarithm before any measurement: that it is about zero.
#[derive(Clone, Copy, Debug)]
struct Prior {
    /// Standard deviation.
    spread: f64,
    /// Whether it can be far below zero.
    has_tail: bool,
}

impl Prior {
    fn loss(self, log: f64) -> f64 {
        let scaled = (log / self.spread).powi(2);
        if self.has_tail && log < 0.0 { FREEDOM * (1.0 + scaled / FREEDOM).ln() } else { scaled }
    }

    /// The weight of the square that touches the loss at `log` and is nowhere below it.
    fn precision(self, log: f64) -> f64 {
        let scaled = (log / self.spread).powi(2);
        let share = if self.has_tail && log < 0.0 { FREEDOM / (FREEDOM + scaled) } else { 1.0 };
        share / (self.spread * self.spread)
    }
}

/// A term of a measured time with the factors that it depends on.
#[derive(Debug)]
struct Dependence {
    ideal: f64,
    /// Logarithm of its efficiency where every unknown factor is one.
    start: f64,
    overlap: u16,
    unknowns: Vec<u32>,
}

/// A measurement ready to be linearised again and again.
#[derive(Debug)]
struct Equation {
    terms: Vec<Dependence>,
    log_seconds: f64,
    weight: f64,
}

/// A measurement's residual and how it moves with each factor.
struct Row {
    residual: f64,
    weight: f64,
    /// Number of the factor and share of the time that it moves, sorted by number.
    shares: Vec<(u32, f64)>,
}

/// Efficiencies fitted to `observations`. `start` gives the names, the priors and, if it was fitted
/// itself, where the search begins; nothing else of it remains.
pub fn fit(observations: &[&Observation], start: &Efficiencies) -> Efficiencies {
    let mut unknowns = Unknowns::default();
    let equations: Vec<Equation> = observations.iter().map(|own| equation(own, start, &mut unknowns)).collect();
    let mut known: Vec<f64> =
        unknowns.keys.iter().map(|key| start.factors.get(key).map_or(0.0, |factor| factor.log)).collect();
    let rows = descend(&equations, &mut known, &unknowns);
    let rows =
        if leap(&equations, &mut known, &rows, &unknowns) { descend(&equations, &mut known, &unknowns) } else { rows };
    finish(start, &known, &rows, &unknowns)
}

/// Steps downhill from `known`; the measurements at the end.
fn descend(equations: &[Equation], known: &mut Vec<f64>, unknowns: &Unknowns) -> Vec<Row> {
    let count = known.len();
    let mut damping = 1e-6;
    let (mut rows, mut loss) = linearise(equations, known, unknowns);
    for _ in 0..STEPS_MAX {
        let (mut matrix, gradient) = normal_equations(&rows, known, unknowns);
        for index in 0..count {
            matrix[index * count + index] *= 1.0 + damping;
        }
        let Some(factorised) = Cholesky::of(matrix, count) else {
            damping *= 10.0;
            continue;
        };
        let step = factorised.solve(&gradient);
        // Longer steps leave the region where the linearisation holds.
        let next: Vec<f64> = known.iter().zip(&step).map(|(log, change)| log + change.clamp(-1.0, 1.0)).collect();
        let (next_rows, next_loss) = linearise(equations, &next, unknowns);
        if next_loss < loss {
            let improvement = (loss - next_loss) / loss;
            (*known, rows, loss) = (next, next_rows, next_loss);
            damping = (damping / 5.0).max(1e-9);
            if improvement < IMPROVEMENT_MIN {
                break;
            }
        } else {
            damping = (damping * 10.0).max(1e-6);
            if damping > 1e6 {
                break;
            }
        }
    }
    rows
}

/// Moves every factor with a tail to where half of its measurements are slower and half are faster,
/// if that is more probable; whether any was. No step downhill gets there: rows far off hardly pull.
fn leap(equations: &[Equation], known: &mut [f64], rows: &[Row], unknowns: &Unknowns) -> bool {
    let mut bearing: HashMap<u32, Vec<usize>> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        for (number, _) in row.shares.iter().filter(|(number, _)| unknowns.priors[*number as usize].has_tail) {
            bearing.entry(*number).or_default().push(index);
        }
    }
    let mut numbers: Vec<u32> = bearing.keys().copied().collect();
    numbers.sort_unstable();
    let mut has_moved = false;
    for number in numbers {
        let prior = unknowns.priors[number as usize];
        let own: Vec<&Equation> = bearing[&number].iter().map(|&index| &equations[index]).collect();
        let loss = |known: &[f64]| {
            own.iter().map(|equation| equation.loss(equation.residual(known))).sum::<f64>()
                + prior.loss(known[number as usize])
        };
        let mut residuals: Vec<f64> = own.iter().map(|equation| equation.residual(known)).collect();
        residuals.sort_by(f64::total_cmp);
        let (before, from) = (loss(known), known[number as usize]);
        known[number as usize] = from - residuals[residuals.len() / 2];
        if loss(known) < before { has_moved = true } else { known[number as usize] = from }
    }
    has_moved
}

impl Equation {
    /// Seconds that each term takes.
    fn each(&self, known: &[f64]) -> Vec<f64> {
        let seconds = |term: &Dependence| {
            let log: f64 = term.unknowns.iter().map(|&index| known[index as usize]).sum();
            term.ideal * (-term.start - log).exp()
        };
        self.terms.iter().map(seconds).collect()
    }

    /// ln(measured / predicted).
    fn residual(&self, known: &[f64]) -> f64 {
        self.log_seconds - joined(&self.each(known), |index| self.terms[index].overlap).0.ln()
    }

    fn loss(&self, residual: f64) -> f64 {
        self.weight * (FREEDOM + 1.0) * (1.0 + (residual / SCATTER).powi(2) / FREEDOM).ln()
    }
}

/// Numbers the factors that a measurement bears on.
fn equation(observation: &Observation, start: &Efficiencies, unknowns: &mut Unknowns) -> Equation {
    let cost = &observation.cost;
    let terms = cost.terms.iter().map(|term| {
        let place = &cost.places[usize::from(term.place)];
        let mut own = Vec::with_capacity(20);
        let mut log = 0.0;
        for (resource, kernel) in term.efficiencies() {
            log += start.priors.start(place, resource, kernel);
            start.priors.factors(place, resource, kernel, |factor| {
                let spread = start.priors.spread(factor.level, resource);
                if spread > 0.0 {
                    let next = u32::try_from(unknowns.keys.len()).expect("there are some thousand factors");
                    let number = *unknowns.numbers.entry(factor.key).or_insert(next);
                    if number == next {
                        unknowns.keys.push(factor.key);
                        unknowns.priors.push(Prior { spread, has_tail: factor.level == Level::DeviceArchitecture });
                    }
                    own.push(number);
                }
            });
        }
        Dependence { ideal: term.ideal, start: log, overlap: term.overlap, unknowns: own }
    });
    Equation { terms: terms.collect(), log_seconds: observation.seconds.ln(), weight: observation.weight }
}

/// Residuals and shares at `known`, and the loss there.
fn linearise(equations: &[Equation], known: &[f64], unknowns: &Unknowns) -> (Vec<Row>, f64) {
    let mut loss: f64 = known.iter().zip(&unknowns.priors).map(|(&log, prior)| prior.loss(log)).sum();
    let mut dense = vec![0.0; known.len()];
    let mut touched: Vec<u32> = Vec::new();
    let rows = equations
        .iter()
        .map(|equation| {
            let (seconds, shares) = joined(&equation.each(known), |index| equation.terms[index].overlap);
            for (term, share) in equation.terms.iter().zip(shares) {
                for &index in &term.unknowns {
                    if dense[index as usize] == 0.0 {
                        touched.push(index);
                    }
                    dense[index as usize] += share;
                }
            }
            touched.sort_unstable();
            touched.dedup();
            let shares = touched.drain(..).map(|index| (index, std::mem::take(&mut dense[index as usize]))).collect();
            let residual = equation.log_seconds - seconds.ln();
            let scaled = (residual / SCATTER).powi(2);
            loss += equation.loss(residual);
            // Rows far off count as the t distribution lets them.
            let weight = equation.weight * (FREEDOM + 1.0) / (FREEDOM + scaled) / (SCATTER * SCATTER);
            Row { residual, weight, shares }
        })
        .collect();
    (rows, loss)
}

/// The matrix and right side of the next step.
fn normal_equations(rows: &[Row], known: &[f64], unknowns: &Unknowns) -> (Vec<f64>, Vec<f64>) {
    let count = known.len();
    let mut matrix = vec![0.0; count * count];
    let mut gradient = vec![0.0; count];
    for row in rows {
        for (place, &(index, share)) in row.shares.iter().enumerate() {
            let weighted = row.weight * share;
            // More efficiency is less time.
            gradient[index as usize] -= weighted * row.residual;
            let line = &mut matrix[index as usize * count..][..count];
            for &(other, other_share) in &row.shares[..=place] {
                line[other as usize] += weighted * other_share;
            }
        }
    }
    for (index, (&log, prior)) in known.iter().zip(&unknowns.priors).enumerate() {
        let precision = prior.precision(log);
        matrix[index * count + index] += precision;
        gradient[index] -= precision * log;
    }
    (matrix, gradient)
}

/// Efficiencies with the fitted factors, each with its deviation and support.
fn finish(start: &Efficiencies, known: &[f64], rows: &[Row], unknowns: &Unknowns) -> Efficiencies {
    let mut fitted = start.clone();
    fitted.factors.clear();
    let mut support = vec![0.0; known.len()];
    for &(index, share) in rows.iter().flat_map(|row| &row.shares) {
        support[index as usize] += share;
    }
    let (matrix, _) = normal_equations(rows, known, unknowns);
    for (index, key) in unknowns.keys.iter().enumerate() {
        // The precision of the factor alone: what is left to know of it if its parents were known.
        let deviation = matrix[index * known.len() + index].sqrt().recip();
        fitted.factors.insert(*key, FittedFactor { log: known[index], deviation, support: support[index] });
    }
    fitted
}

/// The scalar product, in four sums that a processor adds at once.
fn dot(left: &[f64], right: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (left_chunks, right_chunks) = (left.chunks_exact(4), right.chunks_exact(4));
    let rest: f64 = left_chunks.remainder().iter().zip(right_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in left_chunks.zip(right_chunks) {
        for lane in 0..4 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// A symmetric positive matrix as the product of a triangle and its transpose.
struct Cholesky {
    lower: Vec<f64>,
    count: usize,
}

impl Cholesky {
    /// Factorises `matrix`, of which the lower triangle is read; `None` if it is not positive.
    fn of(mut matrix: Vec<f64>, count: usize) -> Option<Self> {
        for column in 0..count {
            for row in column..count {
                let own = &matrix[row * count..row * count + column];
                let other = &matrix[column * count..column * count + column];
                let value = matrix[row * count + column] - dot(own, other);
                matrix[row * count + column] = if row == column {
                    if value <= 0.0 || !value.is_finite() {
                        return None;
                    }
                    value.sqrt()
                } else {
                    value / matrix[column * count + column]
                };
            }
        }
        Some(Self { lower: matrix, count })
    }

    /// Solves for one right side.
    fn solve(&self, right: &[f64]) -> Vec<f64> {
        let count = self.count;
        let mut x = right.to_vec();
        for row in 0..count {
            let line = &self.lower[row * count..row * count + row];
            x[row] = (x[row] - dot(line, &x[..row])) / self.lower[row * count + row];
        }
        for row in (0..count).rev() {
            x[row] /= self.lower[row * count + row];
            let value = x[row];
            for (above, lower) in x[..row].iter_mut().zip(&self.lower[row * count..]) {
                *above -= lower * value;
            }
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::super::Projection;
    use super::super::efficiency::Priors;
    use super::*;
    use crate::Assumptions;
    use crate::device::find;
    use crate::model::fixture::llama_8b;
    use crate::settings::{Engine, Settings};

    const CARDS: [&str; 2] = ["RTX 3090", "RTX 4090"];

    /// Efficiencies that know the names of the cards and of the model, and nothing measured.
    fn unfitted() -> Efficiencies {
        let mut start = Efficiencies::of_priors(Priors::embedded().clone());
        start.vocabulary.insert(&llama_8b().architecture);
        for name in CARDS {
            let spec = find(name, None).expect("it is known").device.spec.expect("it is in the catalogue");
            start.vocabulary.insert(&spec.name);
            start.vocabulary.insert(spec.family.as_deref().expect("it has one"));
        }
        start
    }

    fn decode(name: &str, start: &Efficiencies) -> Cost {
        let settings = Settings {
            weights: Some("Q4_K_M".to_owned()),
            devices: vec![find(name, None).expect("it is known").device],
            ..Settings::default()
        };
        let told = &mut Assumptions::default();
        Projection::resolve(Engine::LlamaCpp, &llama_8b(), None, &settings, None, start, told)
            .expect("everything is known")
            .pass
    }

    /// How many times longer than unfitted one card is predicted to take, where `measured` rows took so many times
    /// longer, and thirty rows of another card just as long.
    fn fitted(measured: &[f64]) -> f64 {
        let start = unfitted();
        let rows = |name: &str, slower: &[f64]| {
            let cost = decode(name, &start);
            let seconds = cost.seconds(&start);
            let row = |slower: &f64| Observation { cost: cost.clone(), seconds: seconds * slower, weight: 0.3 };
            slower.iter().map(row).collect::<Vec<_>>()
        };
        let observations = [rows(CARDS[0], &[1.0; 30]), rows(CARDS[1], measured)].concat();
        let fitted = fit(&observations.iter().collect::<Vec<_>>(), &start);
        let cost = decode(CARDS[1], &start);
        cost.seconds(&fitted) / cost.seconds(&start)
    }

    #[test]
    fn software_that_is_slow_wherever_it_was_measured_is_believed() {
        let slow = fitted(&[4.0; 3]);
        assert!((3.6..4.2).contains(&slow), "{slow}");
    }

    #[test]
    fn one_slow_measurement_among_others_is_not() {
        let mixed = fitted(&[1.0, 1.02, 0.98, 1.0, 1.01, 0.99, 1.0, 4.0]);
        assert!((0.95..1.1).contains(&mixed), "{mixed}");
    }

    #[test]
    fn far_below_is_likelier_than_far_above_where_there_is_a_tail() {
        let (plain, tailed) = (Prior { spread: 0.15, has_tail: false }, Prior { spread: 0.15, has_tail: true });
        assert!(tailed.loss(-1.4) < tailed.loss(1.4) / 5.0 && tailed.loss(-1.4) < plain.loss(-1.4));
        for log in [-2.0, -0.3, -0.01, 0.0, 0.01, 0.3] {
            // The touching square has the slope of the loss.
            let slope = (tailed.loss(log + 1e-6) - tailed.loss(log - 1e-6)) / 2e-6;
            assert!((slope - 2.0 * tailed.precision(log) * log).abs() < 1e-3, "{log}: {slope}");
        }
        assert!((plain.loss(-0.3) - plain.loss(0.3)).abs() < 1e-12);
    }

    #[test]
    fn a_small_system_is_solved() {
        // [4 2; 2 3] x = [8; 7] has x = [1.25; 1.5].
        let factorised = Cholesky::of(vec![4.0, 0.0, 2.0, 3.0], 2).unwrap();
        let x = factorised.solve(&[8.0, 7.0]);
        assert!((x[0] - 1.25).abs() < 1e-12 && (x[1] - 1.5).abs() < 1e-12, "{x:?}");
        assert!(Cholesky::of(vec![1.0, 0.0, 2.0, 1.0], 2).is_none());
    }
}
