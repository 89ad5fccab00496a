//! The attention half of a block.

use burn::module::Module;
use burn::tensor::Tensor;
use kernels_cubecl::AttentionOptions;

use crate::kv_cache::KeyValues;
use crate::linear::{Linear, Projection};
use crate::rope::Rope;

/// Causal grouped-query attention.
#[derive(Module, Debug)]
pub struct Attention<P = Linear> {
    /// `[(N + 2K)·H, D]`: query rows, then key rows, then value rows, so that one GEMM serves all.
    pub qkv_proj: P,
    /// `[D, N·H]`
    pub o_proj: P,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
}

impl<P: Projection> Attention<P> {
    /// Wraps the two projections of N query and K key-value heads of dimension H.
    pub fn new(qkv_proj: P, o_proj: P, heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self {
            qkv_proj,
            o_proj,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
        }
    }

    /// `[B, T, D]` → `[B, T, D]`; with a cache, x continues the cached sequence. `rope` has the T
    /// positions of x.
    pub fn forward(&self, x: Tensor<3>, rope: &Rope, kv: &mut impl KeyValues) -> Tensor<3> {
        let [batch, length, _] = x.dims();
        let (n, k, h) = (self.num_attention_heads, self.num_key_value_heads, self.head_dim);
        let qkv = self.qkv_proj.forward(x).reshape([batch, length, n + 2 * k, h]); // [B, T, N+2K, H]
        // Queries and keys are neighbours in the packed projection: one rotation serves both.
        let qkv = rope.apply(qkv, n + k);
        let query = qkv.clone().narrow(2, 0, n); // [B, T, N, H]
        let (key, value) = (qkv.clone().narrow(2, n, k), qkv.narrow(2, n + k, k)); // [B, T, K, H]
        let (key, value) = kv.extend(key, value); // [B, S, K, H]
        let out = kernels_cubecl::attention(query, key, value, AttentionOptions::causal(h)); // [B, T, N, H]
        self.o_proj.forward(out.reshape([batch, length, n * h]))
    }
}
