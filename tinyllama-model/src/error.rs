//! What can be wrong with files and values a user hands in, one enum per concept.

use std::fmt::Display;
use std::path::PathBuf;

/// A model configuration that cannot be read or describes no usable model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read the model configuration: {source}", .path.display())]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// Why reading failed.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("{}: cannot write the model configuration: {source}", .path.display())]
    Write {
        /// The file to be written.
        path: PathBuf,
        /// Why writing failed.
        source: std::io::Error,
    },
    /// The text is not JSON, or a key is missing or has another type.
    #[error("not a Hugging Face configuration: {source}")]
    Json {
        /// Line, column and cause.
        source: serde_json::Error,
    },
    /// The key asks for something this model does not compute.
    #[error("`{key}` is {value}, which is not supported: {remedy}")]
    Unsupported {
        /// The key of config.json.
        key: &'static str,
        /// The value found.
        value: String,
        /// What is supported instead.
        remedy: &'static str,
    },
    /// The value lies outside of what a Llama can have.
    #[error("`{key}` is {value}, but must be {requirement}")]
    Invalid {
        /// The key of config.json.
        key: &'static str,
        /// The value found.
        value: String,
        /// The condition that does not hold.
        requirement: String,
    },
    /// An error of the list above, in a named file.
    #[error("{}: {source}", .path.display())]
    InFile {
        /// The file that holds the mistake.
        path: PathBuf,
        /// The mistake.
        source: Box<ConfigError>,
    },
}

/// A tokenizer that cannot be read or written, or text it cannot turn into tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file cannot be read.
    #[error("{}: cannot read the tokenizer: {source}", .path.display())]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// Why reading failed.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("{}: cannot write the tokenizer: {source}", .path.display())]
    Write {
        /// The file to be written.
        path: PathBuf,
        /// Why writing failed.
        source: std::io::Error,
    },
    /// The folder holds no tokenizer.
    #[error(
        "{}: no tokenizer.json, tokenizer.model (SentencePiece) or tokenizer.bin (llama2.c); copy one \
         of them from the place where the model comes from",
        .folder.display()
    )]
    Missing {
        /// The folder searched.
        folder: PathBuf,
    },
    /// The text is not a `tokenizer.json`.
    #[error("not a tokenizer.json: {cause}")]
    Parse {
        /// Why it was refused.
        cause: tokenizers::Error,
    },
    /// The file is larger than any tokenizer.
    #[error("larger than {limit} bytes, which no tokenizer is; check that this is the right file")]
    TooLarge {
        /// The most bytes that are read.
        limit: usize,
    },
    /// The bytes are no protobuf message of SentencePiece.
    #[error("not a SentencePiece model: {source}")]
    Protobuf {
        /// Field and cause.
        source: prost::DecodeError,
    },
    /// A part of the tokenizer contradicts itself or the rest of it.
    #[error("`{field}` is {value}, but must be {requirement}")]
    Invalid {
        /// Where the mistake is, by the names of the file read.
        field: String,
        /// The value found, shortened.
        value: String,
        /// The condition that does not hold.
        requirement: String,
    },
    /// The tokenizer asks for something that is not done here, or that the format to be written
    /// lacks.
    #[error("`{field}` is {value}, which is not supported: {remedy}")]
    Unsupported {
        /// Where it is asked for, by the names of the file read.
        field: String,
        /// The value found, shortened.
        value: String,
        /// What is supported instead.
        remedy: String,
    },
    /// Nothing here knows how text is cut under this name.
    #[error("`tokenizer.ggml.pre` is `{name}`, which is not known; known are {known}")]
    UnknownPreTokenizer {
        /// The name found.
        name: String,
        /// The names that are known.
        known: String,
    },
    /// An id that no vocabulary of a Llama reaches.
    #[error("the vocabulary has a token {largest_id}, but ids must be below {limit}")]
    LargeId {
        /// The largest id found.
        largest_id: u32,
        /// The first id that is refused.
        limit: usize,
    },
    /// The post-processor belongs to another vocabulary.
    #[error(
        "`post_processor` puts token {id} around every text, but the vocabulary has {vocab_size} \
         tokens; take `post_processor` and `model` from the same tokenizer.json"
    )]
    ForeignId {
        /// The id that the vocabulary lacks.
        id: u32,
        /// V, one more than the largest id it has.
        vocab_size: usize,
    },
    /// A JSON file beside `tokenizer.json` is broken.
    #[error("{}: {source}", .path.display())]
    Settings {
        /// The broken file.
        path: PathBuf,
        /// Line, column and cause.
        source: serde_json::Error,
    },
    /// A special token is named that the vocabulary lacks.
    #[error("{}: `{key}` is `{token}`, which tokenizer.json does not know", .path.display())]
    UnknownSpecialToken {
        /// The file that names the token.
        path: PathBuf,
        /// The key that names it.
        key: &'static str,
        /// The text of the token.
        token: String,
    },
    /// The vocabulary cannot express the text.
    #[error("the tokenizer cannot encode the text: {cause}")]
    Encode {
        /// The tokenizer's own words.
        cause: tokenizers::Error,
    },
    /// The decoder of the tokenizer refused the ids.
    #[error("the tokenizer cannot decode the ids: {cause}")]
    Decode {
        /// The tokenizer's own words.
        cause: tokenizers::Error,
    },
    /// An error of the list above, in a named file.
    #[error("{}: {source}", .path.display())]
    InFile {
        /// The file that holds the mistake.
        path: PathBuf,
        /// The mistake.
        source: Box<TokenizerError>,
    },
}

impl TokenizerError {
    /// [`TokenizerError::Invalid`] with a value that may be as long as a file.
    pub(crate) fn invalid(
        field: impl Into<String>,
        value: impl Display,
        requirement: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            field: field.into(),
            value: shortened(value),
            requirement: requirement.into(),
        }
    }

    /// [`TokenizerError::Unsupported`] with a value that may be as long as a file.
    pub(crate) fn unsupported(
        field: impl Into<String>,
        value: impl Display,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Unsupported { field: field.into(), value: shortened(value), remedy: remedy.into() }
    }
}

/// A message is a line, whatever a file holds.
fn shortened(value: impl Display) -> String {
    const MAX_CHARS: usize = 60;
    let text = value.to_string().replace(char::is_control, " ");
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A chat template that cannot be read, or a conversation it cannot express.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The file cannot be read.
    #[error("{}: cannot read the chat template: {source}", .path.display())]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// Why reading failed.
        source: std::io::Error,
    },
    /// `tokenizer_config.json` is broken, or its `chat_template` is neither text nor a list of
    /// `{name, template}`.
    #[error("{}: cannot read `chat_template`: {source}", .path.display())]
    Settings {
        /// The file read.
        path: PathBuf,
        /// Line, column and cause.
        source: serde_json::Error,
    },
    /// Several templates are listed, but none is called `default`.
    #[error(
        "{}: `chat_template` lists {names:?}, but none of them is called `default`; put the wanted \
         one into chat_template.jinja",
        .path.display()
    )]
    NoDefault {
        /// The file read.
        path: PathBuf,
        /// The names it lists.
        names: Vec<String>,
    },
    /// The template is not valid Jinja.
    #[error("the chat template is not valid: {source}")]
    Syntax {
        /// Line and cause.
        source: minijinja::Error,
    },
    /// The template failed on this conversation, or did not end within its budget of steps.
    #[error("the chat template cannot render this conversation: {source}")]
    Render {
        /// Line and cause.
        source: minijinja::Error,
    },
    /// The text of a message could be taken for a special token, and the template changes it, so
    /// that it cannot be kept apart from the template's own tokens.
    #[error(
        "message {index} contains the text of a special token and the chat template changes it on \
         the way; remove the special token from the message"
    )]
    Unprotected {
        /// Position of the message, from 0.
        index: usize,
    },
    /// The template writes the beginning of a conversation differently once it goes on.
    #[error(
        "the chat template does not write message {index} (from 0) as a continuation of the \
         messages before it, so that the assistant's tokens cannot be told from the others; use \
         another template for training"
    )]
    NotPrefixStable {
        /// Position of the assistant's message, from 0.
        index: usize,
    },
    /// Nothing would teach the model to stop.
    #[error(
        "the chat template writes no stop token of this tokenizer after the assistant's message \
         {index} (from 0); use a template that does, or add its stop token to the tokenizer"
    )]
    NoStopToken {
        /// Position of the assistant's message, from 0.
        index: usize,
    },
    /// The tokenizer refused the rendered text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// An error of the list above, in a named file.
    #[error("{}: {source}", .path.display())]
    InFile {
        /// The file that holds the mistake.
        path: PathBuf,
        /// The mistake.
        source: Box<ChatError>,
    },
}
