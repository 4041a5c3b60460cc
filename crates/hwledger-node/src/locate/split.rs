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
    width: usize,
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
        if !all_digits(number) || !all_digits(count) || number.len() != count.len() {
            return None;
        }
        let width = number.len();
        let (number, count) = (number.parse().ok()?, count.parse().ok()?);
        (number >= 1 && number <= count && count <= PARTS_MAX).then_some(Self { stem, number, count, ending, width })
    }

    /// The names of all parts, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = String> + '_ {
        (1..=self.count)
            .map(|number| format!("{}-{number:0w$}-of-{:0w$}{}", self.stem, self.count, self.ending, w = self.width))
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
    }

    #[test]
    fn other_names_are_no_parts() {
        for name in [
            "model.gguf",
            "model-of-mine.gguf",
            "a-00004-of-00003.gguf",
            "a-00000-of-00003.gguf",
            "a-1-of-00003.gguf",
            "a-00001-of-99999.gguf",
            "a-0000000000001-of-9999999999999.gguf",
            "-of-.gguf",
            "",
        ] {
            assert_eq!(PartName::parse(name), None, "{name}");
        }
    }
}
