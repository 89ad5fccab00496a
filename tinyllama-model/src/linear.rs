//! A projection and its dense form.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// How a projection of a block is applied: dense ([`Linear`]), and later low-rank or quantized.
///
/// The blocks are generic over it, so that their sequence of operations is written once.
pub trait Projection: Module {
    /// `[B, T, in]` → `[B, T, out]`.
    fn forward(&self, x: Tensor<3>) -> Tensor<3>;
}

/// `y = x·Wᵀ` without bias.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`, as PyTorch and Hugging Face store it.
    pub weight: Param<Tensor<2>>,
}

impl Linear {
    /// Wraps a weight `[out, in]` as a trainable parameter.
    pub fn new(weight: Tensor<2>) -> Self {
        Self { weight: Param::from_tensor(weight) }
    }
}

impl Projection for Linear {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        kernels_cubecl::linear(x, self.weight.val())
    }
}
