//! RMSNorm with its learned scale.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// Root-mean-square normalisation of the last dimension; see `kernels_cubecl::rms_norm`.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[D]`
    pub weight: Param<Tensor<1>>,
    eps: f64,
}

impl RmsNorm {
    /// Scale 1 everywhere.
    pub fn new(hidden_size: usize, eps: f64, device: &Device) -> Self {
        Self { weight: Param::from_tensor(Tensor::ones([hidden_size], device)), eps }
    }

    /// `[B, T, D]` → `[B, T, D]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        kernels_cubecl::rms_norm(x, self.weight.val(), self.eps)
    }

    /// x and residual `[B, T, D]` → (norm of their sum, their sum), each `[B, T, D]`.
    pub fn add_forward(&self, x: Tensor<3>, residual: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        kernels_cubecl::add_rms_norm(x, residual, self.weight.val(), self.eps)
    }
}
