//! Chat templates of models against what Jinja2 makes of them.
//!
//! `bench/text/render_templates.py` writes the expected texts. Point
//! `HWLEDGER_TEMPLATES` at a further folder that it has been run on to check
//! templates that cannot be kept here.
#![expect(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::path::{Path, PathBuf};

use hwledger_engine::text::{ChatTemplate, Date, Json, Message, TemplateError, TemplateOptions};
use serde_json::Value;

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/templates")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A conversation, with the keys of its objects in the order of the file.
#[derive(serde::Deserialize)]
struct Conversation {
    messages: Vec<Message>,
    tools: Option<Vec<Json>>,
    #[serde(default)]
    add_generation_prompt: bool,
    #[serde(default)]
    extra: std::collections::BTreeMap<String, Json>,
}

#[derive(serde::Deserialize)]
struct Conversations {
    unix_seconds: i64,
    conversations: std::collections::BTreeMap<String, Conversation>,
}

/// Renderings that are not as expected, and how many were compared.
fn compare(folder: &Path, is_strict: bool) -> (Vec<String>, usize) {
    let cases: Conversations = serde_json::from_str(&read(&home().join("conversations.json"))).unwrap();
    let expected: Value = serde_json::from_str(&read(&folder.join("expected.json"))).unwrap();
    let date = Date::from_unix_seconds(cases.unix_seconds);
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (name, expected) in expected.as_object().unwrap() {
        let source = read(&folder.join(format!("{name}.jinja")));
        let template = match ChatTemplate::new(&source, Some("<s>"), Some("</s>")) {
            Ok(template) => template,
            Err(error) => {
                wrong.push(format!("{name}: {error:?}"));
                continue;
            }
        };
        for (case, conversation) in &cases.conversations {
            let options = TemplateOptions {
                add_generation_prompt: conversation.add_generation_prompt,
                tools: conversation.tools.clone(),
                date: Some(date),
                extra: conversation.extra.clone().into_iter().collect(),
            };
            let found = template.render(&conversation.messages, &options);
            let expected = &expected[case];
            let is_equal = match &found {
                // Where Jinja2 fails on an odd type, ours may go on.
                Ok(text) => expected == text.as_str() || !is_strict && expected["failed"].is_string(),
                Err(TemplateError::Refused(message)) => expected["refused"] == message.as_str(),
                Err(_) => expected["failed"].is_string(),
            };
            count += 1;
            if !is_equal {
                wrong.push(format!("{name}, {case}:\n  found    {found:?}\n  expected {expected}"));
            }
        }
    }
    (wrong, count)
}

#[test]
fn templates_render_as_jinja2_does() {
    let (wrong, count) = compare(&home(), true);
    assert!(wrong.is_empty(), "{} of {count}\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 20 * 8, "{count}");
}

#[test]
fn templates_elsewhere_render_as_jinja2_does() {
    let Ok(folder) = std::env::var("HWLEDGER_TEMPLATES") else {
        println!("skipped: HWLEDGER_TEMPLATES is not set");
        return;
    };
    let (wrong, count) = compare(Path::new(&folder), false);
    assert!(wrong.is_empty(), "{} of {count}\n{}", wrong.len(), wrong.join("\n"));
}
