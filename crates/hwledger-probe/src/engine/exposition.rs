//! The text format of Prometheus, version 0.0.4, as far as engines print it.
//!
//! **Source** "Text-based format", Prometheus documentation, "Exposition formats". Exemplars and the end mark of
//! `OpenMetrics` are passed over; quoted metric names are refused.

use std::collections::{BTreeMap, HashSet};

/// Longest scrape that is read.
pub const SCRAPE_BYTES_MAX: usize = 8 << 20;
/// Longest line.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Most samples of a scrape.
const SAMPLES_MAX: usize = 100_000;
/// Most families with a type.
const FAMILIES_MAX: usize = 10_000;
/// Most labels of a sample.
const LABELS_MAX: usize = 64;

/// Why a scrape is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct ExpositionError {
    /// The line, from 1.
    pub line: usize,
    /// The byte of the line, from 1.
    pub column: usize,
    /// What is wrong there.
    pub what: String,
}

/// One value of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The sample's name, with `_total`, `_bucket`, `_sum` or `_count` where it has one.
    pub name: String,
    /// Labels in the order of the text.
    pub labels: Vec<(String, String)>,
    /// The value; may be infinite or no number.
    pub value: f64,
}

impl Sample {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What one scrape said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exposition {
    /// Samples in the order of the text.
    pub samples: Vec<Sample>,
    /// Types of families, as the text spells them: `counter`, `gauge`, `histogram`, `summary`, `untyped`, `unknown`, ...
    pub types: BTreeMap<String, String>,
}

impl Exposition {
    /// Reads a scrape.
    ///
    /// # Errors
    ///
    /// [`ExpositionError`] where a line does not follow the format, a series is there twice, or a bound is exceeded.
    pub fn parse(bytes: &[u8]) -> Result<Self, ExpositionError> {
        if bytes.len() > SCRAPE_BYTES_MAX {
            return Err(error(1, 1, format!("a scrape of {} bytes; at most {SCRAPE_BYTES_MAX} are read", bytes.len())));
        }
        let text = std::str::from_utf8(bytes).map_err(|fault| {
            let before = &bytes[..fault.valid_up_to()];
            let lines: Vec<&[u8]> = before.split(|byte| *byte == b'\n').collect();
            error(lines.len(), lines.last().map_or(0, |line| line.len()) + 1, "this is no UTF-8 text".to_owned())
        })?;
        let mut exposition = Self::default();
        let mut seen = HashSet::new();
        for (index, line) in text.split('\n').enumerate() {
            let number = index + 1;
            if line.len() > LINE_BYTES_MAX {
                return Err(error(number, LINE_BYTES_MAX + 1, format!("the line goes on past {LINE_BYTES_MAX} bytes")));
            }
            let line = line.strip_suffix('\r').unwrap_or(line);
            exposition.read_line(line, number, &mut seen)?;
        }
        Ok(exposition)
    }

    fn read_line<'a>(
        &mut self,
        line: &'a str,
        number: usize,
        seen: &mut HashSet<&'a str>,
    ) -> Result<(), ExpositionError> {
        let mut cursor = Cursor { text: line, at: 0, line: number };
        cursor.skip_blanks();
        if cursor.rest().is_empty() {
            return Ok(());
        }
        if cursor.rest().starts_with('#') {
            let mut words = cursor.rest()[1..].split([' ', '\t']).filter(|word| !word.is_empty());
            if words.next() == Some("TYPE")
                && let (Some(name), Some(kind)) = (words.next(), words.next())
            {
                if self.types.len() >= FAMILIES_MAX {
                    return Err(cursor.fault(format!("more than {FAMILIES_MAX} families")));
                }
                self.types.insert(name.to_owned(), kind.chars().take(40).collect());
            }
            return Ok(());
        }
        let start = cursor.at;
        let name = cursor.name(true)?.to_owned();
        let labels = cursor.labels()?;
        let series = &line[start..cursor.at];
        let value = cursor.value()?;
        cursor.end()?;
        if self.samples.len() >= SAMPLES_MAX {
            return Err(cursor.fault(format!("more than {SAMPLES_MAX} samples")));
        }
        if !seen.insert(series.trim_end()) {
            return Err(error(number, start + 1, format!("`{}` is there twice with the same labels", shown(&name))));
        }
        self.samples.push(Sample { name, labels, value });
        Ok(())
    }

    /// Samples of a name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }
}

fn error(line: usize, column: usize, what: String) -> ExpositionError {
    ExpositionError { line, column, what }
}

/// A name short enough for a message.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn fault(&self, what: impl Into<String>) -> ExpositionError {
        error(self.line, self.at + 1, what.into())
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
    }

    fn take(&mut self, letter: char) -> bool {
        let is_there = self.rest().starts_with(letter);
        self.at += if is_there { letter.len_utf8() } else { 0 };
        is_there
    }

    /// A metric's name, in which colons are allowed, or a label's.
    fn name(&mut self, is_metric: bool) -> Result<&'a str, ExpositionError> {
        let rest = self.rest();
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || (is_metric && letter == ':');
        let name = &rest[..rest.find(|letter| !is_name(letter)).unwrap_or(rest.len())];
        if name.is_empty() || name.starts_with(|letter: char| letter.is_ascii_digit()) {
            let kind = if is_metric { "metric" } else { "label" };
            return Err(self.fault(format!("a {kind}'s name should stand here")));
        }
        self.at += name.len();
        Ok(name)
    }

    fn labels(&mut self) -> Result<Vec<(String, String)>, ExpositionError> {
        let mut labels: Vec<(String, String)> = Vec::new();
        self.skip_blanks();
        if !self.take('{') {
            return Ok(labels);
        }
        loop {
            self.skip_blanks();
            if self.take('}') {
                return Ok(labels);
            }
            if labels.len() >= LABELS_MAX {
                return Err(self.fault(format!("more than {LABELS_MAX} labels")));
            }
            let start = self.at;
            let name = self.name(false)?;
            if labels.iter().any(|(known, _)| known == name) {
                return Err(error(self.line, start + 1, format!("the label `{}` is there twice", shown(name))));
            }
            self.skip_blanks();
            if !self.take('=') {
                return Err(self.fault("`=` should follow the label's name"));
            }
            self.skip_blanks();
            labels.push((name.to_owned(), self.quoted()?));
            self.skip_blanks();
            if !self.take(',') && !self.rest().starts_with('}') {
                return Err(self.fault("`,` or `}` should follow the label"));
            }
        }
    }

    fn quoted(&mut self) -> Result<String, ExpositionError> {
        if !self.take('"') {
            return Err(self.fault("the label's value should stand here in quotes"));
        }
        let mut value = String::new();
        let mut letters = self.rest().char_indices();
        while let Some((index, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.at += index + 1;
                    return Ok(value);
                }
                '\\' => match letters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                    _ => {
                        self.at += index;
                        return Err(self.fault("`\\` is followed by neither `\\`, `\"` nor `n`"));
                    }
                },
                _ => value.push(letter),
            }
        }
        self.at = self.text.len();
        Err(self.fault("the label's value has no closing quote"))
    }

    fn word(&mut self) -> &'a str {
        self.skip_blanks();
        let rest = self.rest();
        let word = &rest[..rest.find([' ', '\t']).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn value(&mut self) -> Result<f64, ExpositionError> {
        let word = self.word();
        number(word).ok_or_else(|| {
            let what = if word.is_empty() {
                "a value should stand here".to_owned()
            } else {
                format!("`{}` is no number", shown(word))
            };
            error(self.line, self.at - word.len() + 1, what)
        })
    }

    /// A time may follow, and an exemplar after `#`.
    fn end(&mut self) -> Result<(), ExpositionError> {
        self.skip_blanks();
        if !self.rest().is_empty() && !self.rest().starts_with('#') {
            let word = self.word();
            if number(word).is_none() {
                return Err(error(self.line, self.at - word.len() + 1, format!("`{}` is no time", shown(word))));
            }
            self.skip_blanks();
        }
        if self.rest().is_empty() || self.rest().starts_with('#') {
            return Ok(());
        }
        Err(self.fault("nothing should follow the time"))
    }
}

/// A number as Go's `ParseFloat` reads it, less its hexadecimal forms and underscores.
fn number(word: &str) -> Option<f64> {
    let plain = word.strip_prefix(['+', '-']).unwrap_or(word);
    let is_known = plain.eq_ignore_ascii_case("inf")
        || plain.eq_ignore_ascii_case("infinity")
        || plain.eq_ignore_ascii_case("nan")
        || plain.starts_with(|letter: char| letter.is_ascii_digit() || letter == '.');
    if is_known { word.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        Exposition::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn samples_are_read_with_labels_escapes_and_times() {
        let text = "# HELP a b\n# TYPE a:b_total counter\n\r\na:b_total{x=\"1\",y = \"q\\\"\\\\\\n,}\" ,} 3e2 1700000000\nup +Inf # {t=\"1\"} 2\nn NaN\n# EOF\n";
        let read = Exposition::parse(text.as_bytes()).unwrap();
        assert_eq!(read.types["a:b_total"], "counter");
        assert_eq!(read.samples.len(), 3);
        assert_eq!(read.samples[0].label("y"), Some("q\"\\\n,}"));
        assert!((read.samples[0].value - 300.0).abs() < 1e-12);
        assert!(read.samples[1].value.is_infinite() && read.samples[2].value.is_nan());
        assert_eq!(read.named("up").count(), 1);
    }

    #[test]
    fn what_does_not_follow_the_format_is_refused_with_its_place() {
        assert_eq!(fault("a 1\nb x"), "line 2, column 3: `x` is no number");
        assert_eq!(fault("a"), "line 1, column 2: a value should stand here");
        assert_eq!(fault("a{b=1} 2"), "line 1, column 5: the label's value should stand here in quotes");
        assert_eq!(fault("a{b=\"1} 2"), "line 1, column 10: the label's value has no closing quote");
        assert_eq!(fault("a{b=\"\\q\"} 2"), "line 1, column 6: `\\` is followed by neither `\\`, `\"` nor `n`");
        assert_eq!(fault("a{b=\"1\" c=\"2\"} 2"), "line 1, column 9: `,` or `}` should follow the label");
        assert_eq!(fault("a{b=\"1\",b=\"2\"} 2"), "line 1, column 9: the label `b` is there twice");
        assert_eq!(fault("{\"a\"} 2"), "line 1, column 1: a metric's name should stand here");
        assert_eq!(fault("9a 2"), "line 1, column 1: a metric's name should stand here");
        assert_eq!(fault("a 1 x"), "line 1, column 5: `x` is no time");
        assert_eq!(fault("a 1 2 3"), "line 1, column 7: nothing should follow the time");
        assert_eq!(fault("a{b=\"1\"} 2\na{b=\"1\"} 3"), "line 2, column 1: `a` is there twice with the same labels");
        assert_eq!(fault("<html>"), "line 1, column 1: a metric's name should stand here");
        let bytes = Exposition::parse(b"a 1\nb \xff").unwrap_err();
        assert_eq!(bytes.to_string(), "line 2, column 3: this is no UTF-8 text");
    }

    #[test]
    fn bounds_hold() {
        let long = format!("a{{b=\"{}\"}} 1", "x".repeat(LINE_BYTES_MAX));
        assert!(fault(&long).contains("goes on past"));
        let many: Vec<String> = (0..=SAMPLES_MAX).map(|index| format!("a{index} 1")).collect();
        assert!(fault(&many.join("\n")).contains("more than 100000 samples"));
        let types: Vec<String> = (0..=FAMILIES_MAX).map(|index| format!("# TYPE a{index} gauge")).collect();
        assert!(fault(&types.join("\n")).contains("more than 10000 families"));
        let labels: Vec<String> = (0..=LABELS_MAX).map(|index| format!("l{index}=\"\"")).collect();
        assert!(fault(&format!("a{{{}}} 1", labels.join(","))).contains("more than 64 labels"));
        let whole = vec![b'\n'; SCRAPE_BYTES_MAX + 1];
        assert!(Exposition::parse(&whole).unwrap_err().what.contains("bytes"));
    }

    #[test]
    fn no_cut_and_no_flipped_byte_panics() {
        let text = "# TYPE a histogram\na_bucket{le=\"0.1\",m=\"ü\\\\\"} 1 17\na_sum -2.5e-3\n";
        for end in 0..text.len() {
            let _ = Exposition::parse(&text.as_bytes()[..end]);
            for byte in [0, b'"', b'{', b'\\', 0xff] {
                let mut changed = text.as_bytes().to_vec();
                changed[end] = byte;
                let _ = Exposition::parse(&changed);
            }
        }
    }
}
