//! The text a model has read: ids, and their keys and values.

use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use tinyllama_model::{CausalLm, KvCache};

use crate::error::InferError;

/// The smallest cache that is allocated, in tokens.
const MIN_CAPACITY_TOKENS: usize = 64;

/// One sequence in front of a model: what it has read, kept so that nothing is read twice.
#[derive(Debug)]
pub struct Context<'a> {
    model: &'a dyn CausalLm,
    device: Device,
    cache: KvCache,
    ids: Vec<u32>,
}

impl<'a> Context<'a> {
    /// An empty context; memory is allocated as the text grows.
    pub fn new(model: &'a dyn CausalLm) -> Self {
        let device = model.device();
        let cache = KvCache::new(model.config(), 1, 0, &device);
        Self { model, device, cache, ids: Vec::new() }
    }

    /// Tokens the model can see at once: [`context_tokens`](tinyllama_model::ModelConfig::context_tokens).
    pub fn limit_tokens(&self) -> usize {
        self.model.config().context_tokens()
    }

    /// The tokens read so far.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Makes `ids` the whole text and returns the logits `[V]` that follow it and the number of
    /// tokens computed for them: what the text so far has in common with `ids` is kept.
    ///
    /// # Errors
    /// `ids` is empty, longer than the limit allows, or has an id that the model lacks; the logits
    /// are not finite.
    pub fn prefill(&mut self, ids: &[u32]) -> Result<(Vec<f32>, usize), InferError> {
        if ids.is_empty() {
            return Err(InferError::EmptyPrompt);
        }
        self.reserve(ids.len())?;
        let common = self.ids.iter().zip(ids).take_while(|(a, b)| a == b).count();
        // The last token is read again if need be: its logits were not kept.
        let kept = common.min(ids.len() - 1);
        self.cache.truncate(kept);
        self.ids.truncate(kept);
        let logits = self.read(&ids[kept..])?;
        Ok((logits, ids.len() - kept))
    }

    /// Appends one token and returns the logits `[V]` that follow it.
    ///
    /// # Errors
    /// The context is full, or the model lacks the id; the logits are not finite.
    pub fn push(&mut self, id: u32) -> Result<Vec<f32>, InferError> {
        self.reserve(self.ids.len() + 1)?;
        self.read(&[id])
    }

    /// Makes room for `length` tokens in all. Capacities double, so that all copying together costs no
    /// more than copying the whole twice, and memory follows what is read, not what the model could see.
    ///
    /// # Errors
    /// The model cannot see so many tokens.
    fn reserve(&mut self, length: usize) -> Result<(), InferError> {
        let context_tokens = self.limit_tokens();
        if length > context_tokens {
            return Err(InferError::PromptTooLong { prompt_tokens: length, context_tokens });
        }
        if length > self.cache.capacity() {
            let doubled = length.max(2 * self.cache.capacity()).max(MIN_CAPACITY_TOKENS);
            self.cache.grow(doubled.min(context_tokens));
        }
        Ok(())
    }

    /// Appends `new` in one forward pass.
    fn read(&mut self, new: &[u32]) -> Result<Vec<f32>, InferError> {
        let ids = ids_tensor(new, self.model, &self.device)?;
        let hidden = self.model.hidden(ids, Some(&mut self.cache)); // [1, T, D]
        self.ids.extend_from_slice(new);
        let last = hidden.narrow(1, new.len() - 1, 1); // [1, 1, D]
        let logits = to_f32(self.model.logits(last));
        match logits.iter().all(|logit| logit.is_finite()) {
            true => Ok(logits),
            false => Err(InferError::NotFinite { tokens: self.ids.len() }),
        }
    }
}

/// ids `[1, T]` on the device.
///
/// # Errors
/// An id has no row in the embedding.
pub(crate) fn ids_tensor(
    ids: &[u32],
    model: &dyn CausalLm,
    device: &Device,
) -> Result<Tensor<2, Int>, InferError> {
    let vocab_size = model.config().vocab_size;
    if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
        return Err(InferError::ForeignToken { id, vocab_size });
    }
    let values: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    Ok(Tensor::from_data(TensorData::new(values, [1, ids.len()]), device))
}

/// The values of a tensor, row by row.
pub(crate) fn to_f32<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.cast(FloatDType::F32).into_data().iter::<f32>().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixture, assert_close, fixture, fixtures};

    /// The same f32 sums in another order: logits of these models are below 20.
    const OTHER_ORDER: f32 = 1e-4;

    #[test]
    fn prefill_and_decode_equal_one_full_forward() {
        for Fixture { model, token_ids, .. } in fixtures() {
            let device = model.device();
            let vocab_size = model.config().vocab_size;
            let ids = ids_tensor(&token_ids, &model, &device).unwrap();
            let full = to_f32(model.forward(ids, None));
            let row = |position: usize| &full[position * vocab_size..][..vocab_size];
            let mut context = Context::new(&model);
            let (logits, computed) = context.prefill(&token_ids[..7]).unwrap();
            assert_eq!(computed, 7);
            assert_close(&logits, row(6), OTHER_ORDER);
            for (position, &id) in token_ids.iter().enumerate().skip(7) {
                assert_close(&context.push(id).unwrap(), row(position), OTHER_ORDER);
            }
        }
    }

    #[test]
    fn a_common_prefix_is_read_once_and_changes_nothing() {
        for Fixture { model, token_ids, greedy_ids, .. } in fixtures() {
            let mut context = Context::new(&model);
            context.prefill(&token_ids).unwrap();
            let changed = [&token_ids[..10], &greedy_ids[..5]].concat();
            let (logits, computed) = context.prefill(&changed).unwrap();
            assert!(computed <= 5 && computed > 0, "{computed}");
            assert_close(&logits, &Context::new(&model).prefill(&changed).unwrap().0, OTHER_ORDER);
            let (again, computed) = context.prefill(&changed).unwrap();
            assert_eq!(computed, 1, "the last token's logits are needed again");
            assert_close(&again, &logits, OTHER_ORDER);
        }
    }

    #[test]
    fn growing_keeps_the_text() {
        for Fixture { model, token_ids, greedy_ids, .. } in fixtures() {
            let all = [&token_ids[..], &greedy_ids[..]].concat();
            assert!(all.len() > MIN_CAPACITY_TOKENS);
            let mut context = Context::new(&model);
            context.prefill(&token_ids).unwrap();
            let pushed = greedy_ids.iter().map(|&id| context.push(id).unwrap()).last().unwrap();
            assert_eq!(context.ids(), all);
            assert_close(&pushed, &Context::new(&model).prefill(&all).unwrap().0, OTHER_ORDER);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let Fixture { model, .. } = fixtures().remove(0);
        let mut context = Context::new(&model);
        let error = context.prefill(&[3; 129]).unwrap_err().to_string();
        assert!(error.contains("129") && error.contains("128"), "{error}");
        context.prefill(&[3; 128]).unwrap();
        assert!(matches!(context.push(3), Err(InferError::PromptTooLong { .. })));
        assert!(matches!(context.prefill(&[211]), Err(InferError::ForeignToken { id: 211, .. })));
        assert!(matches!(context.prefill(&[]), Err(InferError::EmptyPrompt)));
    }

    /// 3 times its `max_position_embeddings` of 24.
    #[test]
    fn dynamic_scaling_sees_farther() {
        let Fixture { model, token_ids, greedy_ids } = fixture("tiny_llama_dynamic");
        let mut context = Context::new(&model);
        assert_eq!(context.limit_tokens(), 72);
        let mut logits = context.prefill(&token_ids).unwrap().0;
        for &id in &greedy_ids {
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            assert_eq!(best, id as usize, "after {} tokens", context.ids().len());
            logits = context.push(id).unwrap();
        }
        assert!(context.ids().len() > model.config().max_position_embeddings);
        let error = context.prefill(&[3; 73]).unwrap_err().to_string();
        assert!(error.contains("73") && error.contains("72"), "{error}");
    }
}
