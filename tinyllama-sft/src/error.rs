//! What can be wrong with a file of chats.

use std::path::PathBuf;

/// A chat file that cannot be trained on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SftError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A line is no row of the format.
    #[error("{}: line {line}: {detail}; every line must be {{\"text\": \"### Human: ...### Assistant: ...\"}}", .path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What was found.
        detail: String,
    },
    /// The file holds no row.
    #[error("{}: no rows in it; every line must be {{\"text\": \"### Human: ...### Assistant: ...\"}}", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The chat template and the tokenizer do not make a masked sample of a chat.
    #[error("chat {number}: {source}")]
    Chat {
        /// Which chat, counted from 1.
        number: usize,
        /// The cause.
        source: tinyllama_model::ChatError,
    },
    /// No chat has an answer that fits.
    #[error(
        "no chat has an assistant answer within {max_tokens} tokens; give longer sequences or other rows"
    )]
    NoTargets {
        /// Longest sample allowed.
        max_tokens: usize,
    },
}
