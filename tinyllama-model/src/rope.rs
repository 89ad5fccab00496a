//! Cosines and sines of every position, computed once.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use crate::config::{ModelConfig, RopeScaling};

/// Tables of the rotary embedding: angle of position p and pair i is `p/s · theta^(−2i/H)`, where s is
/// the factor of linear scaling (Chen et al. 2023, arXiv 2306.15595) or 1.
#[derive(Module, Debug)]
pub struct Rope {
    cos: Tensor<2>, // [max_position_embeddings, H/2]
    sin: Tensor<2>,
}

impl Rope {
    /// Tables for the positions `0..max_position_embeddings`, in f64 until the last rounding.
    pub fn new(config: &ModelConfig, device: &Device) -> Self {
        let half = config.head_dim() / 2;
        let positions = config.max_position_embeddings;
        let factor = match &config.rope_scaling {
            Some(RopeScaling::Linear { factor }) => *factor,
            None => 1.0,
        };
        let angle = |index: usize| {
            let (position, pair) = ((index / half) as f64, (index % half) as f64);
            position / factor * config.rope_theta.powf(-pair / half as f64)
        };
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> =
                (0..positions * half).map(|index| of(angle(index)) as f32).collect();
            Tensor::from_data(TensorData::new(values, [positions, half]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Rotates x `[B, T, heads, H]`, whose first token stands at position `start`.
    ///
    /// # Panics
    /// When `start + T` exceeds the table; callers check the context length first.
    pub fn apply(&self, x: Tensor<4>, start: usize) -> Tensor<4> {
        let [_, length, _, _] = x.dims();
        let [positions, half] = self.cos.dims();
        assert!(
            start + length <= positions,
            "rope: positions {start}..{} of a model with {positions}",
            start + length
        );
        let rows = |table: &Tensor<2>| {
            table.clone().narrow(0, start, length).reshape([1, length, half]) // [1, T, H/2]
        };
        kernels_cubecl::rope(x, rows(&self.cos), rows(&self.sin))
    }
}
