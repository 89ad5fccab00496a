//! Sums in lanes: element i is added to lane i modulo [`LANES`], and the lanes are added at the end. So
//! additions need not wait for each other, and their order does not depend on the CPU.

use super::Scalar;

/// Two registers of AVX2 in f32, four in f64. Of twice as many lanes LLVM makes no SIMD code.
const LANES: usize = 16;

/// Elements whose exponentials are taken before they are added: they stay in the first cache, and the
/// loop that makes them knows nothing of f64, which would halve its vectors.
const BUFFER: usize = 256;

/// Σ a·b over two rows of equal length.
#[inline(always)]
pub(crate) fn dot<E: Scalar>(a: &[E], b: &[E]) -> E {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [E::ZERO; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] = lanes[lane] + a[lane] * b[lane];
        }
    }
    for (lane, (&a, &b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane = *lane + a * b;
    }
    total(lanes)
}

/// Σ x, in f64.
#[inline(always)]
pub(crate) fn sum<E: Scalar>(x: &[E]) -> f64 {
    wide_sum(
        x,
        #[inline(always)]
        |x| x.widen(),
    )
}

/// Σ x², in f64.
#[inline(always)]
pub(crate) fn sum_of_squares<E: Scalar>(x: &[E]) -> f64 {
    wide_sum(
        x,
        #[inline(always)]
        |x| x.widen() * x.widen(),
    )
}

/// Σ exp(x − shift), in f64.
#[inline(always)]
pub(crate) fn sum_of_exp<E: Scalar>(x: &[E], shift: E) -> f64 {
    let mut buffer = [E::ZERO; BUFFER];
    let mut total = 0.0;
    for x in x.chunks(BUFFER) {
        let buffer = &mut buffer[..x.len()];
        for (result, &x) in buffer.iter_mut().zip(x) {
            *result = (x - shift).exponential();
        }
        total += sum(buffer);
    }
    total
}

/// The largest element, of which NaN is none; −∞ of none.
#[inline(always)]
pub(crate) fn largest<E: Scalar>(x: &[E]) -> E {
    let larger = |a: E, b: E| if b > a { b } else { a };
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [E::narrow(f64::NEG_INFINITY); LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, x);
    }
    let mut largest = lanes[0];
    for lane in lanes {
        largest = larger(largest, lane);
    }
    largest
}

#[inline(always)]
fn wide_sum<E: Scalar>(x: &[E], term: impl Fn(E) -> f64) -> f64 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += term(chunk[lane]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += term(x);
    }
    total(lanes)
}

/// The sum of the lanes, halves added to halves.
#[inline(always)]
fn total<E: Scalar, const N: usize>(mut lanes: [E; N]) -> E {
    let mut width = N;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] = lanes[lane] + lanes[lane + width];
        }
    }
    lanes[0]
}
