//! What generate and chat have in common: how tokens are drawn and how a generation went.

use anyhow::Result;
use clap::Args;
use tinyllama_infer::{FinishReason, Generation, Sampling};

/// The flags behind [`Sampling`], besides the temperature, whose default differs.
#[derive(Args, Clone, Debug)]
pub(crate) struct SamplingFlags {
    /// Keep the K most probable tokens; 0 keeps all
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Keep the fewest tokens that reach probability P; 1 keeps all
    #[arg(long, value_name = "P", default_value_t = 0.9, allow_negative_numbers = true)]
    top_p: f64,
    /// Drop tokens below P times the largest probability; 0 keeps all
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f64,
    /// Weaken tokens that the text already has; 1 is off
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    repetition_penalty: f64,
    /// Seed of the random numbers: the same seed draws the same text
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// End where this text appears, without it; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
}

impl SamplingFlags {
    /// The settings, checked.
    pub(crate) fn sampling(&self, temperature: f64) -> Result<Sampling> {
        let sampling = Sampling {
            temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
        };
        sampling.validate()?;
        Ok(sampling)
    }
}

/// One line about how a generation went.
pub(crate) fn report(generation: &Generation) {
    let decode = generation.decode_tokens_per_s.map(|rate| format!(", decode {rate:.1} tokens/s"));
    let first = generation.ttft_ms.map(|ms| format!(", first token after {ms:.0} ms"));
    eprintln!(
        "[{} tokens, prompt {:.1} tokens/s{}{}; end: {}]",
        generation.ids.len(),
        generation.prompt_tokens_per_s,
        decode.unwrap_or_default(),
        first.unwrap_or_default(),
        generation.finish_reason,
    );
}

/// Says so if the model's context ended a text.
pub(crate) fn warn_if_cut(generation: &Generation) {
    if generation.finish_reason == FinishReason::Context {
        eprintln!("warning: the text was cut because the model's context is full");
    }
}
