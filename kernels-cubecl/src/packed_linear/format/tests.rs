use std::path::Path;

use half::f16;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use safetensors::SafeTensors;

use super::Format;

/// GGML's blocks and what GGML makes of them; tests/make_ggml_fixtures.py writes the file.
fn fixture() -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/ggml_blocks.safetensors");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// What is read back after writing.
fn round_trip(format: Format, values: &[f32]) -> Vec<f32> {
    let mut read = vec![f32::NAN; values.len()];
    format.dequantize(&format.quantize(values), &mut read);
    read
}

#[test]
fn blocks_are_read_as_ggml_reads_them() {
    let file = fixture();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    for format in Format::ALL.into_iter().filter(|format| *format != Format::F32) {
        let blocks = tensors.tensor(&format!("{format}.blocks")).unwrap();
        let values = tensors.tensor(&format!("{format}.values")).unwrap();
        assert_eq!(blocks.shape()[1], format.block_bytes(), "{format}");
        assert_eq!(values.shape()[1], format.block_elements(), "{format}");
        let expected = floats(values.data());
        assert_eq!(format.row_bytes(expected.len()), Some(blocks.data().len()), "{format}");

        let mut found = vec![f32::NAN; expected.len()];
        format.dequantize(blocks.data(), &mut found);
        for (element, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let equal = found.to_bits() == expected.to_bits();
            assert!(equal, "{format}, element {element}: {found} instead of {expected}");
        }
    }
}

#[test]
fn blocks_are_written_as_ggml_writes_them() {
    let file = fixture();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let values = floats(tensors.tensor("quantize.values").unwrap().data());
    for format in Format::ALL.into_iter().filter(|format| format.can_quantize()) {
        let expected = match format {
            Format::F32 => tensors.tensor("quantize.values"),
            _ => tensors.tensor(&format!("quantize.{format}")),
        };
        let expected = expected.unwrap().data();
        let found = format.quantize(&values);
        assert_eq!(found.len(), expected.len(), "{format}");
        let row_bytes = format.row_bytes(32).unwrap();
        let rows = found.chunks(row_bytes).zip(expected.chunks(row_bytes));
        for ((found, expected), row) in rows.zip(values.chunks(32)) {
            assert_eq!(found, expected, "{format} of {row:?}");
        }
    }
}

/// `half` is another implementation of the conversion.
#[test]
fn every_f16_is_read_as_half_reads_it() {
    let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    let mut found = vec![0.0; halves.len()];
    Format::F16.dequantize(&bytes, &mut found);
    for (found, half) in found.iter().zip(halves) {
        match half.is_nan() {
            true => assert!(found.is_nan(), "{:#06x} is NaN", half.to_bits()),
            false => assert_eq!(found.to_bits(), half.to_f32().to_bits(), "{half}"),
        }
    }
}

#[test]
fn nan_becomes_zero_in_blocks_and_stays_in_floats() {
    let values: [f32; 32] = std::array::from_fn(|k| if k % 8 == 3 { f32::NAN } else { k as f32 });
    for format in [Format::Q4_0, Format::Q8_0] {
        let without: Vec<f32> = values.map(|x| if x.is_nan() { 0.0 } else { x }).to_vec();
        assert_eq!(round_trip(format, &values), round_trip(format, &without), "{format}");
        assert_eq!(round_trip(format, &[f32::NAN; 32]), [0.0; 32], "{format}");
    }
    for format in [Format::F32, Format::F16, Format::Bf16] {
        for (read, value) in round_trip(format, &values).iter().zip(values) {
            assert!(*read == value || (read.is_nan() && value.is_nan()), "{format} of {value}");
        }
    }
}

#[test]
fn a_block_with_an_infinity_is_lost_and_its_neighbours_are_not() {
    for infinity in [f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        for format in [Format::Q4_0, Format::Q8_0] {
            let mut values: Vec<f32> = (0..96).map(|k| k as f32 - 40.0).collect();
            let undisturbed = round_trip(format, &values);
            values[40] = infinity;
            let read = round_trip(format, &values);
            assert!(read[32..64].iter().all(|x| !x.is_finite()), "{format} of {infinity}");
            assert_eq!(read[..32], undisturbed[..32]);
            assert_eq!(read[64..], undisturbed[64..]);
        }
    }
}

#[test]
fn quantization_errs_by_at_most_half_a_step() {
    // Codes count steps of 1/127 or 1/8 of the furthest value. Q4_0 has a code for −8 but none for 8.
    const LARGEST_ERRORS: [(Format, f32); 2] =
        [(Format::Q8_0, 0.5 / 127.0), (Format::Q4_0, 1.0 / 8.0)];
    // The step is rounded to f16's 11 bits, and all steps up to the furthest value with it.
    const STEP_ROUNDING: f32 = 1.0 / 2048.0;
    let values: Vec<f32> = crate::testing::values(64 * 32, 3).iter().map(|x| *x as f32).collect();
    for row in values.chunks(32) {
        let furthest = row.iter().fold(0f32, |furthest, x| furthest.max(x.abs()));
        for (format, largest) in LARGEST_ERRORS {
            for (read, x) in round_trip(format, row).iter().zip(row) {
                let error = (read - x).abs() / furthest;
                assert!(error <= largest + STEP_ROUNDING, "{format}: {read} for {x}");
            }
        }
    }
}

#[test]
fn rows_are_whole_blocks() {
    assert_eq!(Format::F32.row_bytes(3), Some(12));
    assert_eq!(Format::Q4_0.row_bytes(64), Some(36));
    assert_eq!(Format::Q4_0.row_bytes(48), None);
    assert_eq!(Format::Q4K.row_bytes(128), None);
    assert_eq!(Format::Q6K.row_bytes(512), Some(420));
    assert_eq!(Format::F32.row_bytes(usize::MAX / 2), None, "more bytes than there are");
}

/// `holds` is what `quantize` and `dequantize` do to the largest of a block.
#[test]
fn what_a_format_holds_stays_finite() {
    for format in Format::ALL.into_iter().filter(|format| format.can_quantize()) {
        for magnitude in
            [1.0, 65_503.0, 65_519.0, 65_521.0, 524_000.0, 525_000.0, 8.3e6, 8.4e6, 3.3e38]
                .into_iter()
                .chain([f32::MAX, f32::INFINITY])
        {
            let mut values = [0.0; 32];
            values[5] = -magnitude;
            let mut back = [0.0; 32];
            format.dequantize(&format.quantize(&values), &mut back);
            let is_finite = back.iter().all(|value| value.is_finite());
            assert_eq!(format.holds(magnitude), is_finite, "{magnitude} in {format}: {back:?}");
        }
    }
}

/// The largest error of x in a block whose furthest element is `furthest`: half of the step between the
/// numbers that the format has there.
fn half_a_step(format: Format, x: f32, furthest: f32) -> f32 {
    // Of 2.0^exponent, in the middle of the numbers with so many bits behind the first one.
    let float = |bits: i32, least: i32| {
        let exponent = x.abs().log2().floor().max(least as f32);
        (exponent - bits as f32 - 1.0).exp2()
    };
    // The step of a block is itself an f16, and an error of it counts as often as there are steps.
    let block = |steps: f32, codes: f32| {
        let step = furthest.abs() / steps;
        let rounding = (step / 2048.0).max((-25f32).exp2());
        // Sums and products on the way round, too.
        step * (codes + 1e-5) + steps * rounding
    };
    match format {
        Format::F32 => 0.0,
        Format::F16 => float(10, -14),
        Format::Bf16 => float(7, -126),
        Format::Q8_0 => block(127.0, 0.5),
        // The code 8, beyond the last one, is missing on the side that is not the furthest element's.
        Format::Q4_0 if x * furthest < 0.0 && x.abs() > furthest.abs() * (7.5 / 8.0) => {
            block(8.0, 1.0)
        }
        Format::Q4_0 => block(8.0, 0.5),
        _ => panic!("{format} is not written"),
    }
}

fn config() -> ProptestConfig {
    // The same cases in every run, and no file beside the sources.
    let (rng_seed, failure_persistence) = (RngSeed::Fixed(1), None);
    ProptestConfig { cases: 512, rng_seed, failure_persistence, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn writing_errs_by_half_a_step(
        exponent in -24f32..11.0,
        fractions in prop::collection::vec(-1f32..=1.0, 32),
    ) {
        let values: Vec<f32> = fractions.iter().map(|x| x * exponent.exp2()).collect();
        let furthest = values.iter().fold(0f32, |a, &b| if b.abs() > a.abs() { b } else { a });
        for format in Format::ALL.into_iter().filter(|format| format.can_quantize()) {
            for (read, &x) in round_trip(format, &values).into_iter().zip(&values) {
                let error = half_a_step(format, x, furthest);
                prop_assert!((read - x).abs() <= error, "{format}: {read} for {x}, {error}");
            }
        }
    }
}
