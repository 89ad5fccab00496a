//! A model with random weights and a tokenizer of its own, for tests of files and programs.

use std::path::Path;

use burn::tensor::Device;
use tinyllama_model::weights::Tensors;
use tinyllama_model::{GenerationConfig, ModelConfig, Pretrained, TinyLlama, Tokenizer};
use tinyllama_train::{MIN_VOCAB_SIZE, train_bpe};

/// Columns of each matrix: whole blocks of 32.
pub(crate) const WIDTH: usize = 64;

/// The same model at every call; `origin` is for messages.
pub(crate) fn random(origin: &Path) -> Pretrained {
    let texts = ["The cat sat on the mat, and the dog sat on the cat.".to_owned()];
    let tokenizer = train_bpe(&texts, MIN_VOCAB_SIZE + 4).expect("a valid size");
    let tokenizer = Tokenizer::from(tokenizer);
    let config = ModelConfig {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: WIDTH,
        intermediate_size: WIDTH,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        ..ModelConfig::demo()
    };
    let tensors = Tensors::from_model(&TinyLlama::init(&config, &Device::flex(), 1), origin);
    Pretrained {
        generation_config: GenerationConfig::from(&config),
        config,
        tokenizer: Some(tokenizer),
        chat_template: None,
        tensors,
    }
}
