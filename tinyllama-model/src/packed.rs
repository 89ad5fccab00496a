//! A matrix in the bytes of its file.

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use kernels_cubecl::{PackedMatrix, packed_linear, packed_rows};

use crate::linear::Projection;

/// A matrix `[out, in]` that the host multiplies by as it was stored, for inference without a GPU:
/// nothing is converted, and a mapped file costs no memory of its own.
#[derive(Module, Debug)]
pub struct PackedLinear {
    #[module(skip)]
    weight: PackedMatrix,
}

impl PackedLinear {
    /// Wraps a matrix.
    pub fn new(weight: PackedMatrix) -> Self {
        Self { weight }
    }

    /// The matrix.
    pub fn weight(&self) -> &PackedMatrix {
        &self.weight
    }
}

impl Projection for PackedLinear {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        packed_linear(x, &self.weight)
    }

    fn rows(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        packed_rows(ids, &self.weight)
    }
}
