//! GGUF's names for the tensors of a Llama, and its order of the rows of q and k.

use std::sync::Arc;

use kernels_cubecl::Format;

use super::layout::expected_tensors;
use super::rotary::{to_halves, to_pairs};
use super::tensors::{StoredTensor, Tensors};
use super::{FINAL_NORM, WeightsError};
use crate::config::ModelConfig;
use crate::gguf::{Gguf, ROPE_FREQS};

/// Names that are the same in every layer: GGUF's behind `blk.N.`, Hugging Face's behind
/// `model.layers.N.`, without `.weight`.
const IN_LAYER: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

const OUTER: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", FINAL_NORM),
    ("output.weight", "lm_head.weight"),
];

/// The tensors of an open file under Hugging Face's names; only q and k are copied, to put their rows in
/// order.
pub(crate) fn read(gguf: &Gguf, config: &ModelConfig) -> Result<Tensors, WeightsError> {
    let mut tensors = Tensors::new(gguf.path());
    let path = Arc::from(gguf.path());
    // Divisors of the rotary frequencies are part of the configuration.
    for info in gguf.tensors().iter().filter(|info| info.name != ROPE_FREQS) {
        let name = hugging_face_name(&info.name).unwrap_or_else(|| info.name.clone());
        let mut tensor = StoredTensor {
            shape: info.shape.clone(),
            format: info.format,
            bytes: info.bytes.clone(),
        };
        if is_rotated(&name) && is_whole_heads(&tensor, config) {
            tensor.bytes = to_halves(&tensor.bytes, tensor.shape[0], config.head_dim());
        }
        tensors.insert(&path, name, tensor)?;
    }
    Ok(tensors)
}

/// A tensor as GGUF wants it.
pub(crate) struct Exported<'a> {
    /// GGUF's name.
    pub(crate) name: String,
    /// The format it is to have.
    pub(crate) format: Format,
    /// Where it comes from.
    tensor: &'a StoredTensor,
    /// H, where the rows of each head are to be reordered.
    head_dim: Option<usize>,
}

impl Exported<'_> {
    /// Sizes, the innermost dimension last.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    /// The bytes to write.
    pub(crate) fn bytes(&self) -> bytes::Bytes {
        let bytes = self.tensor.to_format(self.format);
        match self.head_dim {
            Some(head_dim) => to_pairs(&bytes, self.tensor.shape[0], head_dim),
            None => bytes,
        }
    }
}

/// The tensors of a model for a GGUF file; `format` chooses the format of each by Hugging Face's name.
///
/// # Errors
/// A tensor is missing or does not fit `config`.
pub(crate) fn export<'a>(
    tensors: &'a Tensors,
    config: &ModelConfig,
    format: impl Fn(&str, &StoredTensor) -> Format,
) -> Result<Vec<Exported<'a>>, WeightsError> {
    super::layout::check(config, tensors)?;
    let export = |(name, _): (String, Vec<usize>)| {
        let tensor = &tensors.by_name[&name];
        Exported {
            name: gguf_name(&name).expect("GGUF has a name for each tensor of a Llama"),
            format: format(&name, tensor),
            tensor,
            head_dim: is_rotated(&name).then(|| config.head_dim()),
        }
    };
    Ok(expected_tensors(config).map(export).collect())
}

/// Whether rotary embeddings turn what this matrix computes.
fn is_rotated(name: &str) -> bool {
    name.ends_with("self_attn.q_proj.weight") || name.ends_with("self_attn.k_proj.weight")
}

/// What is not is refused later, with its shape.
fn is_whole_heads(tensor: &StoredTensor, config: &ModelConfig) -> bool {
    let heads = tensor.shape.first().filter(|_| tensor.shape.len() == 2);
    heads.is_some_and(|rows| *rows > 0 && rows.is_multiple_of(config.head_dim()))
}

fn hugging_face_name(gguf: &str) -> Option<String> {
    if let Some((_, name)) = OUTER.iter().find(|(outer, _)| *outer == gguf) {
        return Some((*name).to_owned());
    }
    let (layer, rest) = gguf.strip_prefix("blk.")?.split_once('.')?;
    let kind = rest.strip_suffix(".weight")?;
    let (_, name) = IN_LAYER.iter().find(|(in_layer, _)| *in_layer == kind)?;
    Some(format!("model.layers.{layer}.{name}.weight"))
}

fn gguf_name(hugging_face: &str) -> Option<String> {
    if let Some((name, _)) = OUTER.iter().find(|(_, outer)| *outer == hugging_face) {
        return Some((*name).to_owned());
    }
    let (layer, rest) = hugging_face.strip_prefix("model.layers.")?.split_once('.')?;
    let kind = rest.strip_suffix(".weight")?;
    let (name, _) = IN_LAYER.iter().find(|(_, in_layer)| *in_layer == kind)?;
    Some(format!("blk.{layer}.{name}.weight"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tensor_has_a_name_in_both() {
        let config = ModelConfig::demo();
        for (name, _) in expected_tensors(&config) {
            let gguf = gguf_name(&name).unwrap();
            assert_eq!(hugging_face_name(&gguf), Some(name));
        }
        assert_eq!(hugging_face_name("blk.0.attn_q.bias"), None);
        assert_eq!(
            hugging_face_name("blk.3.ffn_down.weight").unwrap(),
            "model.layers.3.mlp.down_proj.weight"
        );
    }
}
