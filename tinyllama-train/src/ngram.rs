//! Baselines that a language model must beat: unigrams and bigrams of the same tokens.
//!
//! Interpolated Kneser–Ney (Kneser & Ney 1995; Chen & Goodman 1999, "An Empirical Study of Smoothing
//! Techniques for Language Modeling", equations 17 to 19), with v the token before w:
//!
//! ```text
//! P(w | v) = max(c(v w) - D, 0) / c(v ·)  +  D N(v ·) / c(v ·) · P'(w)
//! P'(w)    = max(N(· w) - D', 0) / N(· ·) +  D' n(·) / N(· ·) · 1 / V
//! ```
//!
//! c counts pairs, N(v ·) the different tokens after v, N(· w) the different tokens before w, n(·)
//! the tokens with any before them. The discounts are D = n1 / (n1 + 2 n2), where n1 and n2 are the
//! numbers of pairs (for D': of tokens) counted once and twice. After an unseen v, P(w | v) = P'(w).
//! Every probability is positive, and they sum to one after every v.

use std::collections::HashMap;

use crate::data_error::DataError;
use crate::shards::TokenShards;

/// Vocabularies up to this size are counted in a dense table of at most 64 MiB.
const DENSE_VOCAB_SIZE: usize = 4096;

/// The discount where no count of one exists to estimate it from (tiny or very repetitive texts).
const FALLBACK_DISCOUNT: f64 = 0.5;

/// Tokens read at once: 4 MiB.
const CHUNK_TOKENS: u64 = 1 << 20;

/// A model of the next token given the one before it.
pub(crate) trait NextTokenModel {
    /// Negative log-probability of `token` after `previous`, in nats.
    ///
    /// # Panics
    /// When a token is not below the vocabulary size.
    fn nats(&self, previous: u32, token: u32) -> f64;

    /// Mean over (previous token, target) pairs, in nats per target; `None` without any pair.
    fn mean_nats(&self, pairs: impl IntoIterator<Item = (u32, u32)>) -> Option<f64> {
        let (mut sum, mut num_pairs) = (0.0, 0u64);
        for (previous, token) in pairs {
            sum += self.nats(previous, token);
            num_pairs += 1;
        }
        (num_pairs > 0).then(|| sum / num_pairs as f64)
    }
}

/// How often each token and each pair of neighbours occurs.
///
/// A count stops at 2^32 - 1, which a pair reaches only in a text of billions of tokens.
#[derive(Clone, Debug)]
pub(crate) struct BigramCounts {
    vocab_size: usize,
    tokens: Vec<u64>,
    pairs: PairCounts,
}

/// Counts by `previous * V + token`.
#[derive(Clone, Debug)]
enum PairCounts {
    Dense(Vec<u32>),
    Sparse(HashMap<u64, u32>),
}

impl BigramCounts {
    /// Counts nothing yet.
    ///
    /// # Panics
    /// When `vocab_size` is zero.
    pub(crate) fn new(vocab_size: usize) -> Self {
        assert!(vocab_size > 0, "a vocabulary has a token");
        let pairs = match vocab_size <= DENSE_VOCAB_SIZE {
            true => PairCounts::Dense(vec![0; vocab_size * vocab_size]),
            false => PairCounts::Sparse(HashMap::new()),
        };
        Self { vocab_size, tokens: vec![0; vocab_size], pairs }
    }

    /// Counts a whole split.
    ///
    /// # Errors
    /// A token is not in the vocabulary.
    pub(crate) fn of_shards(shards: &TokenShards) -> Result<Self, DataError> {
        let mut counts = Self::new(shards.format().vocab_size as usize);
        let num_tokens = shards.size().num_tokens;
        let mut chunk = Vec::new();
        let mut start = 0;
        while start < num_tokens {
            // The last token of a chunk is the first of the next, so that no pair is missed.
            let len = CHUNK_TOKENS.min(num_tokens - start);
            chunk.drain(..chunk.len().saturating_sub(1));
            let is_first = chunk.is_empty();
            shards.read(start, len as usize, &mut chunk)?;
            if is_first {
                counts.tokens[chunk[0] as usize] += 1;
            }
            counts.add(&chunk);
            start += len;
        }
        Ok(counts)
    }

    /// Adds every token of `text` but the first, which is context only, and every pair.
    ///
    /// # Panics
    /// When a token is not below the vocabulary size.
    pub(crate) fn add(&mut self, text: &[u32]) {
        for pair in text.windows(2) {
            let (previous, token) = (pair[0] as usize, pair[1] as usize);
            self.tokens[token] += 1;
            let index = previous * self.vocab_size + token;
            let count = match &mut self.pairs {
                PairCounts::Dense(counts) => &mut counts[index],
                PairCounts::Sparse(counts) => counts.entry(index as u64).or_default(),
            };
            *count = count.saturating_add(1);
        }
    }

    /// The unigram model with one added to every count.
    pub(crate) fn unigram(&self) -> Unigram {
        let total = (self.tokens.iter().sum::<u64>() + self.vocab_size as u64) as f64;
        let nats = self.tokens.iter().map(|&count| -((count + 1) as f64 / total).ln());
        Unigram { nats: nats.collect() }
    }

    /// The interpolated Kneser–Ney bigram model.
    pub(crate) fn into_kneser_ney(self) -> KneserNeyBigram {
        let mut contexts = vec![Context::default(); self.vocab_size];
        let mut predecessors = vec![0u64; self.vocab_size]; // N(· w)
        let mut num_counted = [0u64; 3]; // n1 and n2 at 1 and 2.
        self.for_each(|previous, token, count| {
            contexts[previous].total += u64::from(count);
            contexts[previous].num_followers += 1;
            predecessors[token] += 1;
            if let Some(number) = num_counted.get_mut(count as usize) {
                *number += 1;
            }
        });
        let continuation = continuation(&predecessors);
        let discount = discount(num_counted[1], num_counted[2]);
        KneserNeyBigram { counts: self, contexts, continuation, discount }
    }

    fn get(&self, previous: usize, token: usize) -> u32 {
        let index = previous * self.vocab_size + token;
        match &self.pairs {
            PairCounts::Dense(counts) => counts[index],
            PairCounts::Sparse(counts) => counts.get(&(index as u64)).copied().unwrap_or(0),
        }
    }

    fn for_each(&self, mut each: impl FnMut(usize, usize, u32)) {
        let vocab_size = self.vocab_size;
        let mut split = |index: usize, count| each(index / vocab_size, index % vocab_size, count);
        match &self.pairs {
            PairCounts::Dense(counts) => {
                let counted = counts.iter().enumerate().filter(|&(_, &count)| count > 0);
                counted.for_each(|(index, &count)| split(index, count));
            }
            PairCounts::Sparse(counts) => {
                counts.iter().for_each(|(&index, &count)| split(index as usize, count));
            }
        }
    }
}

/// Token frequencies, add-one smoothed.
#[derive(Clone, Debug)]
pub(crate) struct Unigram {
    nats: Vec<f64>,
}

impl NextTokenModel for Unigram {
    fn nats(&self, _previous: u32, token: u32) -> f64 {
        self.nats[token as usize]
    }
}

/// The interpolated Kneser–Ney bigram model of the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct KneserNeyBigram {
    counts: BigramCounts,
    contexts: Vec<Context>,
    /// P'(w).
    continuation: Vec<f64>,
    /// D.
    discount: f64,
}

/// c(v ·) and N(v ·).
#[derive(Clone, Debug, Default)]
struct Context {
    total: u64,
    num_followers: u64,
}

impl KneserNeyBigram {
    /// P(token | previous).
    ///
    /// # Panics
    /// When a token is not below the vocabulary size.
    pub(crate) fn probability(&self, previous: u32, token: u32) -> f64 {
        let (previous, token) = (previous as usize, token as usize);
        let Context { total, num_followers } = self.contexts[previous];
        if total == 0 {
            return self.continuation[token];
        }
        let count = f64::from(self.counts.get(previous, token));
        let lower_order_mass = self.discount * num_followers as f64;
        ((count - self.discount).max(0.0) + lower_order_mass * self.continuation[token])
            / total as f64
    }
}

impl NextTokenModel for KneserNeyBigram {
    fn nats(&self, previous: u32, token: u32) -> f64 {
        -self.probability(previous, token).ln()
    }
}

/// P', from N(· w).
fn continuation(predecessors: &[u64]) -> Vec<f64> {
    let uniform = 1.0 / predecessors.len() as f64;
    let total: u64 = predecessors.iter().sum();
    if total == 0 {
        return vec![uniform; predecessors.len()];
    }
    let number_with = |count| predecessors.iter().filter(|&&n| n == count).count() as u64;
    let discount = discount(number_with(1), number_with(2));
    let num_seen = predecessors.iter().filter(|&&n| n > 0).count();
    let uniform_mass = discount * num_seen as f64 * uniform;
    let probability = |&n: &u64| ((n as f64 - discount).max(0.0) + uniform_mass) / total as f64;
    predecessors.iter().map(probability).collect()
}

/// n1 / (n1 + 2 n2).
fn discount(once: u64, twice: u64) -> f64 {
    if once == 0 { FALLBACK_DISCOUNT } else { once as f64 / (once + 2 * twice) as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::{ShardWriter, Split, TokenFormat};

    fn counts(vocab_size: usize, text: &[u32]) -> BigramCounts {
        let mut counts = BigramCounts::new(vocab_size);
        counts.add(text);
        counts
    }

    /// Rounding of a few additions and one division.
    const EXACT: f64 = 1e-12;

    #[test]
    fn a_text_counted_by_hand() {
        // Pairs of 0 1 0 1 0 2 1: 01 twice; 10 twice; 02 once; 21 once. D = 2 / (2 + 2 * 2) = 1/3.
        // Before 0: {1}, before 1: {0, 2}, before 2: {0}; N = 4. Of tokens with one there are two,
        // with two one: D' = 2 / (2 + 2) = 1/2; its mass 1/2 * 3 / 4 is shared by V = 4 tokens.
        let model = counts(4, &[0, 1, 0, 1, 0, 2, 1]).into_kneser_ney();
        let share = 0.5 * 3.0 / 4.0 / 4.0;
        let lower = [0.125 + share, 0.375 + share, 0.125 + share, share];
        for (token, &expected) in lower.iter().enumerate() {
            assert!((model.continuation[token] - expected).abs() < EXACT, "{token}");
        }
        // After 0: three pairs, two different followers.
        let third = 1.0 / 3.0;
        let expected = (2.0 - third) / 3.0 + third * 2.0 / 3.0 * lower[1];
        assert!((model.probability(0, 1) - expected).abs() < EXACT);
        let expected = third * 2.0 / 3.0 * lower[3];
        assert!((model.probability(0, 3) - expected).abs() < EXACT);
        // 3 has never been seen, nor anything after it.
        assert!((model.probability(3, 1) - lower[1]).abs() < EXACT);
        assert!((model.nats(3, 1) + lower[1].ln()).abs() < EXACT);
    }

    #[test]
    fn unigrams_add_one() {
        // The first token is context only: counts 2, 3, 1, 0 of 6; plus one each of 10.
        let model = counts(4, &[0, 1, 0, 1, 0, 2, 1]).unigram();
        for (token, expected) in [(0, 0.3), (1, 0.4), (2, 0.2), (3, 0.1f64)] {
            assert!((model.nats(9, token) + expected.ln()).abs() < EXACT);
        }
        let mean = model.mean_nats([(0, 1), (1, 3)]).unwrap();
        assert!((mean + (0.4f64 * 0.1).ln() / 2.0).abs() < EXACT);
        assert_eq!(model.mean_nats([]), None);
    }

    #[test]
    fn probabilities_are_positive_and_sum_to_one() {
        // A multiplicative generator gives a text with repetition; others are corner cases.
        let mut state = 1u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) % below) as u32
        };
        let random: Vec<u32> = (0..5000).map(|i| next(1 + i % 37)).collect();
        // A sum of 4,097 probabilities, each good to 1e-13.
        const SUM_ROUNDING: f64 = 1e-9;
        let texts = [random, vec![], vec![5], vec![5, 6], vec![1; 50], vec![1, 2, 1, 2, 1, 2]];
        for text in &texts {
            for vocab_size in [40, DENSE_VOCAB_SIZE + 1] {
                let model = counts(vocab_size, text).into_kneser_ney();
                for previous in (0..40).chain([vocab_size as u32 - 1]) {
                    let row =
                        (0..vocab_size as u32).map(|token| model.probability(previous, token));
                    let sum: f64 = row.inspect(|&probability| assert!(probability > 0.0)).sum();
                    assert!((sum - 1.0).abs() < SUM_ROUNDING, "{previous}: {sum}");
                }
            }
        }
    }

    #[test]
    fn a_split_counts_as_its_tokens_do() {
        let dir = tempfile::tempdir().unwrap();
        let format =
            TokenFormat { vocab_size: 50, bos_id: None, eos_id: None, fingerprint: String::new() };
        let mut writer = ShardWriter::new(dir.path(), Split::Train, format, 1 << 20);
        // One token more than two chunks.
        let tokens: Vec<u32> = (0..2 * CHUNK_TOKENS as u32 + 1).map(|i| i * i % 50).collect();
        writer.push(&tokens, 1).unwrap();
        writer.finish().unwrap();
        let shards = TokenShards::open(dir.path(), Split::Train).unwrap();
        let from_shards = BigramCounts::of_shards(&shards).unwrap();
        let mut expected = counts(50, &tokens);
        expected.tokens[tokens[0] as usize] += 1;
        assert_eq!(from_shards.tokens, expected.tokens);
        let mut num_pairs = 0;
        from_shards.for_each(|previous, token, count| {
            assert_eq!(count, expected.get(previous, token));
            num_pairs += u64::from(count);
        });
        assert_eq!(num_pairs, tokens.len() as u64 - 1);
    }
}
