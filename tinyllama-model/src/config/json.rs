//! The layout of `config.json`, in the spellings that transformers 4 and 5 write.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rope_scaling::{DEFAULT_BETA_FAST, DEFAULT_BETA_SLOW};
use super::{ModelConfig, RopeScaling, token_ids};
use crate::error::ConfigError;

/// `config.json` as it stands in the file. Keys that change nothing here are ignored.
#[derive(Serialize, Deserialize)]
pub(super) struct ConfigJson {
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    model_type: Option<String>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    #[serde(default)]
    num_key_value_heads: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    rope_scaling: Option<RopeJson>,
    #[serde(default, skip_serializing)]
    rope_parameters: Option<RopeJson>,
    #[serde(default, skip_serializing)]
    original_max_position_embeddings: Option<usize>,
    #[serde(default)]
    tie_word_embeddings: Option<bool>,
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default)]
    initializer_range: Option<f64>,
    #[serde(default)]
    attention_bias: Option<bool>,
    #[serde(default)]
    mlp_bias: Option<bool>,
    #[serde(default)]
    bos_token_id: Option<u32>,
    #[serde(default, with = "token_ids")]
    eos_token_id: Vec<u32>,
    #[serde(default)]
    pad_token_id: Option<u32>,
    #[serde(default)]
    torch_dtype: Option<String>,
    // Its name in transformers 5; some files have both.
    #[serde(default, skip_serializing)]
    dtype: Option<String>,
    #[serde(default, skip_serializing)]
    quantization_config: Option<Value>,
}

/// `rope_scaling` of transformers 4 or `rope_parameters` of transformers 5.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct RopeJson {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    old_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_max_position_embeddings: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_fast: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_slow: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mscale: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mscale_all_dim: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low_freq_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high_freq_factor: Option<f64>,
    #[serde(skip_serializing)]
    rope_theta: Option<f64>,
}

impl TryFrom<ConfigJson> for ModelConfig {
    type Error = ConfigError;

    fn try_from(json: ConfigJson) -> Result<Self, ConfigError> {
        json.refuse_unsupported()?;
        // Where a file has both, transformers 4 reads the old key, and so does transformers 5.
        let rope = json.rope_scaling.as_ref().or(json.rope_parameters.as_ref());
        let rope_scaling = rope.map(|rope| json.scaling(rope)).transpose()?.flatten();
        let mut eos_token_ids = json.eos_token_id.into_iter();
        Ok(Self {
            vocab_size: json.vocab_size,
            hidden_size: json.hidden_size,
            intermediate_size: json.intermediate_size,
            num_hidden_layers: json.num_hidden_layers,
            num_attention_heads: json.num_attention_heads,
            num_key_value_heads: json.num_key_value_heads.unwrap_or(json.num_attention_heads),
            head_dim: json.head_dim,
            max_position_embeddings: json.max_position_embeddings,
            rms_norm_eps: json.rms_norm_eps,
            rope_theta: rope
                .and_then(|rope| rope.rope_theta)
                .or(json.rope_theta)
                .unwrap_or(10_000.0),
            rope_scaling,
            tie_word_embeddings: json.tie_word_embeddings.unwrap_or(false),
            initializer_range: json.initializer_range.unwrap_or(0.02),
            bos_token_id: json.bos_token_id,
            eos_token_id: eos_token_ids.next(),
            other_eos_token_ids: eos_token_ids.collect(),
            pad_token_id: json.pad_token_id,
            torch_dtype: json.dtype.or(json.torch_dtype).unwrap_or_else(|| "float32".to_owned()),
        })
    }
}

impl From<ModelConfig> for ConfigJson {
    fn from(config: ModelConfig) -> Self {
        Self {
            architectures: Some(vec!["LlamaForCausalLM".to_owned()]),
            model_type: Some("llama".to_owned()),
            vocab_size: config.vocab_size,
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            num_key_value_heads: Some(config.num_key_value_heads),
            head_dim: config.head_dim,
            max_position_embeddings: config.max_position_embeddings,
            rms_norm_eps: config.rms_norm_eps,
            rope_theta: Some(config.rope_theta),
            rope_scaling: config.rope_scaling.map(RopeJson::from),
            rope_parameters: None,
            original_max_position_embeddings: None,
            tie_word_embeddings: Some(config.tie_word_embeddings),
            hidden_act: Some("silu".to_owned()),
            initializer_range: Some(config.initializer_range),
            attention_bias: Some(false),
            mlp_bias: Some(false),
            bos_token_id: config.bos_token_id,
            eos_token_id: config.eos_token_ids(),
            pad_token_id: config.pad_token_id,
            torch_dtype: Some(config.torch_dtype),
            dtype: None,
            quantization_config: None,
        }
    }
}

impl ConfigJson {
    fn refuse_unsupported(&self) -> Result<(), ConfigError> {
        let unsupported = |key, value: &dyn ToString, remedy| {
            Err(ConfigError::Unsupported { key, value: value.to_string(), remedy })
        };
        match &self.model_type {
            Some(model_type) if model_type != "llama" => {
                unsupported("model_type", model_type, "only `llama` is computed here")?;
            }
            _ => {}
        }
        match &self.hidden_act {
            Some(hidden_act) if hidden_act != "silu" => {
                unsupported("hidden_act", hidden_act, "the MLP is SwiGLU, so it must be `silu`")?;
            }
            _ => {}
        }
        for (key, bias) in [("attention_bias", self.attention_bias), ("mlp_bias", self.mlp_bias)] {
            if bias == Some(true) {
                unsupported(key, &true, "projections have no bias, so it must be false")?;
            }
        }
        match &self.quantization_config {
            Some(quantization) if !quantization.is_null() => unsupported(
                "quantization_config",
                quantization,
                "weights must be stored as f32, f16 or bf16; use the folder of the original model",
            ),
            _ => Ok(()),
        }
    }
    fn scaling(&self, rope: &RopeJson) -> Result<Option<RopeScaling>, ConfigError> {
        let kind = rope.rope_type.as_deref().or(rope.old_type.as_deref()).unwrap_or("default");
        let number = |key, value: Option<f64>| {
            value.ok_or_else(|| ConfigError::Invalid {
                key,
                value: "absent".to_owned(),
                requirement: format!("a number where rope_scaling is {kind}"),
            })
        };
        let factor = number("rope_scaling.factor", rope.factor);
        // Beside `rope_scaling` transformers 5 reads this key first, and dynamic scaling reads neither.
        let trained_tokens =
            self.original_max_position_embeddings.or(rope.original_max_position_embeddings);
        Ok(Some(match kind {
            "default" => return Ok(None),
            "linear" => RopeScaling::Linear { factor: factor? },
            "dynamic" => RopeScaling::Dynamic {
                factor: factor?,
                original_max_position_embeddings: rope.original_max_position_embeddings,
            },
            "yarn" => RopeScaling::Yarn {
                factor: match (rope.factor, trained_tokens) {
                    // How transformers 5 takes `null`.
                    (None, Some(tokens @ 1..)) => {
                        self.max_position_embeddings as f64 / tokens as f64
                    }
                    _ => factor?,
                },
                original_max_position_embeddings: trained_tokens,
                attention_factor: rope.attention_factor,
                // 0 stands for the default too.
                beta_fast: rope.beta_fast.filter(|beta| *beta != 0.0).unwrap_or(DEFAULT_BETA_FAST),
                beta_slow: rope.beta_slow.filter(|beta| *beta != 0.0).unwrap_or(DEFAULT_BETA_SLOW),
                mscale: rope.mscale,
                mscale_all_dim: rope.mscale_all_dim,
                truncate: rope.truncate.unwrap_or(true),
            },
            "llama3" => RopeScaling::Llama3 {
                factor: factor?,
                low_freq_factor: number("rope_scaling.low_freq_factor", rope.low_freq_factor)?,
                high_freq_factor: number("rope_scaling.high_freq_factor", rope.high_freq_factor)?,
                original_max_position_embeddings: trained_tokens
                    .unwrap_or(self.max_position_embeddings),
            },
            _ => {
                return Err(ConfigError::Unsupported {
                    key: "rope_scaling.rope_type",
                    value: format!("`{kind}`"),
                    remedy: "only `default`, `linear`, `dynamic`, `yarn` and `llama3` are computed \
                             here",
                });
            }
        }))
    }
}

impl From<RopeScaling> for RopeJson {
    /// The kind is `type` before transformers 4.43, which wants that key and `factor` alone; `rope_type`
    /// since then, when YaRN, which others had written as `type`, and Llama 3.1 came.
    fn from(scaling: RopeScaling) -> Self {
        let kind = |kind: &str| Some(kind.to_owned());
        match scaling {
            RopeScaling::Linear { factor } => {
                Self { old_type: kind("linear"), factor: Some(factor), ..Self::default() }
            }
            RopeScaling::Dynamic { factor, original_max_position_embeddings } => Self {
                old_type: kind("dynamic"),
                factor: Some(factor),
                original_max_position_embeddings,
                ..Self::default()
            },
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings,
                attention_factor,
                beta_fast,
                beta_slow,
                mscale,
                mscale_all_dim,
                truncate,
            } => Self {
                old_type: kind("yarn"),
                rope_type: kind("yarn"),
                factor: Some(factor),
                original_max_position_embeddings,
                attention_factor,
                beta_fast: Some(beta_fast),
                beta_slow: Some(beta_slow),
                mscale,
                mscale_all_dim,
                truncate: (!truncate).then_some(false),
                ..Self::default()
            },
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => Self {
                rope_type: kind("llama3"),
                factor: Some(factor),
                low_freq_factor: Some(low_freq_factor),
                high_freq_factor: Some(high_freq_factor),
                original_max_position_embeddings: Some(original_max_position_embeddings),
                ..Self::default()
            },
        }
    }
}
