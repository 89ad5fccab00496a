//! The sizes of a Llama and its other constants, under the keys of Hugging Face `config.json`.
//!
//! Presets are the shapes of <https://github.com/jzhang38/TinyLlama>, `lit_gpt/config.py`.

mod counts;
mod json;
mod rope_scaling;
#[cfg(test)]
mod tests;
pub(crate) mod token_ids;

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::counts::TrainingBytes;
use self::json::ConfigJson;
pub use self::rope_scaling::RopeScaling;
use crate::error::ConfigError;

/// No Llama has a larger size, and the product of two of them fits in 64 bits with room to spare.
pub const MAX_SIZE: usize = 1 << 24;

/// Four trillion bytes in f32: no machine that this crate knows holds more.
const MAX_PARAMETERS: usize = 1 << 40;

/// A Llama's shape: multi-head, grouped-query or multi-query attention, tied or untied.
///
/// Keys are those of Hugging Face `config.json`; derived sizes are methods. Reading through serde
/// (JSON, TOML) refuses what this model does not compute, but does not call [`validate`].
///
/// [`validate`]: ModelConfig::validate
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ConfigJson", into = "ConfigJson")]
pub struct ModelConfig {
    /// V: rows of the embedding and of the output head, in tokens.
    pub vocab_size: usize,
    /// D: width of the residual stream.
    pub hidden_size: usize,
    /// F: width inside the SwiGLU block.
    pub intermediate_size: usize,
    /// Number of transformer blocks.
    pub num_hidden_layers: usize,
    /// N: query heads.
    pub num_attention_heads: usize,
    /// K: key and value heads; N / K query heads share one. Absent in old files: N.
    pub num_key_value_heads: usize,
    /// H when the file names it; see [`ModelConfig::head_dim`].
    pub head_dim: Option<usize>,
    /// Longest sequence the model is meant for, in tokens; dynamic scaling sees farther, see
    /// [`ModelConfig::context_tokens`].
    pub max_position_embeddings: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How rotary angles are changed to read longer texts than the first training's.
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the output head is the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Standard deviation of the initialisation, as Hugging Face files state it.
    pub initializer_range: f64,
    /// Token that begins a sequence.
    pub bos_token_id: Option<u32>,
    /// Token that ends a sequence; the first one where the file lists several.
    pub eos_token_id: Option<u32>,
    /// The other ends of a sequence where the file lists several.
    pub other_eos_token_ids: Vec<u32>,
    /// Token that fills short rows of a batch.
    pub pad_token_id: Option<u32>,
    /// Element type of the stored weights, for example `float32` or `bfloat16`.
    pub torch_dtype: String,
}

impl ModelConfig {
    /// TinyLlama-1.1B: 1,100,048,384 parameters, 2048 tokens of context.
    pub fn tinyllama_1_1b() -> Self {
        Self {
            vocab_size: 32_000,
            hidden_size: 2048,
            intermediate_size: 5632,
            num_hidden_layers: 22,
            num_attention_heads: 32,
            num_key_value_heads: 4,
            head_dim: None,
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
            tie_word_embeddings: false,
            initializer_range: 0.02,
            bos_token_id: Some(1),
            eos_token_id: Some(2),
            other_eos_token_ids: Vec::new(),
            pad_token_id: None,
            torch_dtype: "float32".to_owned(),
        }
    }

    /// TinyLlama-120M: 121,129,728 parameters, multi-query attention.
    pub fn tinyllama_120m() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_key_value_heads: 1,
            ..Self::tinyllama_1_1b()
        }
    }

    /// The code variant of TinyLlama-1.1B: 8192 tokens of context, positions divided by 4.
    pub fn code_tinyllama_1b() -> Self {
        Self {
            max_position_embeddings: 8192,
            rope_scaling: Some(RopeScaling::Linear { factor: 4.0 }),
            ..Self::tinyllama_1_1b()
        }
    }

    /// A Llama that two CPU cores train to something visible in minutes.
    ///
    /// It names no special tokens: those of the tokenizer trained beside it are set by the trainer.
    pub fn demo() -> Self {
        Self {
            vocab_size: 1024,
            hidden_size: 192,
            intermediate_size: 512,
            num_hidden_layers: 4,
            num_attention_heads: 6,
            num_key_value_heads: 2,
            max_position_embeddings: 256,
            bos_token_id: None,
            eos_token_id: None,
            ..Self::tinyllama_1_1b()
        }
    }

    /// Reads and validates a Hugging Face `config.json`.
    ///
    /// # Errors
    /// The file cannot be read, is no such JSON, or describes a model that is not supported.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::from_json(&text).map_err(|source| ConfigError::InFile {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Reads and validates the text of a Hugging Face `config.json`.
    ///
    /// # Errors
    /// The text is no such JSON, or describes a model that is not supported.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let json: ConfigJson =
            serde_json::from_str(text).map_err(|source| ConfigError::Json { source })?;
        let config = Self::try_from(json)?;
        config.validate()?;
        Ok(config)
    }

    /// The text of a `config.json` that this crate and transformers read back.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("string keys and plain numbers");
        text.push('\n');
        text
    }

    /// Writes [`ModelConfig::to_json`] to `path`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ConfigError> {
        fs::write(path, self.to_json())
            .map_err(|source| ConfigError::Write { path: path.to_owned(), source })
    }

    /// H: the named `head_dim`, else D / N (0 while N is 0, which [`ModelConfig::validate`] refuses).
    pub fn head_dim(&self) -> usize {
        match self.head_dim {
            Some(head_dim) => head_dim,
            None => self.hidden_size.checked_div(self.num_attention_heads).unwrap_or(0),
        }
    }

    /// Tokens the model may see at once: `max_position_embeddings`, times the factor of dynamic scaling,
    /// the one kind that leaves that number at the length of the first training.
    pub fn context_tokens(&self) -> usize {
        match self.rope_scaling {
            Some(RopeScaling::Dynamic { factor, .. }) => {
                (self.max_position_embeddings as f64 * factor) as usize
            }
            _ => self.max_position_embeddings,
        }
    }

    /// Every token that ends a sequence.
    pub fn eos_token_ids(&self) -> Vec<u32> {
        self.eos_token_id.iter().chain(&self.other_eos_token_ids).copied().collect()
    }

    /// Checks that the sizes fit each other; the model is built only from a valid configuration.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for the first value that does not fit.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (key, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim.unwrap_or(1)),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            require((1..=MAX_SIZE).contains(&value), key, value, || {
                format!("between 1 and {MAX_SIZE}")
            })?;
        }
        let heads = self.num_attention_heads;
        require(
            heads.is_multiple_of(self.num_key_value_heads),
            "num_key_value_heads",
            self.num_key_value_heads,
            || format!("a divisor of num_attention_heads = {heads}"),
        )?;
        require(
            self.head_dim.is_some() || self.hidden_size.is_multiple_of(heads),
            "hidden_size",
            self.hidden_size,
            || format!("a multiple of num_attention_heads = {heads} where head_dim is absent"),
        )?;
        require(self.head_dim().is_multiple_of(2), "head_dim", self.head_dim(), || {
            "even, since rotary embeddings turn pairs".to_owned()
        })?;
        self.validate_constants()?;
        for (key, ids) in [
            ("bos_token_id", self.bos_token_id.as_slice()),
            ("eos_token_id", &self.eos_token_ids()),
            ("pad_token_id", self.pad_token_id.as_slice()),
        ] {
            for &id in ids {
                require((id as usize) < self.vocab_size, key, id, || {
                    format!("smaller than vocab_size = {}", self.vocab_size)
                })?;
            }
        }
        require(
            self.checked_parameters().is_some_and(|count| count <= MAX_PARAMETERS),
            "num_hidden_layers",
            self.num_hidden_layers,
            || format!("small enough for at most {MAX_PARAMETERS} parameters with the other sizes"),
        )
    }

    fn validate_constants(&self) -> Result<(), ConfigError> {
        let Self { rms_norm_eps, rope_theta, initializer_range, .. } = *self;
        require(
            rms_norm_eps.is_finite() && rms_norm_eps > 0.0,
            "rms_norm_eps",
            rms_norm_eps,
            || "finite and above 0".to_owned(),
        )?;
        require(rope_theta.is_finite() && rope_theta > 1.0, "rope_theta", rope_theta, || {
            "finite and above 1".to_owned()
        })?;
        if let Some(scaling) = self.rope_scaling {
            scaling.validate(self)?;
        }
        require(
            initializer_range.is_finite() && initializer_range > 0.0,
            "initializer_range",
            initializer_range,
            || "finite and above 0".to_owned(),
        )
    }
}

fn require(
    holds: bool,
    key: &'static str,
    value: impl ToString,
    requirement: impl FnOnce() -> String,
) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError::Invalid { key, value: value.to_string(), requirement: requirement() })
}
