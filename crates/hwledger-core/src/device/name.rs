//! Device names as people and drivers write them.

use super::catalogue::catalogue;
use super::spec::DeviceSpec;
use crate::Bytes;
use crate::nearest::nearest;
use crate::settings::{Device, DeviceKind};

/// Why a name cannot stand for one device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Several devices answer to the name.
    #[error("`{given}` may be any of: {}", .choices.join(", "))]
    Ambiguous {
        /// The name as given.
        given: String,
        /// Devices that answer to it.
        choices: Vec<&'static str>,
    },
    /// There is no name.
    #[error("the name of the device is empty")]
    Empty,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundDevices {
    /// How many (`2x RTX 3090`); 1 where the name does not say.
    pub count: u64,
    /// One of them. A name that is not in the catalogue gives a device of kind
    /// [`DeviceKind::Other`] whose memory is known only if somebody said.
    pub device: Device,
    /// The device is sold in several sizes and nobody said which.
    pub is_size_assumed: bool,
    /// For a name that is not in the catalogue: the nearest that are.
    pub suggestions: Vec<&'static str>,
}

/// Words that tell nothing apart.
const NOISE: &[&str] = &[
    "nvidia",
    "geforce",
    "amd",
    "radeon",
    "apple",
    "intel",
    "instinct",
    "tesla",
    "gpu",
    "graphics",
    "corporation",
    "tm",
    "r",
    "c",
    "with",
    "w",
    "generation",
    "edition",
    "card",
    "arc",
    "rev",
    "vram",
    "ram",
    "memory",
    "unified",
    "silicon",
    "chip",
    "core",
    "processor",
    "cpu",
    "the",
    "and",
    "on",
    "google",
    "cloud",
];

/// Words that make another device of the same number.
const DISTINCT: &[&str] = &[
    "ti",
    "super",
    "laptop",
    "max",
    "ultra",
    "pro",
    "xt",
    "xtx",
    "gre",
    "d",
    "ada",
    "blackwell",
    "plus",
    "nano",
    "q",
    "elite",
    "sff",
    "server",
    "nx",
    "agx",
    "x",
    "lite",
];

/// Product families: a name that says `RTX` is no `RX`.
const FAMILIES: &[&str] = &["rtx", "gtx", "rx"];

/// Whether a word tells only how the device is packaged.
fn is_form(word: &str) -> bool {
    ["sxm", "hbm", "pcie", "oam", "nvl", "hgx", "gddr", "cuda", "rocm"].iter().any(|form| word.starts_with(form))
}

/// A name taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Key {
    /// The words that tell devices apart, sorted.
    core: Vec<String>,
    /// Packaging words, sorted.
    forms: Vec<String>,
    families: Vec<&'static str>,
    memory_gib: Option<f64>,
}

/// Splits off suffixes and prefixes that people write without a space: `rtx4070ti`, `80gb`, `m3max`.
fn split_words(text: &str) -> Vec<String> {
    let lower = text.to_ascii_lowercase();
    let mut words = Vec::new();
    for word in lower.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.') {
        let mut rest = word.trim_matches('.');
        for family in ["rtx", "gtx", "rx", "arc", "ryzen", "radeon"] {
            if let Some(number) = rest.strip_prefix(family)
                && number.starts_with(|letter: char| letter.is_ascii_digit())
            {
                words.push(family.to_owned());
                rest = number;
            }
        }
        let digits_end = rest.rfind(|letter: char| letter.is_ascii_digit()).map_or(0, |at| at + 1);
        let (head, tail) = rest.split_at(digits_end);
        let is_suffix = [
            "ti", "super", "xt", "xtx", "gre", "gb", "gib", "g", "max", "pro", "ultra", "pcie", "nvl", "sxm", "laptop",
            "tisuper",
        ]
        .contains(&tail);
        if !head.is_empty() && is_suffix {
            words.push(head.to_owned());
            words.push(tail.to_owned());
        } else if !rest.is_empty() {
            words.push(rest.to_owned());
        }
    }
    words
}

impl Key {
    pub(super) fn of(text: &str) -> Self {
        let words = split_words(text);
        let mut key = Self::default();
        let mut index = 0;
        while let Some(word) = words.get(index) {
            let unit = words.get(index + 1).is_some_and(|next| matches!(next.as_str(), "gb" | "gib" | "g"));
            if unit && let Ok(gib) = word.parse::<f64>() {
                key.memory_gib = Some(gib);
                index += 2;
                continue;
            }
            index += 1;
            let word = if word == "mobile" { "laptop" } else { word.as_str() };
            if let Some(&family) = FAMILIES.iter().find(|&&family| family == word) {
                key.families.push(family);
            } else if is_form(word) {
                key.forms.push(word.to_owned());
            } else if word == "tisuper" {
                key.core.extend(["ti".to_owned(), "super".to_owned()]);
            } else if !NOISE.contains(&word) {
                key.core.push(word.to_owned());
            }
        }
        key.core.sort_unstable();
        key.core.dedup();
        key.forms.sort_unstable();
        key
    }

    /// How well a catalogue key answers to this one; higher is better, `None` not at all.
    fn answered_by(&self, known: &Self) -> Option<u32> {
        if known.core.is_empty() {
            return None;
        }
        let words = u32::try_from(known.core.len()).unwrap_or(u32::MAX);
        if self.core == known.core {
            let forms = if self.forms == known.forms {
                3
            } else if self.forms.iter().all(|form| known.forms.contains(form)) {
                2
            } else {
                1
            };
            return Some(3000 + forms);
        }
        let mut extra = self.core.iter().filter(|word| !known.core.contains(word));
        if known.core.iter().all(|word| self.core.contains(word)) {
            return extra.all(|word| !DISTINCT.contains(&word.as_str())).then_some(2000 + words.min(900));
        }
        // A part of a name: `Orin`, `RTX 6000`.
        (!self.core.is_empty() && extra.next().is_none()).then_some(1000)
    }
}

/// Takes a count off the name: `2x RTX 3090`, `8 × H100`, `RTX 3090 x2`.
fn split_count(text: &str) -> (u64, &str) {
    let text = text.trim();
    let is_times = |letter: char| matches!(letter, 'x' | 'X' | '×' | '*');
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(0);
    if let Ok(count) = text[..digits].parse::<u64>()
        && let Some(rest) = text[digits..].trim_start().strip_prefix(is_times)
        && rest.starts_with(|letter: char| !letter.is_ascii_digit())
        // `7900XTX` is no count of `TX`.
        && (digits <= 2 || rest.starts_with(' '))
    {
        return (count.max(1), rest.trim());
    }
    let body = text.trim_end_matches(')');
    let tail = body
        .rfind(|letter: char| !letter.is_ascii_digit())
        .map_or(0, |at| at + body[at..].chars().next().map_or(0, char::len_utf8));
    if let Ok(count) = body[tail..].parse::<u64>()
        && let Some(rest) = body[..tail].strip_suffix(is_times)
        && rest.ends_with([' ', '('])
    {
        return (count.max(1), rest.trim_end_matches([' ', '(']));
    }
    (1, text)
}

/// The devices that answer best to `key`.
fn best_matches(text: &str, key: &Key, memory_gib: Option<f64>) -> Vec<&'static DeviceSpec> {
    let exact: Vec<_> = catalogue().iter().filter(|spec| spec.name.eq_ignore_ascii_case(text)).collect();
    if !exact.is_empty() {
        return exact;
    }
    let mut best = 0;
    let mut matches: Vec<&DeviceSpec> = Vec::new();
    for spec in catalogue() {
        let has_family = |family: &&str| spec.keys.iter().any(|known| known.families.contains(family));
        if !key.families.iter().all(has_family) {
            continue;
        }
        let Some(rank) = spec.keys.iter().filter_map(|known| key.answered_by(known)).max() else {
            continue;
        };
        if rank > best {
            best = rank;
            matches.clear();
        }
        if rank == best {
            matches.push(spec);
        }
    }
    // The size decides between devices of one name (A100 40 and 80 GB).
    if let Some(gib) = memory_gib.filter(|_| matches.len() > 1) {
        let is_near =
            |spec: &&&DeviceSpec| spec.memory_sizes.iter().any(|size| (size.gibibytes() / gib - 1.0).abs() < 0.06);
        let sized: Vec<_> = matches.iter().filter(is_near).copied().collect();
        if !sized.is_empty() {
            return sized;
        }
    }
    matches
}

/// What `name` stands for; `memory` is the size of one device where somebody said.
pub fn find(name: &str, memory: Option<Bytes>) -> Result<FoundDevices, DeviceError> {
    let (count, text) = split_count(name);
    if text.is_empty() {
        return Err(DeviceError::Empty);
    }
    let key = Key::of(text);
    let said = memory.map(Bytes::gibibytes).or(key.memory_gib);
    let matches = best_matches(text, &key, said);
    match matches[..] {
        [] => {
            let names = catalogue().iter().map(|spec| &*spec.name);
            let memory = memory.or(key.memory_gib.map(Bytes::from_gibibytes));
            let device = Device { name: text.to_owned(), memory, kind: DeviceKind::Other, spec: None };
            Ok(FoundDevices { count, device, is_size_assumed: false, suggestions: nearest(text, names) })
        }
        [spec] => {
            // A size in the name counts only where it is one that is sold or close: `GH200 480GB` names the host's.
            let in_name = key.memory_gib.filter(|_| !spec.name.eq_ignore_ascii_case(text)).map(Bytes::from_gibibytes);
            let memory = memory.or(in_name);
            let is_size_assumed = memory.is_none() && spec.memory_sizes.len() > 1;
            let device = Device {
                name: spec.name.clone().into_owned(),
                memory: memory.or(spec.standard_size()),
                kind: spec.kind,
                spec: Some(spec.into()),
            };
            Ok(FoundDevices { count, device, is_size_assumed, suggestions: Vec::new() })
        }
        _ => Err(DeviceError::Ambiguous {
            given: text.to_owned(),
            choices: matches.iter().map(|spec| &*spec.name).take(12).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str, expected: &str) {
        let found = find(given, None).unwrap_or_else(|error| panic!("{given}: {error}"));
        assert_eq!(found.device.spec.as_ref().map(|spec| &*spec.name), Some(expected), "{given}");
    }

    #[test]
    fn names_are_read_as_people_and_drivers_write_them() {
        check("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090");
        check("rtx4090", "NVIDIA GeForce RTX 4090");
        check("4090", "NVIDIA GeForce RTX 4090");
        check("RTX 4070 Ti Super", "NVIDIA GeForce RTX 4070 Ti SUPER");
        check("rtx4070tisuper", "NVIDIA GeForce RTX 4070 Ti SUPER");
        check("rtx 3060 mobile", "NVIDIA GeForce RTX 3060 Laptop GPU");
        check("Apple M2 Ultra", "Apple M2 Ultra");
        check("m3max 128GB", "Apple M3 Max");
        check("h200_sxm", "NVIDIA H200");
        check("H100 80GB PCIe", "NVIDIA H100 PCIe");
        check("h100", "NVIDIA H100 80GB HBM3");
        check("A100 40GB", "NVIDIA A100-SXM4-40GB");
        check("a100_pcie_80gb", "NVIDIA A100 80GB PCIe");
        check("Tesla T4", "Tesla T4");
        check("GB200 NVL72", "NVIDIA GB200");
        check("AMD Radeon RX 7900 XTX", "AMD Radeon RX 7900 XTX");
        check("7900xtx", "AMD Radeon RX 7900 XTX");
        check("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", "AMD Ryzen AI Max+ 395 (Radeon 8060S)");
        check("Radeon 8060S Graphics (gfx1151)", "AMD Ryzen AI Max+ 395 (Radeon 8060S)");
        check("NVIDIA DGX Spark", "NVIDIA GB10");
        check("mi300x", "AMD Instinct MI300X");
        check("RTX 6000 Ada", "NVIDIA RTX 6000 Ada Generation");
        check("A6000", "NVIDIA RTX A6000");
        check("Intel(R) Arc(TM) A770 Graphics", "Intel Arc A770");
        check("NVIDIA GH200 480GB", "NVIDIA GH200 480GB");
    }

    #[test]
    fn every_name_and_alias_finds_its_own_row() {
        for spec in catalogue() {
            check(&spec.name, &spec.name);
        }
    }

    #[test]
    fn counts_are_taken_off() {
        for given in ["2x RTX 3090", "2 × RTX 3090", "RTX 3090 x2", "RTX 3090 (x2)"] {
            let found = find(given, None).expect("the name is known");
            assert_eq!((found.count, found.device.name.as_str()), (2, "NVIDIA GeForce RTX 3090"), "{given}");
        }
        assert_eq!(find("RTX 3090", None).expect("the name is known").count, 1);
    }

    #[test]
    fn the_size_decides_or_is_assumed() {
        assert!(matches!(find("A100", None), Err(DeviceError::Ambiguous { .. })));
        let forty = find("A100 PCIe", Some(Bytes::from_gibibytes(40.0))).expect("one device of this size has the name");
        assert_eq!(forty.device.name, "NVIDIA A100-PCIE-40GB");
        let apple = find("Apple M3 Max", None).expect("the name is known");
        assert!(apple.is_size_assumed);
        let modified = find("RTX 4090 48GB", None).expect("the name is known");
        assert_eq!(modified.device.memory, Some(Bytes::from_gibibytes(48.0)));
    }

    #[test]
    fn ambiguous_names_list_their_choices() {
        let Err(DeviceError::Ambiguous { choices, .. }) = find("RTX 6000", None) else {
            panic!("several devices are called so");
        };
        assert!(choices.contains(&"Quadro RTX 6000") && choices.contains(&"NVIDIA RTX 6000 Ada Generation"));
    }

    #[test]
    fn unknown_names_give_unknown_memory_and_suggestions() {
        let found = find("Apple M4 Ultra", None).expect("an unknown name is no error");
        assert_eq!((found.device.memory, found.device.spec), (None, None));
        assert!(found.suggestions.contains(&"Apple M3 Ultra"));
        let sized = find("Frobnicator 7 24GB", None).expect("an unknown name is no error");
        assert_eq!(sized.device.memory, Some(Bytes::from_gibibytes(24.0)));
        assert_eq!(find("  ", None), Err(DeviceError::Empty));
    }
}
