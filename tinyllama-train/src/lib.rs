//! How a TinyLlama's weights come about: text to tokens, tokens to batches, batches to weights.
//!
//! Data path: files ([`Sources`]) or the packages of a Cargo.lock ([`RegistryCorpus`]) →
//! [`prepare_data`] or [`prepare_registry_corpus`] → token files ([`TokenShards`]) → [`Loader`] →
//! [`Batch`] `[B, T]`. [`BigramCounts`] gives the baselines that a model must beat.
//!
//! Shape letters are those of `tinyllama-model`: B batch, T sequence length, V vocabulary, R = B·T.

mod batch;
mod bpe;
mod corpus;
mod dataset;
mod error;
mod loader;
mod ngram;
mod packer;
mod permutation;
mod prepare;
mod registry;
mod shards;
mod sources;

pub use batch::{Batch, IGNORE_INDEX};
pub use bpe::{
    BOS_TOKEN, EOS_TOKEN, EvenSample, MAX_VOCAB_SIZE, MIN_VOCAB_SIZE, SAMPLE_BYTES, train_bpe,
};
pub use corpus::{CorpusDocument, CorpusSummary, HELD_OUT_ONE_IN, MAX_FILE_BYTES, RegistryCorpus};
pub use dataset::{
    DESCRIPTION_FILE, DatasetDescription, RegistryDescription, RegistryKey, TOKENIZER_FILE,
};
pub use error::DataError;
pub use loader::{Loader, LoaderState};
pub use ngram::{BigramCounts, KneserNeyBigram, NextTokenModel, Unigram};
pub use prepare::{PrepareOptions, PreparedData, TokenizerSource, ValidationSource, prepare_data};
pub use registry::{PreparedCorpus, prepare_registry_corpus};
pub use shards::{MAX_SHARD_TOKENS, ShardWriter, Split, SplitSize, TokenFormat, TokenShards};
pub use sources::{BadRows, Documents, Sources, TEXT_KEYS, TEXT_PIECE_BYTES};
