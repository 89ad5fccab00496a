//! A tokenizer from a vocabulary, as transformers builds one from `tokenizer.model` or a GGUF file.

use std::collections::{HashMap, HashSet};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeBuilder};
use tokenizers::{AddedToken, Decoder, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper};

use super::merges::{self, Merge};
use super::pre_tokenizers::PreTokenizer;
use super::settings::Settings;
use super::vocabulary::{Algorithm, PieceKind, SPACE, Vocabulary};
use super::{Tokenizer, guard};
use crate::error::TokenizerError;

const BYTES: usize = 256;

impl Tokenizer {
    /// Builds the tokenizer that a vocabulary describes.
    ///
    /// SentencePiece's kind gives the ids of SentencePiece itself, save that a space is put before
    /// each text between special tokens and not before the first one only, as in Llama 2's
    /// `tokenizer.json`, and that joins of equal score may be taken in another order. Pieces of kind
    /// `Unused` are never given; SentencePiece may pass through one on the way to a longer piece.
    ///
    /// # Errors
    /// The vocabulary contradicts itself, cannot express all text, would let plain text turn into a
    /// special token, or names a pre-tokenizer that is not known.
    pub fn from_vocabulary(vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        let ids = vocabulary.ids_by_text()?;
        let mut inner = match &vocabulary.algorithm {
            Algorithm::SentencePiece { add_space_prefix } => {
                sentencepiece(vocabulary, &ids, *add_space_prefix)?
            }
            Algorithm::ByteLevel { merges, pre_tokenizer } => {
                byte_level(vocabulary, &ids, merges, PreTokenizer::of_name(pre_tokenizer)?)?
            }
        };
        let added = vocabulary.pieces.iter().filter(|piece| !piece.text.is_empty());
        let added = added.filter_map(|piece| match piece.kind {
            PieceKind::Control | PieceKind::Unknown => Some(AddedToken::from(&piece.text, true)),
            PieceKind::UserDefined => {
                Some(AddedToken::from(vocabulary.spelled(piece), false).normalized(false))
            }
            _ => None,
        });
        let added: Vec<AddedToken> = added.collect();
        guard::check_added(added.iter().map(|token| token.content.as_str()))?;
        inner.add_tokens(added).map_err(|cause| TokenizerError::Parse { cause })?;
        if let (true, Some(id)) = (vocabulary.add_bos, vocabulary.bos_id) {
            let bos = &vocabulary.pieces[id as usize].text;
            inner.with_post_processor(Some(bos_in_front(bos, id)));
        }
        let mut tokenizer = Self::from(inner);
        tokenizer.settings = Settings::of_vocabulary(vocabulary);
        tokenizer.scores = matches!(vocabulary.algorithm, Algorithm::SentencePiece { .. })
            .then(|| vocabulary.pieces.iter().map(|piece| piece.score).collect());
        check_special(vocabulary, &tokenizer)?;
        Ok(tokenizer.with_bos_known())
    }
}

fn sentencepiece(
    vocabulary: &Vocabulary,
    ids: &HashMap<&str, u32>,
    add_space_prefix: bool,
) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let bytes = vocabulary.pieces.iter().filter(|piece| piece.kind == PieceKind::Byte).count();
    if bytes != 0 && bytes != BYTES {
        let value = format!("{bytes} pieces of kind `Byte`");
        return Err(TokenizerError::invalid("pieces", value, "none or all 256 of them"));
    }
    if bytes == 0 && vocabulary.unknown().is_none() {
        let value = "a list without bytes and without an unknown piece";
        let requirement = "able to express all text, by either";
        return Err(TokenizerError::invalid("pieces", value, requirement));
    }
    let model = model(vocabulary, ids, merges::of_scores(&vocabulary.pieces)?)?
        .fuse_unk(true)
        .byte_fallback(bytes == BYTES);
    let prepend = add_space_prefix.then(|| json!({"type": "Prepend", "prepend": SPACE}));
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let normalizers: Vec<Value> = prepend.into_iter().chain([replace]).collect();
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if add_space_prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let mut tokenizer = tokenizers::Tokenizer::new(built(model)?);
    let normalizer: NormalizerWrapper =
        part(json!({"type": "Sequence", "normalizers": normalizers}));
    set_normalizer(&mut tokenizer, normalizer);
    let decoder: DecoderWrapper = part(json!({"type": "Sequence", "decoders": decoders}));
    tokenizer.with_decoder(Some(decoder));
    Ok(tokenizer)
}

fn byte_level(
    vocabulary: &Vocabulary,
    ids: &HashMap<&str, u32>,
    merges: &[String],
    pre_tokenizer: &PreTokenizer,
) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let mut pairs = Vec::with_capacity(merges.len());
    let mut seen = HashSet::with_capacity(merges.len());
    for (rank, merge) in merges.iter().enumerate() {
        let is_text = |id: u32| {
            matches!(
                vocabulary.pieces[id as usize].kind,
                PieceKind::Normal | PieceKind::UserDefined
            )
        };
        let pair = merge.split_once(' ').filter(|&(left, right)| {
            let joined = [left, right].concat();
            [left, right, &joined]
                .into_iter()
                .all(|text| ids.get(text).is_some_and(|&id| is_text(id)))
        });
        let invalid = |requirement: &str| {
            TokenizerError::invalid(format!("merges[{rank}]"), format!("`{merge}`"), requirement)
        };
        let requirement = "two pieces of text with a space between, whose join is a piece too";
        let (left, right) = pair.ok_or_else(|| invalid(requirement))?;
        if !seen.insert(merge) {
            return Err(invalid("another one than those before"));
        }
        pairs.push((left.to_owned(), right.to_owned()));
    }
    let model = model(vocabulary, ids, pairs)?.ignore_merges(pre_tokenizer.ignore_merges);
    let mut tokenizer = tokenizers::Tokenizer::new(built(model)?);
    if let Some(normalizer) = pre_tokenizer.normalizer() {
        set_normalizer(&mut tokenizer, normalizer);
    }
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer.pre_tokenizer()));
    let decoder: DecoderWrapper = part(json!({
        "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true
    }));
    tokenizer.with_decoder(Some(decoder));
    Ok(tokenizer)
}

/// Byte-pair encoding with every piece that has a text under its id.
fn model(
    vocabulary: &Vocabulary,
    ids: &HashMap<&str, u32>,
    merges: Vec<Merge>,
) -> Result<BpeBuilder, TokenizerError> {
    let mut vocab = tokenizers::models::bpe::Vocab::with_capacity(ids.len());
    for (piece, id) in vocabulary.pieces.iter().zip(0..) {
        let text = vocabulary.spelled(piece);
        // Text uses a character that the model knows, whatever its kind.
        let unused = piece.kind == PieceKind::Unused && text.chars().count() == 1;
        if text.is_empty() || unused {
            continue;
        }
        if vocab.insert(text, id).is_some() {
            let requirement = "another text than a piece that it equals once `▁` is a space";
            return Err(TokenizerError::invalid(format!("pieces[{id}]"), &piece.text, requirement));
        }
    }
    let model = BPE::builder().vocab_and_merges(vocab, merges);
    Ok(match vocabulary.unknown() {
        Some(unknown) => model.unk_token(unknown.text.clone()),
        None => model,
    })
}

fn built(model: BpeBuilder) -> Result<BPE, TokenizerError> {
    guard::caught(|| model.build()).map_err(|cause| TokenizerError::Parse { cause })
}

fn set_normalizer(tokenizer: &mut tokenizers::Tokenizer, normalizer: NormalizerWrapper) {
    tokenizer.with_normalizer(Some(normalizer)).expect("there are no added tokens yet");
}

fn bos_in_front(bos: &str, id: u32) -> PostProcessorWrapper {
    let special = |type_id: u32| json!({"SpecialToken": {"id": bos, "type_id": type_id}});
    let text = |name: &str, type_id: u32| json!({"Sequence": {"id": name, "type_id": type_id}});
    part(json!({
        "type": "TemplateProcessing",
        "single": [special(0), text("A", 0)],
        "pair": [special(0), text("A", 0), special(1), text("B", 1)],
        "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}}
    }))
}

fn part<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("a part of a tokenizer.json")
}

/// No plain text may turn into a special token. Merges never give one; what is left is a token that
/// the model knows as a whole: a single character, or a word where `ignore_merges` holds.
fn check_special(vocabulary: &Vocabulary, tokenizer: &Tokenizer) -> Result<(), TokenizerError> {
    let by_word = match &vocabulary.algorithm {
        Algorithm::SentencePiece { .. } => false,
        Algorithm::ByteLevel { pre_tokenizer, .. } => {
            PreTokenizer::of_name(pre_tokenizer)?.ignore_merges
        }
    };
    for (piece, id) in vocabulary.pieces.iter().zip(0..) {
        if !matches!(piece.kind, PieceKind::Control | PieceKind::Unknown | PieceKind::Byte) {
            continue;
        }
        let mut taken = piece.text.chars().count() == 1;
        if by_word && !taken {
            let bytes = tokenizers::decoders::byte_level::ByteLevel::default();
            let spelled = bytes
                .decode(vec![piece.text.clone()])
                .map_err(|cause| TokenizerError::Decode { cause })?;
            for text in [&piece.text, &spelled] {
                taken |= tokenizer.encode(text, false)?.contains(&id);
            }
        }
        if taken {
            let requirement = "such that plain text never turns into this special token";
            return Err(TokenizerError::invalid(format!("pieces[{id}]"), &piece.text, requirement));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
