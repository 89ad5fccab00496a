//! Against transformers' greedy tokens, and each way to end.

use burn::tensor::Device;
use tinyllama_model::{ModelConfig, TinyLlama};

use super::*;
use crate::sampling::Sampling;
use crate::testing::{Fixture, fixtures, letters_model};

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
    let limit = model.config().context_tokens();
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
    let mut context = loaded.context();
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

/// A prompt of many chunks and a thread that cancels while it is read, or, on a machine that keeps
/// it waiting, before: both end without a token.
#[test]
fn cancelling_ends_a_long_prefill() {
    let config =
        ModelConfig { max_position_embeddings: 40_000, ..letters_model().model.config().clone() };
    let model = TinyLlama::init(&config, &Device::flex(), 1);
    let prompt_ids: Vec<u32> = (0..30_000).map(|i| 3 + i % 95).collect();
    let mut context = Context::new(&model);
    let (cancel, stop) = (AtomicBool::new(false), StopRules::default());
    let request =
        Request { prompt_ids: &prompt_ids, max_new_tokens: 9, stop: &stop, cancel: &cancel };
    let mut sampler = Sampler::new(Sampling::greedy()).unwrap();
    let found = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            cancel.store(true, Ordering::Relaxed);
        });
        generate_ids(&mut context, &request, &mut sampler, |_| Ok(None)).unwrap()
    });
    assert_eq!(found.finish_reason, FinishReason::Cancelled);
    assert_eq!((found.ids.len(), found.ttft_ms), (0, None));
    let read = context.ids().len();
    assert!(read < prompt_ids.len(), "all was read before the cancelling was seen");
    assert_eq!(context.ids(), &prompt_ids[..read]);
}

#[test]
fn the_json_keys_are_those_of_the_command_line() {
    let json = serde_json::to_value(letters(&StopRules::default(), None).0).unwrap();
    let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["prompt_ids", "ids", "text", "prompt_tokens_per_s", "decode_tokens_per_s", "ttft_ms"];
    assert_eq!(keys, expected);
}
