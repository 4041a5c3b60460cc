//! Models of Ollama's registry, and of others that speak its protocol.

use std::sync::Arc;

use hwledger_formats::ollama::{LayerKind, Manifest, read_manifest};

use super::address::Address;
use super::hub::fetch_all;
use super::remote_file::RemoteFile;
use crate::locate::bounded::{MANIFEST_BYTES_MAX, PARAMETERS_BYTES_MAX};
use crate::locate::reference::{OLLAMA_HOST, OllamaName};
use crate::locate::{LocateError, LocateOptions, Located, Origin, Source, Tensors};

/// The model called `name` in the registry, its headers only.
pub(crate) fn fetch_ollama(name: &OllamaName, options: &LocateOptions) -> Result<Located, LocateError> {
    let fetcher = super::fetcher(options)?;
    let registry = match name.host.as_str() {
        OLLAMA_HOST => options.ollama_registry.trim_end_matches('/').to_owned(),
        host => format!("https://{host}"),
    };
    let root = format!("{registry}/v2/{}/{}", name.namespace, name.model);
    let address = Address::parse(&format!("{root}/manifests/{}", name.tag))?;
    let content = fetcher.fetch_whole(&address, MANIFEST_BYTES_MAX)?;
    let place = address.to_string();
    let manifest = read_manifest(&content).map_err(|source| LocateError::Manifest { place, source })?;
    let of_kind = |kind: &LayerKind| {
        let layers = manifest.of_kind(kind);
        let blob = |digest| Address::parse(&format!("{root}/blobs/{digest}"));
        layers
            .map(|layer| Ok((layer.digest.file_name(), blob(&layer.digest)?)))
            .collect::<Result<Vec<_>, LocateError>>()
    };
    let weights = of_kind(&LayerKind::Model)?;
    if weights.is_empty() {
        let what = "the model has no GGUF layer (a cloud model has none)".to_owned();
        return Err(LocateError::BadAnswer { address: address.to_string(), what });
    }
    let mut located = Located::new(name.short(), Origin::OllamaRegistry { name: name.short() });
    located.tensors = Tensors::Gguf(fetch_all(&fetcher, &weights, RemoteFile::probe)?);
    let unread = |kind: &LayerKind| -> Result<Vec<Source>, LocateError> {
        let sizes = manifest.of_kind(kind).map(|layer| layer.bytes);
        let source = |((name, address), bytes)| {
            Source::from_remote(name, bytes, Arc::new(RemoteFile::new(Arc::clone(&fetcher), address)))
        };
        Ok(of_kind(kind)?.into_iter().zip(sizes).map(source).collect())
    };
    located.projectors = unread(&LayerKind::Projector)?;
    located.adapters = unread(&LayerKind::Adapter)?;
    if let Some((_, address)) = of_kind(&LayerKind::Parameters)?.first() {
        located.parameters = Some(fetcher.fetch_whole(address, PARAMETERS_BYTES_MAX)?);
    }
    located.notes.extend(size_notes(&manifest, &located.tensors));
    located.notes.extend(fetcher.note());
    Ok(located)
}

/// Where the registry's blobs are not as long as its manifest says.
fn size_notes(manifest: &Manifest, tensors: &Tensors) -> Vec<String> {
    let Tensors::Gguf(files) = tensors else { return Vec::new() };
    let pairs = manifest.of_kind(&LayerKind::Model).zip(files);
    let differing = pairs.filter(|(layer, file)| layer.bytes != file.bytes);
    differing
        .map(|(layer, file)| {
            format!("blob `{}` is {} bytes long, the manifest says {}", file.name, file.bytes, layer.bytes)
        })
        .collect()
}
