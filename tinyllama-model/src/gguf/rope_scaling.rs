//! How a change of the rotary positions is stored: as keys `llama.rope.scaling.*`, or as a tensor of
//! divisors of the frequencies.

use kernels_cubecl::Format;

use super::error::GgufError;
use super::metadata::Metadata;
use super::writer::MetadataWriter;
use super::{Gguf, keys};
use crate::config::{MAX_SIZE, ModelConfig, RopeScaling};
use crate::rope;

/// Where Llama 3.1 and its successors were trained before they were stretched.
const LLAMA3_TRAINED_TOKENS: usize = 8192;

/// Divisors are f32 in the file and f64 here.
const F32_ROUNDING: f64 = 1e-5;

/// The scaling that the metadata describe.
///
/// # Errors
/// The type is not computed here, or a key has another type.
pub(super) fn read(metadata: &Metadata) -> Result<Option<RopeScaling>, GgufError> {
    // llama.cpp's defaults: linear, by a factor of 1, for which 0 stands too.
    let kind = metadata.string(keys::ROPE_SCALING_TYPE)?.unwrap_or("linear");
    let factor = match metadata.float(keys::ROPE_SCALING_FACTOR)? {
        None => metadata.float(keys::ROPE_SCALE_LINEAR)?,
        named => named,
    };
    match (kind, factor) {
        ("none", _) | ("linear" | "yarn", None | Some(0.0 | 1.0)) => Ok(None),
        ("linear", Some(factor)) => Ok(Some(RopeScaling::Linear { factor })),
        ("yarn", Some(factor)) => {
            // llama.cpp multiplies its own default by it.
            let attention = metadata.float(keys::ROPE_ATTENTION_FACTOR)?.filter(|&a| a != 1.0);
            let mut yarn = RopeScaling::yarn(factor, original_context(metadata)?);
            if let (Some(times), RopeScaling::Yarn { attention_factor, .. }) =
                (attention, &mut yarn)
            {
                *attention_factor = Some(times * (0.1 * factor.ln() + 1.0));
            }
            Ok(Some(yarn))
        }
        _ => Err(GgufError::unsupported(
            keys::ROPE_SCALING_TYPE,
            format!("`{}`", super::shown(kind)),
            "`none`, `linear` and `yarn` are",
        )),
    }
}

fn original_context(metadata: &Metadata) -> Result<Option<usize>, GgufError> {
    let tokens = metadata.unsigned(keys::ROPE_ORIGINAL_CONTEXT, MAX_SIZE as u64)?;
    Ok(tokens.map(|tokens| tokens as usize))
}

/// The keys of a scaling; that of Llama 3 is a tensor, [`new_divisors`].
pub(super) fn write(
    scaling: Option<RopeScaling>,
    metadata: &mut MetadataWriter,
) -> Result<(), GgufError> {
    let refuse = |scaling: RopeScaling, remedy: &'static str| {
        Err(GgufError::unsupported(keys::ROPE_SCALING_TYPE, format!("{scaling:?}"), remedy))
    };
    match scaling {
        None => Ok(()),
        Some(RopeScaling::Linear { factor }) => {
            metadata.string(keys::ROPE_SCALING_TYPE, "linear");
            metadata.float(keys::ROPE_SCALING_FACTOR, factor)
        }
        Some(yarn @ RopeScaling::Yarn { factor, original_max_position_embeddings, .. }) => {
            if yarn != RopeScaling::yarn(factor, original_max_position_embeddings) {
                let remedy =
                    "GGUF has yarn with its default settings alone; export a folder instead";
                return refuse(yarn, remedy);
            }
            metadata.string(keys::ROPE_SCALING_TYPE, "yarn");
            write_original(original_max_position_embeddings, metadata);
            metadata.float(keys::ROPE_SCALING_FACTOR, factor)
        }
        Some(RopeScaling::Llama3 { original_max_position_embeddings, .. }) => {
            write_original(Some(original_max_position_embeddings), metadata);
            Ok(())
        }
        Some(dynamic @ RopeScaling::Dynamic { .. }) => {
            refuse(dynamic, "GGUF has no scaling that follows the text; export a folder instead")
        }
    }
}

fn write_original(tokens: Option<usize>, metadata: &mut MetadataWriter) {
    if let Some(tokens) = tokens {
        // Sizes of a valid configuration are far smaller.
        metadata.uint32(keys::ROPE_ORIGINAL_CONTEXT, u32::try_from(tokens).unwrap_or(u32::MAX));
    }
}

/// What the frequencies of `config` are divided by, where GGUF stores that as a tensor.
pub(crate) fn new_divisors(config: &ModelConfig) -> Option<Vec<f32>> {
    let is_llama3 = matches!(config.rope_scaling, Some(RopeScaling::Llama3 { .. }));
    is_llama3.then(|| rope::divisors(config).into_iter().map(|divisor| divisor as f32).collect())
}

/// The tensor of divisors, `[H / 2]`.
///
/// # Errors
/// It is no vector of f32, or a divisor is not finite and above 0.
pub(super) fn divisors(gguf: &Gguf) -> Result<Option<Vec<f32>>, GgufError> {
    let Some(tensor) = gguf.tensor(keys::ROPE_FREQS) else { return Ok(None) };
    if tensor.format != Format::F32 || tensor.shape.len() != 1 {
        let found = format!("{} of shape {:?}", tensor.format, tensor.shape);
        return Err(GgufError::invalid(keys::ROPE_FREQS, found, "a vector of F32"));
    }
    let words = tensor.bytes.as_chunks::<4>().0.iter();
    let divisors: Vec<f32> = words.map(|&word| f32::from_le_bytes(word)).collect();
    match divisors.iter().find(|divisor| !(divisor.is_finite() && **divisor > 0.0)) {
        Some(divisor) => {
            let found = format!("a list with {divisor}");
            Err(GgufError::invalid(keys::ROPE_FREQS, found, "finite and above 0 everywhere"))
        }
        None => Ok(Some(divisors)),
    }
}

/// The scaling of `config`, or that of Llama 3 which the file's divisors are the result of. They say
/// nothing of its parameters; those that all published models have are tried.
pub(super) fn with_divisors(
    gguf: &Gguf,
    config: &ModelConfig,
) -> Result<Option<RopeScaling>, GgufError> {
    let Some(divisors) = divisors(gguf)? else { return Ok(config.rope_scaling) };
    if divisors.len() != config.head_dim() / 2 {
        let requirement = format!("half of the head's size, {}", config.head_dim() / 2);
        let found = format!("a vector of {}", divisors.len());
        return Err(GgufError::invalid(keys::ROPE_FREQS, found, requirement));
    }
    let factor = divisors.iter().fold(1f32, |largest, &divisor| largest.max(divisor));
    if divisors.iter().all(|&divisor| divisor == 1.0) {
        return Ok(config.rope_scaling);
    }
    let named = original_context(&gguf.metadata)?;
    for trained_tokens in named.into_iter().chain([LLAMA3_TRAINED_TOKENS]) {
        let rope_scaling = Some(RopeScaling::Llama3 {
            factor: f64::from(factor),
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: trained_tokens,
        });
        let expected = rope::divisors(&ModelConfig { rope_scaling, ..config.clone() });
        let is_equal = |(found, expected): (&f32, &f64)| {
            (f64::from(*found) / expected - 1.0).abs() < F32_ROUNDING
        };
        if config.rope_scaling.is_none() && divisors.iter().zip(&expected).all(is_equal) {
            return Ok(rope_scaling);
        }
    }
    Err(GgufError::unsupported(
        keys::ROPE_FREQS,
        format!("a list with {factor}"),
        "frequencies divided as in Llama 3 are, from 8192 trained tokens with factors 1 and 4",
    ))
}
