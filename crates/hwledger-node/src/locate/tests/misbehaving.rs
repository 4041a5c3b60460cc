//! Servers that refuse, cut short, contradict themselves, redirect for ever, or say nothing.

use std::io::Read;
use std::time::{Duration, Instant};

use super::Scratch;
use super::fetching::{files, listing, options, read};
use super::server::{Reply, Seen, Server};
use crate::locate::{LocateError, LocateOptions, Located, locate};

/// Asks a server that answers everything by `handler` for a GGUF file.
fn ask(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Result<Located, LocateError> {
    let (scratch, server) = (Scratch::new(), Server::start(handler));
    locate(&server.url("/m.gguf"), &options(&server, &scratch))
}

#[test]
fn without_ranges_no_more_is_read_than_needed() {
    const TOTAL: u64 = 1 << 40;
    let scratch = Scratch::new();
    let server = Server::start(|seen| {
        let whole = Seen { range: None, ..seen.clone() };
        Reply::range(&whole, &vec![7; 2_000_000], TOTAL)
    });
    let options = options(&server, &scratch);
    let located = locate(&server.url("/m.gguf"), &options).unwrap();
    assert_eq!(files(&located)[0].bytes, TOTAL);
    assert_eq!(read(&files(&located)[0], 2_000_000), vec![7; 2_000_000]);
    drop(located);
    // What was read is kept, so only what lies behind it is asked for again, and read past.
    let again = locate(&server.url("/m.gguf"), &options).unwrap();
    assert_eq!(server.take_log().len(), 1);
    let content = read(&files(&again)[0], 5_000_000);
    assert_eq!((content[1_999_999], content[2_000_000], content.len()), (7, 0, 5_000_000));
    drop(again);
    let asked = server.take_log();
    assert_eq!(asked.len(), 1);
    // The sockets' own buffers are filled, the terabyte is not sent.
    assert!(asked[0].sent < 64 << 20, "{}", asked[0].sent);
}

#[test]
fn a_file_without_a_stated_size_is_refused() {
    let error = ask(|_| Reply::whole(vec![0; 1 << 20]).without("content-length")).unwrap_err();
    assert!(matches!(error, LocateError::BadAnswer { .. }), "{error}");
    let unknown = |seen: &Seen| Reply::range(seen, b"GGUF", 1 << 20).with("content-range", "bytes 0-131071/*");
    let error = ask(unknown).unwrap_err();
    assert!(error.to_string().contains("how large"), "{error}");
}

#[test]
fn answers_that_break_off_are_errors() {
    let short = |seen: &Seen| {
        let mut reply = Reply::range(seen, b"GGUF", 1 << 20);
        reply.body = Box::new(reply.body.take(1000));
        reply
    };
    let error = ask(short).unwrap_err();
    assert!(matches!(error, LocateError::BrokenAnswer { .. } | LocateError::Truncated { .. }), "{error}");
    let whole = |_: &Seen| Reply::whole("GGUF").with("content-length", "100000");
    let error = ask(whole).unwrap_err();
    assert!(matches!(error, LocateError::BrokenAnswer { .. } | LocateError::Truncated { .. }), "{error}");
    let (scratch, server) = (Scratch::new(), Server::start(|_| Reply::whole("{}").with("content-length", "3")));
    let error = locate(&server.url("/config.json"), &options(&server, &scratch)).unwrap_err();
    assert!(matches!(error, LocateError::BrokenAnswer { .. } | LocateError::Truncated { .. }), "{error}");
}

#[test]
fn parts_other_than_the_one_asked_for_are_refused() {
    for content_range in [
        "bytes 5-131076/1048576",
        "bytes 0-131071/100",
        "bytes 0-999999/1048576",
        "bytes 9-3/1048576",
        "pages 0-1/2",
        "bytes 0-18446744073709551615/1",
        "",
    ] {
        let handler = move |seen: &Seen| Reply::range(seen, b"GGUF", 1 << 20).with("content-range", content_range);
        let error = ask(handler).unwrap_err();
        assert!(matches!(error, LocateError::BadAnswer { .. }), "{content_range}: {error}");
    }
    let error = ask(|seen| Reply::range(seen, b"GGUF", 1 << 20).without("content-range")).unwrap_err();
    assert!(matches!(error, LocateError::BadAnswer { .. }), "{error}");
    let error = ask(|seen| Reply::range(seen, b"GGUF", 1 << 20).with("content-length", "5")).unwrap_err();
    assert!(matches!(error, LocateError::BadAnswer { .. }), "{error}");
}

#[test]
fn a_part_sent_unasked_is_refused() {
    let (scratch, server) =
        (Scratch::new(), Server::start(|_| Reply::range(&Seen { range: Some((0, 2)), ..Seen::default() }, b"{}", 2)));
    let error = locate(&server.url("/config.json"), &options(&server, &scratch)).unwrap_err();
    assert!(matches!(error, LocateError::BadAnswer { .. }), "{error}");
}

#[test]
fn redirects_end() {
    let error = ask(|seen| Reply::redirect(format!("{}x", seen.path))).unwrap_err();
    assert!(error.to_string().contains("redirects more than"), "{error}");
    let error = ask(|_| Reply::status(302)).unwrap_err();
    assert!(error.to_string().contains("without saying where"), "{error}");
    for elsewhere in ["file:///etc/passwd", "gopher://x/", "http://user:password@localhost/"] {
        let error = ask(move |_| Reply::redirect(elsewhere)).unwrap_err();
        assert!(matches!(error, LocateError::BadAddress { .. }), "{error}");
        assert!(!error.full_message().contains("password@"), "{error}");
    }
    let relative = |seen: &Seen| match seen.path.as_str() {
        "/m.gguf" => Reply::redirect("deeper/m.gguf"),
        "/deeper/m.gguf" => Reply::range(seen, b"GGUF", 1000),
        _ => Reply::status(404),
    };
    assert_eq!(files(&ask(relative).unwrap())[0].bytes, 1000);
}

#[test]
fn refusals_are_told_apart() {
    let refused = |status: u16| ask(move |_| Reply::status(status)).unwrap_err();
    assert!(matches!(refused(401), LocateError::Unauthorized { has_token: false, .. }));
    assert!(matches!(refused(403), LocateError::Unauthorized { .. }));
    assert!(matches!(refused(404), LocateError::NotFound { .. }));
    for status in [204, 416, 429, 500, 503] {
        assert!(matches!(refused(status), LocateError::Refused { status: told, .. } if told == status));
    }
    assert!(refused(429).hint().unwrap().contains("later"));
}

#[test]
fn a_silent_server_is_not_waited_for() {
    let silent = |_: &Seen| {
        std::thread::sleep(Duration::from_secs(2));
        Reply::status(404)
    };
    let (scratch, server) = (Scratch::new(), Server::start(silent));
    let options = LocateOptions { timeout: Duration::from_millis(100), ..options(&server, &scratch) };
    let start = Instant::now();
    let error = locate(&server.url("/m.gguf"), &options).unwrap_err();
    assert!(matches!(error, LocateError::BrokenAnswer { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_millis(1900), "{:?}", start.elapsed());
}

#[test]
fn a_file_replaced_between_two_parts_is_an_error() {
    let (scratch, server) = (
        Scratch::new(),
        Server::start(|seen| {
            let tag = if seen.range.is_some_and(|(start, _)| start == 0) { "\"one\"" } else { "\"two\"" };
            Reply::range(seen, b"GGUF", 10 << 20).with("etag", tag)
        }),
    );
    let located = locate(&server.url("/m.gguf"), &options(&server, &scratch)).unwrap();
    let error = files(&located)[0].open().unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("was replaced"), "{error}");
}

#[test]
fn a_header_without_end_is_given_up() {
    let (scratch, server) = (Scratch::new(), Server::start(|seen| Reply::range(seen, b"GGUF", 1 << 40)));
    let options = LocateOptions { header_bytes_max: 1 << 20, ..options(&server, &scratch) };
    let located = locate(&server.url("/m.gguf"), &options).unwrap();
    let mut content = Vec::new();
    let error = files(&located)[0].open().unwrap().read_to_end(&mut content).unwrap_err();
    assert!(error.to_string().contains("more than the 1048576"), "{error}");
    assert_eq!(content.len(), 1 << 20);
    assert!(server.take_log().iter().map(|seen| seen.sent).sum::<u64>() <= 1 << 20);
}

#[test]
fn listings_that_make_no_sense_are_refused() {
    let with_listing = |content: &'static str| {
        let (scratch, server) = (Scratch::new(), Server::start(move |_| Reply::whole(content)));
        locate("org/model", &options(&server, &scratch)).unwrap_err()
    };
    for content in ["", "[]", "{", "<html>", r#"{"siblings":[{"rfilename":1}]}"#, r#"{"siblings":{}}"#] {
        assert!(matches!(with_listing(content), LocateError::Listing { .. }), "{content}");
    }
    let hostile = r#"{"sha":"../..","siblings":[{"rfilename":"../config.json"},{"rfilename":"/a.gguf"}]}"#;
    for content in ["{}", r#"{"siblings":[]}"#, hostile] {
        let error = with_listing(content);
        assert!(matches!(error, LocateError::NoModelInRepository { .. }), "{content}: {error}");
    }
    let (scratch, server) = (Scratch::new(), Server::start(|_| listing(&[("m-00001-of-00002.gguf", 5)])));
    let error = locate("org/model", &options(&server, &scratch)).unwrap_err();
    assert!(matches!(error, LocateError::MissingPart { .. }), "{error}");
    let (scratch, server) = (Scratch::new(), Server::start(|_| listing(&[("a.gguf", 5), ("b.gguf", 5)])));
    let error = locate("org/model", &options(&server, &scratch)).unwrap_err();
    assert!(error.full_message().contains("name one of `a`, `b`"), "{}", error.full_message());
}

#[test]
fn a_listing_without_end_is_given_up() {
    let endless = |_: &Seen| Reply { status: 200, headers: Vec::new(), body: Box::new(std::io::repeat(b' ')) };
    let (scratch, server) = (Scratch::new(), Server::start(endless));
    let error = locate("org/model", &options(&server, &scratch)).unwrap_err();
    assert!(matches!(error, LocateError::TooLarge { .. }), "{error}");
}
