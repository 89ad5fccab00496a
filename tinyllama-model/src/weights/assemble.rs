//! Tensors to a model: dense on a device, or in the bytes of their files.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use kernels_cubecl::{Format, PackedMatrix, PackedRows};

use super::layout::{FINAL_NORM, Part, check, expected_tensors, layer_norm_names, packed};
use super::{StoredTensor, Tensors, WeightsError};
use crate::config::ModelConfig;
use crate::linear::{Linear, Projection};
use crate::model::{Matrix, TinyLlama};
use crate::packed::PackedLinear;

impl Tensors {
    /// The model in f32 on `device`, converted and sent one matrix at a time. `progress` hears after each
    /// tensor how many of how many stored bytes are there.
    ///
    /// # Errors
    /// A tensor is missing, has another shape than `config` says, has no place in a Llama, or holds
    /// an infinite or undefined element.
    pub fn dense(
        &self,
        config: &ModelConfig,
        device: &Device,
        progress: impl FnMut(u64, u64),
    ) -> Result<TinyLlama, WeightsError> {
        self.assemble(config, device, progress, |matrix, done| {
            let parts = packed(config, matrix);
            let rows: usize = parts.iter().map(|part| part.rows).sum();
            let columns = parts[0].columns;
            let mut values = Vec::with_capacity(rows * columns);
            for part in &parts {
                values.extend(self.values(&part.name)?);
                done(&part.name);
            }
            let weight = Tensor::from_data(TensorData::new(values, [rows, columns]), device);
            Ok(Linear::new(weight))
        })
    }

    /// The model in the bytes of its files, computed on the host; its norms are on `device`. What is
    /// infinite or undefined in its matrices shows in the logits: to look for it here would read the
    /// whole file. `progress` as in [`Tensors::dense`].
    ///
    /// # Errors
    /// A tensor is missing, has another shape than `config` says, or has no place in a Llama.
    pub fn packed(
        &self,
        config: &ModelConfig,
        device: &Device,
        progress: impl FnMut(u64, u64),
    ) -> Result<TinyLlama<PackedLinear>, WeightsError> {
        self.assemble(config, device, progress, |matrix, done| {
            let parts = packed(config, matrix);
            let columns = parts[0].columns;
            let rows = |part: &Part| {
                let tensor = &self.by_name[&part.name];
                done(&part.name);
                PackedRows { format: tensor.format, rows: part.rows, bytes: tensor.bytes.clone() }
            };
            let parts = parts.iter().map(rows).collect();
            Ok(PackedLinear::new(PackedMatrix::new(columns, parts)))
        })
    }

    /// Checks that the elements of every tensor whose format changes are finite before and after.
    pub(crate) fn check_conversion(
        &self,
        format: impl Fn(&str, &StoredTensor) -> Format,
    ) -> Result<(), WeightsError> {
        for (name, tensor) in &self.by_name {
            let format = format(name, tensor);
            if format == tensor.format {
                continue;
            }
            let largest = |largest: f32, value: &f32| largest.max(value.abs());
            let magnitude = self.values(name)?.iter().fold(0.0, largest);
            if !format.holds(magnitude) {
                let (origin, name) = (self.origin.clone(), name.clone());
                return Err(WeightsError::TooLarge { origin, name, magnitude, format });
            }
        }
        Ok(())
    }

    fn assemble<P: Projection>(
        &self,
        config: &ModelConfig,
        device: &Device,
        mut progress: impl FnMut(u64, u64),
        mut matrix: impl FnMut(Matrix, &mut dyn FnMut(&str)) -> Result<P, WeightsError>,
    ) -> Result<TinyLlama<P>, WeightsError> {
        // Everything is checked before anything of the config's sizes is allocated.
        check(config, self)?;
        let bytes = |name: &str| self.by_name[name].bytes.len() as u64;
        let total = expected_tensors(config).map(|(name, _)| bytes(&name)).sum();
        let mut loaded = 0;
        let mut done = |name: &str| {
            loaded += bytes(name);
            progress(loaded, total);
        };
        let mut model = TinyLlama::build(config, device, |which| matrix(which, &mut done))?;
        let mut norm = |name: &str| -> Result<_, WeightsError> {
            let values = TensorData::new(self.values(name)?, [config.hidden_size]);
            done(name);
            Ok(Param::from_tensor(Tensor::from_data(values, device)))
        };
        for (index, layer) in model.layers.iter_mut().enumerate() {
            let [before, after] = layer_norm_names(index);
            layer.input_layernorm.weight = norm(&before)?;
            layer.post_attention_layernorm.weight = norm(&after)?;
        }
        model.norm.weight = norm(FINAL_NORM)?;
        Ok(model)
    }

    /// The elements of a tensor that `check` has passed.
    fn values(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let values = self.by_name[name].to_f32();
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(self.not_finite(name)),
        }
    }
}
