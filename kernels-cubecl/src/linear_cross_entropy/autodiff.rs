//! The tracked step of `linear_cross_entropy`.

use burn::backend::TensorMetadata;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::Shape;
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::chunks::{Loss, forward, forward_backward};
use crate::backend::{KernelBackward, Tracked};
use crate::cross_entropy::CrossEntropyOptions;
use crate::precision::to_dtype;

#[derive(Debug)]
struct LinearCrossEntropyBackward;

impl<B: KernelBackward> Backward<B, 2> for LinearCrossEntropyBackward {
    /// (dx `[R, D]`, dweight `[V, D]`) of a loss of 1
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dloss = grads.consume::<B>(&ops.node); // [1]
        let (dx, dweight) = ops.state;
        for (node, gradient) in ops.parents.into_iter().zip([dx, dweight]) {
            if let Some(node) = node {
                let scale = to_dtype::<B>(dloss.clone(), gradient.dtype());
                let scale = B::float_reshape(scale, Shape::new([1, 1]));
                grads.register::<B>(node.id, B::float_mul(gradient, scale));
            }
        }
    }
}

/// Computes the loss, and where it is tracked its gradients at once.
pub(crate) fn linear_cross_entropy<B: KernelBackward, C: CheckpointStrategy>(
    x: Tracked<B, C>,
    weight: Tracked<B, C>,
    targets: IntTensor<B>,
    options: CrossEntropyOptions,
) -> Tracked<B, C> {
    let (x, x_node) = x.into_parts();
    let (weight, weight_node) = weight.into_parts();
    let step = LinearCrossEntropyBackward.prepare::<C>([x_node, weight_node]);
    match step.compute_bound().stateful() {
        OpsKind::Tracked(step) => {
            let Loss { sum, dx, dweight } = forward_backward::<B>(x, weight, targets, options);
            step.finish((dx, dweight), sum)
        }
        OpsKind::UnTracked(step) => step.finish(forward::<B>(x, weight, targets, options)),
    }
}
