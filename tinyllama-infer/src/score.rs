//! How probable a text is to a model: what perplexity and multiple-choice tasks are made of.

use burn::tensor::{Int, Tensor, TensorData, activation};

use crate::context::{Context, PREFILL_CHUNK_TOKENS, to_f32};
use crate::error::InferError;

/// What a model makes of a continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// ln p of each token, given all tokens before it.
    pub log_probs: Vec<f64>,
    /// Whether every token is the most probable one where it stands.
    pub is_greedy: bool,
}

impl Score {
    /// ln p of the whole continuation.
    pub fn sum(&self) -> f64 {
        self.log_probs.iter().sum()
    }
}

impl Context<'_> {
    /// Scores `ids[from..]` as the continuation of `ids[..from]`. What the text so far has in common with
    /// `ids` is not computed again, so that options that follow one question cost their own tokens.
    ///
    /// # Errors
    /// `from` is 0, since nothing predicts a first token, or leaves nothing to score; `ids` is longer
    /// than the context or has an id that the model lacks; a log-probability is not finite.
    pub fn score(&mut self, ids: &[u32], from: usize) -> Result<Score, InferError> {
        if from == 0 || from >= ids.len() {
            return Err(InferError::Setting {
                name: "from",
                value: from.to_string(),
                requirement: "at least 1 and smaller than the number of tokens",
            });
        }
        let kept = self.keep_common(ids, from - 1)?;
        let mut score = Score { log_probs: Vec::new(), is_greedy: true };
        // The last token is predicted and predicts nothing.
        for chunk in ids[kept..ids.len() - 1].chunks(PREFILL_CHUNK_TOKENS) {
            let start = self.ids().len();
            let hidden = self.extend(chunk)?; // [1, T, D]
            // The state at position p predicts the token at p + 1.
            let first = start.max(from - 1);
            let end = start + chunk.len();
            if first < end {
                let hidden = hidden.narrow(1, first - start, end - first);
                let logits = self.model().logits(hidden); // [1, T, V]
                self.add(&mut score, logits, &ids[first + 1..=end])?;
            }
        }
        Ok(score)
    }

    /// Adds what logits `[1, T, V]` say of their T targets.
    fn add(&self, score: &mut Score, logits: Tensor<3>, ids: &[u32]) -> Result<(), InferError> {
        let device = logits.device();
        let targets: Vec<i32> = ids.iter().map(|&id| self.checked(id)).collect::<Result<_, _>>()?;
        let targets: Tensor<3, Int> =
            Tensor::from_data(TensorData::new(targets, [1, ids.len(), 1]), &device);
        let best = logits.clone().argmax(2).equal(targets.clone());
        score.is_greedy &= best.all().into_scalar::<bool>();
        let log_probs = to_f32(activation::log_softmax(logits, 2).gather(2, targets));
        match log_probs.iter().all(|log_prob| log_prob.is_finite()) {
            true => score.log_probs.extend(log_probs.into_iter().map(f64::from)),
            false => return Err(self.not_finite()),
        }
        Ok(())
    }

    fn checked(&self, id: u32) -> Result<i32, InferError> {
        let vocab_size = self.model().config().vocab_size;
        match (id as usize) < vocab_size {
            true => Ok(id as i32),
            false => Err(InferError::ForeignToken { id, vocab_size }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixture, fixtures};

    /// ln p is a difference of numbers below 20 in f32.
    const F32: f64 = 1e-4;

    #[test]
    fn scores_are_the_softmax_of_the_full_forward() {
        for Fixture { model, token_ids, greedy_ids, .. } in fixtures() {
            let ids = [&token_ids[..], &greedy_ids[..]].concat();
            let vocab_size = model.config().vocab_size;
            let input = crate::context::ids_tensor(&ids, &model, &model.device()).unwrap();
            let logits = to_f32(model.forward(input, None));
            let log_prob = |position: usize| {
                let row = &logits[(position - 1) * vocab_size..][..vocab_size];
                let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
                f64::from(row[ids[position] as usize]) - sum.ln()
            };
            let mut context = Context::new(&model);
            // The second and third find their beginning read already.
            for (from, end) in [(1, ids.len()), (token_ids.len(), ids.len()), (5, 9)] {
                let score = context.score(&ids[..end], from).unwrap();
                assert_eq!(score.log_probs.len(), end - from);
                for (found, position) in score.log_probs.iter().zip(from..) {
                    assert!((found - log_prob(position)).abs() < F32, "{position}: {found}");
                }
                let sum: f64 = (from..end).map(log_prob).sum();
                assert!((score.sum() - sum).abs() < F32 * (end - from) as f64);
                assert_eq!(score.is_greedy, from == token_ids.len());
            }
        }
    }

    #[test]
    fn what_cannot_be_scored_is_refused() {
        let Fixture { model, .. } = fixtures().remove(0);
        let mut context = Context::new(&model);
        for from in [0, 3, 4] {
            assert!(matches!(context.score(&[1, 2, 3], from), Err(InferError::Setting { .. })));
        }
        let foreign = context.score(&[1, 2, 211], 1).unwrap_err();
        assert!(matches!(foreign, InferError::ForeignToken { id: 211, .. }));
    }
}
