//! A projection whose weight stays in the bytes of its file: 16-bit floats or blocks of small integers.
//!
//! `y = x·Wᵀ` with W in any [`Format`]. Elements of W become f32 on the way into the product and x is
//! not rounded, so that the result is the one of a dense product with the stored values. It runs on
//! the host, where memory bandwidth decides the speed of decoding: a quarter of the bytes is four
//! times the tokens.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod format;
mod matrix;
mod multiply;
#[cfg(test)]
mod tests;

use burn::tensor::{FloatDType, Int, Tensor, TensorData};

pub use format::Format;
pub use matrix::{PackedMatrix, PackedRows};

/// `x·Wᵀ` in f32, computed on the host; x may lie on any device and y returns to it. There is no
/// gradient.
///
/// # Shapes
/// x `[B, T, columns]`, weight `[rows, columns]` → `[B, T, rows]`.
///
/// # Panics
/// When x is not as wide as the matrix.
pub fn packed_linear(x: Tensor<3>, weight: &PackedMatrix) -> Tensor<3> {
    let [batch, length, width] = x.dims();
    let (rows, columns) = (weight.rows(), weight.columns());
    assert_eq!(width, columns, "packed_linear: x is {width} wide, the matrix {columns}");
    let device = x.device();
    let x = x.cast(FloatDType::F32).into_data().try_into_vec::<f32>().expect("cast to f32 before");
    let y = multiply::multiply(&x, weight);
    Tensor::from_data(TensorData::new(y, [batch, length, rows]), &device)
}

/// Rows of a matrix by their numbers, as an embedding looks them up, in f32.
///
/// # Shapes
/// ids `[B, T]` → `[B, T, columns]`.
///
/// # Panics
/// When an id is no row of the matrix.
pub fn packed_rows(ids: Tensor<2, Int>, weight: &PackedMatrix) -> Tensor<3> {
    let [batch, length] = ids.dims();
    let columns = weight.columns();
    let device = ids.device();
    let ids = ids.into_data();
    let mut rows = vec![0.0; batch * length * columns];
    for (id, row) in ids.iter::<i64>().zip(rows.chunks_exact_mut(columns)) {
        weight.dequantize_row(usize::try_from(id).expect("ids are not negative"), row);
    }
    Tensor::from_data(TensorData::new(rows, [batch, length, columns]), &device)
}
