//! Every way to a product against `dequantize` and a sum in f64, for arbitrary blocks.

use half::f16;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

/// Of the product of all magnitudes of x with the row's largest element: some tens of additions one after
/// the other, each rounding 6e-8 of what is summed so far.
const F32_SUM: f64 = 1e-6;

fn config() -> ProptestConfig {
    // The same cases in every run, and no file beside the sources.
    let (rng_seed, failure_persistence) = (RngSeed::Fixed(1), None);
    ProptestConfig { cases: 256, rng_seed, failure_persistence, ..ProptestConfig::default() }
}

/// Where the f16s of a block lie.
fn scales(format: Format) -> &'static [usize] {
    match format {
        Format::F32 | Format::F16 | Format::Bf16 => &[],
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => &[0],
        Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 2],
        Format::Q6K => &[208],
    }
}

/// Rows of arbitrary codes with scales from `random`, cut from a stream of them as long as needed.
fn part(format: Format, rows: usize, columns: usize, codes: &[u8], random: &[f32]) -> PackedRows {
    let mut random = random.iter().cycle();
    let mut next = || *random.next().expect("there are some");
    let len = rows * format.row_bytes(columns).expect("whole blocks");
    let mut bytes: Vec<u8> = match format {
        Format::F32 | Format::F16 | Format::Bf16 => {
            format.quantize(&(0..rows * columns).map(|_| next()).collect::<Vec<f32>>())
        }
        _ => codes.iter().copied().cycle().take(len).collect(),
    };
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        for &at in scales(format) {
            block[at..at + 2].copy_from_slice(&f16::from_f32(next()).to_le_bytes());
        }
    }
    PackedRows { format, rows, bytes: bytes.into() }
}

/// y `[R, rows]` and the error that each of its elements may have.
fn expected(part: &PackedRows, columns: usize, x: &[f32]) -> Vec<(f64, f64)> {
    let mut row = vec![0.0; columns];
    let mut expected = Vec::new();
    for x in x.chunks_exact(columns) {
        for index in 0..part.rows {
            part.format.dequantize(part.row(index, columns), &mut row);
            let largest = row.iter().fold(0f32, |largest, w| largest.max(w.abs()));
            let pairs = || x.iter().zip(&row).map(|(&x, &w)| (f64::from(x), f64::from(w)));
            let size: f64 = pairs().map(|(x, _)| x.abs()).sum();
            let sum = pairs().map(|(x, w)| x * w).sum();
            expected.push((sum, F32_SUM * size * f64::from(largest)));
        }
    }
    expected
}

fn check(
    found: impl Iterator<Item = f32>,
    expected: &[(f64, f64)],
    what: &str,
) -> Result<(), TestCaseError> {
    let found: Vec<f32> = found.collect();
    prop_assert_eq!(found.len(), expected.len(), "{}", what);
    for (index, (found, (expected, error))) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(*found) - expected).abs();
        prop_assert!(difference <= *error, "{what} [{index}]: {found} for {expected}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_path_multiplies_as_the_dense_values(
        rows in (0usize..5).prop_map(|half| 2 * half + 1),
        x_rows in 1usize..=FEW_ROWS,
        // Rows of floats that fill no step of 32, and of one to three chunks.
        columns in prop_oneof![1usize..70, Just(512), 500usize..1100],
        codes in prop::collection::vec(any::<u8>(), 251),
        random in prop::collection::vec(-2.0f32..2.0, 241),
        x in prop::collection::vec(-1.0f32..1.0, 4 * 1300),
    ) {
        for format in Format::ALL {
            let columns = columns.next_multiple_of(format.block_elements());
            let part = part(format, rows, columns, &codes, &random);
            let x = &x[..x_rows * columns];
            let expected = expected(&part, columns, x);
            // `dot` gives [rows, R], y is [R, rows].
            let transposed = |sums: Vec<f32>| {
                (0..x_rows).flat_map(move |r| (0..rows).map(move |w| (r, w)))
                    .map(move |(r, w)| sums[w * x_rows + r])
            };
            let mut sums = vec![f32::NAN; rows * x_rows];
            dot_portable(&part, 0..rows, x, &mut sums);
            check(transposed(sums), &expected, &format!("portable {format}"))?;
            // In AVX2 where the format and this machine have it.
            let mut sums = vec![f32::NAN; rows * x_rows];
            dot(&part, 0..rows, x, &mut sums);
            check(transposed(sums), &expected, &format!("dot {format}"))?;
            let matrix = PackedMatrix::new(columns, vec![part]);
            check(multiply(x, &matrix).into_iter(), &expected, &format!("multiply {format}"))?;
            // As many rows of x as go through a panel.
            let many = x.repeat(FEW_ROWS / x_rows + 1);
            let expected = expected.repeat(FEW_ROWS / x_rows + 1);
            let found = multiply(&many, &matrix).into_iter();
            check(found, &expected, &format!("panel {format}"))?;
        }
    }
}
