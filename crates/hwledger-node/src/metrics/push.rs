//! Readings to an OpenTelemetry collector: OTLP over HTTP, protobuf.
//!
//! **Source** OpenTelemetry protocol specification 1.x, "OTLP/HTTP", and `opentelemetry/proto/metrics/v1/metrics.proto`,
//! whose field numbers are frozen. Only what we send and what comes back is described here; tests decode it with the types
//! generated from the whole description.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::time::Duration;

use prost::Message;
use ureq::Agent;

use super::attach::shorten;
use super::prometheus::{help, is_counter};
use super::{LabelledReading, PushError, Unit};
use crate::locate::network::{Address, USER_AGENT, tls};
use crate::locate::{LocateOptions, Token};

const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeMetrics {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(string, tag = "3")]
    unit: String,
    #[prost(oneof = "Data", tags = "5, 7")]
    data: Option<Data>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Data {
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    #[prost(message, tag = "7")]
    Sum(Sum),
}

#[derive(Clone, PartialEq, Message)]
struct Gauge {
    #[prost(message, repeated, tag = "1")]
    points: Vec<Point>,
}

#[derive(Clone, PartialEq, Message)]
struct Sum {
    #[prost(message, repeated, tag = "1")]
    points: Vec<Point>,
    #[prost(int32, tag = "2")]
    temporality: i32,
    #[prost(bool, tag = "3")]
    is_monotonic: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Point {
    #[prost(message, repeated, tag = "7")]
    attributes: Vec<Attribute>,
    #[prost(fixed64, tag = "3")]
    time_unix_nano: u64,
    #[prost(double, optional, tag = "4")]
    as_double: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    message: String,
}

/// A unit's code in UCUM, which the protocol asks for.
const fn unit_code(unit: Unit) -> &'static str {
    match unit {
        Unit::Bytes => "By",
        Unit::BytesPerSecond => "By/s",
        Unit::Watts => "W",
        Unit::Joules => "J",
        Unit::Celsius => "Cel",
        Unit::Hertz => "Hz",
        Unit::Seconds => "s",
        Unit::Tokens => "{token}",
        Unit::TokensPerSecond => "{token}/s",
        Unit::Ratio | Unit::Count | Unit::Flag => "1",
    }
}

fn attribute((key, value): (&str, &str)) -> Attribute {
    Attribute { key: key.to_owned(), value: Some(AnyValue { text: Some(value.to_owned()) }) }
}

fn point(reading: &LabelledReading, value: f64) -> Point {
    let labels = reading.reading.labels.iter().chain(&reading.labels);
    let attributes: BTreeMap<&str, &str> = labels.rev().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Point {
        attributes: attributes.into_iter().map(attribute).collect(),
        time_unix_nano: reading.reading.taken_at_ns,
        as_double: Some(value),
    }
}

/// The body of a request that exports all readings that have a number. What has none is left out.
pub fn encode(readings: &[LabelledReading]) -> Vec<u8> {
    let mut families: BTreeMap<&str, (Unit, Vec<Point>)> = BTreeMap::new();
    for reading in readings {
        if let Some(value) = reading.reading.outcome.value() {
            let (_, points) =
                families.entry(&reading.reading.metric).or_insert_with(|| (reading.reading.unit, Vec::new()));
            points.push(point(reading, value));
        }
    }
    let metric = |(name, (unit, points)): (&str, (Unit, Vec<Point>))| Metric {
        name: name.to_owned(),
        description: help(name, unit),
        unit: unit_code(unit).to_owned(),
        data: Some(if is_counter(name) {
            Data::Sum(Sum { points, temporality: CUMULATIVE, is_monotonic: true })
        } else {
            Data::Gauge(Gauge { points })
        }),
    };
    let version = env!("CARGO_PKG_VERSION");
    let resource = [("service.name", "hwledger"), ("service.version", version)].map(attribute).to_vec();
    let request = Request {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes: resource }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(Scope { name: "hwledger".to_owned(), version: version.to_owned() }),
                metrics: families.into_iter().map(metric).collect(),
            }],
        }],
    };
    request.encode_to_vec()
}

/// Sends readings to a collector.
pub struct MetricsPush {
    address: Address,
    agent: Agent,
    token: Option<Token>,
}

impl fmt::Debug for MetricsPush {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MetricsPush").field("address", &self.address.to_string()).finish_non_exhaustive()
    }
}

impl MetricsPush {
    /// A collector at an address; without a path, `/v1/metrics` is taken, as the protocol says.
    pub fn new(
        address: &str,
        locate: &LocateOptions,
        token: Option<Token>,
        timeout: Duration,
    ) -> Result<Self, PushError> {
        let with_scheme = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let mut parsed = Address::parse(&with_scheme)?;
        if matches!(parsed.path(), "" | "/") {
            parsed = parsed.join("/v1/metrics")?;
        }
        let agent = Agent::config_builder()
            .tls_config(tls(locate)?)
            .proxy(None)
            .user_agent(USER_AGENT)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .build()
            .new_agent();
        Ok(Self { address: parsed, agent, token })
    }

    /// Sends the readings that have a number; how many these were.
    pub fn push(&self, readings: &[LabelledReading]) -> Result<usize, PushError> {
        let count = readings.iter().filter(|reading| reading.reading.outcome.value().is_some()).count();
        if count == 0 {
            return Err(PushError::Nothing);
        }
        let address = self.address.to_string();
        let mut request = self.agent.post(self.address.full()).header("content-type", "application/x-protobuf");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.secret()));
        }
        let unreachable =
            |source: ureq::Error| PushError::Unreachable { address: address.clone(), source: Box::new(source) };
        let answer = request.send(&encode(readings)[..]).map_err(unreachable)?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        let read = answer.into_body().into_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut body);
        read.map_err(|error| unreachable(ureq::Error::Io(error)))?;
        if status != 200 {
            // A refusal is a `google.rpc.Status`, or plain text of whatever stands between.
            let message = std::str::from_utf8(&body).map(shorten).unwrap_or_default();
            return Err(PushError::Refused { address, status, message });
        }
        let partial = Response::decode(&body[..]).ok().and_then(|response| response.partial_success);
        match partial {
            Some(partial) if partial.rejected > 0 => {
                Err(PushError::Partial { address, rejected: partial.rejected, message: shorten(&partial.message) })
            }
            _ => Ok(count),
        }
    }
}
