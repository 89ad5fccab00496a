//! The layout of `config.json`, in the spellings that transformers 4 and 5 write.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
#[derive(Serialize, Deserialize)]
struct RopeJson {
    // Written as `type` because every version reads it, and versions before 4.43 nothing else.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    old_type: Option<String>,
    #[serde(default, skip_serializing)]
    rope_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    factor: Option<f64>,
    #[serde(default, skip_serializing)]
    rope_theta: Option<f64>,
}

impl TryFrom<ConfigJson> for ModelConfig {
    type Error = ConfigError;

    fn try_from(json: ConfigJson) -> Result<Self, ConfigError> {
        json.refuse_unsupported()?;
        // transformers 5 gives `rope_parameters` precedence over the old keys.
        let rope = json.rope_parameters.as_ref().or(json.rope_scaling.as_ref());
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
            rope_scaling: rope.map(RopeJson::scaling).transpose()?.flatten(),
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
            rope_scaling: config.rope_scaling.map(|RopeScaling::Linear { factor }| RopeJson {
                old_type: Some("linear".to_owned()),
                rope_type: None,
                factor: Some(factor),
                rope_theta: None,
            }),
            rope_parameters: None,
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
}

impl RopeJson {
    fn scaling(&self) -> Result<Option<RopeScaling>, ConfigError> {
        let kind = self.rope_type.as_deref().or(self.old_type.as_deref()).unwrap_or("default");
        match (kind, self.factor) {
            ("default", _) => Ok(None),
            ("linear", Some(factor)) => Ok(Some(RopeScaling::Linear { factor })),
            ("linear", None) => Err(ConfigError::Invalid {
                key: "rope_scaling.factor",
                value: "absent".to_owned(),
                requirement: "a number where rope_scaling is linear".to_owned(),
            }),
            _ => Err(ConfigError::Unsupported {
                key: "rope_scaling.rope_type",
                value: format!("`{kind}`"),
                remedy: "only `default` and `linear` are computed here",
            }),
        }
    }
}
