//! Checkpoints of <https://github.com/karpathy/llama2.c>, the first version of their format: seven
//! 32-bit sizes, then all weights in f32, each kind for all layers at once.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kernels_cubecl::Format;

use super::rotary::to_halves;
use super::tensors::{StoredTensor, Tensors, map_file};
use super::{FINAL_NORM, WeightsError, layer_norm_names};
use crate::config::ModelConfig;
use crate::error::ConfigError;

/// Later versions begin with it.
const LATER_MAGIC: [u8; 4] = *b"24ka";

/// `torch.save` writes an archive, under the same extension.
const ZIP_MAGIC: [u8; 4] = *b"PK\x03\x04";

const HEADER_BYTES: usize = 28;

/// Reads a file; its sizes become a configuration.
///
/// # Errors
/// The file cannot be read, is of a later version, or has another length than its sizes ask for.
pub(crate) fn open(path: &Path) -> Result<(ModelConfig, Tensors), WeightsError> {
    let bytes = map_file(path)?;
    let damaged = |detail: &str| WeightsError::Damaged {
        path: path.to_owned(),
        detail: format!("as a llama2.c checkpoint it {detail}"),
    };
    if bytes.starts_with(&LATER_MAGIC) {
        return Err(damaged("is of a later version than 0, which is the one read"));
    }
    if bytes.starts_with(&ZIP_MAGIC) {
        return Err(damaged(
            "is an archive of PyTorch; name the folder that holds its config.json",
        ));
    }
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(damaged("is shorter than its header"));
    };
    let config = config(header).map_err(|source| ConfigError::InFile {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    let seq_len = config.max_position_embeddings;
    let (d, v, head_dim) = (config.hidden_size, config.vocab_size, config.head_dim());

    let mut reader = Reader {
        path: path.into(),
        bytes: bytes.slice(HEADER_BYTES..),
        layers: config.num_hidden_layers,
    };
    let mut tensors = Tensors::new(path);
    let q = config.num_attention_heads * head_dim;
    let kv = config.num_key_value_heads * head_dim;
    let f = config.intermediate_size;
    let in_layer = |name: &'static str| move |layer| format!("model.layers.{layer}.{name}.weight");
    let norm = |which: usize| move |layer| layer_norm_names(layer)[which].clone();
    reader.one(&mut tensors, "model.embed_tokens.weight", &[v, d])?;
    reader.each(&mut tensors, norm(0), &[d], None)?;
    reader.each(&mut tensors, in_layer("self_attn.q_proj"), &[q, d], Some(head_dim))?;
    reader.each(&mut tensors, in_layer("self_attn.k_proj"), &[kv, d], Some(head_dim))?;
    reader.each(&mut tensors, in_layer("self_attn.v_proj"), &[kv, d], None)?;
    reader.each(&mut tensors, in_layer("self_attn.o_proj"), &[d, q], None)?;
    reader.each(&mut tensors, norm(1), &[d], None)?;
    reader.each(&mut tensors, in_layer("mlp.gate_proj"), &[f, d], None)?;
    reader.each(&mut tensors, in_layer("mlp.down_proj"), &[d, f], None)?;
    reader.each(&mut tensors, in_layer("mlp.up_proj"), &[f, d], None)?;
    reader.one(&mut tensors, FINAL_NORM, &[d])?;
    // Tables of cosines and sines, which are computed here.
    reader.take("freq_cis", &[2, seq_len, head_dim / 2])?;
    if !config.tie_word_embeddings {
        reader.one(&mut tensors, "lm_head.weight", &[v, d])?;
    }
    match reader.bytes.len() {
        0 => Ok((config, tensors)),
        more => Err(damaged(&format!("has {more} bytes behind its last tensor"))),
    }
}

/// The configuration that a header describes; what it leaves out is Llama's.
fn config(header: &[u8; HEADER_BYTES]) -> Result<ModelConfig, ConfigError> {
    let (words, _) = header.as_chunks::<4>();
    // Sizes that no i32 of a Llama reaches are refused by name below, negative ones as 0.
    let sizes: Vec<i32> = words.iter().map(|word| i32::from_le_bytes(*word)).collect();
    let size = |index: usize| usize::try_from(sizes[index]).unwrap_or(0);
    let config = ModelConfig {
        hidden_size: size(0),
        intermediate_size: size(1),
        num_hidden_layers: size(2),
        num_attention_heads: size(3),
        num_key_value_heads: size(4),
        // A negative number says that the head is a matrix of its own.
        vocab_size: sizes[5].unsigned_abs() as usize,
        tie_word_embeddings: sizes[5] > 0,
        max_position_embeddings: size(6),
        ..ModelConfig::tinyllama_1_1b()
    };
    config.validate()?;
    Ok(config)
}

/// Takes tensor after tensor from the front of what is left of a file.
struct Reader {
    path: Arc<Path>,
    bytes: Bytes,
    layers: usize,
}

impl Reader {
    fn one(
        &mut self,
        tensors: &mut Tensors,
        name: &str,
        shape: &[usize],
    ) -> Result<(), WeightsError> {
        let bytes = self.take(name, shape)?;
        let tensor = StoredTensor { shape: shape.to_vec(), format: Format::F32, bytes };
        tensors.insert(&self.path, name.to_owned(), tensor)
    }

    /// A tensor of every layer; `head_dim` is given where rows are pairs side by side.
    fn each(
        &mut self,
        tensors: &mut Tensors,
        name: impl Fn(usize) -> String,
        shape: &[usize],
        head_dim: Option<usize>,
    ) -> Result<(), WeightsError> {
        for layer in 0..self.layers {
            let name = name(layer);
            let mut bytes = self.take(&name, shape)?;
            if let Some(head_dim) = head_dim {
                bytes = to_halves(&bytes, shape[0], head_dim);
            }
            let tensor = StoredTensor { shape: shape.to_vec(), format: Format::F32, bytes };
            tensors.insert(&self.path, name, tensor)?;
        }
        Ok(())
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Bytes, WeightsError> {
        let length = shape.iter().try_fold(4usize, |bytes, &size| bytes.checked_mul(size));
        match length.filter(|&length| length <= self.bytes.len()) {
            Some(length) => Ok(self.bytes.split_to(length)),
            None => Err(WeightsError::Damaged {
                path: self.path.to_path_buf(),
                detail: format!(
                    "as a llama2.c checkpoint it ends before `{name}` {shape:?} is complete"
                ),
            }),
        }
    }
}
