//! What the fuzz targets share. A target reads bytes as a file of its kind and uses what it read; it fails
//! when that panics, takes seconds or gigabytes, or when a stated property does not hold.

use std::path::Path;
use std::sync::LazyLock;
use std::{fs, thread_local};

use tempfile::TempDir;
use tinyllama_model::{ModelConfig, Tokenizer};

/// Texts for whatever tokenizer comes out: ASCII, other scripts, spaces, special tokens by name.
const TEXTS: [&str; 4] = ["Hello world", "  Zoë\n\t日本 🦙 ", "<s>[INST]</s>", ""];

thread_local! {
    // In memory where the system offers that: a target writes a file for every input.
    static FOLDER: TempDir = match Path::new("/dev/shm") {
        memory if memory.is_dir() => tempfile::tempdir_in(memory),
        _ => tempfile::tempdir(),
    }
    .expect("a temporary folder can be made");
}

/// Calls `read` with a folder that holds the files, by name and contents.
pub fn with_files(files: &[(&str, &[u8])], read: impl FnOnce(&Path)) {
    FOLDER.with(|folder| {
        for (name, contents) in files {
            fs::write(folder.path().join(name), contents).expect("the folder can be written");
        }
        read(folder.path());
        for (name, _) in files {
            fs::remove_file(folder.path().join(name)).expect("it was written");
        }
    });
}

/// The sizes of the model whose weights are read.
pub static CONFIG: LazyLock<ModelConfig> = LazyLock::new(|| ModelConfig {
    vocab_size: 3,
    hidden_size: 2,
    intermediate_size: 1,
    num_hidden_layers: 1,
    num_attention_heads: 1,
    num_key_value_heads: 1,
    head_dim: None,
    ..ModelConfig::demo()
});

/// A tokenizer with two special tokens and some letters, for chat templates.
pub static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let json = br#"{
        "added_tokens": [
            {"id": 0, "content": "<s>", "special": true, "normalized": false, "lstrip": false,
             "rstrip": false, "single_word": false},
            {"id": 1, "content": "</s>", "special": true, "normalized": false, "lstrip": false,
             "rstrip": false, "single_word": false}
        ],
        "model": {
            "type": "BPE", "unk_token": "?", "merges": [],
            "vocab": {"<s>": 0, "</s>": 1, "?": 2, "a": 3, "e": 4, "r": 5, " ": 6, "\n": 7}
        }
    }"#;
    Tokenizer::from_json(json).expect("the vocabulary is complete")
});

/// Takes away libFuzzer's panic hook, which aborts at once: panics of the `tokenizers` crate become errors
/// (`tokenizer/guard.rs`). One that nobody catches still ends in an abort.
pub fn let_panics_be_caught() {
    drop(std::panic::take_hook());
}

/// Encodes and decodes with a tokenizer that was read.
pub fn use_tokenizer(tokenizer: &Tokenizer) {
    for text in TEXTS {
        let Ok(ids) = tokenizer.encode(text, true) else { continue };
        let _ = tokenizer.decode(&ids);
        let mut stream = tokenizer.decode_stream();
        for id in ids {
            let _ = stream.push(id);
        }
        let _ = stream.finish();
    }
    let _ = tokenizer.decode_with_special(&[0, 1, u32::MAX]);
    let _ = tokenizer.fingerprint();
    if let Ok(vocabulary) = tokenizer.to_vocabulary() {
        let _ = Tokenizer::from_vocabulary(&vocabulary);
    }
}
