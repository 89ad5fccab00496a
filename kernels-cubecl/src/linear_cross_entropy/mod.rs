//! The head and its loss together, without ever holding all logits.
//!
//! ```text
//! loss = Σ_r cross_entropy(x·Wᵀ)[r]
//! ```
//!
//! Logits of 16,384 rows and a vocabulary of 32,000 take 1 GB in bf16, and their gradient as much
//! again. Rows are independent, so they pass in chunks: of each chunk logits are made, turned into a loss
//! and, in place, into their gradient, and that into dx and dW, before the next chunk needs the memory.
//! The gradients are those of a loss of 1 and are scaled when the real one is known, as in Liger Kernel
//! (Hsu et al. 2024, arXiv 2410.10989).

pub(crate) mod autodiff;
pub(crate) mod chunks;
#[cfg(test)]
mod tests;

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use crate::backend::KernelBackend;
use crate::cross_entropy::CrossEntropyOptions;

/// Sum of the losses of all rows in nats, in f32, as
/// [`cross_entropy`](crate::cross_entropy)`(`[`linear`](crate::linear)`(x, weight), targets)` gives them.
///
/// # Shapes
/// x `[R, D]`, weight `[V, D]`, targets `[R]` → `[1]`.
///
/// # Panics
/// When the shapes do not agree.
pub fn linear_cross_entropy(
    x: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    options: CrossEntropyOptions,
) -> Tensor<1> {
    let ([rows, width], [_, columns], [len]) = (x.dims(), weight.dims(), targets.dims());
    assert!(
        width == columns && rows == len,
        "linear_cross_entropy: x [{rows}, {width}], weight {:?}, {len} targets",
        weight.dims()
    );
    Tensor::from_dispatch(Dispatch::linear_cross_entropy(
        x.into_dispatch(),
        weight.into_dispatch(),
        targets.into_dispatch(),
        options,
    ))
}

/// Output shape for lazy backends: `[1]`.
#[cfg(feature = "cubecl-backend")]
pub(crate) fn forward_specs(
    x: &burn::backend::fusion::custom::TensorSpec,
    _weight: &burn::backend::fusion::custom::TensorSpec,
    _targets: &burn::backend::fusion::custom::TensorSpec,
    _options: &CrossEntropyOptions,
) -> burn::backend::fusion::custom::TensorSpec {
    let dtype = crate::precision::statistics_dtype(x.dtype);
    burn::backend::fusion::custom::TensorSpec::new([1].into(), dtype)
}
