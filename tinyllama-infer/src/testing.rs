//! Models for this crate's tests: the committed fixtures, and a model of letters.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use safetensors::SafeTensors;
use serde_json::json;
use tinyllama_model::{ModelConfig, TinyLlama, Tokenizer, weights};

use crate::loaded::LoadedModel;

/// A committed model with what transformers makes of it (tests/make_fixtures.py).
pub(crate) struct Fixture {
    pub(crate) model: TinyLlama,
    pub(crate) token_ids: Vec<u32>,
    pub(crate) greedy_ids: Vec<u32>,
}

pub(crate) fn fixture_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
}

pub(crate) fn fixtures() -> Vec<Fixture> {
    ["tiny_llama", "tiny_llama_tied", "tiny_llama_scaled"].map(fixture).into()
}

pub(crate) fn fixture(name: &str) -> Fixture {
    let folder = fixture_folder(name);
    let bytes = fs::read(folder.join("reference.safetensors")).unwrap();
    let reference = SafeTensors::deserialize(&bytes).unwrap();
    let ids = |name: &str| {
        let words = reference.tensor(name).unwrap().data().chunks_exact(8);
        words.map(|word| i64::from_le_bytes(word.try_into().unwrap()) as u32).collect()
    };
    Fixture {
        model: weights::load(&folder, &Device::flex()).unwrap(),
        token_ids: ids("token_ids"),
        greedy_ids: ids("greedy_ids"),
    }
}

/// A random model that reads and writes single characters of ASCII, 128 tokens of context.
pub(crate) fn letters_model() -> LoadedModel {
    let config = ModelConfig {
        vocab_size: 99,
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        max_position_embeddings: 128,
        ..ModelConfig::demo()
    };
    LoadedModel {
        model: Box::new(TinyLlama::init(&config, &Device::flex(), 1)),
        tokenizer: Tokenizer::from_json(letters_json().as_bytes()).unwrap(),
        tensors: None,
        chat_template: None,
        stop_token_ids: vec![1],
    }
}

/// `tokenizer.json` of [`letters_model`]: `<s>` 0, `</s>` 1, `<unk>` 2, newline 3, then ASCII.
pub(crate) fn letters_json() -> String {
    let special = ["<s>", "</s>", "<unk>"];
    let letters = std::iter::once('\n').chain(' '..='~').map(String::from);
    let vocab: HashMap<String, usize> =
        special.map(String::from).into_iter().chain(letters).zip(0..).collect();
    let added = special.iter().zip(0..).map(|(content, id)| {
        json!({"id": id, "content": content, "special": true, "single_word": false,
               "lstrip": false, "rstrip": false, "normalized": false})
    });
    json!({
        "version": "1.0",
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[\\s\\S]"},
                          "behavior": "Isolated", "invert": false},
        "post_processor": null,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    })
    .to_string()
}

#[track_caller]
pub(crate) fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(error <= tolerance, "[{index}]: {found} is not {expected}");
    }
}
