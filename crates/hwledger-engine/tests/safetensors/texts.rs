//! The small files beside the weights: tokenizer, ends, chat template.

use std::fs;
use std::path::PathBuf;

use hwledger_engine::model::{Directory, ModelFile};
use hwledger_engine::text::{Message, TemplateOptions};
use hwledger_engine::{Engine, EngineOptions, LoadError};

use crate::hostile::{CONFIG, small_model};

const TOKENIZER: &str = r#"{"version": "1.0", "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "c": 2, "d": 3}, "unk_token": "a"}}"#;

/// A directory that goes when it is done with.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hwledger-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("model.safetensors"), small_model().bytes()).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, content: &str) {
        fs::write(self.0.join(name), content).unwrap();
    }

    fn open(&self) -> Result<Engine, LoadError> {
        let directory = Directory {
            folder: self.0.clone(),
            config: format!(r#"{{{CONFIG}, "model_type": "llama", "eos_token_id": 2}}"#).into_bytes(),
            index: None,
            files: vec![ModelFile::open(&self.0.join("model.safetensors")).unwrap()],
        };
        Engine::open_directory(directory, &EngineOptions { threads: 1, ..EngineOptions::default() })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left lies among the system's temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn tokenizer_ends_and_template_are_found() {
    let folder = Folder::new("texts");
    folder.put("tokenizer.json", TOKENIZER);
    folder.put("generation_config.json", r#"{"eos_token_id": [1, 3]}"#);
    let template = r#"{"bos_token": {"content": "<b>"}, "eos_token": "<e>", "chat_template": [
        {"name": "tool_use", "template": "no"},
        {"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"}]}"#;
    folder.put("tokenizer_config.json", template);
    let engine = folder.open().unwrap();
    assert_eq!(engine.tokenizer.ends(), [1, 2, 3]);
    assert_eq!(engine.context, 64);
    assert!(engine.notes.is_empty());
    let rendered = |engine: &Engine| {
        let template = engine.template.as_ref().unwrap().as_ref().unwrap();
        template.render(&[Message::new("user", "a b")], &TemplateOptions::default()).unwrap()
    };
    assert_eq!(rendered(&engine), "<b>a b<e>");
    // A file of its own comes first.
    folder.put("chat_template.jinja", "[{{ messages[0].content }}]");
    assert_eq!(rendered(&folder.open().unwrap()), "[a b]");
}

#[test]
fn a_missing_tokenizer_is_named() {
    let folder = Folder::new("bare");
    let error = folder.open().unwrap_err().to_string();
    assert!(error.ends_with("tokenizer.json`"), "{error}");
}
