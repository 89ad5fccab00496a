//! Text to token ids and back, through the `tokenizers` crate and its `tokenizer.json`, or from what
//! SentencePiece, llama2.c and GGUF keep instead: a [`Vocabulary`].
//!
//! Special tokens are commands (begin, end, another speaker's turn), so text that comes from people
//! or files must never turn into one: [`Tokenizer::encode`] reads `</s>` as five characters. Only a
//! chat template places special tokens, through `Tokenizer::encode_marked`.

mod build;
mod export;
mod files;
mod guard;
mod llama2c;
mod marked;
mod merges;
mod pre_tokenizers;
mod sentencepiece;
mod settings;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod vocabulary;

use std::collections::HashSet;
use std::fmt;

use tokenizers::AddedVocabulary;

pub(crate) use self::marked::Placed;
use self::settings::Settings;
pub use self::stream::DecodeStream;
pub use self::vocabulary::{Algorithm, Piece, PieceKind, Vocabulary};
use crate::config::MAX_SIZE;
use crate::error::TokenizerError;

/// A vocabulary with the rules that split text into its tokens.
///
/// Truncation and padding that a `tokenizer.json` may ask for are switched off: a corpus must not
/// lose its tail silently. What follows does not mention them again.
#[derive(Clone)]
pub struct Tokenizer {
    /// Reads special tokens as plain text (`encode_special_tokens`).
    inner: tokenizers::Tokenizer,
    /// The same added tokens, with special ones recognised.
    recognising: AddedVocabulary,
    special_ids: HashSet<u32>,
    vocab_size: usize,
    adds_bos: bool,
    settings: Settings,
    /// By id, where the tokenizer was built from pieces with scores.
    scores: Option<Vec<f32>>,
}

impl Tokenizer {
    /// Reads the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// The bytes are no `tokenizer.json`, or an id lies outside of a vocabulary's range.
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        let json = guard::parse(json)?;
        let inner: tokenizers::Tokenizer = guard::caught(|| Ok(serde_json::from_value(json)?))
            .map_err(|cause| TokenizerError::Parse { cause })?;
        let tokenizer = Self::from(inner);
        if tokenizer.vocab_size > MAX_SIZE {
            let largest_id = (tokenizer.vocab_size - 1) as u32;
            return Err(TokenizerError::LargeId { largest_id, limit: MAX_SIZE });
        }
        // The ids of the model and of added tokens are in the vocabulary; those that the
        // post-processor adds are written out beside them.
        let vocab_size = tokenizer.vocab_size;
        match tokenizer.around_nothing().into_iter().find(|&id| id as usize >= vocab_size) {
            Some(id) => Err(TokenizerError::ForeignId { id, vocab_size }),
            None => Ok(tokenizer),
        }
    }

    /// Token ids of `text`, in which special tokens are plain text. With `add_special` the tokens
    /// that this tokenizer puts around every text are added (Llama's: BOS in front; others: none).
    ///
    /// # Errors
    /// The vocabulary cannot express the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        guard::caught(|| self.inner.encode_fast(text, add_special))
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|cause| TokenizerError::Encode { cause })
    }

    /// The text of `ids` without special tokens. Ids that the vocabulary lacks (a model's embedding
    /// may have more rows) stand for nothing, as in transformers.
    ///
    /// # Errors
    /// The decoder of the tokenizer refuses the ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        guard::caught(|| self.inner.decode(ids, true))
            .map_err(|cause| TokenizerError::Decode { cause })
    }

    /// As [`Tokenizer::decode`], with the text of special tokens.
    ///
    /// # Errors
    /// The decoder of the tokenizer refuses the ids.
    pub fn decode_with_special(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        guard::caught(|| self.inner.decode(ids, false))
            .map_err(|cause| TokenizerError::Decode { cause })
    }

    /// A decoder for ids that arrive one by one.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }

    /// V: one more than the largest id, so that every id has a row in an embedding of this size.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Id of the token that begins a sequence.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos_token().and_then(|token| self.token_to_id(token))
    }

    /// Id of the token that ends a sequence.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos_token().and_then(|token| self.token_to_id(token))
    }

    /// Text of the token that begins a sequence.
    pub fn bos_token(&self) -> Option<&str> {
        self.settings.bos_token.as_deref()
    }

    /// Text of the token that ends a sequence.
    pub fn eos_token(&self) -> Option<&str> {
        self.settings.eos_token.as_deref()
    }

    /// Whether this tokenizer itself puts the beginning token in front of a text.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// Id of the token written exactly as `token`.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// How the vocabulary writes the token `id`.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether `id` is a special token.
    pub fn is_special(&self, id: u32) -> bool {
        self.special_ids.contains(&id)
    }

    /// 16 hexadecimal digits that tell whether two tokenizers give the same ids: 64-bit FNV-1a over
    /// the compact `tokenizer.json` as this crate writes it. No protection against forgery.
    pub fn fingerprint(&self) -> String {
        const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let hash = self
            .json(false)
            .bytes()
            .fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        format!("{hash:016x}")
    }

    fn json(&self, pretty: bool) -> String {
        self.inner.to_string(pretty).expect("every part of a tokenizer has a JSON form")
    }

    /// Sets [`Tokenizer::adds_bos`], which depends on the beginning token being known.
    fn with_bos_known(mut self) -> Self {
        let first_id = self.around_nothing().first().copied();
        self.adds_bos = first_id.is_some() && first_id == self.bos_id();
        self
    }

    /// What this tokenizer puts around every text; nothing where it cannot encode the empty one.
    fn around_nothing(&self) -> Vec<u32> {
        self.encode("", true).unwrap_or_default()
    }
}

impl From<tokenizers::Tokenizer> for Tokenizer {
    /// Takes a tokenizer built in memory; the beginning and end tokens are found by their usual
    /// names among its special tokens.
    fn from(mut inner: tokenizers::Tokenizer) -> Self {
        inner.with_truncation(None).expect("nothing can be wrong with no truncation");
        inner.with_padding(None);
        inner.set_encode_special_tokens(false);
        let recognising = inner.get_added_vocabulary().clone();
        inner.set_encode_special_tokens(true);
        let special_ids = (inner.get_added_tokens_decoder().into_iter())
            .filter_map(|(id, token)| token.special.then_some(id))
            .collect();
        let largest_id = inner.get_vocab(true).into_values().max();
        let settings = Settings::by_usual_names(&inner);
        Self {
            inner,
            recognising,
            special_ids,
            vocab_size: largest_id.map_or(0, |id| id as usize + 1),
            adds_bos: false,
            settings,
            scores: None,
        }
        .with_bos_known()
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size)
            .field("bos_token", &self.settings.bos_token)
            .field("eos_token", &self.settings.eos_token)
            .finish_non_exhaustive()
    }
}
