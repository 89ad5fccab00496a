//! Casts around f32 accumulation: low-precision inputs are widened once, results narrowed once.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{DType, FloatDType};

/// The tensor in f32 (in f64 if it already is): the dtype in which statistics and sums are kept.
pub(crate) fn to_f32<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    match tensor.dtype() {
        DType::F32 | DType::F64 => tensor,
        _ => B::float_cast(tensor, FloatDType::F32),
    }
}

/// The tensor in `dtype`, untouched if it has it already.
pub(crate) fn to_dtype<B: Backend>(tensor: FloatTensor<B>, dtype: DType) -> FloatTensor<B> {
    if tensor.dtype() == dtype { tensor } else { B::float_cast(tensor, dtype.into()) }
}
