// Table: every kind of event, its version and its fields.
#![expect(missing_docs, reason = "fields are named in full, with their units; what is not plain has a line")]
//! Every kind of event there is. Names are in the past tense; a field is added by a new version, never renamed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::field::{Count, Decimal, Described, Difference, Estimate, Measure, Residual, Sealed, object};
use super::{EventError, Kind};
use crate::hash::Hash;

macro_rules! catalogue {
    ($($(#[$doc:meta])* $name:ident $version:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
            }

            impl From<$name> for Payload {
                fn from(data: $name) -> Self {
                    Self::$name(data)
                }
            }
        )*

        /// What an event says: one variant per kind.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Payload {
            $($(#[$doc])* $name($name),)*
        }

        /// Every kind that this version knows, in the order of the catalogue.
        pub const KINDS: &[Kind] = &[$(Kind { name: stringify!($name), version: $version },)*];

        impl Payload {
            /// Its kind.
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$name(_) => Kind { name: stringify!($name), version: $version },)*
                }
            }

            /// Its data as JSON, with absent fields left out.
            pub(super) fn to_value(&self) -> Result<Value, serde_json::Error> {
                let mut value = match self {
                    $(Self::$name(data) => serde_json::to_value(data),)*
                }?;
                if let Value::Object(fields) = &mut value {
                    fields.retain(|_, field| !field.is_null());
                }
                Ok(value)
            }

            /// Reads the data of an event of this kind; none for a kind or version that this version does not know.
            pub(super) fn from_json(name: &str, version: u64, data: &str) -> Result<Option<Self>, EventError> {
                let wrong = |error: serde_json::Error| EventError::Data { kind: name.to_owned(), what: error.to_string() };
                match (name, version) {
                    $((stringify!($name), $version) => {
                        serde_json::from_str(data).map(|data| Some(Self::$name(data))).map_err(wrong)
                    })*
                    _ => Ok(None),
                }
            }
        }

        /// The JSON Schema of a kind's data; none for a kind that does not exist.
        pub fn schema_of(kind: Kind) -> Option<Value> {
            match (kind.name, kind.version) {
                $((stringify!($name), $version) => Some(object(&[
                    $((stringify!($field), <$type as Described>::IS_OPTIONAL, <$type as Described>::schema()),)*
                ])),)*
                _ => None,
            }
        }
    };
}

catalogue! {
    // The ledger itself.
    /// A ledger begins; always its first entry.
    LedgerCreated 1 {
        /// The ledger's name.
        origin: String,
        /// The key that signs its checkpoints.
        key: String,
        /// The ledger that it continues, where one was restored from a backup.
        continues: Option<String>,
        /// Version of the program.
        program: String,
    }
    /// Another key signs from here on; both sign for a while.
    KeyRotated 1 { old: String, new: String, reason: String, }
    /// A checkpoint was handed out.
    CheckpointPublished 1 { size: Count, root: Hash, destination: String, }
    /// A witness has seen a checkpoint.
    WitnessCosigned 1 { size: Count, witness: String, signature: String, }
    /// The data of old entries were dropped; their hashes stay.
    RetentionApplied 1 { start: Count, end: Count, policy: String, root_before: Hash, }
    /// A subject's key was deleted: what was sealed with it cannot be read any more.
    SubjectRedacted 1 { key: String, reason: String, }
    /// The schema of a kind of event.
    SchemaRegistered 1 { kind: String, version: Count, schema: Hash, }
    /// The ledger was checked.
    IntegrityChecked 1 { size: Count, root: Hash, is_sound: bool, findings: Vec<String>, projections: Vec<String>, }

    // The fleet.
    /// A token that lets a machine join was made.
    JoinTokenIssued 1 { token: Hash, uses: Count, expires_at_ns: Count, label: Option<String>, }
    /// A machine asks to join.
    JoinRequested 1 { agent: String, key: String, hardware: Hash, host: Option<Sealed>, }
    /// A machine joined; its key signs what it reports.
    AgentEnrolled 1 { agent: String, key: String, token: Option<Hash>, host: Option<Sealed>, }
    /// A certificate was issued.
    CertIssued 1 { agent: String, serial: String, expires_at_ns: Count, }
    /// A certificate is not valid any more.
    CertRevoked 1 { agent: String, serial: String, reason: String, }
    /// A machine is there again, or another version of it.
    AgentSeen 1 { agent: String, boot: String, program: String, }
    /// A machine is not heard of any more.
    AgentLost 1 { agent: String, last_seen_at_ns: Count, }
    /// A machine left for good.
    AgentRetired 1 { agent: String, reason: String, }
    /// The key of a host reached by SSH was accepted.
    HostKeyPinned 1 { host: Sealed, key: String, }
    /// The key of a host is another one.
    HostKeyChanged 1 { host: Sealed, old: String, new: String, }

    // Devices.
    /// A device was found.
    DeviceObserved 1 {
        device: String,
        vendor: String,
        name: String,
        memory_bytes: Option<Count>,
        driver: Option<String>,
    }
    /// Something about a device is not what it was.
    DeviceChanged 1 { device: String, field: String, old: Option<String>, new: Option<String>, }
    /// A device takes no new work.
    DeviceCordoned 1 { device: String, reason: String, }
    /// A device takes work again.
    DeviceUncordoned 1 { device: String, reason: String, }
    /// A device reported a fault: an Xid, memory errors, heat.
    DeviceFaulted 1 { device: String, fault: String, detail: String, }
    /// A device is gone.
    DeviceRemoved 1 { device: String, }

    // Telemetry.
    /// What one metric did during a while.
    TelemetryWindowRecorded 1 {
        device: String,
        metric: String,
        unit: String,
        start_ns: Count,
        end_ns: Count,
        samples: Count,
        minimum: Option<Decimal>,
        mean: Option<Decimal>,
        percentile_95: Option<Decimal>,
        maximum: Option<Decimal>,
        joules: Option<Decimal>,
        raw: Option<Hash>,
    }

    // Plans.
    /// What a run is expected to take, said before it starts.
    PredictionMade 1 {
        run: String,
        model: String,
        revision: Option<String>,
        engine: String,
        engine_version: Option<String>,
        device: String,
        quantisation: Option<String>,
        settings: Vec<String>,
        inputs: Hash,
        program: String,
        estimates: Vec<Estimate>,
        assumptions: Vec<String>,
    }
    /// Where a model could run, and why not elsewhere.
    PlacementProposed 1 { placement: String, inputs: Hash, candidates: Vec<String>, rejected: Vec<String>, }
    /// Where it will run.
    PlacementChosen 1 { placement: String, candidate: String, reason: String, }

    // Jobs.
    /// A job was asked for.
    JobSubmitted 1 { job: String, model: String, deadline_ns: Option<Count>, }
    /// A job waits.
    JobQueued 1 { job: String, reason: String, }
    /// A job was given to a machine.
    JobDispatched 1 { job: String, agent: String, fence: Count, }
    /// A job runs.
    JobStarted 1 { job: String, agent: String, }
    /// A job got further.
    JobProgressed 1 { job: String, done: Count, total: Option<Count>, }
    /// A job ended well. `measures` holds what it took.
    JobFinished 1 { job: String, measures: Vec<Measure>, }
    /// A job ended badly.
    JobFailed 1 { job: String, exit_status: Option<Difference>, reason: String, }
    /// A job took too long.
    JobTimedOut 1 { job: String, limit_ns: Count, }
    /// A job was called off.
    JobCancelled 1 { job: String, reason: String, }
    /// A job stopped with its machine.
    JobInterrupted 1 { job: String, reason: String, }

    // Engines.
    /// A running engine is being watched.
    EngineAttached 1 { engine: String, version: Option<String>, model: Option<String>, address: Option<Sealed>, }
    /// How an engine is set up.
    EngineConfigObserved 1 { engine: String, settings: Vec<String>, }
    /// What an engine did during a while, or what one run of it gave.
    EngineWindowRecorded 1 {
        run: Option<String>,
        engine: String,
        engine_version: Option<String>,
        start_ns: Count,
        end_ns: Count,
        measures: Vec<Measure>,
        raw: Option<Hash>,
    }

    // Money: micro-dollars and the like, never fractions.
    /// A price was seen.
    PriceQuoted 1 {
        provider: String,
        offer: String,
        device: String,
        micro_per_hour: Count,
        currency: String,
        raw: Hash,
    }
    /// An offer is gone.
    OfferExpired 1 { provider: String, offer: String, }
    /// A machine was rented.
    RentalStarted 1 { rental: String, provider: String, offer: String, micro_per_hour: Count, currency: String, }
    /// A rented machine was given back.
    RentalStopped 1 { rental: String, reason: String, }
    /// What a provider billed.
    BillImported 1 { provider: String, rental: Option<String>, micro: Count, currency: String, raw: Hash, }
    /// What a kilowatt-hour costs.
    TariffChanged 1 { micro_per_kilowatt_hour: Count, currency: String, }
    /// What may be spent.
    BudgetSet 1 { budget: String, micro: Count, currency: String, }
    /// More was spent than that.
    BudgetExceeded 1 { budget: String, micro: Count, limit_micro: Count, currency: String, }

    // Truth.
    /// A prediction beside what really happened.
    PredictionReconciled 1 {
        run: String,
        prediction: Count,
        measurement: Count,
        residuals: Vec<Residual>,
        missing: Vec<String>,
    }
    /// Later predictions of this key are corrected by another factor.
    CalibrationUpdated 1 {
        key: String,
        figure: String,
        pairs: Count,
        factor: Decimal,
        low: Option<Decimal>,
        high: Option<Decimal>,
        error_before: Option<Decimal>,
        error_after: Option<Decimal>,
        store: Option<Hash>,
    }

    // Administration.
    /// A setting was changed. Secrets are never given.
    ConfigChanged 1 { setting: String, old: Option<String>, new: Option<String>, }
    /// Somebody may do something.
    AccessGranted 1 { subject: String, right: String, }
    /// Somebody tried something that is not allowed.
    AccessDenied 1 { subject: String, right: String, reason: String, }
    /// A backup was made.
    BackupTaken 1 { size: Count, root: Hash, destination: String, }
    /// A backup was restored.
    RestoreDone 1 { size: Count, root: Hash, source: String, }
}
