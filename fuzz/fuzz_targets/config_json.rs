//! config.json and generation_config.json; a configuration that was accepted is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tinyllama_fuzz::with_files;
use tinyllama_model::{GenerationConfig, ModelConfig};

fuzz_target!(|data: &[u8]| {
    with_files(&[("generation_config.json", data)], |folder| {
        let _ = GenerationConfig::from_folder(folder);
    });
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(config) = ModelConfig::from_json(text) else { return };
    let _ = config.head_dim();
    let _ = config.eos_token_ids();
    let written = config.to_json();
    let again = ModelConfig::from_json(&written).expect("what is written can be read");
    assert_eq!(again.to_json(), written);
});
