//! Names of modules as exception lists write them: whole, by a part, with `*`, or as an expression.

use std::collections::HashSet;

use regex_lite::{Regex, RegexBuilder};

/// Components before the layers that tools add or leave out.
const WRAPPERS: &[&str] = &["model", "language_model", "backbone", "transformer", "module", "text_model", "thinker"];

/// Largest compiled expression; real ones take a few hundred bytes.
const EXPRESSION_BYTES_MAX: usize = 1 << 16;

/// A set of module names.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns {
    /// Whole names of modules; everything below them belongs to them.
    names: HashSet<String>,
    /// Beginnings of names (`layers.3.self_attn*`).
    beginnings: HashSet<String>,
    /// Parts of names (`gate`, `mlp.gate`), whole components.
    parts: Vec<String>,
    /// Names with `*` elsewhere, split there.
    globs: Vec<Vec<String>>,
    expressions: Vec<Regex>,
}

/// One spelling for every tool: wrappers left out, `ffn` and its like called `mlp`.
pub(super) fn normalised(name: &str) -> String {
    let mut components = name.split('.').peekable();
    while let Some(first) = components.peek() {
        if !WRAPPERS.contains(first) {
            break;
        }
        components.next();
    }
    let renamed = components.map(|component| match component {
        "ffn" | "block_sparse_moe" | "feed_forward" => "mlp",
        "attn" | "attention" => "self_attn",
        "shared_expert" => "shared_experts",
        "head" | "output" => "lm_head",
        other => other,
    });
    let joined = renamed.collect::<Vec<_>>().join(".");
    // A list may name a wrapper alone.
    if joined.is_empty() { name.to_owned() } else { joined }
}

impl Patterns {
    /// The set of `texts`. Expressions that cannot be compiled come back as remarks.
    pub(super) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> (Self, Vec<String>) {
        let mut patterns = Self::default();
        let mut remarks = Vec::new();
        for text in texts {
            if let Err(remark) = patterns.add(text) {
                remarks.push(remark);
            }
        }
        (patterns, remarks)
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        if let Some(expression) = text.strip_prefix("re:") {
            // Tools match from the start of the name, not to its end.
            let compiled = RegexBuilder::new(&format!("^(?:{expression})")).size_limit(EXPRESSION_BYTES_MAX).build();
            self.expressions.push(compiled.map_err(|error| format!("`{text}` is no usable expression: {error}"))?);
            return Ok(());
        }
        let text = normalised(text);
        match text.strip_suffix('*') {
            Some(beginning) if !beginning.contains('*') && !beginning.is_empty() => {
                self.beginnings.insert(beginning.to_owned());
            }
            _ if text.contains('*') => self.globs.push(text.split('*').map(str::to_owned).collect()),
            _ if text.starts_with("layers.") => {
                self.names.insert(text);
            }
            _ if text.is_empty() => {}
            _ => self.parts.push(text),
        }
        Ok(())
    }

    /// Whether there is nothing to match.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
            && self.beginnings.is_empty()
            && self.parts.is_empty()
            && self.globs.is_empty()
            && self.expressions.is_empty()
    }

    /// Whether the set covers `module`, given as [`normalised`] makes it.
    pub(super) fn matches(&self, module: &str) -> bool {
        self.holds_name(module)
            || self.holds_beginning(module)
            || self.parts.iter().any(|part| has_part(module, part))
            || self.globs.iter().any(|pieces| is_glob_of(pieces, module))
            || self.holds_expression(module)
    }

    fn holds_name(&self, module: &str) -> bool {
        !self.names.is_empty()
            && (self.names.contains(module)
                || module.match_indices('.').any(|(at, _)| self.names.contains(&module[..at])))
    }

    fn holds_beginning(&self, module: &str) -> bool {
        !self.beginnings.is_empty()
            && module.char_indices().any(|(at, letter)| self.beginnings.contains(&module[..at + letter.len_utf8()]))
    }

    fn holds_expression(&self, module: &str) -> bool {
        if self.expressions.is_empty() {
            return false;
        }
        let spellings = [module.to_owned(), format!("model.{module}"), format!("language_model.model.{module}")];
        self.expressions.iter().any(|expression| spellings.iter().any(|spelling| expression.is_match(spelling)))
    }
}

/// Whether `part` stands in `module` as whole components.
fn has_part(module: &str, part: &str) -> bool {
    module.match_indices(part).any(|(at, _)| {
        let starts = at == 0 || module[..at].ends_with('.');
        let rest = &module[at + part.len()..];
        starts && (rest.is_empty() || rest.starts_with('.'))
    })
}

/// Whether `pieces` stand in `module` in order, the first at its start and the last at its end.
fn is_glob_of(pieces: &[String], module: &str) -> bool {
    let (Some((first, inner)), Some(last)) = (pieces.split_first(), pieces.last()) else { return false };
    let Some(mut rest) = module.strip_prefix(first.as_str()) else { return false };
    for piece in &inner[..inner.len().saturating_sub(1)] {
        match rest.find(piece.as_str()) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, module: &str) -> bool {
        Patterns::parse([pattern]).0.matches(&normalised(module))
    }

    #[test]
    fn lists_match_names_parts_globs_and_expressions() {
        assert!(matches("lm_head", "lm_head"));
        assert!(matches("language_model.lm_head", "lm_head"));
        assert!(matches("model.layers.0.mlp", "model.layers.0.mlp.up_proj"));
        assert!(!matches("model.layers.1", "model.layers.10.mlp.up_proj"));
        assert!(matches("re:.*mlp.gate$", "model.layers.3.mlp.gate"));
        assert!(!matches("re:.*mlp.gate$", "model.layers.3.mlp.gate_proj"));
        assert!(matches("re:.*mlp\\.(gate|up|gate_up|down)_proj.*", "model.layers.0.mlp.down_proj"));
        assert!(!matches("re:.*mlp\\.(gate|up|down)_proj.*", "model.layers.4.mlp.experts.0.down_proj"));
        assert!(matches("re:model.layers.[0-2].*", "model.layers.2.self_attn.q_proj"));
        assert!(matches("model.layers.*.self_attn*", "model.layers.7.self_attn.q_proj"));
        assert!(matches("gate", "model.layers.3.block_sparse_moe.gate"));
        assert!(!matches("gate", "model.layers.3.mlp.gate_proj"));
    }

    #[test]
    fn spellings_of_different_tools_meet() {
        assert!(matches("language_model.model.layers.3.self_attn*", "model.layers.3.self_attn.q_b_proj"));
        assert!(matches("*.attn.*", "model.layers.3.self_attn.q_a_proj"));
        assert!(matches("*.ffn.shared_experts.*", "model.layers.3.mlp.shared_experts.up_proj"));
        assert!(matches(
            "model.language_model.layers.0.mlp.shared_expert*",
            "model.layers.0.mlp.shared_expert.up_proj"
        ));
        assert!(matches("backbone.layers.4.mixer.in_proj", "backbone.layers.4.mixer.in_proj"));
    }

    #[test]
    fn hostile_expressions_are_refused_not_run() {
        let (patterns, remarks) = Patterns::parse(["re:(a{1000}){1000}", "re:(", "gate"]);
        assert_eq!(remarks.len(), 2);
        assert!(remarks[1].starts_with("`re:(` is no usable expression"));
        assert!(patterns.matches("layers.0.mlp.gate"));
    }
}
