//! tokenizer.json of Hugging Face, and texts through the tokenizer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tinyllama_fuzz::use_tokenizer;
use tinyllama_model::Tokenizer;

fuzz_target!(|data: &[u8]| {
    if let Ok(tokenizer) = Tokenizer::from_json(data) {
        use_tokenizer(&tokenizer);
    }
});
