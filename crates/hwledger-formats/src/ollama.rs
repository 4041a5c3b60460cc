//! Ollama's manifests: which blobs make up a model.
//!
//! A manifest is the JSON of an OCI image: a list of layers, each with a media type, the digest of
//! its content and a size. The blob of a layer is a file named after the digest.
//!
//! Source: Ollama's `docs/` and `manifest` packages; the container registry's image manifest,
//! version 2, schema 2.

use std::fmt;

use serde::Deserialize;

/// More layers than any real manifest has: models kept as one layer per tensor reach some
/// thousands.
const LAYERS_MAX: usize = 65_536;
const MEDIA_TYPE_PREFIX: &str = "application/vnd.ollama.image.";

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not JSON of the expected shape.
    #[error("the Ollama manifest is not valid JSON of its kind")]
    Json(#[from] serde_json::Error),
    /// It has no layers.
    #[error("the Ollama manifest lists no layers")]
    NoLayers,
    /// It has absurdly many layers.
    #[error("the Ollama manifest lists {0} layers, more than {LAYERS_MAX}")]
    TooManyLayers(usize),
    /// A digest is not one.
    #[error(
        "layer {layer} of the Ollama manifest has the digest `{digest}`, which is not `sha256:` and 64 hexadecimal digits"
    )]
    Digest {
        /// The layer's position.
        layer: usize,
        /// The digest as written, cut short.
        digest: String,
    },
}

/// The layers of a model in Ollama's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The layers in the manifest's order.
    pub layers: Vec<Layer>,
}

/// One blob of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// What the blob holds.
    pub kind: LayerKind,
    /// The digest of its content.
    pub digest: Digest,
    /// Its size, as the manifest claims it.
    pub bytes: u64,
}

/// What a layer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerKind {
    /// The weights, a GGUF file.
    Model,
    /// A vision or audio projector, a GGUF file.
    Projector,
    /// A `LoRA` adapter, a GGUF file.
    Adapter,
    /// The settings of the Modelfile (`num_ctx`, ...), JSON.
    Parameters,
    /// The prompt template.
    Template,
    /// The system prompt.
    System,
    /// A licence text.
    License,
    /// Anything else, by its media type.
    Other(String),
}

impl LayerKind {
    fn from_media_type(media_type: &str) -> Self {
        match media_type.strip_prefix(MEDIA_TYPE_PREFIX) {
            Some("model") => Self::Model,
            Some("projector") => Self::Projector,
            Some("adapter") => Self::Adapter,
            Some("params") => Self::Parameters,
            Some("template") => Self::Template,
            Some("system") => Self::System,
            Some("license") => Self::License,
            _ => Self::Other(media_type.to_owned()),
        }
    }
}

/// A SHA-256 digest, 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Digest(String);

impl Digest {
    /// The digest that `text` spells, `sha256:` first.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?;
        let is_digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then(|| Self(digits.to_ascii_lowercase()))
    }

    /// The name of the blob's file in Ollama's store.
    pub fn file_name(&self) -> String {
        format!("sha256-{}", self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

impl Manifest {
    /// The layers of one kind.
    pub fn of_kind<'a>(&'a self, kind: &'a LayerKind) -> impl Iterator<Item = &'a Layer> {
        self.layers.iter().filter(move |layer| layer.kind == *kind)
    }
}

#[derive(Deserialize)]
struct RawManifest {
    #[serde(default)]
    layers: Option<Vec<RawLayer>>,
}

#[derive(Deserialize)]
struct RawLayer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
    size: u64,
}

/// Reads a manifest.
pub fn read_manifest(content: &[u8]) -> Result<Manifest, ManifestError> {
    let raw: RawManifest = serde_json::from_slice(content)?;
    let layers = raw.layers.unwrap_or_default();
    if layers.is_empty() {
        return Err(ManifestError::NoLayers);
    }
    if layers.len() > LAYERS_MAX {
        return Err(ManifestError::TooManyLayers(layers.len()));
    }
    let layers = layers.into_iter().enumerate().map(|(index, raw)| {
        let Some(digest) = Digest::parse(&raw.digest) else {
            let shown = raw.digest.chars().take(80).collect();
            return Err(ManifestError::Digest { layer: index, digest: shown });
        };
        Ok(Layer { kind: LayerKind::from_media_type(&raw.media_type), digest, bytes: raw.size })
    });
    Ok(Manifest { layers: layers.collect::<Result<_, _>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "74701a8c35f6c8d9a4b91f3f3497643001d63e0c7a84e085bed452548fa88d45";

    fn manifest(layers: &str) -> Result<Manifest, ManifestError> {
        read_manifest(format!(r#"{{"schemaVersion":2,"config":{{"digest":"x"}},"layers":[{layers}]}}"#).as_bytes())
    }

    fn layer(media_type: &str, digest: &str) -> String {
        format!(r#"{{"mediaType":"{MEDIA_TYPE_PREFIX}{media_type}","digest":"{digest}","size":1321082688}}"#)
    }

    #[test]
    fn layers_are_told_apart() {
        let digest = format!("sha256:{HEX}");
        let names = ["model", "projector", "adapter", "params", "template", "system", "license", "messages"];
        let layers: Vec<String> = names.iter().map(|name| layer(name, &digest)).collect();
        let manifest = manifest(&layers.join(",")).unwrap();
        assert_eq!(manifest.layers.len(), names.len());
        let model = manifest.of_kind(&LayerKind::Model).next().unwrap();
        assert_eq!(model.bytes, 1_321_082_688);
        assert_eq!(model.digest.file_name(), format!("sha256-{HEX}"));
        assert_eq!(manifest.layers[7].kind, LayerKind::Other(format!("{MEDIA_TYPE_PREFIX}messages")));
    }

    #[test]
    fn digests_that_could_leave_the_store_are_refused() {
        let long = format!("sha256:{HEX}0");
        for digest in ["", "sha256:", "sha256:../../../etc/passwd", "sha512:00", HEX, &long, "sha256:ä"] {
            assert!(
                matches!(manifest(&layer("model", digest)), Err(ManifestError::Digest { layer: 0, .. })),
                "{digest}"
            );
        }
    }

    #[test]
    fn hostile_manifests_are_errors() {
        assert!(matches!(manifest(""), Err(ManifestError::NoLayers)));
        assert!(matches!(read_manifest(br#"{"layers":null}"#), Err(ManifestError::NoLayers)));
        let negative = format!(r#"{{"mediaType":"m","digest":"sha256:{HEX}","size":-1}}"#);
        assert!(matches!(manifest(&negative), Err(ManifestError::Json(_))));
        for content in ["", "[]", "{", r#"{"layers":{}}"#, r#"{"layers":[{}]}"#] {
            assert!(read_manifest(content.as_bytes()).is_err(), "{content}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(read_manifest(deep.as_bytes()), Err(ManifestError::Json(_))));
    }
}
