//! Decoding while ids arrive: pieces of text that concatenate to the decoded whole.
//!
//! A token alone does not know its text: SentencePiece drops the space in front of the first one,
//! and a character may be spread over several tokens. So a short window of ids is decoded with and
//! without the newest ones, and the difference is new text.

use super::Tokenizer;
use crate::error::TokenizerError;

/// What a decoder writes for bytes that are not (yet) a character.
const REPLACEMENT: char = '\u{FFFD}';

/// Turns ids into pieces of text, each of them whole characters.
///
/// The pieces concatenate to [`Tokenizer::decode`] of all ids. One exception lies in the decoder of
/// SentencePiece vocabularies: it takes back valid characters when invalid bytes follow them in one
/// run of byte tokens, and text that was handed out stays.
#[derive(Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The ids of the last piece handed out, as context, then those still without text.
    window: Vec<u32>,
    /// How many ids of `window` are context.
    context: usize,
}

impl<'a> DecodeStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, window: Vec::new(), context: 0 }
    }

    /// The text that `id` completes; `None` while its last character is incomplete, and for special
    /// tokens.
    ///
    /// # Errors
    /// The decoder of the tokenizer refuses the ids.
    pub fn push(&mut self, id: u32) -> Result<Option<String>, TokenizerError> {
        self.window.push(id);
        let piece = self.pending()?;
        if piece.is_empty() || piece.ends_with(REPLACEMENT) {
            return Ok(None);
        }
        self.window.drain(..self.context);
        self.context = self.window.len();
        Ok(Some(piece))
    }

    /// The rest: replacement characters for bytes that never became a character.
    ///
    /// # Errors
    /// The decoder of the tokenizer refuses the ids.
    pub fn finish(self) -> Result<Option<String>, TokenizerError> {
        let piece = self.pending()?;
        Ok((!piece.is_empty()).then_some(piece))
    }

    fn pending(&self) -> Result<String, TokenizerError> {
        let context = self.tokenizer.decode(&self.window[..self.context])?;
        let whole = self.tokenizer.decode(&self.window)?;
        match whole.strip_prefix(&context) {
            Some(piece) => Ok(piece.to_owned()),
            // Invalid bytes took back the context (see above); they are text of their own.
            None => self.tokenizer.decode(&self.window[self.context..]),
        }
    }
}
