//! The angles of the rotary embedding (Su et al. 2021, arXiv 2104.09864).

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::{ModelConfig, RopeScaling};

/// Cosines and sines of the positions of one forward pass, each `[1, T, H/2]`: the angle of position p
/// and pair i is `p/s · theta^(−2i/H)`, where s is the factor of linear scaling (Chen et al. 2023,
/// arXiv 2306.15595) or 1.
///
/// Every pass computes its own positions. A table of the whole context would take as much memory as
/// config.json says, and a decoding step reads one row of it.
#[derive(Clone, Debug)]
pub struct Rope {
    cos: Tensor<3>,
    sin: Tensor<3>,
}

impl Rope {
    /// The angles of `positions`, T of them, in f64 until the last rounding.
    pub fn new(config: &ModelConfig, positions: Range<usize>, device: &Device) -> Self {
        let half = config.head_dim() / 2;
        let factor = match config.rope_scaling {
            Some(RopeScaling::Linear { factor }) => factor,
            None => 1.0,
        };
        let frequencies: Vec<f64> =
            (0..half).map(|pair| config.rope_theta.powf(-(pair as f64) / half as f64)).collect();
        let length = positions.len();
        let angles: Vec<f64> = positions
            .map(|position| position as f64 / factor)
            .flat_map(|position| frequencies.iter().map(move |frequency| position * frequency))
            .collect();
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|&angle| of(angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, [1, length, half]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Rotates x `[B, T, heads, H]`, whose tokens stand at the positions.
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        kernels_cubecl::rope(x, self.cos.clone(), self.sin.clone())
    }
}
