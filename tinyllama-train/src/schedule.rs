//! The learning rate of each step: linear warmup, then half a cosine.
//!
//! ```text
//! step < warmup:  peak · (step + 1) / warmup
//! else:           min + (peak − min) · (1 + cos(π · (step − warmup) / (max − warmup))) / 2
//! ```
//!
//! Steps are optimizer steps. TinyLlama's own run had `min_lr` equal to the peak, and so a flat rate,
//! for its first 500 billion tokens (<https://github.com/jzhang38/TinyLlama/issues/27>); the presets
//! decay from the beginning.

use std::f64::consts::PI;

/// Warmup and cosine decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Schedule {
    /// Learning rate at the end of the warmup.
    pub(crate) peak_lr: f64,
    /// Learning rate that the decay ends at.
    pub(crate) min_lr: f64,
    /// Steps of the warmup; 0 starts at the peak.
    pub(crate) warmup_steps: u64,
    /// Steps of the run.
    pub(crate) max_steps: u64,
}

impl Schedule {
    /// Learning rate of `step`, counted from 0; `min_lr` after the end.
    pub(crate) fn lr(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak_lr * (step + 1) as f64 / self.warmup_steps as f64;
        }
        if step >= self.max_steps {
            return self.min_lr;
        }
        let decay_steps = self.max_steps - self.warmup_steps;
        let progress = (step - self.warmup_steps) as f64 / decay_steps as f64;
        self.min_lr + (self.peak_lr - self.min_lr) * (1.0 + (PI * progress).cos()) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the formula, computed with Python's `decimal` at 30 digits; f64 differs by rounding.
    const ROUNDING: f64 = 1e-18;

    #[test]
    fn golden_table_of_the_original_run() {
        let schedule =
            Schedule { peak_lr: 4e-4, min_lr: 4e-5, warmup_steps: 2000, max_steps: 1_430_512 };
        for (step, expected) in GOLDEN {
            let lr = schedule.lr(step);
            assert!((lr - expected).abs() <= ROUNDING, "step {step}: {lr:e}, not {expected:e}");
        }
    }

    #[test]
    fn no_warmup_starts_at_the_peak() {
        // Rates about 1 instead of the 4e-4 above.
        const ROUNDING: f64 = 1e-15;
        let schedule = Schedule { peak_lr: 1.0, min_lr: 0.0, warmup_steps: 0, max_steps: 4 };
        let lrs: Vec<_> = (0..6).map(|step| schedule.lr(step)).collect();
        let half = 0.5_f64.sqrt() / 2.0;
        let expected = [1.0, 0.5 + half, 0.5, 0.5 - half, 0.0, 0.0];
        assert!(lrs.iter().zip(expected).all(|(lr, e)| (lr - e).abs() <= ROUNDING), "{lrs:?}");
    }

    #[test]
    fn warmup_as_long_as_the_run_never_decays() {
        let schedule = Schedule { peak_lr: 1.0, min_lr: 0.0, warmup_steps: 4, max_steps: 4 };
        assert_eq!([0, 1, 2, 3, 4].map(|step| schedule.lr(step)), [0.25, 0.5, 0.75, 1.0, 0.0]);
    }

    const GOLDEN: [(u64, f64); 14] = [
        (0, 2e-07),
        (1, 4e-07),
        (999, 0.0002),
        (1_999, 0.0004),
        (2_000, 0.0004),
        (2_001, 0.0003999999999995647),
        (100_000, 0.00039583567233831077),
        (358_628, 0.0003474191002717503),
        (716_256, 0.00022),
        (1_073_884, 9.258089972824969e-05),
        (1_430_000, 4.00001141075406e-05),
        (1_430_511, 4.000000000043528e-05),
        (1_430_512, 4e-05),
        (2_000_000, 4e-05),
    ];
}
