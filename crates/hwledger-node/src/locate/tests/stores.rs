//! The stores and caches of other tools.

use std::fs;
use std::path::Path;

use super::Scratch;
use crate::locate::{LocateError, LocateOptions, Located, MatchPlace, Origin, Tensors, locate, search_local};

fn options(scratch: &Scratch) -> LocateOptions {
    LocateOptions {
        ollama_stores: vec![scratch.path().join("ollama")],
        hub_caches: vec![scratch.path().join("hub")],
        lm_studio_folders: vec![scratch.path().join("lmstudio")],
        llama_caches: vec![scratch.path().join("llama")],
        is_offline: true,
        ..LocateOptions::default()
    }
}

fn weights(located: &Located) -> Vec<(&str, u64)> {
    match &located.tensors {
        Tensors::None => Vec::new(),
        Tensors::Gguf(files) | Tensors::Safetensors { files, .. } => {
            files.iter().map(|file| (file.name.as_str(), file.bytes)).collect()
        }
    }
}

fn hexadecimal(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// Writes a model with weights, projector and parameters into the store.
fn write_ollama_model(scratch: &Scratch, name: &str) {
    let layer = |kind: &str, digit: char, bytes: usize| {
        let media_type = format!("application/vnd.ollama.image.{kind}");
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{}","size":{bytes}}}"#, hexadecimal(digit))
    };
    let layers =
        [layer("model", 'a', 9), layer("projector", 'b', 8), layer("params", 'c', 16), layer("license", 'd', 1)];
    scratch.write(&format!("ollama/manifests/{name}"), format!(r#"{{"layers":[{}]}}"#, layers.join(",")));
    for (digit, content) in [('a', "GGUF.main"), ('b', "GGUF.eye"), ('c', r#"{"num_ctx":8192}"#)] {
        scratch.write(&format!("ollama/blobs/sha256-{}", hexadecimal(digit)), content);
    }
}

#[test]
fn an_ollama_name_gives_its_blobs() {
    let scratch = Scratch::new();
    write_ollama_model(&scratch, "registry.ollama.ai/library/llama3.2/1b");
    for reference in ["ollama:llama3.2:1b", "llama3.2:1b", "LLAMA3.2:1B", "ollama://library/llama3.2:1b"] {
        let located = locate(reference, &options(&scratch)).unwrap();
        assert_eq!(weights(&located), [(format!("sha256-{}", hexadecimal('a')).as_str(), 9)]);
        assert_eq!(located.projectors.len(), 1);
        assert_eq!(located.parameters.as_deref(), Some(br#"{"num_ctx":8192}"#.as_slice()));
        assert!(matches!(located.origin, Origin::Ollama { .. }), "{reference}");
        assert!(located.notes.is_empty(), "{:?}", located.notes);
    }
    let manifest = scratch.path().join("ollama/manifests/registry.ollama.ai/library/llama3.2/1b");
    let located = locate(manifest.to_str().unwrap(), &options(&scratch)).unwrap();
    assert_eq!((located.name.as_str(), weights(&located).len()), ("llama3.2:1b", 1));
}

#[test]
fn a_tag_that_is_not_there_is_answered_with_those_that_are() {
    let scratch = Scratch::new();
    write_ollama_model(&scratch, "registry.ollama.ai/library/mymodel/latest");
    assert!(locate("mymodel", &options(&scratch)).is_ok());
    let error = locate("ollama:mymodel:7b", &options(&scratch)).unwrap_err();
    let LocateError::Unknown { suggestions, .. } = error else { panic!("{error}") };
    assert_eq!(suggestions, ["ollama:mymodel:latest"]);
}

#[test]
fn an_ollama_blob_that_is_absent_or_cut_is_told() {
    let scratch = Scratch::new();
    write_ollama_model(&scratch, "registry.ollama.ai/library/m/latest");
    let blob = scratch.path().join(format!("ollama/blobs/sha256-{}", hexadecimal('a')));
    fs::write(&blob, "GGUF").unwrap();
    let located = locate("ollama:m", &options(&scratch)).unwrap();
    assert!(located.notes[0].contains("4 bytes long, the manifest says 9"), "{:?}", located.notes);
    fs::remove_file(&blob).unwrap();
    assert!(matches!(locate("ollama:m", &options(&scratch)), Err(LocateError::MissingPart { .. })));
}

#[test]
fn hostile_ollama_manifests_are_refused() {
    let scratch = Scratch::new();
    let name = "ollama/manifests/registry.ollama.ai/library/m/latest";
    let evil =
        r#"{"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:../../../x","size":1}]}"#;
    for content in ["", "{}", evil, r#"{"layers":[]}"#] {
        scratch.write(name, content);
        assert!(matches!(locate("ollama:m", &options(&scratch)), Err(LocateError::Manifest { .. })), "{content}");
    }
    let path = scratch.write(name, "{");
    fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(locate("ollama:m", &options(&scratch)), Err(LocateError::TooLarge { .. })));
    for reference in ["ollama:../m", "ollama:a/../m:x", "ollama:", "ollama:m:../../x"] {
        assert!(matches!(locate(reference, &options(&scratch)), Err(LocateError::Unknown { .. })), "{reference}");
    }
}

#[cfg(unix)]
fn link(target: &str, path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(target, path).unwrap();
}

#[cfg(unix)]
fn write_hub_repository(scratch: &Scratch) {
    let root = "hub/models--org--name";
    scratch.write(&format!("{root}/refs/main"), "0123456789abcdef");
    scratch.write(&format!("{root}/blobs/c0"), "{}");
    scratch.write(&format!("{root}/blobs/w0"), "weights");
    let snapshot = scratch.path().join(root).join("snapshots/0123456789abcdef");
    link("../../blobs/c0", &snapshot.join("config.json"));
    link("../../blobs/w0", &snapshot.join("model.safetensors"));
}

#[cfg(unix)]
#[test]
fn a_repository_of_the_hub_cache_is_read_through_its_links() {
    let scratch = Scratch::new();
    write_hub_repository(&scratch);
    for reference in ["org/name", "hf:org/name", "org/name@main", "org/name@0123456789abcdef", "name"] {
        let located = locate(reference, &options(&scratch)).unwrap();
        assert_eq!(located.origin, Origin::HubCache { id: "org/name".to_owned() }, "{reference}");
        assert_eq!(located.revision.as_deref(), Some("0123456789abcdef"));
        assert_eq!(weights(&located), [("model.safetensors", 7)]);
    }
    let directory = scratch.path().join("hub/models--org--name");
    let located = locate(directory.to_str().unwrap(), &options(&scratch)).unwrap();
    assert_eq!((located.name.as_str(), weights(&located).len()), ("org/name", 1));
    assert!(matches!(locate("org/name@v2", &options(&scratch)), Err(LocateError::Offline { .. })));
    let asked = LocateOptions { revision: Some("v2".to_owned()), ..options(&scratch) };
    assert!(matches!(locate("org/name", &asked), Err(LocateError::Offline { .. })));
}

#[cfg(unix)]
#[test]
fn links_that_leave_the_hub_cache_are_not_followed() {
    let scratch = Scratch::new();
    write_hub_repository(&scratch);
    let secret = scratch.write("secret.json", "{\"key\":1}");
    let config = scratch.path().join("hub/models--org--name/snapshots/0123456789abcdef/config.json");
    fs::remove_file(&config).unwrap();
    link(secret.to_str().unwrap(), &config);
    let located = locate("org/name", &options(&scratch)).unwrap();
    assert_eq!(located.config, None);
    assert_eq!(located.notes, ["1 links that leave the cache were not followed"]);
}

#[test]
fn a_reference_that_leaves_the_hub_cache_names_nothing() {
    let scratch = Scratch::new();
    scratch.write("hub/models--org--name/refs/main", "../../../outside");
    scratch.write("outside/config.json", "{}");
    scratch.write("hub/models--org--name/snapshots/a/README.md", "");
    scratch.write("hub/models--org--name/snapshots/b/README.md", "");
    assert!(matches!(locate("org/name", &options(&scratch)), Err(LocateError::Offline { .. })));
}

#[test]
fn lm_studio_and_llama_cpp_downloads_are_found_by_repository() {
    let scratch = Scratch::new();
    scratch.write("lmstudio/unsloth/Foo-GGUF/Foo-Q4_K_M.gguf", "GGUF4");
    scratch.write("lmstudio/unsloth/Foo-GGUF/Foo-Q8_0.gguf", "GGUF88");
    scratch.write("lmstudio/unsloth/Foo-GGUF/mmproj-Foo-f16.gguf", "GGUFp");
    scratch.write("llama/ggml-org_Bar-GGUF_Bar-Q8_0.gguf", "GGUFbar");
    scratch.write("llama/ggml-org_Bar-GGUF_mmproj-Bar.gguf", "GGUFe");
    let located = locate("unsloth/Foo-GGUF", &options(&scratch)).unwrap();
    assert_eq!(weights(&located), [("Foo-Q4_K_M.gguf", 5)]);
    assert_eq!(located.projectors.len(), 1);
    let located = locate("unsloth/foo-gguf:q8_0", &options(&scratch)).unwrap();
    assert_eq!(weights(&located), [("Foo-Q8_0.gguf", 6)]);
    assert_eq!(located.origin, Origin::LmStudio { id: "unsloth/Foo-GGUF".to_owned() });
    let located = locate("ggml-org/Bar-GGUF:Q8_0", &options(&scratch)).unwrap();
    assert_eq!(weights(&located), [("ggml-org_Bar-GGUF_Bar-Q8_0.gguf", 7)]);
    assert_eq!(located.projectors.len(), 1);
}

#[test]
fn a_repository_that_ollama_keeps_is_found_by_its_host() {
    let scratch = Scratch::new();
    write_ollama_model(&scratch, "hf.co/org/name-GGUF/Q4_K_M");
    scratch.write("lmstudio/org/other-GGUF/other-Q8_0.gguf", "GGUF88");
    let located = locate("hf.co/org/name-GGUF:Q4_K_M", &options(&scratch)).unwrap();
    assert_eq!(located.origin, Origin::Ollama { name: "hf.co/org/name-GGUF:Q4_K_M".to_owned() });
    let located = locate("hf.co/org/other-GGUF:Q8_0", &options(&scratch)).unwrap();
    assert_eq!(located.origin, Origin::LmStudio { id: "org/other-GGUF".to_owned() });
    assert!(matches!(locate("hf.co/org/third", &options(&scratch)), Err(LocateError::Offline { .. })));
}

#[test]
fn search_finds_every_place_and_ranks_the_closest_first() {
    let scratch = Scratch::new();
    write_ollama_model(&scratch, "registry.ollama.ai/library/qwen3/8b");
    scratch.write("lmstudio/unsloth/Qwen3-8B-GGUF/Qwen3-8B-Q4_K_M.gguf", "GGUF");
    let found = search_local("qwen3 8b", &options(&scratch));
    assert_eq!((found[0].reference.as_str(), found[0].place), ("Qwen/Qwen3-8B", MatchPlace::Catalogue));
    assert!(found.iter().any(|found| found.place == MatchPlace::Ollama && found.reference == "ollama:qwen3:8b"));
    assert!(found.iter().any(|found| found.place == MatchPlace::LmStudio));
    assert!(found.iter().all(|found| locate(&found.reference, &options(&scratch)).is_ok()), "{found:?}");
    assert!(search_local("no such model anywhere", &options(&scratch)).is_empty());
    assert!(search_local("", &options(&scratch)).len() > 100);
}
