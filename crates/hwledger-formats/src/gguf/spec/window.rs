//! Which layers attend over a window, and how far.

use hwledger_core::model::Span;

use crate::diagnostic::Diagnostic;

use super::architecture::{WindowRule, WindowSize, is_known, window_rule};
use super::hyperparameters::Hyperparameters;

/// The window of every layer.
pub(super) struct Windows {
    is_windowed: Vec<bool>,
    span: Span,
}

impl Windows {
    /// How far back this layer looks.
    pub(super) fn span(&self, layer: usize) -> Span {
        if self.is_windowed(layer) { self.span } else { Span::Full }
    }

    /// Whether this layer has the windowed layers' shapes.
    pub(super) fn is_windowed(&self, layer: usize) -> bool {
        self.is_windowed.get(layer).copied().unwrap_or(false)
    }
}

const SIZE: &str = "attention.sliding_window";
const PATTERN: &str = "attention.sliding_window_pattern";

/// The windows of a model, with `recurrent` telling its recurrent layers.
pub(super) fn windows(
    model: &Hyperparameters<'_>,
    recurrent: impl Fn(usize) -> bool,
    notes: &mut Vec<Diagnostic>,
) -> Windows {
    let layers = model.layers_all;
    let stated = model.keys.unsigned(SIZE);
    let none = Windows { is_windowed: vec![false; layers], span: Span::Full };
    let rule = if is_known(model.architecture) {
        window_rule(model.architecture, model.layers() as u64)
    } else if stated.is_some_and(|size| size > 0) {
        return guessed(model, stated.unwrap_or(0), notes);
    } else {
        WindowRule::Never
    };
    let size = match rule {
        WindowRule::Pattern { size: WindowSize::KeyOr(default), .. } => stated.or(Some(default)),
        WindowRule::Pattern { size: WindowSize::FixedUnlessZero(fixed), .. } => {
            if stated == Some(0) {
                None
            } else {
                Some(fixed)
            }
        }
        WindowRule::Pattern { size: WindowSize::FixedIfStated(fixed), .. } => stated.map(|size| fixed * size.min(1)),
        WindowRule::Never => None,
        _ => stated,
    };
    let Some(size) = size.filter(|&size| size > 0) else {
        if rule == WindowRule::Never && stated.is_some_and(|size| size > 0) {
            notes.push(Diagnostic::new(
                model.keys.name(SIZE),
                "llama.cpp ignores the window of this architecture and keeps the whole context",
            ));
        }
        return none;
    };
    let is_windowed = (0..layers).map(|layer| is_layer_windowed(model, rule, layer, &recurrent)).collect();
    let span = match rule {
        WindowRule::Pattern { is_chunked: true, .. } => Span::Chunked(size),
        _ => Span::Sliding(size),
    };
    Windows { is_windowed, span }
}

fn is_layer_windowed(
    model: &Hyperparameters<'_>,
    rule: WindowRule,
    layer: usize,
    recurrent: impl Fn(usize) -> bool,
) -> bool {
    let listed = || model.keys.integers(PATTERN).map(|list| list.get(layer).is_some_and(|&flag| flag != 0));
    match rule {
        WindowRule::Never => false,
        WindowRule::Every => true,
        WindowRule::EveryAttention => layer < model.layers() && !recurrent(layer),
        WindowRule::Listed => listed().unwrap_or(false),
        WindowRule::Pattern { period, is_dense_first, .. } => listed().unwrap_or_else(|| {
            let period = model.keys.unsigned(PATTERN).unwrap_or(period);
            layer < model.layers() && in_pattern(layer as u64, period, is_dense_first)
        }),
    }
}

/// Of `period` layers one is full: the last, or the first. A period of 0 means that none is.
const fn in_pattern(layer: u64, period: u64, is_dense_first: bool) -> bool {
    match layer.checked_rem(period) {
        None => true,
        Some(position) if is_dense_first => position != 0,
        Some(position) => position + 1 < period,
    }
}

/// An unknown architecture states a window: the layers that it lists are believed, otherwise all count as full,
/// which is the most that they can take.
fn guessed(model: &Hyperparameters<'_>, size: u64, notes: &mut Vec<Diagnostic>) -> Windows {
    let layers = model.layers_all;
    let listed = model.keys.integers(PATTERN);
    let period = model.keys.unsigned(PATTERN);
    let is_windowed: Vec<bool> = (0..layers)
        .map(|layer| match (listed, period) {
            (Some(list), _) => list.get(layer).is_some_and(|&flag| flag != 0),
            (None, Some(period)) => in_pattern(layer as u64, period, false),
            (None, None) => false,
        })
        .collect();
    let message = if listed.is_some() || period.is_some() {
        format!("the architecture is unknown; its window of {size} tokens is applied to the layers that the file names")
    } else {
        format!(
            "the architecture is unknown and the file does not say which layers have its window of {size} tokens; \
             the plan keeps the whole context in all of them, which is the most they can take"
        )
    };
    notes.push(Diagnostic::new(model.keys.name(SIZE), message));
    Windows { is_windowed, span: Span::Sliding(size) }
}

#[cfg(test)]
mod tests {
    use super::in_pattern;

    #[test]
    fn patterns_are_those_of_the_loader() {
        let layers = |period, first| (0..6).map(|layer| in_pattern(layer, period, first)).collect::<Vec<_>>();
        assert_eq!(layers(3, false), [true, true, false, true, true, false]);
        assert_eq!(layers(2, true), [false, true, false, true, false, true]);
        assert_eq!(layers(0, false), [true; 6]);
        assert_eq!(layers(1, false), [false; 6]);
    }
}
