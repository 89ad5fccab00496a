//! `tokenizer.model`: the protobuf messages of SentencePiece (sentencepiece_model.proto), of which
//! byte-pair encodings as Llama 2's are read.

use std::collections::HashMap;

use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use super::guard;
use super::vocabulary::{Algorithm, Piece, PieceKind, Vocabulary};
use crate::config::MAX_SIZE;
use crate::error::TokenizerError;

const PIECES_TAG: u32 = 1;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<PieceProto>,
    #[prost(message, optional, tag = "2")]
    trainer_spec: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer_spec: Option<NormalizerSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct PieceProto {
    /// Text, checked here to name the piece that is none.
    #[prost(bytes = "vec", optional, tag = "1")]
    piece: Option<Vec<u8>>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    r#type: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct TrainerSpec {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    treat_whitespace_as_suffix: Option<bool>,
    #[prost(int32, optional, tag = "41")]
    bos_id: Option<i32>,
    #[prost(int32, optional, tag = "42")]
    eos_id: Option<i32>,
    #[prost(int32, optional, tag = "43")]
    pad_id: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    escape_whitespaces: Option<bool>,
}

impl Vocabulary {
    /// Reads a `tokenizer.model`. The beginning token is put before every text, as transformers does
    /// for Llama.
    ///
    /// # Errors
    /// The bytes are no SentencePiece model, or one of another kind than Llama 2's: unigram, or with
    /// rules that change the text first.
    pub fn from_sentencepiece(bytes: &[u8]) -> Result<Self, TokenizerError> {
        guard::check_len(bytes)?;
        check_number_of_pieces(bytes)?;
        let model =
            ModelProto::decode(bytes).map_err(|source| TokenizerError::Protobuf { source })?;
        let trainer = model.trainer_spec.unwrap_or_default();
        let normalizer = model.normalizer_spec.unwrap_or_default();
        check_specs(&trainer, &normalizer)?;
        let pieces = (model.pieces.into_iter().enumerate())
            .map(|(id, piece)| read_piece(id, piece))
            .collect::<Result<Vec<_>, _>>()?;
        // Absent fields have the defaults of the .proto; a negative id says that there is none.
        let id = |value: Option<i32>, default: i32| u32::try_from(value.unwrap_or(default)).ok();
        let bos_id = id(trainer.bos_id, 1);
        let vocabulary = Self {
            pieces,
            algorithm: Algorithm::SentencePiece {
                add_space_prefix: normalizer.add_dummy_prefix.unwrap_or(true),
            },
            bos_id,
            eos_id: id(trainer.eos_id, 2),
            pad_id: id(trainer.pad_id, -1),
            add_bos: bos_id.is_some(),
        };
        vocabulary.ids_by_text()?;
        Ok(vocabulary)
    }
}

/// A piece takes two bytes of the file, but ten times as many here; so they are counted first.
fn check_number_of_pieces(mut bytes: &[u8]) -> Result<(), TokenizerError> {
    let protobuf = |source| TokenizerError::Protobuf { source };
    let mut fields: HashMap<u32, usize> = HashMap::new();
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes).map_err(protobuf)?;
        skip_field(wire_type, tag, &mut bytes, DecodeContext::default()).map_err(protobuf)?;
        *fields.entry(tag).or_default() += 1;
    }
    match fields.get(&PIECES_TAG) {
        Some(&len) if len <= MAX_SIZE => Ok(()),
        len => {
            let requirement = format!("between 1 and {MAX_SIZE}");
            let len = len.copied().unwrap_or_default();
            Err(TokenizerError::invalid("number of pieces", len, requirement))
        }
    }
}

fn check_specs(trainer: &TrainerSpec, normalizer: &NormalizerSpec) -> Result<(), TokenizerError> {
    const BPE: i32 = 2;
    const REMEDY: &str = "convert it to tokenizer.json with transformers";
    let refuse = |field: &str, value: &str| Err(TokenizerError::unsupported(field, value, REMEDY));
    match trainer.model_type {
        Some(BPE) => {}
        None | Some(1) => return refuse("trainer_spec.model_type", "UNIGRAM"),
        Some(other) => return refuse("trainer_spec.model_type", &other.to_string()),
    }
    if trainer.treat_whitespace_as_suffix == Some(true) {
        return refuse("trainer_spec.treat_whitespace_as_suffix", "true");
    }
    let charsmap = normalizer.precompiled_charsmap.as_deref().unwrap_or_default();
    if !charsmap.is_empty() {
        let value = format!("{} bytes long", charsmap.len());
        return refuse("normalizer_spec.precompiled_charsmap", &value);
    }
    if normalizer.remove_extra_whitespaces.unwrap_or(true) {
        return refuse("normalizer_spec.remove_extra_whitespaces", "true");
    }
    if !normalizer.escape_whitespaces.unwrap_or(true) {
        return refuse("normalizer_spec.escape_whitespaces", "false");
    }
    Ok(())
}

fn read_piece(id: usize, piece: PieceProto) -> Result<Piece, TokenizerError> {
    let text = String::from_utf8(piece.piece.unwrap_or_default()).map_err(|error| {
        let value = String::from_utf8_lossy(error.as_bytes()).into_owned();
        TokenizerError::invalid(format!("pieces[{id}].piece"), value, "valid UTF-8")
    })?;
    let number = piece.r#type.unwrap_or(PieceKind::Normal as i32);
    let kind = PieceKind::of_number(number).ok_or_else(|| {
        let requirement = "a number from 1 (NORMAL) to 6 (BYTE)";
        TokenizerError::invalid(format!("pieces[{id}].type"), number, requirement)
    })?;
    Ok(Piece { text, score: piece.score.unwrap_or_default(), kind })
}

#[cfg(test)]
mod tests;
