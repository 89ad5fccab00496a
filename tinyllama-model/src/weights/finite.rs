//! Which tensor a model's undefined numbers come from.

use rayon::prelude::*;

use super::{StoredTensor, Tensors, WeightsError};

impl StoredTensor {
    /// Whether every element is finite as f32; of blocks that means their scales, too.
    pub fn is_finite(&self) -> bool {
        if self.bytes.is_empty() {
            return true;
        }
        let columns = self.columns();
        let row_bytes = self.format.row_bytes(columns).expect("whole rows, checked when read");
        let is_finite = |values: &mut Vec<f32>, row: &[u8]| {
            self.format.dequantize(row, values);
            values.iter().all(|value| value.is_finite())
        };
        let rows = self.bytes.par_chunks(row_bytes);
        rows.map_init(|| vec![0.0; columns], is_finite).all(|row| row)
    }
}

impl Tensors {
    /// Checks every element, for which all files are read from end to end: opening does not, and loading
    /// for the CPU neither.
    ///
    /// # Errors
    /// Names the first tensor, in the order of their names, that holds an infinite or undefined element,
    /// and its file.
    pub fn require_finite(&self) -> Result<(), WeightsError> {
        match self.by_name.iter().find(|(_, tensor)| !tensor.is_finite()) {
            Some((name, _)) => Err(self.not_finite(name)),
            None => Ok(()),
        }
    }

    /// The error for a tensor with an infinite or undefined element.
    pub(super) fn not_finite(&self, name: &str) -> WeightsError {
        WeightsError::NotFinite { path: self.file_of(name).to_owned(), name: name.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use kernels_cubecl::Format;

    use super::*;

    /// Three rows of two blocks, zero but for `value` at byte `at` of the last block.
    fn tensor(format: Format, at: usize, value: &[u8]) -> StoredTensor {
        let mut bytes = vec![0; 6 * format.block_bytes()];
        let last = bytes.len() - format.block_bytes() + at;
        bytes[last..][..value.len()].copy_from_slice(value);
        let shape = vec![3, 2 * format.block_elements()];
        StoredTensor { shape, format, bytes: bytes.into() }
    }

    #[test]
    fn undefined_scales_and_elements_are_found() {
        let half = 0x7e00u16.to_le_bytes();
        for (format, at) in [
            (Format::F16, 0),
            (Format::Q4_0, 0),
            (Format::Q4_1, 2),
            (Format::Q5_0, 0),
            (Format::Q5_1, 2),
            (Format::Q8_0, 0),
            (Format::Q4K, 2),
            (Format::Q5K, 0),
            (Format::Q6K, 208),
        ] {
            assert!(!tensor(format, at, &half).is_finite(), "{format}");
            assert!(tensor(format, at, &[0, 0x3c]).is_finite(), "1 in {format}");
        }
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!tensor(Format::F32, 0, &value.to_le_bytes()).is_finite());
            assert!(!tensor(Format::Bf16, 0, &value.to_le_bytes()[2..]).is_finite());
        }
        assert!(tensor(Format::F32, 0, &f32::MAX.to_le_bytes()).is_finite());
        let empty = StoredTensor { shape: vec![3, 0], ..tensor(Format::Q8_0, 0, &[]) };
        assert!(StoredTensor { bytes: Vec::new().into(), ..empty }.is_finite());
    }
}
