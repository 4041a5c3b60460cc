//! Chat templates: a conversation as the model was trained to see it.
//!
//! Templates are written for Jinja2 as Hugging Face's `transformers` sets it
//! up, so that setup is kept here: `trim_blocks`, `lstrip_blocks`, loop
//! controls, Python's string methods and JSON, `raise_exception`,
//! `strftime_now`. A template comes with a model, from anybody: it reaches
//! nothing but its arguments, and its steps are counted.

mod date;
mod environment;
mod json;
mod methods;

use minijinja::Environment;
use minijinja::value::Value;

pub use date::Date;
pub use json::Json;

/// The name under which the environment knows the template.
const NAME: &str = "chat_template";

/// One message of a conversation.
///
/// It is a JSON object, in the order in which it was written: `role`,
/// `content` (a text or a list of parts), and what else the model's template
/// reads, such as `tool_calls`, `tool_call_id` or `reasoning_content`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(transparent)]
pub struct Message(Json);

impl Message {
    /// A message of text.
    pub fn new(role: &str, content: &str) -> Self {
        let fields = [("role", Value::from(role)), ("content", Value::from(content))];
        Self(Json(Value::from_pairs(fields)))
    }

    /// The message with a further field, or with another value of one.
    pub fn with(self, name: &str, value: Json) -> Self {
        let own = self.0.0.try_iter().into_iter().flatten().filter(|key| key.as_str() != Some(name));
        let kept = own.map(|key| {
            let value = self.0.0.get_item(&key).unwrap_or_default();
            (key, value)
        });
        let fields: Vec<(Value, Value)> = kept.chain([(Value::from(name), value.0)]).collect();
        Self(Json(Value::from_pairs(fields)))
    }
}

impl From<Json> for Message {
    fn from(message: Json) -> Self {
        Self(message)
    }
}

/// What a rendering is told besides the messages.
#[derive(Clone, Debug, Default)]
pub struct TemplateOptions {
    /// Whether the text ends with the start of a reply.
    pub add_generation_prompt: bool,
    /// Tools that the model may call, as JSON objects.
    pub tools: Option<Vec<Json>>,
    /// The time that `strftime_now` tells; without it, templates do not find that function.
    pub date: Option<Date>,
    /// Further variables, such as `enable_thinking`.
    pub extra: Vec<(String, Json)>,
}

/// A template that cannot be read or that fails.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The source is no template.
    #[error("the chat template is not valid (line {line})")]
    Syntax {
        /// The line.
        line: usize,
        /// What is wrong there.
        #[source]
        source: minijinja::Error,
    },
    /// The template refuses the conversation.
    #[error("the chat template refuses the conversation: {0}")]
    Refused(String),
    /// The template fails on the conversation.
    #[error("the chat template fails (line {line})")]
    Failed {
        /// The line.
        line: usize,
        /// What happened there.
        #[source]
        source: minijinja::Error,
    },
    /// A text that is no JSON.
    #[error("this is no JSON")]
    Json(#[source] serde_json::Error),
}

/// A chat template that is ready to render.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: Option<String>,
    eos: Option<String>,
}

impl ChatTemplate {
    /// Reads a template; `bos` and `eos` are the texts of these tokens, where the model has them.
    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<Self, TemplateError> {
        let mut environment = environment::new();
        environment
            .add_template_owned(NAME, environment::prepared(source))
            .map_err(|source| TemplateError::Syntax { line: source.line().unwrap_or_default(), source })?;
        Ok(Self { environment, bos: bos.map(str::to_owned), eos: eos.map(str::to_owned) })
    }

    /// The text of a conversation.
    pub fn render(&self, messages: &[Message], options: &TemplateOptions) -> Result<String, TemplateError> {
        let failed =
            |source: minijinja::Error| TemplateError::Failed { line: source.line().unwrap_or_default(), source };
        let values = |list: &[Json]| list.iter().map(|json| json.0.clone()).collect::<Vec<_>>();
        let mut context = vec![
            ("messages", messages.iter().map(|message| message.0.0.clone()).collect::<Vec<_>>().into()),
            ("tools", options.tools.as_deref().map_or(Value::from(()), |tools| values(tools).into())),
            ("documents", Value::from(())),
            ("add_generation_prompt", options.add_generation_prompt.into()),
        ];
        context.extend(self.bos.as_deref().map(|bos| ("bos_token", bos.into())));
        context.extend(self.eos.as_deref().map(|eos| ("eos_token", eos.into())));
        context.extend(options.date.map(|date| ("strftime_now", date.function())));
        context.extend(options.extra.iter().map(|(name, json)| (name.as_str(), json.0.clone())));
        let context = Value::from_pairs(context);
        let template = self.environment.get_template(NAME).map_err(failed)?;
        template.render(context).map_err(|error| match environment::refusal(&error) {
            Some(message) => TemplateError::Refused(message),
            None => failed(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        let messages =
            [Message::new("user", " Hi <b> ").with("n", Json::parse(r#"{"z": 1, "a": [true, null]}"#).unwrap())];
        let template = ChatTemplate::new(source, Some("<s>"), None).unwrap();
        let date = Date::from_unix_seconds(1_795_955_696);
        let options = TemplateOptions { date: Some(date), ..TemplateOptions::default() };
        let found = template.render(&messages, &options).unwrap_or_else(|error| panic!("{source}: {error:?}"));
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn the_setup_is_that_of_transformers() {
        check("{{ bos_token }}{{ eos_token }}|{{ tools }}", "<s>|None");
        check("{% if true %}\n  a\n  {% endif %}\nb\n", "  a\nb");
        check("{{ messages[0].content }}", " Hi <b> ");
        check("{{ messages[0]['content'].strip() | tojson }}", r#""Hi <b>""#);
        check("{{ messages[0].n | tojson }}", r#"{"z": 1, "a": [true, null]}"#);
        check("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01");
        check("{% generation %}x{%- endgeneration -%} y", "xy");
        check("a\r\n{{ 'b\rc' }}\r\n", "a\nb\nc");
        check("{{ none is iterable }}{{ 'a' is iterable }}{{ 1 is iterable }}", "FalseTrueFalse");
        check("{% set ns = namespace(a=1) %}{% set ns.a = 2 %}{{ ns.a }}", "2");
        check("{{ strftime_now('%d %b %Y') }}", "29 Nov 2026");
        check("{{ 'a-b-c'.rsplit('-', 1)[0] }}{{ 'abc'.removeprefix('a') }}{{ 'abc'.removesuffix('c') }}", "a-bbcab");
    }

    #[test]
    fn failures_are_one_error() {
        let error = ChatTemplate::new("a\n{% if %}", None, None).unwrap_err().to_string();
        assert_eq!(error, "the chat template is not valid (line 2)");
        let fails = |source: &str| {
            let template = ChatTemplate::new(source, None, None).unwrap();
            template.render(&[], &TemplateOptions::default()).unwrap_err().to_string()
        };
        let refused = fails("{{ raise_exception('Roles must alternate') }}");
        assert_eq!(refused, "the chat template refuses the conversation: Roles must alternate");
        assert_eq!(fails("\n{{ nothing.here.at_all }}"), "the chat template fails (line 2)");
        assert_eq!(fails("{{ strftime_now('%d') }}"), "the chat template fails (line 1)");
        let endless = "{% for i in range(9999) %}{% for j in range(9999) %}{{ i }}{% endfor %}{% endfor %}";
        assert_eq!(fails(endless), "the chat template fails (line 1)");
    }
}
