//! Against the product in f64 of what `dequantize` gives.

use burn::tensor::{Device, Distribution};

use super::*;

/// Of the sum of all magnitudes: up to 56 additions on the way of one product into a sum, each rounding
/// at most 6e-8 of what is summed so far, and mostly in opposite directions.
const F32_SUM: f64 = 1e-6;

/// Rows of `columns` pseudo-random elements: any bytes are valid blocks but for their scales.
fn part(format: Format, rows: usize, columns: usize) -> PackedRows {
    let device = Device::flex();
    let values = Tensor::<2>::random([rows, columns], Distribution::Uniform(-1.0, 1.0), &device);
    let values: Vec<f32> = values.into_data().iter::<f32>().collect();
    let bytes = match format.can_quantize() {
        true => format.quantize(&values),
        false => {
            let mut bytes: Vec<u8> = values.iter().map(|x| (x * 127.0) as i8 as u8).collect();
            bytes.resize(rows * format.row_bytes(columns).unwrap(), 0x5a);
            // 1/64 wherever a block may keep an f16: at its beginning and at its end.
            for block in bytes.chunks_exact_mut(format.block_bytes()) {
                let end = block.len() - 2;
                for at in [0, 2, end] {
                    block[at..at + 2].copy_from_slice(&0x2400u16.to_le_bytes());
                }
            }
            bytes
        }
    };
    PackedRows { format, rows, bytes: bytes.into() }
}

fn dense(matrix: &PackedMatrix) -> Vec<Vec<f32>> {
    (0..matrix.rows())
        .map(|row| {
            let mut values = vec![0.0; matrix.columns()];
            matrix.dequantize_row(row, &mut values);
            values
        })
        .collect()
}

#[track_caller]
fn check(matrix: &PackedMatrix, [batch, length]: [usize; 2]) {
    let device = Device::flex();
    let shape = [batch, length, matrix.columns()];
    let x = Tensor::<3>::random(shape, Distribution::Uniform(-1.0, 1.0), &device);
    let y = packed_linear(x.clone(), matrix);
    assert_eq!(y.dims(), [batch, length, matrix.rows()]);
    let x: Vec<f64> = x.into_data().iter::<f64>().collect();
    let mut found = y.into_data().try_into_vec::<f32>().unwrap().into_iter();
    let weight = dense(matrix);
    for x in x.chunks(matrix.columns()) {
        for row in &weight {
            let products = x.iter().zip(row).map(|(x, &w)| x * f64::from(w));
            let (expected, size) = products.fold((0.0, 0.0), |(sum, size), product: f64| {
                (sum + product, size + product.abs())
            });
            let found = f64::from(found.next().unwrap());
            assert!(
                (found - expected).abs() <= F32_SUM * size,
                "{matrix:?}: {found} for {expected}"
            );
        }
    }
}

#[test]
fn every_format_multiplies_as_its_dense_values() {
    for format in Format::ALL {
        let matrix = PackedMatrix::new(768, vec![part(format, 37, 768)]);
        for rows in [[1, 1], [1, 3], [2, 2], [1, 5], [3, 7]] {
            check(&matrix, rows);
        }
    }
}

#[test]
fn widths_that_fill_no_chunk_are_whole() {
    for columns in [1, 2, 31, 33, 511, 513, 600] {
        check(&PackedMatrix::new(columns, vec![part(Format::F32, 5, columns)]), [1, 1]);
        check(&PackedMatrix::new(columns, vec![part(Format::Bf16, 5, columns)]), [2, 9]);
    }
    for columns in [32, 64, 544, 608] {
        check(&PackedMatrix::new(columns, vec![part(Format::Q8_0, 3, columns)]), [1, 2]);
    }
}

#[test]
fn stacked_parts_keep_their_formats() {
    let parts = vec![
        part(Format::Q4K, 40, 256),
        part(Format::Q4K, 8, 256),
        part(Format::Q6K, 8, 256),
        part(Format::F16, 1, 256),
    ];
    let matrix = PackedMatrix::new(256, parts);
    assert_eq!(matrix.rows(), 57);
    check(&matrix, [1, 1]);
    check(&matrix, [1, 33]);
}

#[test]
fn rows_are_looked_up_by_number() {
    let matrix = PackedMatrix::new(64, vec![part(Format::Q8_0, 3, 64), part(Format::F32, 4, 64)]);
    let ids = Tensor::<2, Int>::from_data([[6, 0, 3]], &Device::flex());
    let rows = packed_rows(ids, &matrix);
    assert_eq!(rows.dims(), [1, 3, 64]);
    let weight = dense(&matrix);
    let expected = [&weight[6][..], &weight[0], &weight[3]].concat();
    assert_eq!(rows.into_data().try_into_vec::<f32>().unwrap(), expected);
}
