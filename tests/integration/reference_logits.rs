//! The committed random Llamas, as transformers computed them in f64 (tests/make_fixtures.py).
//!
//! `tiny_llama` has grouped queries and odd sizes, `tiny_llama_tied` one key-value head and a tied
//! head, `tiny_llama_scaled` linear RoPE scaling and embeddings so small that eps matters. The others
//! have the kinds of RoPE scaling that they are named after, and texts long enough to show them.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use kernels_cubecl::{CrossEntropyOptions, cross_entropy};
use safetensors::SafeTensors;
use tinyllama_model::{FlatParameters, KvCache, TinyLlama, weights};

pub(crate) const FIXTURES: [&str; 6] = [
    "tiny_llama",
    "tiny_llama_tied",
    "tiny_llama_scaled",
    "tiny_llama_llama3",
    "tiny_llama_yarn",
    "tiny_llama_dynamic",
];

/// transformers itself in f32 is up to 1.3e-5 away from its f64 logits on these models.
const LOGIT_TOLERANCE: f64 = 1e-4;

/// Relative norm per parameter; transformers in f32 reaches 8.7e-6.
const GRADIENT_TOLERANCE: f64 = 1e-4;

/// llama2.c's f32 logits of stories260K; transformers is 1.8e-5 away from them.
pub(crate) const STORIES_TOLERANCE: f64 = 1e-4;

pub(crate) fn folder(fixture: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture)
}

/// The tensors of a safetensors file, floats and integers alike as f64.
pub(crate) fn read(path: &Path) -> HashMap<String, (Vec<usize>, Vec<f64>)> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let values = |view: &safetensors::tensor::TensorView<'_>| match view.dtype() {
        safetensors::Dtype::F32 => {
            let words = view.data().as_chunks::<4>().0;
            words.iter().map(|word| f64::from(f32::from_le_bytes(*word))).collect()
        }
        safetensors::Dtype::I32 => {
            let words = view.data().as_chunks::<4>().0;
            words.iter().map(|word| f64::from(i32::from_le_bytes(*word))).collect()
        }
        safetensors::Dtype::I64 => {
            let words = view.data().as_chunks::<8>().0;
            words.iter().map(|word| i64::from_le_bytes(*word) as f64).collect()
        }
        other => panic!("{}: unexpected dtype {other:?}", path.display()),
    };
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.shape().to_vec(), values(&view))))
        .collect()
}

pub(crate) fn ids(values: &[f64], shape: [usize; 2], device: &Device) -> Tensor<2, Int> {
    let values: Vec<i64> = values.iter().map(|value| *value as i64).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

pub(crate) fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

#[track_caller]
pub(crate) fn assert_logits(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= tolerance, "{what}: off by {worst}");
}

#[test]
fn logits_are_those_of_transformers() {
    let device = Device::flex();
    for fixture in FIXTURES {
        let reference = read(&folder(fixture).join("reference.safetensors"));
        let model = weights::load(&folder(fixture), &device).unwrap();
        let (shape, batch) = &reference["batch_ids"];
        let mut logits = model.forward(ids(batch, [shape[0], shape[1]], &device), None);
        if let Some((shape, kept)) = reference.get("positions") {
            logits = logits.select(1, ids(kept, [1, shape[0]], &device).reshape([shape[0]]));
        }
        assert_logits(&to_vec(logits), &reference["logits"].1, LOGIT_TOLERANCE, fixture);
    }
}

#[test]
fn loss_and_gradients_are_those_of_transformers() {
    let device = Device::flex().autodiff();
    let mut with_targets = 0;
    for fixture in FIXTURES {
        let reference = read(&folder(fixture).join("reference.safetensors"));
        let Some((_, targets)) = reference.get("targets") else { continue };
        with_targets += 1;
        let model = weights::load(&folder(fixture), &device).unwrap();
        let (shape, batch) = &reference["batch_ids"];
        let rows = targets.len();
        let logits = model.forward(ids(batch, [shape[0], shape[1]], &device), None);
        let [_, _, vocab] = logits.dims();
        let nll = cross_entropy(
            logits.reshape([rows, vocab]),
            ids(targets, [1, rows], &device).reshape([rows]),
            CrossEntropyOptions::default(),
        );
        let counted = targets.iter().filter(|target| **target >= 0.0).count();
        let loss = nll.sum() / counted as f64;
        let found = f64::from(loss.clone().into_scalar::<f32>());
        assert_logits(&[found], &reference["loss"].1, LOGIT_TOLERANCE, "loss");

        let mut gradients = loss.backward();
        // The names of Hugging Face live in `weights` alone: gradients are saved as if they were
        // weights, and read back under those names.
        let mut flat = FlatParameters::from_model(&model);
        let buffers = flat.gather_gradients(&model, &mut gradients);
        flat.set_buffers(buffers);
        let saved = tempfile::tempdir().unwrap();
        weights::save(&flat.install(model), saved.path()).unwrap();
        let gradients = read(&saved.path().join("model.safetensors"));
        let mut compared = 0;
        for (name, (_, expected)) in &reference {
            let Some(name) = name.strip_prefix("grad.") else { continue };
            let found = &gradients[name].1;
            let norm =
                |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
            let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
            let relative = difference / norm(&mut expected.iter().copied());
            assert!(relative <= GRADIENT_TOLERANCE, "{fixture}: {name} is off by {relative}");
            compared += 1;
        }
        assert_eq!(compared, gradients.len(), "{fixture}: every parameter has a reference");
    }
    assert_eq!(with_targets, 4);
}

/// Greedy continuation of `prompt` through the KV cache, one token at a time after the prefill.
pub(crate) fn greedy(
    model: &TinyLlama,
    prompt: &[f64],
    new_tokens: usize,
    device: &Device,
) -> Vec<f64> {
    let mut cache = KvCache::new(model.config(), 1, prompt.len() + new_tokens, device);
    let mut input = prompt.to_vec();
    let mut generated = Vec::new();
    while generated.len() < new_tokens {
        let logits = model.forward(ids(&input, [1, input.len()], device), Some(&mut cache));
        let last = to_vec(logits.narrow(1, input.len() - 1, 1));
        let best =
            (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b])).expect("a vocabulary");
        generated.push(best as f64);
        input = vec![best as f64];
    }
    generated
}

/// Under dynamic scaling a cache keeps the keys as they were turned when the text was shorter, here as
/// in transformers.
#[test]
fn greedy_ids_are_those_of_transformers() {
    let device = Device::flex();
    for fixture in FIXTURES {
        let reference = read(&folder(fixture).join("reference.safetensors"));
        let model = weights::load(&folder(fixture), &device).unwrap();
        let expected = &reference["greedy_ids"].1;
        let found = greedy(&model, &reference["token_ids"].1, expected.len(), &device);
        assert_eq!(&found, expected, "{fixture}");
    }
}

/// The 17 tokens are fewer than dynamic scaling leaves alone.
#[test]
fn prefill_and_decode_are_one_full_forward() {
    let device = Device::flex();
    for fixture in FIXTURES {
        let reference = read(&folder(fixture).join("reference.safetensors"));
        let model = weights::load(&folder(fixture), &device).unwrap();
        let tokens = &reference["token_ids"].1;
        let full = to_vec(model.forward(ids(tokens, [1, tokens.len()], &device), None));
        let mut cache = KvCache::new(model.config(), 1, tokens.len(), &device);
        let mut stepwise = Vec::new();
        // A prefill, a continued prefill, then single tokens.
        let (head, tail) = tokens.split_at(9);
        let pieces = [&head[..5], &head[5..]].into_iter().chain(tail.chunks(1));
        for piece in pieces {
            let input = ids(piece, [1, piece.len()], &device);
            stepwise.extend(to_vec(model.forward(input, Some(&mut cache))));
        }
        assert_logits(&stepwise, &full, LOGIT_TOLERANCE, fixture);
    }
}

#[test]
fn saved_weights_load_bit_for_bit() {
    let device = Device::flex();
    for fixture in FIXTURES {
        let saved = tempfile::tempdir().unwrap();
        weights::save(&weights::load(&folder(fixture), &device).unwrap(), saved.path()).unwrap();
        let original = read(&folder(fixture).join("model.safetensors"));
        assert!(original == read(&saved.path().join("model.safetensors")), "{fixture}");
    }
}

/// The folder of shared assets, which a fresh clone does not have.
pub(crate) fn assets() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/assets");
    let folder = std::env::var_os("TINYLLAMA_ASSETS").map_or_else(beside, PathBuf::from);
    if folder.join("model/stories260K-hf").is_dir() {
        return Some(folder);
    }
    // Not through println!, which a passing test hides.
    let absent = folder.join("model/stories260K-hf");
    writeln!(io::stderr(), "skipped: {} is absent (see TINYLLAMA_ASSETS)", absent.display()).ok();
    None
}

/// stories260K against run.c of llama2.c: the logits of a text, and how it goes on.
#[test]
fn stories260k_is_llama2_c() {
    let Some(assets) = assets() else { return };
    let device = Device::flex();
    let reference = read(&assets.join("reference/stories260K_run_c_logits.safetensors"));
    let model = weights::load(&assets.join("model/stories260K-hf"), &device).unwrap();
    let tokens = &reference["token_ids"].1;
    let (shape, expected) = &reference["run_c_logits"];
    let input = ids(&tokens[..shape[0]], [1, shape[0]], &device);
    assert_logits(&to_vec(model.forward(input, None)), expected, STORIES_TOLERANCE, "stories260K");
    // BOS and 16 tokens are the prompt's, the others are run.c's argmax.
    let (prompt, continuation) = tokens.split_at(17);
    assert_eq!(greedy(&model, prompt, continuation.len(), &device), continuation);
}

/// The 200 greedy tokens from nothing that llama2.c's own test_all.py expects of run.c.
#[test]
fn stories260k_tells_the_story_of_llama2_c() {
    let Some(assets) = assets() else { return };
    let device = Device::flex();
    let model = weights::load(&assets.join("model/stories260K-hf"), &device).unwrap();
    let pieces = llama2_c_pieces(&fs::read(assets.join("model/tok512.bin")).unwrap());
    let bos = [1.0];
    let story = greedy(&model, &bos, 200, &device);
    let text: Vec<u8> = story.iter().flat_map(|id| pieces[*id as usize].clone()).collect();
    let expected = fs::read_to_string(assets.join("reference/stories260K_expected_greedy_200.txt"));
    assert_eq!(String::from_utf8(text).unwrap().trim(), expected.unwrap().trim());
}

/// The bytes of each token in llama2.c's tokenizer file: a length in front of everything, then for
/// each token a score, a length and its text, `<0x0A>` for single bytes.
fn llama2_c_pieces(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[4..];
    let mut pieces = Vec::new();
    while let Some((&[_, _, _, _, length @ ..], tail)) = rest.split_first_chunk::<8>() {
        let (piece, tail) = tail.split_at(u32::from_le_bytes(length) as usize);
        let byte = piece.strip_prefix(b"<0x").and_then(|hex| std::str::from_utf8(&hex[..2]).ok());
        let byte = byte.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        pieces.push(byte.map_or(piece.to_vec(), |byte| vec![byte]));
        rest = tail;
    }
    pieces
}
