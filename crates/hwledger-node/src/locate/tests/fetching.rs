//! Fetching from servers that behave.

use std::io::Read;
use std::time::Duration;

use super::Scratch;
use super::server::{Reply, Seen, Server};
use crate::locate::{LocateError, LocateOptions, Located, Origin, Source, Tensors, Token, locate};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Options that ask `server` for everything and keep what it says in `scratch`.
pub(super) fn options(server: &Server, scratch: &Scratch) -> LocateOptions {
    LocateOptions {
        hub_endpoint: server.url(""),
        ollama_registry: server.url(""),
        cache_directory: Some(scratch.path().join("cache")),
        timeout: Duration::from_secs(5),
        ..LocateOptions::default()
    }
}

pub(super) fn files(located: &Located) -> &[Source] {
    match &located.tensors {
        Tensors::None => &[],
        Tensors::Gguf(files) | Tensors::Safetensors { files, .. } => files,
    }
}

pub(super) fn read(source: &Source, bytes: usize) -> Vec<u8> {
    let mut content = Vec::new();
    source.open().unwrap().take(bytes as u64).read_to_end(&mut content).unwrap();
    content
}

/// The hub's listing of files with their sizes.
pub(super) fn listing(files: &[(&str, u64)]) -> Reply {
    let file = |(name, bytes): &(&str, u64)| format!(r#"{{"rfilename":"{name}","size":{bytes}}}"#);
    let siblings: Vec<String> = files.iter().map(file).collect();
    Reply::whole(format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, siblings.join(",")))
}

/// Bytes that tell their position.
fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// A safetensors header of `length` bytes after the eight that say so.
fn safetensors(length: usize) -> Vec<u8> {
    let mut content = (length as u64).to_le_bytes().to_vec();
    content.extend(pattern(length));
    content
}

const HUGE: u64 = 400_000_000_000;

fn gguf_repository(seen: &Seen) -> Reply {
    if seen.path.starts_with("/api/models/org/big/") {
        return listing(&[("big-Q4_K_M.gguf", HUGE), ("big-Q8_0.gguf", HUGE), ("README.md", 1)]);
    }
    match seen.path.strip_prefix(&format!("/org/big/resolve/{COMMIT}/")) {
        Some("big-Q4_K_M.gguf" | "big-Q8_0.gguf") => {
            Reply::range(seen, &pattern(3 << 20), HUGE).with("etag", "\"one\"")
        }
        _ => Reply::status(404),
    }
}

#[test]
fn of_a_huge_file_only_the_header_is_fetched_and_only_once() {
    let (scratch, server) = (Scratch::new(), Server::start(gguf_repository));
    let options = options(&server, &scratch);
    let located = locate("org/big:Q8_0", &options).unwrap();
    assert_eq!(located.revision.as_deref(), Some(COMMIT));
    assert!(matches!(&located.origin, Origin::Hub { id, .. } if id == "org/big"));
    let [file] = files(&located) else { panic!("{located:?}") };
    assert_eq!((file.name.as_str(), file.bytes), ("big-Q8_0.gguf", HUGE));
    assert_eq!(read(file, 3 << 20), pattern(3 << 20));
    // A second reader starts again without asking again.
    let asked = server.take_log();
    assert_eq!(read(file, 3 << 20), pattern(3 << 20));
    assert_eq!(server.take_log().len(), 0);
    let sent: u64 = asked.iter().map(|seen| seen.sent).sum();
    assert!(sent <= 5 << 20, "{sent} bytes were sent for a header of three million");
    assert!(asked.len() <= 10, "{} requests", asked.len());
    // Nor does a second run.
    let again = locate("org/big:Q8_0", &options).unwrap();
    assert_eq!(read(&files(&again)[0], 3 << 20), pattern(3 << 20));
    assert_eq!(server.take_log().len(), 0);
}

fn sharded_repository(seen: &Seen) -> Reply {
    if seen.path.starts_with("/api/models/org/model/revision/") {
        let index = ("model.safetensors.index.json", 10);
        let shards = [("model-00001-of-00002.safetensors", 1 << 30), ("model-00002-of-00002.safetensors", 1 << 31)];
        return listing(&[("config.json", 2), index, shards[0], shards[1]]);
    }
    match seen.path.strip_prefix(&format!("/org/model/resolve/{COMMIT}/")) {
        Some("config.json") => Reply::whole("{}"),
        Some("model-00001-of-00002.safetensors") => Reply::range(seen, &safetensors(100), 1 << 30),
        Some("model-00002-of-00002.safetensors") => Reply::range(seen, &safetensors(300_000), 1 << 31),
        _ => Reply::status(404),
    }
}

#[test]
fn of_shards_the_headers_are_fetched_at_once() {
    let (scratch, server) = (Scratch::new(), Server::start(sharded_repository));
    let options = options(&server, &scratch);
    let located = locate("org/model", &options).unwrap();
    assert_eq!(located.config.as_deref(), Some(b"{}".as_slice()));
    assert!(matches!(located.tensors, Tensors::Safetensors { index: None, is_complete: true, .. }));
    assert_eq!(files(&located).iter().map(|file| file.bytes).collect::<Vec<_>>(), [1 << 30, 1 << 31]);
    server.take_log();
    for (file, length) in files(&located).iter().zip([108, 300_008]) {
        assert_eq!(read(file, length), safetensors(length - 8), "{}", file.name);
    }
    assert_eq!(server.take_log().len(), 0, "the headers had been fetched");
}

#[test]
fn urls_of_the_hub_are_read_like_repositories() {
    let (scratch, server) = (Scratch::new(), Server::start(sharded_repository));
    let options = options(&server, &scratch);
    let check = |path: &str, expected: usize, has_config: bool| {
        let located = locate(&server.url(path), &options).unwrap();
        assert_eq!((files(&located).len(), located.config.is_some()), (expected, has_config), "{path}");
    };
    check("/org/model", 2, true);
    check("/org/model/tree/main", 2, true);
    check("/org/model/blob/main/config.json", 0, true);
    check("/org/model/resolve/main/model-00001-of-00002.safetensors", 2, true);
    check("/org/model/resolve/main/model.safetensors.index.json", 2, true);
    let official = locate("https://huggingface.co/org/model", &options).unwrap();
    assert_eq!(files(&official).len(), 2, "the configured mirror stands for the hub");
}

#[test]
fn a_revision_is_asked_for_as_one_part_of_the_path() {
    let (scratch, server) = (Scratch::new(), Server::start(sharded_repository));
    let mut options = options(&server, &scratch);
    locate("org/model@refs/pr/7", &options).unwrap();
    assert_eq!(server.take_log()[0].path, "/api/models/org/model/revision/refs%2Fpr%2F7?blobs=true");
    options.revision = Some("v2".to_owned());
    locate("org/model", &options).unwrap();
    assert_eq!(server.take_log()[0].path, "/api/models/org/model/revision/v2?blobs=true");
}

#[test]
fn the_catalogue_answers_before_the_hub_unless_the_hub_is_meant() {
    let (scratch, server) = (Scratch::new(), Server::start(|_| Reply::status(404)));
    let options = options(&server, &scratch);
    assert!(matches!(locate("Qwen/Qwen3-8B", &options).unwrap().origin, Origin::Catalogue { .. }));
    assert_eq!(server.take_log().len(), 0);
    let error = locate("hf:Qwen/Qwen3-8B", &options).unwrap_err();
    assert!(matches!(error, LocateError::NoRepository { .. }), "{error}");
    let error = locate("Qwen/Qwen3-8Bx", &options).unwrap_err();
    assert!(error.full_message().contains("did you mean `Qwen/Qwen3-8B`"), "{}", error.full_message());
}

#[test]
fn what_was_fetched_is_used_for_its_time_and_then_checked() {
    let (scratch, server) = (Scratch::new(), Server::start(gguf_repository));
    let mut options = options(&server, &scratch);
    read(&files(&locate("org/big", &options).unwrap())[0], 3 << 20);
    server.take_log();
    options.time_to_live = Duration::ZERO;
    let located = locate("org/big", &options).unwrap();
    assert_eq!(read(&files(&located)[0], 3 << 20), pattern(3 << 20));
    let asked = server.take_log();
    // The listing and the file's beginning; what follows still holds.
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(asked[1].range.map(|(start, _)| start), Some(0));
}

#[test]
fn a_new_version_replaces_the_stored_one() {
    let scratch = Scratch::new();
    let version = std::sync::Arc::new(std::sync::atomic::AtomicU8::new(1));
    let current = std::sync::Arc::clone(&version);
    let server = Server::start(move |seen| {
        let number = current.load(std::sync::atomic::Ordering::SeqCst);
        Reply::range(seen, &[b'G', b'G', b'U', b'F', number], 1 << 20).with("etag", format!("\"{number}\""))
    });
    let mut options = options(&server, &scratch);
    let url = server.url("/some.gguf");
    assert_eq!(read(&files(&locate(&url, &options).unwrap())[0], 1 << 20)[4], 1);
    version.store(2, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(read(&files(&locate(&url, &options).unwrap())[0], 1 << 20)[4], 1, "within its time");
    options.time_to_live = Duration::ZERO;
    let content = read(&files(&locate(&url, &options).unwrap())[0], 1 << 20);
    assert_eq!((content[4], content.len()), (2, 1 << 20));
}

#[test]
fn what_was_fetched_serves_without_a_server() {
    let scratch = Scratch::new();
    let server = Server::start(sharded_repository);
    let mut online = options(&server, &scratch);
    locate("org/model", &online).unwrap();
    online.time_to_live = Duration::ZERO;
    let offline = LocateOptions { is_offline: true, ..online.clone() };
    server.take_log();
    let located = locate("org/model", &offline).unwrap();
    assert_eq!(files(&located).len(), 2);
    assert!(located.notes.iter().any(|note| note.contains("server was not asked")), "{:?}", located.notes);
    assert_eq!(server.take_log().len(), 0);
    let error = locate("org/other", &offline).unwrap_err();
    assert!(matches!(error, LocateError::Offline { .. }), "{error}");
    drop(server);
    // The server is gone: what it once said is better than nothing.
    let located = locate("org/model", &online).unwrap();
    assert_eq!(files(&located).len(), 2);
    assert!(!located.notes.is_empty());
    let error = locate("org/other", &online).unwrap_err();
    assert!(matches!(error, LocateError::Unreachable { .. }), "{error}");
    assert!(error.full_message().contains("a moment ago"), "{}", error.full_message());
}

#[test]
fn a_token_opens_private_repositories_and_goes_nowhere_else() {
    let mirror = Server::start(|seen| Reply::range(seen, b"GGUF", 1 << 20));
    let elsewhere = mirror.url("/blob?signature=abc");
    let server = Server::start(move |seen| match seen.authorization.as_deref() {
        Some("Bearer hf_secret") if seen.path.starts_with("/api/") => listing(&[("m.gguf", 1 << 20)]),
        Some("Bearer hf_secret") => Reply::redirect(&elsewhere),
        _ => Reply::status(401),
    });
    let scratch = Scratch::new();
    let mut options = options(&server, &scratch);
    let error = locate("org/private", &options).unwrap_err();
    assert!(matches!(error, LocateError::NoRepository { .. }), "{error}");
    assert!(error.hint().unwrap().contains("HF_TOKEN"));
    options.token_file = Some(scratch.write("token", "hf_secret\n"));
    let located = locate("org/private", &options).unwrap();
    assert_eq!(read(&files(&located)[0], 4), b"GGUF");
    let asked = mirror.take_log();
    assert!(!asked.is_empty() && asked.iter().all(|seen| seen.authorization.is_none()), "{asked:?}");
    // A file on another server never sees it either.
    locate(&mirror.url("/m.gguf"), &options).unwrap();
    assert!(mirror.take_log().iter().all(|seen| seen.authorization.is_none()));
    options.token = Token::new("hf_wrong");
    let error = locate("org/other", &options).unwrap_err();
    assert!(matches!(error, LocateError::Unauthorized { has_token: true, .. }), "{error}");
    assert!(!error.full_message().contains("hf_wrong"));
}

#[test]
fn a_gated_repository_says_what_to_do() {
    let scratch = Scratch::new();
    let server = Server::start(|seen| match seen.path.as_str() {
        path if path.starts_with("/api/") => listing(&[("config.json", 2)]),
        _ => Reply::status(403).with("x-error-code", "GatedRepo"),
    });
    let error = locate("org/gated", &options(&server, &scratch)).unwrap_err();
    assert!(matches!(error, LocateError::Gated { has_token: false, .. }), "{error}");
    assert!(error.full_message().contains("accept the terms"), "{}", error.full_message());
}

#[test]
fn an_ollama_name_is_fetched_from_its_registry() {
    let scratch = Scratch::new();
    let digest = |digit: char| digit.to_string().repeat(64);
    let (model, parameters) = (digest('a'), digest('b'));
    let server = Server::start(move |seen| {
        let layer = |kind: &str, digest: &str, bytes: u64| {
            let media_type = format!("application/vnd.ollama.image.{kind}");
            format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{digest}","size":{bytes}}}"#)
        };
        let layers = [layer("model", &model, 5_000_000), layer("params", &parameters, 16)];
        match seen.path.strip_prefix("/v2/library/tiny/") {
            Some("manifests/1b") => Reply::whole(format!(r#"{{"layers":[{}]}}"#, layers.join(","))),
            Some(path) if path == format!("blobs/sha256:{model}") => Reply::range(seen, b"GGUF", 5_000_000),
            Some(path) if path == format!("blobs/sha256:{parameters}") => Reply::whole(r#"{"num_ctx":8192}"#),
            _ => Reply::status(404),
        }
    });
    for reference in ["tiny:1b", "ollama:tiny:1b", "https://ollama.com/library/tiny:1b"] {
        let located = locate(reference, &options(&server, &scratch)).unwrap();
        assert_eq!(files(&located)[0].bytes, 5_000_000);
        assert_eq!(located.parameters.as_deref(), Some(br#"{"num_ctx":8192}"#.as_slice()));
        assert_eq!(located.origin, Origin::OllamaRegistry { name: "tiny:1b".to_owned() });
    }
    let error = locate("ollama:tiny:9b", &options(&server, &scratch)).unwrap_err();
    assert!(matches!(error, LocateError::Unknown { .. }), "{error}");
    server.take_log();
    assert!(locate("tinyy", &options(&server, &scratch)).is_err());
    assert_eq!(server.take_log().len(), 0, "a bare word is not sent out");
}

#[test]
fn files_of_any_server_are_read_with_what_lies_beside_them() {
    let scratch = Scratch::new();
    let server = Server::start(|seen| match seen.path.as_str() {
        "/m/x-00001-of-00002.gguf?key=k" | "/m/x-00002-of-00002.gguf?key=k" | "/m/nameless" => {
            Reply::range(seen, b"GGUF", 1000)
        }
        "/m/model.safetensors" | "/bare/model.safetensors" => Reply::range(seen, &safetensors(8), 2000),
        "/m/config.json" => Reply::whole("{}"),
        "/page" => Reply::whole("<html>"),
        _ => Reply::status(404),
    });
    // The server is no hub, whose paths would name repositories.
    let hub_endpoint = "http://127.0.0.1:9".to_owned();
    let options = LocateOptions { hub_endpoint, ..options(&server, &scratch) };
    let located = locate(&server.url("/m/x-00002-of-00002.gguf?key=k"), &options).unwrap();
    assert_eq!(files(&located).iter().map(|file| file.bytes).sum::<u64>(), 2000);
    assert!(matches!(located.tensors, Tensors::Gguf(_)));
    assert!(matches!(locate(&server.url("/m/nameless"), &options).unwrap().tensors, Tensors::Gguf(_)));
    let located = locate(&server.url("/m/model.safetensors"), &options).unwrap();
    assert_eq!((files(&located).len(), located.config.is_some()), (1, true));
    let located = locate(&server.url("/bare/model.safetensors"), &options).unwrap();
    assert_eq!((files(&located).len(), located.config.is_some()), (1, false));
    assert_eq!(locate(&server.url("/m/config.json"), &options).unwrap().config.as_deref(), Some(b"{}".as_slice()));
    assert!(matches!(locate(&server.url("/page"), &options), Err(LocateError::BadAnswer { .. })));
    assert!(matches!(locate(&server.url("/gone.gguf"), &options), Err(LocateError::NotFound { .. })));
}
