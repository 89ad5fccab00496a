//! Published counts, one error per mistake, and the spellings of `config.json` seen in the wild.

use super::{ModelConfig, RopeScaling};
use crate::error::ConfigError;

/// `config.json` of TinyLlama/TinyLlama-1.1B-Chat-v1.0.
const CHAT_V1_0: &str = r#"{
  "architectures": ["LlamaForCausalLM"],
  "attention_bias": false,
  "bos_token_id": 1,
  "eos_token_id": 2,
  "hidden_act": "silu",
  "hidden_size": 2048,
  "initializer_range": 0.02,
  "intermediate_size": 5632,
  "max_position_embeddings": 2048,
  "model_type": "llama",
  "num_attention_heads": 32,
  "num_hidden_layers": 22,
  "num_key_value_heads": 4,
  "pretraining_tp": 1,
  "rms_norm_eps": 1e-05,
  "rope_scaling": null,
  "rope_theta": 10000.0,
  "tie_word_embeddings": false,
  "torch_dtype": "bfloat16",
  "transformers_version": "4.35.0",
  "use_cache": true,
  "vocab_size": 32000
}"#;

/// The least that a `config.json` says, with `extra` in front.
fn minimal(extra: &str) -> String {
    format!(
        r#"{{{extra} "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 32,
        "rms_norm_eps": 1e-6}}"#
    )
}

/// Checks the message of the error that `change` to a valid configuration causes.
#[track_caller]
fn refused(change: impl FnOnce(&mut ModelConfig), message: &str) {
    let mut config = ModelConfig::tinyllama_1_1b();
    change(&mut config);
    let error = config.validate().expect_err("the change is a mistake");
    assert!(matches!(error, ConfigError::Invalid { .. }));
    assert_eq!(error.to_string(), message);
}

/// Checks the message of the error that reading a file with `extra` causes.
#[track_caller]
fn unreadable(extra: &str, message: &str) {
    let error = ModelConfig::from_json(&minimal(extra)).expect_err("the file is not supported");
    assert_eq!(error.to_string(), message);
}

#[test]
fn the_dtype_has_an_old_and_a_new_name() {
    let dtype = |extra: &str| ModelConfig::from_json(&minimal(extra)).unwrap().torch_dtype;
    assert_eq!(dtype(""), "float32");
    assert_eq!(dtype(r#""torch_dtype": "float16","#), "float16");
    assert_eq!(dtype(r#""dtype": "bfloat16","#), "bfloat16");
    assert_eq!(dtype(r#""torch_dtype": "bfloat16", "dtype": "bfloat16","#), "bfloat16");
}

#[test]
fn presets_have_the_published_parameters() {
    assert_eq!(ModelConfig::tinyllama_1_1b().num_parameters(), 1_100_048_384);
    assert_eq!(ModelConfig::code_tinyllama_1b().num_parameters(), 1_100_048_384);
    assert_eq!(ModelConfig::tinyllama_120m().num_parameters(), 121_129_728);
}

#[test]
fn presets_are_valid() {
    let code = ModelConfig::code_tinyllama_1b();
    let others =
        [ModelConfig::demo(), ModelConfig::tinyllama_120m(), ModelConfig::tinyllama_1_1b()];
    for config in others.iter().chain([&code]) {
        config.validate().expect("presets are valid");
    }
    assert_eq!(code.max_position_embeddings, 8192);
    assert_eq!(code.rope_scaling, Some(RopeScaling::Linear { factor: 4.0 }));
}

#[test]
fn parameters_are_the_sum_of_the_tensors() {
    // SmolLM2-135M, whose checkpoint holds 134,515,008 numbers: 3:1 grouping, tied output head.
    let config = ModelConfig {
        vocab_size: 49_152,
        hidden_size: 576,
        intermediate_size: 1536,
        num_hidden_layers: 30,
        num_attention_heads: 9,
        num_key_value_heads: 3,
        tie_word_embeddings: true,
        ..ModelConfig::tinyllama_1_1b()
    };
    assert_eq!(config.num_parameters(), 134_515_008);
    // Tensor by tensor, with a head size that is not hidden_size / num_attention_heads.
    let config = ModelConfig { head_dim: Some(80), tie_word_embeddings: false, ..config };
    let (d, f, v, q, kv) = (576, 1536, 49_152, 9 * 80, 3 * 80);
    let layer = q * d + 2 * kv * d + d * q + 3 * f * d + 2 * d;
    assert_eq!(config.num_parameters(), 30 * layer + d + 2 * v * d);
    // Every weight but the input embedding and the norms is a matrix product.
    let norms = 61 * d;
    assert_eq!(config.num_matmul_parameters(), config.num_parameters() - v * d - norms);
}

#[test]
fn training_flops_of_tinyllama() {
    let config = ModelConfig::tinyllama_1_1b();
    let gflop = |flops: u64| flops as f64 / 1e9;
    // Half of the last printed digit.
    assert!((gflop(config.flops_per_token_palm(2048)) - 7.314).abs() < 0.0005);
    assert!((gflop(config.flops_per_token_causal(2048)) - 6.760).abs() < 0.0005);
    // Without attention both conventions leave 6 per matmul parameter.
    assert_eq!(config.flops_per_token_palm(0), 6 * config.num_matmul_parameters() as u64);
    assert_eq!(config.flops_per_token_causal(0), config.flops_per_token_palm(0));
}

#[test]
fn memory_of_tinyllama() {
    let config = ModelConfig::tinyllama_1_1b();
    let bytes = config.training_bytes(2, 4, 4);
    assert_eq!(bytes.weights_bytes, 2_200_096_768);
    assert_eq!(bytes.gradients_bytes, 4_400_193_536);
    assert_eq!(bytes.moments_bytes, 8_800_387_072);
    assert_eq!(bytes.total_bytes(), 14 * 1_100_048_384);
    // 22 layers, keys and values, 4 heads of 64 numbers in bf16.
    assert_eq!(config.kv_cache_bytes_per_token(2), 22_528);
}

#[test]
fn reads_and_writes_the_chat_model() {
    let config = ModelConfig::from_json(CHAT_V1_0).expect("a real file");
    let expected =
        ModelConfig { torch_dtype: "bfloat16".to_owned(), ..ModelConfig::tinyllama_1_1b() };
    assert_eq!(config, expected);

    // Every key of the original that this crate knows comes back with the same value.
    let original: serde_json::Value = serde_json::from_str(CHAT_V1_0).expect("JSON");
    let written: serde_json::Value = serde_json::from_str(&config.to_json()).expect("JSON");
    for (key, value) in original.as_object().expect("an object") {
        if !["pretraining_tp", "transformers_version", "use_cache"].contains(&key.as_str()) {
            assert_eq!(written.get(key), Some(value), "{key}");
        }
    }
    assert_eq!(ModelConfig::from_json(&config.to_json()).expect("our own file"), config);
}

#[test]
fn round_trips_what_the_presets_lack() {
    let config = ModelConfig {
        head_dim: Some(80),
        other_eos_token_ids: vec![7, 9],
        pad_token_id: Some(0),
        rms_norm_eps: 1.234_567_890_123e-6,
        ..ModelConfig::code_tinyllama_1b()
    };
    let read = ModelConfig::from_json(&config.to_json()).expect("our own file");
    assert_eq!(read, config);
    assert_eq!(read.eos_token_ids(), [2, 7, 9]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("config.json");
    config.save(&path).expect("a writable folder");
    assert_eq!(ModelConfig::from_file(&path).expect("our own file"), config);
}

#[test]
fn absent_keys_have_the_defaults_of_transformers() {
    let config = ModelConfig::from_json(&minimal("")).expect("a valid file");
    assert_eq!(config.num_key_value_heads, 4);
    assert_eq!(config.head_dim(), 4);
    assert_eq!(config.rope_theta, 10_000.0);
    assert_eq!(config.rope_scaling, None);
    assert!(!config.tie_word_embeddings);
    assert_eq!(config.eos_token_ids(), [] as [u32; 0]);
}

#[test]
fn reads_every_spelling_of_rope_scaling() {
    let linear = Some(RopeScaling::Linear { factor: 2.5 });
    for (extra, theta, scaling) in [
        (r#""rope_scaling": {"type": "linear", "factor": 2.5},"#, 1e4, linear),
        (
            r#""rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 2.5},"#,
            5e5,
            linear,
        ),
        (
            r#""rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2.5},"#,
            5e5,
            linear,
        ),
        (r#""rope_parameters": {"rope_theta": 5e5, "rope_type": "default"},"#, 5e5, None),
        (r#""rope_scaling": {"rope_type": "default"},"#, 1e4, None),
    ] {
        let config = ModelConfig::from_json(&minimal(extra)).expect("a valid file");
        assert_eq!((config.rope_theta, config.rope_scaling), (theta, scaling), "{extra}");
    }
}

#[test]
fn refuses_what_the_model_does_not_compute() {
    unreadable(
        r#""rope_scaling": {"type": "linear"},"#,
        "`rope_scaling.factor` is absent, but must be a number where rope_scaling is linear",
    );
    unreadable(
        r#""hidden_act": "gelu","#,
        "`hidden_act` is gelu, which is not supported: the MLP is SwiGLU, so it must be `silu`",
    );
    unreadable(
        r#""attention_bias": true,"#,
        "`attention_bias` is true, which is not supported: projections have no bias, so it must be \
         false",
    );
    unreadable(
        r#""mlp_bias": true,"#,
        "`mlp_bias` is true, which is not supported: projections have no bias, so it must be false",
    );
    let error = ModelConfig::from_json(&minimal(r#""eos_token_id": "</s>","#)).expect_err("text");
    assert!(error.to_string().contains("`eos_token_id` must be a token id"), "{error}");
    unreadable(
        r#""model_type": "qwen2","#,
        "`model_type` is qwen2, which is not supported: only `llama` is computed here",
    );
    unreadable(
        r#""quantization_config": {"bits": 4},"#,
        "`quantization_config` is {\"bits\":4}, which is not supported: weights must be stored as \
         f32, f16 or bf16; use the folder of the original model",
    );
}

#[test]
fn refuses_sizes_that_do_not_fit() {
    let range = "but must be between 1 and 16777216";
    refused(|config| config.vocab_size = 0, &format!("`vocab_size` is 0, {range}"));
    refused(|config| config.hidden_size = 0, &format!("`hidden_size` is 0, {range}"));
    refused(|config| config.intermediate_size = 0, &format!("`intermediate_size` is 0, {range}"));
    refused(|config| config.num_hidden_layers = 0, &format!("`num_hidden_layers` is 0, {range}"));
    refused(
        |config| config.num_attention_heads = 0,
        &format!("`num_attention_heads` is 0, {range}"),
    );
    refused(
        |config| config.num_key_value_heads = 0,
        &format!("`num_key_value_heads` is 0, {range}"),
    );
    refused(|config| config.head_dim = Some(0), &format!("`head_dim` is 0, {range}"));
    refused(
        |config| config.max_position_embeddings = usize::MAX,
        &format!("`max_position_embeddings` is {}, {range}", usize::MAX),
    );
    refused(
        |config| config.num_key_value_heads = 5,
        "`num_key_value_heads` is 5, but must be a divisor of num_attention_heads = 32",
    );
    refused(
        |config| config.hidden_size = 2050,
        "`hidden_size` is 2050, but must be a multiple of num_attention_heads = 32 where head_dim \
         is absent",
    );
    refused(
        |config| config.head_dim = Some(63),
        "`head_dim` is 63, but must be even, since rotary embeddings turn pairs",
    );
    refused(
        |config| config.num_hidden_layers = 1 << 24,
        "`num_hidden_layers` is 16777216, but must be small enough for at most 1099511627776 \
         parameters with the other sizes",
    );
}

#[test]
fn refuses_constants_that_do_not_fit() {
    refused(
        |config| config.rms_norm_eps = 0.0,
        "`rms_norm_eps` is 0, but must be finite and above 0",
    );
    refused(
        |config| config.rms_norm_eps = f64::NAN,
        "`rms_norm_eps` is NaN, but must be finite and above 0",
    );
    refused(|config| config.rope_theta = 1.0, "`rope_theta` is 1, but must be finite and above 1");
    refused(
        |config| config.rope_scaling = Some(RopeScaling::Linear { factor: 0.5 }),
        "`rope_scaling.factor` is 0.5, but must be finite and at least 1",
    );
    refused(
        |config| config.initializer_range = -0.02,
        "`initializer_range` is -0.02, but must be finite and above 0",
    );
    for (change, key) in [
        ((|config| config.bos_token_id = Some(32_000)) as fn(&mut ModelConfig), "bos_token_id"),
        (|config| config.eos_token_id = Some(32_000), "eos_token_id"),
        (|config| config.other_eos_token_ids = vec![3, 32_000], "eos_token_id"),
        (|config| config.pad_token_id = Some(32_000), "pad_token_id"),
    ] {
        refused(change, &format!("`{key}` is 32000, but must be smaller than vocab_size = 32000"));
    }
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("config.json");
    let absent = ModelConfig::from_file(&path).expect_err("no file yet").to_string();
    assert!(absent.starts_with(&path.display().to_string()), "{absent}");
    std::fs::write(&path, r#"{"vocab_size": "many"}"#).expect("a writable folder");
    let broken = ModelConfig::from_file(&path).expect_err("not a number").to_string();
    assert!(broken.starts_with(&path.display().to_string()), "{broken}");
    assert!(broken.contains("invalid type: string \"many\""), "{broken}");
}

/// Counts do not panic or wrap before `validate` has been asked.
#[test]
fn counts_saturate() {
    let config = ModelConfig {
        hidden_size: usize::MAX,
        num_attention_heads: 0,
        ..ModelConfig::tinyllama_1_1b()
    };
    assert_eq!(config.head_dim(), 0);
    assert_eq!(config.num_parameters(), usize::MAX);
    assert_eq!(config.flops_per_token_palm(2048), u64::MAX);
    assert_eq!(config.training_bytes(4, 4, 4).total_bytes(), usize::MAX);
}
