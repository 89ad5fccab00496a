//! What a TinyLlama is: its sizes, its modules, its weights and its words.
//!
//! - [`ModelConfig`] holds the sizes under Hugging Face's `config.json` keys and derives every count
//!   (parameters, FLOPs, bytes) from them.
//! - [`TinyLlama`] is the module: `embed_tokens → Block × L → norm → lm_head`. Its one forward serves
//!   training, evaluation and decoding; where keys and values live is the only difference, and that
//!   is [`KeyValues`]: [`NoCache`] or a layer of a [`KvCache`].
//! - [`weights`] reads and writes Hugging Face safetensors; the names of that format live only there.
//! - [`gguf`] reads and writes GGUF files: sizes, vocabulary and packed weights in one.
//! - [`Tokenizer`] and [`ChatTemplate`] turn text and conversations into ids and back.
//!
//! Data path: text → [`Tokenizer`] → ids `[B, T]` → [`TinyLlama::hidden`] `[B, T, D]` →
//! [`TinyLlama::logits`] `[B, T, V]`.
//!
//! Shape letters used in all crates: B batch, T query length, S key length, D hidden size, N query
//! heads, K key-value heads, H head dimension, F feed-forward size, V vocabulary, L layers, R = B·T
//! rows.

mod attention;
mod block;
mod causal_lm;
mod chat;
mod config;
pub mod disk;
mod error;
mod generation_config;
pub mod gguf;
mod kv_cache;
mod linear;
mod mapped;
mod mlp;
mod model;
mod norm;
mod packed;
mod parameters;
mod pretrained;
mod rope;
mod tokenizer;
pub mod weights;

pub use attention::Attention;
pub use block::{Block, Residual};
pub use causal_lm::CausalLm;
pub use chat::{ChatTemplate, Message, Role};
pub use config::{MAX_SIZE, ModelConfig, RopeScaling, TrainingBytes};
pub use error::{ChatError, ConfigError, TokenizerError};
pub use generation_config::GenerationConfig;
pub use kv_cache::{KeyValues, KvCache, LayerCache, NoCache};
pub use linear::{Linear, Projection};
pub use mlp::Mlp;
pub use model::TinyLlama;
pub use norm::RmsNorm;
pub use packed::PackedLinear;
pub use parameters::{FlatParameters, ParameterGroup, ParameterRange};
pub use pretrained::{ExportFormat, Pretrained, PretrainedError};
pub use rope::Rope;
pub use tokenizer::{Algorithm, DecodeStream, Piece, PieceKind, Tokenizer, Vocabulary};
