//! The layers as a strip of bars, one column each.

use hwledger_core::Bytes;
use hwledger_core::breakdown::LayerMemory;

/// Eighths of a character cell, from nothing to full.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Columns of one strip; deeper models go on below.
const COLUMNS: usize = 96;

/// Names of the kinds of layers, in order of appearance.
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A bar that is `size` of `largest` high; something is never drawn as nothing.
fn bar(size: Bytes, largest: Bytes) -> char {
    if size == Bytes::ZERO {
        return BARS[0];
    }
    let eighths = size.0.saturating_mul(8).div_ceil(largest.0.max(1)).clamp(1, 8);
    BARS[usize::try_from(eighths).unwrap_or(8)]
}

/// The picture: which kind each layer is, its weights, its cache and state; then what each kind is.
pub(crate) fn lines(layers: &[LayerMemory]) -> Vec<String> {
    let mut kinds: Vec<&LayerMemory> = Vec::new();
    let mut letters = String::new();
    for layer in layers {
        let same = |known: &&LayerMemory| LayerMemory { index: layer.index, ..(**known).clone() } == *layer;
        let kind = kinds.iter().position(same).unwrap_or_else(|| {
            kinds.push(layer);
            kinds.len() - 1
        });
        letters.push(LETTERS.chars().nth(kind).unwrap_or('*'));
    }
    let kept = |layer: &LayerMemory| layer.cache + layer.state;
    let weights_max = layers.iter().map(|layer| layer.weights).max().unwrap_or_default();
    let kept_max = layers.iter().map(kept).max().unwrap_or_default();
    let mut lines = Vec::new();
    let letters: Vec<char> = letters.chars().collect();
    for (chunk, names) in layers.chunks(COLUMNS).zip(letters.chunks(COLUMNS)) {
        lines.push(format!("  kind     {}", names.iter().collect::<String>()));
        let strip: String = chunk.iter().map(|layer| bar(layer.weights, weights_max)).collect();
        lines.push(format!("  weights  {strip}  █ = {weights_max}"));
        let strip: String = chunk.iter().map(|layer| bar(kept(layer), kept_max)).collect();
        lines.push(format!("  cache    {strip}  █ = {kept_max}"));
    }
    for (kind, layer) in kinds.iter().enumerate().take(LETTERS.len()) {
        let letter = LETTERS.chars().nth(kind).unwrap_or('*');
        let count = letters.iter().filter(|&&name| name == letter).count();
        let line = format!("  {letter} x{count}: {}; weights {}, cache {}", layer.kind, layer.weights, layer.cache);
        lines.push(match layer.state {
            Bytes::ZERO => line,
            state => format!("{line}, state {state}"),
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_never_lost() {
        assert_eq!(bar(Bytes(0), Bytes(100)), ' ');
        assert_eq!(bar(Bytes(1), Bytes(100)), '▁');
        assert_eq!(bar(Bytes(50), Bytes(100)), '▄');
        assert_eq!(bar(Bytes(100), Bytes(100)), '█');
    }
}
