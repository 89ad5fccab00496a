//! The traits on Flex, Burn's CPU backend: plain Rust where an operation has a `host.rs`.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_flex::Flex;

use super::{KernelBackend, KernelBackward, KernelSampling, KernelUpdate};
use crate::adamw::AdamWStep;
use crate::attention::AttentionOptions;
use crate::cross_entropy::CrossEntropyOptions;
use crate::sampling::SamplingOptions;
use crate::{
    adamw, attention, cross_entropy, embedding, linear, linear_cross_entropy, rms_norm, rope,
    sampling, swiglu,
};

impl KernelBackend for Flex {
    fn linear_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear::reference::forward::<Self>(x, weight)
    }

    fn rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        rms_norm::host::forward(x, weight, eps)
    }

    fn add_rms_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        rms_norm::host::add_forward(x, residual, weight, eps)
    }

    fn rope(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        offsets: IntTensor<Self>,
        rotated: usize,
        inverse: bool,
    ) -> FloatTensor<Self> {
        rope::host::forward(x, cos, sin, offsets, rotated, inverse)
    }

    fn swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self> {
        swiglu::host::forward(gate_up)
    }

    fn gqa_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        options: AttentionOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        attention::host::forward(q, k, v, options)
    }

    fn cross_entropy(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        options: CrossEntropyOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        cross_entropy::host::forward(logits, targets, options)
    }

    fn linear_cross_entropy(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        options: CrossEntropyOptions,
    ) -> FloatTensor<Self> {
        linear_cross_entropy::chunks::forward::<Self>(x, weight, targets, options)
    }

    fn token_embedding(weight: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        embedding::host::forward(weight, ids)
    }
}

impl KernelBackward for Flex {
    fn linear_dgrad(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear::reference::dgrad::<Self>(dy, weight)
    }

    fn linear_wgrad(dy: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self> {
        linear::reference::wgrad::<Self>(dy, x)
    }

    fn rms_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        rstd: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        rms_norm::host::backward(x, weight, rstd, dy)
    }

    fn swiglu_backward(gate_up: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        swiglu::host::backward(gate_up, dy)
    }

    fn gqa_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        out: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        dout: FloatTensor<Self>,
        options: AttentionOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        attention::host::backward([q, k, v, out], lse, dout, options)
    }

    fn cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        lse: FloatTensor<Self>,
        dloss: FloatTensor<Self>,
        options: CrossEntropyOptions,
    ) -> FloatTensor<Self> {
        cross_entropy::host::backward(logits, targets, lse, dloss, options)
    }

    fn token_embedding_backward(
        ids: IntTensor<Self>,
        dy: FloatTensor<Self>,
        vocab_size: usize,
    ) -> FloatTensor<Self> {
        embedding::host::backward(ids, dy, vocab_size)
    }
}

impl KernelUpdate for Flex {
    fn squared_norm(gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        adamw::host::squared_norm(gradient)
    }

    fn adamw(
        parameter: FloatTensor<Self>,
        exp_avg: FloatTensor<Self>,
        exp_avg_sq: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        adamw::host::update(parameter, exp_avg, exp_avg_sq, gradient, scale, step)
    }
}

impl KernelSampling for Flex {
    fn sample(
        logits: FloatTensor<Self>,
        uniform: FloatTensor<Self>,
        options: SamplingOptions,
    ) -> IntTensor<Self> {
        sampling::host::sample(logits, uniform, options)
    }
}
