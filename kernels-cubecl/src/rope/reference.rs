//! RoPE in Burn's tensor operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{Shape, Slice};

use crate::precision::{to_dtype, to_f32};

/// x `[B, T, heads, H]`, tables `[P, T, H/2]` → like x; `inverse` negates the angle.
pub(crate) fn forward<B: Backend>(
    x: FloatTensor<B>,
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
    inverse: bool,
) -> FloatTensor<B> {
    let dtype = x.dtype();
    let [batch, length, heads, head_dim] = x.shape().dims();
    let half = head_dim / 2;
    let half_of = |tensor: FloatTensor<B>, start: usize| {
        let whole = [batch, length, heads].map(|size| Slice::from(0..size));
        let [b, t, n] = whole;
        B::float_slice(tensor, &[b, t, n, Slice::from(start..start + half)])
    };
    let table = |tensor: FloatTensor<B>| {
        let tables = tensor.shape()[0];
        B::float_reshape(to_f32::<B>(tensor), Shape::new([tables, length, 1, half]))
    };
    let x = to_f32::<B>(x);
    let (first, second) = (half_of(x.clone(), 0), half_of(x, half));
    let (cos, sin) = (table(cos), table(sin));
    let sin = if inverse { B::float_neg(sin) } else { sin };
    let rotated_first = B::float_sub(
        B::float_mul(first.clone(), cos.clone()),
        B::float_mul(second.clone(), sin.clone()),
    );
    let rotated_second = B::float_add(B::float_mul(first, sin), B::float_mul(second, cos));
    to_dtype::<B>(B::float_cat(vec![rotated_first, rotated_second], 3), dtype)
}
