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

mod of_the_host {
    use burn::backend::TensorMetadata;
    use burn_flex::{Flex, FlexTensor};

    use super::{F64_ROUNDING, assert_close};
    use crate::AttentionOptions;
    use crate::attention::{host, reference};
    use crate::host::testing::{
        F32_SUMS, assert_same_bits, elements, f32s, f64s, portable, scaled,
    };

    type Make = fn([usize; 4], u64) -> FlexTensor;

    /// B, T, S, N, K, H and causal: within a tile, over several, behind a cache, one token.
    const CASES: [([usize; 6], bool); 10] = [
        ([2, 1, 1, 1, 1, 1], true),
        ([1, 7, 7, 6, 2, 9], true),
        ([1, 150, 150, 6, 2, 16], true),
        ([2, 131, 131, 1, 1, 17], true),
        ([1, 140, 140, 2, 2, 8], false),
        ([1, 5, 290, 4, 2, 16], true),
        ([2, 1, 7, 4, 1, 9], true),
        ([1, 1, 130, 2, 1, 112], true),
        ([1, 1, 261, 6, 2, 64], true),
        ([1, 2, 3, 129, 1, 3], true),
    ];

    /// As a block makes them: q, k and v are views of one packed tensor, or k and v of a longer cache.
    fn inputs(
        make: Make,
        [batch, length, keys, heads, kv, head_dim]: [usize; 6],
    ) -> [FlexTensor; 4] {
        let packed = make([batch, length, heads + 2 * kv, head_dim], 1);
        let q = packed.narrow(2, 0, heads);
        let dout = make([batch, length, heads, head_dim], 4);
        if length == keys {
            return [q, packed.narrow(2, heads, kv), packed.narrow(2, heads + kv, kv), dout];
        }
        let cache = |seed| make([batch, keys + 3, kv, head_dim], seed).narrow(1, 0, keys);
        [q, cache(2), cache(3), dout]
    }

    fn options(causal: bool, head_dim: usize) -> AttentionOptions {
        AttentionOptions { causal, ..AttentionOptions::causal(head_dim) }
    }

    fn all([q, k, v, dout]: [FlexTensor; 4], options: AttentionOptions) -> [FlexTensor; 5] {
        let (out, lse) = host::forward(q.clone(), k.clone(), v.clone(), options);
        let saved = [q, k, v, out.clone()];
        let (dq, dk, dv) = host::backward(saved, lse.clone(), dout, options);
        [out, lse, dq, dk, dv]
    }

    fn expected([q, k, v, dout]: [FlexTensor; 4], options: AttentionOptions) -> [FlexTensor; 5] {
        let (out, lse) = reference::forward::<Flex>(q.clone(), k.clone(), v.clone(), options);
        let (dq, dk, dv) =
            reference::backward::<Flex>(q, k, v, out.clone(), lse.clone(), dout, options);
        [out, lse, dq, dk, dv]
    }

    #[test]
    fn it_is_the_reference() {
        for (sizes, causal) in CASES {
            for (make, tolerance) in [(f64s as Make, F64_ROUNDING), (f32s, F32_SUMS)] {
                let options = options(causal, sizes[5]);
                let found = all(inputs(make, sizes), options).map(|tensor| elements(&tensor));
                let expected = expected(inputs(make, sizes), options);
                for (found, expected) in found.iter().zip(&expected) {
                    assert_close(found, &elements(expected), tolerance);
                }
                // Small ones, as large ones run in other threads. Products are rounded once more or less.
                if sizes[..4].iter().product::<usize>() < 1000 {
                    let old = portable(|| all(inputs(make, sizes), options));
                    for (found, old) in found.iter().zip(&old) {
                        assert_close(&elements(old), found, tolerance);
                    }
                }
            }
        }
    }

    /// Elements of a head that do not lie side by side.
    #[test]
    fn heads_may_be_scattered() {
        let transposed = |seed| f64s([2, 5, 4, 6], seed).transpose(2, 3).transpose(0, 2);
        let inputs = || [1, 2, 3, 4].map(transposed); // [6, 5, 2, 4]
        assert!(!inputs()[0].is_contiguous());
        let options = options(true, 4);
        let found = all(inputs(), options).map(|tensor| elements(&tensor));
        for (found, expected) in found.iter().zip(&expected(inputs(), options)) {
            assert_close(found, &elements(expected), F64_ROUNDING);
        }
    }

    /// Scores up to the largest numbers: weights are 0 or 1, and nothing is NaN.
    #[test]
    fn large_scores_stay_finite() {
        for sizes in [[1, 140, 140, 2, 1, 8], [1, 1, 140, 2, 1, 8]] {
            for magnitude in [1e4, 1e18] {
                let [q, k, v, dout] = inputs(f32s, sizes);
                let (q, k) = (scaled(q, magnitude), scaled(k, magnitude));
                let options = options(true, 8);
                let found = all([q, k, v, dout], options);
                assert!(elements(&found[0]).into_iter().all(|x| x.abs() <= 1.0));
                assert!(elements(&found[1]).into_iter().all(f64::is_finite));
            }
        }
    }

    #[test]
    fn no_sequences_give_none() {
        let found = all([1, 2, 3, 4].map(|seed| f32s([0, 3, 2, 4], seed)), options(true, 4));
        assert!(found.iter().all(|tensor| elements(tensor).is_empty()));
        assert_eq!(found[0].shape().dims(), [0, 3, 2, 4]);
    }

    #[test]
    fn threads_change_no_bit() {
        for sizes in [[2, 150, 150, 6, 2, 16], [2, 1, 600, 6, 2, 32]] {
            assert_same_bits(|| all(inputs(f32s, sizes), options(true, sizes[5])).into());
        }
    }

    /// A cache with room for more lies still, and what lies behind its tokens is not read.
    #[test]
    fn what_lies_behind_the_cache_is_not_read() {
        let (q, v) = (f32s([1, 1, 4, 8], 1), f32s([1, 6, 2, 8], 3));
        let mut cache = f32s([1, 6, 2, 8], 2);
        let of = |cache: &FlexTensor| {
            let (k, v) = (cache.narrow(1, 0, 4), v.narrow(1, 0, 4));
            elements(&host::forward(q.clone(), k, v, options(true, 8)).0)
        };
        let before = of(&cache);
        cache.storage_mut::<f32>()[4 * 2 * 8..].fill(f32::NAN);
        assert_eq!(of(&cache), before);
    }
}
