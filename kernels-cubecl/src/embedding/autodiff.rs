//! The tracked step of `embedding`.

use burn::backend::TensorMetadata;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};

use crate::backend::{KernelBackward, Tracked};

#[derive(Debug)]
struct EmbeddingBackward;

impl<B: KernelBackward> Backward<B, 1> for EmbeddingBackward {
    /// (ids `[R]`, V)
    type State = (IntTensor<B>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (ids, vocab_size) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dy| {
            B::token_embedding_backward(ids, dy, vocab_size)
        });
    }
}

/// Runs the forward operation of `B` and records [`EmbeddingBackward`].
pub(crate) fn embedding<B: KernelBackward, C: CheckpointStrategy>(
    weight: Tracked<B, C>,
    ids: IntTensor<B>,
) -> Tracked<B, C> {
    let (weight, node) = weight.into_parts();
    let vocab_size = weight.shape()[0];
    let y: FloatTensor<B> = B::token_embedding(weight, ids.clone());
    match EmbeddingBackward.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish((ids, vocab_size), y),
        OpsKind::UnTracked(step) => step.finish(y),
    }
}
