//! RoPE in Burn's tensor operations.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, get_device_settings};
use burn::tensor::{Shape, Slice};

use crate::precision::{to_dtype, to_f32};

/// x `[B, T, heads, H]`, tables `[P, H/2]`, offsets `[1 or B]` → like x; `inverse` negates the angle.
pub(crate) fn forward<B: Backend>(
    x: FloatTensor<B>,
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
    offsets: IntTensor<B>,
    rotated: usize,
    inverse: bool,
) -> FloatTensor<B> {
    let dtype = x.dtype();
    let [batch, length, heads, head_dim] = x.shape().dims();
    let half = head_dim / 2;
    let sequences = offsets.shape()[0];
    let part = |tensor: FloatTensor<B>, heads: [usize; 2], elements: [usize; 2]| {
        let ranges = [[0, batch], [0, length], heads, elements];
        B::float_slice(tensor, &ranges.map(|[start, end]| Slice::from(start..end)))
    };
    let settings = get_device_settings::<B>(&offsets.device());
    let steps = B::int_arange(0..length as i64, &offsets.device(), settings.int_dtype);
    let positions = B::int_add(
        B::int_reshape(offsets, Shape::new([sequences, 1])),
        B::int_reshape(B::int_cast(steps, settings.int_dtype), Shape::new([1, length])),
    );
    let positions = B::int_reshape(positions, Shape::new([sequences * length]));
    let table = |tensor: FloatTensor<B>| {
        let rows = B::float_select(to_f32::<B>(tensor), 0, positions.clone());
        B::float_reshape(rows, Shape::new([sequences, length, 1, half]))
    };
    let x = to_f32::<B>(x);
    let first = part(x.clone(), [0, rotated], [0, half]);
    let second = part(x.clone(), [0, rotated], [half, head_dim]);
    let (cos, sin) = (table(cos), table(sin));
    let sin = if inverse { B::float_neg(sin) } else { sin };
    let rotated_first = B::float_sub(
        B::float_mul(first.clone(), cos.clone()),
        B::float_mul(second.clone(), sin.clone()),
    );
    let rotated_second = B::float_add(B::float_mul(first, sin), B::float_mul(second, cos));
    let mut y = B::float_cat(vec![rotated_first, rotated_second], 3);
    if rotated < heads {
        y = B::float_cat(vec![y, part(x, [rotated, heads], [0, head_dim])], 2);
    }
    to_dtype::<B>(y, dtype)
}
