//! The tracked step of `rope`.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};

use crate::backend::{KernelBackward, Tracked};

#[derive(Debug)]
struct RopeBackward;

impl<B: KernelBackward> Backward<B, 1> for RopeBackward {
    /// (cos, sin, offsets; rotated and inverse of the forward call)
    type State = (FloatTensor<B>, FloatTensor<B>, IntTensor<B>, usize, bool);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (cos, sin, offsets, rotated, inverse) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dy| {
            B::rope(dy, cos, sin, offsets, rotated, !inverse)
        });
    }
}

/// Runs the forward operation of `B` and records [`RopeBackward`]; the tables are constants.
pub(crate) fn rope<B: KernelBackward, C: CheckpointStrategy>(
    x: Tracked<B, C>,
    cos: Tracked<B, C>,
    sin: Tracked<B, C>,
    offsets: IntTensor<B>,
    rotated: usize,
    inverse: bool,
) -> Tracked<B, C> {
    let (x, x_node) = x.into_parts();
    let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
    let y = B::rope(x, cos.clone(), sin.clone(), offsets.clone(), rotated, inverse);
    match RopeBackward.prepare::<C>([x_node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish((cos, sin, offsets, rotated, inverse), y),
        OpsKind::UnTracked(step) => step.finish(y),
    }
}
