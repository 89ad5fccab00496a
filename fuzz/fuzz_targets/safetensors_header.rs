//! model.safetensors: a length, a JSON header, tensors. Foreign names, shapes, dtypes and offsets.
#![no_main]

use burn::tensor::Device;
use libfuzzer_sys::fuzz_target;
use tinyllama_fuzz::{CONFIG, with_files};
use tinyllama_model::weights::Tensors;

fuzz_target!(|data: &[u8]| {
    with_files(&[("model.safetensors", data)], |folder| {
        let Ok(tensors) = Tensors::from_folder(folder) else { return };
        if tensors.check(&CONFIG).is_ok() {
            let _ = tensors.dense(&CONFIG, &Device::flex(), |_, _| {});
        }
    });
});
