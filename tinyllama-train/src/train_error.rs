//! What can be wrong with a training run: its settings, its numbers or its folder. Mistakes in the data
//! it reads are a [`DataError`], which this one carries along.

use std::path::PathBuf;

use tinyllama_model::weights::WeightsError;
use tinyllama_model::{ConfigError, TokenizerError};

use crate::config::Change;
use crate::data_error::DataError;

/// Why a run cannot start, continue or be saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// No preset has that name.
    #[error("preset `{name}` is unknown; the presets are {}", .known.join(", "))]
    Preset {
        /// The name given.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// A settings file that is no TOML, or a value of the wrong type.
    #[error("{}: {message}", .path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Line, column and cause.
        message: String,
    },
    /// A settings file with a key that no setting has.
    #[error("{}: the setting `{field}` is unknown; known here are {}", .path.display(), .known.join(", "))]
    UnknownSetting {
        /// The file.
        path: PathBuf,
        /// The key, with its tables, as `model.hidden_size`.
        field: String,
        /// The keys of that table.
        known: Vec<String>,
    },
    /// A setting whose value does not fit.
    #[error("{field} is {value}, but must be {requirement}")]
    Invalid {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        requirement: String,
    },
    /// The model's sizes do not fit each other.
    #[error("the model's settings: {source}")]
    Model {
        /// Which value.
        source: ConfigError,
    },
    /// The data has tokens that the model has no row for.
    #[error(
        "the data set has {data_tokens} tokens in its vocabulary, the model {model_tokens}; prepare \
         the data with the model's tokenizer, or set model.vocab_size in --config FILE.toml"
    )]
    Vocabulary {
        /// Tokens the data set knows.
        data_tokens: usize,
        /// Rows of the model's embedding.
        model_tokens: usize,
    },
    /// A batch has a token that the model has no row for.
    #[error(
        "step {step}: the data has token {token}, but the model's vocabulary ends at {model_tokens}; \
         prepare the data with the model's tokenizer"
    )]
    ForeignToken {
        /// The step, counted from 1.
        step: u64,
        /// The token.
        token: usize,
        /// Rows of the model's embedding.
        model_tokens: usize,
    },
    /// Token files and tokenizer of two data sets in one folder.
    #[error(
        "{}: the {split} tokens were not made with the tokenizer.json beside them; make the data set \
         again with `prepare_data`", .folder.display()
    )]
    Mixed {
        /// The data set folder.
        folder: PathBuf,
        /// `train` or `validation`.
        split: &'static str,
    },
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The source of batches failed.
    #[error("reading the next batch: {source}")]
    Source {
        /// What the source says.
        source: crate::SourceError,
    },
    /// The source cannot continue where a checkpoint stopped.
    #[error("continuing the data where the checkpoint stopped: {message}")]
    SourceState {
        /// What differs.
        message: String,
    },
    /// A step without a single target.
    #[error("step {step}: none of its tokens is a target; the data's loss masks are all false")]
    NoTargets {
        /// The step, counted from 1.
        step: u64,
    },
    /// The numbers broke down.
    #[error(
        "step {step}: the {quantity} is {value}, so nothing was updated or saved; continue from the last \
         checkpoint with a lower peak_lr or max_grad_norm in --config FILE.toml"
    )]
    NotFinite {
        /// The step, counted from 1.
        step: u64,
        /// `loss` or `gradient norm`.
        quantity: &'static str,
        /// NaN or an infinity.
        value: f64,
    },
    /// A file or folder cannot be read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why reading failed.
        source: std::io::Error,
    },
    /// A file or folder cannot be written.
    #[error("{}: cannot be written: {source}", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why writing failed.
        source: std::io::Error,
    },
    /// The weights cannot be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A configuration cannot be written.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The tokenizer cannot be read or written.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A new log was asked for where there is something.
    #[error("{}: is not empty; delete it or name another file with --metrics-out", .path.display())]
    LogExists {
        /// The file.
        path: PathBuf,
    },
    /// A new run was asked for where another one is.
    #[error(
        "{}: holds a run at step {step}; continue it with --resume, or name another folder with --out",
        .folder.display()
    )]
    RunExists {
        /// The run folder.
        folder: PathBuf,
        /// The step of its newest checkpoint.
        step: u64,
    },
    /// There is nothing to continue.
    #[error(
        "{}: no complete checkpoint in it; start the run without --resume, or name its folder with --out",
        .folder.display()
    )]
    NothingToResume {
        /// The run folder.
        folder: PathBuf,
    },
    /// A setting differs from the one the run was started with.
    #[error(
        "--resume: {} is {}, but the run in {} was started with {}; repeat that value or start a new \
         run with --out", .change.field, .change.now, .folder.display(), .change.before
    )]
    Changed {
        /// The run folder.
        folder: PathBuf,
        /// The setting, the run's value and the value now.
        change: Change,
    },
    /// The settings are those of another model than the weights.
    #[error(
        "{} is {} in the settings, but {} in the model; leave that setting out, or name another model",
        .change.field, .change.before, .change.now
    )]
    OtherModel {
        /// The setting, its value in the settings and its value in the model.
        change: Change,
    },
    /// Another process trains in the run folder.
    #[error(
        "{}: another process trains in this folder; wait for it, stop it, or name another folder with \
         --out", .folder.display()
    )]
    RunBusy {
        /// The run folder.
        folder: PathBuf,
    },
    /// A checkpoint whose bytes are those written, but mean nothing here.
    #[error(
        "{}: {detail}; another version of this project may have written it: continue with that one, \
         or start a new run with --out", .path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A file of a checkpoint is not what was written.
    #[error("{}: {detail}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
}

impl TrainError {
    /// For `map_err`: wraps a failed read of `path`.
    pub(crate) fn read(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Read { path, source }
    }

    /// For `map_err`: wraps a failed write of `path`.
    pub(crate) fn write(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Write { path, source }
    }
}
