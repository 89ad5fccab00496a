//! SwiGLU in Burn's tensor operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::Slice;

use crate::precision::{to_dtype, to_f32};

/// gate_up `[R, 2F]` → `[R, F]`.
pub(crate) fn forward<B: Backend>(gate_up: FloatTensor<B>) -> FloatTensor<B> {
    let dtype = gate_up.dtype();
    let (gate, up) = split::<B>(to_f32::<B>(gate_up));
    let silu = B::float_mul(B::sigmoid(gate.clone()), gate);
    to_dtype::<B>(B::float_mul(silu, up), dtype)
}

/// → dgate_up `[R, 2F]`.
pub(crate) fn backward<B: Backend>(gate_up: FloatTensor<B>, dy: FloatTensor<B>) -> FloatTensor<B> {
    let dtype = gate_up.dtype();
    let (gate, up) = split::<B>(to_f32::<B>(gate_up));
    let dy = to_f32::<B>(dy);
    let sigmoid = B::sigmoid(gate.clone());
    let silu = B::float_mul(sigmoid.clone(), gate);
    let dup = B::float_mul(dy.clone(), silu.clone());
    // σ(1 + gate(1 − σ)) = σ + silu(1 − σ) = σ + silu − silu·σ
    let slope =
        B::float_sub(B::float_add(sigmoid.clone(), silu.clone()), B::float_mul(silu, sigmoid));
    let dgate = B::float_mul(B::float_mul(dy, up), slope);
    to_dtype::<B>(B::float_cat(vec![dgate, dup], 1), dtype)
}

/// `[R, 2F]` → (gate `[R, F]`, up `[R, F]`).
fn split<B: Backend>(gate_up: FloatTensor<B>) -> (FloatTensor<B>, FloatTensor<B>) {
    let [rows, width] = gate_up.shape().dims();
    let half = |start: usize| [Slice::from(0..rows), Slice::from(start..start + width / 2)];
    (B::float_slice(gate_up.clone(), &half(0)), B::float_slice(gate_up, &half(width / 2)))
}
