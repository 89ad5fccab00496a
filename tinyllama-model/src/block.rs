//! One decoder block.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::attention::Attention;
use crate::kv_cache::KeyValues;
use crate::linear::{Linear, Projection};
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::rope::Rope;

/// Pre-norm decoder block: `x += attn(norm(x)); x += mlp(norm(x))`.
#[derive(Module, Debug)]
pub struct Block<P = Linear> {
    /// Norm before attention.
    pub input_layernorm: RmsNorm,
    /// Attention.
    pub self_attn: Attention<P>,
    /// Norm before the feed-forward half.
    pub post_attention_layernorm: RmsNorm,
    /// Feed-forward half.
    pub mlp: Mlp<P>,
}

impl<P: Projection> Block<P> {
    /// `[B, T, D]` → `[B, T, D]`: the one sequence of operations of training, scoring and decoding.
    /// `rope` has the T positions of x.
    pub fn forward(&self, x: Tensor<3>, rope: &Rope, kv: &mut impl KeyValues) -> Tensor<3> {
        let attended = self.self_attn.forward(self.input_layernorm.forward(x.clone()), rope, kv);
        let (normed, x) = self.post_attention_layernorm.add_forward(attended, x);
        x + self.mlp.forward(normed)
    }
}
