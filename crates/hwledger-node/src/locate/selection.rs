//! Which files of a directory or repository describe the model.

use super::split::PartName;
use crate::names::has_ending;

/// One file of a directory or repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Path below the directory, parts apart by `/`.
    pub(crate) name: String,
    /// Size in bytes.
    pub(crate) bytes: u64,
}

/// The files that describe one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) config: Option<String>,
    /// The safetensors index, which then names the shards.
    pub(crate) index: Option<String>,
    /// Safetensors files, where no index names them.
    pub(crate) safetensors: Vec<String>,
    /// A GGUF file or all present parts of one.
    pub(crate) gguf: Vec<String>,
    pub(crate) projectors: Vec<String>,
    pub(crate) adapters: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// Why no selection could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unselected {
    /// No file describes a model.
    Nothing,
    /// Several models, and the one asked for (if any) is not among them or not unique.
    Ambiguous(Vec<String>),
}

/// What is taken when a repository holds many quantisations and none was asked for, as
/// `llama-cli -hf` does.
const USUAL_QUANTISATION: &str = "Q4_K_M";

/// Chooses the files of the model; `wanted` names a GGUF file or a quantisation.
pub(crate) fn select(files: &[Listed], wanted: Option<&str>) -> Result<Selection, Unselected> {
    let mut selection = Selection::default();
    let has = |name: &str| files.iter().any(|file| file.name == name);
    selection.config = has("config.json").then(|| "config.json".to_owned());
    let mut adapters = names_where(files, |name| top_level(name) && is_adapter(name));
    if wanted.is_none() {
        select_safetensors(files, &mut selection);
    }
    if selection.index.is_none() && selection.safetensors.is_empty() {
        select_gguf(files, wanted, &mut selection)?;
    } else {
        adapters.retain(|name| !has_ending(name, ".gguf"));
    }
    selection.adapters = adapters;
    let is_empty = selection.config.is_none()
        && selection.index.is_none()
        && selection.safetensors.is_empty()
        && selection.gguf.is_empty();
    if is_empty { Err(Unselected::Nothing) } else { Ok(selection) }
}

fn names_where(files: &[Listed], keep: impl Fn(&str) -> bool) -> Vec<String> {
    let mut names: Vec<String> = files.iter().filter(|file| keep(&file.name)).map(|file| file.name.clone()).collect();
    names.sort();
    names
}

fn top_level(name: &str) -> bool {
    !name.contains('/')
}

fn base_name(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, base)| base)
}

/// `LoRA` weights as PEFT and mlx-lm name them.
fn is_adapter(name: &str) -> bool {
    let base = base_name(name);
    base.starts_with("adapter") && (has_ending(base, ".safetensors") || has_ending(base, ".gguf"))
}

fn select_safetensors(files: &[Listed], selection: &mut Selection) {
    let indexes = names_where(files, |name| top_level(name) && name.ends_with(".safetensors.index.json"));
    let usual = indexes.iter().find(|name| *name == "model.safetensors.index.json").or(indexes.first());
    if let Some(index) = usual {
        if indexes.len() > 1 {
            selection.notes.push(format!("of {} safetensors indexes, `{index}` was read", indexes.len()));
        }
        selection.index = Some(index.clone());
        return;
    }
    let weights = names_where(files, |name| top_level(name) && name.ends_with(".safetensors") && !is_adapter(name));
    // Repositories that hold Mistral's own layout beside the Hugging Face one hold everything twice.
    let (own, named): (Vec<String>, Vec<String>) =
        weights.into_iter().partition(|name| name.starts_with("consolidated"));
    let mut candidates = if named.is_empty() { own } else { named };
    if let Some(whole) = candidates.iter().position(|name| name == "model.safetensors") {
        selection.safetensors = vec![candidates.swap_remove(whole)];
        return;
    }
    let model_parts = |name: &String| PartName::parse(name).is_some_and(|part| part.stem == "model");
    if candidates.iter().any(model_parts) {
        candidates.retain(model_parts);
    }
    selection.safetensors = candidates;
}

/// A GGUF model in a listing: one file, or the parts of one.
struct Group<'a> {
    /// Directory and file name without part number and ending.
    stem: &'a str,
    files: Vec<&'a str>,
}

fn select_gguf(files: &[Listed], wanted: Option<&str>, selection: &mut Selection) -> Result<(), Unselected> {
    let is_gguf = |name: &str| has_ending(name, ".gguf");
    let is_projector = |name: &str| base_name(name).to_ascii_lowercase().contains("mmproj");
    let is_aside = |name: &str| is_adapter(name) || base_name(name).to_ascii_lowercase().starts_with("imatrix");
    let names = names_where(files, |name| is_gguf(name) && !is_projector(name) && !is_aside(name));
    let mut groups = group(&names);
    if groups.is_empty() {
        return if wanted.is_some() { Err(Unselected::Nothing) } else { Ok(()) };
    }
    let choices = || groups.iter().map(|group| base_name(group.stem).to_owned()).collect::<Vec<_>>();
    let chosen = match wanted {
        Some(wanted) => best_match(&groups, wanted).ok_or_else(|| Unselected::Ambiguous(choices()))?,
        None if groups.len() == 1 => 0,
        None => {
            let chosen = best_match(&groups, USUAL_QUANTISATION).ok_or_else(|| Unselected::Ambiguous(choices()))?;
            let stem = base_name(groups[chosen].stem);
            selection.notes.push(format!("of {} GGUF models, `{stem}` was taken", groups.len()));
            chosen
        }
    };
    selection.gguf = groups.swap_remove(chosen).files.into_iter().map(str::to_owned).collect();
    selection.projectors = names_where(files, |name| is_gguf(name) && is_projector(name));
    // Half precision is the projector that llama.cpp's converter writes unless told otherwise.
    selection.projectors.sort_by_key(|name| !base_name(name).to_ascii_lowercase().contains("-f16"));
    if selection.projectors.len() > 1 {
        // They are the same projector at several precisions: an engine loads one.
        let (count, taken) = (selection.projectors.len(), base_name(&selection.projectors[0]).to_owned());
        selection.notes.push(format!("of {count} projectors, `{taken}` was taken"));
        selection.projectors.truncate(1);
    }
    Ok(())
}

fn group(names: &[String]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for name in names {
        let part = PartName::parse(name);
        let stem = part.map_or(&name[..name.len() - ".gguf".len()], |part| part.stem);
        match groups.iter_mut().find(|group| part.is_some() && group.stem == stem) {
            Some(group) => group.files.push(name),
            None => groups.push(Group { stem, files: vec![name] }),
        }
    }
    groups
}

/// The group that is called `wanted`, or else the one whose name ends in it; none if several do, but
/// for variants that only put more between name and quantisation (`a-UD-Q4_K_M` beside `a-Q4_K_M`).
fn best_match(groups: &[Group<'_>], wanted: &str) -> Option<usize> {
    let wanted = wanted.to_ascii_lowercase();
    let wanted = wanted.strip_suffix(".gguf").unwrap_or(&wanted);
    let wanted = PartName::parse(&format!("{wanted}.gguf")).map_or(wanted.to_owned(), |part| part.stem.to_owned());
    let stems: Vec<String> = groups.iter().map(|group| group.stem.to_ascii_lowercase()).collect();
    if let Some(exact) = stems.iter().position(|stem| *stem == wanted || base_name(stem) == wanted) {
        return Some(exact);
    }
    let front = |stem: &'_ str| {
        let front = base_name(stem).strip_suffix(wanted.as_str())?.to_owned();
        front.ends_with(['-', '_', '.']).then_some(front)
    };
    let matches: Vec<(usize, String)> =
        stems.iter().enumerate().filter_map(|(index, stem)| Some((index, front(stem)?))).collect();
    let (index, shortest) = matches.iter().min_by_key(|(_, front)| front.len())?;
    let is_same_model = |(other, front): &(usize, String)| {
        other == index || (front.len() > shortest.len() && front.starts_with(shortest.as_str()))
    };
    matches.iter().all(is_same_model).then_some(*index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(names: &[&str]) -> Vec<Listed> {
        names.iter().map(|name| Listed { name: (*name).to_owned(), bytes: 1 }).collect()
    }

    fn gguf(names: &[&str], wanted: Option<&str>) -> Result<Vec<String>, Unselected> {
        select(&listed(names), wanted).map(|selection| selection.gguf)
    }

    #[test]
    fn an_index_wins_over_loose_files() {
        let files = listed(&["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"]);
        let selection = select(&files, None).unwrap();
        assert_eq!(selection.index.as_deref(), Some("model.safetensors.index.json"));
        assert!(selection.safetensors.is_empty());
        assert_eq!(selection.config.as_deref(), Some("config.json"));
    }

    #[test]
    fn one_layout_is_read_where_a_repository_holds_two() {
        let files = listed(&[
            "consolidated.safetensors",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ]);
        let selection = select(&files, None).unwrap();
        assert_eq!(selection.safetensors, ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
        let files = listed(&["model.safetensors", "model.fp16.safetensors", "adapter_model.safetensors"]);
        let selection = select(&files, None).unwrap();
        assert_eq!(selection.safetensors, ["model.safetensors"]);
        assert_eq!(selection.adapters, ["adapter_model.safetensors"]);
        let selection = select(&listed(&["consolidated.safetensors", "params.json"]), None).unwrap();
        assert_eq!(selection.safetensors, ["consolidated.safetensors"]);
    }

    #[test]
    fn a_quantisation_picks_its_file() {
        let names = ["a-Q4_K_M.gguf", "a-UD-Q4_K_M.gguf", "a-Q8_0.gguf", "mmproj-a-f16.gguf", "mmproj-a-BF16.gguf"];
        assert_eq!(gguf(&names, Some("q8_0")).unwrap(), ["a-Q8_0.gguf"]);
        assert_eq!(gguf(&names, Some("Q4_K_M")).unwrap(), ["a-Q4_K_M.gguf"]);
        assert_eq!(gguf(&names, Some("a-UD-Q4_K_M.gguf")).unwrap(), ["a-UD-Q4_K_M.gguf"]);
        assert_eq!(gguf(&names, None).unwrap(), ["a-Q4_K_M.gguf"]);
        let two_models = ["a-Q8_0.gguf", "longer-Q8_0.gguf", "b-Q4_0.gguf"];
        assert!(matches!(gguf(&two_models, Some("Q8_0")), Err(Unselected::Ambiguous(_))));
        assert_eq!(gguf(&two_models, Some("longer-Q8_0")).unwrap(), ["longer-Q8_0.gguf"]);
        let Err(Unselected::Ambiguous(choices)) = gguf(&names, Some("IQ1_S")) else { panic!("chose something") };
        assert_eq!(choices, ["a-Q4_K_M", "a-Q8_0", "a-UD-Q4_K_M"]);
        let selection = select(&listed(&names), None).unwrap();
        assert_eq!(selection.projectors, ["mmproj-a-f16.gguf"]);
        assert_eq!(selection.notes.len(), 2, "{:?}", selection.notes);
    }

    #[test]
    fn parts_in_a_subdirectory_stay_together() {
        let names = [
            "Q4_K_M/a-Q4_K_M-00002-of-00002.gguf",
            "Q4_K_M/a-Q4_K_M-00001-of-00002.gguf",
            "Q8_0/a-Q8_0-00001-of-00001.gguf",
        ];
        let parts = ["Q4_K_M/a-Q4_K_M-00001-of-00002.gguf", "Q4_K_M/a-Q4_K_M-00002-of-00002.gguf"];
        assert_eq!(gguf(&names, Some("Q4_K_M")).unwrap(), parts);
        assert_eq!(gguf(&names, Some("a-Q4_K_M-00001-of-00002.gguf")).unwrap(), parts);
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(select(&[], None), Err(Unselected::Nothing));
        assert_eq!(select(&listed(&["README.md", "weights/config.json"]), None), Err(Unselected::Nothing));
        assert_eq!(select(&listed(&["config.json"]), Some("Q4_K_M")), Err(Unselected::Nothing));
    }
}
