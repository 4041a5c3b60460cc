//! Replies that follow a JSON schema or a grammar.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};

use crate::text::Tokenizer;

use super::gbnf::{self, GbnfError};

/// A grammar that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// The tokenizer has no token that ends a reply.
    #[error("the vocabulary has no token that ends a reply")]
    NoEnd,
    /// The vocabulary cannot be prepared.
    #[error("the vocabulary cannot be prepared for grammars: {0}")]
    Vocabulary(String),
    /// The schema or grammar is wrong or asks for too much.
    #[error("the grammar cannot be used: {0}")]
    Grammar(String),
    /// A grammar in GBNF that is wrong.
    #[error("the grammar cannot be used: {0}")]
    Gbnf(GbnfError),
    /// A schema that is no JSON schema.
    #[error("the text is no JSON schema: {0}")]
    Schema(String),
    /// A token that the grammar does not allow here.
    #[error("token {token} is not allowed here: {reason}")]
    Token {
        /// The token.
        token: u32,
        /// Why.
        reason: String,
    },
}

/// What a reply must look like, by the names of OpenAI's `response_format` as far as it has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ResponseFormat {
    /// Any text.
    #[default]
    Text,
    /// A JSON object (`json_object`).
    JsonObject,
    /// JSON that follows this schema (`json_schema`).
    JsonSchema(String),
    /// Text that this regular expression matches as a whole.
    Regex(String),
    /// Text that follows this grammar, in Lark's notation or in GBNF.
    Grammar(String),
}

/// Space between the words of JSON: none, one, or a line's end and its indentation. A model that has nothing to say would
/// go on with spaces otherwise, of which JSON allows any number.
const SPACE: &str = r"( |\n[ \t]{0,20})";

/// The first line of what the library says, without what it shows of its own state.
fn one_line(error: &str) -> String {
    error.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason was given").to_owned()
}

/// A vocabulary as the grammar library sees it.
struct Words {
    trie: TokTrie,
}

impl TokenizerEnv for Words {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        self.trie.greedy_tokenize(text)
    }

    /// The model chooses how text is cut into tokens; nothing is forced upon it.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

/// Makes constraints for one vocabulary. Preparing it takes a while; constraints then are cheap.
pub struct ConstraintFactory {
    factory: ParserFactory,
    ends: Arc<[u32]>,
}

impl std::fmt::Debug for ConstraintFactory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ConstraintFactory").field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl ConstraintFactory {
    /// Prepares a vocabulary.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, ConstraintError> {
        let ends: Arc<[u32]> = tokenizer.ends().into();
        let &end = ends.first().ok_or(ConstraintError::NoEnd)?;
        let count = u32::try_from(tokenizer.vocabulary_size()).unwrap_or(u32::MAX);
        let words: Vec<Vec<u8>> = (0..count)
            .map(|id| {
                let mut word = tokenizer.token_bytes(id);
                if tokenizer.is_control(id) || tokenizer.is_end(id) {
                    word.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
                }
                word
            })
            .collect();
        let trie = TokTrie::from(&TokRxInfo::new(count, end), &words);
        let environment: TokEnv = Arc::new(Words { trie });
        let mut factory =
            ParserFactory::new_simple(&environment).map_err(|error| ConstraintError::Vocabulary(error.to_string()))?;
        factory.quiet();
        Ok(Self { factory, ends })
    }

    /// What a format asks of replies; none for plain text.
    pub fn of(&self, format: &ResponseFormat) -> Result<Option<Constraint>, ConstraintError> {
        Ok(Some(match format {
            ResponseFormat::Text => return Ok(None),
            ResponseFormat::JsonObject => self.json_schema(r#"{"type": "object"}"#)?,
            ResponseFormat::JsonSchema(schema) => self.json_schema(schema)?,
            ResponseFormat::Regex(pattern) => self.regex(pattern)?,
            ResponseFormat::Grammar(grammar) => self.grammar(grammar)?,
        }))
    }

    /// Replies are JSON that follows this schema.
    pub fn json_schema(&self, schema: &str) -> Result<Constraint, ConstraintError> {
        let mut schema: serde_json::Value =
            serde_json::from_str(schema).map_err(|error| ConstraintError::Schema(error.to_string()))?;
        if !(schema.is_object() || schema.is_boolean()) {
            return Err(ConstraintError::Schema("it is neither an object nor true or false".to_owned()));
        }
        // The library's own settings, which a schema may state itself.
        if let Some(object) = schema.as_object_mut() {
            object.entry("x-guidance").or_insert_with(|| serde_json::json!({"whitespace_pattern": SPACE}));
        }
        self.constraint(TopLevelGrammar::from_json_schema(schema))
    }

    /// Replies match this regular expression as a whole.
    pub fn regex(&self, pattern: &str) -> Result<Constraint, ConstraintError> {
        self.constraint(TopLevelGrammar::from_regex(pattern))
    }

    /// Replies follow this grammar, in Lark's notation or in GBNF.
    pub fn grammar(&self, grammar: &str) -> Result<Constraint, ConstraintError> {
        let lark = if gbnf::is_gbnf(grammar) {
            gbnf::to_lark(grammar).map_err(ConstraintError::Gbnf)?
        } else {
            grammar.to_owned()
        };
        self.constraint(TopLevelGrammar::from_lark(lark))
    }

    fn constraint(&self, grammar: TopLevelGrammar) -> Result<Constraint, ConstraintError> {
        let matcher = Matcher::new(self.factory.create_parser(grammar));
        match matcher.get_error() {
            Some(error) => Err(ConstraintError::Grammar(one_line(&error))),
            None => Ok(Constraint { matcher, ends: Arc::clone(&self.ends), is_finished: false }),
        }
    }
}

/// Follows one reply through a grammar.
#[derive(Clone)]
pub struct Constraint {
    matcher: Matcher,
    ends: Arc<[u32]>,
    is_finished: bool,
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Constraint").field("is_finished", &self.is_finished).finish_non_exhaustive()
    }
}

impl Constraint {
    /// Makes the logits of all tokens that must not come next minus infinity.
    pub fn mask(&mut self, logits: &mut [f32]) -> Result<(), ConstraintError> {
        let allowed =
            self.matcher.compute_mask_or_eos().map_err(|error| ConstraintError::Grammar(error.to_string()))?;
        let may_end = self.is_finished || self.ends.iter().any(|&end| allowed.is_allowed(end));
        let ends: Vec<f32> = self.ends.iter().filter_map(|&end| logits.get(end as usize).copied()).collect();
        // Models pad their logits beyond the vocabulary.
        let padding = allowed.len().min(logits.len());
        logits[padding..].fill(f32::NEG_INFINITY);
        for (bits, logits) in allowed.as_slice().iter().zip(logits.chunks_mut(32)) {
            match *bits {
                0 => logits.fill(f32::NEG_INFINITY),
                u32::MAX => {}
                bits => {
                    for (_, logit) in logits.iter_mut().enumerate().filter(|(place, _)| bits >> place & 1 == 0) {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
        // All ends are one to the grammar, which knows a single one.
        for (&end, logit) in self.ends.iter().zip(ends) {
            logits[end as usize] = if may_end { logit } else { f32::NEG_INFINITY };
        }
        Ok(())
    }

    /// Goes on by the token that was chosen.
    pub fn accept(&mut self, token: u32) -> Result<(), ConstraintError> {
        let wrong = |reason: String| ConstraintError::Token { token, reason };
        if self.ends.binary_search(&token).is_ok() {
            let may_end = self.is_finished
                || self.matcher.is_stopped()
                || self.matcher.is_accepting().map_err(|error| wrong(error.to_string()))?;
            self.is_finished = may_end;
            return if may_end { Ok(()) } else { Err(wrong("the reply is not complete".to_owned())) };
        }
        self.matcher.consume_token(token).map_err(|error| wrong(error.to_string()))?;
        self.is_finished = self.matcher.is_stopped();
        Ok(())
    }

    /// Whether nothing but an end may follow.
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::{History, Random, Sampler, SamplingSettings};

    fn tokenizer(name: &str) -> Tokenizer {
        let path = format!("{}/testdata/tokenizers/{name}.json", env!("CARGO_MANIFEST_DIR"));
        Tokenizer::from_json(&std::fs::read(path).unwrap()).unwrap()
    }

    /// A reply drawn at random from what the constraint allows.
    fn reply(tokenizer: &Tokenizer, mut constraint: Constraint, seed: u64) -> String {
        let settings = SamplingSettings { temperature: 1.0, seed, ..SamplingSettings::default() };
        let mut sampler = Sampler::new(settings).unwrap();
        let mut random = Random::new(seed);
        let mut tokens = Vec::new();
        for _ in 0..2000 {
            // Ends are likely, so that lists and texts do not go on for ever; padding must be masked.
            #[expect(clippy::cast_possible_truncation, reason = "test data")]
            let mut logits: Vec<f32> = (0..tokenizer.vocabulary_size() + 8).map(|_| random.fraction() as f32).collect();
            for id in (0..).take(tokenizer.vocabulary_size()) {
                let is_closing = matches!(tokenizer.token_bytes(id).as_slice(), b"\"" | b"}" | b"]");
                logits[id as usize] += if is_closing || tokenizer.is_end(id) { 8.0 } else { 0.0 };
            }
            constraint.mask(&mut logits).unwrap();
            let token = sampler.sample(&mut logits, History::default()).unwrap().token;
            constraint.accept(token).unwrap();
            if tokenizer.is_end(token) {
                return tokenizer.decode(&tokens);
            }
            tokens.push(token);
        }
        panic!("no end: {}", tokenizer.decode(&tokens));
    }

    #[test]
    fn random_replies_follow_the_schema() {
        let schema = r##"{"type": "object", "properties": {
            "name": {"type": "string", "maxLength": 12},
            "size": {"type": "integer", "minimum": 3, "maximum": 40},
            "kind": {"enum": ["a", "b"]},
            "list": {"type": "array", "items": {"$ref": "#/$defs/flag"}, "maxItems": 4}
        }, "required": ["name", "size", "kind", "list"], "additionalProperties": false,
        "$defs": {"flag": {"type": "boolean"}}}"##;
        let tokenizer = tokenizer("byte-llama-bpe");
        let factory = ConstraintFactory::new(&tokenizer).unwrap();
        for seed in 0..20 {
            let text = reply(&tokenizer, factory.json_schema(schema).unwrap(), seed);
            let value: serde_json::Value =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(value["name"].as_str().unwrap().chars().count() <= 12, "{text}");
            assert!((3..=40).contains(&value["size"].as_i64().unwrap()), "{text}");
            assert!(["a", "b"].contains(&value["kind"].as_str().unwrap()), "{text}");
            assert!(value["list"].as_array().unwrap().iter().all(serde_json::Value::is_boolean), "{text}");
        }
    }

    #[test]
    fn patterns_and_grammars_are_followed() {
        let tokenizer = tokenizer("byte-gpt-2");
        let factory = ConstraintFactory::new(&tokenizer).unwrap();
        for seed in 0..20 {
            let text = reply(&tokenizer, factory.regex("[ab]{3}-[0-9]{2}").unwrap(), seed);
            assert!(text.len() == 6 && &text[3..4] == "-" && text[4..].parse::<u8>().is_ok(), "{text}");
            let text = reply(
                &tokenizer,
                factory
                    .grammar(
                        r#"start: "yes" | "no" ", " WORD
WORD: /[a-z]{1,4}/"#,
                    )
                    .unwrap(),
                seed,
            );
            assert!(text == "yes" || text.starts_with("no, "), "{text}");
        }
    }

    /// Forms as those that llama.cpp ships: JSON, arithmetic over several lines, a list, moves of a game, Japanese.
    #[test]
    fn grammars_in_gbnf_are_followed() {
        let tokenizer = tokenizer("byte-gpt-2");
        let factory = ConstraintFactory::new(&tokenizer).unwrap();
        let of = |grammar: &str, seed| reply(&tokenizer, factory.grammar(grammar).unwrap(), seed);
        let json = r#"# One object.
root ::= object
value ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
    string ":" ws value
    ("," ws string ":" ws value){0,2}
  )? "}" ws
array ::= "[" ws (value ("," ws value){0,2})? "]" ws
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4})){0,9} "\"" ws
number ::= "-"? ([0-9] | [1-9] [0-9]{0,9}) ("." [0-9]+)? ws
ws ::= | " " | "\n" [ \t]{0,3}
"#;
        let arithmetic = "root ::= (expression \"=\" term \"\\n\"){1,3}\nexpression ::= term ([-+*/] term){0,4}\nterm ::= num | \"(\" term \")\"\nnum ::= [0-9]{1,3}\n";
        for seed in 0..20 {
            let text = of(json, seed);
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|value| value.is_object()), "{text}");
            let text = of(arithmetic, seed);
            let lines: Vec<&str> = text.lines().collect();
            assert!((1..=3).contains(&lines.len()) && text.ends_with('\n'), "{text}");
            assert!(lines.iter().all(|line| line.contains('=') && !line.contains("==")), "{text}");
            let text = of("root ::= item+\nitem ::= \"- \" [^\\r\\n\\x0b]{1,8} \"\\n\"", seed);
            assert!(text.lines().all(|line| line.starts_with("- ") && line.chars().count() <= 10), "{text}");
            let text = of("root ::= [ぁ-ん]{2,5} \"。\"", seed);
            assert!((3..=6).contains(&text.chars().count()) && text.ends_with('。'), "{text}");
            // The longest text is not taken where only the shorter one leads on, nor the other way round.
            let text = of("root ::= \"ab\" | [a-z] \"bc\"", seed);
            assert!(text == "ab" || text.len() == 3 && text.ends_with("bc"), "{text}");
        }
        let mut constraint = factory.grammar("root ::= \"ab\" | [a-z] \"bc\"").unwrap();
        for letter in ["a", "b", "c"] {
            constraint.accept(tokenizer.id(letter).unwrap()).unwrap();
        }
        assert!(constraint.is_finished());
    }

    #[test]
    fn what_is_wrong_is_an_error() {
        let tokenizer = tokenizer("byte-gpt-2");
        let factory = ConstraintFactory::new(&tokenizer).unwrap();
        assert!(matches!(factory.json_schema("{"), Err(ConstraintError::Schema(_))));
        assert!(matches!(factory.json_schema("3"), Err(ConstraintError::Schema(_))));
        assert!(matches!(factory.grammar("root ::= yes"), Err(ConstraintError::Gbnf(_))));
        assert!(factory.regex("(").unwrap_err().to_string().lines().count() == 1);
        assert!(matches!(factory.json_schema(r#"{"type": "nothing"}"#), Err(ConstraintError::Grammar(_))));
        assert!(matches!(factory.grammar("start: nothing"), Err(ConstraintError::Grammar(_))));
        let mut constraint = factory.regex("ab").unwrap();
        let end = tokenizer.ends()[0];
        assert!(matches!(constraint.accept(end), Err(ConstraintError::Token { .. })));
        let id = tokenizer.id("z").unwrap();
        assert!(matches!(constraint.accept(id), Err(ConstraintError::Token { token, .. }) if token == id));
    }
}
