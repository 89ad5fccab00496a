//! `exp` in f32 as a few operations without branches, so that LLVM computes as many at once as fit.
//!
//! `x = n · ln 2 + r` with an integer n and |r| ≤ ln(2)/2; `exp(r)` is Cephes' polynomial (`expf`, Moshier
//! 1989), and n is added to its exponent. The error is below 2 units in the last place wherever the result
//! is a normal number; the test finds 1.0.

/// Largest x whose result is finite, the f32 below ln of the largest.
const LARGEST: f32 = 88.722_83;

/// Smallest x whose result is a normal number, ln 2⁻¹²⁶. Below it the result is 0.
const SMALLEST: f32 = -87.336_54;

/// Adding 1.5 · 2²³ rounds to an integer, which then lies in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// ln 2 in two parts; the first has 10 bits, so that its product with n is exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// exp(r) = 1 + r + r² · Σ POLYNOMIAL[i] · r^(5 − i)
const POLYNOMIAL: [f32; 6] =
    [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// eˣ; 0 below [`SMALLEST`], infinity above [`LARGEST`], NaN of NaN.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let mut sum = POLYNOMIAL[0];
    sum = sum * r + POLYNOMIAL[1];
    sum = sum * r + POLYNOMIAL[2];
    sum = sum * r + POLYNOMIAL[3];
    sum = sum * r + POLYNOMIAL[4];
    sum = sum * r + POLYNOMIAL[5];
    let of_r = sum * (r * r) + r + 1.0;
    // n in two's complement, moved to the exponent. At both ends of the range exp(r) lies on the side of
    // 1 that keeps the sum a valid exponent.
    let scaled = f32::from_bits(of_r.to_bits().wrapping_add(shifted.to_bits() << 23));
    let large = if x > LARGEST { f32::INFINITY } else { scaled };
    let result = if x < SMALLEST { 0.0 } else { large };
    if x.is_nan() { x } else { result }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::vectorised;

    /// Units in the last place.
    const TOLERANCE: f64 = 2.0;

    fn error(x: f32, found: f32) -> f64 {
        let expected = f64::from(x).exp();
        let unit = f64::from(expected as f32) - f64::from((expected as f32).next_down());
        (f64::from(found) - expected).abs() / unit
    }

    /// Every 37th f32 between the ends, of both signs: 57 million values.
    #[test]
    fn errors_are_below_two_units() {
        let largest = vectorised(
            #[inline(always)]
            || {
                let mut largest = 0.0_f64;
                for bits in (0..LARGEST.to_bits()).step_by(37) {
                    let x = f32::from_bits(bits);
                    largest = largest.max(error(x, exp(x)));
                    if -x >= SMALLEST {
                        largest = largest.max(error(-x, exp(-x)));
                    }
                }
                largest
            },
        );
        println!("largest error of exp: {largest} units in the last place");
        assert!(largest < TOLERANCE, "{largest} units in the last place");
    }

    #[test]
    fn ends_are_exact() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(SMALLEST.next_down()), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(LARGEST.next_up()), f32::INFINITY);
        assert_eq!(exp(1e30), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
        assert!(error(LARGEST, exp(LARGEST)) < TOLERANCE);
        assert!(error(SMALLEST, exp(SMALLEST)) < TOLERANCE);
    }
}
