//! Asking, serving and sending over the loopback interface.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hwledger_probe::engine::Exposition;
use hwledger_probe::{Outcome, Reading, Unit};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Text;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use prost::Message;

use super::*;
use crate::locate::{LocateOptions, Token};
use crate::planner::with_causes;

/// A request as the server saw it.
#[derive(Clone, Debug, Default)]
struct Seen {
    line: String,
    headers: String,
    body: Vec<u8>,
}

/// Status line and headers, and the body.
type Answer = (String, Vec<u8>);

/// A server that answers each request in a thread of its own, until the test's process ends.
fn server(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (String, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let log = Arc::new(Mutex::new(Vec::new()));
    let (shared, answer) = (Arc::clone(&log), Arc::new(answer));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (log, answer) = (Arc::clone(&shared), Arc::clone(&answer));
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let Some(seen) = request(&stream) else { return };
                let (head, body) = answer(&seen);
                log.lock().unwrap().push(seen);
                let head = format!("HTTP/1.1 {head}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
                // A client that has had enough hangs up.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            });
        }
    });
    (address, log)
}

fn request(stream: &TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut seen = Seen::default();
    reader.read_line(&mut seen.line).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        seen.headers += &line.to_ascii_lowercase();
    }
    let length = seen.headers.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    seen.body = vec![0; length];
    reader.read_exact(&mut seen.body).ok()?;
    Some(seen)
}

fn ok(kind: &str, body: impl Into<Vec<u8>>) -> Answer {
    (format!("200 OK\r\ncontent-type: {kind}\r\n"), body.into())
}

fn missing() -> Answer {
    ("404 Not Found\r\n".to_owned(), Vec::new())
}

/// A golden of the probe.
fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../hwledger-probe/tests/golden").join(name)).expect(name)
}

fn attach(address: &str, options: AttachOptions) -> Attachment {
    Attachment::new(address, &LocateOptions::default(), options).unwrap()
}

fn value(readings: &[LabelledReading], metric: &str) -> Option<f64> {
    readings.iter().find(|reading| reading.reading.metric == metric)?.reading.outcome.value()
}

/// What llama.cpp's server answered, first before and then after some replies.
fn llama_cpp() -> (String, Arc<Mutex<Vec<Seen>>>) {
    let asked = Mutex::new(0);
    server(move |seen| match seen.line.split(' ').nth(1) {
        Some("/metrics") => {
            let mut asked = asked.lock().unwrap();
            *asked += 1;
            let name = if *asked == 1 { "metrics.before.txt" } else { "metrics.txt" };
            ok("text/plain; version=0.0.4", golden(&format!("llamacpp-0.6.0/{name}")))
        }
        Some("/props") => ok("application/json", golden("llamacpp-0.6.0/props.json")),
        Some("/slots") => ok("application/json", golden("llamacpp-0.6.0/slots.json")),
        _ => missing(),
    })
}

#[test]
fn an_engine_is_recognised_and_read_twice() {
    let (address, log) = llama_cpp();
    let mut attachment = attach(&format!("{address}/v1/"), AttachOptions::default());
    let first = attachment.scrape().unwrap();
    assert_eq!(first.engine, "llama.cpp");
    assert_eq!(value(&first.readings, "hwl_engine_up"), Some(1.0));
    assert_eq!(value(&first.readings, "hwl_engine_output_tokens_total"), Some(60.0));
    assert_eq!(value(&first.readings, "hwl_engine_output_tokens_per_second"), None);
    let instance = address.strip_prefix("http://").unwrap().to_owned();
    assert_eq!(
        first.readings[0].labels,
        [("engine".to_owned(), "llama.cpp".to_owned()), ("instance".to_owned(), instance)]
    );
    let second = attachment.scrape().unwrap();
    assert!(value(&second.readings, "hwl_engine_output_tokens_per_second").unwrap() > 0.0);
    let asked: Vec<String> = log.lock().unwrap().iter().map(|seen| seen.line.clone()).collect();
    assert_eq!(asked.len(), 6, "{asked:?}");
    assert!(log.lock().unwrap().iter().all(|seen| !seen.headers.contains("authorization")));
}

#[test]
fn a_token_goes_to_the_engine_and_is_never_shown() {
    let (address, log) = llama_cpp();
    let token = Token::new("very-secret-token");
    let mut attachment = attach(&address, AttachOptions { token, ..AttachOptions::default() });
    let scraped = attachment.scrape().unwrap();
    assert!(log.lock().unwrap()[0].headers.contains("authorization: bearer very-secret-token"));
    assert!(!format!("{attachment:?} {scraped:?}").contains("secret"));
}

#[test]
fn engines_without_metrics_are_known_by_their_documents() {
    let (address, _) = server(|seen| match seen.line.split(' ').nth(1) {
        Some("/api/version") => ok("application/json", golden("ollama/version.json")),
        Some("/api/ps") => ok("application/json", golden("ollama/ps.json")),
        _ => missing(),
    });
    let scraped = attach(&address, AttachOptions::default()).scrape().unwrap();
    assert_eq!((scraped.engine.as_str(), scraped.version.as_deref()), ("ollama", Some("0.11.4")));
    assert_eq!(value(&scraped.readings, "hwl_engine_device_memory_bytes"), Some(5_333_539_264.0));

    let (address, _) = server(|seen| match seen.line.split(' ').nth(1) {
        Some("/health") => ok("application/json", golden("mlx-lm-0.32.2/health.json")),
        Some("/v1/models") => {
            let (head, body) = ok("application/json", golden("mlx-lm-0.32.2/v1-models.json"));
            (head + "server: BaseHTTP/0.6 Python/3.11.7\r\n", body)
        }
        _ => missing(),
    });
    let scraped = attach(&address, AttachOptions::default()).scrape().unwrap();
    assert_eq!(scraped.engine, "mlx-lm");
    assert_eq!(scraped.readings.iter().filter(|reading| reading.reading.outcome.value().is_some()).count(), 2);
}

#[test]
fn a_row_of_the_user_may_read_a_document_of_its_own() {
    let (address, log) = server(|seen| match seen.line.split(' ').nth(1) {
        Some("/metrics") => ok("text/plain", golden("vllm-0.32.0/metrics.txt")),
        Some("/mine") => {
            ok("application/json", r#"{"models": [{"name": "a", "bytes": 7}, {"name": "b", "bytes": 8}]}"#)
        }
        _ => missing(),
    });
    let rows = "metric\tengine\tversions\tkind\tcombine\tsource\n\
                hwl_engine_weights_bytes\tvllm\t*\tgauge\tsum\t/mine#/models/*/bytes\n";
    let mapping = Mapping::built_in().with(rows).unwrap();
    let scraped = attach(&address, AttachOptions { mapping, ..AttachOptions::default() }).scrape().unwrap();
    let weights: Vec<_> = scraped
        .readings
        .iter()
        .filter(|reading| reading.reading.metric == "hwl_engine_weights_bytes")
        .map(|reading| (reading.reading.labels[0].1.as_str(), reading.reading.outcome.value()))
        .collect();
    assert_eq!(weights, [("a", Some(7.0)), ("b", Some(8.0))]);
    assert_eq!(log.lock().unwrap().iter().filter(|seen| seen.line.contains("/mine")).count(), 1);
}

#[test]
fn another_engine_at_the_same_address_is_recognised() {
    let asked = Mutex::new(0);
    let (address, _) = server(move |seen| match seen.line.split(' ').nth(1) {
        Some("/metrics") => {
            let mut asked = asked.lock().unwrap();
            *asked += 1;
            match *asked {
                1 => ok("text/plain", golden("llamacpp-0.6.0/metrics.txt")),
                2 => ok("text/plain", golden("vllm-0.32.0/metrics.txt")),
                _ => missing(),
            }
        }
        Some("/api/version") => ok("application/json", golden("ollama/version.json")),
        Some("/api/ps") => ok("application/json", golden("ollama/ps.json")),
        _ => missing(),
    });
    let mut attachment = attach(&address, AttachOptions::default());
    let engines = [(); 4].map(|()| attachment.scrape().unwrap());
    assert_eq!(engines.each_ref().map(|scraped| scraped.engine.as_str()), ["llama.cpp", "vllm", "ollama", "ollama"]);
    // Nothing is concluded from what another engine counted.
    assert_eq!(value(&engines[1].readings, "hwl_engine_output_tokens_per_second"), None);
}

#[test]
fn what_is_no_engine_is_refused_in_a_sentence() {
    let refused = |answer: fn(&Seen) -> Answer| {
        let (address, _) = server(answer);
        let error = attach(&address, AttachOptions::default()).scrape().unwrap_err();
        with_causes(&error).replace(&address, "HERE")
    };
    assert_eq!(refused(|_| missing()), "`HERE` answers, but like no engine that is known (`/metrics`: status 404)");
    assert_eq!(
        refused(|_| ok("text/html", "<html>")),
        "`HERE` answers, but like no engine that is known (`/metrics`: it is `text/html` and no metrics)"
    );
    assert_eq!(
        refused(|_| ok("text/plain", "a 1\nb{ 2")),
        "`HERE/metrics` cannot be read: line 2, column 4: a label's name should stand here"
    );
    // Nothing is asked of where a redirect points.
    assert_eq!(
        refused(|_| ("302 Found\r\nlocation: http://127.0.0.1:1/metrics\r\n".to_owned(), Vec::new())),
        "`HERE` answers, but like no engine that is known (`/metrics`: status 302; redirects are not followed)"
    );
    let too_long = refused(|_| ok("text/plain", vec![b'\n'; (8 << 20) + 1]));
    assert!(too_long.contains("goes on past 8388608 bytes"), "{too_long}");
    for address in ["", "ftp://a", "http://user:password@host"] {
        assert!(Attachment::new(address, &LocateOptions::default(), AttachOptions::default()).is_err(), "{address}");
    }
    let named = AttachOptions { engine: Some("x".to_owned()), ..AttachOptions::default() };
    let error = Attachment::new("http://127.0.0.1:1", &LocateOptions::default(), named).unwrap_err();
    assert!(error.hint().unwrap().contains("llama.cpp"));
}

#[test]
fn an_engine_that_does_not_answer_holds_nobody_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let options = AttachOptions { timeout: Duration::from_millis(200), ..AttachOptions::default() };
    let error = attach(&address, options).scrape().unwrap_err();
    assert!(matches!(error, AttachError::Unreachable { .. }), "{error}");
    drop(listener);
    let error = attach(&address, AttachOptions::default()).scrape().unwrap_err();
    assert!(error.hint().unwrap().contains("running"));
}

#[test]
fn a_watcher_has_the_latest_and_says_once_that_an_engine_is_down() {
    let (address, _) = llama_cpp();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let dead = attach("http://127.0.0.1:1", AttachOptions::default());
    let alive = attach(&address, AttachOptions::default());
    let watcher = Watcher::start(vec![alive, dead], Duration::from_millis(10), move |text| {
        tell.lock().unwrap().push(text.to_owned());
    });
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while value(&watcher.readings(), "hwl_engine_output_tokens_per_second").is_none() {
        assert!(std::time::Instant::now() < deadline, "{:?}", watcher.readings());
        thread::yield_now();
    }
    let up: Vec<Option<f64>> = watcher
        .readings()
        .iter()
        .filter(|reading| reading.reading.metric == "hwl_engine_up")
        .map(|reading| reading.reading.outcome.value())
        .collect();
    assert_eq!(up, [Some(1.0), Some(0.0)]);
    drop(watcher);
    assert_eq!(told.lock().unwrap().len(), 1, "{:?}", told.lock().unwrap());
}

fn reading(metric: &str, labels: &[(&str, &str)], unit: Unit, outcome: Outcome) -> LabelledReading {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    LabelledReading {
        labels: vec![("instance".to_owned(), "a\"b\\c\nd".to_owned())],
        reading: Reading {
            metric: metric.to_owned(),
            labels: labels.iter().map(owned).collect(),
            unit,
            source: "test".to_owned(),
            taken_at_ns: 1_700_000_000_000_000_000,
            outcome,
        },
    }
}

fn some_readings() -> Vec<LabelledReading> {
    let reason = || "no such thing".to_owned();
    vec![
        reading("hwl_engine_output_tokens_total", &[("model", "ü")], Unit::Tokens, Outcome::Measured { value: 3.0 }),
        reading("hwl_engine_kv_used_ratio", &[], Unit::Ratio, Outcome::Derived { value: 0.25 }),
        reading("hwl_device_power_watts", &[("0 bad:name", "x")], Unit::Watts, Outcome::Measured { value: 1e21 }),
        reading("hwl_engine_kv_used_ratio", &[], Unit::Ratio, Outcome::Derived { value: 0.75 }),
        reading("hwl_engine_weights_bytes", &[], Unit::Bytes, Outcome::Unsupported { reason: reason() }),
        reading("hwl_engine_kv_pool_bytes", &[], Unit::Bytes, Outcome::Error { reason: reason() }),
    ]
}

#[test]
fn what_is_served_reads_back_and_nothing_missing_is_in_it() {
    let text = exposition(&some_readings());
    let read = Exposition::parse(text.as_bytes()).unwrap();
    let found: Vec<(&str, f64)> = read.samples.iter().map(|sample| (sample.name.as_str(), sample.value)).collect();
    assert_eq!(
        found,
        [("hwl_device_power_watts", 1e21), ("hwl_engine_kv_used_ratio", 0.25), ("hwl_engine_output_tokens_total", 3.0)]
    );
    assert_eq!(read.samples[2].label("instance"), Some("a\"b\\c\nd"));
    assert_eq!(read.samples[2].label("model"), Some("ü"));
    assert_eq!(read.samples[0].label("_0_bad_name"), Some("x"));
    assert_eq!(read.types["hwl_engine_output_tokens_total"], "counter");
    assert!(!text.contains("weights") && !text.contains("pool"), "{text}");
}

#[test]
fn what_is_sent_is_what_the_generated_types_read() {
    let sent = ExportMetricsServiceRequest::decode(&encode(&some_readings())[..]).unwrap();
    let resource = sent.resource_metrics[0].resource.as_ref().unwrap();
    assert_eq!(resource.attributes[0].key, "service.name");
    let metrics = &sent.resource_metrics[0].scope_metrics[0].metrics;
    let names: Vec<(&str, &str)> = metrics.iter().map(|metric| (metric.name.as_str(), metric.unit.as_str())).collect();
    assert_eq!(
        names,
        [
            ("hwl_device_power_watts", "W"),
            ("hwl_engine_kv_used_ratio", "1"),
            ("hwl_engine_output_tokens_total", "{token}")
        ]
    );
    let Some(Data::Sum(sum)) = &metrics[2].data else { panic!("{:?}", metrics[2]) };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
    let point = &sum.data_points[0];
    assert_eq!(point.time_unix_nano, 1_700_000_000_000_000_000);
    assert_eq!(point.value, Some(Value::AsDouble(3.0)));
    let model = point.attributes.iter().find(|attribute| attribute.key == "model").unwrap();
    assert_eq!(model.value.as_ref().unwrap().value, Some(Text::StringValue("ü".to_owned())));
    assert!(matches!(&metrics[1].data, Some(Data::Gauge(gauge)) if gauge.data_points.len() == 2));
}

#[test]
fn a_collector_takes_rejects_and_refuses() {
    let (address, log) = server(|_| ok("application/x-protobuf", Vec::new()));
    let push = |address: &str| {
        let token = Token::new("a-token");
        MetricsPush::new(address, &LocateOptions::default(), token, Duration::from_secs(5)).unwrap()
    };
    assert_eq!(push(&address).push(&some_readings()).unwrap(), 4);
    let seen = log.lock().unwrap()[0].clone();
    assert!(seen.line.starts_with("POST /v1/metrics "), "{}", seen.line);
    assert!(seen.headers.contains("content-type: application/x-protobuf"));
    assert!(seen.headers.contains("authorization: bearer a-token"));
    assert_eq!(seen.body, encode(&some_readings()));
    assert!(matches!(push(&address).push(&some_readings()[4..]), Err(PushError::Nothing)));

    let partial = ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points: 2,
            error_message: "too\u{7} old".to_owned(),
        }),
    };
    let (address, _) = server(move |_| ok("application/x-protobuf", partial.encode_to_vec()));
    let error = push(&address).push(&some_readings()).unwrap_err().to_string();
    assert!(error.ends_with("rejected 2 values: too old"), "{error}");
    let (address, _) = server(|_| missing());
    let error = push(&format!("{address}/other")).push(&some_readings()).unwrap_err();
    assert!(error.hint().unwrap().contains("/v1/metrics"), "{error}");
}

/// The status and the whole answer to a request with these headers.
fn ask(address: SocketAddr, line: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "{line} HTTP/1.1\r\n{headers}connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), answer)
}

fn serve(token: Option<&str>) -> SocketAddr {
    let options = ServeOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        token: token.and_then(Token::new),
        host_names: vec!["gpu-box".to_owned()],
    };
    let server = MetricsServer::bind(options).unwrap();
    let address = server.address();
    thread::spawn(move || server.run(some_readings));
    address
}

#[test]
fn metrics_are_served_to_those_who_ask_by_a_name_of_ours() {
    let address = serve(None);
    let (status, answer) = ask(address, "GET /metrics", &format!("host: {address}\r\n"));
    assert_eq!(status, 200, "{answer}");
    assert!(answer.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.ends_with(&exposition(&some_readings())), "{answer}");
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:9464", "[::1]", "gpu-box:80"] {
        assert_eq!(ask(address, "GET /metrics", &format!("host: {host}\r\n")).0, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "gpu-box.evil", "10.0.0.1", "", "a:b:c"] {
        assert_eq!(ask(address, "GET /metrics", &format!("host: {host}\r\n")).0, 403, "{host}");
    }
    assert_eq!(ask(address, "GET /metrics", "host: localhost\r\nhost: localhost\r\n").0 / 100, 4);
    assert_eq!(ask(address, "GET /other", "host: localhost\r\n").0, 404);
    assert_eq!(ask(address, "POST /metrics", "host: localhost\r\ncontent-length: 0\r\n").0, 405);
}

#[test]
fn a_token_guards_the_door() {
    let address = serve(Some("0123456789abcdef"));
    let with = |authorization: &str| ask(address, "GET /metrics", &format!("host: localhost\r\n{authorization}")).0;
    assert_eq!(with(""), 401);
    assert_eq!(with("authorization: Bearer 0123456789abcdee\r\n"), 401);
    assert_eq!(with("authorization: Basic 0123456789abcdef\r\n"), 401);
    assert_eq!(with("authorization: Bearer 0123456789abcdef0\r\n"), 401);
    assert_eq!(with("authorization: bearer 0123456789abcdef\r\n"), 200);
    // The door is before every path.
    assert_eq!(ask(address, "GET /other", "host: localhost\r\n").0, 401);
}

#[test]
fn no_other_machine_may_ask_without_a_token() {
    let bind = |listen: &str, token: Option<&str>| {
        let token = token.and_then(Token::new);
        MetricsServer::bind(ServeOptions { listen: listen.parse().unwrap(), token, host_names: Vec::new() })
    };
    assert!(matches!(bind("0.0.0.0:0", None), Err(ServeError::NeedsToken(_))));
    assert!(matches!(bind("[::]:0", None), Err(ServeError::NeedsToken(_))));
    assert!(matches!(bind("127.0.0.1:0", Some("short")), Err(ServeError::ShortToken(5))));
    let taken = bind("127.0.0.1:0", None).unwrap();
    let error = bind(&taken.address().to_string(), None).unwrap_err();
    assert!(matches!(error, ServeError::Listen { .. }) && error.hint().is_some());
}

#[test]
fn what_one_serves_another_reads() {
    let address = serve(None);
    let scraped = attach(&format!("http://{address}/metrics"), AttachOptions::default()).scrape().unwrap();
    assert_eq!(scraped.engine, "hwledger");
    assert_eq!(value(&scraped.readings, "hwl_engine_kv_used_ratio"), Some(0.25));
    assert_eq!(value(&scraped.readings, "hwl_engine_weights_bytes"), None);
}
