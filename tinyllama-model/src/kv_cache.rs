//! Where keys and values live.

use burn::tensor::{Device, Tensor};

use crate::config::ModelConfig;

/// The keys and values a block attends to: those of this call alone, or those of a cache too.
pub trait KeyValues {
    /// Takes this call's k and v `[B, T, K, H]` and returns all that the queries may see,
    /// `[B, S, K, H]` with the new ones last.
    fn extend(&mut self, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>);
}

/// Training and scoring: a sequence sees itself only.
#[derive(Clone, Copy, Debug)]
pub struct NoCache;

impl KeyValues for NoCache {
    fn extend(&mut self, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        (k, v)
    }
}

/// Keys and values of one layer, in memory with room for more.
#[derive(Clone, Debug)]
pub struct LayerCache {
    k: Tensor<4>, // [B, capacity, K, H]
    v: Tensor<4>,
    len: usize,
}

impl KeyValues for LayerCache {
    /// # Panics
    /// When the capacity is exceeded; generation checks it before the call.
    fn extend(&mut self, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [batch, length, heads, head_dim] = k.dims();
        let [_, capacity, _, _] = self.k.dims();
        let end = self.len + length;
        assert!(end <= capacity, "kv_cache: {end} tokens exceed the capacity of {capacity}");
        let range = [0..batch, self.len..end, 0..heads, 0..head_dim];
        // The assignment happens in place: no view of the buffer outlives a forward pass.
        self.k.inplace(|buffer| buffer.slice_assign(range.clone(), k));
        self.v.inplace(|buffer| buffer.slice_assign(range, v));
        self.len = end;
        (self.k.clone().narrow(1, 0, end), self.v.clone().narrow(1, 0, end))
    }
}

impl LayerCache {
    fn grow(&mut self, capacity: usize) {
        let len = self.len;
        for tensor in [&mut self.k, &mut self.v] {
            let [batch, _, heads, head_dim] = tensor.dims();
            let larger = Tensor::zeros([batch, capacity, heads, head_dim], &tensor.device());
            tensor.inplace(|held| match len {
                0 => larger,
                _ => larger.slice_assign(
                    [0..batch, 0..len, 0..heads, 0..head_dim],
                    held.narrow(1, 0, len),
                ),
            });
        }
    }
}

/// The cache of a whole model: one [`LayerCache`] per block, all of the same length.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    capacity_tokens: usize,
}

impl KvCache {
    /// Allocates `2 · L · batch · capacity_tokens · K · H` elements on `device`.
    pub fn new(
        config: &ModelConfig,
        batch: usize,
        capacity_tokens: usize,
        device: &Device,
    ) -> Self {
        let shape = [batch, capacity_tokens, config.num_key_value_heads, config.head_dim()];
        let layer = || LayerCache {
            k: Tensor::zeros(shape, device),
            v: Tensor::zeros(shape, device),
            len: 0,
        };
        let layers = (0..config.num_hidden_layers).map(|_| layer()).collect();
        Self { layers, capacity_tokens }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.len)
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens that fit.
    pub fn capacity(&self) -> usize {
        self.capacity_tokens
    }

    /// Makes room for `capacity_tokens` in all and keeps the tokens held; never shrinks.
    pub fn grow(&mut self, capacity_tokens: usize) {
        if capacity_tokens > self.capacity_tokens {
            self.layers.iter_mut().for_each(|layer| layer.grow(capacity_tokens));
            self.capacity_tokens = capacity_tokens;
        }
    }

    /// Forgets the tokens from position `len` on; keeps all if there are fewer.
    pub fn truncate(&mut self, len: usize) {
        for layer in &mut self.layers {
            layer.len = layer.len.min(len);
        }
    }

    /// The caches in layer order.
    pub(crate) fn layers_mut(&mut self) -> &mut [LayerCache] {
        &mut self.layers
    }
}
