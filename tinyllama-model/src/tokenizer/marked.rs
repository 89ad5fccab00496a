//! Encoding of text that holds special tokens on purpose, and with the bytes that each id covers.

use std::ops::Range;

use tokenizers::normalizer::Range as SliceRange;
use tokenizers::{
    Encoding, Model, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Token,
};

use super::{Tokenizer, guard};
use crate::error::TokenizerError;

/// A token and the bytes of the text it stands for.
pub(crate) type Placed = (u32, Range<usize>);

impl Tokenizer {
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
        guard::caught(|| self.split_marked(text, literal).and_then(|cut| self.encode_pieces(cut)))
            .map(|encoding| placed(&encoding))
            .map_err(|cause| TokenizerError::Encode { cause })
    }

    /// Whether `text` would turn into special tokens if they were recognised in it.
    pub(crate) fn contains_special(&self, text: &str) -> bool {
        let found = guard::caught(|| Ok(self.added_tokens(text)));
        // Where nothing can be said the encoding will fail, too.
        found.map_or(true, |found| found.iter().any(|(_, token)| self.is_special(token.id)))
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

fn placed(encoding: &Encoding) -> Vec<Placed> {
    let ids = encoding.get_ids().iter().copied();
    ids.zip(encoding.get_offsets()).map(|(id, &(start, end))| (id, start..end)).collect()
}
