//! `tokenizer.bin` of llama2.c (tokenizer.py, `Tokenizer.export`): a Llama 2 vocabulary without the
//! kinds of its pieces. Little-endian: u32 length of the longest token, then for each token an f32
//! score, an i32 length and that many bytes.

use super::guard;
use super::vocabulary::{Algorithm, Piece, PieceKind, SPACE, Vocabulary, byte_piece};
use crate::config::MAX_SIZE;
use crate::error::TokenizerError;

/// The first pieces as run.c relies on them, and how SentencePiece writes them. All bytes follow.
const SPECIAL: [(&str, &str, PieceKind); 3] = [
    ("<unk>", "<unk>", PieceKind::Unknown),
    ("\n<s>\n", "<s>", PieceKind::Control),
    ("\n</s>\n", "</s>", PieceKind::Control),
];
const FIRST_TEXT: usize = SPECIAL.len() + 256;
const BOS_ID: u32 = 1;
const EOS_ID: u32 = 2;

impl Vocabulary {
    /// Reads a `tokenizer.bin`: as many tokens as the model has rows, or all where `vocab_size` is
    /// `None`. The format holds no `▁`, so that every space is read as one.
    ///
    /// # Errors
    /// The bytes are no `tokenizer.bin`, or hold fewer than `vocab_size` tokens.
    pub fn from_llama2c(bytes: &[u8], vocab_size: Option<usize>) -> Result<Self, TokenizerError> {
        guard::check_len(bytes)?;
        let (max_len, mut rest) = bytes
            .split_first_chunk()
            .map(|(head, rest)| (u32::from_le_bytes(*head) as usize, rest))
            .ok_or_else(|| {
                TokenizerError::invalid("tokenizer.bin", format!("{} bytes", bytes.len()), "longer")
            })?;
        let limit = vocab_size.unwrap_or(MAX_SIZE);
        let mut pieces = Vec::new();
        while pieces.len() < limit && !rest.is_empty() {
            let id = pieces.len();
            let (score, text);
            (score, text, rest) = split_token(id, rest, max_len)?;
            let text = std::str::from_utf8(text).map_err(|_| {
                let value = String::from_utf8_lossy(text).into_owned();
                TokenizerError::invalid(format!("tokens[{id}]"), value, "valid UTF-8")
            })?;
            pieces.push(piece(id, score, text)?);
        }
        let too_few = |requirement: String| {
            Err(TokenizerError::invalid("number of tokens", pieces.len(), requirement))
        };
        if let Some(vocab_size) = vocab_size.filter(|&vocab_size| pieces.len() < vocab_size) {
            return too_few(format!("at least {vocab_size}, the model's `vocab_size`"));
        }
        if pieces.len() < FIRST_TEXT {
            return too_few(format!("at least {FIRST_TEXT}: three special ones and 256 bytes"));
        }
        let vocabulary = Self {
            pieces,
            algorithm: Algorithm::SentencePiece { add_space_prefix: true },
            bos_id: Some(BOS_ID),
            eos_id: Some(EOS_ID),
            pad_id: None,
            add_bos: true,
        };
        vocabulary.ids_by_text()?;
        Ok(vocabulary)
    }
}

/// Score and bytes of the next token, and what follows.
fn split_token(
    id: usize,
    bytes: &[u8],
    max_len: usize,
) -> Result<(f32, &[u8], &[u8]), TokenizerError> {
    let cut = |bytes: usize| {
        let value = format!("cut off after {bytes} bytes");
        TokenizerError::invalid(format!("tokens[{id}]"), value, "score, length and text")
    };
    let (score, rest) = bytes.split_first_chunk().ok_or_else(|| cut(bytes.len()))?;
    let (len, rest) = rest.split_first_chunk().ok_or_else(|| cut(bytes.len()))?;
    let len = i32::from_le_bytes(*len);
    let length = usize::try_from(len).ok().filter(|&len| len <= max_len.min(rest.len()));
    let Some(length) = length else {
        let requirement = format!(
            "at most the {max_len} of the file's head and the {} bytes that are left",
            rest.len()
        );
        return Err(TokenizerError::invalid(format!("tokens[{id}].length"), len, requirement));
    };
    let (text, rest) = rest.split_at(length);
    Ok((f32::from_le_bytes(*score), text, rest))
}

fn piece(id: usize, score: f32, text: &str) -> Result<Piece, TokenizerError> {
    let (written, text_here, kind) = match SPECIAL.get(id) {
        Some(&(written, text, kind)) => (written.to_owned(), text.to_owned(), kind),
        None if id < FIRST_TEXT => {
            let byte = byte_piece((id - SPECIAL.len()) as u8);
            (byte.clone(), byte, PieceKind::Byte)
        }
        None => (text.to_owned(), text.replace(' ', SPACE), PieceKind::Normal),
    };
    if text != written {
        let requirement = format!("{written:?}, as in every tokenizer.bin");
        return Err(TokenizerError::invalid(
            format!("tokens[{id}]"),
            format!("{text:?}"),
            requirement,
        ));
    }
    Ok(Piece { text: text_here, score, kind })
}

#[cfg(test)]
mod tests;
