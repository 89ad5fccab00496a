//! The keys `llama.*` as a model configuration.

use super::error::{GgufError, shown};
use super::metadata::Metadata;
use super::special_ids::SpecialIds;
use super::{Gguf, keys, rope_scaling};
use crate::config::{MAX_SIZE, ModelConfig};

/// llama.cpp's base of the rotary frequencies where the file names none.
const DEFAULT_ROPE_THETA: f64 = 10_000.0;
/// Nothing initialises weights that were read; it is Hugging Face's default.
const INITIALIZER_RANGE: f64 = 0.02;

pub(super) fn read(gguf: &Gguf) -> Result<ModelConfig, GgufError> {
    let metadata = gguf.metadata();
    refuse_unsupported(metadata)?;
    let num_attention_heads = required_size(metadata, keys::HEAD_COUNT)?;
    let ids = SpecialIds::read(metadata)?;
    let mut ends = ids.ends().into_iter();
    let theta = metadata.float(keys::ROPE_FREQ_BASE)?;
    let epsilon = metadata.float(keys::RMS_EPSILON)?;
    let mut config = ModelConfig {
        vocab_size: vocab_size(gguf)?,
        hidden_size: required_size(metadata, keys::EMBEDDING_LENGTH)?,
        intermediate_size: required_size(metadata, keys::FEED_FORWARD_LENGTH)?,
        num_hidden_layers: required_size(metadata, keys::BLOCK_COUNT)?,
        num_attention_heads,
        num_key_value_heads: size(metadata, keys::HEAD_COUNT_KV)?.unwrap_or(num_attention_heads),
        head_dim: size(metadata, keys::KEY_LENGTH)?,
        max_position_embeddings: required_size(metadata, keys::CONTEXT_LENGTH)?,
        rms_norm_eps: metadata.required(keys::RMS_EPSILON, epsilon)?,
        rope_theta: theta.unwrap_or(DEFAULT_ROPE_THETA),
        rope_scaling: rope_scaling::read(metadata)?,
        tie_word_embeddings: gguf.tensor(keys::OUTPUT).is_none(),
        initializer_range: INITIALIZER_RANGE,
        bos_token_id: ids.bos,
        eos_token_id: ends.next(),
        other_eos_token_ids: ends.collect(),
        pad_token_id: ids.padding,
        torch_dtype: torch_dtype(metadata)?.to_owned(),
    };
    config.validate()?;
    check_heads(metadata, &config)?;
    config.rope_scaling = rope_scaling::with_divisors(gguf, &config)?;
    Ok(config)
}

fn refuse_unsupported(metadata: &Metadata) -> Result<(), GgufError> {
    let architecture = metadata.string(keys::ARCHITECTURE)?;
    let architecture = metadata.required(keys::ARCHITECTURE, architecture)?;
    if architecture != "llama" {
        let found = format!("`{}`", shown(architecture));
        return Err(GgufError::unsupported(keys::ARCHITECTURE, found, "only `llama` is computed"));
    }
    match metadata.string(keys::TYPE)? {
        None | Some("model") => {}
        Some(other) => {
            let (found, remedy) = (format!("`{}`", shown(other)), "name a file of type `model`");
            return Err(GgufError::unsupported(keys::TYPE, found, remedy));
        }
    }
    let experts = metadata.unsigned(keys::EXPERT_COUNT, u64::MAX)?.unwrap_or(0);
    if experts > 0 {
        let remedy = "mixtures of experts are not computed here";
        return Err(GgufError::unsupported(keys::EXPERT_COUNT, experts, remedy));
    }
    if metadata.bool(keys::CAUSAL)? == Some(false) {
        let remedy = "tokens see only those before them here, so it must be true";
        return Err(GgufError::unsupported(keys::CAUSAL, false, remedy));
    }
    for key in [keys::HEAD_COUNT, keys::HEAD_COUNT_KV, keys::FEED_FORWARD_LENGTH] {
        if metadata.is_array(key) {
            let remedy = "all layers must have the same size";
            return Err(GgufError::unsupported(key, "an array with a value per layer", remedy));
        }
    }
    Ok(())
}

fn size(metadata: &Metadata, key: &str) -> Result<Option<usize>, GgufError> {
    let size = metadata.unsigned(key, MAX_SIZE as u64)?;
    Ok(size.map(|size| size as usize))
}

fn required_size(metadata: &Metadata, key: &str) -> Result<usize, GgufError> {
    metadata.required(key, size(metadata, key)?)
}

/// V: the rows of the embedding; in a file without tensors what its keys say.
fn vocab_size(gguf: &Gguf) -> Result<usize, GgufError> {
    let metadata = gguf.metadata();
    let named = size(metadata, keys::VOCAB_SIZE)?;
    let tokens = metadata.strings(keys::TOKENS)?.map(|tokens| tokens.len());
    let rows = gguf.tensor(keys::TOKEN_EMBD).map(|tensor| tensor.shape[0]);
    let size = metadata.required(keys::VOCAB_SIZE, rows.or(named).or(tokens))?;
    if let Some(named) = named.filter(|&named| named != size) {
        let requirement = format!("{size}, the rows of `{}`", keys::TOKEN_EMBD);
        return Err(GgufError::invalid(keys::VOCAB_SIZE, named, requirement));
    }
    if let Some(tokens) = tokens.filter(|&tokens| tokens > size) {
        let found = format!("a list of {tokens} tokens");
        let requirement = format!("at most {size} long, the model's vocabulary");
        return Err(GgufError::invalid(keys::TOKENS, found, requirement));
    }
    Ok(size)
}

/// Values are as long as keys, and all of a key is rotated.
fn check_heads(metadata: &Metadata, config: &ModelConfig) -> Result<(), GgufError> {
    let head_dim = config.head_dim();
    for key in [keys::VALUE_LENGTH, keys::ROPE_DIMENSION_COUNT] {
        if let Some(found) = size(metadata, key)?.filter(|&found| found != head_dim) {
            let requirement = format!("{head_dim}, the size of a head");
            return Err(GgufError::invalid(key, found, requirement));
        }
    }
    Ok(())
}

/// The element type that most weights were stored in before they were quantised, where the file
/// type tells.
fn torch_dtype(metadata: &Metadata) -> Result<&'static str, GgufError> {
    Ok(match metadata.unsigned(keys::FILE_TYPE, u64::MAX)? {
        Some(1) => "float16",
        Some(32) => "bfloat16",
        _ => "float32",
    })
}
