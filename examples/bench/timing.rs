//! Time per execution, and the error of its result.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use burn::tensor::{DType, Device, Int, Tensor};
use kernels_cubecl::embedding;

use crate::cases::{Case, Sizes};
use crate::data::Data;

/// Executions before the clock starts: the first compiles.
const WARM_UP: usize = 3;

/// A batch of executions takes at least this long, so that launching and waiting do not count.
const BATCH: Duration = Duration::from_millis(20);

/// Batches whose median counts.
const BATCHES: usize = 9;

/// Rows of the check against the CPU.
const CHECKED_ROWS: usize = 192;

/// What was measured of one case.
pub(crate) struct Measured {
    pub(crate) op: &'static str,
    pub(crate) direction: &'static str,
    pub(crate) plan: Option<&'static str>,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: DType,
    /// Seconds per execution.
    pub(crate) seconds: f64,
    /// Bytes that must be moved.
    pub(crate) bytes: f64,
    /// Floating-point operations of matrix products.
    pub(crate) flops: f64,
    /// Of the worst output, ‖found − expected‖/‖expected‖.
    pub(crate) relative_error: f64,
}

/// Times one case and compares it with the CPU.
pub(crate) fn measure(
    case: &Case,
    device: &Device,
    dtype: DType,
    sizes: Sizes,
) -> Result<Measured> {
    let relative_error = error(case, device, dtype, sizes)?;
    let data = Data::random(device, dtype);
    let mut run = (case.build)(&data, sizes);
    let seconds = time(device, || drop(run(false)));
    let (bytes, flops) = (case.bytes)(sizes, dtype.size() as f64);
    let shape = (case.shape)(sizes);
    let Case { op, direction, plan, .. } = *case;
    Ok(Measured { op, direction, plan, shape, dtype, seconds, bytes, flops, relative_error })
}

/// The error of a case on few rows, where the CPU is quick enough.
///
/// # Errors
/// It is larger than rounding explains: the case is wrong.
pub(crate) fn error(case: &Case, device: &Device, dtype: DType, sizes: Sizes) -> Result<f64> {
    // Inputs of both sides are the same rounded values; a result is rounded once, sums are in f32.
    let tolerance = match dtype {
        DType::F32 => 1e-5,
        DType::F16 => 2e-3,
        _ => 8e-3,
    };
    let sizes = Sizes { rows: sizes.rows.min(CHECKED_ROWS), ..sizes };
    let outputs = |data: &Data| -> Vec<Vec<f64>> {
        let outputs = (case.build)(data, sizes)(true);
        outputs.into_iter().map(|out| out.into_data().iter::<f64>().collect()).collect()
    };
    let found = outputs(&Data::fixed(device, dtype, dtype));
    let expected = outputs(&Data::fixed(&Device::flex(), dtype, DType::F64));
    let errors = found.iter().zip(&expected).map(|(found, expected)| distance(found, expected));
    let worst = errors.fold(0.0, f64::max);
    if worst.is_nan() || worst > tolerance {
        let Case { op, direction, .. } = case;
        bail!("{op} {direction} in {dtype:?} is wrong: off by {worst:.1e} of its length");
    }
    Ok(worst)
}

/// ‖found − expected‖/‖expected‖; NaN where lengths differ.
fn distance(found: &[f64], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::NAN;
    }
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(expected).map(|(found, expected)| found - expected))
        / norm(&mut expected.iter().copied())
}

/// Bandwidth of reading and writing once, in 10⁹ bytes per second.
pub(crate) fn copy_gb_per_s(device: &Device, dtype: DType, sizes: Sizes) -> f64 {
    let data = Data::random(device, dtype);
    let x: Tensor<2> = data.tensor([sizes.rows, 2 * sizes.intermediate], 1);
    // All rows in their order: a copy that no lazy backend leaves out.
    let rows = Tensor::<1, Int>::arange(0..sizes.rows as i64, device);
    let seconds = time(device, || drop(embedding(x.clone(), rows.clone())));
    let elements = x.dims().iter().product::<usize>();
    2.0 * (elements * dtype.size()) as f64 / seconds / 1e9
}

/// Median seconds of one execution.
pub(crate) fn time(device: &Device, mut run: impl FnMut()) -> f64 {
    let mut batch = |count: usize| {
        let start = Instant::now();
        (0..count).for_each(|_| run());
        device.sync().expect("the device answers");
        start.elapsed()
    };
    batch(WARM_UP);
    let mut count = 1;
    while batch(count) < BATCH && count < 1 << 12 {
        count *= 2;
    }
    let mut seconds: Vec<f64> =
        (0..BATCHES).map(|_| batch(count).as_secs_f64() / count as f64).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[BATCHES / 2]
}
