//! What a plan says about memory, per device and per component.

use serde::Serialize;

use crate::{Bytes, Estimate};

/// Memory by what it is for. `None` is "not known", never zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Components {
    /// Model weights.
    pub weights: Option<Estimate<Bytes>>,
    /// Copies of weights in a layout of the processor's own, beside the files that stay mapped (llama.cpp).
    pub repacked: Option<Estimate<Bytes>>,
    /// Attention cache, as the engine allocates it.
    pub kv_cache: Option<Estimate<Bytes>>,
    /// Recurrent and convolution state.
    pub recurrent_state: Option<Estimate<Bytes>>,
    /// Activations and graph buffers.
    pub compute: Option<Estimate<Bytes>>,
    /// Logits and embeddings handed to the caller.
    pub output: Option<Estimate<Bytes>>,
    /// What lies outside the framework's allocator: driver context, communication, workspaces.
    pub overhead: Option<Estimate<Bytes>>,
}

impl Components {
    /// Nothing held, exactly.
    pub const NOTHING: Self = Self {
        weights: Some(Estimate::ZERO),
        repacked: Some(Estimate::ZERO),
        kv_cache: Some(Estimate::ZERO),
        recurrent_state: Some(Estimate::ZERO),
        compute: Some(Estimate::ZERO),
        output: Some(Estimate::ZERO),
        overhead: Some(Estimate::ZERO),
    };

    /// The parts in the order of the contract.
    pub const fn parts(&self) -> [Option<Estimate<Bytes>>; 7] {
        [self.weights, self.repacked, self.kv_cache, self.recurrent_state, self.compute, self.output, self.overhead]
    }

    /// Their sum; unknown if any part is.
    pub fn total(&self) -> Option<Estimate<Bytes>> {
        self.parts().into_iter().sum()
    }

    /// Component by component; a sum with an unknown part is unknown.
    pub fn plus(&self, other: &Self) -> Self {
        let add = |a: Option<Estimate<Bytes>>, b: Option<Estimate<Bytes>>| Some(a? + b?);
        Self {
            weights: add(self.weights, other.weights),
            repacked: add(self.repacked, other.repacked),
            kv_cache: add(self.kv_cache, other.kv_cache),
            recurrent_state: add(self.recurrent_state, other.recurrent_state),
            compute: add(self.compute, other.compute),
            output: add(self.output, other.output),
            overhead: add(self.overhead, other.overhead),
        }
    }
}

/// How bytes of weights are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Residence {
    /// Pages of the mapped files: the system may drop them and read them again.
    Mapped,
    /// Memory of the process's own.
    Allocated,
}

/// One buffer of weights, as the engine's log tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightBuffer {
    /// Its name in the log.
    pub name: String,
    /// Its size.
    pub bytes: Estimate<Bytes>,
    /// How it is in memory.
    pub residence: Residence,
}

/// What one device holds.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceMemory {
    /// The device's name; `host` for the machine that holds the devices.
    pub name: String,
    /// What it holds.
    pub components: Components,
    /// The memory that the engine may use of it, where known.
    pub capacity: Option<Bytes>,
    /// The buffers that its weights are in, where they are more than one sum.
    pub weight_buffers: Vec<WeightBuffer>,
    /// Bytes of what it holds at its peak that the system may take back without loss: pages of files that were read
    /// once and are not read again.
    pub reclaimable: Bytes,
}

impl DeviceMemory {
    /// The row's name for the machine that holds the cards.
    pub const HOST: &'static str = "host";

    /// A device all of whose memory is its own.
    pub const fn new(name: String, components: Components, capacity: Option<Bytes>) -> Self {
        Self { name, components, capacity, weight_buffers: Vec::new(), reclaimable: Bytes::ZERO }
    }

    /// What it must have: all that it holds less what the system may take back.
    pub fn needed(&self) -> Option<Estimate<Bytes>> {
        self.components.total().map(|total| total.minus(self.reclaimable))
    }

    /// Whether this is the machine that holds the cards.
    pub fn is_host(&self) -> bool {
        self.name == Self::HOST
    }
}

/// The memory of one plan.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryPlan {
    /// A row per device that holds anything.
    pub devices: Vec<DeviceMemory>,
    /// Tokens that the engine's cache pool holds, summed over the devices of one replica.
    pub kv_cache_tokens: Option<Estimate<u64>>,
    /// Memory left for the cache pool, summed over the devices of one replica.
    pub available_kv: Option<Estimate<Bytes>>,
    /// Requests of the asked context that the pool holds at once.
    pub max_concurrency: Option<Estimate<f64>>,
}

impl MemoryPlan {
    /// The pool holds `share` of the tokens and requests that it held.
    pub(crate) fn scale_pool(&mut self, share: f64) {
        self.kv_cache_tokens = self.kv_cache_tokens.map(|tokens| Estimate {
            value: Bytes(tokens.value).scaled(share).0,
            low: Bytes(tokens.low).scaled(share).0,
            high: Bytes(tokens.high).scaled(share).0,
            basis: tokens.basis,
        });
        self.max_concurrency = self.max_concurrency.map(|requests| Estimate {
            value: requests.value * share,
            low: requests.low * share,
            high: requests.high * share,
            basis: requests.basis,
        });
    }

    /// Summed over devices.
    pub fn summed(&self) -> Components {
        self.devices.iter().fold(Components::NOTHING, |sum, device| sum.plus(&device.components))
    }
}
