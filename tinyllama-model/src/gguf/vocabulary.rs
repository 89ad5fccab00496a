//! The keys `tokenizer.ggml.*` as a vocabulary.

use super::error::{GgufError, shown};
use super::keys;
use super::metadata::Metadata;
use super::special_ids::SpecialIds;
use crate::tokenizer::{Algorithm, Piece, PieceKind, Vocabulary};

/// Four times the largest vocabulary of a Llama.
const MAX_TOKENS: usize = 1 << 20;

/// Names of `tokenizer.ggml.pre` for which llama.cpp puts a beginning token before every text.
const PRE_TOKENIZERS_WITH_BOS: [&str; 10] = [
    "llama3",
    "llama-v3",
    "llama-bpe",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
    "tekken",
    "chameleon",
];

pub(super) fn read(metadata: &Metadata) -> Result<Vocabulary, GgufError> {
    let model = metadata.string(keys::TOKENIZER_MODEL)?;
    let (algorithm, default_add_bos) = match metadata.required(keys::TOKENIZER_MODEL, model)? {
        "llama" => {
            let add_space_prefix = metadata.bool(keys::ADD_SPACE_PREFIX)?.unwrap_or(true);
            (Algorithm::SentencePiece { add_space_prefix }, true)
        }
        "gpt2" => {
            let merges = metadata.strings(keys::MERGES)?;
            let merges = metadata.required(keys::MERGES, merges)?;
            let pre_tokenizer = metadata.string(keys::TOKENIZER_PRE)?.unwrap_or("default");
            let add_bos = PRE_TOKENIZERS_WITH_BOS.contains(&pre_tokenizer);
            let pre_tokenizer = pre_tokenizer.to_owned();
            let merges = merges.map(str::to_owned).collect();
            (Algorithm::ByteLevel { merges, pre_tokenizer }, add_bos)
        }
        other => {
            return Err(GgufError::unsupported(
                keys::TOKENIZER_MODEL,
                format!("`{}`", shown(other)),
                "`llama` (SentencePiece) and `gpt2` (byte-level BPE) are",
            ));
        }
    };
    let ids = SpecialIds::read(metadata)?;
    Ok(Vocabulary {
        pieces: pieces(metadata, matches!(algorithm, Algorithm::SentencePiece { .. }))?,
        algorithm,
        bos_id: ids.bos,
        eos_id: ids.eos,
        pad_id: ids.padding,
        add_bos: metadata.bool(keys::ADD_BOS)?.unwrap_or(default_add_bos),
    })
}

fn pieces(metadata: &Metadata, needs_scores: bool) -> Result<Vec<Piece>, GgufError> {
    let tokens = metadata.strings(keys::TOKENS)?;
    let tokens = metadata.required(keys::TOKENS, tokens)?;
    if !(1..=MAX_TOKENS).contains(&tokens.len()) {
        let found = format!("a list of {} tokens", tokens.len());
        let requirement = format!("1 to {MAX_TOKENS} long");
        return Err(GgufError::invalid(keys::TOKENS, found, requirement));
    }
    let mut scores = metadata.floats(keys::SCORES)?;
    if needs_scores {
        scores = Some(metadata.required(keys::SCORES, scores)?);
    }
    let mut kinds = metadata.integers(keys::TOKEN_TYPE)?;
    let lens = [
        (keys::SCORES, scores.as_ref().map(ExactSizeIterator::len)),
        (keys::TOKEN_TYPE, kinds.as_ref().map(ExactSizeIterator::len)),
    ];
    for (key, len) in lens {
        if let Some(len) = len.filter(|&len| len != tokens.len()) {
            let requirement = format!("{} long, as `{}` is", tokens.len(), keys::TOKENS);
            return Err(GgufError::invalid(key, format!("a list of {len}"), requirement));
        }
    }
    let mut pieces = Vec::with_capacity(tokens.len());
    for (id, text) in tokens.enumerate() {
        let score = scores.as_mut().and_then(Iterator::next).unwrap_or(0.0);
        if !score.is_finite() {
            let found = format!("{score} for token {id}");
            return Err(GgufError::invalid(keys::SCORES, found, "finite"));
        }
        let kind = match kinds.as_mut().and_then(Iterator::next) {
            None => PieceKind::Normal,
            Some(number) => kind(number).ok_or_else(|| {
                let found = format!("{number} for token {id}");
                GgufError::invalid(keys::TOKEN_TYPE, found, "between 0 and 6")
            })?,
        };
        pieces.push(Piece { text: text.to_owned(), score, kind });
    }
    Ok(pieces)
}

/// 0 is "undefined", which llama.cpp treats as text.
fn kind(number: i128) -> Option<PieceKind> {
    Some(match number {
        0 | 1 => PieceKind::Normal,
        2 => PieceKind::Unknown,
        3 => PieceKind::Control,
        4 => PieceKind::UserDefined,
        5 => PieceKind::Unused,
        6 => PieceKind::Byte,
        _ => return None,
    })
}
