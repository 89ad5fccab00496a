//! The held-out sequences, and what models without context make of them.

use std::sync::Arc;

use crate::batch::Batch;
use crate::data_error::DataError;
use crate::loader::{Loader, LoaderState};
use crate::ngram::{BigramCounts, NextTokenModel};
use crate::shards::TokenShards;

/// The held-out sequences do not depend on the run's seed, so that runs can be compared.
const SELECTION_SEED: u64 = 0;

/// Up to `num_sequences` windows of `sequence_tokens`, evenly shuffled over a held-out split, in
/// batches of `batch_size`: the same for every run.
///
/// # Errors
/// The split is too small for one window, or a token is not in the vocabulary.
///
/// # Panics
/// When a size is zero.
pub fn held_out_batches(
    shards: &Arc<TokenShards>,
    sequence_tokens: usize,
    num_sequences: usize,
    batch_size: usize,
) -> Result<Vec<Batch>, DataError> {
    let state = LoaderState { seed: SELECTION_SEED, position: 0 };
    let mut loader = Loader::new(shards.clone(), sequence_tokens, state)?;
    let available = usize::try_from(loader.num_windows()).unwrap_or(usize::MAX);
    let mut remaining = num_sequences.min(available);
    let mut batches = Vec::with_capacity(remaining.div_ceil(batch_size));
    while remaining > 0 {
        let size = batch_size.min(remaining);
        batches.push(loader.next_batch(size)?);
        remaining -= size;
    }
    Ok(batches)
}

/// Mean negative log-likelihoods of held-out targets, in nats per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baselines {
    /// Add-one smoothed unigrams.
    pub unigram_loss: f64,
    /// Interpolated Kneser–Ney bigrams.
    pub bigram_loss: f64,
}

impl Baselines {
    /// Counts the whole of `train` and scores the targets of `held_out`; `None` where there is none.
    ///
    /// # Errors
    /// A token is not in the vocabulary.
    ///
    /// # Panics
    /// When the held-out tokens exceed the vocabulary of `train`.
    pub fn of(train: &TokenShards, held_out: &[Batch]) -> Result<Option<Self>, DataError> {
        let pairs = || held_out.iter().flat_map(Batch::pairs);
        let counts = BigramCounts::of_shards(train)?;
        let unigram_loss = counts.unigram().mean_nats(pairs());
        let bigram_loss = counts.into_kneser_ney().mean_nats(pairs());
        Ok(unigram_loss
            .zip(bigram_loss)
            .map(|(unigram_loss, bigram_loss)| Self { unigram_loss, bigram_loss }))
    }
}
