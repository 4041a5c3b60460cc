//! What inference engines tell of themselves, under one set of names.
//!
//! An engine is asked for its documents (`/metrics`, `/props`, `/api/ps`, ...) by whoever may open connections; here they
//! are a [`Scrape`]. [`recognise`] says which engine it is, [`Mapping`] which of its metrics means what, and [`Reader`]
//! makes readings of one scrape or two. Mapping and names are data: `metrics.tsv`, `engines.tsv`, `canonical.tsv`.
//!
//! Invariants:
//!
//! * What an engine does not tell is unsupported with the reason, never zero.
//! * A counter that fell began anew: no rate is negative, none is invented.
//! * Of a quantile the bounds of its bucket are told too, for the value between them is drawn and not measured.

mod exposition;
mod histogram;
mod mapping;
mod reading;
mod scrape;
mod source;
#[cfg(test)]
mod tests;
mod version;

pub use exposition::{Exposition, ExpositionError, SCRAPE_BYTES_MAX, Sample};
pub use mapping::{CanonicalMetric, MAPPING_BYTES_MAX, Mapping, MappingError, MetricType, canonical_metrics};
pub use reading::{GAP_MAX_S, Reader};
pub use scrape::{Content, Document, Engine, EngineRow, Scrape, engines, recognise};
pub use version::Version;
