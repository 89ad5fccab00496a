//! A vocabulary from a tokenizer, for formats that hold no `tokenizer.json`.

use std::collections::HashSet;

use serde_json::Value;
use tokenizers::{Model, ModelWrapper};

use super::Tokenizer;
use super::merges::{self, Merge};
use super::pre_tokenizers::{PreTokenizer, steps, to_value};
use super::vocabulary::{Algorithm, Piece, PieceKind, SPACE, Vocabulary, byte_of};
use crate::error::TokenizerError;

const FAMILIES: &str = "only byte-pair encoding as in Llama 2 (`▁` for a space) or as in GPT-2, \
                        Llama 3 and SmolLM (`ByteLevel`) can be written";

impl Tokenizer {
    /// The vocabulary that gives the same ids through [`Tokenizer::from_vocabulary`].
    ///
    /// Scores are those of the vocabulary that the tokenizer was built from; else 0, -1, -2 and so on
    /// in the order of its merges, as SentencePiece's trainer has them. Ids without a token become
    /// empty pieces of kind `Unused`.
    ///
    /// One thing changes: `Metaspace`, as newer tokenizers of Llama 2's kind have it, puts no space
    /// before a text that begins with one, and may put one before the first text only. GGUF and
    /// SentencePiece always put one, before each text between special tokens.
    ///
    /// # Errors
    /// The tokenizer does something that a [`Vocabulary`] has no place for.
    pub fn to_vocabulary(&self) -> Result<Vocabulary, TokenizerError> {
        let ModelWrapper::BPE(model) = self.inner.get_model() else {
            let json = to_value(self.inner.get_model());
            return Err(TokenizerError::unsupported("model.type", &json["type"], FAMILIES));
        };
        let suffix = model.end_of_word_suffix.as_deref().unwrap_or_default();
        if !suffix.is_empty() {
            return Err(TokenizerError::unsupported("model.end_of_word_suffix", suffix, FAMILIES));
        }
        if let Some(dropout) = model.dropout.filter(|&dropout| dropout > 0.0) {
            let remedy = "set it to null: ids must not depend on chance";
            return Err(TokenizerError::unsupported("model.dropout", dropout, remedy));
        }
        let mut pieces = self.pieces()?;
        if let Some(id) = model.unk_token.as_deref().and_then(|unknown| self.token_to_id(unknown)) {
            pieces[id as usize].kind = PieceKind::Unknown;
        }
        let merges: Vec<Merge> = serde_json::from_value(to_value(model)["merges"].take())
            .expect("merges are written as pairs");
        let normalizer = to_value(&self.inner.get_normalizer());
        let normalizers = steps(&normalizer, "normalizers");
        let pre_tokenizer = to_value(&self.inner.get_pre_tokenizer());
        let algorithm = match space_prefix(&normalizers, &pre_tokenizer) {
            Some(add_space_prefix) => {
                self.check_sentencepiece(&mut pieces)?;
                mark_unused(&mut pieces, &merges);
                match &self.scores {
                    Some(scores) => {
                        for (piece, &score) in pieces.iter_mut().zip(scores) {
                            piece.score = score;
                        }
                    }
                    None => merges::to_scores(&mut pieces, &merges)?,
                }
                Algorithm::SentencePiece { add_space_prefix }
            }
            None if pre_tokenizer.is_null() => {
                return Err(TokenizerError::unsupported("pre_tokenizer", "null", FAMILIES));
            }
            None => Algorithm::ByteLevel {
                pre_tokenizer: PreTokenizer::name_of(
                    &normalizers,
                    &pre_tokenizer,
                    model.ignore_merges,
                )?
                .to_owned(),
                merges: lines(&merges)?,
            },
        };
        let id = |token: Option<&str>| token.and_then(|token| self.token_to_id(token));
        let vocabulary = Vocabulary {
            pieces,
            algorithm,
            bos_id: self.bos_id(),
            eos_id: self.eos_id(),
            pad_id: id(self.settings.pad_token()),
            add_bos: self.adds_bos,
        };
        let around = self.around_nothing();
        if !(around.is_empty() || self.adds_bos && around.len() == 1) {
            return Err(TokenizerError::unsupported(
                "post_processor",
                format!("{around:?} around every text"),
                "only the beginning token in front can be written",
            ));
        }
        vocabulary.ids_by_text()?;
        Ok(vocabulary)
    }

    /// Text and kind by id, as far as the model's own and added tokens tell.
    fn pieces(&self) -> Result<Vec<Piece>, TokenizerError> {
        let empty = Piece { text: String::new(), score: 0.0, kind: PieceKind::Unused };
        let mut pieces = vec![empty; self.vocab_size];
        for (text, id) in self.inner.get_model().get_vocab() {
            let piece = &mut pieces[id as usize];
            if !piece.text.is_empty() {
                let requirement = format!("another id than that of `{}`", piece.text);
                return Err(TokenizerError::invalid(
                    "model.vocab",
                    format!("{id} for `{text}`"),
                    requirement,
                ));
            }
            if !text.is_empty() {
                *piece = Piece { text, score: 0.0, kind: PieceKind::Normal };
            }
        }
        for (id, token) in self.inner.get_added_tokens_decoder() {
            for (key, value) in [
                ("single_word", token.single_word),
                ("lstrip", token.lstrip),
                ("rstrip", token.rstrip),
            ] {
                if value {
                    return Err(TokenizerError::unsupported(
                        format!("added_tokens.{key}"),
                        format!("true for `{}`", token.content),
                        "set it to false",
                    ));
                }
            }
            let kind = if token.special { PieceKind::Control } else { PieceKind::UserDefined };
            pieces[id as usize] = Piece { text: token.content, score: 0.0, kind };
        }
        Ok(pieces)
    }

    /// Marks the bytes, and refuses what SentencePiece does otherwise.
    fn check_sentencepiece(&self, pieces: &mut [Piece]) -> Result<(), TokenizerError> {
        let ModelWrapper::BPE(model) = self.inner.get_model() else {
            unreachable!("the model was looked at before")
        };
        if model.ignore_merges {
            let remedy = "SentencePiece has no such rule";
            return Err(TokenizerError::unsupported("model.ignore_merges", true, remedy));
        }
        if model.byte_fallback {
            for piece in pieces.iter_mut().filter(|piece| byte_of(&piece.text).is_some()) {
                piece.kind = PieceKind::Byte;
            }
        }
        let bytes = pieces.iter().filter(|piece| piece.kind == PieceKind::Byte).count();
        if bytes < 256 && (bytes > 0 || model.unk_token.is_none() || !model.fuse_unk) {
            return Err(TokenizerError::unsupported(
                "model",
                format!(
                    "one with {bytes} bytes, `unk_token` {:?} and `fuse_unk` {}",
                    model.unk_token, model.fuse_unk
                ),
                "SentencePiece has all 256 bytes, or fuses unknown characters to one token",
            ));
        }
        for token in self.inner.get_added_tokens_decoder().values() {
            if token.normalized && !token.special {
                return Err(TokenizerError::unsupported(
                    "added_tokens.normalized",
                    format!("true for `{}`", token.content),
                    "set it to false",
                ));
            }
        }
        Ok(())
    }
}

/// Whether a space is put before text, where the tokenizer is of SentencePiece's kind.
fn space_prefix(normalizers: &[&Value], pre_tokenizer: &Value) -> Option<bool> {
    let is_prepend = |step: &Value| step["type"] == "Prepend" && step["prepend"] == SPACE;
    let is_replace = |step: &Value| {
        step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == SPACE
    };
    match (normalizers, pre_tokenizer["type"].as_str()) {
        ([prepend, replace], None) if is_prepend(prepend) && is_replace(replace) => Some(true),
        ([replace], None) if is_replace(replace) => Some(false),
        ([], Some("Metaspace"))
            if pre_tokenizer["replacement"] == SPACE && pre_tokenizer["split"] == false =>
        {
            Some(pre_tokenizer["prepend_scheme"] != "never")
        }
        _ => None,
    }
}

/// Several characters that no merge makes or takes: no text uses them.
fn mark_unused(pieces: &mut [Piece], merges: &[Merge]) {
    let mut used = HashSet::new();
    for (left, right) in merges {
        used.extend([left.clone(), right.clone(), left.clone() + right]);
    }
    for piece in pieces.iter_mut().filter(|piece| piece.kind == PieceKind::Normal) {
        if piece.text.chars().nth(1).is_some() && !used.contains(&piece.text) {
            piece.kind = PieceKind::Unused;
        }
    }
}

fn lines(merges: &[Merge]) -> Result<Vec<String>, TokenizerError> {
    let line = |(rank, (left, right)): (usize, &Merge)| {
        if left.contains(' ') || right.contains(' ') {
            let field = format!("model.merges[{rank}]");
            let remedy = "GGUF separates the two pieces by a space, so that they can have none";
            return Err(TokenizerError::unsupported(field, format!("`{left} {right}`"), remedy));
        }
        Ok(format!("{left} {right}"))
    };
    merges.iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests;
