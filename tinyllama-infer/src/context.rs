//! The text a model has read: ids, and their keys and values.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use tinyllama_model::weights::Tensors;
use tinyllama_model::{CausalLm, KvCache, RopeScaling};

use crate::error::InferError;

/// The smallest cache that is allocated, in tokens.
const MIN_CAPACITY_TOKENS: usize = 64;

/// Tokens of a prompt in one forward pass: enough that a GPU computes longer than it reads the
/// weights (an H100 in bf16 from about 200 on), few enough that a prompt can be given up soon.
pub(crate) const PREFILL_CHUNK_TOKENS: usize = 256;

/// One sequence in front of a model: what it has read, kept so that nothing is read twice.
#[derive(Debug)]
pub struct Context<'a> {
    model: &'a dyn CausalLm,
    /// What the model's numbers come from, to name the culprit where they are undefined.
    tensors: Option<&'a Tensors>,
    device: Device,
    cache: KvCache,
    ids: Vec<u32>,
}

impl<'a> Context<'a> {
    /// An empty context; memory is allocated as the text grows.
    pub fn new(model: &'a dyn CausalLm) -> Self {
        let device = model.device();
        let cache = KvCache::new(model.config(), 1, 0, &device);
        Self { model, tensors: None, device, cache, ids: Vec::new() }
    }

    /// As [`Context::new`]; errors name the tensor of `tensors` that undefined numbers come from.
    pub(crate) fn with_tensors(model: &'a dyn CausalLm, tensors: Option<&'a Tensors>) -> Self {
        Self { tensors, ..Self::new(model) }
    }

    /// Tokens the model can see at once: [`context_tokens`](tinyllama_model::ModelConfig::context_tokens).
    pub fn limit_tokens(&self) -> usize {
        self.model.config().context_tokens()
    }

    /// The model that reads.
    pub(crate) fn model(&self) -> &'a dyn CausalLm {
        self.model
    }

    /// The tokens read so far.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Bytes of the keys and values that memory is allocated for, whether tokens fill it or not.
    pub fn cache_bytes(&self) -> usize {
        let element_bytes = Tensor::<1>::empty([1], &self.device).dtype().size();
        let per_token = self.model.config().kv_cache_bytes_per_token(element_bytes);
        self.cache.capacity().saturating_mul(per_token)
    }

    /// Makes `ids` the whole text and returns the logits `[V]` that follow it and the number of
    /// tokens computed for them: what the text so far has in common with `ids` is kept.
    ///
    /// Reads in chunks and looks at `cancel` before each. Once it is true there are no logits, and
    /// the text is the beginning of `ids` that was read; reading `ids` again goes on from there.
    ///
    /// # Errors
    /// `ids` is empty, longer than the limit allows, or has an id that the model lacks; the logits
    /// are not finite.
    pub fn prefill(
        &mut self,
        ids: &[u32],
        cancel: &AtomicBool,
    ) -> Result<(Option<Vec<f32>>, usize), InferError> {
        self.prefill_while(ids, |_| !cancel.load(Ordering::Relaxed))
    }

    /// Appends one token and returns the logits `[V]` that follow it.
    ///
    /// # Errors
    /// The context is full, or the model lacks the id; the logits are not finite.
    pub fn push(&mut self, id: u32) -> Result<Vec<f32>, InferError> {
        self.reserve(self.ids.len() + 1)?;
        self.read(&[id])
    }

    /// As [`Context::prefill`]; `goes_on` sees how many tokens the context holds before each chunk.
    fn prefill_while(
        &mut self,
        ids: &[u32],
        mut goes_on: impl FnMut(usize) -> bool,
    ) -> Result<(Option<Vec<f32>>, usize), InferError> {
        if ids.is_empty() {
            return Err(InferError::EmptyPrompt);
        }
        // The last token is read again if need be: its logits were not kept.
        let kept = self.keep_common(ids, ids.len() - 1)?;
        let chunk_tokens = match self.model.config().rope_scaling {
            // Its angles follow the length of a pass: a prompt in parts would be turned otherwise.
            Some(RopeScaling::Dynamic { .. }) => usize::MAX,
            _ => PREFILL_CHUNK_TOKENS,
        };
        while goes_on(self.ids.len()) {
            let left = &ids[self.ids.len()..];
            if left.len() <= chunk_tokens {
                return Ok((Some(self.read(left)?), ids.len() - kept));
            }
            self.extend(&left[..chunk_tokens])?;
            // A device that only queues its work would be given all of it before `goes_on` says no.
            // An error comes up again where the logits are read.
            self.device.sync().ok();
        }
        Ok((None, self.ids.len() - kept))
    }

    /// Makes room for `ids` and forgets all but what the text so far has in common with them, at most
    /// `most` tokens; gives how many are kept.
    pub(crate) fn keep_common(&mut self, ids: &[u32], most: usize) -> Result<usize, InferError> {
        self.reserve(ids.len())?;
        let common = self.ids.iter().zip(ids).take_while(|(a, b)| a == b).count();
        let kept = common.min(most);
        self.cache.truncate(kept);
        self.ids.truncate(kept);
        Ok(kept)
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

    /// Appends `new` in one forward pass and gives the logits `[V]` after it.
    fn read(&mut self, new: &[u32]) -> Result<Vec<f32>, InferError> {
        let hidden = self.extend(new)?; // [1, T, D]
        let last = hidden.narrow(1, new.len() - 1, 1); // [1, 1, D]
        let logits = to_f32(self.model.logits(last));
        match logits.iter().all(|logit| logit.is_finite()) {
            true => Ok(logits),
            false => Err(self.not_finite()),
        }
    }

    /// The error for undefined numbers. Only now all weights are read.
    pub(crate) fn not_finite(&self) -> InferError {
        let culprit = self.tensors.and_then(|tensors| tensors.require_finite().err());
        InferError::NotFinite { tokens: self.ids.len(), culprit: culprit.map(Box::new) }
    }

    /// Appends `new` in one forward pass: hidden states `[1, T, D]`.
    pub(crate) fn extend(&mut self, new: &[u32]) -> Result<Tensor<3>, InferError> {
        let ids = ids_tensor(new, self.model, &self.device)?;
        let hidden = self.model.hidden(ids, Some(&mut self.cache));
        self.ids.extend_from_slice(new);
        Ok(hidden)
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
    use tinyllama_model::{ModelConfig, TinyLlama};

    use super::*;
    use crate::testing::{Fixture, assert_close, fixture, fixtures, letters_model};

    /// The same f32 sums in another order: logits of these models are below 20.
    const OTHER_ORDER: f32 = 1e-4;

    /// What follows `ids`, and how many tokens were computed.
    fn read(context: &mut Context<'_>, ids: &[u32]) -> (Vec<f32>, usize) {
        let (logits, computed) = context.prefill(ids, &AtomicBool::new(false)).unwrap();
        (logits.expect("nothing cancels it"), computed)
    }

    /// A random model that sees three chunks, and as many tokens as fill two and a part.
    fn long() -> (TinyLlama, Vec<u32>) {
        let config = ModelConfig {
            max_position_embeddings: 3 * PREFILL_CHUNK_TOKENS,
            ..letters_model().model.config().clone()
        };
        let ids = (0..2 * PREFILL_CHUNK_TOKENS as u32 + 7).map(|i| 3 + i * i % 95).collect();
        (TinyLlama::init(&config, &Device::flex(), 1), ids)
    }

    #[test]
    fn prefill_and_decode_equal_one_full_forward() {
        for Fixture { model, token_ids, .. } in fixtures() {
            let device = model.device();
            let vocab_size = model.config().vocab_size;
            let ids = ids_tensor(&token_ids, &model, &device).unwrap();
            let full = to_f32(model.forward(ids, None));
            let row = |position: usize| &full[position * vocab_size..][..vocab_size];
            let mut context = Context::new(&model);
            let (logits, computed) = read(&mut context, &token_ids[..7]);
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
            read(&mut context, &token_ids);
            let changed = [&token_ids[..10], &greedy_ids[..5]].concat();
            let (logits, computed) = read(&mut context, &changed);
            assert!(computed <= 5 && computed > 0, "{computed}");
            assert_close(&logits, &read(&mut Context::new(&model), &changed).0, OTHER_ORDER);
            let (again, computed) = read(&mut context, &changed);
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
            read(&mut context, &token_ids);
            let pushed = greedy_ids.iter().map(|&id| context.push(id).unwrap()).last().unwrap();
            assert_eq!(context.ids(), all);
            assert_close(&pushed, &read(&mut Context::new(&model), &all).0, OTHER_ORDER);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let Fixture { model, .. } = fixtures().remove(0);
        let mut context = Context::new(&model);
        let go_on = AtomicBool::new(false);
        let error = context.prefill(&[3; 129], &go_on).unwrap_err().to_string();
        assert!(error.contains("129") && error.contains("128"), "{error}");
        read(&mut context, &[3; 128]);
        assert!(matches!(context.push(3), Err(InferError::PromptTooLong { .. })));
        let foreign = context.prefill(&[211], &go_on);
        assert!(matches!(foreign, Err(InferError::ForeignToken { id: 211, .. })));
        assert!(matches!(context.prefill(&[], &go_on), Err(InferError::EmptyPrompt)));
    }

    #[test]
    fn chunks_are_one_full_forward() {
        let (model, ids) = long();
        let full = to_f32(model.forward(ids_tensor(&ids, &model, &Device::flex()).unwrap(), None));
        let last_row = &full[full.len() - model.config().vocab_size..];
        let (logits, computed) = read(&mut Context::new(&model), &ids);
        assert_eq!(computed, ids.len());
        assert_close(&logits, last_row, OTHER_ORDER);
    }

    #[test]
    fn a_cancelled_prefill_keeps_what_it_read() {
        let (model, ids) = long();
        let mut context = Context::new(&model);
        let mut held = Vec::new();
        let (logits, computed) = context
            .prefill_while(&ids, |tokens| {
                held.push(tokens);
                tokens < PREFILL_CHUNK_TOKENS
            })
            .unwrap();
        assert_eq!(held, [0, PREFILL_CHUNK_TOKENS], "it asks before each chunk");
        assert!(logits.is_none() && computed == PREFILL_CHUNK_TOKENS);
        assert_eq!(context.ids(), &ids[..PREFILL_CHUNK_TOKENS]);
        let (logits, computed) = read(&mut context, &ids);
        assert_eq!(computed, ids.len() - PREFILL_CHUNK_TOKENS);
        assert_close(&logits, &read(&mut Context::new(&model), &ids).0, OTHER_ORDER);
    }

    #[test]
    fn the_cache_is_counted_as_it_is_allocated() {
        let (model, ids) = long();
        let mut context = Context::new(&model);
        assert_eq!(context.cache_bytes(), 0);
        read(&mut context, &ids[..5]);
        // k and v of each layer and head, in f32.
        let config = model.config();
        let token =
            2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim() * 4;
        assert_eq!(context.cache_bytes(), MIN_CAPACITY_TOKENS * token);
    }

    /// 3 times its `max_position_embeddings` of 24.
    #[test]
    fn dynamic_scaling_sees_farther() {
        let Fixture { model, token_ids, greedy_ids } = fixture("tiny_llama_dynamic");
        let mut context = Context::new(&model);
        assert_eq!(context.limit_tokens(), 72);
        let (mut logits, _) = read(&mut context, &token_ids);
        for &id in &greedy_ids {
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            assert_eq!(best, id as usize, "after {} tokens", context.ids().len());
            logits = context.push(id).unwrap();
        }
        assert!(context.ids().len() > model.config().max_position_embeddings);
        let error = context.prefill(&[3; 73], &AtomicBool::new(false)).unwrap_err().to_string();
        assert!(error.contains("73") && error.contains("72"), "{error}");
    }
}
