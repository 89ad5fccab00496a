//! The tracked step of `cross_entropy`.

use burn::backend::AutodiffBackend;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};

use super::CrossEntropyOptions;
use crate::backend::{KernelBackward, Tracked};

#[derive(Debug)]
struct CrossEntropyBackward;

impl<B: KernelBackward> Backward<B, 1> for CrossEntropyBackward {
    /// (logits `[R, V]`, targets `[R]`, lse `[R]`, options)
    type State = (FloatTensor<B>, IntTensor<B>, FloatTensor<B>, CrossEntropyOptions);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (logits, targets, lse, options) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dloss| {
            B::cross_entropy_backward(logits, targets, lse, dloss, options)
        });
    }
}

/// Runs the forward operation of `B` and records [`CrossEntropyBackward`]; lse is a constant.
pub(crate) fn cross_entropy<B: KernelBackward, C: CheckpointStrategy>(
    logits: Tracked<B, C>,
    targets: IntTensor<B>,
    options: CrossEntropyOptions,
) -> (Tracked<B, C>, Tracked<B, C>) {
    let (logits, node) = logits.into_parts();
    let (loss, lse) = B::cross_entropy(logits.clone(), targets.clone(), options);
    let loss = match CrossEntropyBackward.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish((logits, targets, lse.clone(), options), loss),
        OpsKind::UnTracked(step) => step.finish(loss),
    };
    (loss, Autodiff::<B, C>::from_inner(lse))
}
