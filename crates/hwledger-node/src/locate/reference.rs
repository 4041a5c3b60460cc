//! The string that a person writes, taken apart.

/// A repository on Hugging Face, and perhaps one file or quantisation of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubReference {
    /// `org/name`, or a name alone for the oldest repositories.
    pub(crate) id: String,
    pub(crate) revision: Option<String>,
    /// The name of a GGUF file, or of a quantisation.
    pub(crate) wanted: Option<String>,
}

/// Longest part of a repository id on the hub.
const ID_PART_MAX: usize = 96;
const REVISION_MAX: usize = 200;

impl HubReference {
    /// Takes `org/name`, `org/name@revision`, `org/name:Q4_K_M` or `org/name/file.gguf` apart.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (text, wanted) = match text.rsplit_once(':') {
            Some((rest, wanted)) if is_file_name(wanted) => (rest, Some(wanted.to_owned())),
            Some(_) => return None,
            None => (text, None),
        };
        let (text, revision) = match text.split_once('@') {
            Some((rest, revision)) if is_revision(revision) => (rest, Some(revision.to_owned())),
            Some(_) => return None,
            None => (text, None),
        };
        let mut parts = text.splitn(3, '/');
        let (organisation, name) = (parts.next()?, parts.next()?);
        if !is_id_part(organisation) || !is_id_part(name) {
            return None;
        }
        let wanted = match parts.next() {
            Some(file) if wanted.is_none() && is_file_path(file) => Some(file.to_owned()),
            Some(_) => return None,
            None => wanted,
        };
        Some(Self { id: format!("{organisation}/{name}"), revision, wanted })
    }

    /// The oldest repositories have no organisation: `gpt2`.
    pub(crate) fn parse_bare(name: &str) -> Option<Self> {
        is_id_part(name).then(|| Self { id: name.to_owned(), revision: None, wanted: None })
    }
}

fn is_id_part(part: &str) -> bool {
    is_file_name(part) && part.len() <= ID_PART_MAX && !part.contains("--")
}

/// A commit, branch or tag; branches of pull requests hold slashes (`refs/pr/1`).
pub(crate) fn is_revision(revision: &str) -> bool {
    revision.len() <= REVISION_MAX && revision.split('/').all(is_file_name)
}

/// A name of letters, digits, `-`, `_` and `.` that stays in its directory.
pub(crate) fn is_file_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && !name.contains("..")
        && name.bytes().all(is_allowed)
}

/// A path of such names.
pub(crate) fn is_file_path(path: &str) -> bool {
    path.len() <= 1024 && path.split('/').all(is_file_name)
}

/// A model in Ollama's naming: `registry.ollama.ai/library/llama3.2:1b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OllamaName {
    pub(crate) host: String,
    pub(crate) namespace: String,
    pub(crate) model: String,
    pub(crate) tag: String,
    /// Whether the tag was written rather than taken as `latest`.
    pub(crate) has_tag: bool,
}

pub(crate) const OLLAMA_HOST: &str = "registry.ollama.ai";
const OLLAMA_NAMESPACE: &str = "library";
const OLLAMA_TAG: &str = "latest";

impl OllamaName {
    /// Takes a name apart, filling in what Ollama fills in.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (path, tag) = match text.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (text, None),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let (host, namespace, model) = match parts.as_slice() {
            [model] => (OLLAMA_HOST, OLLAMA_NAMESPACE, *model),
            [namespace, model] => (OLLAMA_HOST, *namespace, *model),
            [host, namespace, model] => (*host, *namespace, *model),
            _ => return None,
        };
        let has_tag = tag.is_some();
        let tag = tag.unwrap_or(OLLAMA_TAG);
        let is_name = [host, namespace, model, tag].into_iter().all(is_file_name);
        is_name.then(|| Self {
            host: host.to_owned(),
            namespace: namespace.to_owned(),
            model: model.to_owned(),
            tag: tag.to_owned(),
            has_tag,
        })
    }

    /// The name as `ollama list` shows it.
    pub(crate) fn short(&self) -> String {
        let Self { host, namespace, model, tag, .. } = self;
        match (host.as_str(), namespace.as_str()) {
            (OLLAMA_HOST, OLLAMA_NAMESPACE) => format!("{model}:{tag}"),
            (OLLAMA_HOST, _) => format!("{namespace}/{model}:{tag}"),
            _ => format!("{host}/{namespace}/{model}:{tag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_come_apart() {
        let check = |text: &str, id: &str, revision: Option<&str>, wanted: Option<&str>| {
            let reference = HubReference::parse(text).unwrap();
            assert_eq!(reference.id, id, "{text}");
            assert_eq!(reference.revision.as_deref(), revision, "{text}");
            assert_eq!(reference.wanted.as_deref(), wanted, "{text}");
        };
        check("Qwen/Qwen3-8B", "Qwen/Qwen3-8B", None, None);
        check("Qwen/Qwen3-8B@main", "Qwen/Qwen3-8B", Some("main"), None);
        check("a/b@refs/pr/1", "a/b", Some("refs/pr/1"), None);
        check("unsloth/Qwen3-8B-GGUF:Q4_K_M", "unsloth/Qwen3-8B-GGUF", None, Some("Q4_K_M"));
        check("a/b/sub/file-Q8_0.gguf", "a/b", None, Some("sub/file-Q8_0.gguf"));
    }

    #[test]
    fn what_could_leave_a_directory_is_no_repository() {
        for text in [
            "", "a", "/a", "a/", "../b", "a/..", "a/b/../c", "a/b@..", "a/b@", "a/b:", "a/b:../c", "a\\b/c", "a/.b",
            "a/b c", "a/b\0", "a--b/c", "a/b//c",
        ] {
            assert_eq!(HubReference::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn ollama_names_are_completed_as_ollama_does() {
        let name = |text| OllamaName::parse(text).map(|name| (name.short(), name.has_tag));
        assert_eq!(name("llama3.2"), Some(("llama3.2:latest".to_owned(), false)));
        assert_eq!(name("llama3.2:1b"), Some(("llama3.2:1b".to_owned(), true)));
        assert_eq!(name("me/mine:x"), Some(("me/mine:x".to_owned(), true)));
        assert_eq!(name("hf.co/org/name:Q4_K_M"), Some(("hf.co/org/name:Q4_K_M".to_owned(), true)));
        for text in ["", ":", "a:", "a/b/c/d", "../x", "a:../../x", "a b", "a:b:c"] {
            assert_eq!(name(text), None, "{text:?}");
        }
    }
}
