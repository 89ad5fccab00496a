//! A conversation as tokens with their loss mask.

use tinyllama_model::{ChatTemplate, Message, Tokenizer};

use crate::error::SftError;

/// One conversation, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Tokens.
    pub ids: Vec<u32>,
    /// True where the token is the assistant's or the stop token after its answer.
    pub loss_mask: Vec<bool>,
}

/// What became of the conversations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleCounts {
    /// Conversations that can be trained on.
    pub samples: usize,
    /// Of these, how many were cut to the sequence length.
    pub truncated: usize,
    /// Conversations left out because no answer begins within the sequence length.
    pub without_target: usize,
    /// Tokens that are targets.
    pub target_tokens: usize,
}

/// Encodes chats; samples longer than `max_tokens` are cut at the end, and counted.
///
/// # Errors
/// The template does not mask a chat, or no chat has a target left.
pub fn encode_chats(
    chats: &[Vec<Message>],
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    max_tokens: usize,
) -> Result<(Vec<Sample>, SampleCounts), SftError> {
    let mut counts = SampleCounts::default();
    let mut samples = Vec::new();
    for (index, chat) in chats.iter().enumerate() {
        let (mut ids, mut loss_mask) = template
            .encode_with_mask(tokenizer, chat)
            .map_err(|source| SftError::Chat { number: index + 1, source })?;
        let is_cut = ids.len() > max_tokens;
        ids.truncate(max_tokens);
        loss_mask.truncate(max_tokens);
        // The first token is never a target: nothing predicts it.
        let targets = loss_mask.iter().skip(1).filter(|is_target| **is_target).count();
        if targets == 0 {
            counts.without_target += 1;
            continue;
        }
        counts.samples += 1;
        counts.truncated += usize::from(is_cut);
        counts.target_tokens += targets;
        samples.push(Sample { ids, loss_mask });
    }
    match samples.is_empty() {
        true => Err(SftError::NoTargets { max_tokens }),
        false => Ok((samples, counts)),
    }
}
