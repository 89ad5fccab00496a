//! SwiGLU activation (Shazeer 2020, arXiv 2002.05202) on the packed output of one projection.
//!
//! ```text
//! y     = silu(gate) · up              gate = gate_up[:, ..F], up = gate_up[:, F..]
//! dup   = dy · silu(gate)
//! dgate = dy · up · σ(gate) · (1 + gate · (1 − σ(gate)))
//! ```

pub(crate) mod autodiff;
#[cfg(feature = "cubecl-backend")]
pub(crate) mod cube;
pub(crate) mod host;
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::backend::KernelBackend;

/// `silu(gate) · up` over the packed last dimension `[gate | up]`.
///
/// # Shapes
/// gate_up `[.., 2F]` → `[.., F]`.
///
/// # Panics
/// When the last dimension is odd.
pub fn swiglu<const D: usize>(gate_up: Tensor<D>) -> Tensor<D> {
    let mut dims = gate_up.dims();
    let width = dims[D - 1];
    assert!(width.is_multiple_of(2), "swiglu: [gate | up] has the odd width {width}");
    let rows = dims[..D - 1].iter().product::<usize>();
    let gate_up = gate_up.reshape([rows, width]); // [R, 2F]
    let y = Dispatch::swiglu(gate_up.into_dispatch());
    dims[D - 1] = width / 2;
    Tensor::<2>::from_dispatch(y).reshape(dims)
}
