//! The angles of the rotary embedding (Su et al. 2021, arXiv 2104.09864).

mod frequencies;
#[cfg(test)]
mod tests;

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

pub(crate) use self::frequencies::divisors;
use self::frequencies::{Frequencies, frequencies};
use crate::config::ModelConfig;

/// Cosines and sines of the positions of one forward pass, each `[T, H/2]`: the angle of position p
/// and pair i is `p · theta^(−2i/H)`, changed as [`RopeScaling`](crate::RopeScaling) says.
///
/// Every pass computes its own positions. A table of the whole context would take as much memory as
/// config.json says, and a decoding step reads one row of it. Dynamic scaling changes all rows with the
/// length of the text, which is where the positions of a pass end.
#[derive(Clone, Debug)]
pub struct Rope {
    cos: Tensor<2>,
    sin: Tensor<2>,
    /// `[1]`: the row of the first token, 0.
    first_row: Tensor<1, Int>,
}

impl Rope {
    /// The angles of `positions`, T of them, in f64 until the last rounding.
    pub fn new(config: &ModelConfig, positions: Range<usize>, device: &Device) -> Self {
        let (length, half) = (positions.len(), config.head_dim() / 2);
        let Frequencies { per_token, attention_factor } = frequencies(config, positions.end);
        let angles: Vec<f64> = positions
            .flat_map(|position| per_token.iter().map(move |frequency| position as f64 * frequency))
            .collect();
        let table = |of: fn(f64) -> f64| {
            let scaled = |&angle: &f64| (of(angle) * attention_factor) as f32;
            let values: Vec<f32> = angles.iter().map(scaled).collect();
            Tensor::from_data(TensorData::new(values, [length, half]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin), first_row: Tensor::zeros([1], device) }
    }

    /// Rotates the first `rotated` heads of x `[B, T, heads, H]`, whose tokens stand at the positions.
    pub fn apply(&self, x: Tensor<4>, rotated: usize) -> Tensor<4> {
        let Self { cos, sin, first_row } = self.clone();
        kernels_cubecl::rope(x, cos, sin, first_row, rotated)
    }
}
