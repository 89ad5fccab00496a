//! Conversations as text and tokens: Jinja chat templates, as Hugging Face model folders ship them.
//!
//! Text, token ids and the loss mask come from one rendering, so that a model is trained on the
//! very tokens it is asked with later.

mod environment;
mod literal;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use minijinja::{Environment, Value};
use serde::{Deserialize, Serialize};

use self::environment::TEMPLATE;
use crate::error::ChatError;
use crate::tokenizer::{Placed, Tokenizer};

/// Texts that begin or end a turn and that a model may write where its vocabulary has no token for
/// them; generation stops there.
const TURN_MARKERS: [&str; 2] = ["### Human:", "<|im_end|>"];

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The human.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name that templates and data sets use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; plain text, in which special tokens have no meaning.
    pub content: String,
}

impl Message {
    /// A turn of the system.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: Role::System, content: content.into() }
    }

    /// A turn of the human.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    /// A turn of the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }

    fn to_jinja(&self) -> Value {
        Value::from_pairs([("role", self.role.as_str()), ("content", self.content.as_str())])
    }
}

/// How a conversation is written down for a model.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
}

impl ChatTemplate {
    /// `### Human: …### Assistant: …`, the rows of openassistant-guanaco, with the end token after
    /// each answer (TinyLlama-Chat-v0.1).
    pub fn guanaco() -> Self {
        Self::shipped(include_str!("templates/guanaco.jinja"))
    }

    /// `<|im_start|>role`, newline, content, `<|im_end|>` (TinyLlama-Chat-v0.2 to v0.5).
    pub fn chatml() -> Self {
        Self::shipped(include_str!("templates/chatml.jinja"))
    }

    /// `<|role|>`, newline, content, end token (TinyLlama-Chat-v0.6 and v1.0).
    pub fn zephyr() -> Self {
        Self::shipped(include_str!("templates/zephyr.jinja"))
    }

    /// Compiles a Jinja chat template.
    ///
    /// # Errors
    /// The template is not valid Jinja.
    pub fn from_source(source: &str) -> Result<Self, ChatError> {
        let environment =
            environment::environment(source).map_err(|source| ChatError::Syntax { source })?;
        Ok(Self { source: source.to_owned(), environment })
    }

    /// As [`ChatTemplate::from_source`], of a template that stands in `path`.
    pub(crate) fn from_source_of(path: &Path, source: &str) -> Result<Self, ChatError> {
        Self::from_source(source)
            .map_err(|source| ChatError::InFile { path: path.to_owned(), source: Box::new(source) })
    }

    /// The template of a model folder: `chat_template.jinja`, else `chat_template` in
    /// `tokenizer_config.json` (of several the one called `default`); `None` where it has none.
    ///
    /// # Errors
    /// A file cannot be read, or its template is not valid Jinja.
    pub fn from_folder(folder: &Path) -> Result<Option<Self>, ChatError> {
        let path = folder.join("chat_template.jinja");
        if let Some(source) = read(&path)? {
            return Self::from_source_of(&path, &source).map(Some);
        }
        let path = folder.join("tokenizer_config.json");
        let Some(text) = read(&path)? else { return Ok(None) };
        let config: TokenizerConfig = serde_json::from_str(&text)
            .map_err(|source| ChatError::Settings { path: path.clone(), source })?;
        match config.chat_template {
            None => Ok(None),
            Some(TemplateJson::One(source)) => Self::from_source_of(&path, &source).map(Some),
            Some(TemplateJson::Named(templates)) => {
                match templates.iter().find(|named| named.name == "default") {
                    Some(named) => Self::from_source_of(&path, &named.template).map(Some),
                    None => {
                        let names = templates.into_iter().map(|named| named.name).collect();
                        Err(ChatError::NoDefault { path, names })
                    }
                }
            }
        }
    }

    /// The Jinja source, for [`Tokenizer::save`].
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as one text. `add_generation_prompt` appends what stands before an answer.
    ///
    /// # Errors
    /// The template refuses the conversation, needs a special token that `tokenizer` lacks, or
    /// takes too many steps.
    pub fn render(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, ChatError> {
        let mut context = vec![
            ("messages", messages.iter().map(Message::to_jinja).collect()),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
        ];
        // Absent ones stay undefined, as in transformers, so that a template notices.
        context.extend(tokenizer.bos_token().map(|token| ("bos_token", Value::from(token))));
        context.extend(tokenizer.eos_token().map(|token| ("eos_token", Value::from(token))));
        let context = Value::from_pairs(context);
        let template = self.environment.get_template(TEMPLATE);
        template
            .and_then(|template| template.render(context))
            .map_err(|source| ChatError::Render { source })
    }

    /// The conversation as token ids. Special tokens count only where the template writes them.
    /// BOS stands in front if the template writes it or if the tokenizer puts it before every text
    /// (transformers: `tokenizer(rendered_text)`), and never twice.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; or a message contains the text of a special token and the
    /// template changes it on the way.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>, ChatError> {
        let text = self.render(tokenizer, messages, add_generation_prompt)?;
        let tokens = self.tokens(tokenizer, messages, add_generation_prompt, &text)?;
        Ok(tokens.into_iter().map(|(id, _)| id).collect())
    }

    /// The finished conversation as token ids, and for each id whether the model is to learn it:
    /// true exactly for what the assistant says, from where the generation prompt ends, up to and
    /// with the stop token after it.
    ///
    /// # Errors
    /// As [`ChatTemplate::encode`]; or the template does not write a conversation as a continuation
    /// of its beginning, or writes no stop token after an answer.
    pub fn encode_with_mask(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
    ) -> Result<(Vec<u32>, Vec<bool>), ChatError> {
        let text = self.render(tokenizer, messages, false)?;
        let tokens = self.tokens(tokenizer, messages, false, &text)?;
        let mut mask = vec![false; tokens.len()];
        for (index, message) in messages.iter().enumerate() {
            if message.role != Role::Assistant {
                continue;
            }
            let answer = self.answer(tokenizer, &messages[..=index], &text, index)?;
            let within = |(_, range): &Placed| {
                answer.start <= range.start && range.end <= answer.end && !range.is_empty()
            };
            // What a template writes behind the stop token, a newline, is not the model's to say.
            let stop = (tokens.iter())
                .rposition(|token| within(token) && tokenizer.is_special(token.0))
                .ok_or(ChatError::NoStopToken { index })?;
            for (learned, token) in mask.iter_mut().zip(&tokens[..=stop]) {
                *learned |= within(token);
            }
        }
        Ok((tokens.into_iter().map(|(id, _)| id).collect(), mask))
    }

    /// Ids that end an answer: the tokenizer's end token, and the special token that this template
    /// writes after an answer.
    pub fn stop_token_ids(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let sample = [Message::user("a"), Message::assistant("b")];
        // A template that refuses the sample, or has no stop token, leaves the tokenizer's own.
        let after_answer =
            self.encode_with_mask(tokenizer, &sample).ok().and_then(|(ids, mask)| {
                ids.into_iter()
                    .zip(mask)
                    .filter_map(|(id, learned)| learned.then_some(id))
                    .next_back()
            });
        let mut ids: Vec<u32> = tokenizer.eos_id().into_iter().chain(after_answer).collect();
        ids.dedup();
        ids
    }

    /// Texts that end an answer where they appear in it: the turn markers of this template.
    pub fn stop_strings(&self) -> Vec<&'static str> {
        TURN_MARKERS.into_iter().filter(|marker| self.source.contains(marker)).collect()
    }

    fn shipped(source: &str) -> Self {
        Self::from_source(source).expect("tests render every shipped template")
    }

    /// The tokens of the rendered `text`, with their bytes; a BOS that the text lacks has none.
    fn tokens(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
        text: &str,
    ) -> Result<Vec<Placed>, ChatError> {
        let literal = self.literal(tokenizer, messages, add_generation_prompt, text)?;
        let mut tokens = tokenizer.encode_marked(text, &literal)?;
        if let Some(bos) = tokenizer.bos_id()
            && tokenizer.adds_bos()
            && tokens.first().is_none_or(|token| token.0 != bos)
        {
            tokens.insert(0, (bos, 0..0));
        }
        Ok(tokens)
    }

    /// The bytes of `text` that the last of `messages` adds to the generation prompt before it.
    fn answer(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        text: &str,
        index: usize,
    ) -> Result<Range<usize>, ChatError> {
        let prompt = self.render(tokenizer, &messages[..index], true)?;
        let answered = self.render(tokenizer, messages, false)?;
        if text.starts_with(&answered) && answered.starts_with(&prompt) {
            Ok(prompt.len()..answered.len())
        } else {
            Err(ChatError::NotPrefixStable { index })
        }
    }
}

#[derive(Deserialize)]
struct TokenizerConfig {
    #[serde(default)]
    chat_template: Option<TemplateJson>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected text or a list of {name, template}")]
enum TemplateJson {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

/// The text of a file, `None` where there is no such file.
fn read(path: &Path) -> Result<Option<String>, ChatError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ChatError::Read { path: path.to_owned(), source }),
    }
}
