//! Asking a server for a file or a part of one.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, StatusCode};
use ureq::{Agent, Body};

use super::address::{Address, ServerOrigin};
use crate::locate::LocateError;

const REDIRECTS_MAX: usize = 6;
/// How long a server that could not be reached is not asked again.
const OUTAGE: Duration = Duration::from_mins(1);
const OUTAGES_MAX: usize = 1000;

/// A secret that lets its bearer read private repositories; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token in `text`, without the white space around it; none for text that is no token.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_token = !text.is_empty() && text.len() <= 4096 && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_token.then(|| Self(text.to_owned()))
    }

    /// The secret itself, to be sent and never shown.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

/// Servers that could not be reached lately, so that a thousand questions wait for one time-out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outages(Arc<Mutex<HashMap<ServerOrigin, Instant>>>);

impl Outages {
    fn is_out(&self, origin: &ServerOrigin) -> bool {
        let outages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outages.get(origin).is_some_and(|since| since.elapsed() < OUTAGE)
    }

    fn record(&self, origin: ServerOrigin) {
        let mut outages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if outages.len() >= OUTAGES_MAX {
            outages.clear();
        }
        outages.insert(origin, Instant::now());
    }
}

/// Asks servers; sends the token to one of them only.
pub(crate) struct Client {
    agent: Agent,
    token: Option<(ServerOrigin, Token)>,
    outages: Outages,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("has_token", &self.token.is_some()).finish_non_exhaustive()
    }
}

/// An answer whose body has not been read.
pub(crate) struct Response {
    /// Identifies this version of the file, where the server says.
    pub(crate) tag: Option<String>,
    /// Position of the body's first byte in the file.
    pub(crate) offset: u64,
    /// Bytes that the body should hold, where the server says.
    pub(crate) length: Option<u64>,
    /// Size of the whole file, where the server says.
    pub(crate) total: Option<u64>,
    pub(crate) body: Box<dyn Read + Send>,
}

impl Client {
    pub(crate) fn new(agent: Agent, token: Option<(ServerOrigin, Token)>, outages: Outages) -> Self {
        Self { agent, token, outages }
    }

    /// Whether a token goes with a question to `address`.
    fn token_for(&self, address: &Address) -> Option<&Token> {
        self.token.as_ref().filter(|(origin, _)| *origin == address.origin()).map(|(_, token)| token)
    }

    /// Asks for a file, or for the bytes from `range.0` up to but without `range.1`.
    ///
    /// A server that knows no ranges answers with the whole file; `offset` in the answer says so.
    pub(crate) fn get(&self, address: &Address, range: Option<(u64, u64)>) -> Result<Response, LocateError> {
        let mut current = address.clone();
        let mut linked_tag = None;
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.ask(&current, range)?;
            let status = answer.status();
            let header = |name: &str| text_header(answer.headers(), name);
            if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                let Some(location) = header("location") else {
                    return Err(bad(&current, "it redirects without saying where"));
                };
                let next = current.join(&location)?;
                if current.is_secure() && !next.is_secure() {
                    return Err(bad(&current, "it redirects from https to http"));
                }
                // The hub names the version before it sends us to a mirror, whose tags differ.
                linked_tag = header("x-linked-etag").or(linked_tag);
                current = next;
                continue;
            }
            return match status {
                StatusCode::OK => Ok(whole(answer, linked_tag)),
                StatusCode::PARTIAL_CONTENT => partial(answer, range, linked_tag, &current),
                _ => Err(self.refusal(&current, status, answer.headers())),
            };
        }
        Err(bad(address, format!("it redirects more than {REDIRECTS_MAX} times")))
    }

    fn ask(&self, address: &Address, range: Option<(u64, u64)>) -> Result<ureq::http::Response<Body>, LocateError> {
        let origin = address.origin();
        if self.outages.is_out(&origin) {
            return Err(LocateError::Unreachable {
                host: origin.host,
                source: "it was out of reach a moment ago".into(),
            });
        }
        // Offsets mean the file's own bytes, so nothing may compress them on the way.
        let mut request = self.agent.get(address.full()).header("accept-encoding", "identity");
        if let Some((start, end)) = range {
            request = request.header("range", format!("bytes={start}-{}", end.saturating_sub(1)));
        }
        if let Some(Token(token)) = self.token_for(address) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|error| {
            if is_outage(&error) {
                self.outages.record(origin.clone());
                return LocateError::Unreachable { host: origin.host, source: Box::new(error) };
            }
            LocateError::BrokenAnswer { address: address.to_string(), source: Box::new(error) }
        })
    }

    fn refusal(&self, address: &Address, status: StatusCode, headers: &HeaderMap) -> LocateError {
        let address_shown = address.to_string();
        match status.as_u16() {
            401 | 403 => LocateError::Unauthorized {
                address: address_shown,
                has_token: self.token_for(address).is_some(),
                is_gated: text_header(headers, "x-error-code").is_some_and(|code| code == "GatedRepo"),
            },
            404 | 410 => LocateError::NotFound { address: address_shown },
            status => LocateError::Refused { address: address_shown, status },
        }
    }
}

/// Whether the server was never reached (or is not who it says), as opposed to answering badly.
fn is_outage(error: &ureq::Error) -> bool {
    use std::io::ErrorKind;
    use ureq::Timeout;
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::Tls(_)
        | ureq::Error::Rustls(_)
        | ureq::Error::Pem(_) => true,
        ureq::Error::Timeout(timeout) => matches!(timeout, Timeout::Connect | Timeout::Resolve),
        // Resolvers and systems have many ways to say that there is no way; what a broken answer
        // looks like is known.
        ureq::Error::Io(error) => !matches!(
            error.kind(),
            ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::InvalidData
                | ErrorKind::WouldBlock
                | ErrorKind::TimedOut
        ),
        _ => false,
    }
}

fn bad(address: &Address, what: impl Into<String>) -> LocateError {
    LocateError::BadAnswer { address: address.to_string(), what: what.into() }
}

fn text_header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn number_header(headers: &HeaderMap, name: &str) -> Option<u64> {
    text_header(headers, name)?.trim().parse().ok()
}

/// The version that an answer is of: the hub's own name for it, or the server's tag.
fn tag(headers: &HeaderMap, linked: Option<String>) -> Option<String> {
    linked.or_else(|| text_header(headers, "x-linked-etag")).or_else(|| text_header(headers, "etag"))
}

fn whole(answer: ureq::http::Response<Body>, linked: Option<String>) -> Response {
    let total = number_header(answer.headers(), "content-length");
    let tag = tag(answer.headers(), linked);
    Response { tag, offset: 0, length: total, total, body: Box::new(answer.into_body().into_reader()) }
}

fn partial(
    answer: ureq::http::Response<Body>,
    range: Option<(u64, u64)>,
    linked: Option<String>,
    address: &Address,
) -> Result<Response, LocateError> {
    let content_range = text_header(answer.headers(), "content-range");
    let parsed = content_range.as_deref().and_then(parse_content_range);
    let (Some(asked), Some((start, end, total))) = (range, parsed) else {
        return Err(bad(address, "it sends a part of the file without saying which"));
    };
    if start != asked.0 || end > asked.1 || total.is_some_and(|total| end > total) {
        let (shown, asked) = (content_range.unwrap_or_default(), format!("{}-{}", asked.0, asked.1 - 1));
        return Err(bad(address, format!("it was asked for bytes {asked} and sends `{shown}`")));
    }
    let length = end - start;
    if number_header(answer.headers(), "content-length").is_some_and(|sent| sent != length) {
        return Err(bad(address, "its `Content-Length` and `Content-Range` contradict each other"));
    }
    let tag = tag(answer.headers(), linked);
    let body = Box::new(answer.into_body().into_reader().take(length));
    Ok(Response { tag, offset: start, length: Some(length), total, body })
}

/// First byte, first byte after, and size of the file in `bytes 0-99/1234`.
fn parse_content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let end = last.checked_add(1)?;
    (first < end).then_some((first, end, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_strictly() {
        assert_eq!(parse_content_range("bytes 0-99/1234"), Some((0, 100, Some(1234))));
        assert_eq!(parse_content_range("bytes 5-5/*"), Some((5, 6, None)));
        let overflow = format!("bytes 0-{}/1", u64::MAX);
        for text in ["", "bytes", "bytes 5-4/9", "bytes -1-4/9", "bytes */9", "items 0-1/2", "bytes 0-1", &overflow] {
            assert_eq!(parse_content_range(text), None, "{text}");
        }
    }

    #[test]
    fn tokens_are_checked_and_never_shown() {
        let token = Token::new(" hf_secret\n").unwrap();
        assert_eq!(token, Token("hf_secret".to_owned()));
        assert!(!format!("{token:?}").contains("secret"));
        for text in ["", " \n", "two words", "line\nbreak", "ü"] {
            assert_eq!(Token::new(text), None, "{text:?}");
        }
    }
}
