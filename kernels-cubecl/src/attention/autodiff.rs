//! The tracked step of `attention`.

use burn::backend::AutodiffBackend;
use burn::backend::tensor::FloatTensor;
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::AttentionOptions;
use crate::backend::{KernelBackward, Tracked};

#[derive(Debug)]
struct AttentionBackward;

impl<B: KernelBackward> Backward<B, 3> for AttentionBackward {
    /// ([q, k, v, out, lse], options)
    type State = ([FloatTensor<B>; 5], AttentionOptions);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = grads.consume::<B>(&ops.node);
        let ([q, k, v, out, lse], options) = ops.state;
        let (dq, dk, dv) = B::gqa_attention_backward(q, k, v, out, lse, dout, options);
        for (node, gradient) in ops.parents.into_iter().zip([dq, dk, dv]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// Runs the forward operation of `B` and records [`AttentionBackward`]; lse is a constant.
pub(crate) fn attention<B: KernelBackward, C: CheckpointStrategy>(
    q: Tracked<B, C>,
    k: Tracked<B, C>,
    v: Tracked<B, C>,
    options: AttentionOptions,
) -> (Tracked<B, C>, Tracked<B, C>) {
    let (q, q_node) = q.into_parts();
    let (k, k_node) = k.into_parts();
    let (v, v_node) = v.into_parts();
    let (out, lse) = B::gqa_attention(q.clone(), k.clone(), v.clone(), options);
    let step = AttentionBackward.prepare::<C>([q_node, k_node, v_node]);
    let tracked = match step.compute_bound().stateful() {
        OpsKind::Tracked(step) => {
            let saved = [q, k, v, out.clone(), lse.clone()];
            step.finish((saved, options), out)
        }
        OpsKind::UnTracked(step) => step.finish(out),
    };
    (tracked, Autodiff::<B, C>::from_inner(lse))
}
