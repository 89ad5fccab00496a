//! The tracked step of `linear`.

use burn::backend::tensor::FloatTensor;
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use crate::backend::{KernelBackward, Tracked};

#[derive(Debug)]
struct LinearBackward;

impl<B: KernelBackward> Backward<B, 2> for LinearBackward {
    /// (x `[R, in]`, weight `[out, in]`)
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (x, weight) = ops.state;
        let [x_node, weight_node] = ops.parents;
        if let Some(node) = x_node {
            grads.register::<B>(node.id, B::linear_dgrad(dy.clone(), weight));
        }
        if let Some(node) = weight_node {
            grads.register::<B>(node.id, B::linear_wgrad(dy, x));
        }
    }
}

/// Runs the forward operation of `B` and records [`LinearBackward`].
pub(crate) fn linear<B: KernelBackward, C: CheckpointStrategy>(
    x: Tracked<B, C>,
    weight: Tracked<B, C>,
) -> Tracked<B, C> {
    let (x, x_node) = x.into_parts();
    let (weight, weight_node) = weight.into_parts();
    let y = B::linear_forward(x.clone(), weight.clone());
    match LinearBackward.prepare::<C>([x_node, weight_node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish((x, weight), y),
        OpsKind::UnTracked(step) => step.finish(y),
    }
}
