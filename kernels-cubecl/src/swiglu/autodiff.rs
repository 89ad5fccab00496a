//! The tracked step of `swiglu`.

use burn::backend::tensor::FloatTensor;
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};

use crate::backend::{KernelBackward, Tracked};

#[derive(Debug)]
struct SwigluBackward;

impl<B: KernelBackward> Backward<B, 1> for SwigluBackward {
    /// gate_up `[R, 2F]`
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gate_up = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dy| B::swiglu_backward(gate_up, dy));
    }
}

/// Runs the forward operation of `B` and records [`SwigluBackward`].
pub(crate) fn swiglu<B: KernelBackward, C: CheckpointStrategy>(
    gate_up: Tracked<B, C>,
) -> Tracked<B, C> {
    let (gate_up, node) = gate_up.into_parts();
    let y = B::swiglu(gate_up.clone());
    match SwigluBackward.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(gate_up, y),
        OpsKind::UnTracked(step) => step.finish(y),
    }
}
