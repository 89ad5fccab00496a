//! The metadata that llama.cpp's converter (`convert_hf_to_gguf.py`) writes for a Llama.

use kernels_cubecl::Format;

use super::metadata_writer::MetadataWriter;
use crate::config::ModelConfig;
use crate::gguf::error::GgufError;
use crate::gguf::special_ids::SpecialIds;
use crate::gguf::{DEFAULT_ALIGNMENT, QUANTIZATION_VERSION, keys, rope_scaling};
use crate::tokenizer::{Algorithm, Piece, PieceKind, Vocabulary};

/// Of pieces that fill the vocabulary up to the model's, so that no text is ever joined to them.
const FILLER_SCORE: f32 = -1000.0;

/// What a GGUF file says besides its tensors.
#[derive(Clone, Copy, Debug)]
pub struct Description<'a> {
    /// Sizes and constants. `initializer_range` and `torch_dtype` have no place in GGUF; of the
    /// ends of a sequence it has three.
    pub config: &'a ModelConfig,
    /// What turns text into ids; filled up with unused pieces where it is smaller than the config's.
    /// Its ids come before those of the config.
    pub vocabulary: Option<&'a Vocabulary>,
    /// The Jinja template of conversations.
    pub chat_template: Option<&'a str>,
    /// The model's name for human readers.
    pub name: Option<&'a str>,
    /// The format of most matrices.
    pub file_type: Format,
}

/// The metadata of `description`.
pub(super) fn metadata(description: &Description<'_>) -> Result<MetadataWriter, GgufError> {
    let Description { config, vocabulary, chat_template, name, file_type } = *description;
    config.validate()?;
    let ids = special_ids(config, vocabulary);
    check_ids(&ids, config)?;
    let mut metadata = MetadataWriter::default();
    metadata.string(keys::ARCHITECTURE, "llama");
    metadata.string(keys::TYPE, "model");
    if let Some(name) = name {
        metadata.string(keys::NAME, name);
    }
    metadata.string(keys::SIZE_LABEL, &size_label(config.num_parameters()));
    metadata.uint32(keys::FILE_TYPE, file_type_code(file_type));
    metadata.uint32(keys::QUANTIZATION_VERSION, QUANTIZATION_VERSION);
    metadata.uint32(keys::ALIGNMENT, DEFAULT_ALIGNMENT as u32);
    sizes(config, &mut metadata)?;
    if let Some(vocabulary) = vocabulary {
        tokenizer(vocabulary, config.vocab_size, &mut metadata)?;
    }
    for (key, id) in [
        (keys::BOS_ID, ids.bos),
        (keys::EOS_ID, ids.eos),
        (keys::EOT_ID, ids.eot),
        (keys::EOM_ID, ids.eom),
        (keys::PADDING_ID, ids.padding),
    ] {
        if let Some(id) = id {
            metadata.uint32(key, id);
        }
    }
    if let Some(template) = chat_template {
        metadata.string(keys::CHAT_TEMPLATE, template);
    }
    Ok(metadata)
}

/// llama.cpp's number for files whose matrices are mostly of this format.
fn file_type_code(format: Format) -> u32 {
    match format {
        Format::F32 => 0,
        Format::F16 => 1,
        Format::Q4_0 => 2,
        Format::Q4_1 => 3,
        Format::Q8_0 => 7,
        Format::Q5_0 => 8,
        Format::Q5_1 => 9,
        Format::Q4K => 15,
        Format::Q5K => 17,
        Format::Q6K => 18,
        Format::Bf16 => 32,
    }
}

fn sizes(config: &ModelConfig, metadata: &mut MetadataWriter) -> Result<(), GgufError> {
    let mut size = |key, size: usize| metadata.uint32(key, size as u32); // At most MAX_SIZE.
    size(keys::VOCAB_SIZE, config.vocab_size);
    size(keys::CONTEXT_LENGTH, config.max_position_embeddings);
    size(keys::EMBEDDING_LENGTH, config.hidden_size);
    size(keys::BLOCK_COUNT, config.num_hidden_layers);
    size(keys::FEED_FORWARD_LENGTH, config.intermediate_size);
    size(keys::HEAD_COUNT, config.num_attention_heads);
    size(keys::HEAD_COUNT_KV, config.num_key_value_heads);
    if let Some(head_dim) = config.head_dim {
        size(keys::KEY_LENGTH, head_dim);
        size(keys::VALUE_LENGTH, head_dim);
    }
    size(keys::ROPE_DIMENSION_COUNT, config.head_dim());
    metadata.float(keys::ROPE_FREQ_BASE, config.rope_theta)?;
    rope_scaling::write(config.rope_scaling, metadata)?;
    metadata.float(keys::RMS_EPSILON, config.rms_norm_eps)
}

fn tokenizer(
    vocabulary: &Vocabulary,
    vocab_size: usize,
    metadata: &mut MetadataWriter,
) -> Result<(), GgufError> {
    let pieces = filled_up(&vocabulary.pieces, vocab_size)?;
    let texts = pieces.iter().map(|piece| piece.text.as_str());
    match &vocabulary.algorithm {
        Algorithm::SentencePiece { add_space_prefix } => {
            metadata.string(keys::TOKENIZER_MODEL, "llama");
            metadata.string(keys::TOKENIZER_PRE, "default");
            metadata.strings(keys::TOKENS, texts);
            metadata.floats(keys::SCORES, pieces.iter().map(|piece| piece.score));
            metadata.bool(keys::ADD_SPACE_PREFIX, *add_space_prefix);
        }
        Algorithm::ByteLevel { merges, pre_tokenizer } => {
            metadata.string(keys::TOKENIZER_MODEL, "gpt2");
            metadata.string(keys::TOKENIZER_PRE, pre_tokenizer);
            metadata.strings(keys::TOKENS, texts);
            metadata.strings(keys::MERGES, merges.iter().map(String::as_str));
        }
    }
    metadata.int32s(keys::TOKEN_TYPE, pieces.iter().map(|piece| piece.kind as i32));
    if let Some(id) = pieces.iter().position(|piece| piece.kind == PieceKind::Unknown) {
        metadata.uint32(keys::UNKNOWN_ID, id as u32);
    }
    metadata.bool(keys::ADD_BOS, vocabulary.add_bos);
    metadata.bool(keys::ADD_EOS, false);
    Ok(())
}

/// One piece for each row of the embedding, as llama.cpp demands.
fn filled_up(pieces: &[Piece], vocab_size: usize) -> Result<Vec<Piece>, GgufError> {
    if pieces.len() > vocab_size {
        let found = format!("a list of {} pieces", pieces.len());
        let requirement = format!("at most vocab_size = {vocab_size} long");
        return Err(GgufError::invalid(keys::TOKENS, found, requirement));
    }
    let filler =
        |id| Piece { text: format!("[PAD{id}]"), score: FILLER_SCORE, kind: PieceKind::Unused };
    Ok(pieces.iter().cloned().chain((pieces.len()..vocab_size).map(filler)).collect())
}

fn special_ids(config: &ModelConfig, vocabulary: Option<&Vocabulary>) -> SpecialIds {
    let of_vocabulary = |id: fn(&Vocabulary) -> Option<u32>| vocabulary.and_then(id);
    let eos = of_vocabulary(|vocabulary| vocabulary.eos_id).or(config.eos_token_id);
    let mut others = config.eos_token_ids().into_iter().filter(|&id| Some(id) != eos);
    SpecialIds {
        bos: of_vocabulary(|vocabulary| vocabulary.bos_id).or(config.bos_token_id),
        eos,
        eot: others.next(),
        eom: others.next(),
        padding: of_vocabulary(|vocabulary| vocabulary.pad_id).or(config.pad_token_id),
    }
}

/// The config's own ids are checked with it, those of the vocabulary here.
fn check_ids(ids: &SpecialIds, config: &ModelConfig) -> Result<(), GgufError> {
    for (key, id) in
        [(keys::BOS_ID, ids.bos), (keys::EOS_ID, ids.eos), (keys::PADDING_ID, ids.padding)]
    {
        if let Some(id) = id.filter(|&id| id as usize >= config.vocab_size) {
            let requirement = format!("smaller than vocab_size = {}", config.vocab_size);
            return Err(GgufError::invalid(key, id, requirement));
        }
    }
    Ok(())
}

/// The size as llama.cpp's converter rounds it: two figures, as 1.1B or 135M.
fn size_label(parameters: usize) -> String {
    let (unit, letter) = match parameters {
        0..=1_000_000 => (1e3, 'K'),
        1_000_001..=1_000_000_000 => (1e6, 'M'),
        _ => (1e9, 'B'),
    };
    let scaled = parameters as f64 / unit;
    let places = if scaled.round() < 10.0 { 1 } else { 0 };
    format!("{scaled:.places$}{letter}")
}

#[cfg(test)]
mod tests {
    use super::size_label;

    /// `gguf.size_label` of PyPI's gguf 0.19, for the same counts.
    #[test]
    fn labels_are_those_of_the_converter() {
        let labels = [
            (1_100_048_384, "1.1B"),
            (134_515_008, "135M"),
            (121_129_728, "121M"),
            (6_738_415_616, "6.7B"),
            (1_999_999, "2.0M"),
        ];
        for (parameters, label) in labels {
            assert_eq!(size_label(parameters), label, "{parameters} parameters");
        }
    }
}
