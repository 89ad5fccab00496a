//! Rows of a table by their numbers.
//!
//! ```text
//! y[r]      = W[ids[r]]
//! dW[v]     = Σ dy[r] over the rows r with ids[r] = v, in the order of r
//! ```
//!
//! Scattered additions in whatever order the device finds them would make training irreproducible:
//! here the order is fixed, and a run repeats bit by bit.

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

/// The rows `ids` of `weight`.
///
/// # Shapes
/// weight `[V, D]`, ids `[R]` → `[R, D]`. An id outside `0..V` is the caller's mistake and gives an
/// unspecified row: token files and tokenizers are checked where they are read.
pub fn embedding(weight: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::token_embedding(weight.into_dispatch(), ids.into_dispatch()))
}
