//! Batches in shuffled order, with a position that is two numbers.
//!
//! The tokens of a split are cut into windows of T + 1 tokens, each of which starts with the last
//! token of the one before: every token but the first is a target exactly once per epoch. (Fewer than
//! T tokens at the end have no window.) Each epoch has its own permutation of the windows, computed
//! element by element, so that resuming at any position is immediate.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::data_error::DataError;
use crate::permutation::Permutation;
use crate::shards::TokenShards;

/// Everything a checkpoint needs to know about the data read so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LoaderState {
    /// Chooses the order of all epochs.
    pub(crate) seed: u64,
    /// Windows handed out since the first epoch began.
    pub(crate) position: u64,
}

/// An endless, shuffled stream of batches over one split.
#[derive(Clone, Debug)]
pub(crate) struct Loader {
    shards: Arc<TokenShards>,
    sequence_tokens: usize,
    num_windows: u64,
    state: LoaderState,
    /// The order of the epoch `state.position` lies in, with that epoch's number.
    order: (u64, Permutation),
}

impl Loader {
    /// Starts at `state`: `position` 0 for a new run, a checkpoint's state to continue it.
    ///
    /// # Errors
    /// The split is too small for one window.
    ///
    /// # Panics
    /// When `sequence_tokens` is zero.
    pub(crate) fn new(
        shards: Arc<TokenShards>,
        sequence_tokens: usize,
        state: LoaderState,
    ) -> Result<Self, DataError> {
        assert!(sequence_tokens > 0, "a sequence needs a token");
        let num_tokens = shards.size().num_tokens;
        let num_windows = num_tokens.saturating_sub(1) / sequence_tokens as u64;
        if num_windows == 0 {
            return Err(DataError::SplitTooSmall {
                split: shards.split().name(),
                num_tokens,
                needed_tokens: sequence_tokens as u64 + 1,
                remedy: "prepare more text, or train on shorter sequences",
            });
        }
        let epoch = state.position / num_windows;
        let order = (epoch, Permutation::new(num_windows, state.seed, epoch));
        Ok(Self { shards, sequence_tokens, num_windows, state, order })
    }

    /// Windows of an epoch.
    pub(crate) fn num_windows(&self) -> u64 {
        self.num_windows
    }

    /// Epochs completed.
    pub(crate) fn epoch(&self) -> u64 {
        self.state.position / self.num_windows
    }

    /// Where the next batch starts.
    pub(crate) fn state(&self) -> LoaderState {
        self.state
    }

    /// The next `batch_size` windows; a batch may span two epochs.
    ///
    /// # Errors
    /// A token is not in the vocabulary.
    ///
    /// # Panics
    /// When `batch_size` is zero.
    pub(crate) fn next_batch(&mut self, batch_size: usize) -> Result<Batch, DataError> {
        let mut windows = Vec::with_capacity(batch_size * (self.sequence_tokens + 1)); // [B, T + 1]
        for _ in 0..batch_size {
            let start = self.next_window() * self.sequence_tokens as u64;
            self.shards.read(start, self.sequence_tokens + 1, &mut windows)?;
        }
        Ok(Batch::from_windows(&windows, self.sequence_tokens))
    }

    fn next_window(&mut self) -> u64 {
        let epoch = self.epoch();
        if self.order.0 != epoch {
            self.order = (epoch, Permutation::new(self.num_windows, self.state.seed, epoch));
        }
        let window = self.order.1.get(self.state.position % self.num_windows);
        self.state.position += 1;
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::{ShardWriter, Split, TokenFormat};

    /// A split whose token at position i is i, in files of 50 tokens.
    fn shards(num_tokens: u32) -> (tempfile::TempDir, Arc<TokenShards>) {
        let dir = tempfile::tempdir().unwrap();
        let format = TokenFormat {
            vocab_size: 1000,
            bos_id: None,
            eos_id: None,
            fingerprint: String::new(),
        };
        let mut writer = ShardWriter::new(dir.path(), Split::Train, format, 50);
        let tokens: Vec<u32> = (0..num_tokens).collect();
        for document in tokens.chunks(7) {
            writer.push(document, 7).unwrap();
        }
        writer.finish().unwrap();
        let shards = TokenShards::open(dir.path(), Split::Train).unwrap();
        (dir, Arc::new(shards))
    }

    fn loader(shards: &Arc<TokenShards>, sequence_tokens: usize, position: u64) -> Loader {
        Loader::new(shards.clone(), sequence_tokens, LoaderState { seed: 11, position }).unwrap()
    }

    #[test]
    fn every_target_comes_once_per_epoch() {
        for (num_tokens, sequence_tokens) in [(101, 10), (109, 10), (50, 7), (2, 1), (11, 10)] {
            let (_dir, shards) = shards(num_tokens);
            let mut loader = loader(&shards, sequence_tokens, 0);
            let num_windows = (num_tokens as u64 - 1) / sequence_tokens as u64;
            assert_eq!(loader.num_windows(), num_windows);
            for epoch in 0..3 {
                assert_eq!(loader.epoch(), epoch);
                let mut targets = Vec::new();
                for _ in 0..num_windows {
                    let batch = loader.next_batch(1).unwrap();
                    assert!(batch.pairs().all(|(previous, target)| target == previous + 1));
                    targets.extend(batch.pairs().map(|(_, target)| target));
                }
                targets.sort_unstable();
                let last = num_windows as u32 * sequence_tokens as u32;
                assert_eq!(targets, (1..=last).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_saved_position_continues_the_stream() {
        let (_dir, shards) = shards(100);
        let mut uninterrupted = loader(&shards, 9, 0);
        for _ in 0..20 {
            // Eleven windows an epoch, three a batch: batches span epochs.
            let mut resumed = loader(&shards, 9, uninterrupted.state().position);
            assert_eq!(uninterrupted.next_batch(3).unwrap(), resumed.next_batch(3).unwrap());
            assert_eq!(uninterrupted.state(), resumed.state());
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let (_dir, shards) = shards(1000);
        let epoch = |seed, epoch: u64| {
            let state = LoaderState { seed, position: epoch * 99 };
            Loader::new(shards.clone(), 10, state).unwrap().next_batch(99).unwrap()
        };
        assert_ne!(epoch(1, 0), epoch(1, 1));
        assert_ne!(epoch(1, 0), epoch(2, 0));
    }

    #[test]
    fn too_few_tokens_are_an_error() {
        let (_dir, shards) = shards(10);
        let state = LoaderState { seed: 0, position: 0 };
        let error = Loader::new(shards, 10, state).unwrap_err().to_string();
        assert!(error.contains("10 tokens") && error.contains("11"), "{error}");
    }
}
