//! From logits to the next token.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::HashSet;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::error::InferError;

/// How a token is drawn. The steps happen in this order, which is that of transformers:
///
/// 1. `repetition_penalty`: logits of tokens that the text already has are divided by it if
///    positive, multiplied if negative (Keskar et al. 2019, <https://arxiv.org/abs/1909.05858>);
/// 2. `temperature` divides all logits; 0 takes the largest and ends here;
/// 3. `top_k`: the k largest stay;
/// 4. `top_p`: of these, in falling order, the fewest whose probabilities reach p stay
///    (<https://arxiv.org/abs/1904.09751>);
/// 5. `min_p`: of these, those with at least min_p times the largest probability stay
///    (<https://arxiv.org/abs/2407.01082>);
/// 6. one is drawn in proportion to its probability.
///
/// Equal logits are ordered by id, so that a seed determines the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 is greedy; 1 leaves the model's distribution as it is.
    pub temperature: f64,
    /// 0 switches it off.
    pub top_k: usize,
    /// In (0, 1]; 1 switches it off.
    pub top_p: f64,
    /// In [0, 1]; 0 switches it off.
    pub min_p: f64,
    /// Above 0; 1 switches it off.
    pub repetition_penalty: f64,
    /// Seed of the random numbers (ChaCha8).
    pub seed: u64,
}

impl Sampling {
    /// The names [`Sampling::set`] knows.
    pub const SETTINGS: [&'static str; 6] =
        ["temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed"];

    /// Always the most probable token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::unfiltered(0) }
    }

    /// The model's own distribution.
    pub fn unfiltered(seed: u64) -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// The first setting outside of its range.
    pub fn validate(&self) -> Result<(), InferError> {
        let check = |name, value: f64, holds: bool, requirement| match holds {
            true => Ok(()),
            false => Err(InferError::Setting { name, value: value.to_string(), requirement }),
        };
        let Self { temperature, top_p, min_p, repetition_penalty, .. } = *self;
        let is_temperature = temperature.is_finite() && temperature >= 0.0;
        check("temperature", temperature, is_temperature, "0 (greedy) or a positive number")?;
        check("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "above 0 and at most 1 (off)")?;
        check("min_p", min_p, (0.0..=1.0).contains(&min_p), "between 0 (off) and 1")?;
        let is_penalty = repetition_penalty.is_finite() && repetition_penalty > 0.0;
        check("repetition_penalty", repetition_penalty, is_penalty, "a positive number, 1 is off")
    }

    /// Changes the setting `name` to what `value` says, or changes nothing.
    ///
    /// # Errors
    /// No such setting, or no such value for it.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), InferError> {
        let mut changed = *self;
        let (name, parsed) = match name {
            "temperature" => ("temperature", assign(&mut changed.temperature, value)),
            "top_k" => ("top_k", assign(&mut changed.top_k, value)),
            "top_p" => ("top_p", assign(&mut changed.top_p, value)),
            "min_p" => ("min_p", assign(&mut changed.min_p, value)),
            "repetition_penalty" => {
                ("repetition_penalty", assign(&mut changed.repetition_penalty, value))
            }
            "seed" => ("seed", assign(&mut changed.seed, value)),
            _ => {
                let (name, known) = (name.to_owned(), Self::SETTINGS.join(", "));
                return Err(InferError::UnknownSetting { name, known });
            }
        };
        if !parsed {
            let requirement = match name {
                "top_k" | "seed" => "a whole number, 0 or more",
                _ => "a number",
            };
            return Err(InferError::Setting { name, value: format!("`{value}`"), requirement });
        }
        changed.validate()?;
        *self = changed;
        Ok(())
    }
}

/// Draws tokens as [`Sampling`] says, with random numbers that go on from token to token.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    rng: ChaCha8Rng,
}

impl Sampler {
    /// A sampler at the beginning of its random numbers.
    ///
    /// # Errors
    /// A setting is outside of its range.
    pub fn new(sampling: Sampling) -> Result<Self, InferError> {
        sampling.validate()?;
        Ok(Self { sampling, rng: ChaCha8Rng::seed_from_u64(sampling.seed) })
    }

    /// Its settings.
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// Chooses the token that follows `context` from its finite `logits` `[V]`.
    ///
    /// # Panics
    /// When V is 0.
    pub fn sample(&mut self, logits: &[f32], context: &[u32]) -> u32 {
        let candidates = self.candidates(logits, context);
        if let [(id, _)] = candidates[..] {
            return id;
        }
        // The probabilities sum to 1 up to rounding; what rounding leaves over goes to the last.
        let mut left = self.rng.random::<f64>();
        let (last, rest) = candidates.split_last().expect("filters keep the most probable token");
        for &(id, probability) in rest {
            left -= probability;
            if left < 0.0 {
                return id;
            }
        }
        last.0
    }

    /// The tokens that may follow with their probabilities, which sum to 1; the most probable first.
    fn candidates(&self, logits: &[f32], context: &[u32]) -> Vec<(u32, f64)> {
        let Sampling { temperature, top_k, top_p, min_p, repetition_penalty, .. } = self.sampling;
        let mut scores: Vec<(u32, f64)> =
            (0..).zip(logits.iter().map(|&logit| f64::from(logit))).collect();
        if repetition_penalty != 1.0 {
            for id in context.iter().copied().collect::<HashSet<u32>>() {
                if let Some((_, score)) = scores.get_mut(id as usize) {
                    *score *=
                        if *score > 0.0 { repetition_penalty.recip() } else { repetition_penalty };
                    // An extreme penalty leaves the range of f64, and infinities have no softmax.
                    *score = score.clamp(f64::MIN, f64::MAX);
                }
            }
        }
        if temperature == 0.0 {
            let best = scores.into_iter().min_by(falling).expect("a vocabulary is never empty");
            return vec![(best.0, 1.0)];
        }
        if (1..scores.len()).contains(&top_k) {
            scores.select_nth_unstable_by(top_k - 1, falling);
            scores.truncate(top_k);
        }
        scores.sort_unstable_by(falling);
        let largest = scores.first().map_or(0.0, |(_, score)| *score);
        // Subtracting before dividing keeps a tiny temperature from overflowing.
        for (_, score) in &mut scores {
            *score = ((*score - largest) / temperature).exp();
        }
        normalise(&mut scores);
        if top_p < 1.0 {
            let mut sum = 0.0;
            let enough = scores.iter().position(|(_, probability)| {
                sum += probability;
                sum >= top_p
            });
            scores.truncate(enough.map_or(scores.len(), |last| last + 1));
        }
        let least = min_p * scores.first().map_or(0.0, |(_, probability)| *probability);
        scores.retain(|(_, probability)| *probability >= least);
        normalise(&mut scores);
        scores
    }
}

/// The larger score first; of equal ones the smaller id.
fn falling(a: &(u32, f64), b: &(u32, f64)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

fn normalise(weights: &mut [(u32, f64)]) {
    let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
    for (_, weight) in weights {
        *weight /= sum;
    }
}

fn assign<T: std::str::FromStr>(place: &mut T, value: &str) -> bool {
    value.parse().map(|value| *place = value).is_ok()
}
