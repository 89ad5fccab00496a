//! Prefill, then one token after the other.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Serialize;
use tinyllama_model::Tokenizer;

use crate::context::Context;
use crate::error::InferError;
use crate::sampling::Sampler;
use crate::stop::{StopFilter, StopRules};

/// What to continue, and when to end.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The text so far.
    pub prompt_ids: &'a [u32],
    /// At least 1; cut to what the model's context leaves.
    pub max_new_tokens: usize,
    /// Ends besides the length.
    pub stop: &'a StopRules,
    /// Generation ends before the next token, or the next chunk of the prompt, once this is true.
    pub cancel: &'a AtomicBool,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model wrote a stop token.
    StopToken,
    /// The text reached a stop string.
    StopString,
    /// `max_new_tokens` were written.
    Length,
    /// The model's context is full.
    Context,
    /// The caller set the cancel flag.
    Cancelled,
}

impl fmt::Display for FinishReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::StopToken => "stop token",
            Self::StopString => "stop string",
            Self::Length => "max_new_tokens reached",
            Self::Context => "the model's context is full",
            Self::Cancelled => "cancelled",
        })
    }
}

/// A finished generation; serialized, the JSON of the command line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generation {
    /// What was continued.
    pub prompt_ids: Vec<u32>,
    /// The new tokens, with the stop token if one ended them, as in transformers.
    pub ids: Vec<u32>,
    /// Their text without special tokens, up to a stop string. Empty from [`generate_ids`].
    pub text: String,
    /// Prompt tokens computed per second. Tokens that the context already held are not counted.
    pub prompt_tokens_per_s: f64,
    /// Tokens per second after the first; `None` if there was no second one.
    pub decode_tokens_per_s: Option<f64>,
    /// From the call to the first token; `None` if it was cancelled before.
    pub ttft_ms: Option<f64>,
    /// Why it ended.
    #[serde(skip)]
    pub finish_reason: FinishReason,
}

/// Continues `request.prompt_ids` token by token: the core loop, which knows no text.
///
/// `on_id` sees every new token but a stop token and may end the generation with a reason.
///
/// # Errors
/// The prompt is empty, fills the context or is foreign to the model; `max_new_tokens` is 0; the
/// model computes no finite logits; or `on_id` failed.
pub fn generate_ids(
    context: &mut Context<'_>,
    request: &Request<'_>,
    sampler: &mut Sampler,
    mut on_id: impl FnMut(u32) -> Result<Option<FinishReason>, InferError>,
) -> Result<Generation, InferError> {
    let Request { prompt_ids, max_new_tokens, stop, cancel } = *request;
    let max_ids = room(context.limit_tokens(), prompt_ids.len(), max_new_tokens)?;
    let start = Instant::now();
    let (mut next, computed) = context.prefill(prompt_ids, cancel)?;
    let prefill_s = start.elapsed().as_secs_f64();
    let mut first_s = None;
    let mut ids: Vec<u32> = Vec::new();
    let finish_reason = loop {
        let Some(logits) = next.filter(|_| !cancel.load(Ordering::Relaxed)) else {
            break FinishReason::Cancelled;
        };
        let id = sampler.sample(&logits, context.ids());
        first_s.get_or_insert_with(|| start.elapsed().as_secs_f64());
        ids.push(id);
        if stop.token_ids.contains(&id) {
            break FinishReason::StopToken;
        }
        if let Some(reason) = on_id(id)? {
            break reason;
        }
        if ids.len() == max_ids {
            break match max_ids < max_new_tokens {
                true => FinishReason::Context,
                false => FinishReason::Length,
            };
        }
        next = Some(context.push(id)?);
    };
    let decode_tokens_per_s = first_s
        .filter(|_| ids.len() > 1)
        .map(|first_s| (ids.len() - 1) as f64 / (start.elapsed().as_secs_f64() - first_s));
    Ok(Generation {
        prompt_ids: prompt_ids.to_vec(),
        ids,
        text: String::new(),
        prompt_tokens_per_s: computed as f64 / prefill_s,
        decode_tokens_per_s,
        ttft_ms: first_s.map(|first_s| first_s * 1e3),
        finish_reason,
    })
}

/// As [`generate_ids`], with text: `on_text` receives pieces of whole characters, in which no stop
/// string ever begins.
///
/// # Errors
/// As [`generate_ids`]; or the tokenizer cannot decode.
pub fn generate_text(
    context: &mut Context<'_>,
    tokenizer: &Tokenizer,
    request: &Request<'_>,
    sampler: &mut Sampler,
    mut on_text: impl FnMut(&str),
) -> Result<Generation, InferError> {
    let mut text = String::new();
    let mut show = |piece: &str| {
        if !piece.is_empty() {
            text.push_str(piece);
            on_text(piece);
        }
    };
    let mut stream = tokenizer.decode_stream();
    let mut filter = StopFilter::new(&request.stop.strings);
    let mut generation = generate_ids(context, request, sampler, |id| {
        let Some(piece) = stream.push(id)? else { return Ok(None) };
        let (shown, stopped) = filter.push(&piece);
        show(&shown);
        Ok(stopped.then_some(FinishReason::StopString))
    })?;
    if generation.finish_reason != FinishReason::StopString {
        let (shown, stopped) = filter.push(&stream.finish()?.unwrap_or_default());
        show(&shown);
        if !stopped {
            show(&filter.finish());
        }
    }
    generation.text = text;
    Ok(generation)
}

/// How many tokens may follow a prompt.
fn room(
    context_tokens: usize,
    prompt_tokens: usize,
    max_new_tokens: usize,
) -> Result<usize, InferError> {
    if max_new_tokens == 0 {
        return Err(InferError::Setting {
            name: "max_new_tokens",
            value: "0".to_owned(),
            requirement: "at least 1",
        });
    }
    match context_tokens.checked_sub(prompt_tokens) {
        None | Some(0) => Err(InferError::PromptTooLong { prompt_tokens, context_tokens }),
        Some(left) => Ok(left.min(max_new_tokens)),
    }
}
