//! A small HTTP server on the loopback interface that does as each test says.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A request as the server saw it, and what it answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) range: Option<(u64, u64)>,
    pub(super) authorization: Option<String>,
    /// Bytes of the body that the client took.
    pub(super) sent: u64,
}

/// An answer, sent as it is, right or wrong.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Box<dyn Read>,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self { status, headers: vec![("content-length", "0".to_owned())], body: Box::new(std::io::empty()) }
    }

    pub(super) fn redirect(location: impl Into<String>) -> Self {
        Self::status(302).with("location", location)
    }

    /// The whole of `content`.
    pub(super) fn whole(content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        let headers = vec![("content-length", content.len().to_string())];
        Self { status: 200, headers, body: Box::new(std::io::Cursor::new(content)) }
    }

    /// The asked range of a file that begins with `head` and goes on with zeros up to `total`.
    pub(super) fn range(seen: &Seen, head: &[u8], total: u64) -> Self {
        let Some((start, end)) = seen.range else {
            let body = std::io::Cursor::new(head.to_vec()).chain(std::io::repeat(0)).take(total);
            return Self { status: 200, headers: vec![("content-length", total.to_string())], body: Box::new(body) };
        };
        let end = end.min(total);
        let rest = head.get(usize::try_from(start).unwrap()..).unwrap_or_default().to_vec();
        let body = std::io::Cursor::new(rest).chain(std::io::repeat(0)).take(end - start);
        let headers = vec![
            ("content-length", (end - start).to_string()),
            ("content-range", format!("bytes {start}-{}/{total}", end - 1)),
        ];
        Self { status: 206, headers, body: Box::new(body) }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }
}

type Handler = dyn Fn(&Seen) -> Reply + Send + Sync;

/// The server; it stops when it is dropped.
pub(super) struct Server {
    address: String,
    log: Arc<Mutex<Vec<Seen>>>,
    is_stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (handler, shared): (Arc<Handler>, _) = (Arc::new(handler), (Arc::clone(&log), Arc::clone(&is_stopping)));
        let acceptor = thread::spawn(move || {
            let mut connections: Vec<JoinHandle<()>> = Vec::new();
            for stream in listener.incoming().take(10_000) {
                if shared.1.load(Ordering::SeqCst) {
                    break;
                }
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&shared.0));
                connections.retain(|connection| !connection.is_finished());
                connections.push(thread::spawn(move || serve(&stream.unwrap(), &*handler, &log)));
            }
            for connection in connections {
                let _ = connection.join();
            }
        });
        Self { address, log, is_stopping, acceptor: Some(acceptor) }
    }

    /// The address of `path`, which begins with a slash.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// The requests since the last call, in order of arrival.
    pub(super) fn take_log(&self) -> Vec<Seen> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn serve(mut stream: &TcpStream, handler: &Handler, log: &Mutex<Vec<Seen>>) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let Some(seen) = read_request(stream) else { return };
    let position = {
        let mut log = log.lock().unwrap();
        log.push(seen.clone());
        log.len() - 1
    };
    let mut reply = handler(&seen);
    let mut head = format!("HTTP/1.1 {} Said\r\nconnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    head.push_str("\r\n");
    if stream.write_all(head.as_bytes()).is_err() {
        return;
    }
    let mut buffer = [0; 16 << 10];
    loop {
        let count = reply.body.read(&mut buffer).unwrap();
        if count == 0 || stream.write_all(&buffer[..count]).is_err() {
            return;
        }
        if let Some(seen) = log.lock().unwrap().get_mut(position) {
            seen.sent += count as u64;
        }
    }
}

fn read_request(stream: &TcpStream) -> Option<Seen> {
    let mut lines = BufReader::new(stream.take(64 << 10)).lines();
    let first = lines.next()?.ok()?;
    let mut seen = Seen { path: first.split(' ').nth(1)?.to_owned(), ..Seen::default() };
    for line in lines {
        let line = line.ok()?;
        if line.is_empty() {
            return Some(seen);
        }
        let (name, value) = line.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let (start, last) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
                seen.range = Some((start.parse().ok()?, last.parse::<u64>().ok()? + 1));
            }
            "authorization" => seen.authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    None
}
