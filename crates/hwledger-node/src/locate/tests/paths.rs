//! Paths and catalogue names.

use std::io::Read;

use super::Scratch;
use crate::locate::{LocateError, LocateOptions, Located, Origin, Tensors, locate};

fn find(reference: impl AsRef<std::path::Path>) -> Result<Located, LocateError> {
    locate(reference.as_ref().to_str().unwrap(), &LocateOptions::default())
}

fn names(located: &Located) -> Vec<&str> {
    match &located.tensors {
        Tensors::None => Vec::new(),
        Tensors::Gguf(files) | Tensors::Safetensors { files, .. } => {
            files.iter().map(|file| file.name.as_str()).collect()
        }
    }
}

#[test]
fn a_configuration_file_is_read() {
    let scratch = Scratch::new();
    let path = scratch.write("tiny/config.json", "{}");
    let located = find(&path).unwrap();
    assert_eq!(located.config.as_deref(), Some(b"{}".as_slice()));
    assert_eq!(located.name, "tiny");
    assert!(matches!(located.tensors, Tensors::None));
}

#[test]
fn a_directory_gives_its_configuration_and_shards() {
    let scratch = Scratch::new();
    scratch.write("config.json", "{}");
    let index = r#"{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
    let index_path = scratch.write("model.safetensors.index.json", index);
    scratch.write("model-00001-of-00002.safetensors", "12345");
    let located = find(scratch.path()).unwrap();
    assert_eq!(names(&located), ["model-00001-of-00002.safetensors"]);
    assert!(matches!(located.tensors, Tensors::Safetensors { is_complete: false, index: Some(_), .. }));
    assert_eq!(located.notes, ["1 of the 2 shards that `model.safetensors.index.json` names are absent"]);
    let second = scratch.write("model-00002-of-00002.safetensors", "678");
    for reference in [scratch.path().to_path_buf(), index_path, second] {
        let located = find(&reference).unwrap();
        assert_eq!(names(&located), ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
        assert_eq!(located.weight_file_bytes(), Some(8));
        assert_eq!(located.config.as_deref(), Some(b"{}".as_slice()));
    }
}

#[test]
fn any_part_of_a_split_gguf_gives_all() {
    let scratch = Scratch::new();
    let first = scratch.write("m-Q4_0-00001-of-00002.gguf", "GGUF1");
    let Err(LocateError::MissingPart { missing, .. }) = find(&first) else { panic!("a part is missing") };
    assert_eq!(missing, "m-Q4_0-00002-of-00002.gguf");
    let second = scratch.write("m-Q4_0-00002-of-00002.gguf", "GGUF22");
    for reference in [first.as_path(), &second, scratch.path()] {
        let located = find(reference).unwrap();
        assert_eq!(names(&located), ["m-Q4_0-00001-of-00002.gguf", "m-Q4_0-00002-of-00002.gguf"]);
        assert_eq!(located.weight_file_bytes(), Some(11));
    }
    let Tensors::Gguf(files) = find(&second).unwrap().tensors else { panic!("not GGUF") };
    let mut content = String::new();
    files[1].open().unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "GGUF22");
}

#[test]
fn one_of_several_models_in_a_directory_is_picked_by_its_quantisation() {
    let scratch = Scratch::new();
    for name in ["a-Q5_0.gguf", "a-Q8_0.gguf", "b-Q8_0.gguf"] {
        scratch.write(name, "GGUF");
    }
    let directory = scratch.path().display();
    assert_eq!(names(&find(format!("{directory}:Q5_0")).unwrap()), ["a-Q5_0.gguf"]);
    assert_eq!(names(&find(format!("{directory}:b-Q8_0")).unwrap()), ["b-Q8_0.gguf"]);
    assert!(matches!(find(scratch.path()), Err(LocateError::Ambiguous { choices, .. }) if choices.len() == 3));
    assert!(matches!(find(format!("{directory}:Q2_K")), Err(LocateError::Ambiguous { .. })));
}

#[test]
fn a_nameless_gguf_is_known_by_its_magic() {
    let scratch = Scratch::new();
    let blob = scratch.write("blob", "GGUF...");
    assert!(matches!(find(&blob).unwrap().tensors, Tensors::Gguf(_)));
    let other = scratch.write("other", "text");
    assert!(matches!(find(&other), Err(LocateError::NotAModel { .. })));
}

#[test]
fn an_empty_directory_says_what_was_looked_for() {
    let scratch = Scratch::new();
    scratch.write("README.md", "");
    let error = find(scratch.path()).unwrap_err();
    assert!(matches!(error, LocateError::EmptyDirectory { .. }));
    assert!(error.to_string().contains("`config.json`"), "{error}");
}

#[test]
fn a_path_that_is_not_there_is_no_name() {
    for reference in ["/no/such/model", "./gone", "~/gone", "gone.gguf", "C:\\models\\gone"] {
        assert!(matches!(find(reference), Err(LocateError::NoSuchPath { .. })), "{reference}");
    }
}

#[test]
fn the_home_directory_stands_for_the_tilde() {
    let scratch = Scratch::new();
    scratch.write("m/config.json", "{}");
    let options = LocateOptions::from_variables(|name| (name == "HOME").then(|| scratch.path().into()));
    assert!(locate("~/m", &options).unwrap().config.is_some());
}

#[test]
fn a_catalogue_name_gives_a_configuration_with_its_provenance() {
    let located = find("qwen3-8b").unwrap();
    assert_eq!(located.origin, Origin::Catalogue { id: "Qwen/Qwen3-8B" });
    assert!(located.config.is_some());
    assert!(located.notes[0].contains("catalogue"), "{:?}", located.notes);
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    let error = find("qwen3-8bb").unwrap_err();
    let LocateError::Unknown { suggestions, .. } = &error else { panic!("{error}") };
    assert!(suggestions.contains(&"Qwen/Qwen3-8B".to_owned()), "{suggestions:?}");
    assert!(error.hint().unwrap().starts_with("did you mean"));
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_not_opened() {
    assert!(matches!(find("/dev/zero"), Err(LocateError::NotAModel { .. })));
    let scratch = Scratch::new();
    let link = scratch.path().join("config.json");
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    assert!(matches!(find(&link), Err(LocateError::Io { .. })));
}

#[test]
fn a_configuration_beyond_its_bound_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.write("config.json", "");
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(find(&path), Err(LocateError::TooLarge { .. })));
}
