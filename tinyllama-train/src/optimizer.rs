//! AdamW on the flat buffers of all groups; the update of one is [`adamw`].
//!
//! Gradients are clipped by their global norm. The decay λ applies to every parameter, norms and
//! embedding included, as in the original.

use burn::tensor::Tensor;
use kernels_cubecl::{AdamWStep, adamw, squared_norm};
use tinyllama_model::FlatParameters;

/// Keeps the quotient of the clipping finite, as in PyTorch's `clip_grad_norm_`.
const NORM_EPS: f64 = 1e-6;

/// The constants of the update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AdamWConfig {
    /// β₁.
    pub(crate) beta1: f64,
    /// β₂.
    pub(crate) beta2: f64,
    /// ε, outside of the root.
    pub(crate) eps: f64,
    /// λ, multiplied by the learning rate.
    pub(crate) weight_decay: f64,
    /// Gradients with a larger global norm are scaled down to it.
    pub(crate) max_grad_norm: f64,
}

/// Both moments of one group's buffer, f32 `[len]` each.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    /// m, the mean of the gradients.
    pub(crate) exp_avg: Tensor<1>,
    /// v, the mean of their squares.
    pub(crate) exp_avg_sq: Tensor<1>,
}

/// The optimizer's state: moments beside each of a model's flat buffers.
#[derive(Clone, Debug)]
pub(crate) struct AdamW {
    config: AdamWConfig,
    moments: Vec<Moments>,
    num_updates: u64,
}

impl AdamW {
    /// Starts with zero moments beside `parameters`.
    pub(crate) fn new(config: AdamWConfig, parameters: &FlatParameters) -> Self {
        let zeros = |buffer: &Tensor<1>| Moments {
            exp_avg: buffer.zeros_like(),
            exp_avg_sq: buffer.zeros_like(),
        };
        let moments = parameters.buffers().iter().map(zeros).collect();
        Self { config, moments, num_updates: 0 }
    }

    /// Continues with saved moments after `num_updates` updates.
    pub(crate) fn from_moments(
        config: AdamWConfig,
        moments: Vec<Moments>,
        num_updates: u64,
    ) -> Self {
        Self { config, moments, num_updates }
    }

    /// The moments, in the order of the groups.
    pub(crate) fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// One update with gradients `[len]` per group, whose [`global_norm`] is `grad_norm`.
    ///
    /// # Panics
    /// When the gradients are not those of `parameters`.
    pub(crate) fn update(
        &mut self,
        parameters: &mut FlatParameters,
        gradients: Vec<Tensor<1>>,
        grad_norm: Tensor<1>,
        lr: f64,
    ) {
        let AdamWConfig { beta1, beta2, eps, weight_decay, max_grad_norm } = self.config;
        assert_eq!(gradients.len(), self.moments.len(), "one gradient per group");
        self.num_updates += 1;
        let number = self.num_updates;
        let step = AdamWStep { learning_rate: lr, beta1, beta2, eps, weight_decay, number };
        let scale = (grad_norm + NORM_EPS).recip().mul_scalar(max_grad_norm).clamp_max(1.0);
        let buffers = parameters.take_buffers();
        let groups = buffers.into_iter().zip(gradients).zip(std::mem::take(&mut self.moments));
        let (updated, moments) = groups
            .map(|((p, g), Moments { exp_avg, exp_avg_sq })| {
                let (p, [exp_avg, exp_avg_sq]) =
                    adamw(p, [exp_avg, exp_avg_sq], g, scale.clone(), step);
                (p, Moments { exp_avg, exp_avg_sq })
            })
            .unzip();
        self.moments = moments;
        parameters.set_buffers(updated);
    }
}

/// Euclidean norm of all gradients together, `[1]`, on their device.
pub(crate) fn global_norm(gradients: &[Tensor<1>]) -> Tensor<1> {
    Tensor::cat(gradients.iter().map(|g| squared_norm(g.clone())).collect(), 0).sum().sqrt()
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, Param};
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// f32 against f64 over a dozen updates of values near one: a few units in the last place.
    const F32_ROUNDING: f64 = 2e-6;

    const CONFIG: AdamWConfig =
        AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, max_grad_norm: 1.0 };

    #[derive(Module, Debug)]
    struct TwoGroups {
        first: Param<Tensor<2>>,
        second: Param<Tensor<1>>,
    }

    fn tensor<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn values(tensor: &Tensor<1>) -> Vec<f64> {
        tensor.to_data().iter::<f64>().collect()
    }

    /// The update for one parameter, in f64 and in the order of PyTorch's `AdamW`.
    struct Scalar {
        p: f64,
        m: f64,
        v: f64,
    }

    impl Scalar {
        fn update(&mut self, g: f64, lr: f64, t: i32) {
            self.p -= lr * 0.1 * self.p;
            self.m += (g - self.m) * 0.1;
            self.v = 0.95 * self.v + 0.05 * g * g;
            let denominator = self.v.sqrt() / (1.0 - 0.95_f64.powi(t)).sqrt() + 1e-8;
            self.p -= lr / (1.0 - 0.9_f64.powi(t)) * self.m / denominator;
        }
    }

    #[test]
    fn matches_a_scalar_reference() {
        let start = [0.5, -1.0, 2.0, 0.0, 1.5, -0.25];
        let mut flat = FlatParameters::from_model(&TwoGroups {
            first: Param::from_tensor(tensor(&start[..4], [2, 2])),
            second: Param::from_tensor(tensor(&start[4..], [2])),
        });
        let mut optimizer = AdamW::new(CONFIG, &flat);
        let mut reference = start.map(|p| Scalar { p, m: 0.0, v: 0.0 });
        for t in 1..=12 {
            let lr = 0.01 * f64::from(t);
            // Norms on both sides of the clipping threshold.
            let size = if t % 3 == 0 { 2.0 } else { 0.1 };
            let mut g: Vec<f64> = (0..6).map(|i| size * (f64::from(t * 7 + i * 3)).sin()).collect();
            // One gradient so small that ε decides how far its parameter goes.
            g[3] *= 1e-7;
            let gradients = vec![tensor(&g[..4], [4]), tensor(&g[4..], [2])];
            let norm = global_norm(&gradients);
            let expected_norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
            let found = f64::from(norm.clone().into_scalar::<f32>());
            assert!((found - expected_norm).abs() <= F32_ROUNDING * expected_norm);
            optimizer.update(&mut flat, gradients, norm, lr);
            let scale = (1.0 / (expected_norm + 1e-6)).min(1.0);
            reference.iter_mut().zip(&g).for_each(|(p, g)| p.update(g * scale, lr, t));
        }
        let found: Vec<f64> = flat.buffers().iter().flat_map(values).collect();
        for (found, expected) in found.iter().zip(&reference) {
            assert!((found - expected.p).abs() <= F32_ROUNDING, "{found} is not {}", expected.p);
        }
    }

    #[test]
    fn decay_needs_no_gradient() {
        let mut flat = FlatParameters::from_model(&TwoGroups {
            first: Param::from_tensor(tensor(&[1.0; 4], [2, 2])),
            second: Param::from_tensor(tensor(&[1.0; 2], [2])),
        });
        let mut optimizer = AdamW::new(CONFIG, &flat);
        let gradients: Vec<_> = flat.buffers().iter().map(Tensor::zeros_like).collect();
        let norm = global_norm(&gradients);
        optimizer.update(&mut flat, gradients, norm, 0.5);
        assert!(flat.buffers().iter().flat_map(values).all(|p| (p - 0.95).abs() < F32_ROUNDING));
    }
}
