//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864), half-split pairs as Hugging Face
//! stores Llama: element `i` of a head is paired with element `i + H/2`.
//!
//! ```text
//! y[i]       = x[i] · cos − x[i + H/2] · sin
//! y[i + H/2] = x[i] · sin + x[i + H/2] · cos
//! ```
//!
//! A rotation is orthogonal, so the gradient is the inverse rotation of `dy`. The angles are data:
//! the model computes them for each forward pass, in f64 (`Rope` in tinyllama-model).

mod autodiff;
mod reference;
#[cfg(test)]
mod tests;

pub(crate) use autodiff::rope as autodiff_rope;
pub(crate) use reference::forward;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::backend::KernelBackend;

/// Rotates every head of `x` by the angle of its position.
///
/// # Shapes
/// x `[B, T, heads, H]`; cos, sin `[P, T, H/2]` with P = 1 (all sequences alike) or B → like x.
///
/// # Panics
/// When H is odd or a table does not fit x.
pub fn rope(x: Tensor<4>, cos: Tensor<3>, sin: Tensor<3>) -> Tensor<4> {
    let [batch, length, _, head_dim] = x.dims();
    let [tables, _, _] = cos.dims();
    assert!(
        head_dim.is_multiple_of(2)
            && cos.dims() == [tables, length, head_dim / 2]
            && cos.dims() == sin.dims()
            && (tables == 1 || tables == batch),
        "rope: x has {:?}, cos {:?}, sin {:?}",
        x.dims(),
        cos.dims(),
        sin.dims()
    );
    Tensor::from_dispatch(Dispatch::rope(
        x.into_dispatch(),
        cos.into_dispatch(),
        sin.into_dispatch(),
        false,
    ))
}
