//! What is refused, each by the name of its field, and how far a model may see.

use super::RopeScaling;
use crate::config::ModelConfig;

const YARN: RopeScaling = RopeScaling::Yarn {
    factor: 4.0,
    original_max_position_embeddings: Some(512),
    attention_factor: None,
    beta_fast: 32.0,
    beta_slow: 1.0,
    mscale: None,
    mscale_all_dim: None,
    truncate: true,
};

const LLAMA3: RopeScaling = RopeScaling::Llama3 {
    factor: 8.0,
    low_freq_factor: 1.0,
    high_freq_factor: 4.0,
    original_max_position_embeddings: 512,
};

const DYNAMIC: RopeScaling =
    RopeScaling::Dynamic { factor: 2.5, original_max_position_embeddings: None };

fn with(scaling: RopeScaling) -> ModelConfig {
    ModelConfig { rope_scaling: Some(scaling), ..ModelConfig::tinyllama_1_1b() }
}

/// The message about a file whose `rope_scaling` is `json`.
fn message(json: &str) -> String {
    let mut file: serde_json::Value =
        serde_json::from_str(&ModelConfig::tinyllama_1_1b().to_json()).unwrap();
    file["rope_scaling"] = serde_json::from_str(json).unwrap();
    ModelConfig::from_json(&file.to_string()).expect_err("a mistake").to_string()
}

/// The message about `base` with some values changed.
fn changed(base: RopeScaling, change: &str) -> String {
    let text = with(base).to_json();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut scaling = file["rope_scaling"].clone();
    let change: serde_json::Value = serde_json::from_str(change).unwrap();
    for (key, value) in change.as_object().unwrap() {
        scaling[key] = value.clone();
    }
    message(&scaling.to_string())
}

#[test]
fn fields_that_do_not_fit_are_refused_by_name() {
    let length = "between 1 and 16777216";
    for (base, change, field, requirement) in [
        (DYNAMIC, r#"{"factor": 0.5}"#, "factor` is 0.5", "finite and at least 1"),
        (
            DYNAMIC,
            r#"{"original_max_position_embeddings": 0}"#,
            "original_max_position_embeddings` is 0",
            length,
        ),
        (YARN, r#"{"factor": 0.99}"#, "factor` is 0.99", "finite and at least 1"),
        (
            YARN,
            r#"{"original_max_position_embeddings": 0}"#,
            "original_max_position_embeddings` is 0",
            length,
        ),
        (YARN, r#"{"attention_factor": 0}"#, "attention_factor` is 0", "finite and above 0"),
        (YARN, r#"{"beta_slow": -1}"#, "beta_slow` is -1", "finite and above 0"),
        (
            YARN,
            r#"{"beta_fast": 1, "beta_slow": 2}"#,
            "beta_fast` is 1",
            "finite and at least beta_slow = 2",
        ),
        (YARN, r#"{"mscale": -1}"#, "mscale` is -1", "finite and not negative"),
        (YARN, r#"{"mscale_all_dim": -0.1}"#, "mscale_all_dim` is -0.1", "finite and not negative"),
        (LLAMA3, r#"{"factor": 0}"#, "factor` is 0", "finite and at least 1"),
        (LLAMA3, r#"{"low_freq_factor": 0}"#, "low_freq_factor` is 0", "finite and above 0"),
        (
            LLAMA3,
            r#"{"high_freq_factor": 1}"#,
            "high_freq_factor` is 1",
            "finite and above low_freq_factor = 1",
        ),
        (
            LLAMA3,
            r#"{"original_max_position_embeddings": 16777217}"#,
            "original_max_position_embeddings` is 16777217",
            length,
        ),
    ] {
        let expected = format!("`rope_scaling.{field}, but must be {requirement}");
        assert_eq!(changed(base, change), expected);
    }
}

/// JSON has no such numbers, but the public fields have.
#[test]
fn numbers_that_are_none_are_refused() {
    for scaling in [
        RopeScaling::Linear { factor: f64::NAN },
        RopeScaling::Dynamic { factor: f64::INFINITY, original_max_position_embeddings: None },
        RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: f64::NAN,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 512,
        },
        RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: f64::INFINITY,
            original_max_position_embeddings: 512,
        },
    ] {
        with(scaling).validate().expect_err("not finite");
    }
    for scaling in [DYNAMIC, YARN, LLAMA3] {
        with(scaling).validate().expect("valid");
    }
}

#[test]
fn fields_that_are_absent_are_refused_by_name() {
    let absent = |field: &str, kind: &str| {
        let absent = "is absent, but must be a number where rope_scaling is";
        format!("`rope_scaling.{field}` {absent} {kind}")
    };
    for kind in ["linear", "dynamic", "yarn", "llama3"] {
        let json = format!(r#"{{"rope_type": "{kind}"}}"#);
        assert_eq!(message(&json), absent("factor", kind));
    }
    assert_eq!(
        changed(LLAMA3, r#"{"low_freq_factor": null}"#),
        absent("low_freq_factor", "llama3")
    );
    assert_eq!(
        changed(LLAMA3, r#"{"high_freq_factor": null}"#),
        absent("high_freq_factor", "llama3")
    );
}

#[test]
fn unknown_kinds_are_refused() {
    for kind in ["longrope", "su", "mrope", "Linear"] {
        let factors = r#""short_factor": [1.0], "long_factor": [2.0], "factor": 2.0"#;
        assert_eq!(
            message(&format!(r#"{{"type": "{kind}", {factors}}}"#)),
            format!(
                "`rope_scaling.rope_type` is `{kind}`, which is not supported: only `default`, \
                 `linear`, `dynamic`, `yarn` and `llama3` are computed here"
            )
        );
    }
}

/// The exponent of dynamic NTK is H / (H − 2).
#[test]
fn dynamic_scaling_wants_two_pairs() {
    let config = ModelConfig { head_dim: Some(2), ..with(DYNAMIC) };
    let message = config.validate().expect_err("no exponent").to_string();
    assert_eq!(message, "`head_dim` is 2, but must be at least 4 where rope_scaling is dynamic");
    ModelConfig { head_dim: Some(4), ..with(DYNAMIC) }.validate().expect("two pairs");
}

#[test]
fn dynamic_scaling_alone_sees_farther() {
    for scaling in [RopeScaling::Linear { factor: 4.0 }, YARN, LLAMA3] {
        assert_eq!(with(scaling).context_tokens(), 2048);
    }
    assert_eq!(ModelConfig::tinyllama_1_1b().context_tokens(), 2048);
    assert_eq!(with(DYNAMIC).context_tokens(), 5120);
}
