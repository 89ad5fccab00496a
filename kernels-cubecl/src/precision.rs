//! Casts around f32 accumulation: low-precision inputs are widened once, results narrowed once.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::DType;

/// The dtype in which statistics and sums over values of `dtype` are kept: f64 of f64, else f32.
pub(crate) fn statistics_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// The tensor in f32, or in f64 if it already is.
pub(crate) fn to_f32<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    let dtype = statistics_dtype(tensor.dtype());
    to_dtype::<B>(tensor, dtype)
}

/// The tensor in `dtype`, untouched if it has it already.
pub(crate) fn to_dtype<B: Backend>(tensor: FloatTensor<B>, dtype: DType) -> FloatTensor<B> {
    if tensor.dtype() == dtype { tensor } else { B::float_cast(tensor, dtype.into()) }
}
