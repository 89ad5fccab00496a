//! Text to token ids and back, through the `tokenizers` crate and its `tokenizer.json`.
//!
//! Special tokens are commands (begin, end, another speaker's turn), so text that comes from people
//! or files must never turn into one: [`Tokenizer::encode`] reads `</s>` as five characters. Only a
//! chat template places special tokens, through `Tokenizer::encode_marked`.

mod settings;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod vocabulary;

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;

use tokenizers::normalizer::Range as SliceRange;
use tokenizers::{
    AddedVocabulary, Encoding, Model, Normalizer, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, Token,
};

use self::settings::Settings;
pub use self::stream::DecodeStream;
pub use self::vocabulary::{Algorithm, Piece, PieceKind, Vocabulary};
use crate::config::MAX_SIZE;
use crate::error::TokenizerError;

/// The name of the vocabulary file in a model folder.
const TOKENIZER_FILE: &str = "tokenizer.json";

/// A token and the bytes of the text it stands for.
pub(crate) type Placed = (u32, Range<usize>);

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
}

impl Tokenizer {
    /// Reads one `tokenizer.json`; the beginning and end tokens are found by their usual names.
    ///
    /// # Errors
    /// The file cannot be read or is no `tokenizer.json`.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let json = fs::read(path)
            .map_err(|source| TokenizerError::Read { path: path.to_owned(), source })?;
        Self::from_json(&json).map_err(|source| TokenizerError::InFile {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Reads `tokenizer.json` of a model folder, and the beginning and end tokens from
    /// `tokenizer_config.json` or `special_tokens_map.json` where the folder has them.
    ///
    /// # Errors
    /// `tokenizer.json` is missing or broken, or the other files are broken or name a token that
    /// the vocabulary lacks.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join(TOKENIZER_FILE);
        if !path.exists() {
            return Err(TokenizerError::Missing { folder: folder.to_owned() });
        }
        let mut tokenizer = Self::from_file(&path)?;
        tokenizer.settings = Settings::from_folder(folder, &tokenizer.inner)?;
        Ok(tokenizer.with_bos_known())
    }

    /// Reads the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// The bytes are no `tokenizer.json`, or an id lies outside of a vocabulary's range.
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        let inner = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|cause| TokenizerError::Parse { cause })?;
        let largest_id = inner.get_vocab(true).into_values().max();
        if let Some(largest_id) = largest_id.filter(|&id| id as usize >= MAX_SIZE) {
            return Err(TokenizerError::LargeId { largest_id, limit: MAX_SIZE });
        }
        let tokenizer = Self::from(inner);
        // The ids of the model and of added tokens are in the vocabulary; those that the
        // post-processor adds are written out beside them.
        let vocab_size = tokenizer.vocab_size;
        match tokenizer.around_nothing().into_iter().find(|&id| id as usize >= vocab_size) {
            Some(id) => Err(TokenizerError::ForeignId { id, vocab_size }),
            None => Ok(tokenizer),
        }
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` into `folder`, which must exist.
    /// transformers opens them, and [`ChatTemplate::from_folder`] finds `chat_template` again.
    ///
    /// [`ChatTemplate::from_folder`]: crate::ChatTemplate::from_folder
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, folder: &Path, chat_template: Option<&str>) -> Result<(), TokenizerError> {
        let path = folder.join(TOKENIZER_FILE);
        fs::write(&path, self.json(true))
            .map_err(|source| TokenizerError::Write { path, source })?;
        self.settings.save(folder, chat_template)
    }

    /// Token ids of `text`, in which special tokens are plain text. With `add_special` the tokens
    /// that this tokenizer puts around every text are added (Llama's: BOS in front; others: none).
    ///
    /// # Errors
    /// The vocabulary cannot express the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        self.inner
            .encode_fast(text, add_special)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|cause| TokenizerError::Encode { cause })
    }

    /// Each id of `text` with the bytes it covers; the tokens of one character that the vocabulary
    /// spells in bytes share that character's range. Special tokens are recognised, except where they
    /// touch one of the byte ranges `literal`. Equal to what transformers makes of the whole text, as
    /// long as nothing in `literal` looks like a special token.
    ///
    /// # Errors
    /// The vocabulary cannot express the text.
    pub(crate) fn encode_marked(
        &self,
        text: &str,
        literal: &[Range<usize>],
    ) -> Result<Vec<Placed>, TokenizerError> {
        self.split_marked(text, literal)
            .and_then(|pieces| self.encode_pieces(pieces))
            .map(|encoding| placed(&encoding))
            .map_err(|cause| TokenizerError::Encode { cause })
    }

    /// Whether `text` would turn into special tokens if they were recognised in it.
    pub(crate) fn contains_special(&self, text: &str) -> bool {
        self.added_tokens(text).iter().any(|(_, token)| self.is_special(token.id))
    }

    /// The text of `ids` without special tokens. Ids that the vocabulary lacks (a model's embedding
    /// may have more rows) stand for nothing, as in transformers.
    ///
    /// # Errors
    /// The decoder of the tokenizer refuses the ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner.decode(ids, true).map_err(|cause| TokenizerError::Decode { cause })
    }

    /// As [`Tokenizer::decode`], with the text of special tokens.
    ///
    /// # Errors
    /// The decoder of the tokenizer refuses the ids.
    pub fn decode_with_special(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner.decode(ids, false).map_err(|cause| TokenizerError::Decode { cause })
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

    /// The added tokens found in `text`, with their bytes.
    fn added_tokens(&self, text: &str) -> Vec<(Range<usize>, Token)> {
        self.recognising
            .extract_and_normalize(self.inner.get_normalizer(), text)
            .get_splits(OffsetReferential::Original, OffsetType::Byte)
            .into_iter()
            .filter_map(|(_, (start, end), tokens)| {
                tokens.as_ref()?.first().map(|token| (start..end, token.clone()))
            })
            .collect()
    }

    /// Cuts `text` at its added tokens, special ones in `literal` excepted, and normalises the rest.
    fn split_marked(
        &self,
        text: &str,
        literal: &[Range<usize>],
    ) -> tokenizers::Result<PreTokenizedString> {
        let normalizer = self.inner.get_normalizer();
        let found = self.added_tokens(text);
        let is_literal = |(span, token): &(Range<usize>, Token)| {
            self.is_special(token.id)
                && literal.iter().any(|range| span.start < range.end && range.start < span.end)
        };
        if !found.iter().any(is_literal) {
            return Ok(self.recognising.extract_and_normalize(normalizer, text));
        }
        let mut cuts = Vec::new();
        let mut start = 0;
        for (span, token) in found.into_iter().filter(|found| !is_literal(found)) {
            cuts.push((start..span.start, None));
            start = span.end;
            cuts.push((span, Some(vec![token])));
        }
        cuts.push((start..text.len(), None));
        let mut pieces = PreTokenizedString::from(text);
        pieces.split(|_, whole| {
            let cut = |(range, tokens): &(Range<usize>, Option<Vec<Token>>)| {
                // A normalizer that changes lengths may place a token inside of a character.
                let piece = whole.slice(SliceRange::Original(range.clone()));
                Ok((piece.ok_or("a special token ends inside of a character")?, tokens.clone()))
            };
            let cuts = cuts.iter().filter(|(range, _)| !range.is_empty()).map(cut);
            cuts.collect::<tokenizers::Result<Vec<_>>>()
        })?;
        if let Some(normalizer) = normalizer {
            // As extract_and_normalize does, a piece that cannot be normalised stays as it is.
            let _ = pieces.normalize(|piece| normalizer.normalize(piece));
        }
        Ok(pieces)
    }

    /// What `tokenizers` does after normalisation, but for its post-processor: without special tokens
    /// that one changes no id, and one with `trim_offsets` would leave tokens of spaces without text.
    fn encode_pieces(&self, mut pieces: PreTokenizedString) -> tokenizers::Result<Encoding> {
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        let model = self.inner.get_model();
        pieces.tokenize(|piece| model.tokenize(piece.get()))?;
        pieces.into_encoding(None, 0, OffsetType::Byte)
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

fn placed(encoding: &Encoding) -> Vec<Placed> {
    let ids = encoding.get_ids().iter().copied();
    ids.zip(encoding.get_offsets()).map(|(id, &(start, end))| (id, start..end)).collect()
}
