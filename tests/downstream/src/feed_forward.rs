//! A Burn module of one's own on kernels-cubecl, trained by Burn's optimizer.

use anyhow::{Result, ensure};
use burn::module::{Module, Param};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Tensor};
use kernels_cubecl::{linear, rms_norm, swiglu};

const WIDTH: usize = 8;
const HIDDEN: usize = 16;
const ROWS: usize = 64;

/// `down · swiglu(gate_up · rms_norm(x))`.
#[derive(Module, Debug)]
struct FeedForward {
    norm: Param<Tensor<1>>,
    gate_up: Param<Tensor<2>>,
    down: Param<Tensor<2>>,
}

impl FeedForward {
    fn new(device: &Device) -> Self {
        let random = |rows, columns: usize| {
            let spread = Distribution::Normal(0.0, (columns as f64).powf(-0.5));
            Param::from_tensor(Tensor::random([rows, columns], spread, device))
        };
        Self {
            norm: Param::from_tensor(Tensor::ones([WIDTH], device)),
            gate_up: random(2 * HIDDEN, WIDTH),
            down: random(WIDTH, HIDDEN),
        }
    }

    /// `[R, WIDTH]` → `[R, WIDTH]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = rms_norm(x, self.norm.val(), 1e-5);
        let gated = swiglu(linear(x, self.gate_up.val())); // [R, HIDDEN]
        linear(gated, self.down.val())
    }
}

/// One network learns what another one of the same shape computes.
pub fn learns_a_function() -> Result<()> {
    let device = Device::flex().autodiff();
    device.seed(11);
    let teacher = FeedForward::new(&device);
    let mut student = FeedForward::new(&device);
    let x = Tensor::<2>::random([ROWS, WIDTH], Distribution::Normal(0.0, 1.0), &device);
    let expected = teacher.forward(x.clone()).detach();
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.0).init();
    let mut losses = Vec::new();
    for _ in 0..300 {
        let difference = student.forward(x.clone()) - expected.clone();
        let loss = difference.powi_scalar(2).mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &student);
        ensure!(gradients.len() == 3, "each of the three parameters has a gradient");
        student = optimizer.step(0.02, student, gradients);
        losses.push(loss.into_scalar::<f64>());
    }
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    println!("feed-forward: mean squared error {first:.4} -> {last:.6}");
    // Without any gradient the error would stay; a tenth is far above what training reaches.
    ensure!(last < 0.1 * first, "the error fell only from {first} to {last}");
    Ok(())
}
