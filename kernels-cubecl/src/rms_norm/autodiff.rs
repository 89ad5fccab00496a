//! The tracked steps of `rms_norm` and `add_rms_norm`.

use burn::backend::AutodiffBackend;
use burn::backend::tensor::FloatTensor;
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, binary};

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

/// The sum of [`add_rms_norm`]: its gradient is that of both summands.
#[derive(Debug)]
struct AddBackward;

impl<B: KernelBackward> Backward<B, 2> for AddBackward {
    type State = ();

    fn backward(self, ops: Ops<(), 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        binary::<B, _, _>(ops.parents, ops.node, grads, |dsum| dsum, |dsum| dsum);
    }
}

/// Runs the forward operation of `B` and records two nodes: the sum, and on it the norm.
pub(crate) fn add_rms_norm<B: KernelBackward, C: CheckpointStrategy>(
    x: Tracked<B, C>,
    residual: Tracked<B, C>,
    weight: Tracked<B, C>,
    eps: f64,
) -> (Tracked<B, C>, Tracked<B, C>, Tracked<B, C>) {
    let (x, x_node) = x.into_parts();
    let (residual, residual_node) = residual.into_parts();
    let (weight, weight_node) = weight.into_parts();
    let (y, sum, rstd) = B::add_rms_norm(x, residual, weight.clone(), eps);
    let kept = sum.clone();
    let sum = AddBackward.prepare::<C>([x_node, residual_node]).compute_bound().stateless(sum);
    let step = RmsNormBackward.prepare::<C>([sum.node(), weight_node]).compute_bound();
    let y = match step.stateful() {
        OpsKind::Tracked(step) => step.finish((kept, weight, rstd.clone()), y),
        OpsKind::UnTracked(step) => step.finish(y),
    };
    (y, sum, Autodiff::<B, C>::from_inner(rstd))
}
