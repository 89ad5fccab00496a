//! Supervised fine-tuning on chats: pretraining with another batch source.
//!
//! [`read_guanaco`] turns the rows of an openassistant-guanaco file into conversations, [`Sample`]
//! encodes one with its loss mask, and [`ChatSource`] feeds them to the trainer of tinyllama-train. Only
//! the assistant's tokens and the stop token after each answer are targets.

mod error;
mod guanaco;
mod sample;
mod source;

pub use error::SftError;
pub use guanaco::read_guanaco;
pub use sample::{Sample, SampleCounts, encode_chats};
pub use source::ChatSource;
