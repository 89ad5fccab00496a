//! Weights, in and out. Whatever file they come from, in memory they have Hugging Face's names, shapes
//! and order of rows ([`Tensors`]); other formats' names live in their own readers and nowhere else.
//!
//! | file | reader |
//! |---|---|
//! | `model.safetensors`, `model.safetensors.index.json` | `safetensors` |
//! | `pytorch_model.bin`, `pytorch_model.bin.index.json` | `pytorch` |
//! | `*.gguf` | [`gguf`](crate::gguf) |
//! | `*.bin` of llama2.c | `llama2c` |

mod assemble;
mod error;
mod finite;
pub(crate) mod gguf;
mod layout;
pub(crate) mod llama2c;
mod pytorch;
mod rotary;
mod safetensors;
mod tensors;
#[cfg(test)]
mod tests;

use std::path::Path;

use burn::tensor::{Device, FloatDType, Tensor};
use kernels_cubecl::Format;

pub use self::error::WeightsError;
use self::layout::{FINAL_NORM, layer_norm_names, matrices, packed};
pub use self::tensors::{StoredTensor, Tensors};
use crate::config::ModelConfig;
use crate::model::{Matrix, TinyLlama};

/// Buffers that older transformers saved among the weights and that are computed here.
const IGNORED: [&str; 2] = ["rotary_emb.inv_freq", "position_ids"];

/// Loads a folder in Hugging Face layout to `device` in f32: `config.json` and safetensors or
/// PyTorch's `.bin`, single or sharded.
///
/// # Errors
/// Everything a damaged, incomplete or foreign folder can be: see [`WeightsError`].
pub fn load(folder: &Path, device: &Device) -> Result<TinyLlama, WeightsError> {
    let config = ModelConfig::from_file(&folder.join("config.json"))?;
    Tensors::from_folder(folder)?.dense(&config, device, |_, _| {})
}

/// Writes `config.json` and `model.safetensors` (f32) into `folder`, which must exist.
///
/// # Errors
/// When a file cannot be written.
pub fn save(model: &TinyLlama, folder: &Path) -> Result<(), WeightsError> {
    let config = ModelConfig { torch_dtype: "float32".to_owned(), ..model.config().clone() };
    config.save(&folder.join("config.json"))?;
    Tensors::from_model(model, folder).save(folder, |_| Format::F32)
}

impl Tensors {
    /// The tensors of a folder in Hugging Face layout: safetensors, memory-mapped, or else PyTorch's
    /// `.bin`.
    ///
    /// # Errors
    /// There are no weights, or their files are damaged or hold dtypes that are not read.
    pub fn from_folder(folder: &Path) -> Result<Self, WeightsError> {
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
        if let Some(single) = file(safetensors::SINGLE) {
            return safetensors::read(folder, &[single]);
        }
        if let Some(index) = file(safetensors::INDEX) {
            return safetensors::read(folder, &safetensors::shards(folder, &index)?);
        }
        if let Some(single) = file(pytorch::SINGLE) {
            return pytorch::read(folder, &[single]);
        }
        match file(pytorch::INDEX) {
            Some(index) => pytorch::read(folder, &safetensors::shards(folder, &index)?),
            None => Err(WeightsError::NoWeights { folder: folder.to_owned() }),
        }
    }

    /// The tensors of a model in memory, in f32; `origin` is for messages.
    pub fn from_model(model: &TinyLlama, origin: &Path) -> Self {
        let config = model.config();
        let mut tensors = Self::new(origin);
        for matrix in matrices(config) {
            let value = weight(model, matrix);
            let mut start = 0;
            for part in packed(config, matrix) {
                let rows = value.clone().narrow(0, start, part.rows);
                start += part.rows;
                tensors.by_name.insert(part.name, stored(rows));
            }
        }
        for (index, layer) in model.layers.iter().enumerate() {
            let [before, after] = layer_norm_names(index);
            tensors.by_name.insert(before, stored(layer.input_layernorm.weight.val()));
            tensors.by_name.insert(after, stored(layer.post_attention_layernorm.weight.val()));
        }
        tensors.by_name.insert(FINAL_NORM.to_owned(), stored(model.norm.weight.val()));
        tensors
    }

    /// Checks that these are the tensors of a model with these sizes.
    ///
    /// # Errors
    /// One is missing, has another shape, or has no place in a Llama.
    pub fn check(&self, config: &ModelConfig) -> Result<(), WeightsError> {
        layout::check(config, self)
    }

    /// Writes `model.safetensors` into `folder`, which must exist; `format` chooses a plain float for
    /// each tensor. What keeps its format keeps its bits.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(
        &self,
        folder: &Path,
        format: impl Fn(&StoredTensor) -> Format,
    ) -> Result<(), WeightsError> {
        safetensors::write(self, folder, format)
    }
}

/// The value of a matrix of a dense model.
fn weight(model: &TinyLlama, matrix: Matrix) -> Tensor<2> {
    let projection = match matrix {
        Matrix::EmbedTokens => &model.embed_tokens,
        Matrix::QkvProj(layer) => &model.layers[layer].self_attn.qkv_proj,
        Matrix::OProj(layer) => &model.layers[layer].self_attn.o_proj,
        Matrix::GateUpProj(layer) => &model.layers[layer].mlp.gate_up_proj,
        Matrix::DownProj(layer) => &model.layers[layer].mlp.down_proj,
        Matrix::LmHead => model.lm_head.as_ref().expect("only an untied model is asked for it"),
    };
    projection.weight.val()
}

/// The values of a tensor as little-endian f32.
fn stored<const D: usize>(tensor: Tensor<D>) -> StoredTensor {
    let shape = tensor.dims().to_vec();
    let data = tensor.inner().cast(FloatDType::F32).into_data();
    let bytes: Vec<u8> = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
    StoredTensor { shape, format: Format::F32, bytes: bytes.into() }
}
