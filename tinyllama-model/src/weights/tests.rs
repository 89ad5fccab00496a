//! Folders that promise what they do not hold.

use super::*;

#[test]
fn shards_do_not_hold_a_tensor_twice() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tiny_llama");
    let copy = tempfile::tempdir().unwrap();
    fs::copy(fixture.join("config.json"), copy.path().join("config.json")).unwrap();
    let mut weight_map = BTreeMap::new();
    for shard in ["1.safetensors", "2.safetensors"] {
        fs::copy(fixture.join("model.safetensors"), copy.path().join(shard)).unwrap();
        weight_map.insert(shard, shard);
    }
    let index = serde_json::json!({ "weight_map": weight_map }).to_string();
    fs::write(copy.path().join("model.safetensors.index.json"), index).unwrap();
    let message = load(copy.path(), &Device::flex()).unwrap_err().to_string();
    assert!(message.contains("2.safetensors: holds `"), "{message}");
}

/// A config that promises terabytes is refused by the file's own header, before any allocation.
#[test]
fn sizes_of_the_config_are_checked_before_they_are_allocated() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tiny_llama");
    let copy = tempfile::tempdir().unwrap();
    let weights = fixture.join("model.safetensors");
    fs::copy(weights, copy.path().join("model.safetensors")).unwrap();
    let mut config = ModelConfig::from_file(&fixture.join("config.json")).unwrap();
    config.intermediate_size = 1 << 23;
    fs::write(copy.path().join("config.json"), config.to_json()).unwrap();
    let message = load(copy.path(), &Device::flex()).unwrap_err().to_string();
    assert!(message.contains("gate_proj") && message.contains("8388608"), "{message}");

    // Sixteen million layers have 150 million tensors: their names alone would fill the memory.
    config.intermediate_size = 77;
    config.num_hidden_layers = 1 << 24;
    fs::write(copy.path().join("config.json"), config.to_json()).unwrap();
    let message = load(copy.path(), &Device::flex()).unwrap_err().to_string();
    assert!(message.contains("model.layers.3.") && message.contains("missing"), "{message}");

    config.num_hidden_layers = 2;
    fs::write(copy.path().join("config.json"), config.to_json()).unwrap();
    let message = load(copy.path(), &Device::flex()).unwrap_err().to_string();
    assert!(message.contains("model.layers.2.") && message.contains("no place"), "{message}");

    // A context of millions is promised by real models too, and costs nothing until it is used.
    (config.num_hidden_layers, config.max_position_embeddings) = (3, 1 << 24);
    fs::write(copy.path().join("config.json"), config.to_json()).unwrap();
    assert!(load(copy.path(), &Device::flex()).is_ok());
}
