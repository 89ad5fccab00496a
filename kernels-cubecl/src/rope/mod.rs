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

pub(crate) mod autodiff;
#[cfg(feature = "cubecl-backend")]
pub(crate) mod cube;
pub(crate) mod host;
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use crate::backend::KernelBackend;

/// Rotates the first `rotated` heads of `x` by the angles of their positions: token t of sequence b
/// has those of row `offsets[b] + t`. The other heads pass: of packed queries, keys and values, the
/// values. It happens in the memory of x when nobody else holds it.
///
/// # Shapes
/// x `[B, T, heads, H]`; cos, sin `[P, H/2]`; offsets `[1]` (all sequences alike) or `[B]` → like x.
///
/// # Panics
/// When H is odd, a table does not fit x, or `rotated` is more than the heads. Rows past the tables
/// are the caller's mistake and give unspecified values.
pub fn rope(
    x: Tensor<4>,
    cos: Tensor<2>,
    sin: Tensor<2>,
    offsets: Tensor<1, Int>,
    rotated: usize,
) -> Tensor<4> {
    let [batch, length, heads, head_dim] = x.dims();
    let [positions, half] = cos.dims();
    let [sequences] = offsets.dims();
    assert!(
        head_dim == 2 * half
            && cos.dims() == sin.dims()
            && positions >= length
            && (sequences == 1 || sequences == batch)
            && rotated <= heads,
        "rope: x has {:?}, of which {rotated} heads rotate, cos {:?}, sin {:?}, offsets [{sequences}]",
        x.dims(),
        cos.dims(),
        sin.dims()
    );
    Tensor::from_dispatch(Dispatch::rope(
        x.into_dispatch(),
        cos.into_dispatch(),
        sin.into_dispatch(),
        offsets.into_dispatch(),
        rotated,
        false,
    ))
}
