//! A token file of a data set, and a second one with the same header; all tokens are read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tinyllama_fuzz::with_files;
use tinyllama_train::{Split, TokenShards};

fuzz_target!(|data: &[u8]| {
    let files = [("train_00000.bin", data), ("train_00001.bin", data)];
    with_files(&files, |folder| {
        let Ok(shards) = TokenShards::open(folder, Split::Train) else { return };
        let tokens = shards.size().num_tokens;
        assert!(tokens <= 2 * data.len() as u64, "{tokens} tokens in {} bytes", data.len());
        let mut read = Vec::new();
        let _ = shards.read(0, tokens as usize, &mut read);
    });
});
