//! How a change of the rotary positions is stored: as keys `llama.rope.scaling.*`, or as a tensor of
//! divisors of the frequencies.

use kernels_cubecl::Format;

use super::error::GgufError;
use super::metadata::Metadata;
use super::writer::MetadataWriter;
use super::{Gguf, keys};
use crate::config::RopeScaling;

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
        ("none", _) | ("linear", None | Some(0.0 | 1.0)) => Ok(None),
        ("linear", Some(factor)) => Ok(Some(RopeScaling::Linear { factor })),
        _ => Err(GgufError::unsupported(
            keys::ROPE_SCALING_TYPE,
            format!("`{}`", super::shown(kind)),
            "`none` and `linear` are",
        )),
    }
}

/// The keys of a scaling.
pub(super) fn write(
    scaling: Option<RopeScaling>,
    metadata: &mut MetadataWriter,
) -> Result<(), GgufError> {
    match scaling {
        None => Ok(()),
        Some(RopeScaling::Linear { factor }) => {
            metadata.string(keys::ROPE_SCALING_TYPE, "linear");
            metadata.float(keys::ROPE_SCALING_FACTOR, factor)
        }
        Some(other) => Err(GgufError::unsupported(
            keys::ROPE_SCALING_TYPE,
            format!("{other:?}"),
            "`none` and `linear` are",
        )),
    }
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

/// Refuses divisors that change a frequency: those of Llama 3 are not computed here.
pub(super) fn refuse_divisors(gguf: &Gguf, head_dim: usize) -> Result<(), GgufError> {
    let Some(divisors) = divisors(gguf)? else { return Ok(()) };
    if divisors.len() != head_dim / 2 {
        let requirement = format!("half of the head's size, {}", head_dim / 2);
        let found = format!("a vector of {}", divisors.len());
        return Err(GgufError::invalid(keys::ROPE_FREQS, found, requirement));
    }
    match divisors.iter().find(|&&divisor| divisor != 1.0) {
        Some(divisor) => Err(GgufError::unsupported(
            keys::ROPE_FREQS,
            format!("a list with {divisor}"),
            "frequencies scaled as in Llama 3 are not computed here, so all divisors must be 1",
        )),
        None => Ok(()),
    }
}
