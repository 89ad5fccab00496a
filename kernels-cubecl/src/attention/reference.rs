//! Attention in Burn's tensor operations, scores stored.
//!
//! The G = N/K query heads of one key-value head are stacked as rows of one matrix, `[B, K, G·T, H]`,
//! so that keys and values are never repeated and their gradients sum over the group by themselves.

use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{Backend, TensorMetadata, get_device_settings};
use burn::tensor::Shape;

use super::AttentionOptions;
use crate::matmul::Matmul;
use crate::precision::{to_dtype, to_f32};

/// q `[B, T, N, H]`, k and v `[B, S, K, H]` → (out `[B, T, N, H]`, lse `[B, N, T]` f32).
pub(crate) fn forward<B: Matmul>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    options: AttentionOptions,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let dtype = q.dtype();
    let heads = Heads::of::<B>(&q, &k);
    let scores = heads.scores::<B>(q, k, options); // [B, K, G·T, S]
    let max = B::float_max_dim(scores.clone(), 3); // [B, K, G·T, 1]
    let weights = B::float_exp(B::float_sub(scores, max.clone()));
    let sum = B::float_sum_dim(weights.clone(), 3);
    let p = B::float_div(weights, sum.clone());
    let out = B::matmul(p, heads.keys_first::<B>(to_f32::<B>(v)));
    let lse = B::float_add(max, B::float_log(sum));
    let lse = B::float_reshape(lse, Shape::new([heads.batch, heads.query, heads.length]));
    (to_dtype::<B>(heads.unstack::<B>(out), dtype), lse)
}

/// → (dq, dk, dv).
pub(crate) fn backward<B: Matmul>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    out: FloatTensor<B>,
    lse: FloatTensor<B>,
    dout: FloatTensor<B>,
    options: AttentionOptions,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let dtype = q.dtype();
    let heads = Heads::of::<B>(&q, &k);
    let rows = heads.groups() * heads.length;
    let column = |tensor| B::float_reshape(tensor, Shape::new([heads.batch, heads.kv, rows, 1]));

    let scores = heads.scores::<B>(q.clone(), k.clone(), options);
    let p = B::float_exp(B::float_sub(scores, column(lse))); // [B, K, G·T, S]
    let (out, dout) = (to_f32::<B>(out), to_f32::<B>(dout));
    let delta = B::float_sum_dim(B::float_mul(out, dout.clone()), 3); // [B, T, N, 1]
    let delta = column(B::float_permute(delta, &[0, 2, 1, 3]));
    let dout = heads.stack::<B>(dout);
    let dv = B::matmul(B::float_swap_dims(p.clone(), 2, 3), dout.clone()); // [B, K, S, H]
    let v = heads.keys_first::<B>(to_f32::<B>(v));
    let dp = B::matmul(dout, B::float_swap_dims(v, 2, 3));
    let ds = B::float_mul(p, B::float_sub(dp, delta));
    let ds = B::float_mul_scalar(ds, options.scale.into());
    let dq = B::matmul(ds.clone(), heads.keys_first::<B>(to_f32::<B>(k)));
    let dk = B::matmul(B::float_swap_dims(ds, 2, 3), heads.stack::<B>(to_f32::<B>(q)));
    let keys = |tensor| to_dtype::<B>(B::float_permute(tensor, &[0, 2, 1, 3]), dtype);
    (to_dtype::<B>(heads.unstack::<B>(dq), dtype), keys(dk), keys(dv))
}

/// The sizes of one call and the layouts they imply.
struct Heads {
    batch: usize,
    length: usize,
    keys: usize,
    query: usize,
    kv: usize,
    head_dim: usize,
}

impl Heads {
    fn of<B: Backend>(q: &FloatTensor<B>, k: &FloatTensor<B>) -> Self {
        let [batch, length, query, head_dim] = q.shape().dims();
        let [_, keys, kv, _] = k.shape().dims();
        Self { batch, length, keys, query, kv, head_dim }
    }

    fn groups(&self) -> usize {
        self.query / self.kv
    }

    /// `[B, T, N, H]` → `[B, K, G·T, H]`.
    fn stack<B: Backend>(&self, q: FloatTensor<B>) -> FloatTensor<B> {
        let rows = self.groups() * self.length;
        let q = B::float_permute(q, &[0, 2, 1, 3]); // [B, N, T, H]
        B::float_reshape(q, Shape::new([self.batch, self.kv, rows, self.head_dim]))
    }

    /// `[B, K, G·T, H]` → `[B, T, N, H]`.
    fn unstack<B: Backend>(&self, out: FloatTensor<B>) -> FloatTensor<B> {
        let shape = Shape::new([self.batch, self.query, self.length, self.head_dim]);
        B::float_permute(B::float_reshape(out, shape), &[0, 2, 1, 3])
    }

    /// `[B, S, K, H]` → `[B, K, S, H]`.
    fn keys_first<B: Backend>(&self, k: FloatTensor<B>) -> FloatTensor<B> {
        B::float_permute(k, &[0, 2, 1, 3])
    }

    /// Masked, scaled scores `[B, K, G·T, S]` in f32.
    fn scores<B: Matmul>(
        &self,
        q: FloatTensor<B>,
        k: FloatTensor<B>,
        options: AttentionOptions,
    ) -> FloatTensor<B> {
        let k = self.keys_first::<B>(to_f32::<B>(k));
        let q = B::float_mul_scalar(self.stack::<B>(to_f32::<B>(q)), options.scale.into());
        let scores = B::matmul(q, B::float_swap_dims(k, 2, 3));
        // One query at the last position sees every key.
        if !options.causal || self.length == 1 {
            return scores;
        }
        let flat = scores.shape();
        let per_head = Shape::new([self.batch, self.query, self.length, self.keys]);
        let scores = B::float_reshape(scores, per_head.clone());
        let future = B::bool_expand(self.future::<B>(&scores.device()), per_head);
        B::float_reshape(B::float_mask_fill(scores, future, f32::NEG_INFINITY.into()), flat)
    }

    /// `[1, 1, T, S]`, true where the key lies after the query.
    fn future<B: Backend>(&self, device: &B::Device) -> BoolTensor<B> {
        let settings = get_device_settings::<B>(device);
        let shift = (self.keys - self.length) as i64;
        let positions = |range: std::ops::Range<i64>, shape: [usize; 4]| {
            B::int_reshape(B::int_arange(range, device, settings.int_dtype), Shape::new(shape))
        };
        let queries = positions(shift..self.keys as i64, [1, 1, self.length, 1]);
        let keys = positions(0..self.keys as i64, [1, 1, 1, self.keys]);
        let shape = Shape::new([1, 1, self.length, self.keys]);
        B::int_greater(
            B::int_expand(keys, shape.clone()),
            B::int_expand(queries, shape),
            settings.bool_dtype,
        )
    }
}
