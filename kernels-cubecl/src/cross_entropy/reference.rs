//! Cross-entropy in Burn's tensor operations.

use burn::backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, get_device_settings};
use burn::tensor::{IndexingUpdateOp, Shape};

use crate::precision::{to_dtype, to_f32};

/// logits `[R, V]`, targets `[R]` → (nll `[R]`, lse `[R]`), f32.
pub(crate) fn forward<B: Backend>(
    logits: FloatTensor<B>,
    targets: IntTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let [rows, _] = logits.shape().dims();
    let logits = to_f32::<B>(logits);
    let max = B::float_max_dim(logits.clone(), 1); // [R, 1]
    let exp = B::float_exp(B::float_sub(logits.clone(), max.clone()));
    let lse = B::float_add(B::float_log(B::float_sum_dim(exp, 1)), max); // [R, 1]
    let (index, ignored) = split_targets::<B>(targets); // [R, 1] each
    let nll = B::float_sub(lse.clone(), B::float_gather(1, logits, index));
    let nll = B::float_mask_fill(nll, ignored, 0f32.into());
    let row = |tensor| B::float_reshape(tensor, Shape::new([rows]));
    (row(nll), row(lse))
}

/// → dlogits `[R, V]`.
pub(crate) fn backward<B: Backend>(
    logits: FloatTensor<B>,
    targets: IntTensor<B>,
    lse: FloatTensor<B>,
    dnll: FloatTensor<B>,
) -> FloatTensor<B> {
    let dtype = logits.dtype();
    let [rows, _] = logits.shape().dims();
    let column = |tensor| B::float_reshape(tensor, Shape::new([rows, 1]));
    let (index, ignored) = split_targets::<B>(targets);
    let dnll = B::float_mask_fill(column(dnll), ignored, 0f32.into());
    let p = B::float_exp(B::float_sub(to_f32::<B>(logits), column(lse)));
    let dlogits = B::float_mul(p, dnll.clone());
    let dlogits = B::float_scatter(1, dlogits, index, B::float_neg(dnll), IndexingUpdateOp::Add);
    to_dtype::<B>(dlogits, dtype)
}

/// targets `[R]` → (index into V `[R, 1]`, 0 where ignored; ignored `[R, 1]`).
fn split_targets<B: Backend>(targets: IntTensor<B>) -> (IntTensor<B>, BoolTensor<B>) {
    let rows = targets.shape()[0];
    let bool_dtype = get_device_settings::<B>(&targets.device()).bool_dtype;
    let targets = B::int_reshape(targets, Shape::new([rows, 1]));
    let ignored = B::int_equal_elem(targets.clone(), super::IGNORE_INDEX.into(), bool_dtype);
    (B::int_mask_fill(targets, ignored.clone(), 0i64.into()), ignored)
}
