//! Presets, files and mistakes.

use super::*;

fn overridden(text: &str) -> Result<TrainConfig, TrainError> {
    TrainConfig::demo().with_toml(text, Path::new("run.toml"))
}

#[test]
fn presets_are_valid_and_carry_their_names() {
    for name in TrainConfig::PRESETS {
        let config = TrainConfig::preset(name).unwrap();
        config.validate().unwrap();
        assert_eq!(config.preset, name);
    }
    let original = TrainConfig::tinyllama_1_1b();
    let step_tokens = (original.batch_size * original.sequence_tokens) as u64;
    assert_eq!(original.max_steps * step_tokens, 3_000_001_101_824);
    let error = TrainConfig::preset("llama").unwrap_err().to_string();
    assert!(error.contains("`llama`") && error.contains("tinyllama-120m"), "{error}");
}

#[test]
fn a_file_replaces_what_it_names() {
    let config = overridden("max_steps = 7\n[model]\nhidden_size = 96\nhead_dim = 16").unwrap();
    assert_eq!((config.max_steps, config.model.hidden_size), (7, 96));
    assert_eq!(config.model.head_dim, Some(16));
    assert_eq!(config.peak_lr, TrainConfig::demo().peak_lr);
    assert_eq!(overridden("").unwrap(), TrainConfig::demo());
}

#[test]
fn mistakes_in_a_file_are_named() {
    for (text, expected) in [
        ("max_stepz = 7", "`max_stepz` is unknown"),
        ("[model]\nhiden_size = 7", "`model.hiden_size` is unknown"),
        ("max_steps = \"many\"", "max_steps"),
        ("max_steps = -1", "max_steps"),
        ("max_steps 7", "line 1"),
    ] {
        let error = overridden(text).unwrap_err().to_string();
        assert!(error.contains("run.toml") && error.contains(expected), "{error}");
    }
}

#[test]
fn one_message_per_mistake() {
    for (text, expected) in [
        ("max_steps = 0", "max_steps is 0"),
        ("warmup_steps = 900000", "warmup_steps is 900000"),
        ("micro_batch_size = 3", "micro_batch_size is 3"),
        ("sequence_tokens = 100000", "sequence_tokens is 100000"),
        (
            "batch_size = 1048577\nmicro_batch_size = 1",
            "batch_size is 1048577, but must be at most",
        ),
        ("peak_lr = nan", "peak_lr is NaN"),
        ("min_lr = 1.0", "min_lr is 1"),
        ("beta2 = 1.0", "beta2 is 1"),
        ("adam_eps = 0.0", "adam_eps is 0"),
        ("adam_eps = 1e-50", "above 0 in f32"),
        ("[model]\nnum_key_value_heads = 4", "num_key_value_heads"),
    ] {
        let error = overridden(text).unwrap().validate().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn differences_are_found_where_they_matter() {
    let demo = TrainConfig::demo();
    assert_eq!(demo.changes(&overridden("save_every_steps = 3").unwrap()), []);
    let changes = demo.changes(&overridden("seed = 3\n[model]\nrope_theta = 5000.0").unwrap());
    let fields: Vec<_> = changes.iter().map(|change| (&*change.field, &*change.now)).collect();
    assert_eq!(fields, [("seed", "3"), ("model.rope_theta", "5000.0")]);
    assert!(changes.iter().all(|change| !change.steers()));
    let model = ModelConfig { rope_theta: 5000.0, ..ModelConfig::demo() };
    assert_eq!(demo.model_difference(&model).unwrap().field, "model.rope_theta");
    let other_dtype = ModelConfig { torch_dtype: "float16".to_owned(), ..ModelConfig::demo() };
    assert_eq!(demo.model_difference(&other_dtype), None);
}
