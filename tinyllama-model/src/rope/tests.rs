//! The frequencies that transformers computes, and the tables made of them.

use std::fs;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde_json::Value;

use super::Rope;
use super::frequencies::{Frequencies, frequencies};
use crate::config::{ModelConfig, RopeScaling};

/// Both sides compute in f64. Logarithms and powers of two libraries differ in their last bits, and the
/// powers of a base of up to 5e5 multiply that by up to 13.
const F64_ROUNDING: f64 = 1e-13;

/// tests/fixtures/rope_scaling.json; tests/rope_vectors.py says what it holds.
fn cases() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/rope_scaling.json");
    let mut file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let cases = file["cases"].as_array_mut().unwrap();
    assert!(cases.len() >= 12);
    std::mem::take(cases)
}

/// The configuration of a case, which says nothing about other sizes.
fn read(case: &Value) -> ModelConfig {
    let mut config = case["config"].clone();
    for (key, value) in [
        ("vocab_size", 64),
        ("hidden_size", 64),
        ("intermediate_size", 24),
        ("num_hidden_layers", 1),
        ("num_attention_heads", 1),
        ("rms_norm_eps", 1),
    ] {
        config[key] = Value::from(value);
    }
    ModelConfig::from_json(&config.to_string()).unwrap()
}

#[track_caller]
fn assert_close(found: f64, expected: f64, what: &str) {
    assert!((found / expected - 1.0).abs() <= F64_ROUNDING, "{what}: {found}, not {expected}");
}

#[test]
fn frequencies_are_those_of_transformers() {
    for case in cases() {
        let (config, name) = (read(&case), &case["name"]);
        for table in case["tables"].as_array().unwrap() {
            let seq_tokens = table["seq_tokens"].as_u64().unwrap() as usize;
            let found = frequencies(&config, seq_tokens);
            let expected = table["frequencies"].as_array().unwrap();
            assert_eq!(found.per_token.len(), expected.len(), "{name}");
            for (pair, (found, expected)) in found.per_token.iter().zip(expected).enumerate() {
                let what = format!("{name}, {seq_tokens} tokens, pair {pair}");
                assert_close(*found, expected.as_f64().unwrap(), &what);
            }
            let expected = table["attention_factor"].as_f64().unwrap();
            assert_close(found.attention_factor, expected, &format!("{name}, attention factor"));
        }
    }
}

/// transformers computes the same from what is written (tests/rope_vectors.py).
#[test]
fn every_kind_is_written_as_transformers_reads_it() {
    for case in cases() {
        let config = read(&case);
        let text = config.to_json();
        let written: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written["rope_scaling"], case["written"], "{}", case["name"]);
        assert_eq!(ModelConfig::from_json(&text).unwrap(), config, "{}", case["name"]);
    }
}

fn values(table: Tensor<2>) -> Vec<f32> {
    table.into_data().iter::<f32>().collect()
}

/// The positions of a pass are the last ones of its text, and the attention factor is in both tables.
#[test]
fn tables_hold_scaled_cosines_and_sines() {
    let config = ModelConfig {
        head_dim: Some(6),
        rope_scaling: Some(RopeScaling::Yarn {
            factor: 4.0,
            original_max_position_embeddings: Some(64),
            attention_factor: Some(0.5),
            beta_fast: 32.0,
            beta_slow: 1.0,
            mscale: None,
            mscale_all_dim: None,
            truncate: true,
        }),
        ..ModelConfig::demo()
    };
    let rope = Rope::new(&config, 7..9, &Device::flex());
    let Frequencies { per_token, .. } = frequencies(&config, 9);
    let angles = [7.0, 8.0].iter().flat_map(|p| per_token.iter().map(move |w| p * w));
    let (cos, sin): (Vec<f32>, Vec<f32>) =
        angles.map(|angle| ((0.5 * angle.cos()) as f32, (0.5 * angle.sin()) as f32)).unzip();
    assert_eq!(rope.cos.dims(), [2, 3]);
    assert_eq!((values(rope.cos), values(rope.sin)), (cos, sin));
}

#[test]
fn dynamic_tables_follow_the_end_of_the_text() {
    let scaling = RopeScaling::Dynamic { factor: 3.0, original_max_position_embeddings: None };
    let config = ModelConfig { rope_scaling: Some(scaling), ..ModelConfig::demo() };
    let trained = config.max_position_embeddings;
    let plain = ModelConfig { rope_scaling: None, ..config.clone() };
    let sines = |config, positions| values(Rope::new(config, positions, &Device::flex()).sin);
    let row = config.head_dim() / 2;
    let within = sines(&config, 0..trained);
    assert_eq!(within, sines(&plain, 0..trained));
    // One more token turns all that comes with it in other ways, and the last token turns as it would
    // alone, after a cache.
    let beyond = sines(&config, 0..trained + 1);
    assert_ne!(beyond[row..within.len()], within[row..]);
    assert_eq!(beyond[within.len()..], sines(&config, trained..trained + 1));
}
