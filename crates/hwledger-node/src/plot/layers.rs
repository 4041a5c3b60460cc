//! Layer by layer: weights, cache and state.

use hwledger_core::Bytes;
use serde::Serialize;

use super::PlotError;
use super::heading::{Heading, counted};
use crate::planner::Planner;
use crate::request::PlanRequest;

/// Bars of every layer of the decoder.
#[derive(Clone, Debug, Serialize)]
pub struct LayersPlot {
    /// What it is of.
    #[serde(flatten)]
    pub heading: Heading,
    /// The kinds of layers, in order of appearance.
    pub kinds: Vec<String>,
    /// The layers, in order.
    pub layers: Vec<LayerBar>,
}

/// One layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LayerBar {
    /// Its kind: an index into [`LayersPlot::kinds`].
    pub kind: usize,
    /// Its weights.
    pub weights: Bytes,
    /// Its attention cache at the context, for one sequence.
    pub cache: Bytes,
    /// Its recurrent and convolution state, for one sequence.
    pub state: Bytes,
}

impl Planner {
    /// The layers of a model as bars.
    pub fn plot_layers(&self, request: &PlanRequest) -> Result<LayersPlot, PlotError> {
        let prepared = self.prepare(request)?;
        let mut kinds: Vec<String> = Vec::new();
        let layers = prepared
            .layer_memory()
            .into_iter()
            .map(|layer| {
                let kind = kinds.iter().position(|kind| *kind == layer.kind).unwrap_or_else(|| {
                    kinds.push(layer.kind.clone());
                    kinds.len() - 1
                });
                LayerBar { kind, weights: layer.weights, cache: layer.cache, state: layer.state }
            })
            .collect();
        let context = counted(prepared.context, "token", "tokens");
        let mut heading = Heading::of_plan("Memory by layer", &prepared, &[format!("one sequence of {context}")]);
        heading.notes.push("Embeddings and the output matrix belong to no layer and are not shown.".to_owned());
        Ok(LayersPlot { heading, kinds, layers })
    }
}
