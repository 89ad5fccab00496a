//! How many parameters, operations and bytes a shape costs: the one place where they are counted.

use super::ModelConfig;

/// Bytes that training keeps for every parameter; activations come on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingBytes {
    /// The weights.
    pub weights_bytes: usize,
    /// Their gradients.
    pub gradients_bytes: usize,
    /// Both moments of AdamW.
    pub moments_bytes: usize,
}

impl TrainingBytes {
    /// Weights, gradients and moments together, in bytes.
    pub fn total_bytes(&self) -> usize {
        self.weights_bytes.saturating_add(self.gradients_bytes).saturating_add(self.moments_bytes)
    }
}

/// All counts saturate: they are exact for every configuration that passes
/// [`ModelConfig::validate`].
impl ModelConfig {
    /// Trainable parameters; a tied embedding counts once.
    pub fn num_parameters(&self) -> usize {
        self.checked_parameters().unwrap_or(usize::MAX)
    }

    /// Parameters that are the weight of a matrix product: projections and output head. The
    /// embedding is a look-up and counts only where it is also the output head.
    pub fn num_matmul_parameters(&self) -> usize {
        self.checked_matmul_parameters().unwrap_or(usize::MAX)
    }

    /// Floating-point operations to train on one token of a sequence of `seq_tokens`, in the
    /// convention of PaLM (<https://arxiv.org/abs/2204.02311>, appendix B) without the input
    /// embedding: 6 per matmul parameter and 12 L N H T for attention, the masked half included.
    pub fn flops_per_token_palm(&self, seq_tokens: usize) -> u64 {
        self.dense_flops_per_token().saturating_add(self.attention_flops_per_token(seq_tokens))
    }

    /// As [`ModelConfig::flops_per_token_palm`], with the half of attention that causality leaves.
    pub fn flops_per_token_causal(&self, seq_tokens: usize) -> u64 {
        self.dense_flops_per_token().saturating_add(self.attention_flops_per_token(seq_tokens) / 2)
    }

    /// What weights, gradients and the two AdamW moments take, given the bytes of one element each.
    pub fn training_bytes(
        &self,
        weight_bytes: usize,
        gradient_bytes: usize,
        moment_bytes: usize,
    ) -> TrainingBytes {
        let parameters = self.num_parameters();
        TrainingBytes {
            weights_bytes: parameters.saturating_mul(weight_bytes),
            gradients_bytes: parameters.saturating_mul(gradient_bytes),
            moments_bytes: parameters.saturating_mul(2).saturating_mul(moment_bytes),
        }
    }

    /// Keys and values of all layers for one token, in bytes.
    pub fn kv_cache_bytes_per_token(&self, element_bytes: usize) -> usize {
        [self.num_hidden_layers, self.num_key_value_heads, self.head_dim(), element_bytes]
            .into_iter()
            .fold(2, usize::saturating_mul)
    }

    /// `None` where the count does not fit in a `usize`.
    pub(super) fn checked_parameters(&self) -> Option<usize> {
        let norms =
            self.num_hidden_layers.checked_mul(2)?.checked_add(1)?.checked_mul(self.hidden_size)?;
        let embedding = if self.tie_word_embeddings {
            0 // Already counted as the output head.
        } else {
            self.vocab_size.checked_mul(self.hidden_size)?
        };
        self.checked_matmul_parameters()?.checked_add(norms)?.checked_add(embedding)
    }

    fn checked_matmul_parameters(&self) -> Option<usize> {
        // Query and output projections are [N*H, D] each, key and value projections [K*H, D] each.
        let heads = self.num_attention_heads.checked_add(self.num_key_value_heads)?;
        let attention_rows = heads.checked_mul(self.head_dim())?.checked_mul(2)?;
        let mlp_rows = self.intermediate_size.checked_mul(3)?; // gate, up and down
        attention_rows
            .checked_add(mlp_rows)?
            .checked_mul(self.num_hidden_layers)?
            .checked_add(self.vocab_size)?
            .checked_mul(self.hidden_size)
    }

    fn dense_flops_per_token(&self) -> u64 {
        6_u64.saturating_mul(self.num_matmul_parameters() as u64)
    }

    fn attention_flops_per_token(&self, seq_tokens: usize) -> u64 {
        [self.num_hidden_layers, self.num_attention_heads, self.head_dim(), seq_tokens]
            .into_iter()
            .fold(12, |product, factor| product.saturating_mul(factor as u64))
    }
}
