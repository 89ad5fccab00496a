//! Grouped-query softmax attention (Ainslie et al. 2023, arXiv 2305.13245).
//!
//! ```text
//! p   = softmax(scale · q·kᵀ + mask)      query head n reads key-value head n / (N/K)
//! out = p·v                               lse = logsumexp of the masked, scaled scores
//! ```
//!
//! Gradients from out and lse alone (Dao et al. 2022, arXiv 2205.14135, section B.2), so that a
//! kernel need not store p:
//!
//! ```text
//! p  = exp(scale · q·kᵀ − lse)            δ  = Σ_h dout · out
//! dv = pᵀ·dout                            ds = scale · p · (dout·vᵀ − δ)
//! dq = ds·k                               dk = dsᵀ·q
//! ```

pub(crate) mod autodiff;
pub(crate) mod host;
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::backend::KernelBackend;

/// What [`attention`] does besides its tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionOptions {
    /// A query sees the keys up to its own position. Queries are the last T of the S positions:
    /// query i sees the keys `0 ..= i + S − T`.
    pub causal: bool,
    /// Factor on the scores, usually `1/sqrt(H)`.
    pub scale: f64,
}

impl AttentionOptions {
    /// Causal attention with the usual scale `1/sqrt(head_dim)`.
    pub fn causal(head_dim: usize) -> Self {
        Self { causal: true, scale: 1.0 / (head_dim as f64).sqrt() }
    }
}

/// Softmax attention of N query heads over K key-value heads.
///
/// # Shapes
/// q `[B, T, N, H]`, k and v `[B, S, K, H]` → `[B, T, N, H]`.
///
/// # Panics
/// When the shapes disagree, N is no multiple of K, or causal attention has T > S.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, options: AttentionOptions) -> Tensor<4> {
    let [batch, queries, heads, head_dim] = q.dims();
    let [_, keys, kv_heads, _] = k.dims();
    assert!(
        k.dims() == [batch, keys, kv_heads, head_dim]
            && k.dims() == v.dims()
            && heads.is_multiple_of(kv_heads),
        "attention: q has {:?}, k {:?}, v {:?}",
        q.dims(),
        k.dims(),
        v.dims()
    );
    assert!(
        !options.causal || queries <= keys,
        "attention: {queries} causal queries but only {keys} keys"
    );
    let (out, _lse) =
        Dispatch::gqa_attention(q.into_dispatch(), k.into_dispatch(), v.into_dispatch(), options);
    Tensor::from_dispatch(out)
}

/// Output shapes for lazy backends: out like q, lse `[B, N, T]`.
#[cfg(feature = "cubecl-backend")]
pub(crate) fn forward_specs(
    q: &burn::backend::fusion::custom::TensorSpec,
    _k: &burn::backend::fusion::custom::TensorSpec,
    _v: &burn::backend::fusion::custom::TensorSpec,
    _options: &AttentionOptions,
) -> (burn::backend::fusion::custom::TensorSpec, burn::backend::fusion::custom::TensorSpec) {
    let lse = burn::backend::fusion::custom::TensorSpec::new(
        [q.shape[0], q.shape[2], q.shape[1]].into(),
        crate::precision::statistics_dtype(q.dtype),
    );
    (q.clone(), lse)
}
