//! Well-known models' hyper-parameters, built into the binary so that they can be planned offline.
//!
//! `models.tsv` holds one model per line, four columns apart by tabs: the public model id, further
//! names apart by spaces, the provenance of the figures, and the hyper-parameters in the layout of
//! a Hugging Face `config.json` (see the README beside it). Only what planning needs was kept: no token ids, no training or
//! sampling settings. Nothing of a line is parsed until that model is asked for.

use crate::names::loose_key;

const MODELS: &str = include_str!("models.tsv");

/// Endings that publishers put behind a model's own name, in the order in which they are tried
/// when the name without them is asked for.
const ENDINGS: [&str; 8] = ["instruct", "it", "chat", "hf", "base", "v0.1", "thinking", "pt"];

/// One model of the built-in catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The public model id: `Qwen/Qwen3-8B`.
    pub id: &'static str,
    /// Where the figures come from.
    pub provenance: Provenance,
    aliases: &'static str,
    config: &'static str,
}

/// Where an entry's hyper-parameters come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// The configuration file of the public model repository.
    RepositoryConfig,
    /// That file, as transcribed elsewhere.
    TranscribedConfig,
    /// A configuration embedded in published source code.
    EmbeddedConfig,
    /// Hyper-parameters as published in a paper, a model card or documentation.
    PublishedFigures,
    /// The defaults of the architecture's public configuration class.
    ClassDefaults,
}

impl Provenance {
    fn from_word(word: &str) -> Self {
        match word {
            "repository-config" => Self::RepositoryConfig,
            "transcribed-config" => Self::TranscribedConfig,
            "embedded-config" => Self::EmbeddedConfig,
            "class-defaults" => Self::ClassDefaults,
            _ => Self::PublishedFigures,
        }
    }

    /// The provenance as a phrase for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::RepositoryConfig => "the configuration file of the public repository",
            Self::TranscribedConfig => "a transcription of the repository's configuration file",
            Self::EmbeddedConfig => "a configuration embedded in published source code",
            Self::PublishedFigures => "hyper-parameters as published",
            Self::ClassDefaults => "the defaults of the architecture's configuration class",
        }
    }
}

impl Entry {
    /// The hyper-parameters, in the layout of a Hugging Face `config.json`.
    pub fn config(&self) -> &'static [u8] {
        self.config.as_bytes()
    }

    /// Further names under which the model is found.
    pub fn aliases(&self) -> impl Iterator<Item = &'static str> {
        self.aliases.split_ascii_whitespace()
    }

    /// The id without its organisation: `Qwen3-8B`.
    pub fn short_name(&self) -> &'static str {
        without_organisation(self.id)
    }
}

/// All models of the catalogue, ordered by id.
pub fn entries() -> impl Iterator<Item = Entry> {
    MODELS.lines().filter_map(parse_line)
}

fn parse_line(line: &'static str) -> Option<Entry> {
    let mut columns = line.splitn(4, '\t');
    let (id, aliases) = (columns.next()?, columns.next()?);
    let provenance = Provenance::from_word(columns.next()?);
    Some(Entry { id, provenance, aliases, config: columns.next()? })
}

/// The model that `name` means: its id, its id without the organisation, or an alias, whatever the
/// case and the separators; failing those, the name with or without one of the usual endings.
pub fn find(name: &str) -> Option<Entry> {
    if let Some(entry) = entries().find(|entry| entry.id == name) {
        return Some(entry);
    }
    let asked = Asked { key: loose_key(name), has_organisation: name.contains('/') };
    if asked.key.is_empty() {
        return None;
    }
    // Instruction-tuned models keep the shapes of the model that they were made from.
    asked.find().or_else(|| {
        ENDINGS.iter().find_map(|ending| {
            let key = asked.key.strip_suffix(ending)?;
            Asked { key: key.to_owned(), ..asked }.find()
        })
    })
}

/// A name as it is compared.
struct Asked {
    key: String,
    has_organisation: bool,
}

impl Asked {
    /// The keys under which an entry is known, with or without organisations as in the name.
    fn keys_of(&self, entry: &Entry) -> impl Iterator<Item = String> {
        let has_organisation = self.has_organisation;
        let names = std::iter::once(entry.id).chain(entry.aliases());
        names.map(move |name| loose_key(if has_organisation { name } else { without_organisation(name) }))
    }

    fn find_exactly(&self) -> Option<Entry> {
        entries().find(|entry| self.keys_of(entry).any(|key| key == self.key))
    }

    /// The entry of this name, or else the one whose name has the likeliest ending behind it.
    fn find(&self) -> Option<Entry> {
        self.find_exactly().or_else(|| {
            let ranked = entries().filter_map(|entry| {
                let ranks = self.keys_of(&entry).filter_map(|key| {
                    let rest = key.strip_prefix(self.key.as_str())?;
                    ENDINGS.iter().position(|ending| *ending == rest)
                });
                ranks.min().map(|rank| (rank, entry))
            });
            ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
        })
    }
}

fn without_organisation(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, short)| short)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_line_is_an_entry_with_a_configuration() {
        let lines = MODELS.lines().count();
        let mut seen = 0;
        for entry in entries() {
            seen += 1;
            let config: serde_json::Value = serde_json::from_slice(entry.config()).unwrap();
            assert!(config.is_object(), "{}", entry.id);
            assert!(config.get("model_type").is_some() || config.get("architectures").is_some(), "{}", entry.id);
        }
        assert_eq!(seen, lines);
        assert!(seen >= 300, "{seen}");
        assert!(MODELS.len() < 1 << 20, "the catalogue is part of every binary");
    }

    #[test]
    fn no_two_models_share_a_name() {
        let mut owners: HashMap<String, &str> = HashMap::new();
        for entry in entries() {
            let asked = Asked { key: String::new(), has_organisation: false };
            let mut keys: Vec<String> = asked.keys_of(&entry).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                assert_eq!(owners.insert(key.clone(), entry.id), None, "{key} also names {}", entry.id);
            }
        }
    }

    #[test]
    fn names_are_found_whatever_their_spelling() {
        for (name, id) in [
            ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
            ("qwen/qwen3-8b", "Qwen/Qwen3-8B"),
            ("qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B"),
            ("QWEN3_30B_A3B", "Qwen/Qwen3-30B-A3B"),
            ("gpt-oss-20b", "openai/gpt-oss-20b"),
            ("gemma-3-27b", "google/gemma-3-27b-it"),
            ("gemma3:27b", "google/gemma-3-27b-it"),
            ("llama-3.1-8b", "meta-llama/Meta-Llama-3.1-8B"),
            ("meta-llama/Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-8B"),
            ("llama-3.1-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct"),
            ("meta-llama/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-1B"),
            ("llama3.2:1b", "meta-llama/Llama-3.2-1B"),
            ("deepseek-r1:671b", "deepseek-ai/DeepSeek-R1"),
            ("deepseek-v3.1", "deepseek-ai/DeepSeek-V3"),
            ("mixtral:8x7b", "mistralai/Mixtral-8x7B-v0.1"),
        ] {
            assert_eq!(find(name).map(|entry| entry.id), Some(id), "{name}");
        }
        for unknown in ["", "/", "no-such-model", "other/Qwen3-8B", "llama", "meta-llama", "instruct"] {
            assert_eq!(find(unknown), None, "{unknown}");
        }
    }
}
