//! Which of Hugging Face's tensors make a model, and how they are stacked.
//!
//! Hugging Face keeps q, k, v and gate, up apart; this crate packs each set into one matrix
//! `[out, in]` by stacking rows, so packing is a concatenation and unpacking a split.

use std::collections::HashSet;

use super::{Tensors, WeightsError};
use crate::config::ModelConfig;
use crate::model::Matrix;

pub(super) const FINAL_NORM: &str = "model.norm.weight";

/// One Hugging Face matrix: a run of rows of a packed one.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// The Hugging Face matrices that are stacked into `matrix`, top to bottom.
pub(super) fn packed(config: &ModelConfig, matrix: Matrix) -> Vec<Part> {
    let (d, f, v) = (config.hidden_size, config.intermediate_size, config.vocab_size);
    let q = config.num_attention_heads * config.head_dim();
    let kv = config.num_key_value_heads * config.head_dim();
    let whole = |name: &str, rows, columns| vec![Part { name: name.to_owned(), rows, columns }];
    let in_layer = |layer: usize, parts: &[(&str, usize)], columns| {
        let part = |&(name, rows): &(&str, usize)| Part {
            name: format!("model.layers.{layer}.{name}.weight"),
            rows,
            columns,
        };
        parts.iter().map(part).collect()
    };
    match matrix {
        Matrix::EmbedTokens => whole("model.embed_tokens.weight", v, d),
        Matrix::LmHead => whole("lm_head.weight", v, d),
        Matrix::QkvProj(layer) => in_layer(
            layer,
            &[("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)],
            d,
        ),
        Matrix::OProj(layer) => in_layer(layer, &[("self_attn.o_proj", d)], q),
        Matrix::GateUpProj(layer) => {
            in_layer(layer, &[("mlp.gate_proj", f), ("mlp.up_proj", f)], d)
        }
        Matrix::DownProj(layer) => in_layer(layer, &[("mlp.down_proj", d)], f),
    }
}

/// Every matrix of a model, in the order of the forward pass.
pub(super) fn matrices(config: &ModelConfig) -> impl Iterator<Item = Matrix> {
    let in_layer = |layer| {
        [
            Matrix::QkvProj(layer),
            Matrix::OProj(layer),
            Matrix::GateUpProj(layer),
            Matrix::DownProj(layer),
        ]
    };
    let head = (!config.tie_word_embeddings).then_some(Matrix::LmHead);
    let layers = (0..config.num_hidden_layers).flat_map(in_layer);
    [Matrix::EmbedTokens].into_iter().chain(layers).chain(head)
}

/// The names of the two norms of a layer: before attention, before the feed-forward half.
pub(super) fn layer_norm_names(layer: usize) -> [String; 2] {
    ["input_layernorm", "post_attention_layernorm"]
        .map(|norm| format!("model.layers.{layer}.{norm}.weight"))
}

/// Every tensor that the config asks for, with its shape. Made one by one: only the weights can tell
/// whether the config exaggerates.
pub(super) fn expected_tensors(config: &ModelConfig) -> impl Iterator<Item = (String, Vec<usize>)> {
    let norms = (0..config.num_hidden_layers).flat_map(layer_norm_names);
    let norms = [FINAL_NORM.to_owned()].into_iter().chain(norms);
    let norms = norms.map(|name| (name, vec![config.hidden_size]));
    let parts = matrices(config).flat_map(|matrix| packed(config, matrix));
    norms.chain(parts.map(|part| (part.name, vec![part.rows, part.columns])))
}

/// Checks that every tensor the config asks for is there with its shape, and that no other one is.
pub(super) fn check(config: &ModelConfig, tensors: &Tensors) -> Result<(), WeightsError> {
    let origin = || tensors.origin.clone();
    let mut known = HashSet::new();
    for (name, expected) in expected_tensors(config) {
        let Some(tensor) = tensors.by_name.get(&name) else {
            return Err(WeightsError::Missing { origin: origin(), name });
        };
        if tensor.shape != expected {
            let found = tensor.shape.clone();
            return Err(WeightsError::Shape { origin: origin(), name, expected, found });
        }
        known.insert(name);
    }
    // A tied checkpoint may still carry its head, a copy of the embedding.
    let is_extra = |name: &&String| !known.contains(*name) && *name != "lm_head.weight";
    match tensors.by_name.keys().find(is_extra) {
        Some(name) => Err(WeightsError::Unexpected { origin: origin(), name: name.clone() }),
        None => Ok(()),
    }
}
