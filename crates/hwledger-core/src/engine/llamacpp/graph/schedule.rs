//! Which backend runs which operation, and the copies between backends.
//!
//! **Source**: `ggml_backend_sched_split_graph` of ggml-backend.cpp (ggml 0.25).

use super::tape::{ANYWHERE, Backend, Kind, Tape, Tensor};

/// Operations that run on one backend without a break.
#[derive(Debug)]
struct Split {
    backend: Backend,
    start: usize,
    end: usize,
    /// Tensors of other backends that must be copied before it starts, by node.
    inputs: Vec<u32>,
}

/// A tape whose operations all have a backend, with copies where a source lies on another.
///
/// `host` is the last backend. With `copies` above 1, batches overlap: every input and every
/// tensor that crosses backends is kept that many times.
pub(super) fn schedule(mut tape: Tape, host: Backend, copies: u64) -> Tape {
    assign(&mut tape, host);
    let splits = split(&tape);
    emit(&tape, &splits, host, copies)
}

/// Spreads the backends of operations with weights to those without: cards first, down then up
/// the order of operations, and the host only between operations of its own.
fn assign(tape: &mut Tape, host: Backend) {
    let nodes = tape.nodes_mut();
    for is_host_spread in [false, true] {
        for downwards in [true, false] {
            let mut current = ANYWHERE;
            for step in 0..nodes.len() {
                let node = &mut nodes[if downwards { step } else { nodes.len() - 1 - step }];
                if node.kind.is_leaf() {
                    continue;
                }
                if node.backend == ANYWHERE {
                    node.backend = current;
                } else {
                    current = if node.backend == host && !is_host_spread { ANYWHERE } else { node.backend };
                }
            }
        }
    }
    for node in nodes {
        if node.backend == ANYWHERE {
            node.backend = host;
        }
    }
}

/// Cuts the order of operations where the backend changes, and where a weight must be borrowed
/// from another backend, so that the memory of the one borrowed before can be reused.
fn split(tape: &Tape) -> Vec<Split> {
    let nodes = tape.nodes();
    let mut splits: Vec<Split> = Vec::new();
    let mut copied: Vec<(u32, Backend)> = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        if node.kind.is_leaf() {
            continue;
        }
        let is_foreign = |source: &Tensor| nodes[source.node()].backend != node.backend;
        let borrows =
            tape.sources(node).iter().any(|source| nodes[source.node()].kind == Kind::Weight && is_foreign(source));
        let continues =
            splits.last().is_some_and(|last| last.backend == node.backend && (!borrows || last.inputs.is_empty()));
        if !continues {
            splits.push(Split { backend: node.backend, start: index, end: index, inputs: Vec::new() });
        }
        let Some(current) = splits.last_mut() else { continue };
        current.end = index + 1;
        for source in tape.sources(node).iter().filter(|source| is_foreign(source)) {
            let key = (u32::try_from(source.node()).unwrap_or(u32::MAX), node.backend);
            if !copied.contains(&key) {
                copied.push(key);
                current.inputs.push(key.0);
            }
        }
    }
    splits
}

/// The final order: at the start of each split the copies it needs, then its operations.
fn emit(tape: &Tape, splits: &[Split], host: Backend, copies: u64) -> Tape {
    let mut output = Tape::with_room(tape.nodes().len() + 64);
    // Few tensors cross: asking each source here first saves the search below.
    let mut is_crossing = vec![false; tape.nodes().len()];
    let mut sources: Vec<Tensor> = Vec::with_capacity(16);
    let mut placed: Vec<Option<Tensor>> = vec![None; tape.nodes().len()];
    let mut crossed: Vec<(u32, Backend, Tensor)> = Vec::new();
    for (index, node) in tape.nodes().iter().enumerate() {
        if !node.kind.is_leaf() {
            continue;
        }
        let leaf = output.push(node.kind, node.bytes, &[]);
        let backend = if node.kind == Kind::Input { host } else { node.backend };
        output.place(leaf, backend);
        if node.kind == Kind::Input && copies > 1 {
            output.keep(leaf);
            for _ in 1..copies {
                let spare = output.push(Kind::Input, node.bytes, &[]);
                output.place(spare, host);
                output.keep(spare);
            }
        }
        placed[index] = Some(leaf);
    }
    for split in splits {
        for &input in &split.inputs {
            let Some(source) = placed[input as usize] else { continue };
            let bytes = output.bytes(source);
            is_crossing[input as usize] = true;
            if copies > 1 {
                let mut copy = source;
                for _ in 0..copies {
                    copy = output.push(Kind::Input, bytes, &[]);
                    output.place(copy, split.backend);
                    output.keep(copy);
                }
                crossed.push((input, split.backend, copy));
            } else {
                output.store(&[source], split.backend);
                let copy = output.push(Kind::Fresh, bytes, &[]);
                output.place(copy, split.backend);
                crossed.push((input, split.backend, copy));
            }
        }
        for index in split.start..split.end {
            let node = &tape.nodes()[index];
            if node.kind.is_leaf() {
                continue;
            }
            sources.clear();
            sources.extend(tape.sources(node).iter().filter_map(|source| {
                let is_copy =
                    |(from, to, _): &&(u32, Backend, Tensor)| *from as usize == source.node() && *to == split.backend;
                let copy = is_crossing[source.node()].then(|| crossed.iter().find(is_copy)).flatten();
                let tensor = copy.map(|(_, _, copy)| *copy).or(placed[source.node()])?;
                Some(if source.is_view() { tensor.view() } else { tensor })
            }));
            let result = output.push(node.kind, node.bytes, &sources);
            output.place(result, split.backend);
            if node.is_kept {
                output.keep(result);
            }
            placed[index] = Some(result);
        }
    }
    output
}
