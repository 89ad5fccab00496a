//! The tracked step of `cross_entropy`.

use burn::backend::AutodiffBackend;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};

use crate::backend::{KernelBackward, Tracked};

#[derive(Debug)]
struct CrossEntropyBackward;

impl<B: KernelBackward> Backward<B, 1> for CrossEntropyBackward {
    /// (logits `[R, V]`, targets `[R]`, lse `[R]`)
    type State = (FloatTensor<B>, IntTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (logits, targets, lse) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dnll| {
            B::cross_entropy_backward(logits, targets, lse, dnll)
        });
    }
}

/// Runs the forward operation of `B` and records [`CrossEntropyBackward`]; lse is a constant.
pub(crate) fn cross_entropy<B: KernelBackward, C: CheckpointStrategy>(
    logits: Tracked<B, C>,
    targets: IntTensor<B>,
) -> (Tracked<B, C>, Tracked<B, C>) {
    let (logits, node) = logits.into_parts();
    let (nll, lse) = B::cross_entropy(logits.clone(), targets.clone());
    let nll = match CrossEntropyBackward.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish((logits, targets, lse.clone()), nll),
        OpsKind::UnTracked(step) => step.finish(nll),
    };
    (nll, Autodiff::<B, C>::from_inner(lse))
}
