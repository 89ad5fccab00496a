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
    /// The one sequence of operations of training, scoring and decoding; `rope` has the T positions of
    /// the stream.
    pub fn forward(&self, stream: Residual, rope: &Rope, kv: &mut impl KeyValues) -> Residual {
        let (normed, x) = stream.norm(&self.input_layernorm);
        let attended = self.self_attn.forward(normed, rope, kv);
        let (normed, x) = self.post_attention_layernorm.add_forward(attended, x);
        Residual { x, added: Some(self.mlp.forward(normed)) }
    }
}

/// The residual stream between blocks. What a block adds last waits for the next norm, which adds and
/// normalises in one pass over memory.
#[derive(Clone, Debug)]
pub struct Residual {
    /// `[B, T, D]`
    x: Tensor<3>,
    /// `[B, T, D]`
    added: Option<Tensor<3>>,
}

impl Residual {
    /// A stream that starts with the embeddings `[B, T, D]`.
    pub fn new(x: Tensor<3>) -> Self {
        Self { x, added: None }
    }

    /// (normalised stream, stream), each `[B, T, D]`.
    pub fn norm(self, norm: &RmsNorm) -> (Tensor<3>, Tensor<3>) {
        match self.added {
            None => (norm.forward(self.x.clone()), self.x),
            Some(added) => norm.add_forward(added, self.x),
        }
    }

    /// The stream `[B, T, D]`.
    pub fn sum(self) -> Tensor<3> {
        match self.added {
            None => self.x,
            Some(added) => self.x + added,
        }
    }
}
