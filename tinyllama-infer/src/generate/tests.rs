//! Against transformers' greedy tokens, and each way to end.

use std::path::PathBuf;

use burn::tensor::Device;
use safetensors::SafeTensors;
use tinyllama_model::weights;

use super::*;
use crate::context::{ids_tensor, to_f32};
use crate::sampling::Sampling;
use crate::testing::{Fixture, assert_close, fixtures, letters_model};

static GO_ON: AtomicBool = AtomicBool::new(false);

fn greedy(context: &mut Context<'_>, prompt_ids: &[u32], max_new_tokens: usize) -> Generation {
    let stop = StopRules::default();
    let request = Request { prompt_ids, max_new_tokens, stop: &stop, cancel: &GO_ON };
    let mut sampler = Sampler::new(Sampling::greedy()).unwrap();
    generate_ids(context, &request, &mut sampler, |_| Ok(None)).unwrap()
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    for Fixture { model, token_ids, greedy_ids } in fixtures() {
        let mut context = Context::new(&model);
        let found = greedy(&mut context, &token_ids, greedy_ids.len());
        assert_eq!(found.ids, greedy_ids);
        assert_eq!(found.finish_reason, FinishReason::Length);
        // The same context serves a second time.
        assert_eq!(greedy(&mut context, &token_ids, greedy_ids.len()).ids, greedy_ids);
    }
}

#[test]
fn the_context_cuts_what_does_not_fit() {
    let Fixture { model, token_ids, .. } = fixtures().remove(0);
    let limit = model.config().max_position_embeddings;
    let mut context = Context::new(&model);
    let found = greedy(&mut context, &token_ids, 10_000);
    assert_eq!(found.finish_reason, FinishReason::Context);
    assert_eq!(found.ids.len(), limit - token_ids.len());
    let stop = StopRules::default();
    let full = vec![3; limit];
    let request = Request { prompt_ids: &full, max_new_tokens: 1, stop: &stop, cancel: &GO_ON };
    let mut sampler = Sampler::new(Sampling::greedy()).unwrap();
    let error = generate_ids(&mut context, &request, &mut sampler, |_| Ok(None)).unwrap_err();
    assert!(error.to_string().contains("at most 127"), "{error}");
}

/// 40 letters of the random model, with a fixed seed.
fn letters(stop: &StopRules, cancel_after: Option<usize>) -> (Generation, String) {
    let loaded = letters_model();
    let prompt_ids = loaded.prompt_ids("Once").unwrap();
    let cancel = AtomicBool::new(cancel_after == Some(0));
    let request = Request { prompt_ids: &prompt_ids, max_new_tokens: 40, stop, cancel: &cancel };
    let mut sampler = Sampler::new(Sampling::unfiltered(3)).unwrap();
    let mut shown = String::new();
    let mut pieces = 0;
    let mut context = Context::new(&loaded.model);
    let generation =
        generate_text(&mut context, &loaded.tokenizer, &request, &mut sampler, |piece| {
            shown.push_str(piece);
            pieces += 1;
            cancel.fetch_or(cancel_after == Some(pieces), Ordering::Relaxed);
        });
    (generation.unwrap(), shown)
}

#[test]
fn a_stop_token_ends_and_has_no_text() {
    let (free, _) = letters(&StopRules::default(), None);
    let token = free.ids[5];
    let end = free.ids.iter().position(|&id| id == token).unwrap();
    let (stopped, shown) =
        letters(&StopRules { token_ids: vec![token], strings: Vec::new() }, None);
    assert_eq!(stopped.finish_reason, FinishReason::StopToken);
    assert_eq!(stopped.ids, free.ids[..=end]);
    assert_eq!(shown, stopped.text);
    assert_eq!(stopped.text, free.text[..stopped.text.len()]);
    assert!(stopped.text.len() <= end, "one letter for each token before the stop");
}

#[test]
fn a_stop_string_ends_and_is_not_shown() {
    let (free, shown) = letters(&StopRules::default(), None);
    assert_eq!(shown, free.text);
    let string = free.text[10..14].to_owned();
    let expected = free.text.split(&string).next().unwrap();
    let (stopped, shown) =
        letters(&StopRules { token_ids: Vec::new(), strings: vec![string.clone()] }, None);
    assert_eq!(stopped.finish_reason, FinishReason::StopString);
    assert_eq!((stopped.text.as_str(), shown.as_str()), (expected, expected));
    assert!(stopped.ids.len() < free.ids.len());
}

#[test]
fn cancelling_keeps_what_is_there() {
    let (free, _) = letters(&StopRules::default(), None);
    let (cancelled, _) = letters(&StopRules::default(), Some(3));
    assert_eq!(cancelled.finish_reason, FinishReason::Cancelled);
    assert_eq!(cancelled.text, free.text[..3]);
    let (at_once, _) = letters(&StopRules::default(), Some(0));
    assert_eq!((at_once.ids.len(), at_once.ttft_ms), (0, None));
}

#[test]
fn the_json_keys_are_those_of_the_command_line() {
    let json = serde_json::to_value(letters(&StopRules::default(), None).0).unwrap();
    let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["prompt_ids", "ids", "text", "prompt_tokens_per_s", "decode_tokens_per_s", "ttft_ms"];
    assert_eq!(keys, expected);
}

/// The folder of shared assets, which a fresh clone does not have.
fn assets() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/assets");
    let folder = std::env::var_os("TINYLLAMA_ASSETS").map_or_else(|| default.into(), PathBuf::from);
    folder.join("model/stories260K-hf").is_dir().then_some(folder)
}

/// stories260K against llama2.c: the logits of run.c on a text, how it goes on, and the 200 greedy
/// tokens from nothing that its test_all.py asks for.
#[test]
fn stories260k_writes_what_run_c_writes() {
    /// Two f32 implementations, sums in different order; logits reach 15.
    const OTHER_IMPLEMENTATION: f32 = 1e-4;

    let Some(assets) = assets() else {
        println!("skipped: stories260K is not in TINYLLAMA_ASSETS or ../shared/assets");
        return;
    };
    let model = weights::load(&assets.join("model/stories260K-hf"), &Device::flex()).unwrap();
    let bytes = std::fs::read(assets.join("reference/stories260K_run_c_logits.safetensors"));
    let bytes = bytes.unwrap();
    let reference = SafeTensors::deserialize(&bytes).unwrap();
    let words = |name: &str| {
        let words = reference.tensor(name).unwrap().data().chunks_exact(4);
        words.map(|word| <[u8; 4]>::try_from(word).unwrap()).collect::<Vec<_>>()
    };
    let logits: Vec<f32> = words("run_c_logits").into_iter().map(f32::from_le_bytes).collect();
    let ids: Vec<u32> = words("token_ids").into_iter().map(u32::from_le_bytes).collect();

    let read = ids_tensor(&ids[..64], &model, &Device::flex()).unwrap();
    assert_close(&to_f32(model.forward(read, None)), &logits, OTHER_IMPLEMENTATION);
    // BOS and 16 tokens are the prompt's, the others are run.c's argmax.
    let found = greedy(&mut Context::new(&model), &ids[..17], ids.len() - 17);
    assert_eq!(found.ids, ids[17..]);
    let found = greedy(&mut Context::new(&model), &[1], 200);
    let expected =
        std::fs::read_to_string(assets.join("reference/stories260K_expected_greedy_200.txt"));
    let pieces = pieces(&std::fs::read(assets.join("model/tok512.bin")).unwrap());
    let text: Vec<u8> = found.ids.iter().flat_map(|&id| pieces[id as usize].clone()).collect();
    assert_eq!(String::from_utf8(text).unwrap().trim(), expected.unwrap().trim());
}

/// The bytes of each token in llama2.c's tokenizer file: a length in front of everything, then for
/// each token a score, a length and its text, `<0x0A>` for single bytes.
fn pieces(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[4..];
    let mut pieces = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes(head[4..].try_into().unwrap()) as usize;
        let (piece, tail) = tail.split_at(length);
        let byte = piece.strip_prefix(b"<0x").and_then(|hex| std::str::from_utf8(&hex[..2]).ok());
        let byte = byte.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        pieces.push(byte.map_or(piece.to_vec(), |byte| vec![byte]));
        rest = tail;
    }
    pieces
}
