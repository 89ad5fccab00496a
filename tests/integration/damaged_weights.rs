//! Undefined weights end generation with an error that names the tensor and its file.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use kernels_cubecl::Format;
use tempfile::TempDir;
use tinyllama_infer::LoadedModel;
use tinyllama_model::weights::StoredTensor;
use tinyllama_model::{ExportFormat, Pretrained};

use crate::examples::{example, output, stdout};
use crate::random_model::{WIDTH, random};

/// IEEE half precision.
const NAN: [u8; 2] = 0x7e00u16.to_le_bytes();

/// Stores a tensor in blocks with `scale` at byte `at` of its 20th one.
fn store(model: &mut Pretrained, name: &str, format: Format, at: usize, scale: &[u8]) {
    let tensor = model.tensors.by_name.get_mut(name).expect("a tensor of a Llama");
    let bytes = match format.can_quantize() {
        true => format.quantize(&tensor.to_f32()),
        // 0.5 at every place of a scale, and whatever codes that gives.
        false => {
            0x3800u16.to_le_bytes().repeat(format.row_bytes(WIDTH).expect("blocks") * WIDTH / 2)
        }
    };
    let mut bytes = bytes;
    let start = 19 * format.block_bytes() + at;
    bytes[start..][..scale.len()].copy_from_slice(scale);
    let shape = tensor.shape.clone();
    *tensor = StoredTensor { shape, format, bytes: bytes.into() };
}

#[track_caller]
fn refuses(model: &Path, file: &Path, name: &str) {
    let mut generate = example("generate");
    generate.arg("--model").arg(model).args(["--device", "cpu", "--prompt", "The cat"]);
    let output = output(&mut generate);
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{message}");
    let file = file.display();
    for part in ["tokens are not finite: ", &format!("{file}: tensor `{name}` holds an infinite")] {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
}

#[test]
fn generate_names_the_tensor_and_its_file() {
    let scratch: TempDir = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| -> PathBuf { scratch.path().join(name) };
    let keep = ExportFormat::default();
    let (up, down) = ("model.layers.1.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight");

    let mut model = random(scratch.path());
    store(&mut model, up, Format::Q8_0, 0, &0x2000u16.to_le_bytes());
    model.save_gguf(&path("sound.gguf"), keep).expect("a new file");
    let mut generate = example("generate");
    generate.arg("--model").arg(path("sound.gguf")).args(["--device", "cpu", "--prompt", "The"]);
    stdout(&mut generate);

    for (name, format, at) in
        [(up, Format::Q8_0, 0), (down, Format::Q4_1, 0), (up, Format::Q4_1, 2)]
    {
        let mut model = random(scratch.path());
        store(&mut model, name, format, at, &NAN);
        let file = path(&format!("{format}-{at}.gguf"));
        model.save_gguf(&file, keep).expect("a new file");
        refuses(&file, &file, name);
    }
    let mut model = random(scratch.path());
    store(&mut model, down, Format::F32, 0, &f32::NAN.to_le_bytes());
    model.save_folder(&path("folder"), None).expect("a new folder");
    refuses(&path("folder"), &path("folder/model.safetensors"), down);
}

/// What a bar on a terminal shows: it never goes back, and ends at the whole.
#[test]
fn loading_counts_up_to_all_bytes() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let model = random(scratch.path());
    let folder = scratch.path().join("folder");
    model.save_folder(&folder, None).expect("a new folder");
    let expected: usize = model.tensors.by_name.values().map(|tensor| tensor.bytes.len()).sum();
    let check = |seen: &[(u64, u64)]| {
        assert_eq!(seen.len(), model.tensors.by_name.len(), "one for each tensor");
        assert!(seen.is_sorted() && seen.iter().all(|&(_, total)| total == expected as u64));
        assert_eq!(seen.last().map(|&(loaded, _)| loaded), Some(expected as u64));
    };
    let device = Device::flex();
    let mut seen = Vec::new();
    LoadedModel::load_with(&folder, &device, |loaded, total| seen.push((loaded, total)))
        .expect("a model");
    check(&seen);
    seen.clear();
    let tensors = Pretrained::open(&folder).expect("a model").tensors;
    let progress = |loaded, total| seen.push((loaded, total));
    tensors.dense(&model.config, &device, progress).expect("its weights");
    check(&seen);
}
