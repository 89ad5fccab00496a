//! A GGUF file: header, metadata, vocabulary, tensors, and the tokenizer and template made of them.
#![no_main]

use std::path::Path;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tinyllama_fuzz::{let_panics_be_caught, use_tokenizer};
use tinyllama_model::gguf::Gguf;
use tinyllama_model::{ChatTemplate, Tokenizer};

fuzz_target!(init: let_panics_be_caught(), |data: &[u8]| {
    let Ok(file) = Gguf::from_bytes(Path::new("fuzz.gguf"), Bytes::copy_from_slice(data)) else {
        return;
    };
    let _ = file.config();
    let _ = file.eos_token_ids();
    let _ = file.rope_frequency_divisors();
    if let Ok(vocabulary) = file.vocabulary()
        && let Ok(tokenizer) = Tokenizer::from_vocabulary(&vocabulary)
    {
        use_tokenizer(&tokenizer);
    }
    if let Some(source) = file.chat_template() {
        let _ = ChatTemplate::from_source(source);
    }
});
