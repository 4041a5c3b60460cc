//! Grammars in GBNF, the notation of llama.cpp (its `grammars/README.md`), as grammars in Lark's notation.
//!
//! Every character becomes a terminal of its own: a Lark grammar takes the longest terminal that fits, GBNF any that
//! does, and terminals of one character are all as long.

use std::collections::HashMap;
use std::fmt::Write as _;

/// Where a grammar in GBNF is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct GbnfError {
    /// The line, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
    /// What is wrong, with a hint where one helps.
    pub what: String,
}

/// Groups within groups, at most.
const DEPTH_MAX: usize = 100;
/// How often anything may be repeated by a number: as in llama.cpp.
const REPEATS_MAX: u32 = 2000;

/// Whether a text is GBNF: the first thing in it is a name with `::=` after it.
pub(super) fn is_gbnf(text: &str) -> bool {
    let mut lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let Some(line) = lines.find(|line| !line.is_empty()) else { return false };
    let rest = line.trim_start_matches(is_of_name).trim_start();
    line.starts_with(is_of_name) && rest.starts_with("::=")
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_')
}

/// The same grammar in Lark's notation.
pub(super) fn to_lark(text: &str) -> Result<String, GbnfError> {
    let mut reader = Reader { text, at: 0, rules: Vec::new(), names: HashMap::new() };
    let mut lark = String::new();
    reader.skip(true);
    while reader.peek().is_some() {
        let start = reader.at;
        let name = reader.name()?;
        let index = reader.rule(name, start);
        reader.skip(false);
        if !reader.take("::=") {
            return Err(reader.error(format!("`::=` must follow the name `{name}`")));
        }
        if std::mem::replace(&mut reader.rules[index].is_there, true) {
            return Err(reader.error_at(start, format!("the rule `{name}` is there twice")));
        }
        reader.skip(true);
        let body = reader.alternatives(0)?;
        // Lark starts from a rule of this name.
        let written = if name == "root" { "start".to_owned() } else { format!("r{index}") };
        let _ = writeln!(lark, "{written}: {body}");
        if name == "root" {
            let _ = writeln!(lark, "r{index}: start");
        }
        reader.end_of_rule()?;
    }
    if let Some((name, rule)) = reader
        .names
        .iter()
        .map(|(name, &index)| (name, &reader.rules[index]))
        .filter(|(_, rule)| !rule.is_there)
        .min_by_key(|(_, rule)| rule.first_use)
    {
        return Err(reader.error_at(rule.first_use, format!("there is no rule `{name}`")));
    }
    if !reader.names.contains_key("root") {
        return Err(reader.error_at(0, "there is no rule `root`, with which replies start".to_owned()));
    }
    Ok(lark)
}

struct Rule {
    /// Where its name stands first.
    first_use: usize,
    is_there: bool,
}

struct Reader<'a> {
    text: &'a str,
    /// The byte that comes next.
    at: usize,
    rules: Vec<Rule>,
    names: HashMap<&'a str, usize>,
}

impl<'a> Reader<'a> {
    fn error(&self, what: String) -> GbnfError {
        self.error_at(self.at, what)
    }

    fn error_at(&self, at: usize, what: String) -> GbnfError {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        GbnfError { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1, what }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    fn take(&mut self, mark: &str) -> bool {
        let is_there = self.text[self.at..].starts_with(mark);
        self.at += if is_there { mark.len() } else { 0 };
        is_there
    }

    /// Passes over spaces and comments, and over the ends of lines if these mean nothing here.
    fn skip(&mut self, over_lines: bool) {
        while let Some(character) = self.peek() {
            match character {
                ' ' | '\t' => self.at += 1,
                '\r' | '\n' if over_lines => self.at += 1,
                '#' => self.at += self.text[self.at..].find(['\r', '\n']).unwrap_or(self.text.len() - self.at),
                _ => break,
            }
        }
    }

    fn name(&mut self) -> Result<&'a str, GbnfError> {
        let rest = &self.text[self.at..];
        let name = &rest[..rest.find(|character| !is_of_name(character)).unwrap_or(rest.len())];
        if name.is_empty() {
            return Err(self.error("a rule must start here with its name and `::=`".to_owned()));
        }
        self.at += name.len();
        Ok(name)
    }

    /// The index of a rule.
    fn rule(&mut self, name: &'a str, at: usize) -> usize {
        let rules = &mut self.rules;
        *self.names.entry(name).or_insert_with(|| {
            rules.push(Rule { first_use: at, is_there: false });
            rules.len() - 1
        })
    }

    /// A rule ends with its line.
    fn end_of_rule(&mut self) -> Result<(), GbnfError> {
        match self.peek() {
            None => return Ok(()),
            Some('\r' | '\n') => {}
            Some(')') => return Err(self.error("this `)` has no `(` before it".to_owned())),
            Some(other) => return Err(self.error(format!("`{other}` is not expected here; a rule ends with its line"))),
        }
        self.skip(true);
        Ok(())
    }

    /// Sequences with `|` between them. Within groups lines may end anywhere, in a rule before and after `|`.
    fn alternatives(&mut self, depth: usize) -> Result<String, GbnfError> {
        let mut written = self.sequence(depth)?;
        loop {
            let end = self.at;
            self.skip(true);
            if !self.take("|") {
                self.at = if depth == 0 { end } else { self.at };
                return Ok(written);
            }
            self.skip(true);
            written.push_str(" | ");
            written.push_str(&self.sequence(depth)?);
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<String, GbnfError> {
        let mut written = Vec::new();
        loop {
            self.skip(depth > 0);
            let start = self.at;
            let element = match self.peek() {
                None | Some('|' | ')' | '\r' | '\n') => break,
                Some('"') => self.literal()?,
                Some('[') => self.class()?,
                Some('.') => {
                    self.at += 1;
                    "/[\\x{0}-\\x{10FFFF}]/".to_owned()
                }
                Some('(') => self.group(depth)?,
                Some('<') => self.token()?,
                Some(character) if is_of_name(character) => {
                    let name = self.name()?;
                    let end = self.at;
                    self.skip(false);
                    if self.take("::=") {
                        self.at = start;
                        return Err(self.error(format!("the rule `{name}` must start on a line of its own")));
                    }
                    self.at = end;
                    format!("r{}", self.rule(name, start))
                }
                Some('!') => {
                    return Err(self.error("tokens that must not follow (`!<...>`) are not known here".to_owned()));
                }
                Some('*' | '+' | '?' | '{') => {
                    return Err(self.error("nothing stands here that could be repeated".to_owned()));
                }
                Some(other) => {
                    return Err(self.error(format!(
                        "`{other}` is not expected here; characters stand in quotes, as in \"{other}\""
                    )));
                }
            };
            let repeated = self.repeats(element)?;
            written.push(repeated);
        }
        // Nothing at all is an empty text.
        Ok(if written.is_empty() { "\"\"".to_owned() } else { written.join(" ") })
    }

    fn group(&mut self, depth: usize) -> Result<String, GbnfError> {
        let start = self.at;
        if depth == DEPTH_MAX {
            return Err(self.error(format!("groups are more than {DEPTH_MAX} deep")));
        }
        self.at += 1;
        let inner = self.alternatives(depth + 1)?;
        if !self.take(")") {
            return Err(self.error_at(start, "this group has no `)`".to_owned()));
        }
        Ok(format!("({inner})"))
    }

    /// The marks of repetition after an element.
    fn repeats(&mut self, mut element: String) -> Result<String, GbnfError> {
        loop {
            match self.peek() {
                Some(mark @ ('*' | '+' | '?')) => {
                    self.at += 1;
                    element = format!("({element}){mark}");
                }
                Some('{') => {
                    let start = self.at;
                    self.at += 1;
                    let least = self.number()?;
                    self.skip(false);
                    let most = if self.take(",") {
                        self.skip(false);
                        if self.peek() == Some('}') { None } else { Some(self.number()?) }
                    } else {
                        Some(least)
                    };
                    self.skip(false);
                    if !self.take("}") {
                        return Err(self.error("a repetition is written {2}, {2,} or {2,4}".to_owned()));
                    }
                    let bounds = match most {
                        Some(most) if most < least => {
                            return Err(self.error_at(start, format!("{least} to {most} times is no number of times")));
                        }
                        Some(most) => format!("{least},{most}"),
                        None => format!("{least},"),
                    };
                    element = format!("({element}){{{bounds}}}");
                }
                _ => return Ok(element),
            }
        }
    }

    fn number(&mut self) -> Result<u32, GbnfError> {
        self.skip(false);
        let rest = &self.text[self.at..];
        let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        if digits == 0 {
            return Err(self.error("a repetition is written {2}, {2,} or {2,4}".to_owned()));
        }
        match rest[..digits].parse() {
            Ok(number) if number <= REPEATS_MAX => {
                self.at += digits;
                Ok(number)
            }
            _ => Err(self.error(format!("nothing may be repeated more than {REPEATS_MAX} times"))),
        }
    }

    /// A text in quotes: one terminal for each character.
    fn literal(&mut self) -> Result<String, GbnfError> {
        let start = self.at;
        self.at += 1;
        let mut written = Vec::new();
        loop {
            match self.peek() {
                Some('"') => break,
                None | Some('\r' | '\n') => {
                    return Err(self.error_at(start, "this text has no closing quote".to_owned()));
                }
                Some(_) => written.push(format!("/\\x{{{:X}}}/", u32::from(self.character()?))),
            }
        }
        self.at += 1;
        Ok(match written.as_slice() {
            [] => "\"\"".to_owned(),
            [one] => one.clone(),
            // One thing, in case it is repeated.
            several => format!("({})", several.join(" ")),
        })
    }

    /// A class of characters.
    fn class(&mut self) -> Result<String, GbnfError> {
        let start = self.at;
        self.at += 1;
        let mut written = if self.take("^") { "/[^".to_owned() } else { "/[".to_owned() };
        let mut is_empty = true;
        loop {
            match self.peek() {
                Some(']') => break,
                None | Some('\r' | '\n') => return Err(self.error_at(start, "this class has no `]`".to_owned())),
                Some(_) => {}
            }
            let at = self.at;
            let first = self.character()?;
            let mut last = first;
            if self.text[self.at..].starts_with('-') && !self.text[self.at..].starts_with("-]") {
                self.at += 1;
                last = self.character()?;
            }
            if last < first {
                return Err(self.error_at(at, format!("the range from `{first}` to `{last}` is empty")));
            }
            let _ = write!(written, "\\x{{{:X}}}-\\x{{{:X}}}", u32::from(first), u32::from(last));
            is_empty = false;
        }
        self.at += 1;
        if is_empty {
            return Err(self.error_at(start, "the class has no characters; any character is written `.`".to_owned()));
        }
        written.push_str("]/");
        Ok(written)
    }

    /// A character of a text or a class, which may be written by a number.
    fn character(&mut self) -> Result<char, GbnfError> {
        let start = self.at;
        let ended = |reader: &Self| reader.error_at(start, "the grammar ends within a text or a class".to_owned());
        let character = self.next().ok_or_else(|| ended(self))?;
        if character != '\\' {
            return Ok(character);
        }
        let digits = match self.next().ok_or_else(|| ended(self))? {
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            same @ ('\\' | '"' | '[' | ']') => return Ok(same),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            other => {
                let known = "\\n, \\r, \\t, \\\\, \\\", \\[, \\], \\xHH, \\uHHHH and \\UHHHHHHHH";
                return Err(self.error_at(start, format!("`\\{other}` stands for nothing; known are {known}")));
            }
        };
        let number = self.text.get(self.at..self.at + digits).and_then(|digits| {
            let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            u32::from_str_radix(digits, 16).ok().filter(|_| are_digits)
        });
        let Some(number) = number else {
            return Err(self.error_at(start, format!("{digits} hexadecimal digits must follow here")));
        };
        self.at += digits;
        char::from_u32(number).ok_or_else(|| self.error_at(start, format!("{number:X} is no character of Unicode")))
    }

    /// A token of the vocabulary by its name or its number.
    fn token(&mut self) -> Result<String, GbnfError> {
        let rest = &self.text[self.at..];
        let name = rest.find('>').map(|end| &rest[..=end]).filter(|name| {
            name.len() > 2 && !name[1..].contains(|character: char| character == '<' || character.is_whitespace())
        });
        let name = name.ok_or_else(|| self.error("a token is written <name> or <[number]>".to_owned()))?;
        self.at += name.len();
        Ok(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(grammar: &str, expected: &str) {
        assert_eq!(to_lark(grammar).unwrap(), expected, "{grammar}");
    }

    #[track_caller]
    fn check_error(grammar: &str, expected: &str) {
        assert_eq!(to_lark(grammar).unwrap_err().to_string(), expected, "{grammar}");
    }

    #[test]
    fn notations_are_told_apart() {
        assert!(is_gbnf("# a comment, start: \"x\"\n\nroot ::= \"yes\""));
        assert!(is_gbnf("  a-Rule\t::=\n  [a-z]"));
        assert!(!is_gbnf("start: \"a ::= b\""));
        assert!(!is_gbnf("%llguidance {}\nstart: /::=/"));
        assert!(!is_gbnf(""));
    }

    #[test]
    fn every_form_is_translated() {
        check(
            "root ::= \"a\\n\" | x\nx ::= [^a-c\\]]",
            "start: (/\\x{61}/ /\\x{A}/) | r1\nr0: start\nr1: /[^\\x{61}-\\x{63}\\x{5D}-\\x{5D}]/\n",
        );
        check(
            "root ::= .? (\"a\" # comment\n  | )* \"é\"{2,3}",
            "start: (/[\\x{0}-\\x{10FFFF}]/)? ((/\\x{61}/ | \"\"))* (/\\x{E9}/){2,3}\nr0: start\n",
        );
        check("root ::= \"a\"{2} \"b\"{1,}\n", "start: (/\\x{61}/){2,2} (/\\x{62}/){1,}\nr0: start\n");
        check("root ::= \"a\" |\n  \"b\"\n  | root\n", "start: /\\x{61}/ | /\\x{62}/ | r0\nr0: start\n");
        check(
            "root ::= [a-] [\\x41\\u0042\\U0001F600]",
            "start: /[\\x{61}-\\x{61}\\x{2D}-\\x{2D}]/ /[\\x{41}-\\x{41}\\x{42}-\\x{42}\\x{1F600}-\\x{1F600}]/\nr0: start\n",
        );
        check("root ::= <think> <[12]>", "start: <think> <[12]>\nr0: start\n");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        check_error("root ::= word\n# end", "line 1, column 10: there is no rule `word`");
        check_error("word ::= \"a\"", "line 1, column 1: there is no rule `root`, with which replies start");
        check_error("root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: the rule `root` is there twice");
        check_error("root ::= \"a\n", "line 1, column 10: this text has no closing quote");
        check_error("root ::= (\"a\"\n", "line 1, column 10: this group has no `)`");
        check_error("root ::= \"a\")", "line 1, column 13: this `)` has no `(` before it");
        check_error("root ::= [a", "line 1, column 10: this class has no `]`");
        check_error("root ::= [z-a]", "line 1, column 11: the range from `z` to `a` is empty");
        check_error("root ::= []", "line 1, column 10: the class has no characters; any character is written `.`");
        check_error(
            "root ::= \"é\\q\"",
            "line 1, column 12: `\\q` stands for nothing; known are \\n, \\r, \\t, \\\\, \\\", \\[, \\], \\xHH, \\uHHHH and \\UHHHHHHHH",
        );
        check_error("root ::= \"\\x4\"", "line 1, column 11: 2 hexadecimal digits must follow here");
        check_error("root ::= \"\\uD800\"", "line 1, column 11: D800 is no character of Unicode");
        check_error("root ::= *", "line 1, column 10: nothing stands here that could be repeated");
        check_error("root ::= \"a\"{3,2}", "line 1, column 13: 3 to 2 times is no number of times");
        check_error("root ::= \"a\"{2001}", "line 1, column 14: nothing may be repeated more than 2000 times");
        check_error("root ::= \"a\"{,2}", "line 1, column 14: a repetition is written {2}, {2,} or {2,4}");
        check_error("root ::= \"a\" x ::= \"b\"", "line 1, column 14: the rule `x` must start on a line of its own");
        check_error("root \"a\"", "line 1, column 6: `::=` must follow the name `root`");
        check_error(
            "root ::= !<think>",
            "line 1, column 10: tokens that must not follow (`!<...>`) are not known here",
        );
        check_error(
            "root ::= a, b",
            "line 1, column 11: `,` is not expected here; characters stand in quotes, as in \",\"",
        );
        check_error("::= a", "line 1, column 1: a rule must start here with its name and `::=`");
        check_error(&format!("root ::= {}", "(".repeat(300)), "line 1, column 110: groups are more than 100 deep");
    }

    #[test]
    fn cut_grammars_are_errors_or_grammars_but_never_panics() {
        let grammar = "root ::= \"a\\u00e9\" (x | [^\\x00-\\x1f\"])* <t> # é\nx ::= .{1,2}\n";
        for end in (0..=grammar.len()).filter(|&end| grammar.is_char_boundary(end)) {
            let _ = to_lark(&grammar[..end]);
        }
    }
}
