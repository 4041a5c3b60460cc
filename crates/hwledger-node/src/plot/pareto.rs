//! Two columns of a table, and the rows that no other row beats in both.

use serde::Serialize;

use super::heading::{Heading, counted};
use super::table::{Table, TableError};

/// Which end of a column is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Best {
    /// Little is good: cost, time, memory.
    Low,
    /// Much is good: speed, context.
    High,
}

impl Best {
    /// Whether `left` is strictly better than `right`.
    fn is_better(self, left: f64, right: f64) -> bool {
        match self {
            Self::Low => left < right,
            Self::High => left > right,
        }
    }
}

/// What is compared.
#[derive(Clone, Debug)]
pub struct ParetoColumns {
    /// The column along the picture.
    pub x: String,
    /// The column up the picture.
    pub y: String,
    /// Which end of `x` is wanted.
    pub x_best: Best,
    /// Which end of `y` is wanted.
    pub y_best: Best,
    /// The column that names points.
    pub label: Option<String>,
}

/// Rows as points.
#[derive(Clone, Debug, Serialize)]
pub struct ParetoPlot {
    /// What it is of.
    #[serde(flatten)]
    pub heading: Heading,
    /// The column along the picture, as it is called in the table.
    pub x: String,
    /// The column up the picture.
    pub y: String,
    /// Which end of `x` is wanted.
    pub x_best: Best,
    /// Which end of `y` is wanted.
    pub y_best: Best,
    /// Rows that have both numbers, in the table's order.
    pub points: Vec<ParetoPoint>,
    /// The front: indices into `points`, from the lowest `x`.
    pub front: Vec<usize>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParetoPoint {
    /// Along the picture.
    pub x: f64,
    /// Up the picture.
    pub y: f64,
    /// Its name, where a column gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// The points that no other beats: none is at least as good in both and better in one. Of equal
/// points the first stands for all.
fn front(points: &[ParetoPoint], x_best: Best, y_best: Best) -> Vec<usize> {
    let order = |best: Best, left: f64, right: f64| match best {
        Best::Low => left.total_cmp(&right),
        Best::High => right.total_cmp(&left),
    };
    let mut by_x: Vec<usize> = (0..points.len()).collect();
    by_x.sort_by(|&left, &right| {
        let (left, right) = (&points[left], &points[right]);
        order(x_best, left.x, right.x).then(order(y_best, left.y, right.y))
    });
    let mut front: Vec<usize> = Vec::new();
    for index in by_x {
        let is_ahead = |&last: &usize| y_best.is_better(points[index].y, points[last].y);
        if front.last().is_none_or(is_ahead) {
            front.push(index);
        }
    }
    front.sort_by(|&left, &right| points[left].x.total_cmp(&points[right].x));
    front
}

/// The points and the front of a table.
pub fn pareto(table: &Table, columns: &ParetoColumns) -> Result<ParetoPlot, TableError> {
    let (x, y) = (table.numbers(&columns.x)?, table.numbers(&columns.y)?);
    let labels = match &columns.label {
        Some(name) => table.texts(name)?,
        None => vec![None; table.len()],
    };
    let rows = x.into_iter().zip(y).zip(labels);
    let points: Vec<ParetoPoint> =
        rows.filter_map(|((x, y), label)| Some(ParetoPoint { x: x?, y: y?, label })).collect();
    if points.is_empty() {
        return Err(TableError::NoPair { x: columns.x.clone(), y: columns.y.clone() });
    }
    let front = front(&points, columns.x_best, columns.y_best);
    let mut heading = Heading {
        title: format!("{} against {}", columns.y, columns.x),
        subtitle: format!(
            "{}, {} on the front",
            counted(points.len() as u64, "row", "rows"),
            counted(front.len() as u64, "of them", "of them")
        ),
        notes: vec!["On the front: rows that no other row equals in one and beats in the other.".to_owned()],
    };
    let without = table.len() - points.len();
    if without > 0 {
        heading.notes.push(format!("{} without both numbers left out.", counted(without as u64, "row", "rows")));
    }
    Ok(ParetoPlot {
        heading,
        x: columns.x.clone(),
        y: columns.y.clone(),
        x_best: columns.x_best,
        y_best: columns.y_best,
        points,
        front,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(pairs: &[(f64, f64)]) -> Vec<ParetoPoint> {
        pairs.iter().map(|&(x, y)| ParetoPoint { x, y, label: None }).collect()
    }

    #[test]
    fn the_front_is_what_nothing_beats() {
        let points = points(&[(1.0, 1.0), (2.0, 3.0), (2.0, 2.0), (3.0, 3.0), (4.0, 5.0), (1.0, 1.0), (0.5, 0.5)]);
        assert_eq!(front(&points, Best::Low, Best::High), [6, 0, 1, 4]);
        assert_eq!(front(&points, Best::High, Best::High), [4]);
        assert_eq!(front(&points, Best::Low, Best::Low), [6]);
        // The definition itself, for every point.
        for (index, own) in points.iter().enumerate() {
            let beats =
                |other: &ParetoPoint| other.x <= own.x && other.y >= own.y && (other.x < own.x || other.y > own.y);
            let is_beaten = points.iter().any(beats);
            let is_twin = points[..index].contains(own);
            assert_eq!(front(&points, Best::Low, Best::High).contains(&index), !is_beaten && !is_twin, "{own:?}");
        }
    }
}
