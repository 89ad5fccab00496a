//! The forward trait under `Autodiff`: one hand-written backward step per operation.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};

use super::{KernelBackend, KernelBackward};
use crate::attention::AttentionOptions;
use crate::cross_entropy::CrossEntropyOptions;
use crate::{
    attention, cross_entropy, embedding, linear, linear_cross_entropy, rms_norm, rope, swiglu,
};

impl<B: KernelBackward, C: CheckpointStrategy> KernelBackend for Autodiff<B, C> {
    fn linear_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear::autodiff::linear::<B, C>(x, weight)
    }

    fn rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        rms_norm::autodiff::rms_norm::<B, C>(x, weight, eps)
    }

    fn add_rms_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        rms_norm::autodiff::add_rms_norm::<B, C>(x, residual, weight, eps)
    }

    fn rope(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        offsets: IntTensor<Self>,
        rotated: usize,
        inverse: bool,
    ) -> FloatTensor<Self> {
        rope::autodiff::rope::<B, C>(x, cos, sin, offsets, rotated, inverse)
    }

    fn swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self> {
        swiglu::autodiff::swiglu::<B, C>(gate_up)
    }

    fn gqa_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        options: AttentionOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        attention::autodiff::attention::<B, C>(q, k, v, options)
    }

    fn cross_entropy(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        options: CrossEntropyOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        cross_entropy::autodiff::cross_entropy::<B, C>(logits, targets, options)
    }

    fn linear_cross_entropy(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        options: CrossEntropyOptions,
    ) -> FloatTensor<Self> {
        linear_cross_entropy::autodiff::linear_cross_entropy::<B, C>(x, weight, targets, options)
    }

    fn token_embedding(weight: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        embedding::autodiff::embedding::<B, C>(weight, ids)
    }
}
