//! The backend trait: what a backend must be able to do for a Llama, beyond Burn's own `Backend`.
//!
//! [`KernelBackend`] holds the forward operations that models call, [`KernelBackward`] the gradients
//! that [`Autodiff`] calls, [`KernelUpdate`] what an optimizer does with them and [`KernelSampling`] how
//! a next token is drawn. Implementations: `Flex` (`backend/flex`), `CubeBackend` (every CubeCL runtime,
//! `backend/cube`), `Fusion<B>` (generated: registers the operation lazily), and `Autodiff<B>` for the
//! forward trait (one hand-written backward step per operation, `backend/autodiff`). `Dispatch` routes by
//! the device of the tensors.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
use burn_autodiff::Autodiff;

use crate::adamw::AdamWStep;
use crate::attention::AttentionOptions;
use crate::cross_entropy::CrossEntropyOptions;
use crate::sampling::SamplingOptions;
#[cfg(feature = "cubecl-backend")]
use crate::{adamw, attention, cross_entropy, linear_cross_entropy, rms_norm, sampling};

mod autodiff;
#[cfg(feature = "cubecl-backend")]
mod cube;
mod flex;

/// Forward operations. All tensors of a call live on one device; float dtypes agree.
///
/// Shapes are the contract between callers and kernels: the public functions of this crate check
/// them, implementations do not.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "cubecl-backend"),
    Fusion: cfg(feature = "cubecl-backend"),
    Autodiff
)]
pub trait KernelBackend: Backend {
    /// `y = x·Wᵀ`: x `[R, in]`, weight `[out, in]` → `[R, out]`.
    #[fusion(dtype = x, shape = [x[0], weight[0]].into())]
    fn linear_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// x `[R, D]`, weight `[D]` → (y `[R, D]`, rstd `[R]` in f32, of f64 in f64).
    #[fusion(meta = rms_norm::forward_specs)]
    fn rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// x, residual `[R, D]` → (y `[R, D]`, sum `[R, D]` = x + residual, rstd `[R]` of the sum).
    #[fusion(meta = rms_norm::add_specs)]
    fn add_rms_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Rotates the first `rotated` heads of x `[B, T, heads, H]` by the angles in row `offsets[b] + t` of
    /// cos, sin `[P, H/2]`, with offsets `[1 or B]`; `inverse` rotates back, which is also the gradient.
    #[fusion(dtype = x, shape = x)]
    fn rope(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        offsets: IntTensor<Self>,
        rotated: usize,
        inverse: bool,
    ) -> FloatTensor<Self>;

    /// gate_up `[R, 2F]` → `[R, F]`.
    #[fusion(dtype = gate_up, shape = [gate_up[0], gate_up[1] / 2].into())]
    fn swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self>;

    /// q `[B, T, N, H]`, k and v `[B, S, K, H]` → (out `[B, T, N, H]`, lse `[B, N, T]` in f32, of f64 in f64).
    #[fusion(meta = attention::forward_specs)]
    fn gqa_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        options: AttentionOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// logits `[R, V]`, targets `[R]` → (loss `[R]`, lse `[R]`), both f32, of f64 in f64; the loss is 0
    /// where the target is [`IGNORE_INDEX`](crate::IGNORE_INDEX).
    #[fusion(meta = cross_entropy::forward_specs)]
    fn cross_entropy(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        options: CrossEntropyOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Sum of the losses of logits `x·Wᵀ` that are never all in memory: x `[R, D]`, weight `[V, D]`,
    /// targets `[R]` → `[1]` in f32, of f64 in f64.
    #[fusion(meta = linear_cross_entropy::forward_specs)]
    fn linear_cross_entropy(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        options: CrossEntropyOptions,
    ) -> FloatTensor<Self>;

    /// Rows of weight `[V, D]`: ids `[R]` → `[R, D]`.
    #[fusion(dtype = weight, shape = [ids[0], weight[1]].into())]
    fn token_embedding(weight: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self>;
}

/// Gradients of the operations of [`KernelBackend`], for the backends that `Autodiff` wraps.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "cubecl-backend"),
    Fusion: cfg(feature = "cubecl-backend")
)]
pub trait KernelBackward: KernelBackend {
    /// `dx = dy·W`: dy `[R, out]`, weight `[out, in]` → `[R, in]`.
    #[fusion(dtype = dy, shape = [dy[0], weight[1]].into())]
    fn linear_dgrad(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `dW = dyᵀ·x`: dy `[R, out]`, x `[R, in]` → `[out, in]`.
    #[fusion(dtype = dy, shape = [dy[1], x[1]].into())]
    fn linear_wgrad(dy: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// → (dx `[R, D]`, dweight `[D]`).
    #[fusion(meta = |x, w, _r, _dy| (x.clone(), w.clone()))]
    fn rms_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        rstd: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// → dgate_up `[R, 2F]`.
    #[fusion(dtype = gate_up, shape = gate_up)]
    fn swiglu_backward(gate_up: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;

    /// → (dq, dk, dv), shaped like q, k, v.
    #[fusion(meta = |q, k, v, _o, _l, _d, _options| (q.clone(), k.clone(), v.clone()))]
    fn gqa_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        out: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        dout: FloatTensor<Self>,
        options: AttentionOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// dloss `[R]` → dlogits `[R, V]`, in the memory of the logits when nobody else holds them.
    #[fusion(dtype = logits, shape = logits)]
    fn cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        lse: FloatTensor<Self>,
        dloss: FloatTensor<Self>,
        options: CrossEntropyOptions,
    ) -> FloatTensor<Self>;

    /// dy `[R, D]` summed over equal ids `[R]` → `[V, D]`; the order of the sum is that of the rows.
    #[fusion(dtype = dy, shape = [*vocab_size, dy[1]].into())]
    fn token_embedding_backward(
        ids: IntTensor<Self>,
        dy: FloatTensor<Self>,
        vocab_size: usize,
    ) -> FloatTensor<Self>;
}

/// What an optimizer does with gradients; nothing here is recorded by `Autodiff`.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "cubecl-backend"),
    Fusion: cfg(feature = "cubecl-backend")
)]
pub trait KernelUpdate: Backend {
    /// Σ g² of a flat buffer `[len]` → `[1]` in f32, of f64 in f64; the same bits in every run.
    #[fusion(meta = adamw::sum_specs)]
    fn squared_norm(gradient: FloatTensor<Self>) -> FloatTensor<Self>;

    /// One update of a flat buffer: parameter, both moments and gradient `[len]`, scale `[1]` (the
    /// gradient's factor, on the device) → (parameter, exp_avg, exp_avg_sq), in their memory when nobody
    /// else holds them.
    #[fusion(meta = |p, m, v, _g, _s, _step| (p.clone(), m.clone(), v.clone()))]
    fn adamw(
        parameter: FloatTensor<Self>,
        exp_avg: FloatTensor<Self>,
        exp_avg_sq: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// How the next token is drawn, on the device of the logits.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "cubecl-backend"),
    Fusion: cfg(feature = "cubecl-backend")
)]
pub trait KernelSampling: Backend {
    /// logits `[B, V]`, uniform `[B]` in [0, 1) → ids `[B]`.
    #[fusion(meta = sampling::sample_specs)]
    fn sample(
        logits: FloatTensor<Self>,
        uniform: FloatTensor<Self>,
        options: SamplingOptions,
    ) -> IntTensor<Self>;
}

/// A tensor in the graph that `Autodiff` records over `B`.
pub(crate) type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;
