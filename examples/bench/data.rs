//! Inputs: random ones to time, and the same on every device to check.

use burn::tensor::{DType, Device, Distribution, FloatDType, Int, Tensor, TensorData};

/// Where the inputs of a case come from.
pub(crate) struct Data {
    device: Device,
    /// What the values are rounded to, and what the case computes in.
    dtypes: [DType; 2],
    random: bool,
}

impl Data {
    /// Normal values drawn on the device.
    pub(crate) fn random(device: &Device, dtype: DType) -> Self {
        Self { device: device.clone(), dtypes: [dtype, dtype], random: true }
    }

    /// The same values on every device, rounded to `dtype` and then held in `compute`.
    pub(crate) fn fixed(device: &Device, dtype: DType, compute: DType) -> Self {
        Self { device: device.clone(), dtypes: [dtype, compute], random: false }
    }

    pub(crate) fn tensor<const D: usize>(&self, shape: [usize; D], seed: u64) -> Tensor<D> {
        let [rounded, compute] = self.dtypes;
        if self.random {
            let normal = Distribution::Normal(0.0, 1.0);
            return Tensor::random(shape, normal, (&self.device, compute));
        }
        self.of(values(shape.iter().product(), seed), shape, rounded, compute)
    }

    /// Values in the dtype of statistics and optimizers: f32, or f64 where the case computes in it.
    pub(crate) fn statistics<const D: usize>(&self, shape: [usize; D], seed: u64) -> Tensor<D> {
        let compute = if self.dtypes[1] == DType::F64 { DType::F64 } else { DType::F32 };
        self.of(values(shape.iter().product(), seed), shape, DType::F32, compute)
    }

    fn of<const D: usize>(
        &self,
        values: Vec<f32>,
        shape: [usize; D],
        rounded: DType,
        compute: DType,
    ) -> Tensor<D> {
        let data = TensorData::new(values, shape);
        let tensor = Tensor::<D>::from_data(data, (&self.device, DType::F32));
        tensor.cast(FloatDType::from(rounded)).cast(FloatDType::from(compute))
    }

    pub(crate) fn ids(&self, count: usize, below: usize) -> Tensor<1, Int> {
        let ids = (0..count as u64).map(|at| (at.wrapping_mul(at) >> 3) as i64 % below as i64);
        let ids: Vec<i64> = ids.collect();
        Tensor::from_data(TensorData::new(ids, [count]), &self.device)
    }
}

/// Deterministic values in (-2, 2).
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 / (1u64 << 51) as f64 - 2.0) as f32
    };
    (0..count).map(|_| next()).collect()
}
