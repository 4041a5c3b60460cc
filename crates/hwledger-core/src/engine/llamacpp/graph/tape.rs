//! A computation graph as llama.cpp's allocator sees it: what each operation
//! allocates, what it reads, and whether it may write over what it reads.

/// Where an operation runs and its result lives: the index of a backend in
/// llama.cpp's order (cards first, the host last).
pub(super) type Backend = u8;

/// No backend chosen yet: the operation follows its neighbours.
pub(super) const ANYWHERE: Backend = u8::MAX;

/// A tensor that an operation can read: a result, or a view of one.
///
/// Views own no memory; they count as uses of what they look at. The allocator
/// never writes in place over a view, so the difference must be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    node: u32,
    is_view: bool,
}

impl Tensor {
    /// The same memory seen in another shape, or a part of it.
    pub(super) const fn view(self) -> Self {
        Self { is_view: true, ..self }
    }

    /// The node that owns the memory.
    pub(super) const fn node(self) -> usize {
        self.node as usize
    }

    /// Whether this is a view.
    pub(super) const fn is_view(self) -> bool {
        self.is_view
    }
}

/// What the allocator does when a node is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Allocated before everything else: an input of the graph.
    Input,
    /// Gets memory of its own.
    Fresh,
    /// May take over the memory of a source of the same size that nobody else reads.
    InPlace,
    /// Writes into memory that exists already (the caches), so allocates nothing.
    Store,
    /// Memory outside the graph that operations read: a weight.
    Weight,
    /// Memory outside the graph that operations read and write: a cache.
    Cache,
}

impl Kind {
    /// Whether nothing runs here: what is read, not computed.
    pub(super) const fn is_leaf(self) -> bool {
        matches!(self, Self::Input | Self::Weight | Self::Cache)
    }
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// What it does to memory.
    pub(super) kind: Kind,
    /// Kept until the end: an output of the graph, or a copy that a later batch may still read.
    pub(super) is_kept: bool,
    /// Where it runs.
    pub(super) backend: Backend,
    /// Size of the result.
    pub(super) bytes: u64,
    first_source: u32,
    sources: u32,
}

/// Operations in the order in which they run.
#[derive(Debug)]
pub(super) struct Tape {
    nodes: Vec<Node>,
    sources: Vec<Tensor>,
}

impl Tape {
    /// An empty tape with room for the operations of a usual graph.
    pub(super) fn new() -> Self {
        Self::with_room(512)
    }

    /// An empty tape with room for `nodes` operations of two sources each.
    pub(super) fn with_room(nodes: usize) -> Self {
        Self { nodes: Vec::with_capacity(nodes), sources: Vec::with_capacity(2 * nodes) }
    }

    /// The operations in order.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The operations in order, to change where they run.
    pub(super) fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// What a node reads.
    pub(super) fn sources(&self, node: &Node) -> &[Tensor] {
        &self.sources[node.first_source as usize..][..node.sources as usize]
    }

    /// Appends an operation.
    pub(super) fn push(&mut self, kind: Kind, bytes: u64, sources: &[Tensor]) -> Tensor {
        let node = u32::try_from(self.nodes.len()).expect("a graph of a few layers has no 2^32 operations");
        self.nodes.push(Node {
            kind,
            is_kept: false,
            backend: ANYWHERE,
            bytes,
            first_source: u32::try_from(self.sources.len()).expect("sources are a few per operation"),
            sources: u32::try_from(sources.len()).expect("sources are a few per operation"),
        });
        self.sources.extend_from_slice(sources);
        Tensor { node, is_view: false }
    }

    /// Appends a read that only keeps its sources alive until here.
    pub(super) fn store(&mut self, sources: &[Tensor], backend: Backend) {
        let read = self.push(Kind::Store, 0, sources);
        self.place(read, backend);
    }

    /// Keeps a tensor's memory until the end.
    pub(super) fn keep(&mut self, tensor: Tensor) {
        self.nodes[tensor.node()].is_kept = true;
    }

    /// Says where a tensor lies, or where the operation that makes it runs.
    pub(super) fn place(&mut self, tensor: Tensor, backend: Backend) {
        self.nodes[tensor.node()].backend = backend;
    }

    /// Size of a tensor's memory.
    pub(super) fn bytes(&self, tensor: Tensor) -> u64 {
        self.nodes[tensor.node()].bytes
    }
}
