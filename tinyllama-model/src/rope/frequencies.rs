//! How far a position turns each pair of a head, for every kind of `rope_scaling`.
//!
//! The formulas of transformers, `modeling_rope_utils.py`, in f64.

use std::f64::consts::TAU;

use crate::config::{ModelConfig, RopeScaling};

/// What makes cosines and sines out of positions.
#[derive(Debug)]
pub(super) struct Frequencies {
    /// H/2 angles, in radians per token.
    pub(super) per_token: Vec<f64>,
    /// Multiplies cosines and sines.
    pub(super) attention_factor: f64,
}

/// The frequencies for a text of `seq_tokens`, of which a pass may compute the end alone.
pub(super) fn frequencies(config: &ModelConfig, seq_tokens: usize) -> Frequencies {
    let theta = config.rope_theta;
    let half = config.head_dim() / 2;
    let unscaled = |theta: f64| (0..half).map(move |pair| theta.powf(-(pair as f64) / half as f64));
    let mut attention_factor = 1.0;
    let per_token = match config.rope_scaling {
        None => unscaled(theta).collect(),
        Some(RopeScaling::Linear { factor }) => unscaled(theta).map(|w| w / factor).collect(),
        Some(RopeScaling::Dynamic { factor, .. }) => {
            unscaled(theta * dynamic_base(factor, seq_tokens, config)).collect()
        }
        Some(RopeScaling::Yarn {
            factor,
            original_max_position_embeddings,
            attention_factor: given,
            beta_fast,
            beta_slow,
            mscale,
            mscale_all_dim,
            truncate,
        }) => {
            attention_factor =
                given.unwrap_or_else(|| yarn_attention_factor(factor, mscale, mscale_all_dim));
            let trained_tokens =
                original_max_position_embeddings.unwrap_or(config.max_position_embeddings);
            let [low, high] =
                [beta_fast, beta_slow].map(|turns| yarn_pair(turns, trained_tokens, config));
            let stretched = yarn_ramp(low, high, config.head_dim(), truncate);
            let pairs = unscaled(theta).enumerate();
            pairs.map(|(pair, w)| blend(w, w / factor, stretched(pair))).collect()
        }
        Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        }) => {
            let stretched = |w: f64| {
                let turns = original_max_position_embeddings as f64 * w / TAU;
                1.0 - (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)
            };
            unscaled(theta).map(|w| blend(w, w / factor, stretched(w))).collect()
        }
    };
    Frequencies { per_token, attention_factor }
}

/// What each of the H/2 frequencies is divided by in comparison with none scaled: how GGUF stores the
/// scaling of Llama 3.
pub(crate) fn divisors(config: &ModelConfig) -> Vec<f64> {
    let of = |rope_scaling| {
        let config = ModelConfig { rope_scaling, ..config.clone() };
        frequencies(&config, config.max_position_embeddings).per_token
    };
    of(None)
        .into_iter()
        .zip(of(config.rope_scaling))
        .map(|(plain, scaled)| plain / scaled)
        .collect()
}

/// `fast` where the share of `slow` is 0 or less, `slow` where it is 1 or more.
fn blend(fast: f64, slow: f64, share: f64) -> f64 {
    let share = share.clamp(0.0, 1.0);
    (1.0 - share) * fast + share * slow
}

/// What dynamic NTK multiplies the base by: 1 up to the trained length.
fn dynamic_base(factor: f64, seq_tokens: usize, config: &ModelConfig) -> f64 {
    let trained_tokens = config.max_position_embeddings;
    if seq_tokens <= trained_tokens {
        return 1.0;
    }
    let head_dim = config.head_dim() as f64;
    let longer = seq_tokens as f64 / trained_tokens as f64;
    (factor * longer - (factor - 1.0)).powf(head_dim / (head_dim - 2.0))
}

/// The pair, as a fraction, that turns so often in the trained length.
fn yarn_pair(turns: f64, trained_tokens: usize, config: &ModelConfig) -> f64 {
    let longest = trained_tokens as f64 / (turns * TAU);
    config.head_dim() as f64 * longest.ln() / (2.0 * config.rope_theta.ln())
}

/// The share of stretching by pair: from 0 at `low` to 1 at `high`.
fn yarn_ramp(low: f64, high: f64, head_dim: usize, truncate: bool) -> impl Fn(usize) -> f64 {
    let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
    // The original bounds pairs by the last index of a head, and so does this.
    let (low, mut high) = (low.max(0.0), high.min((head_dim - 1) as f64));
    if low == high {
        high += 0.001; // A step instead of 0/0.
    }
    move |pair| (pair as f64 - low) / (high - low)
}

fn yarn_attention_factor(factor: f64, mscale: Option<f64>, mscale_all_dim: Option<f64>) -> f64 {
    let of = |mscale: f64| 0.1 * mscale * factor.ln() + 1.0; // 1 where the factor is 1.
    match (mscale, mscale_all_dim) {
        (Some(mscale), Some(all_dim)) if mscale != 0.0 && all_dim != 0.0 => {
            of(mscale) / of(all_dim)
        }
        _ => of(1.0),
    }
}
