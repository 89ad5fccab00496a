//! A vocabulary as SentencePiece, GGUF and llama2.c files hold it: pieces by id, and what joins them.

use std::collections::HashMap;

use super::guard::MAX_PIECE_BYTES;
use crate::config::MAX_SIZE;
use crate::error::TokenizerError;

/// How SentencePiece writes a space.
pub(super) const SPACE: &str = "\u{2581}";

/// What a piece stands for; the numbers are those of SentencePiece and GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// Text.
    Normal = 1,
    /// Stands for what the vocabulary lacks.
    Unknown = 2,
    /// A special token: a command, not text.
    Control = 3,
    /// Text that is never split, whatever joins it.
    UserDefined = 4,
    /// A place that no text uses.
    Unused = 5,
    /// One byte, written `<0xHH>`.
    Byte = 6,
}

impl PieceKind {
    /// The kind that SentencePiece and GGUF write as `number`.
    pub fn of_number(number: i32) -> Option<Self> {
        [Self::Normal, Self::Unknown, Self::Control, Self::UserDefined, Self::Unused, Self::Byte]
            .into_iter()
            .find(|&kind| kind as i32 == number)
    }
}

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// As the vocabulary writes it: `▁` for a space in [`Algorithm::SentencePiece`], GPT-2's letters
    /// for bytes in [`Algorithm::ByteLevel`]; the text itself where it is `Control` or `UserDefined`.
    /// An empty piece stands for nothing.
    pub text: String,
    /// [`Algorithm::SentencePiece`]: of two possible joins, the one to the higher score comes first.
    pub score: f32,
    /// What it stands for.
    pub kind: PieceKind,
}

/// How text is cut into pieces.
#[derive(Clone, Debug, PartialEq)]
pub enum Algorithm {
    /// Byte-pair encoding by the scores of the pieces, bytes where characters are unknown (Llama 2).
    SentencePiece {
        /// Whether a space is put before every text.
        add_space_prefix: bool,
    },
    /// Byte-pair encoding of bytes by a list of merges (GPT-2, Llama 3, SmolLM).
    ByteLevel {
        /// Pairs to join, `left right`, first ones first.
        merges: Vec<String>,
        /// How text is cut before that, by GGUF's name `tokenizer.ggml.pre`.
        pre_tokenizer: String,
    },
}

/// Everything that turns text into ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    /// By id.
    pub pieces: Vec<Piece>,
    /// How text is cut.
    pub algorithm: Algorithm,
    /// Token that begins a sequence.
    pub bos_id: Option<u32>,
    /// Token that ends a sequence.
    pub eos_id: Option<u32>,
    /// Token that fills short rows.
    pub pad_id: Option<u32>,
    /// Whether the tokenizer puts the beginning token before every text.
    pub add_bos: bool,
}

impl Vocabulary {
    /// The first piece that stands for what the vocabulary lacks.
    pub(super) fn unknown(&self) -> Option<&Piece> {
        let is_unknown =
            |piece: &&Piece| piece.kind == PieceKind::Unknown && !piece.text.is_empty();
        self.pieces.iter().find(is_unknown)
    }

    /// How the piece stands in the model and, if it is an added token, in text, which has no `▁`.
    pub(super) fn spelled(&self, piece: &Piece) -> String {
        match (&self.algorithm, piece.kind) {
            (Algorithm::SentencePiece { .. }, PieceKind::UserDefined) => {
                piece.text.replace(SPACE, " ")
            }
            _ => piece.text.clone(),
        }
    }

    /// Ids by text; empty pieces have none.
    ///
    /// # Errors
    /// The pieces, or ids that name them, contradict each other.
    pub(super) fn ids_by_text(&self) -> Result<HashMap<&str, u32>, TokenizerError> {
        let len = self.pieces.len();
        if len == 0 || len > MAX_SIZE {
            let requirement = format!("between 1 and {MAX_SIZE}");
            return Err(TokenizerError::invalid("number of pieces", len, requirement));
        }
        let mut ids = HashMap::with_capacity(len);
        for (piece, id) in self.pieces.iter().zip(0..) {
            let Piece { text, score, kind } = piece;
            let field = || format!("pieces[{id}]");
            if text.len() > MAX_PIECE_BYTES {
                let requirement = format!("at most {MAX_PIECE_BYTES} bytes long");
                return Err(TokenizerError::invalid(field(), text, requirement));
            }
            if score.is_nan() {
                let requirement = "a number";
                return Err(TokenizerError::invalid(field() + ".score", score, requirement));
            }
            if *kind == PieceKind::Byte && byte_of(text).is_none() {
                let requirement = "written <0x00> to <0xFF>, as it is a byte";
                return Err(TokenizerError::invalid(field(), text, requirement));
            }
            if text.is_empty() {
                continue;
            }
            if let Some(first) = ids.insert(text.as_str(), id) {
                let requirement = format!("another text than pieces[{first}]");
                return Err(TokenizerError::invalid(field(), text, requirement));
            }
        }
        for (field, id) in
            [("bos_id", self.bos_id), ("eos_id", self.eos_id), ("pad_id", self.pad_id)]
        {
            let Some(id) = id else { continue };
            if self.pieces.get(id as usize).is_none_or(|piece| piece.text.is_empty()) {
                let requirement =
                    format!("the id of one of the {len} pieces, and not an empty one");
                return Err(TokenizerError::invalid(field, id, requirement));
            }
        }
        if self.add_bos && self.bos_id.is_none() {
            let requirement = "the id of the piece that `add_bos` puts before every text";
            return Err(TokenizerError::invalid("bos_id", "missing", requirement));
        }
        Ok(ids)
    }
}

/// The byte that `<0xHH>` stands for.
pub(super) fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let byte = u8::from_str_radix(digits, 16).ok()?;
    // Neither lower case, which the byte fallback of `tokenizers` does not look for, nor a sign.
    (byte_piece(byte) == text).then_some(byte)
}

/// How vocabularies with a byte fallback write a byte.
pub(super) fn byte_piece(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}
