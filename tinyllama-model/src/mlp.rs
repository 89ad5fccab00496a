//! The feed-forward half of a block.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::linear::{Linear, Projection};

/// `down(silu(gate(x)) · up(x))`.
#[derive(Module, Debug)]
pub struct Mlp<P = Linear> {
    /// `[2F, D]`: gate rows, then up rows, so that one GEMM serves both.
    pub gate_up_proj: P,
    /// `[D, F]`
    pub down_proj: P,
}

impl<P: Projection> Mlp<P> {
    /// `[B, T, D]` → `[B, T, D]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate_up = self.gate_up_proj.forward(x); // [B, T, 2F]
        self.down_proj.forward(kernels_cubecl::swiglu(gate_up)) // [B, T, F] → [B, T, D]
    }
}
