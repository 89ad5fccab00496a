//! What can go wrong between a model's name and its answer.

use std::path::PathBuf;

use tinyllama_model::weights::WeightsError;
use tinyllama_model::{ChatError, PretrainedError, TokenizerError};

/// Why a model cannot be found or cannot answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// The name is a path, and nothing is there.
    #[error(
        "{}: no such folder; `cargo run --release --example pretrain` trains a model into out/demo, \
         then `--model out/demo` finds it",
        .path.display()
    )]
    NoSuchFolder {
        /// The path named.
        path: PathBuf,
    },
    /// The name is neither an existing folder nor a possible hub id.
    #[error(
        "model `{name}` is neither a folder nor a hub id such as TinyLlama/TinyLlama-1.1B-Chat-v1.0"
    )]
    NotAName {
        /// The name.
        name: String,
    },
    /// The path leads to a file that is no model by itself.
    #[error(
        "{}: not a .gguf file nor a .bin of llama2.c; of a model in Hugging Face layout name the folder \
         that holds config.json",
        .path.display()
    )]
    NotAModelFile {
        /// The path named.
        path: PathBuf,
    },
    /// The folder holds no model.
    #[error(
        "{}: no config.json (a Hugging Face folder or a checkpoint has one) and no `latest` (a run \
         folder has one as soon as its first checkpoint is complete)",
        .folder.display()
    )]
    NotAModel {
        /// The folder named.
        folder: PathBuf,
    },
    /// `latest` of a run folder leads nowhere.
    #[error(
        "{}: names the checkpoint `{name}`, but {} holds no config.json; name another folder under \
         checkpoints/",
        .path.display(),
        .checkpoint.display()
    )]
    NoCheckpoint {
        /// The file `latest`.
        path: PathBuf,
        /// What it says.
        name: String,
        /// Where the checkpoint should be.
        checkpoint: PathBuf,
    },
    /// A file cannot be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The hub did not deliver the model.
    #[error(
        "{id}: there is no such folder, and the Hugging Face hub did not deliver it ({cause}). To go \
         on without network: `cargo run --release --example pretrain`, then `--model out/demo`; or \
         download the model elsewhere, copy it to {} and name the same id, or name any folder with \
         its config.json, tokenizer.json and model.safetensors",
        .cache.display()
    )]
    Hub {
        /// `owner/name`.
        id: String,
        /// What the hub or the network said.
        cause: String,
        /// Where the standard cache keeps this model.
        cache: PathBuf,
    },
    /// The hub's cache has no place on this machine.
    #[error("{id}: no home directory to keep a downloaded model in; set HF_HOME to a folder")]
    NoCache {
        /// `owner/name`.
        id: String,
    },
    /// The hub's model lacks a file that loading needs.
    #[error(
        "{id}: the hub's model has no {file}; only models with safetensors and tokenizer.json are read"
    )]
    HubFile {
        /// `owner/name`.
        id: String,
        /// The missing file.
        file: &'static str,
    },
    /// A setting lies outside of its range.
    #[error("`{name}` is {value}, but must be {requirement}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// The value given.
        value: String,
        /// The condition that does not hold.
        requirement: &'static str,
    },
    /// No setting has this name.
    #[error("no setting is called `{name}`; there are {known}")]
    UnknownSetting {
        /// The name given.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// There is nothing to continue.
    #[error(
        "the prompt is empty and this tokenizer has no beginning token to start from; give a prompt"
    )]
    EmptyPrompt,
    /// The prompt leaves no room for a single token.
    #[error(
        "the prompt has {prompt_tokens} tokens, but the model's context of {context_tokens} leaves \
         room for at most {} before an answer; shorten it",
        .context_tokens.saturating_sub(1)
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// What the model can see at once.
        context_tokens: usize,
    },
    /// The tokenizer knows tokens that the model does not.
    #[error(
        "token {id} lies outside of the model's vocabulary of {vocab_size}; tokenizer.json belongs \
         to another model"
    )]
    ForeignToken {
        /// The token.
        id: u32,
        /// V of the model.
        vocab_size: usize,
    },
    /// The model computed infinite or undefined logits.
    #[error("the logits after {tokens} tokens are not finite: {}", reason(.culprit))]
    NotFinite {
        /// Tokens read so far.
        tokens: usize,
        /// The tensor that holds an infinite or undefined element, if that is why and the stored weights
        /// are at hand: those of a [`LoadedModel`](crate::LoadedModel) on the CPU.
        culprit: Option<Box<WeightsError>>,
    },
    /// The model on disk cannot be used.
    #[error(transparent)]
    Pretrained(#[from] PretrainedError),
    /// The weights cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The tokenizer cannot be read or refuses a text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template cannot be read or refuses a conversation.
    #[error(transparent)]
    Chat(#[from] ChatError),
}

fn reason(culprit: &Option<Box<WeightsError>>) -> String {
    match culprit {
        Some(culprit) => culprit.to_string(),
        None => "the weights are damaged or the training diverged".to_owned(),
    }
}
