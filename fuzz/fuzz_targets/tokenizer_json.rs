//! tokenizer.json of Hugging Face, and texts through the tokenizer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tinyllama_fuzz::{let_panics_be_caught, use_tokenizer};
use tinyllama_model::Tokenizer;

fuzz_target!(init: let_panics_be_caught(), |data: &[u8]| {
    if let Ok(tokenizer) = Tokenizer::from_json(data) {
        use_tokenizer(&tokenizer);
    }
});
