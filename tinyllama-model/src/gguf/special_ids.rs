//! The ids of the tokens that begin, end and fill sequences.

use super::error::GgufError;
use super::keys;
use super::metadata::Metadata;

/// llama.cpp's ids where a SentencePiece vocabulary does not name them.
const SENTENCE_PIECE_BOS: u32 = 1;
const SENTENCE_PIECE_EOS: u32 = 2;

/// What converters write where a tokenizer has no such token.
const NO_TOKEN: i128 = u32::MAX as i128;

/// The special tokens that the metadata name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SpecialIds {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    /// Ends a turn of a conversation.
    pub(super) eot: Option<u32>,
    /// Ends a message after which the same speaker goes on.
    pub(super) eom: Option<u32>,
    pub(super) padding: Option<u32>,
}

impl SpecialIds {
    /// # Errors
    /// An id has another type or lies outside of the vocabulary, where the file has one.
    pub(super) fn read(metadata: &Metadata) -> Result<Self, GgufError> {
        let tokens = metadata.strings(keys::TOKENS)?.map(|tokens| tokens.len());
        let is_sentence_piece = metadata.string(keys::TOKENIZER_MODEL)? == Some("llama");
        let id = |key| read_id(metadata, key, tokens);
        // A key that says "none" is respected; only an absent one is filled in.
        let or_default = |key, default: u32| match metadata.integer(key)? {
            None if is_sentence_piece && tokens > Some(default as usize) => Ok(Some(default)),
            _ => id(key),
        };
        Ok(Self {
            bos: or_default(keys::BOS_ID, SENTENCE_PIECE_BOS)?,
            eos: or_default(keys::EOS_ID, SENTENCE_PIECE_EOS)?,
            eot: id(keys::EOT_ID)?,
            eom: id(keys::EOM_ID)?,
            padding: id(keys::PADDING_ID)?,
        })
    }

    /// Every token that ends something, each once, the end of a sequence first.
    pub(super) fn ends(&self) -> Vec<u32> {
        let mut ends = Vec::new();
        for id in [self.eos, self.eot, self.eom].into_iter().flatten() {
            if !ends.contains(&id) {
                ends.push(id);
            }
        }
        ends
    }
}

fn read_id(
    metadata: &Metadata,
    key: &str,
    tokens: Option<usize>,
) -> Result<Option<u32>, GgufError> {
    let id = match metadata.integer(key)? {
        None | Some(-1 | NO_TOKEN) => return Ok(None),
        Some(id) => id,
    };
    let is_token = |id: &u32| tokens.is_none_or(|tokens| (*id as usize) < tokens);
    match u32::try_from(id).ok().filter(is_token) {
        Some(id) => Ok(Some(id)),
        None => {
            let tokens = tokens.map_or("no tokens".to_owned(), |tokens| format!("{tokens} tokens"));
            Err(GgufError::invalid(key, id, format!("an id of the vocabulary, which has {tokens}")))
        }
    }
}
