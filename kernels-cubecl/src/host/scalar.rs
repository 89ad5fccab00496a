//! The element types that kernels are written for: f32, which must be fast, and f64, in which the tests of
//! the operations run.

use std::ops::{Add, Div, Mul, Neg, Sub};

use burn::tensor::{Shape, TensorData};
use burn_flex::FlexTensor;

use super::exp::exp;

/// An element of a kernel.
pub(crate) trait Scalar:
    Copy
    + Send
    + Sync
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    const ZERO: Self;
    const ONE: Self;

    /// Rounds to this type.
    fn narrow(value: f64) -> Self;
    /// The same value in f64.
    fn widen(self) -> f64;
    /// eˣ: within 2 units in the last place in f32.
    fn exponential(self) -> Self;
    fn root(self) -> Self;

    /// The same slice where this type is f32.
    fn as_f32(x: &[Self]) -> Option<&[f32]>;
    /// As [`Scalar::as_f32`].
    fn as_f32_mut(x: &mut [Self]) -> Option<&mut [f32]>;

    /// The buffer of a tensor, from its first to its last byte.
    fn storage(tensor: &FlexTensor) -> &[Self];
    /// As [`Scalar::storage`], when nobody else holds it.
    fn storage_mut(tensor: &mut FlexTensor) -> Option<&mut [Self]>;
    fn tensor(values: Vec<Self>, shape: Shape) -> FlexTensor;
}

macro_rules! scalar {
    ($float:ident, $exp:path, $as_f32:expr) => {
        impl Scalar for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            #[inline(always)]
            fn narrow(value: f64) -> Self {
                value as $float
            }

            #[inline(always)]
            fn widen(self) -> f64 {
                self.into()
            }

            #[inline(always)]
            fn exponential(self) -> Self {
                $exp(self)
            }

            #[inline(always)]
            fn root(self) -> Self {
                self.sqrt()
            }

            #[inline(always)]
            fn as_f32(x: &[Self]) -> Option<&[f32]> {
                $as_f32(x)
            }

            #[inline(always)]
            fn as_f32_mut(x: &mut [Self]) -> Option<&mut [f32]> {
                $as_f32(x)
            }

            fn storage(tensor: &FlexTensor) -> &[Self] {
                tensor.storage::<$float>()
            }

            fn storage_mut(tensor: &mut FlexTensor) -> Option<&mut [Self]> {
                tensor.try_storage_mut::<$float>()
            }

            fn tensor(values: Vec<Self>, shape: Shape) -> FlexTensor {
                FlexTensor::from_data(TensorData::new(values, shape))
            }
        }
    };
}

scalar!(f32, exp, Some);
scalar!(f64, f64::exp, |_| None);
