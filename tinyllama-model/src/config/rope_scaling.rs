//! `rope_scaling`: how a model reads texts that are longer than those it was first trained on.
//!
//! Kinds, fields and defaults are those of transformers, `modeling_rope_utils.py`; what each kind does
//! to the angles is computed in `rope/frequencies.rs`.

#[cfg(test)]
mod tests;

use super::{MAX_SIZE, ModelConfig, require};
use crate::error::ConfigError;

/// `beta_fast` of YaRN where a file does not state it.
pub(super) const DEFAULT_BETA_FAST: f64 = 32.0;
/// `beta_slow` of YaRN where a file does not state it.
pub(super) const DEFAULT_BETA_SLOW: f64 = 1.0;

/// A change of the rotary angles that lets a model read longer texts.
///
/// A pair of a head that turns by w per token has the wavelength 2π/w, in tokens. The trained length is
/// `original_max_position_embeddings`, where the kind has it, else
/// [`ModelConfig::max_position_embeddings`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Positions divided by `factor` (position interpolation, <https://arxiv.org/abs/2306.15595>;
    /// TinyLlama's `condense_ratio`).
    Linear {
        /// The divisor, at least 1.
        factor: f64,
    },
    /// A larger base for texts of more than `max_position_embeddings` tokens, which grows with the text
    /// (dynamic NTK, <https://www.reddit.com/r/LocalLLaMA/comments/14mrgpr/>). A cache keeps the keys as
    /// the pass that wrote them turned them, as in transformers.
    Dynamic {
        /// How much farther the model can see, at least 1; see [`ModelConfig::context_tokens`].
        factor: f64,
        /// Some files state it. It changes nothing, as in transformers: the trained length is
        /// `max_position_embeddings`.
        original_max_position_embeddings: Option<usize>,
    },
    /// Short wavelengths stay, long ones are stretched by `factor`, those between are blended (YaRN,
    /// <https://arxiv.org/abs/2309.00071>).
    Yarn {
        /// How much long wavelengths are stretched, at least 1.
        factor: f64,
        /// The trained length in tokens.
        original_max_position_embeddings: Option<usize>,
        /// Multiplies cosines and sines, hence scores by its square. Absent: the ratio of
        /// `0.1 · m · ln(factor) + 1` for m = `mscale` and m = `mscale_all_dim`, or that number for
        /// m = 1 where one of these is absent or 0.
        attention_factor: Option<f64>,
        /// A pair that turns more often than this in the trained length stays; 32 by default.
        beta_fast: f64,
        /// A pair that turns less often than this in the trained length is stretched in full; 1 by default.
        beta_slow: f64,
        /// See `attention_factor`.
        mscale: Option<f64>,
        /// See `attention_factor`.
        mscale_all_dim: Option<f64>,
        /// Whether the first and the last blended pair are whole numbers; true by default.
        truncate: bool,
    },
    /// Short wavelengths stay, long ones are stretched by `factor`, those between are blended
    /// (Llama 3.1, <https://arxiv.org/abs/2407.21783>).
    Llama3 {
        /// How much long wavelengths are stretched, at least 1.
        factor: f64,
        /// Wavelengths above the trained length divided by this are stretched in full.
        low_freq_factor: f64,
        /// Wavelengths below the trained length divided by this stay; more than `low_freq_factor`.
        high_freq_factor: f64,
        /// The trained length in tokens.
        original_max_position_embeddings: usize,
    },
}

impl RopeScaling {
    /// YaRN as its paper has it, with all settings at their defaults.
    pub fn yarn(factor: f64, original_max_position_embeddings: Option<usize>) -> Self {
        Self::Yarn {
            factor,
            original_max_position_embeddings,
            attention_factor: None,
            beta_fast: 32.0,
            beta_slow: 1.0,
            mscale: None,
            mscale_all_dim: None,
            truncate: true,
        }
    }

    /// # Errors
    /// [`ConfigError::Invalid`] for the first field that does not fit.
    pub(super) fn validate(&self, config: &ModelConfig) -> Result<(), ConfigError> {
        let (Self::Linear { factor }
        | Self::Dynamic { factor, .. }
        | Self::Yarn { factor, .. }
        | Self::Llama3 { factor, .. }) = *self;
        require(factor.is_finite() && factor >= 1.0, "rope_scaling.factor", factor, || {
            "finite and at least 1".to_owned()
        })?;
        match *self {
            Self::Linear { .. } => Ok(()),
            Self::Dynamic { original_max_position_embeddings, .. } => {
                trained_length(original_max_position_embeddings)?;
                // The base is raised to H / (H − 2).
                require(config.head_dim() > 2, "head_dim", config.head_dim(), || {
                    "at least 4 where rope_scaling is dynamic".to_owned()
                })
            }
            Self::Yarn {
                original_max_position_embeddings,
                attention_factor,
                beta_fast,
                beta_slow,
                mscale,
                mscale_all_dim,
                ..
            } => {
                trained_length(original_max_position_embeddings)?;
                above_zero("rope_scaling.attention_factor", attention_factor.unwrap_or(1.0))?;
                above_zero("rope_scaling.beta_slow", beta_slow)?;
                require(
                    beta_fast.is_finite() && beta_fast >= beta_slow,
                    "rope_scaling.beta_fast",
                    beta_fast,
                    || format!("finite and at least beta_slow = {beta_slow}"),
                )?;
                for (key, value) in [
                    ("rope_scaling.mscale", mscale),
                    ("rope_scaling.mscale_all_dim", mscale_all_dim),
                ] {
                    let value = value.unwrap_or(0.0);
                    require(value.is_finite() && value >= 0.0, key, value, || {
                        "finite and not negative".to_owned()
                    })?;
                }
                Ok(())
            }
            Self::Llama3 {
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
                ..
            } => {
                trained_length(Some(original_max_position_embeddings))?;
                above_zero("rope_scaling.low_freq_factor", low_freq_factor)?;
                require(
                    high_freq_factor.is_finite() && high_freq_factor > low_freq_factor,
                    "rope_scaling.high_freq_factor",
                    high_freq_factor,
                    || format!("finite and above low_freq_factor = {low_freq_factor}"),
                )
            }
        }
    }
}

fn above_zero(key: &'static str, value: f64) -> Result<(), ConfigError> {
    require(value.is_finite() && value > 0.0, key, value, || "finite and above 0".to_owned())
}

fn trained_length(tokens: Option<usize>) -> Result<(), ConfigError> {
    let tokens = tokens.unwrap_or(1);
    let key = "rope_scaling.original_max_position_embeddings";
    require((1..=MAX_SIZE).contains(&tokens), key, tokens, || format!("between 1 and {MAX_SIZE}"))
}
