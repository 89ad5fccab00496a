//! A matrix of the model as the forward pass sees it, and its dense form.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};

/// How a matrix `[out, in]` of the model is stored and applied: dense and trainable ([`Linear`]), or in
/// the bytes of its file ([`PackedLinear`](crate::PackedLinear)).
///
/// The model is generic over it, so that its sequence of operations is written once.
pub trait Projection: Module {
    /// `y = x·Wᵀ`: `[B, T, in]` → `[B, T, out]`.
    fn forward(&self, x: Tensor<3>) -> Tensor<3>;

    /// Rows of the matrix, as an embedding is read: ids `[B, T]` → `[B, T, in]`.
    fn rows(&self, ids: Tensor<2, Int>) -> Tensor<3>;
}

/// A dense matrix.
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

    fn rows(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [batch, length] = ids.dims();
        let weight = self.weight.val();
        let [_, width] = weight.dims();
        let ids = ids.reshape([batch * length]);
        kernels_cubecl::embedding(weight, ids).reshape([batch, length, width])
    }
}
