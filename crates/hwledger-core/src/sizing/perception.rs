//! Perception stages on general-purpose cores: whole distributions, scaled. No verdicts.

use serde::{Deserialize, Serialize};

use super::error::{SizingError, positive};
use super::provenance::Calibration;
use crate::Basis;

/// A distribution of times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Half of them are shorter.
    pub median_ms: f64,
    /// 95 in 100 are shorter.
    pub p95_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Distribution {
    /// The whole distribution at another speed.
    ///
    /// **Formula**: every figure / speedup. **Errors**: a speedup that is no number above 0.
    pub fn sped_up(self, speedup: f64) -> Result<Self, SizingError> {
        let speedup = positive("speedup", speedup)?;
        Ok(Self { median_ms: self.median_ms / speedup, p95_ms: self.p95_ms / speedup, max_ms: self.max_ms / speedup })
    }
}

/// An iterative solver that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SolverAnchor {
    /// Iterations until it converges: a property of the problem, not of the chip.
    pub iterations: u32,
    /// Time of one solution.
    pub solve_time: Distribution,
    /// Where it comes from.
    pub calibration: Calibration,
}

/// A stage of a perception pipeline that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PerceptionAnchor {
    /// The stage.
    pub name: String,
    /// Its time per frame.
    pub latency: Distribution,
    /// Its memory traffic in decimal GB/s, where measured.
    pub bandwidth_gb_s: Option<f64>,
    /// Cores that it keeps busy, where measured.
    pub cores: Option<f64>,
    /// Where they come from.
    pub calibration: Calibration,
    /// Its solver, if it has one.
    pub solver: Option<SolverAnchor>,
}

/// A stage at another speed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StageProjection {
    /// Its time per frame.
    pub latency: Distribution,
    /// How much faster than measured.
    pub speedup: f64,
    /// The anchor's own basis at a speedup of 1, else a formula.
    pub basis: Basis,
}

/// A solver at another speed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SolverProjection {
    /// Iterations, unchanged.
    pub iterations: u32,
    /// Time of one solution.
    pub solve_time: Distribution,
    /// How much faster than measured.
    pub speedup: f64,
    /// The anchor's own basis at a speedup of 1, else a formula.
    pub basis: Basis,
}

fn basis(calibration: &Calibration, speedup: f64) -> Basis {
    if (speedup - 1.0).abs() < f64::EPSILON { calibration.basis() } else { Basis::Formula }
}

impl PerceptionAnchor {
    /// The stage on a chip that is `speedup` times as fast.
    pub fn project(&self, speedup: f64) -> Result<StageProjection, SizingError> {
        let latency = self.latency.sped_up(speedup)?;
        Ok(StageProjection { latency, speedup, basis: basis(&self.calibration, speedup) })
    }
}

impl SolverAnchor {
    /// The solver on a chip that is `speedup` times as fast: as many iterations, each shorter.
    pub fn project(&self, speedup: f64) -> Result<SolverProjection, SizingError> {
        let solve_time = self.solve_time.sped_up(speedup)?;
        let basis = basis(&self.calibration, speedup);
        Ok(SolverProjection { iterations: self.iterations, solve_time, speedup, basis })
    }
}

#[cfg(test)]
mod tests {
    use super::super::provenance::{Confidence, Method};
    use super::*;

    fn stage() -> PerceptionAnchor {
        let calibration = Calibration::new(Method::Measured, Confidence::High, "a run");
        let latency = Distribution { median_ms: 10.0, p95_ms: 14.0, max_ms: 30.0 };
        PerceptionAnchor {
            name: "track".to_owned(),
            latency,
            bandwidth_gb_s: None,
            cores: Some(1.5),
            solver: Some(SolverAnchor { iterations: 7, solve_time: latency, calibration: calibration.clone() }),
            calibration,
        }
    }

    #[test]
    fn the_whole_distribution_shrinks_and_iterations_stay() {
        let faster = stage().project(2.0).expect("a sound speedup");
        assert!((faster.latency.max_ms - 15.0).abs() < 1e-12 && (faster.latency.p95_ms - 7.0).abs() < 1e-12);
        assert_eq!(faster.basis, Basis::Formula);
        let solver = stage().solver.expect("it has one").project(2.0).expect("a sound speedup");
        assert_eq!(solver.iterations, 7);
        assert!((solver.solve_time.median_ms - 5.0).abs() < 1e-12);
    }

    #[test]
    fn a_speedup_of_one_stays_measured_and_none_is_refused() {
        assert_eq!(stage().project(1.0).expect("a sound speedup").basis, Basis::Measured);
        for speedup in [0.0, -1.0, f64::NAN] {
            assert!(stage().project(speedup).is_err(), "{speedup}");
        }
    }
}
