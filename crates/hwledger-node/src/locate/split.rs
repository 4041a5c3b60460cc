//! Names of files that hold one part of several: `model-00002-of-00007.gguf`.

/// A file name taken apart around its part number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartName<'a> {
    /// What stands before `-00002-of-00007`.
    pub(crate) stem: &'a str,
    /// The number of this part, from one.
    pub(crate) number: u32,
    /// The number of parts.
    pub(crate) count: u32,
    /// The ending with its dot: `.gguf`.
    pub(crate) ending: &'a str,
    number_width: usize,
    count_width: usize,
}

/// More parts than any published model has; a name that claims more is not taken as a part.
const PARTS_MAX: u32 = 4096;

impl<'a> PartName<'a> {
    /// Takes `name` apart, if it is the name of a part.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        let (base, ending) = name.rfind('.').map(|dot| name.split_at(dot))?;
        let (front, count) = base.rsplit_once("-of-")?;
        let (stem, number) = front.rsplit_once('-')?;
        let all_digits = |text: &str| !text.is_empty() && text.len() <= 6 && text.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(number) || !all_digits(count) {
            return None;
        }
        // Some publishers write the two with different widths: `model-00001-of-000163.safetensors`.
        let (number_width, count_width) = (number.len(), count.len());
        let (number, count) = (number.parse().ok()?, count.parse().ok()?);
        let is_part = number >= 1 && number <= count && count <= PARTS_MAX;
        is_part.then_some(Self { stem, number, count, ending, number_width, count_width })
    }

    /// The names of all parts, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = String> + '_ {
        let Self { stem, count, ending, number_width: n, count_width: c, .. } = *self;
        (1..=count).map(move |number| format!("{stem}-{number:0n$}-of-{count:0c$}{ending}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_names_come_apart_and_together() {
        let part = PartName::parse("Qwen3-235B-Q4_K_M-00002-of-00003.gguf").unwrap();
        assert_eq!((part.stem, part.number, part.count, part.ending), ("Qwen3-235B-Q4_K_M", 2, 3, ".gguf"));
        assert!(part.all().any(|name| name == "Qwen3-235B-Q4_K_M-00003-of-00003.gguf"));
        assert_eq!(part.all().count(), 3);
        let uneven = PartName::parse("model-00001-of-000163.safetensors").unwrap();
        assert_eq!(uneven.all().last().as_deref(), Some("model-00163-of-000163.safetensors"));
    }

    #[test]
    fn other_names_are_no_parts() {
        for name in [
            "model.gguf",
            "model-of-mine.gguf",
            "a-00004-of-00003.gguf",
            "a-00000-of-00003.gguf",
            "a-00001-of-99999.gguf",
            "a-0000000000001-of-9999999999999.gguf",
            "-of-.gguf",
            "",
        ] {
            assert_eq!(PartName::parse(name), None, "{name}");
        }
    }
}
