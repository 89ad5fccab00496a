//! Where a trainer's batches come from: the one thing in which pretraining and fine-tuning differ.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::batch::Batch;
use crate::loader::{Loader, LoaderState};
use crate::shards::TokenShards;

/// What a [`BatchSource`] says when it fails, whatever it reads from.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// An endless stream of batches that can be continued from a saved state.
pub trait BatchSource {
    /// The next `num_sequences` sequences.
    ///
    /// # Errors
    /// The data cannot be read.
    fn next_batch(&mut self, num_sequences: usize) -> Result<Batch, SourceError>;

    /// Where the next batch starts, for a checkpoint.
    fn state(&self) -> Value;

    /// Continues where [`state`](Self::state) was taken.
    ///
    /// # Errors
    /// The state is of another source or of other data.
    fn restore(&mut self, state: &Value) -> Result<(), SourceError>;
}

/// Pretraining: shuffled windows of T tokens from token files.
#[derive(Clone, Debug)]
pub struct ShardSource {
    shards: Arc<TokenShards>,
    sequence_tokens: usize,
    loader: Loader,
}

/// The loader's position, with what makes it meaningful.
#[derive(Serialize, Deserialize)]
struct ShardState {
    tokenizer_fingerprint: String,
    num_tokens: u64,
    loader: LoaderState,
}

impl ShardSource {
    /// Starts at the beginning of the order that `seed` chooses.
    ///
    /// # Errors
    /// The split is too small for one window.
    ///
    /// # Panics
    /// When `sequence_tokens` is zero.
    pub fn new(
        shards: Arc<TokenShards>,
        sequence_tokens: usize,
        seed: u64,
    ) -> Result<Self, crate::DataError> {
        let state = LoaderState { seed, position: 0 };
        let loader = Loader::new(shards.clone(), sequence_tokens, state)?;
        Ok(Self { shards, sequence_tokens, loader })
    }
}

impl BatchSource for ShardSource {
    fn next_batch(&mut self, num_sequences: usize) -> Result<Batch, SourceError> {
        Ok(self.loader.next_batch(num_sequences)?)
    }

    fn state(&self) -> Value {
        let state = ShardState {
            tokenizer_fingerprint: self.shards.format().fingerprint.clone(),
            num_tokens: self.shards.size().num_tokens,
            loader: self.loader.state(),
        };
        serde_json::to_value(state).expect("plain fields serialize")
    }

    fn restore(&mut self, state: &Value) -> Result<(), SourceError> {
        let saved = ShardState::deserialize(state)?;
        let (format, size) = (self.shards.format(), self.shards.size());
        if saved.tokenizer_fingerprint != format.fingerprint || saved.num_tokens != size.num_tokens
        {
            let message = format!(
                "the data set has {} tokens (tokenizer {}), the run was started on {} (tokenizer {}); \
                 name that data set with --data",
                size.num_tokens, format.fingerprint, saved.num_tokens, saved.tokenizer_fingerprint
            );
            return Err(message.into());
        }
        self.loader = Loader::new(self.shards.clone(), self.sequence_tokens, saved.loader)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::{ShardWriter, Split, TokenFormat};

    fn source(folder: &std::path::Path, fingerprint: &str, num_tokens: u32) -> ShardSource {
        let fingerprint = fingerprint.to_owned();
        let format = TokenFormat { vocab_size: 500, bos_id: None, eos_id: None, fingerprint };
        let mut writer = ShardWriter::new(folder, Split::Train, format, 1 << 20);
        writer.push(&(0..num_tokens).collect::<Vec<_>>(), 1).unwrap();
        writer.finish().unwrap();
        let shards = TokenShards::open(folder, Split::Train).unwrap();
        ShardSource::new(shards.into(), 8, 5).unwrap()
    }

    #[test]
    fn a_restored_source_continues_on_the_same_data_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut whole = source(dir.path(), "abc", 200);
        for _ in 0..3 {
            whole.next_batch(4).unwrap();
        }
        let state = whole.state();
        let mut restored = source(dir.path(), "abc", 200);
        restored.restore(&state).unwrap();
        assert_eq!(restored.next_batch(4).unwrap(), whole.next_batch(4).unwrap());

        for (fingerprint, num_tokens) in [("abd", 200), ("abc", 201)] {
            let other = tempfile::tempdir().unwrap();
            let error = source(other.path(), fingerprint, num_tokens).restore(&state).unwrap_err();
            assert!(error.to_string().contains("started on 200 (tokenizer abc)"), "{error}");
        }
        assert!(restored.restore(&Value::from(3)).is_err());
    }
}
