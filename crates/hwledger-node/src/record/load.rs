//! Asking a running engine for replies, and timing them: any server that speaks OpenAI's completions.

use std::io::{BufRead as _, BufReader, Read as _};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::Agent;

use super::RecordError;

/// Bytes of one answer at most.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// The longest a request may take.
const PATIENCE: Duration = Duration::from_mins(30);
/// Times that a prompt's length is corrected before it is taken as it is.
const TRIES: usize = 4;

/// A running engine.
#[derive(Clone)]
pub(super) struct Server {
    agent: Agent,
    url: String,
    model: String,
    token: Option<String>,
}

// The token is a secret.
impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("url", &self.url).field("model", &self.model).finish_non_exhaustive()
    }
}

/// What is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Tokens of each prompt, about.
    pub prompt: u64,
    /// Tokens of each reply.
    pub generate: u64,
    /// Requests at once.
    pub concurrency: u64,
    /// Requests altogether.
    pub requests: u64,
}

/// One reply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Timed {
    /// Seconds until its first token.
    pub first_s: f64,
    /// Seconds until its end.
    pub whole_s: f64,
    /// Tokens of the prompt, where the server said so.
    pub prompt: Option<u64>,
    /// Tokens of the reply: as the server said, or the pieces that came.
    pub tokens: u64,
}

/// All replies.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LoadResult {
    /// The replies that were given, in no order.
    pub replies: Vec<Timed>,
    /// Why others failed.
    pub failures: Vec<String>,
    /// Seconds from the first request to the last reply.
    pub seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

/// Words of which prompts are made; short enough that most tokenizers have each as one token.
const WORDS: &[&str] = &[
    "the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not", "he",
    "his", "but", "at", "are", "this", "have", "from", "or", "had", "an", "they", "which", "one", "you", "were",
];

/// Words that no other prompt begins with, so that no server finds the beginning of one in its cache.
fn prompt(number: u64, words: u64) -> String {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::new();
    for _ in 0..words {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(WORDS[usize::try_from(state % WORDS.len() as u64).unwrap_or(0)]);
    }
    text
}

impl Server {
    /// A server at `url` (`http://127.0.0.1:8080`), whose model is called `model`. `token` is sent as bearer.
    pub(super) fn new(url: &str, model: &str, token: Option<String>) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .max_redirects(0)
            // What is measured is the server and not what stands in between.
            .proxy(None)
            .build();
        let url = url.trim_end_matches('/').trim_end_matches("/v1").to_owned();
        Self { agent: config.into(), url, model: model.to_owned(), token }
    }

    fn post(&self, body: &Value) -> Result<BufReader<Box<dyn std::io::Read + Send>>, String> {
        let mut request = self.agent.post(format!("{}/v1/completions", self.url));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = request.header("content-type", "application/json").send(body.to_string().as_bytes());
        let answer = answer.map_err(|error| format!("{}: {error}", self.url))?;
        let body: Box<dyn std::io::Read + Send> = Box::new(answer.into_body().into_reader().take(ANSWER_BYTES_MAX));
        Ok(BufReader::new(body))
    }

    /// Asks for one reply, piece by piece.
    fn ask(&self, number: u64, words: u64, generate: u64) -> Result<Timed, String> {
        let start = Instant::now();
        let reader = self.post(&json!({
            "model": self.model, "prompt": prompt(number, words), "max_tokens": generate, "temperature": 0.0,
            "stream": true, "stream_options": { "include_usage": true }, "ignore_eos": true,
        }))?;
        let (mut first, mut pieces, mut usage) = (None, 0, None);
        for line in reader.lines() {
            let line = line.map_err(|error| format!("{}: {error}", self.url))?;
            let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
            if data == "[DONE]" {
                break;
            }
            let value: Value = serde_json::from_str(data).map_err(|error| format!("{}: {error}", self.url))?;
            if let Some(error) = value.get("error") {
                return Err(format!("{}: {error}", self.url));
            }
            if value["choices"].get(0).is_some_and(|choice| choice["text"].is_string()) {
                first.get_or_insert_with(|| start.elapsed().as_secs_f64());
                pieces += 1;
            }
            if let Ok(found) = serde_json::from_value::<Usage>(value["usage"].clone()) {
                usage = Some(found);
            }
        }
        let whole_s = start.elapsed().as_secs_f64();
        let first_s = first.ok_or_else(|| format!("{}: the reply was empty", self.url))?;
        let tokens = usage.as_ref().and_then(|usage| usage.completion_tokens).unwrap_or(pieces);
        Ok(Timed { first_s, whole_s, prompt: usage.and_then(|usage| usage.prompt_tokens), tokens })
    }

    /// The words that make a prompt of about so many tokens, and the tokens that the server then counts; nothing of
    /// this is timed.
    ///
    /// # Errors
    ///
    /// The server does not answer, or does not count.
    pub(super) fn words_for(&self, tokens: u64) -> Result<(u64, u64), RecordError> {
        let count = |words: u64| -> Result<u64, RecordError> {
            let mut reader = self
                .post(&json!({
                    "model": self.model, "prompt": prompt(u64::MAX - words, words), "max_tokens": 1, "temperature": 0.0,
                }))
                .map_err(RecordError::Run)?;
            let mut text = String::new();
            reader.read_to_string(&mut text).map_err(|error| RecordError::Run(format!("{}: {error}", self.url)))?;
            let value: Value =
                serde_json::from_str(&text).map_err(|error| RecordError::Run(format!("{}: {error}", self.url)))?;
            value["usage"]["prompt_tokens"]
                .as_u64()
                .ok_or_else(|| RecordError::Run(format!("{}: it does not say how many tokens a prompt has", self.url)))
        };
        let mut words = tokens.max(1);
        let mut counted = count(words)?;
        for _ in 0..TRIES {
            if counted.abs_diff(tokens) * 50 <= tokens {
                break;
            }
            words = (words.saturating_mul(tokens) / counted.max(1)).max(1);
            counted = count(words)?;
        }
        Ok((words, counted))
    }

    /// Asks for all replies of a load, `concurrency` at once. `seed` makes prompts that were never asked before.
    pub(super) fn run(&self, load: &Load, words: u64, seed: u64) -> LoadResult {
        let next = std::sync::atomic::AtomicU64::new(0);
        let start = Instant::now();
        let found = std::thread::scope(|scope| {
            let ask_all = || {
                let mut found = Vec::new();
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if number >= load.requests {
                        return found;
                    }
                    found.push(self.ask(seed.wrapping_add(number), words, load.generate));
                }
            };
            let callers: Vec<_> = (0..load.concurrency).map(|_| scope.spawn(ask_all)).collect();
            callers.into_iter().flat_map(|caller| caller.join().unwrap_or_default()).collect::<Vec<_>>()
        });
        let seconds = start.elapsed().as_secs_f64();
        let (mut replies, mut failures) = (Vec::new(), Vec::new());
        for one in found {
            match one {
                Ok(reply) => replies.push(reply),
                Err(failure) => failures.push(failure),
            }
        }
        LoadResult { replies, failures, seconds }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::{Load, Server, prompt};

    /// Answers one request after another as a server of completions would, one token per word of prompt and five more.
    fn serve(stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap() == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let request: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let words = request["prompt"].as_str().unwrap().split(' ').count() + 5;
        let mut output = stream;
        if request["stream"] == true {
            output.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").unwrap();
            for _ in 0..request["max_tokens"].as_u64().unwrap() {
                std::thread::sleep(Duration::from_millis(2));
                output.write_all(b"data: {\"choices\":[{\"text\":\"x\"}],\"usage\":null}\n\n").unwrap();
            }
            let usage =
                format!("data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":{words},\"completion_tokens\":4}}}}\n\n");
            output.write_all((usage + "data: [DONE]\n\n").as_bytes()).unwrap();
        } else {
            let text = format!("{{\"usage\":{{\"prompt_tokens\":{words}}}}}");
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", text.len());
            output.write_all((head + &text).as_bytes()).unwrap();
        }
    }

    #[test]
    fn replies_are_timed_and_tokens_counted_by_the_server() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || serve(&stream.unwrap()));
            }
        });
        let server = Server::new(&url, "any", Some("secret".to_owned()));
        assert!(!format!("{server:?}").contains("secret"));
        let (words, tokens) = server.words_for(100).unwrap();
        assert!(tokens.abs_diff(100) <= 2 && words == tokens - 5, "{words} {tokens}");
        let load = Load { prompt: 100, generate: 4, concurrency: 3, requests: 7 };
        let result = server.run(&load, words, 1);
        assert_eq!((result.replies.len(), result.failures.len()), (7, 0), "{:?}", result.failures);
        for reply in &result.replies {
            assert_eq!((reply.tokens, reply.prompt), (4, Some(tokens)));
            assert!(reply.first_s > 0.0 && reply.whole_s > reply.first_s);
        }
        let nobody = Server::new("http://127.0.0.1:1", "any", None);
        assert!(nobody.words_for(10).unwrap_err().to_string().contains("127.0.0.1:1"));
        assert_eq!(nobody.run(&load, 5, 1).failures.len(), 7);
    }

    #[test]
    fn prompts_differ_from_their_first_words() {
        let first: Vec<String> = (0..20).map(|number| prompt(number, 6)).collect();
        for (place, one) in first.iter().enumerate() {
            assert_eq!(one.split(' ').count(), 6);
            assert!(!first[..place].contains(one));
        }
    }
}
