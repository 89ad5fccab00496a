//! Samples in a shuffled order that can be continued.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tinyllama_train::{Batch, BatchSource, SourceError};

use crate::sample::Sample;

/// Endless passes over the samples, each in an order of its own.
#[derive(Clone, Debug)]
pub struct ChatSource {
    samples: Vec<Sample>,
    pad_id: u32,
    seed: u64,
    position: u64,
    order: Vec<usize>,
    fingerprint: String,
}

/// The position, with what makes it meaningful.
#[derive(Serialize, Deserialize)]
struct ChatState {
    seed: u64,
    position: u64,
    num_samples: usize,
    fingerprint: String,
}

impl ChatSource {
    /// Starts at the first pass; rows of a batch are filled to the longest with `pad_id`.
    ///
    /// # Panics
    /// When there is no sample, or one is shorter than two tokens; `encode_chats` gives neither.
    pub fn new(samples: Vec<Sample>, pad_id: u32, seed: u64) -> Self {
        assert!(samples.iter().all(|sample| sample.ids.len() > 1), "a sample needs two tokens");
        assert!(!samples.is_empty(), "a source needs a sample");
        let order = pass_order(samples.len(), seed, 0);
        let fingerprint = fingerprint(&samples);
        Self { samples, pad_id, seed, position: 0, order, fingerprint }
    }

    /// Samples of one pass.
    pub fn num_samples(&self) -> usize {
        self.samples.len()
    }
}

impl BatchSource for ChatSource {
    fn next_batch(&mut self, num_sequences: usize) -> Result<Batch, SourceError> {
        let count = self.samples.len() as u64;
        let mut chosen = Vec::with_capacity(num_sequences);
        for _ in 0..num_sequences {
            chosen.push(self.order[(self.position % count) as usize]);
            self.position += 1;
            if self.position.is_multiple_of(count) {
                self.order = pass_order(self.samples.len(), self.seed, self.position / count);
            }
        }
        let rows: Vec<(&[u32], &[bool])> = chosen
            .into_iter()
            .map(|index| (&self.samples[index].ids[..], &self.samples[index].loss_mask[..]))
            .collect();
        Ok(Batch::from_masked(&rows, self.pad_id))
    }

    fn state(&self) -> Value {
        let state = ChatState {
            seed: self.seed,
            position: self.position,
            num_samples: self.samples.len(),
            fingerprint: self.fingerprint.clone(),
        };
        serde_json::to_value(state).expect("plain fields serialize")
    }

    fn restore(&mut self, state: &Value) -> Result<(), SourceError> {
        let saved = ChatState::deserialize(state)?;
        if saved.fingerprint != self.fingerprint {
            let message = format!(
                "the data has {} samples (fingerprint {}), the run was started on {} ({}); name that \
                 file with --data",
                self.samples.len(),
                self.fingerprint,
                saved.num_samples,
                saved.fingerprint
            );
            return Err(message.into());
        }
        let pass = saved.position / self.samples.len() as u64;
        self.order = pass_order(self.samples.len(), saved.seed, pass);
        (self.seed, self.position) = (saved.seed, saved.position);
        Ok(())
    }
}

/// Tells other samples from these: FNV-1a over every token and whether it is a target.
fn fingerprint(samples: &[Sample]) -> String {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let tokens = samples.iter().flat_map(|sample| {
        let length = (sample.ids.len() as u64) << 32;
        let token = |(&id, &mask): (&u32, &bool)| u64::from(id) << 1 | u64::from(mask);
        std::iter::once(length).chain(sample.ids.iter().zip(&sample.loss_mask).map(token))
    });
    let bytes = tokens.flat_map(u64::to_le_bytes);
    let hash = bytes.fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    format!("{hash:016x}")
}

/// The order of one pass.
fn pass_order(count: usize, seed: u64, pass: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(pass);
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut rng);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(count: u32) -> ChatSource {
        let sample = |id| Sample { ids: vec![id, id], loss_mask: vec![false, true] };
        ChatSource::new((0..count).map(sample).collect(), 0, 7)
    }

    #[test]
    fn a_pass_gives_every_sample_once_and_passes_differ() {
        let mut source = source(50);
        let mut pass = || -> Vec<u32> {
            source.next_batch(50).unwrap().pairs().map(|(_, target)| target).collect()
        };
        let (first, second) = (pass(), pass());
        assert_ne!(first, second);
        for mut pass in [first, second] {
            pass.sort_unstable();
            assert_eq!(pass, (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_restored_source_continues() {
        let mut whole = source(9);
        let mut halted = source(9);
        let _ = (whole.next_batch(13).unwrap(), halted.next_batch(13).unwrap());
        let state = halted.state();
        let mut restored = source(9);
        restored.restore(&state).unwrap();
        assert_eq!(restored.next_batch(20).unwrap(), whole.next_batch(20).unwrap());
        let mut other = source(9);
        assert!(source(8).restore(&state).is_err());
        other.samples[3].loss_mask[0] = true;
        let mut other = ChatSource::new(other.samples, 0, 7);
        let error = other.restore(&state).unwrap_err().to_string();
        assert!(error.contains("9 samples") && error.contains("--data"), "{error}");
    }
}
