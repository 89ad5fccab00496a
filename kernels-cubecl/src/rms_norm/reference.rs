//! RMSNorm in Burn's tensor operations; statistics in f32.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::Shape;

use crate::precision::{to_dtype, to_f32};

/// x `[R, D]`, weight `[D]` → (y `[R, D]`, rstd `[R]` f32).
pub(crate) fn forward<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    eps: f64,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (shape, dtype) = (x.shape(), x.dtype());
    let [rows, width] = shape.dims();
    let x = to_f32::<B>(x);
    let square = B::float_mul(x.clone(), x.clone());
    let mean_square = B::float_mean_dim(square, 1); // [R, 1]
    let rstd = B::float_recip(B::float_sqrt(B::float_add_scalar(mean_square, eps.into())));
    let normalised = B::float_mul(x, rstd.clone());
    let weight = B::float_reshape(to_f32::<B>(weight), Shape::new([1, width]));
    let y = B::float_mul(normalised, weight);
    (to_dtype::<B>(y, dtype), B::float_reshape(rstd, Shape::new([rows])))
}

/// x, residual `[R, D]` → (y, sum `[R, D]`, rstd `[R]` f32). The sum is rounded to its dtype first: what
/// is normalised is what the stream keeps.
pub(crate) fn add_forward<B: Backend>(
    x: FloatTensor<B>,
    residual: FloatTensor<B>,
    weight: FloatTensor<B>,
    eps: f64,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let sum = B::float_add(x, residual);
    let (y, rstd) = forward::<B>(sum.clone(), weight, eps);
    (y, sum, rstd)
}

/// → (dx `[R, D]`, dweight `[D]`).
pub(crate) fn backward<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    rstd: FloatTensor<B>,
    dy: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (x_dtype, weight_dtype) = (x.dtype(), weight.dtype());
    let [rows, width] = x.shape().dims();
    let (x, dy) = (to_f32::<B>(x), to_f32::<B>(dy));
    let rstd = B::float_reshape(rstd, Shape::new([rows, 1]));
    let normalised = B::float_mul(x, rstd.clone()); // x̂
    let dweight = B::float_sum_dim(B::float_mul(dy.clone(), normalised.clone()), 0);
    let weight = B::float_reshape(to_f32::<B>(weight), Shape::new([1, width]));
    let g = B::float_mul(dy, weight);
    let projection = B::float_mean_dim(B::float_mul(g.clone(), normalised.clone()), 1); // [R, 1]
    let dx = B::float_mul(B::float_sub(g, B::float_mul(normalised, projection)), rstd);
    let dweight = B::float_reshape(dweight, Shape::new([width]));
    (to_dtype::<B>(dx, x_dtype), to_dtype::<B>(dweight, weight_dtype))
}
