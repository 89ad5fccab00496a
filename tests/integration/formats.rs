//! One model in every form: what is read from each, and what a round trip keeps.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use kernels_cubecl::Format;
use tempfile::TempDir;
use tinyllama_infer::{LoadedModel, Request, Sampler, Sampling, StopRules, generate_text};
use tinyllama_model::{CausalLm, ExportFormat, Pretrained, RopeScaling};

use crate::reference_logits::{
    FIXTURES, STORIES_TOLERANCE, assert_logits, assets, folder, ids, read, to_vec,
};

/// Every matrix as it is stored.
const KEEP: ExportFormat = ExportFormat { dtype: None, quantize: None };

/// stories260K as a folder, as llama2.c's own file, and as GGUF files that this project writes: all with
/// the logits and the story of run.c.
#[test]
fn stories260k_is_one_model_in_every_form() {
    let Some(assets) = assets() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let bin = scratch.path().join("stories260K.bin");
    fs::copy(assets.join("model/stories260K.bin"), &bin).unwrap();
    fs::copy(assets.join("model/tok512.bin"), scratch.path().join("tokenizer.bin")).unwrap();
    let hugging_face = assets.join("model/stories260K-hf");
    let from_folder = scratch.path().join("folder.gguf");
    Pretrained::open(&hugging_face).unwrap().save_gguf(&from_folder, KEEP).unwrap();
    let from_bin = scratch.path().join("bin.gguf");
    Pretrained::open(&bin).unwrap().save_gguf(&from_bin, KEEP).unwrap();
    let story = fs::read_to_string(assets.join("reference/stories260K_expected_greedy_200.txt"));
    let story = story.unwrap();
    for path in [hugging_face, bin, from_folder, from_bin] {
        check_stories(&path, &assets, story.trim());
    }
}

fn check_stories(path: &Path, assets: &Path, story: &str) {
    let what = path.display().to_string();
    let device = Device::flex();
    let reference = read(&assets.join("reference/stories260K_run_c_logits.safetensors"));
    let tokens = &reference["token_ids"].1;
    let (shape, expected) = &reference["run_c_logits"];
    let Pretrained { config, tensors, .. } = Pretrained::open(path).expect("a model");
    let models: [Box<dyn CausalLm>; 2] = [
        Box::new(tensors.dense(&config, &device, |_, _| {}).expect("its weights")),
        Box::new(tensors.packed(&config, &device, |_, _| {}).expect("its weights")),
    ];
    for model in models {
        let hidden = model.hidden(ids(&tokens[..shape[0]], [1, shape[0]], &device), None);
        assert_logits(&to_vec(model.logits(hidden)), expected, STORIES_TOLERANCE, &what);
    }
    let loaded = LoadedModel::load(path, &device).expect("a model");
    let sampling = Sampling::greedy();
    let request = Request {
        prompt_ids: &loaded.prompt_ids("").expect("a beginning token"),
        max_new_tokens: 200,
        stop: &StopRules::default(),
        cancel: &false.into(),
    };
    let mut sampler = Sampler::new(sampling).expect("valid settings");
    let generation =
        generate_text(&mut loaded.context(), &loaded.tokenizer, &request, &mut sampler, |_| {});
    let generation = generation.expect("200 tokens");
    assert_eq!(generation.text.trim(), story, "{what}");
}

/// Every plain float survives folder → GGUF → memory to the bit, and so does every kind of `rope_scaling`
/// that GGUF has; the others are refused.
#[test]
fn floats_go_through_gguf_and_back_bit_for_bit() {
    for fixture in FIXTURES {
        for dtype in [Format::F32, Format::F16, Format::Bf16] {
            let scratch = tempfile::tempdir().unwrap();
            let place = |name: &str| new_folder(&scratch, name);
            let original = place("original");
            Pretrained::open(&folder(fixture))
                .unwrap()
                .save_folder(&original, Some(dtype))
                .unwrap();
            let mut original = Pretrained::open(&original).unwrap();
            let file = scratch.path().join("model.gguf");
            if matches!(fixture, "tiny_llama_dynamic" | "tiny_llama_yarn") {
                let message = original.save_gguf(&file, KEEP).unwrap_err().to_string();
                assert!(message.contains("llama.rope.scaling.type"), "{message}");
                assert!(message.contains("export a folder instead"), "{message}");
                original.config.rope_scaling = Some(RopeScaling::yarn(4.0, Some(32)));
            }
            original.save_gguf(&file, KEEP).unwrap();
            let back = Pretrained::open(&file).unwrap();
            assert_eq!(back.config.rope_scaling, original.config.rope_scaling, "{fixture}");
            for (name, tensor) in &original.tensors.by_name {
                let returned = &back.tensors.by_name[name];
                // Norms become f32, which holds what they were.
                let expected = match tensor.shape.len() {
                    1 => tensor.to_format(Format::F32),
                    _ => tensor.bytes.clone(),
                };
                assert!(returned.bytes == expected, "{fixture} {name} in {dtype}");
            }
        }
    }
}

/// Blocks are copied, not computed again, and what they become is what they hold.
#[test]
fn blocks_are_kept_and_widen_to_their_values() {
    let Some(assets) = assets() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let original = Pretrained::open(&assets.join("model/stories260K-hf")).unwrap();
    for quantize in [Format::Q8_0, Format::Q4_0] {
        let file = scratch.path().join(format!("{quantize}.gguf"));
        let format = ExportFormat { quantize: Some(quantize), ..KEEP };
        original.save_gguf(&file, format).unwrap();
        let packed = Pretrained::open(&file).unwrap();
        let gate = &packed.tensors.by_name["model.layers.0.mlp.gate_proj.weight"];
        assert_eq!(gate.format, quantize);
        // Rows of 172 elements are no whole blocks.
        let down = &packed.tensors.by_name["model.layers.0.mlp.down_proj.weight"];
        assert_eq!(down.format, Format::F32);
        assert_eq!(packed.tensors.by_name["model.embed_tokens.weight"].format, Format::Q8_0);
        let again = scratch.path().join(format!("{quantize}-again.gguf"));
        packed.save_gguf(&again, KEEP).unwrap();
        let again = Pretrained::open(&again).unwrap();
        for (name, tensor) in &packed.tensors.by_name {
            assert!(tensor.bytes == again.tensors.by_name[name].bytes, "{name}");
        }
        let wide = new_folder(&scratch, &quantize.to_string());
        packed.save_folder(&wide, None).unwrap();
        let wide = Pretrained::open(&wide).unwrap();
        for (name, tensor) in &packed.tensors.by_name {
            assert_eq!(tensor.to_f32(), wide.tensors.by_name[name].to_f32(), "{name}");
        }
    }
}

/// The tokens of a model are those of its copies, whatever vocabulary format they went through.
#[test]
fn exports_carry_tokenizer_and_chat_template() {
    let Some(assets) = assets() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let source = new_folder(&scratch, "source");
    for file in ["config.json", "model.safetensors", "tokenizer.model"] {
        fs::copy(assets.join("model/stories260K-hf").join(file), source.join(file)).unwrap();
    }
    let template = "{% for message in messages %}{{ message.content }}\n{% endfor %}";
    fs::write(source.join("chat_template.jinja"), template).unwrap();
    fs::write(source.join("generation_config.json"), r#"{"eos_token_id": [2, 7]}"#).unwrap();
    let original = Pretrained::open(&source).unwrap();
    let copy = new_folder(&scratch, "copy");
    original.save_folder(&copy, None).unwrap();
    let file = scratch.path().join("copy.gguf");
    original.save_gguf(&file, KEEP).unwrap();
    let texts = ["Once upon a time, Tim’s  cat 日本 sat.", " x\n\ny", "", "<s>é"];
    let tokenizer = original.tokenizer.as_ref().unwrap();
    // Whoever may read one file may read all.
    let permissions = |file: &str| fs::metadata(copy.join(file)).unwrap().permissions();
    assert_eq!(permissions("model.safetensors"), permissions("config.json"));
    for path in [copy, file] {
        let copy = Pretrained::open(&path).unwrap();
        assert_eq!(copy.chat_template.unwrap().source(), template);
        let found = copy.tokenizer.unwrap();
        for text in texts {
            let expected = tokenizer.encode(text, true).unwrap();
            assert_eq!(found.encode(text, true).unwrap(), expected, "{}: {text}", path.display());
        }
        assert!(copy.generation_config.eos_token_id.contains(&2), "{}", path.display());
    }
}

/// `torch.save` of a state dict in three dtypes (tests/make_pytorch_fixture.py).
#[test]
fn pytorch_files_hold_what_torch_saved() {
    let fixture = folder("pytorch");
    let found = Pretrained::open(&fixture).unwrap();
    let expected = read(&fixture.join("expected.safetensors"));
    assert_eq!(found.tensors.by_name.len(), expected.len());
    for (name, (shape, values)) in &expected {
        let tensor = &found.tensors.by_name[name];
        let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        assert_eq!((&tensor.shape, tensor.to_f32()), (shape, values), "{name}");
    }
    let formats: std::collections::HashSet<Format> =
        found.tensors.by_name.values().map(|tensor| tensor.format).collect();
    assert_eq!(formats.len(), 3, "f32, f16 and bf16");
    let model = found.tensors.dense(&found.config, &Device::flex(), |_, _| {}).unwrap();
    assert_eq!(model.embed_tokens.weight.val().cast(FloatDType::F32).dims(), [8, 4]);
}

fn new_folder(scratch: &TempDir, name: &str) -> PathBuf {
    let folder = scratch.path().join(name);
    fs::create_dir(&folder).expect("a new name");
    folder
}
