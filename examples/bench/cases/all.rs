//! The list of cases.

use burn::backend::Dispatch;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Tensor;
use kernels_cubecl::{
    AdamWStep, CrossEntropyOptions, KernelBackend as _, KernelBackward as _, SamplingOptions,
    adamw, add_rms_norm, cross_entropy, embedding, linear_cross_entropy, rms_norm, rope, sample,
    squared_norm, swiglu,
};

use super::{Case, Sizes};

const EPS: f64 = 1e-5;
const LOSS: CrossEntropyOptions = CrossEntropyOptions { z_loss: 0.0, label_smoothing: 0.0 };

fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let count = tensor.dims().iter().product::<usize>();
    tensor.reshape([count])
}

fn wrap<const D: usize>(tensor: FloatTensor<Dispatch>) -> Tensor<1> {
    flat(Tensor::<D>::from_dispatch(tensor))
}

fn rows_by_hidden(sizes: Sizes) -> Vec<usize> {
    vec![sizes.rows, sizes.hidden]
}

fn rows_by_intermediate(sizes: Sizes) -> Vec<usize> {
    vec![sizes.rows, sizes.intermediate]
}

fn rows_by_vocab(sizes: Sizes) -> Vec<usize> {
    vec![sizes.rows, sizes.vocab]
}

/// Bytes of so many matrices `[R, width]`.
fn moved(sizes: Sizes, width: usize, matrices: f64, element: f64) -> (f64, f64) {
    ((sizes.rows * width) as f64 * matrices * element, 0.0)
}

pub(super) fn all() -> Vec<Case> {
    vec![
        Case {
            op: "rms_norm",
            direction: "forward",
            plan: Some("rms_norm"),
            shape: rows_by_hidden,
            bytes: |sizes, element| moved(sizes, sizes.hidden, 2.0, element),
            build: |data, Sizes { rows, hidden, .. }| {
                let (x, weight) = (data.tensor([rows, hidden], 1), data.tensor([hidden], 2));
                Box::new(move |_| vec![flat(rms_norm(x.clone(), weight.clone(), EPS))])
            },
        },
        Case {
            op: "rms_norm",
            direction: "backward",
            plan: Some("rms_norm_backward"),
            shape: rows_by_hidden,
            bytes: |sizes, element| moved(sizes, sizes.hidden, 3.0, element),
            build: |data, Sizes { rows, hidden, .. }| {
                let (x, weight) = (data.tensor([rows, hidden], 1), data.tensor([hidden], 2));
                let dy = data.tensor([rows, hidden], 3);
                let (_, rstd) = Dispatch::rms_norm(
                    x.clone().into_dispatch(),
                    weight.clone().into_dispatch(),
                    EPS,
                );
                let rstd = Tensor::<1>::from_dispatch(rstd);
                Box::new(move |_| {
                    let (dx, dweight) = Dispatch::rms_norm_backward(
                        x.clone().into_dispatch(),
                        weight.clone().into_dispatch(),
                        rstd.clone().into_dispatch(),
                        dy.clone().into_dispatch(),
                    );
                    vec![wrap::<2>(dx), wrap::<1>(dweight)]
                })
            },
        },
        Case {
            op: "add_rms_norm",
            direction: "forward",
            plan: Some("add_rms_norm"),
            shape: rows_by_hidden,
            bytes: |sizes, element| moved(sizes, sizes.hidden, 4.0, element),
            build: |data, Sizes { rows, hidden, .. }| {
                let (x, residual) =
                    (data.tensor([rows, hidden], 1), data.tensor([rows, hidden], 3));
                let weight = data.tensor([hidden], 2);
                Box::new(move |_| {
                    let (y, sum) = add_rms_norm(x.clone(), residual.clone(), weight.clone(), EPS);
                    vec![flat(y), flat(sum)]
                })
            },
        },
        Case {
            op: "rope",
            direction: "in place",
            plan: Some("rope"),
            shape: |Sizes { rows, heads: [n, k], .. }| vec![1, rows, n + 2 * k, 64],
            bytes: |sizes, element| {
                let [n, k] = sizes.heads;
                moved(sizes, (n + k) * 64, 2.0, element)
            },
            build: |data, Sizes { rows, heads: [n, k], .. }| {
                let mut x = Some(data.tensor([1, rows, n + 2 * k, 64], 1));
                let (cos, sin) = (data.statistics([rows, 32], 2), data.statistics([rows, 32], 3));
                let offsets = data.ids(1, 1);
                Box::new(move |keep| {
                    let before = x.take().expect("it is put back");
                    let y = rope(before, cos.clone(), sin.clone(), offsets.clone(), n + k);
                    if keep {
                        return vec![flat(y)];
                    }
                    x = Some(y);
                    Vec::new()
                })
            },
        },
        Case {
            op: "swiglu",
            direction: "forward",
            plan: Some("swiglu"),
            shape: rows_by_intermediate,
            bytes: |sizes, element| moved(sizes, sizes.intermediate, 3.0, element),
            build: |data, Sizes { rows, intermediate, .. }| {
                let gate_up = data.tensor([rows, 2 * intermediate], 1);
                Box::new(move |_| vec![flat(swiglu(gate_up.clone()))])
            },
        },
        Case {
            op: "swiglu",
            direction: "backward",
            plan: Some("swiglu_backward"),
            shape: rows_by_intermediate,
            bytes: |sizes, element| moved(sizes, sizes.intermediate, 5.0, element),
            build: |data, Sizes { rows, intermediate, .. }| {
                let gate_up = data.tensor([rows, 2 * intermediate], 1);
                let dy = data.tensor([rows, intermediate], 2);
                Box::new(move |_| {
                    let (gate_up, dy) = (gate_up.clone(), dy.clone());
                    vec![wrap::<2>(Dispatch::swiglu_backward(
                        gate_up.into_dispatch(),
                        dy.into_dispatch(),
                    ))]
                })
            },
        },
        Case {
            op: "cross_entropy",
            direction: "forward",
            plan: Some("cross_entropy"),
            shape: rows_by_vocab,
            bytes: |sizes, element| moved(sizes, sizes.vocab, 1.0, element),
            build: |data, Sizes { rows, vocab, .. }| {
                let (logits, targets) = (data.tensor([rows, vocab], 1), data.ids(rows, vocab));
                Box::new(move |_| vec![cross_entropy(logits.clone(), targets.clone(), LOSS)])
            },
        },
        Case {
            op: "cross_entropy",
            direction: "backward",
            plan: Some("cross_entropy_backward"),
            shape: rows_by_vocab,
            bytes: |sizes, element| moved(sizes, sizes.vocab, 2.0, element),
            build: |data, Sizes { rows, vocab, .. }| {
                let targets = data.ids(rows, vocab);
                let logits = data.tensor([rows, vocab], 1);
                let (_, lse) = Dispatch::cross_entropy(
                    logits.clone().into_dispatch(),
                    targets.clone().into_dispatch(),
                    LOSS,
                );
                let lse = Tensor::<1>::from_dispatch(lse);
                let (dloss, mut logits) = (data.statistics([rows], 2), Some(logits));
                Box::new(move |keep| {
                    let dlogits = Dispatch::cross_entropy_backward(
                        logits.take().expect("it is put back").into_dispatch(),
                        targets.clone().into_dispatch(),
                        lse.clone().into_dispatch(),
                        dloss.clone().into_dispatch(),
                        LOSS,
                    );
                    let dlogits = Tensor::<2>::from_dispatch(dlogits);
                    if keep {
                        return vec![flat(dlogits)];
                    }
                    logits = Some(dlogits);
                    Vec::new()
                })
            },
        },
        Case {
            op: "linear_cross_entropy",
            direction: "both",
            plan: None,
            shape: |sizes| vec![sizes.rows, sizes.hidden, sizes.vocab],
            bytes: |Sizes { rows, hidden, vocab, .. }, element| {
                let matrices = 2 * rows * hidden + 2 * vocab * hidden;
                let products = 3.0 * 2.0 * rows as f64 * hidden as f64 * vocab as f64;
                (matrices as f64 * element, products)
            },
            build: |data, Sizes { rows, hidden, vocab, .. }| {
                let weight = data.tensor([vocab, hidden], 2) * 0.05;
                let (x, targets) = (data.tensor([rows, hidden], 1), data.ids(rows, vocab));
                Box::new(move |_| {
                    let track =
                        |tensor: &Tensor<2>| Tensor::<2>::from_inner(tensor.clone()).require_grad();
                    let (x, weight) = (track(&x), track(&weight));
                    let loss =
                        linear_cross_entropy(x.clone(), weight.clone(), targets.clone(), LOSS);
                    let gradients = loss.clone().backward();
                    let of = |leaf: Tensor<2>| flat(leaf.grad(&gradients).expect("tracked"));
                    vec![loss.inner(), of(x), of(weight)]
                })
            },
        },
        Case {
            op: "embedding",
            direction: "forward",
            plan: Some("embedding"),
            shape: rows_by_hidden,
            bytes: |sizes, element| moved(sizes, sizes.hidden, 2.0, element),
            build: |data, Sizes { rows, hidden, vocab, .. }| {
                let (weight, ids) = (data.tensor([vocab, hidden], 1), data.ids(rows, vocab));
                Box::new(move |_| vec![flat(embedding(weight.clone(), ids.clone()))])
            },
        },
        Case {
            op: "embedding",
            direction: "backward",
            plan: None,
            shape: rows_by_hidden,
            bytes: |sizes, element| {
                ((sizes.rows + sizes.vocab) as f64 * sizes.hidden as f64 * element, 0.0)
            },
            build: |data, Sizes { rows, hidden, vocab, .. }| {
                let (dy, ids) = (data.tensor([rows, hidden], 1), data.ids(rows, vocab));
                Box::new(move |_| {
                    vec![wrap::<2>(Dispatch::token_embedding_backward(
                        ids.clone().into_dispatch(),
                        dy.clone().into_dispatch(),
                        vocab,
                    ))]
                })
            },
        },
        Case {
            op: "adamw",
            direction: "in place",
            plan: Some("adamw"),
            shape: |sizes| vec![sizes.parameters],
            // Parameters and moments are f32 whatever the gradient.
            bytes: |sizes, element| (sizes.parameters as f64 * (24.0 + element), 0.0),
            build: |data, Sizes { parameters, .. }| {
                let len = [parameters];
                let moments = [data.statistics(len, 2), data.statistics(len, 3).abs()];
                let mut state = Some((data.statistics(len, 1), moments));
                let (gradient, scale) = (data.tensor(len, 4), data.statistics([1], 5).abs());
                let step = AdamWStep {
                    learning_rate: 1e-4,
                    beta1: 0.9,
                    beta2: 0.95,
                    eps: 1e-8,
                    weight_decay: 0.1,
                    number: 7,
                };
                Box::new(move |keep| {
                    let (parameter, moments) = state.take().expect("it is put back");
                    let gradient = gradient.clone();
                    let (parameter, moments) =
                        adamw(parameter, moments, gradient, scale.clone(), step);
                    if keep {
                        let [exp_avg, exp_avg_sq] = moments;
                        return vec![parameter, exp_avg, exp_avg_sq];
                    }
                    state = Some((parameter, moments));
                    Vec::new()
                })
            },
        },
        Case {
            op: "squared_norm",
            direction: "forward",
            plan: Some("squared_norm"),
            shape: |sizes| vec![sizes.parameters],
            bytes: |sizes, element| (sizes.parameters as f64 * element, 0.0),
            build: |data, Sizes { parameters, .. }| {
                let gradient = data.tensor([parameters], 1);
                Box::new(move |_| vec![squared_norm(gradient.clone())])
            },
        },
        Case {
            op: "sample",
            direction: "forward",
            plan: None,
            shape: |sizes| vec![sizes.rows.min(32), sizes.vocab],
            bytes: |sizes, element| ((sizes.rows.min(32) * sizes.vocab) as f64 * element, 0.0),
            build: |data, Sizes { rows, vocab, .. }| {
                let rows = rows.min(32);
                let uniform = data.statistics([rows], 2).abs() * 0.499;
                let logits = data.tensor([rows, vocab], 1);
                let options = SamplingOptions { temperature: 0.8, top_k: 50, top_p: 0.95 };
                Box::new(move |_| {
                    let ids = sample(logits.clone(), uniform.clone(), options);
                    vec![ids.float()]
                })
            },
        },
    ]
}
