//! Pareto frontiers: the points that no other point beats on every objective at once.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// Which way an objective is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Less is better.
    Minimise,
    /// More is better.
    Maximise,
}

/// Compares two values of one objective: `Less` where `a` is the better one.
fn better_first(a: f64, b: f64, direction: Direction) -> Ordering {
    // Zero has two signs and one value; `total_cmp` alone would rank them.
    let (a, b) = (a + 0.0, b + 0.0);
    match direction {
        Direction::Minimise => a.total_cmp(&b),
        Direction::Maximise => b.total_cmp(&a),
    }
}

/// Whether `a` is at least as good as `b` everywhere, and better somewhere.
///
/// An objective that either point lacks, or holds as NaN, makes the two incomparable.
pub fn dominates(a: &[f64], b: &[f64], directions: &[Direction]) -> bool {
    let mut is_better_somewhere = false;
    for (objective, &direction) in directions.iter().enumerate() {
        let (Some(&a), Some(&b)) = (a.get(objective), b.get(objective)) else { return false };
        if a.is_nan() || b.is_nan() {
            return false;
        }
        match better_first(a, b, direction) {
            Ordering::Greater => return false,
            Ordering::Less => is_better_somewhere = true,
            Ordering::Equal => {}
        }
    }
    is_better_somewhere
}

/// The indices, in ascending order, of the points that no other point dominates.
///
/// **Objectives**: one per entry of `directions`; further values of a point are ignored.
///
/// **Equal points** do not dominate each other: all of them are on the frontier, or none.
///
/// **Unknown values**: a point with NaN in an objective, or with fewer values than objectives, is
/// left out. Unknown is not better than anything, and a frontier that held it would hide that.
/// Infinities are values like any other.
///
/// **Cost**: O(n log n) for one or two objectives (a sort and one sweep). For more, O(n log n) for
/// the sort and O(n · f · objectives) for comparing each point with the f frontier points found
/// before it; f is n at worst, as where every point is on the frontier.
///
/// **Without objectives** nothing tells points apart, and all are returned.
///
/// ```
/// use hwledger_core::pareto::{Direction, frontier};
/// // Tokens per second against watts.
/// let points = [[10.0, 5.0], [20.0, 9.0], [15.0, 9.0], [20.0, 12.0]];
/// assert_eq!(frontier(&points, &[Direction::Maximise, Direction::Minimise]), [0, 1]);
/// ```
pub fn frontier<P: AsRef<[f64]>>(points: &[P], directions: &[Direction]) -> Vec<usize> {
    let objectives = |index: usize| -> &[f64] { points[index].as_ref() };
    let is_known = |index: &usize| {
        let point = objectives(*index);
        point.len() >= directions.len() && !point[..directions.len()].iter().any(|value| value.is_nan())
    };
    let mut order: Vec<usize> = (0..points.len()).filter(is_known).collect();
    // Best first, objective by objective: whoever dominates a point stands before it.
    let compare = |&a: &usize, &b: &usize| {
        let pairs = objectives(a).iter().zip(objectives(b)).zip(directions);
        pairs.map(|((&a, &b), &direction)| better_first(a, b, direction)).find(|order| order.is_ne())
    };
    order.sort_by(|a, b| compare(a, b).unwrap_or(Ordering::Equal));
    let mut found: Vec<usize> = Vec::new();
    for index in order {
        let is_kept = match (found.last(), directions) {
            (None, _) => true,
            // After the sort, the last frontier point holds the best second objective so far.
            (Some(last), [_] | [_, _]) => !dominates(objectives(*last), objectives(index), directions),
            (Some(_), _) => !found.iter().any(|&known| dominates(objectives(known), objectives(index), directions)),
        };
        if is_kept {
            found.push(index);
        }
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition: every pair compared.
    fn by_brute_force(points: &[Vec<f64>], directions: &[Direction]) -> Vec<usize> {
        let is_known = |point: &Vec<f64>| !point.iter().any(|value| value.is_nan());
        (0..points.len())
            .filter(|&index| is_known(&points[index]))
            .filter(|&index| !points.iter().any(|other| dominates(other, &points[index], directions)))
            .collect()
    }

    /// Marsaglia's xorshift: a repeatable stream without a dependency.
    struct Stream(u64);

    impl Stream {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }
    }

    #[test]
    fn the_frontier_is_what_comparing_every_pair_gives() {
        let mut stream = Stream(0x9E37_79B9_7F4A_7C15);
        for round in 0..2000 {
            let objectives = 1 + round % 5;
            let count = stream.below(40);
            // Few distinct values make ties and equal points common; some are NaN or infinite.
            let points: Vec<Vec<f64>> = (0..count)
                .map(|_| {
                    (0..objectives)
                        .map(|_| match stream.below(12) {
                            0 if round % 3 == 0 => f64::NAN,
                            1 => f64::INFINITY,
                            2 => -0.0,
                            value => value as f64 - 5.0,
                        })
                        .collect()
                })
                .collect();
            let directions: Vec<Direction> = (0..objectives)
                .map(|_| if stream.below(2) == 0 { Direction::Minimise } else { Direction::Maximise })
                .collect();
            assert_eq!(
                frontier(&points, &directions),
                by_brute_force(&points, &directions),
                "{points:?} {directions:?}"
            );
        }
    }

    #[test]
    fn unknown_values_are_left_out_and_hide_nothing() {
        let points = [[f64::NAN, 0.0], [1.0, 1.0], [2.0, 2.0]];
        assert_eq!(frontier(&points, &[Direction::Minimise; 2]), [1]);
        let ragged = [vec![0.0], vec![1.0, 1.0]];
        assert_eq!(frontier(&ragged, &[Direction::Minimise; 2]), [1]);
    }

    #[test]
    fn equal_points_stay_together() {
        let points = [[1.0, 1.0], [1.0, 1.0], [2.0, 1.0]];
        assert_eq!(frontier(&points, &[Direction::Minimise; 2]), [0, 1]);
        assert_eq!(frontier(&points, &[]), [0, 1, 2]);
        assert!(frontier::<[f64; 2]>(&[], &[Direction::Minimise; 2]).is_empty());
    }
}
