//! Against softmax attention in scalar loops, and finite differences.

use burn::tensor::Device;

use crate::testing::{F64_ROUNDING, assert_close, check_gradients, tensor, to_vec, values};
use crate::{AttentionOptions, attention};

/// Sizes of one case.
#[derive(Clone, Copy)]
struct Case {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    causal: bool,
    /// Factor on q, to reach scores where exp without the maximum would overflow.
    magnitude: f64,
}

const GROUPED: Case = Case {
    batch: 2,
    queries: 4,
    keys: 4,
    heads: 6,
    kv_heads: 2,
    head_dim: 3,
    causal: true,
    magnitude: 1.0,
};

impl Case {
    fn q_shape(self) -> [usize; 4] {
        [self.batch, self.queries, self.heads, self.head_dim]
    }

    fn k_shape(self) -> [usize; 4] {
        [self.batch, self.keys, self.kv_heads, self.head_dim]
    }

    fn options(self) -> AttentionOptions {
        AttentionOptions { causal: self.causal, ..AttentionOptions::causal(self.head_dim) }
    }

    fn inputs(self) -> [Vec<f64>; 3] {
        let count = |shape: [usize; 4]| shape.into_iter().product();
        let q = values(count(self.q_shape()), 1);
        let q = q.into_iter().map(|value| value * self.magnitude).collect();
        [q, values(count(self.k_shape()), 2), values(count(self.k_shape()), 3)]
    }

    fn scalar(self, [q, k, v]: &[Vec<f64>; 3]) -> Vec<f64> {
        let mut out = Vec::new();
        for batch in 0..self.batch {
            for query in 0..self.queries {
                for head in 0..self.heads {
                    let kv_head = head / (self.heads / self.kv_heads);
                    let row = |of: &[f64], at: usize| {
                        of[at * self.head_dim..(at + 1) * self.head_dim].to_vec()
                    };
                    let q = row(q, (batch * self.queries + query) * self.heads + head);
                    let visible = match self.causal {
                        true => query + self.keys - self.queries + 1,
                        false => self.keys,
                    };
                    let key = |key| (batch * self.keys + key) * self.kv_heads + kv_head;
                    let scores: Vec<f64> = (0..visible)
                        .map(|at| {
                            let k = row(k, key(at));
                            q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>()
                                / (self.head_dim as f64).sqrt()
                        })
                        .collect();
                    let max = scores.iter().copied().fold(f64::MIN, f64::max);
                    let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    for element in 0..self.head_dim {
                        let terms = weights.iter().enumerate();
                        out.push(
                            terms.map(|(at, w)| w / sum * row(v, key(at))[element]).sum::<f64>(),
                        );
                    }
                }
            }
        }
        out
    }
}

#[track_caller]
fn check_forward(case: Case) {
    let inputs = case.inputs();
    let device = Device::flex();
    let [q, k, v] = inputs.clone();
    let out = attention(
        tensor(q, case.q_shape(), &device),
        tensor(k, case.k_shape(), &device),
        tensor(v, case.k_shape(), &device),
        case.options(),
    );
    assert_close(&to_vec(out), &case.scalar(&inputs), F64_ROUNDING);
}

#[test]
fn grouped_queries() {
    check_forward(GROUPED);
}

#[test]
fn one_key_value_head() {
    check_forward(Case { kv_heads: 1, ..GROUPED });
}

#[test]
fn as_many_key_value_heads() {
    check_forward(Case { kv_heads: 6, ..GROUPED });
}

#[test]
fn without_mask() {
    check_forward(Case { causal: false, ..GROUPED });
}

/// A prefill that continues a cache: the queries are the last of the keys.
#[test]
fn queries_after_cached_keys() {
    check_forward(Case { queries: 3, keys: 7, ..GROUPED });
}

#[test]
fn one_decoded_token() {
    check_forward(Case { queries: 1, keys: 5, ..GROUPED });
}

#[test]
fn scores_beyond_the_range_of_exp() {
    check_forward(Case { magnitude: 5000.0, ..GROUPED });
}

#[test]
fn gradients_are_finite_differences() {
    for case in
        [GROUPED, Case { queries: 2, keys: 5, ..GROUPED }, Case { causal: false, ..GROUPED }]
    {
        let count = case.q_shape().into_iter().product::<usize>();
        check_gradients(case.inputs(), |[q, k, v]| {
            attention(
                q.reshape(case.q_shape()),
                k.reshape(case.k_shape()),
                v.reshape(case.k_shape()),
                case.options(),
            )
            .reshape([count])
        });
    }
}
