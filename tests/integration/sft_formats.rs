//! Fine-tuning begins from a model in whatever form `chat` opens.

use std::fs;
use std::path::Path;

use kernels_cubecl::Format;
use serde_json::{Value, json};
use tinyllama_model::{ExportFormat, ModelConfig, Pretrained};

use crate::examples::{example, stdout};
use crate::random_model::random;
use crate::reference_logits::{assets, folder};

/// Runs two steps on two chats; gives the weights of the checkpoint, a folder in Hugging Face layout.
#[track_caller]
fn fine_tuned(model: &Path, out: &Path) -> Vec<u8> {
    let chats = out.with_extension("jsonl");
    let rows = ["Who?### Assistant: I.", "Where?### Assistant: Here."]
        .map(|chat| json!({ "text": format!("### Human: {chat}") }).to_string() + "\n");
    fs::write(&chats, rows.concat()).expect("a new file");
    let mut sft = example("sft");
    sft.arg("--model").arg(model).arg("--data").arg(&chats).arg("--out").arg(out);
    stdout(sft.args(["--max-steps", "2", "--batch-size", "2", "--lr", "1e-3", "--device", "cpu"]));
    let checkpoint = out.join("checkpoints/step-00000002");
    let tuned = Pretrained::open(&checkpoint).expect("a model");
    assert!(tuned.tokenizer.is_some() && tuned.chat_template.is_some());
    fs::read(checkpoint.join("model.safetensors")).expect("its weights")
}

/// The steps are those from a folder with the same values in f32.
#[track_caller]
fn check(model: &Path) {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| scratch.path().join(name);
    let values = Pretrained::open(model).expect("a model");
    values.save_folder(&path("dense"), Some(Format::F32)).expect("a new folder");
    let expected = fine_tuned(&path("dense"), &path("from-dense"));
    assert!(fine_tuned(model, &path("tuned")) == expected, "{}", model.display());
    assert!(fs::read(path("dense/model.safetensors")).expect("its weights") != expected);
}

#[test]
fn from_gguf() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    for quantize in [None, Some(Format::Q8_0)] {
        let file = scratch.path().join("model.gguf");
        let format = ExportFormat { quantize, ..ExportFormat::default() };
        random(scratch.path()).save_gguf(&file, format).expect("a new file");
        check(&file);
    }
}

#[test]
fn from_llama2c() {
    let Some(assets) = assets() else { return };
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let file = scratch.path().join("stories260K.bin");
    fs::copy(assets.join("model/stories260K.bin"), &file).expect("an asset");
    let tokenizer = scratch.path().join("tokenizer.bin");
    fs::copy(assets.join("model/tok512.bin"), tokenizer).expect("an asset");
    check(&file);
}

/// `torch.save`'s model of eight tokens, whose tokenizer knows five letters.
#[test]
fn from_pytorch() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let weights = "pytorch_model.bin";
    fs::copy(folder("pytorch").join(weights), scratch.path().join(weights)).expect("a fixture");
    let config = ModelConfig::from_file(&folder("pytorch").join("config.json")).expect("a fixture");
    // Long enough for a question of single letters and its answer.
    let config = ModelConfig { max_position_embeddings: 64, ..config };
    config.save(&scratch.path().join("config.json")).expect("a new file");
    let tokens = ["<s>", "</s>", "<unk>", "e", "r", "I", "#", "."];
    let added = tokens[..3].iter().enumerate().map(|(id, content)| {
        json!({"id": id, "content": content, "special": true, "single_word": false,
               "lstrip": false, "rstrip": false, "normalized": false})
    });
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().zip(0..).map(|(token, id)| ((*token).to_owned(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[\\s\\S]"},
                          "behavior": "Isolated", "invert": false},
        "post_processor": null,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    });
    fs::write(scratch.path().join("tokenizer.json"), tokenizer.to_string()).expect("a new file");
    check(scratch.path());
}

#[test]
fn without_a_tokenizer_it_is_refused() {
    let mut sft = example("sft");
    sft.arg("--model").arg(folder("tiny_llama")).args(["--data", "chats.jsonl", "--out", "none"]);
    let output = crate::examples::output(&mut sft);
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!output.status.success() && message.contains("no tokenizer.json"), "{message}");
}
