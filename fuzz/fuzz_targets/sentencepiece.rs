//! tokenizer.model of SentencePiece, a protocol buffer, and texts through the tokenizer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tinyllama_fuzz::{let_panics_be_caught, use_tokenizer};
use tinyllama_model::{Tokenizer, Vocabulary};

fuzz_target!(init: let_panics_be_caught(), |data: &[u8]| {
    if let Ok(vocabulary) = Vocabulary::from_sentencepiece(data)
        && let Ok(tokenizer) = Tokenizer::from_vocabulary(&vocabulary)
    {
        use_tokenizer(&tokenizer);
    }
});
