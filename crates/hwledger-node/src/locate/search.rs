//! Free-text search over what can be planned without the network.

use serde::Serialize;

use super::{LocateOptions, download_folders, hub_cache, ollama};
use crate::catalogue;
use crate::names::loose_key;

/// A model that a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Match {
    /// The reference to give to [`locate`](super::locate).
    pub reference: String,
    /// Where the model is.
    pub place: MatchPlace,
}

/// Where a model that was searched for is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MatchPlace {
    /// Ollama's store.
    Ollama,
    /// The cache of Hugging Face's libraries.
    HubCache,
    /// LM Studio's models folder.
    LmStudio,
    /// llama.cpp's download cache.
    LlamaCache,
    /// The built-in catalogue.
    Catalogue,
}

impl MatchPlace {
    /// The place as people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ollama => "Ollama",
            Self::HubCache => "Hugging Face cache",
            Self::LmStudio => "LM Studio",
            Self::LlamaCache => "llama.cpp cache",
            Self::Catalogue => "built-in catalogue",
        }
    }
}

/// Everything that can be planned without the network.
pub(crate) fn known(options: &LocateOptions) -> Vec<Match> {
    let entry = |place| move |reference| Match { reference, place };
    let mut found: Vec<Match> = Vec::new();
    let of_ollama = ollama::names(options).into_iter().map(|name| format!("ollama:{}", name.short()));
    found.extend(of_ollama.map(entry(MatchPlace::Ollama)));
    found.extend(hub_cache::ids(options).into_iter().map(entry(MatchPlace::HubCache)));
    found.extend(download_folders::lm_studio(options).into_iter().map(|(_, id)| id).map(entry(MatchPlace::LmStudio)));
    for cache in &options.llama_caches {
        let paths = download_folders::llama_files(cache).into_iter().map(|file| cache.join(file.name));
        found.extend(paths.map(|path| path.display().to_string()).map(entry(MatchPlace::LlamaCache)));
    }
    found.extend(catalogue::entries().map(|model| model.id.to_owned()).map(entry(MatchPlace::Catalogue)));
    found
}

/// The models whose names hold every word of `text`, the closest first; all of them for no words.
pub fn search_local(text: &str, options: &LocateOptions) -> Vec<Match> {
    let words: Vec<String> = text.split_whitespace().map(loose_key).filter(|word| !word.is_empty()).collect();
    let whole = words.concat();
    let mut ranked: Vec<(Rank, Match)> =
        known(options).into_iter().filter_map(|found| Some((rank(&found.reference, &words, &whole)?, found))).collect();
    ranked.sort_by(|(rank_a, a), (rank_b, b)| {
        rank_a.cmp(rank_b).then(a.place.cmp(&b.place)).then_with(|| a.reference.cmp(&b.reference))
    });
    ranked.into_iter().map(|(_, found)| found).collect()
}

/// How well a name fits, the best first; among equals the shortest name says least that was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Exact,
    Starts(usize),
    Holds(usize),
}

fn rank(reference: &str, words: &[String], whole: &str) -> Option<Rank> {
    let key = loose_key(reference);
    if !words.iter().all(|word| key.contains(word.as_str())) {
        return None;
    }
    let short = key.rsplit_once('/').map_or(key.as_str(), |(_, name)| name);
    Some(match short.strip_prefix(whole) {
        Some("") => Rank::Exact,
        Some(_) => Rank::Starts(short.len()),
        None => Rank::Holds(short.len()),
    })
}
