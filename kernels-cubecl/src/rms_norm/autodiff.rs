//! The tracked step of `rms_norm`.

use burn::backend::AutodiffBackend;
use burn::backend::tensor::FloatTensor;
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use crate::backend::{KernelBackward, Tracked};

#[derive(Debug)]
struct RmsNormBackward;

impl<B: KernelBackward> Backward<B, 2> for RmsNormBackward {
    /// (x `[R, D]`, weight `[D]`, rstd `[R]`)
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (x, weight, rstd) = ops.state;
        let [x_node, weight_node] = ops.parents;
        let (dx, dweight) = B::rms_norm_backward(x, weight, rstd, dy);
        if let Some(node) = x_node {
            grads.register::<B>(node.id, dx);
        }
        if let Some(node) = weight_node {
            grads.register::<B>(node.id, dweight);
        }
    }
}

/// Runs the forward operation of `B` and records [`RmsNormBackward`]; rstd is a constant.
pub(crate) fn rms_norm<B: KernelBackward, C: CheckpointStrategy>(
    x: Tracked<B, C>,
    weight: Tracked<B, C>,
    eps: f64,
) -> (Tracked<B, C>, Tracked<B, C>) {
    let (x, x_node) = x.into_parts();
    let (weight, weight_node) = weight.into_parts();
    let (y, rstd) = B::rms_norm(x.clone(), weight.clone(), eps);
    let y = match RmsNormBackward.prepare::<C>([x_node, weight_node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish((x, weight, rstd.clone()), y),
        OpsKind::UnTracked(step) => step.finish(y),
    };
    (y, Autodiff::<B, C>::from_inner(rstd))
}
