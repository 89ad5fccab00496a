//! Cross-entropy in Burn's tensor operations.

use burn::backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, get_device_settings};
use burn::tensor::{IndexingUpdateOp, Shape};

use super::CrossEntropyOptions;
use crate::precision::{to_dtype, to_f32};

/// logits `[R, V]`, targets `[R]` → (loss `[R]`, lse `[R]`), f32.
pub(crate) fn forward<B: Backend>(
    logits: FloatTensor<B>,
    targets: IntTensor<B>,
    options: CrossEntropyOptions,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let CrossEntropyOptions { z_loss, label_smoothing } = options;
    let [rows, _] = logits.shape().dims();
    let logits = to_f32::<B>(logits);
    let max = B::float_max_dim(logits.clone(), 1); // [R, 1]
    let exp = B::float_exp(B::float_sub(logits.clone(), max.clone()));
    let lse = B::float_add(B::float_log(B::float_sum_dim(exp, 1)), max); // [R, 1]
    let (index, ignored) = split_targets::<B>(targets); // [R, 1] each
    let mut of_target = B::float_gather(1, logits.clone(), index);
    if label_smoothing != 0.0 {
        of_target = B::float_add(
            B::float_mul_scalar(of_target, (1.0 - label_smoothing).into()),
            B::float_mul_scalar(B::float_mean_dim(logits, 1), label_smoothing.into()),
        );
    }
    let mut loss = B::float_sub(lse.clone(), of_target);
    if z_loss != 0.0 {
        let square = B::float_mul(lse.clone(), lse.clone());
        loss = B::float_add(loss, B::float_mul_scalar(square, z_loss.into()));
    }
    let loss = B::float_mask_fill(loss, ignored, 0f32.into());
    let row = |tensor| B::float_reshape(tensor, Shape::new([rows]));
    (row(loss), row(lse))
}

/// → dlogits `[R, V]`.
pub(crate) fn backward<B: Backend>(
    logits: FloatTensor<B>,
    targets: IntTensor<B>,
    lse: FloatTensor<B>,
    dloss: FloatTensor<B>,
    options: CrossEntropyOptions,
) -> FloatTensor<B> {
    let CrossEntropyOptions { z_loss, label_smoothing } = options;
    let dtype = logits.dtype();
    let [rows, vocab_size] = logits.shape().dims();
    let column = |tensor| B::float_reshape(tensor, Shape::new([rows, 1]));
    let (index, ignored) = split_targets::<B>(targets);
    let dloss = B::float_mask_fill(column(dloss), ignored, 0f32.into());
    let lse = column(lse);
    let p = B::float_exp(B::float_sub(to_f32::<B>(logits), lse.clone()));
    let slope = B::float_add_scalar(B::float_mul_scalar(lse, (2.0 * z_loss).into()), 1f32.into());
    let mut dlogits = B::float_mul(p, B::float_mul(dloss.clone(), slope));
    if label_smoothing != 0.0 {
        let share = (label_smoothing / vocab_size as f64).into();
        dlogits = B::float_sub(dlogits, B::float_mul_scalar(dloss.clone(), share));
    }
    let at_target = B::float_mul_scalar(dloss, (label_smoothing - 1.0).into());
    let dlogits = B::float_scatter(1, dlogits, index, at_target, IndexingUpdateOp::Add);
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
