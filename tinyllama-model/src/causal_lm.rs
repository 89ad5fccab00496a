//! A model whatever its weights are stored as.

use std::fmt::Debug;

use burn::tensor::{Device, Int, Tensor};

use crate::config::ModelConfig;
use crate::kv_cache::KvCache;
use crate::linear::Projection;
use crate::model::TinyLlama;

/// What decoding and scoring ask of a model: [`TinyLlama`] with any [`Projection`].
pub trait CausalLm: Debug + Send {
    /// The sizes of the model.
    fn config(&self) -> &ModelConfig;

    /// Where it computes.
    fn device(&self) -> Device;

    /// As [`TinyLlama::hidden`]: ids `[B, T]` → `[B, T, D]`.
    fn hidden(&self, ids: Tensor<2, Int>, cache: Option<&mut KvCache>) -> Tensor<3>;

    /// As [`TinyLlama::logits`]: `[B, T, D]` → `[B, T, V]`.
    fn logits(&self, hidden: Tensor<3>) -> Tensor<3>;
}

impl<P: Projection> CausalLm for TinyLlama<P> {
    fn config(&self) -> &ModelConfig {
        Self::config(self)
    }

    fn device(&self) -> Device {
        Self::device(self)
    }

    fn hidden(&self, ids: Tensor<2, Int>, cache: Option<&mut KvCache>) -> Tensor<3> {
        Self::hidden(self, ids, cache)
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        Self::logits(self, hidden)
    }
}
