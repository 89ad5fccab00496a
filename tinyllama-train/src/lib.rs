//! How a TinyLlama's weights come about: text to tokens, tokens to batches, batches to weights.
//!
//! Data path: files ([`prepare_data`]) or the packages of a Cargo.lock ([`prepare_registry_corpus`]) →
//! token files ([`TokenShards`]) → a [`BatchSource`] → [`Batch`] `[B, T]` → [`Trainer`] → checkpoints
//! ([`RunFolder`]). [`run`] does the last three until the end; [`Baselines`] are what a model must beat.
//!
//! Shape letters are those of `tinyllama-model`: B batch, T sequence length, V vocabulary, R = B·T.

mod baselines;
mod batch;
mod bpe;
mod checkpoint;
mod config;
mod corpus;
mod data_error;
mod dataset;
mod disk;
mod documents;
mod learner;
mod lines;
mod loader;
mod loss;
mod metrics;
mod monitor;
mod ngram;
mod optimizer;
mod packer;
mod permutation;
mod prepare;
mod registry;
mod run;
mod run_folder;
mod sample;
mod schedule;
mod shards;
mod side_by_side;
mod source;
mod staged_folder;
mod train_error;
mod trainer;
mod training_data;

/// burn-train's flag that ends a run after its current step; every [`Monitor`] is made with one.
#[doc(no_inline)]
pub use burn_train::Interrupter;
/// What shows how far the preparation of data is; `ProgressBar::hidden()` shows nothing.
#[doc(no_inline)]
pub use indicatif::ProgressBar;

pub use baselines::{Baselines, held_out_batches};
pub use batch::{Batch, IGNORE_INDEX};
pub use bpe::{BOS_TOKEN, EOS_TOKEN, MAX_VOCAB_SIZE, MIN_VOCAB_SIZE, train_bpe};
pub use checkpoint::{Checkpoint, TokenizerFiles, TrainerState};
pub use config::{Change, TrainConfig};
pub use corpus::RegistryCorpus;
pub use data_error::DataError;
pub use dataset::{DatasetDescription, RegistryDescription, RegistryKey};
pub use documents::BadRows;
pub use learner::{LearnerBatch, LearnerLlama, LearnerOutput, WindowBatcher, WindowDataset};
pub use loss::{mean_nll, summed_nll};
pub use metrics::{FinalRecord, MetricsFile, StepRecord};
pub use monitor::{Monitor, terminal_renderer};
pub use prepare::{PrepareOptions, PreparedData, TokenizerSource, ValidationSource, prepare_data};
pub use registry::{PreparedCorpus, prepare_registry_corpus};
pub use run::{RunContext, RunOutcome, run};
pub use run_folder::{RunFolder, RunLock};
pub use shards::{Split, SplitSize, TokenFormat, TokenShards};
pub use source::{BatchSource, ShardSource, SourceError};
pub use train_error::TrainError;
pub use trainer::{Position, StepReport, Trainer};
pub use training_data::TrainingData;
