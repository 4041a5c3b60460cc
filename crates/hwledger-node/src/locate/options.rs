//! Where to look, taken from the environment in one place.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::network::{Outages, Token};

/// Where and how models are looked for; nothing else of the environment is read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LocateOptions {
    /// The user's home directory, for `~`.
    pub home: Option<PathBuf>,
    /// The commit, branch or tag of a Hugging Face repository; its default branch where absent.
    pub revision: Option<String>,
    /// Directories that Ollama keeps `manifests` and `blobs` in.
    pub ollama_stores: Vec<PathBuf>,
    /// Directories that Hugging Face's libraries keep `models--org--name` in.
    pub hub_caches: Vec<PathBuf>,
    /// Directories that LM Studio keeps `org/name` in.
    pub lm_studio_folders: Vec<PathBuf>,
    /// Directories that llama.cpp downloads into.
    pub llama_caches: Vec<PathBuf>,
    /// The Hugging Face hub that is asked: `https://huggingface.co` or a mirror of it.
    pub hub_endpoint: String,
    /// The registry that is asked for Ollama's models.
    pub ollama_registry: String,
    /// Lets us read private repositories of the hub; sent to the hub only.
    pub token: Option<Token>,
    /// Where the token is kept, if it is not given.
    pub token_file: Option<PathBuf>,
    /// No server is asked.
    pub is_offline: bool,
    /// Where what was fetched is kept; nothing is kept without it.
    pub cache_directory: Option<PathBuf>,
    /// How long what was fetched is used without asking again.
    pub time_to_live: Duration,
    /// How long a server may take to answer, or to send on.
    pub timeout: Duration,
    /// The most that is fetched of one file's header.
    pub header_bytes_max: u64,
    /// Certificates to trust instead of Mozilla's, as PEM.
    pub certificate_file: Option<PathBuf>,
    /// The proxy that servers are reached through.
    pub(crate) proxy: Option<ureq::Proxy>,
    pub(crate) outages: Outages,
}

const DAY: Duration = Duration::from_hours(24);
const HUB_ENDPOINT: &str = "https://huggingface.co";
const OLLAMA_REGISTRY: &str = "https://registry.ollama.ai";
/// A GGUF header with a vocabulary of a quarter of a million entries takes 10 to 20 MB.
const HEADER_BYTES_MAX: u64 = 256 << 20;

impl Default for LocateOptions {
    /// No home, no stores, no cache: paths, the catalogue and the public servers.
    fn default() -> Self {
        Self {
            home: None,
            revision: None,
            ollama_stores: Vec::new(),
            hub_caches: Vec::new(),
            lm_studio_folders: Vec::new(),
            llama_caches: Vec::new(),
            hub_endpoint: HUB_ENDPOINT.to_owned(),
            ollama_registry: OLLAMA_REGISTRY.to_owned(),
            token: None,
            token_file: None,
            is_offline: false,
            cache_directory: None,
            time_to_live: DAY,
            timeout: Duration::from_secs(30),
            header_bytes_max: HEADER_BYTES_MAX,
            certificate_file: None,
            proxy: None,
            outages: Outages::default(),
        }
    }
}

impl LocateOptions {
    /// The options that the process environment gives.
    pub fn from_environment() -> Self {
        Self { proxy: ureq::Proxy::try_from_env(), ..Self::from_variables(|name| std::env::var_os(name)) }
    }

    /// The options that a set of environment variables gives.
    ///
    /// `OLLAMA_MODELS`, `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`,
    /// `HF_HUB_OFFLINE`, `LLAMA_CACHE`, `XDG_CACHE_HOME` and `SSL_CERT_FILE` mean what they mean to
    /// the tools that define them.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME").or_else(|| path("USERPROFILE"));
        let below_home = |rest: &str| home.as_ref().map(|home| home.join(rest));
        let cache = path("XDG_CACHE_HOME").or_else(|| below_home(".cache"));
        let below_cache = |rest: &str| cache.as_ref().map(|cache| cache.join(rest));
        let hub_home = path("HF_HOME").or_else(|| below_cache("huggingface"));
        let hub_cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| hub_home.as_ref().map(|hub| hub.join("hub")));
        // The Linux service runs as a user of its own, whose home this is.
        let ollama_service = || PathBuf::from("/usr/share/ollama/.ollama/models");
        let ollama_stores = match path("OLLAMA_MODELS") {
            Some(store) => vec![store],
            None => below_home(".ollama/models").into_iter().chain(cfg!(unix).then(ollama_service)).collect(),
        };
        let llama_caches = match path("LLAMA_CACHE") {
            Some(cache) => vec![cache],
            None => [below_cache("llama.cpp"), below_home("Library/Caches/llama.cpp")].into_iter().flatten().collect(),
        };
        let lm_studio_folders =
            [".lmstudio/models", ".cache/lm-studio/models"].into_iter().filter_map(below_home).collect();
        let text =
            |name: &str| variable(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty());
        let token = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN"));
        let is_set = |value: String| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        Self {
            ollama_stores,
            hub_caches: hub_cache.into_iter().collect(),
            lm_studio_folders,
            llama_caches,
            hub_endpoint: text("HF_ENDPOINT").unwrap_or_else(|| HUB_ENDPOINT.to_owned()),
            token: token.as_deref().and_then(Token::new),
            token_file: path("HF_TOKEN_PATH").or_else(|| hub_home.map(|hub| hub.join("token"))),
            is_offline: text("HF_HUB_OFFLINE").is_some_and(is_set),
            cache_directory: below_cache("hwledger"),
            certificate_file: path("SSL_CERT_FILE"),
            home,
            ..Self::default()
        }
    }

    /// `path` with a leading `~` replaced by the home directory.
    pub(crate) fn expand(&self, path: &str) -> PathBuf {
        let after_tilde = path.strip_prefix('~');
        let rest =
            after_tilde.and_then(|rest| if rest.is_empty() { Some(rest) } else { rest.strip_prefix(['/', '\\']) });
        match (rest, &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => Path::new(path).to_path_buf(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)]) -> LocateOptions {
        LocateOptions::from_variables(|asked| {
            variables.iter().find(|(name, _)| *name == asked).map(|(_, value)| OsString::from(value))
        })
    }

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn the_tools_own_variables_are_honoured() {
        let home = ("HOME", "/h");
        assert_eq!(options(&[home]).hub_caches, paths(&["/h/.cache/huggingface/hub"]));
        assert_eq!(options(&[home, ("XDG_CACHE_HOME", "/x")]).hub_caches, paths(&["/x/huggingface/hub"]));
        assert_eq!(options(&[home, ("HF_HOME", "/f")]).hub_caches, paths(&["/f/hub"]));
        assert_eq!(options(&[home, ("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")]).hub_caches, paths(&["/c"]));
        assert_eq!(options(&[home, ("OLLAMA_MODELS", "/o")]).ollama_stores, paths(&["/o"]));
        assert_eq!(options(&[home, ("OLLAMA_MODELS", "")]).ollama_stores[0], Path::new("/h/.ollama/models"));
        assert_eq!(options(&[home, ("LLAMA_CACHE", "/l")]).llama_caches, paths(&["/l"]));
        assert!(options(&[]).hub_caches.is_empty());
    }

    #[test]
    fn only_the_own_home_is_expanded() {
        let options = options(&[("HOME", "/h")]);
        assert_eq!(options.expand("~/m"), Path::new("/h/m"));
        assert_eq!(options.expand("~"), Path::new("/h"));
        assert_eq!(options.expand("~other/m"), Path::new("~other/m"));
        assert_eq!(options.expand("a/~/m"), Path::new("a/~/m"));
    }
}
