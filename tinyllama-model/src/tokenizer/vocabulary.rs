//! A vocabulary as SentencePiece, GGUF and llama2.c files hold it: pieces by id, and what joins them.

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

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// As the vocabulary writes it: `▁` for a space in [`Algorithm::SentencePiece`], GPT-2's letters
    /// for bytes in [`Algorithm::ByteLevel`].
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
