//! The backend trait: what a backend must be able to do for a Llama, beyond Burn's own `Backend`.
//!
//! [`KernelBackend`] holds the forward operations that models call, [`KernelBackward`] the gradients
//! that [`Autodiff`] calls. Implementations: `Flex` (CPU), `CubeBackend` (every CubeCL runtime),
//! `Fusion<B>` (generated: registers the operation lazily), and `Autodiff<B>` for the forward trait
//! (one hand-written backward step per operation). `Dispatch` routes by the device of the tensors.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
use burn_autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn_flex::Flex;

use crate::attention::AttentionOptions;
use crate::{attention, cross_entropy, linear, rms_norm, rope, swiglu};

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

    /// Rotates x `[B, T, heads, H]` by angles with tables cos, sin `[1 or B, T, H/2]`; `inverse`
    /// rotates back, which is also the gradient.
    #[fusion(dtype = x, shape = x)]
    fn rope(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
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

    /// logits `[R, V]`, targets `[R]` → (nll `[R]`, lse `[R]`), both f32, of f64 in f64; nll is 0 where the
    /// target is [`IGNORE_INDEX`](crate::IGNORE_INDEX).
    #[fusion(meta = cross_entropy::forward_specs)]
    fn cross_entropy(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
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

    /// dnll `[R]` → dlogits `[R, V]`.
    #[fusion(dtype = logits, shape = logits)]
    fn cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        lse: FloatTensor<Self>,
        dnll: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// A tensor in the graph that `Autodiff` records over `B`.
pub(crate) type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

/// Implements both traits through the reference implementations, in Burn's own operations.
macro_rules! by_reference {
    ($backend:ty) => {
        impl KernelBackend for $backend {
            fn linear_forward(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                linear::forward::<Self>(x, weight)
            }

            fn rms_norm(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                eps: f64,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                rms_norm::forward::<Self>(x, weight, eps)
            }

            fn rope(
                x: FloatTensor<Self>,
                cos: FloatTensor<Self>,
                sin: FloatTensor<Self>,
                inverse: bool,
            ) -> FloatTensor<Self> {
                rope::forward::<Self>(x, cos, sin, inverse)
            }

            fn swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self> {
                swiglu::forward::<Self>(gate_up)
            }

            fn gqa_attention(
                q: FloatTensor<Self>,
                k: FloatTensor<Self>,
                v: FloatTensor<Self>,
                options: AttentionOptions,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                attention::forward::<Self>(q, k, v, options)
            }

            fn cross_entropy(
                logits: FloatTensor<Self>,
                targets: IntTensor<Self>,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                cross_entropy::forward::<Self>(logits, targets)
            }
        }

        impl KernelBackward for $backend {
            fn linear_dgrad(dy: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
                linear::dgrad::<Self>(dy, weight)
            }

            fn linear_wgrad(dy: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self> {
                linear::wgrad::<Self>(dy, x)
            }

            fn rms_norm_backward(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                rstd: FloatTensor<Self>,
                dy: FloatTensor<Self>,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                rms_norm::backward::<Self>(x, weight, rstd, dy)
            }

            fn swiglu_backward(
                gate_up: FloatTensor<Self>,
                dy: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                swiglu::backward::<Self>(gate_up, dy)
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
                attention::backward::<Self>(q, k, v, out, lse, dout, options)
            }

            fn cross_entropy_backward(
                logits: FloatTensor<Self>,
                targets: IntTensor<Self>,
                lse: FloatTensor<Self>,
                dnll: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                cross_entropy::backward::<Self>(logits, targets, lse, dnll)
            }
        }
    };
}

by_reference!(Flex);
#[cfg(feature = "cubecl-backend")]
by_reference!(burn_cubecl::CubeBackend);

impl<B: KernelBackward, C: CheckpointStrategy> KernelBackend for Autodiff<B, C> {
    fn linear_forward(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear::autodiff_linear::<B, C>(x, weight)
    }

    fn rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        rms_norm::autodiff_rms_norm::<B, C>(x, weight, eps)
    }

    fn rope(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        inverse: bool,
    ) -> FloatTensor<Self> {
        rope::autodiff_rope::<B, C>(x, cos, sin, inverse)
    }

    fn swiglu(gate_up: FloatTensor<Self>) -> FloatTensor<Self> {
        swiglu::autodiff_swiglu::<B, C>(gate_up)
    }

    fn gqa_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        options: AttentionOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        attention::autodiff_attention::<B, C>(q, k, v, options)
    }

    fn cross_entropy(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        cross_entropy::autodiff_cross_entropy::<B, C>(logits, targets)
    }
}
