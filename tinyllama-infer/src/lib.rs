//! How a TinyLlama answers.
//!
//! - [`locate`] turns what a user names (run folder, checkpoint, Hugging Face folder, hub id) into a
//!   folder, and [`LoadedModel`] loads it.
//! - [`Context`] is the text a model has read so far: its KV cache and the ids in it. What two
//!   prompts begin with in common is computed once.
//! - [`generate_ids`] is the one decoding loop, [`generate_text`] its text; [`Sampler`] chooses each
//!   token, [`StopRules`] says where to end.
//! - [`Context::score`] says how probable a text is: perplexity and multiple choice.
//! - [`ChatSession`] keeps a conversation on top of them.
//!
//! Data path: text → ids `[T]` → [`Context::prefill`] → logits `[V]` → [`Sampler::sample`] → one id
//! → [`Context::push`] → logits `[V]` → …
//!
//! Shape letters are those of [`tinyllama_model`].

mod chat;
mod context;
mod error;
mod generate;
mod hub;
mod loaded;
mod locate;
mod sampling;
mod score;
mod stop;
#[cfg(test)]
mod testing;

pub use chat::{ChatEvent, ChatSession};
pub use context::Context;
pub use error::InferError;
pub use generate::{FinishReason, Generation, Request, generate_ids, generate_text};
pub use loaded::LoadedModel;
pub use locate::locate;
pub use sampling::{Sampler, Sampling};
pub use score::Score;
pub use stop::StopRules;
