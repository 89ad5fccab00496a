//! The whole model.

use std::convert::Infallible;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Normal};
use rayon::prelude::*;

use crate::attention::Attention;
use crate::block::{Block, Residual};
use crate::config::ModelConfig;
use crate::kv_cache::{KvCache, NoCache};
use crate::linear::{Linear, Projection};
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::rope::Rope;

/// A Llama of any size: `embed_tokens → Block × L → norm → lm_head`.
#[derive(Module, Debug)]
pub struct TinyLlama<P = Linear> {
    /// `[V, D]`
    pub embed_tokens: P,
    /// The L blocks.
    pub layers: Vec<Block<P>>,
    /// Norm before the head.
    pub norm: RmsNorm,
    /// `[V, D]`; `None` when the head is tied to `embed_tokens`.
    pub lm_head: Option<P>,
    #[module(skip)]
    config: ModelConfig,
}

impl TinyLlama {
    /// Fresh weights with the original's initialisation: matrices are normal with standard deviation
    /// √(2/(5·D)), the two projections that write to the residual stream with 1/(L·√D); norms are 1.
    ///
    /// Drawn on the CPU, one ChaCha stream per row of a matrix: a seed gives the same model on every device.
    pub fn init(config: &ModelConfig, device: &Device, seed: u64) -> Self {
        let (d, f) = (config.hidden_size, config.intermediate_size);
        let (n, k, h) = (config.num_attention_heads, config.num_key_value_heads, config.head_dim());
        let std = (2.0 / (5.0 * d as f64)).sqrt();
        let residual_std = 1.0 / (d as f64).sqrt() / config.num_hidden_layers as f64;
        let mut stream = 0;
        let mut normal = |rows: usize, columns: usize, std: f64| {
            stream += 1;
            random_matrix([rows, columns], std, seed, stream, device)
        };
        let Ok(model) = Self::build(config, device, |matrix| {
            Ok::<_, Infallible>(Linear::new(match matrix {
                Matrix::EmbedTokens | Matrix::LmHead => normal(config.vocab_size, d, std),
                Matrix::QkvProj(_) => normal((n + 2 * k) * h, d, std),
                Matrix::OProj(_) => normal(d, n * h, residual_std),
                Matrix::GateUpProj(_) => normal(2 * f, d, std),
                Matrix::DownProj(_) => normal(d, f, residual_std),
            }))
        });
        model
    }
}

impl<P: Projection> TinyLlama<P> {
    /// Assembles a model from its matrices, asked for in the order of the forward pass; norms are 1.
    pub(crate) fn build<E>(
        config: &ModelConfig,
        device: &Device,
        mut matrix: impl FnMut(Matrix) -> Result<P, E>,
    ) -> Result<Self, E> {
        let norm = || RmsNorm::new(config.hidden_size, config.rms_norm_eps, device);
        let embed_tokens = matrix(Matrix::EmbedTokens)?;
        let block = |layer| {
            Ok(Block {
                input_layernorm: norm(),
                self_attn: Attention::new(
                    matrix(Matrix::QkvProj(layer))?,
                    matrix(Matrix::OProj(layer))?,
                    config.num_attention_heads,
                    config.num_key_value_heads,
                    config.head_dim(),
                ),
                post_attention_layernorm: norm(),
                mlp: Mlp {
                    gate_up_proj: matrix(Matrix::GateUpProj(layer))?,
                    down_proj: matrix(Matrix::DownProj(layer))?,
                },
            })
        };
        let layers = (0..config.num_hidden_layers).map(block).collect::<Result<_, E>>()?;
        let lm_head = match config.tie_word_embeddings {
            true => None,
            false => Some(matrix(Matrix::LmHead)?),
        };
        Ok(Self { embed_tokens, layers, norm: norm(), lm_head, config: config.clone() })
    }

    /// The sizes this model was built with.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the model computes.
    pub fn device(&self) -> Device {
        self.norm.weight.val().device()
    }

    /// Hidden states after the final norm.
    ///
    /// # Shapes
    /// ids `[B, T]` → `[B, T, D]`. With a cache, ids continue the cached sequences.
    ///
    /// # Panics
    /// When the positions exceed [`ModelConfig::context_tokens`] or the cache; ids must be below V.
    pub fn hidden(&self, ids: Tensor<2, Int>, cache: Option<&mut KvCache>) -> Tensor<3> {
        let [_, length] = ids.dims();
        let start = cache.as_ref().map_or(0, |cache| cache.len());
        let (end, limit) = (start + length, self.config.context_tokens());
        assert!(end <= limit, "positions {start}..{end} of a model that has {limit}");
        let x = self.embed_tokens.rows(ids); // [B, T, D]
        let rope = Rope::new(&self.config, start..end, &x.device());
        let mut stream = Residual::new(x);
        match cache {
            None => {
                for block in &self.layers {
                    stream = block.forward(stream, &rope, &mut NoCache);
                }
            }
            Some(cache) => {
                for (block, layer) in self.layers.iter().zip(cache.layers_mut()) {
                    stream = block.forward(stream, &rope, layer);
                }
            }
        }
        let (normed, _) = stream.norm(&self.norm);
        normed
    }

    /// `[B, T, D]` → `[B, T, V]`.
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.head().forward(hidden)
    }

    /// The matrix of the head `[V, D]`, which may be that of the embedding.
    pub fn head(&self) -> &P {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens)
    }

    /// Logits of every position: ids `[B, T]` → `[B, T, V]`.
    pub fn forward(&self, ids: Tensor<2, Int>, cache: Option<&mut KvCache>) -> Tensor<3> {
        self.logits(self.hidden(ids, cache))
    }
}

/// A matrix of the model, by its place; the number is the layer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Matrix {
    EmbedTokens,
    QkvProj(usize),
    OProj(usize),
    GateUpProj(usize),
    DownProj(usize),
    LmHead,
}

/// Every row of every matrix has its own stream, so that rows can be drawn in parallel.
fn random_matrix(
    [rows, columns]: [usize; 2],
    std: f64,
    seed: u64,
    stream: u64,
    device: &Device,
) -> Tensor<2> {
    let normal = Normal::new(0.0, std).expect("a standard deviation computed from sizes is finite");
    let mut values = vec![0f32; rows * columns];
    values.par_chunks_mut(columns).enumerate().for_each(|(row, values)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream((stream << 32) | row as u64);
        for value in values {
            *value = normal.sample(&mut rng) as f32;
        }
    });
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

#[cfg(test)]
mod tests {
    use burn::module::Param;

    use super::*;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.into_data().iter::<f64>().collect()
    }

    fn init(seed: u64) -> TinyLlama {
        let config = ModelConfig {
            vocab_size: 300,
            hidden_size: 64,
            intermediate_size: 96,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            ..ModelConfig::demo()
        };
        TinyLlama::init(&config, &Device::flex(), seed)
    }

    /// `_init_weights` of the original's `lit_gpt/model.py` and the loops after it.
    #[test]
    fn initialisation_is_the_originals() {
        let model = init(1);
        let check = |weight: &Param<Tensor<2>>, std: f64| {
            let values = values(weight.val());
            let found = (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt();
            // The estimate of n numbers scatters by 1/√(2n) of itself; five times that.
            let scatter = 5.0 / (2.0 * values.len() as f64).sqrt();
            assert!((found / std - 1.0).abs() < scatter, "{found} is not {std}");
        };
        const STD: f64 = 0.079_056_941_5; // √(2 / (5 · 64))
        const RESIDUAL_STD: f64 = 0.041_666_666_7; // 1 / (√64 · 3)
        check(&model.embed_tokens.weight, STD);
        check(&model.lm_head.as_ref().unwrap().weight, STD);
        for layer in &model.layers {
            check(&layer.self_attn.qkv_proj.weight, STD);
            check(&layer.self_attn.o_proj.weight, RESIDUAL_STD);
            check(&layer.mlp.gate_up_proj.weight, STD);
            check(&layer.mlp.down_proj.weight, RESIDUAL_STD);
            assert!(values(layer.input_layernorm.weight.val()).iter().all(|w| *w == 1.0));
        }
    }

    #[test]
    fn every_norm_adds_the_eps_of_the_config() {
        // Halves are exact in f32; the mean and the root round once each, at 6e-8.
        const F32_ROUNDING: f64 = 1e-6;
        let config = ModelConfig { rms_norm_eps: 0.75, ..ModelConfig::demo() };
        let model = TinyLlama::init(&config, &Device::flex(), 1);
        let in_layer =
            |layer: &Block| [layer.input_layernorm.clone(), layer.post_attention_layernorm.clone()];
        for norm in model.layers.iter().flat_map(in_layer).chain([model.norm.clone()]) {
            // The mean square of halves is 1/4, and with eps it is 1.
            let halves = Tensor::<3>::full([1, 2, 192], 0.5, &Device::flex());
            let normed = values(norm.forward(halves));
            assert!(normed.into_iter().all(|y| (y - 0.5).abs() < F32_ROUNDING));
        }
    }

    #[test]
    fn a_seed_gives_one_model_and_no_row_twice() {
        let rows = |seed| -> Vec<Vec<u64>> {
            let model = init(seed);
            let matrices = [
                &model.embed_tokens.weight,
                &model.lm_head.as_ref().unwrap().weight,
                &model.layers[0].self_attn.qkv_proj.weight,
                &model.layers[1].self_attn.qkv_proj.weight,
            ];
            matrices
                .into_iter()
                .flat_map(|matrix| {
                    let bits: Vec<u64> =
                        values(matrix.val()).into_iter().map(f64::to_bits).collect();
                    bits.chunks(64).map(<[u64]>::to_vec).collect::<Vec<_>>()
                })
                .collect()
        };
        assert_eq!(rows(1), rows(1));
        let (first, second) = (rows(1), rows(2));
        let different: std::collections::HashSet<_> = first.iter().chain(&second).collect();
        assert_eq!(different.len(), first.len() + second.len());
    }
}
