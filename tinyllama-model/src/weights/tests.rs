//! Storage formats against values known from their bits, and folders that promise what they do not hold.

mod properties;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ::safetensors::tensor::TensorView;
use ::safetensors::{Dtype, SafeTensors};
use burn::tensor::Device;

use super::*;

/// A committed model with grouped queries and a head of its own.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tiny_llama")
}

/// A folder with the fixture's `config.json` alone.
fn folder_without_weights() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture().join("config.json"), folder.path().join("config.json")).unwrap();
    folder
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

#[track_caller]
fn refused(folder: &Path) -> String {
    load(folder, &Device::flex()).unwrap_err().to_string()
}

/// Writes every tensor of the fixture with elements of two bytes, `patterns` over and over.
fn write_halves(folder: &Path, dtype: Dtype, patterns: &[u16]) {
    let bytes = fs::read(fixture().join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let filled = file.tensors().into_iter().map(|(name, view)| {
        let count = view.shape().iter().product::<usize>();
        let words = patterns.iter().cycle().take(count);
        (name, view.shape().to_vec(), words.flat_map(|word| word.to_le_bytes()).collect())
    });
    let filled: Vec<(String, Vec<usize>, Vec<u8>)> = filled.collect();
    let views = filled
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    ::safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
}

/// Bits and values of IEEE 754 binary16 and of bfloat16: one, a negative number, a third, the smallest
/// positive number (normal for bfloat16) and the largest.
#[test]
fn halves_have_the_values_of_their_bits() {
    const F16: [(u16, f32); 5] = [
        (0x3C00, 1.0),
        (0xC000, -2.0),
        (0x3555, 0.333_251_95),
        (0x0001, 5.960_464_5e-8),
        (0x7BFF, 65_504.0),
    ];
    const BF16: [(u16, f32); 5] = [
        (0x3F80, 1.0),
        (0xC000, -2.0),
        (0x3EAB, 0.333_984_38),
        (0x0080, 1.175_494_4e-38),
        (0x7F7F, 3.389_531_4e38),
    ];
    for (dtype, table) in [(Dtype::F16, F16), (Dtype::BF16, BF16)] {
        let folder = folder_without_weights();
        write_halves(folder.path(), dtype, &table.map(|(bits, _)| bits));
        let model = load(folder.path(), &Device::flex()).unwrap();
        let expected = |count: usize| -> Vec<f32> {
            table.iter().map(|(_, value)| *value).cycle().take(count).collect()
        };
        let embedding = values(model.embed_tokens.weight.val());
        assert_eq!(embedding, expected(embedding.len()), "{dtype:?}");
        assert_eq!(values(model.norm.weight.val()), expected(54), "{dtype:?}");
    }
    let folder = folder_without_weights();
    write_halves(folder.path(), Dtype::I16, &[1]);
    assert!(refused(folder.path()).contains("stored as I16; F32, F16 and BF16 are read"));
}

#[test]
fn shards_are_one_model() {
    let folder = folder_without_weights();
    let bytes = fs::read(fixture().join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut weight_map = BTreeMap::new();
    for (shard, parity) in [("1.safetensors", 0), ("2.safetensors", 1)] {
        let half: Vec<_> = (file.tensors().into_iter().enumerate())
            .filter_map(|(index, tensor)| (index % 2 == parity).then_some(tensor))
            .collect();
        weight_map.extend(half.iter().map(|(name, _)| (name.clone(), shard)));
        ::safetensors::serialize_to_file(half, None, &folder.path().join(shard)).unwrap();
    }
    let index = serde_json::json!({ "weight_map": weight_map }).to_string();
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let sharded = load(folder.path(), &Device::flex()).unwrap();
    let single = load(&fixture(), &Device::flex()).unwrap();
    let buffers = |model: &TinyLlama| -> Vec<Vec<f32>> {
        let flat = crate::FlatParameters::from_model(model);
        flat.buffers().iter().cloned().map(values).collect()
    };
    assert_eq!(buffers(&sharded), buffers(&single));
    let tensors = Tensors::from_folder(folder.path()).unwrap();
    for (name, shard) in &weight_map {
        assert_eq!(tensors.file_of(name), folder.path().join(shard), "{name}");
    }

    fs::remove_file(folder.path().join("2.safetensors")).unwrap();
    assert!(refused(folder.path()).contains("2.safetensors"));
}

#[test]
fn damaged_and_absent_weights_are_named() {
    let folder = folder_without_weights();
    assert!(refused(folder.path()).contains("no model.safetensors, no pytorch_model.bin"));
    let path = folder.path().join("model.safetensors");
    let whole = fs::read(fixture().join("model.safetensors")).unwrap();
    for length in [0, 4, 100, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(refused(folder.path()).contains("damaged or incomplete"), "{length} bytes");
    }
    // A header of 2^60 bytes, if its length were believed.
    fs::write(&path, [&(1u64 << 60).to_le_bytes()[..], &whole[8..]].concat()).unwrap();
    assert!(refused(folder.path()).contains("damaged or incomplete"));
    fs::remove_file(&path).unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    for (text, expected) in [
        ("{", "index.json: EOF"),
        (r#"{"weight_map": {"a": "../model.safetensors"}}"#, "no plain file name"),
    ] {
        fs::write(&index, text).unwrap();
        assert!(refused(folder.path()).contains(expected), "{text}");
    }
}

#[test]
fn shards_do_not_hold_a_tensor_twice() {
    let folder = folder_without_weights();
    let shards = ["1.safetensors", "2.safetensors"];
    for shard in shards {
        fs::copy(fixture().join("model.safetensors"), folder.path().join(shard)).unwrap();
    }
    let weight_map = BTreeMap::from(shards.map(|shard| (shard, shard)));
    let index = serde_json::json!({ "weight_map": weight_map }).to_string();
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let message = refused(folder.path());
    assert!(message.contains("2.safetensors: holds a second `"), "{message}");
}

/// A config that promises terabytes is refused by the file's own header, before any allocation.
#[test]
fn sizes_of_the_config_are_checked_before_they_are_allocated() {
    let copy = tempfile::tempdir().unwrap();
    let weights = fixture().join("model.safetensors");
    fs::copy(weights, copy.path().join("model.safetensors")).unwrap();
    let mut config = ModelConfig::from_file(&fixture().join("config.json")).unwrap();
    config.intermediate_size = 1 << 23;
    fs::write(copy.path().join("config.json"), config.to_json()).unwrap();
    let message = refused(copy.path());
    assert!(message.contains("gate_proj") && message.contains("8388608"), "{message}");

    // Sixteen million layers have 150 million tensors: their names alone would fill the memory.
    config.intermediate_size = 77;
    config.num_hidden_layers = 1 << 24;
    fs::write(copy.path().join("config.json"), config.to_json()).unwrap();
    let message = refused(copy.path());
    assert!(message.contains("model.layers.3.") && message.contains("missing"), "{message}");

    config.num_hidden_layers = 2;
    fs::write(copy.path().join("config.json"), config.to_json()).unwrap();
    let message = refused(copy.path());
    assert!(message.contains("model.layers.2.") && message.contains("no place"), "{message}");

    // A context of millions is promised by real models too, and costs nothing until it is used.
    (config.num_hidden_layers, config.max_position_embeddings) = (3, 1 << 24);
    fs::write(copy.path().join("config.json"), config.to_json()).unwrap();
    assert!(load(copy.path(), &Device::flex()).is_ok());
}
