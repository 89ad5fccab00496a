//! Attention in plain Rust, scores never stored (Dao et al. 2022, arXiv 2205.14135).
//!
//! A task is one key-value head of one sequence and some tokens. The rows of its query tile are the G = N/K
//! query heads of each token, so that a key is read once for all of them. Scores of a tile of keys are
//! made, used and forgotten before the next.
//!
//! Keys and values are read where they lie: a cache is never copied.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod backward;
mod forward;
mod one_token;

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_flex::{Flex, FlexTensor};

use super::{AttentionOptions, reference};
use crate::host::{Scalar, shared_dtype};

/// Rows of a query tile, and keys of a key tile. 128 · 128 f32 are 64 KiB: two such tiles with their
/// queries, keys and values fit in the second cache.
const TILE: usize = 128;

/// q `[B, T, N, H]`, k and v `[B, S, K, H]` → (out `[B, T, N, H]`, lse `[B, N, T]`).
pub(crate) fn forward(
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    options: AttentionOptions,
) -> (FlexTensor, FlexTensor) {
    match shared_dtype([&q, &k, &v]) {
        Some(DType::F32) => forward::attend::<f32>(q, k, v, options),
        Some(DType::F64) => forward::attend::<f64>(q, k, v, options),
        _ => reference::forward::<Flex>(q, k, v, options),
    }
}

/// → (dq, dk, dv).
pub(crate) fn backward(
    [q, k, v, out]: [FlexTensor; 4],
    lse: FlexTensor,
    dout: FlexTensor,
    options: AttentionOptions,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    match shared_dtype([&q, &k, &v, &out, &lse, &dout]) {
        Some(DType::F32) => backward::gradients::<f32>([q, k, v, out], lse, dout, options),
        Some(DType::F64) => backward::gradients::<f64>([q, k, v, out], lse, dout, options),
        _ => reference::backward::<Flex>(q, k, v, out, lse, dout, options),
    }
}

/// The sizes of one call.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    length: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    options: AttentionOptions,
}

impl Sizes {
    fn of(q: &FlexTensor, k: &FlexTensor, options: AttentionOptions) -> Self {
        let [batch, length, heads, head_dim] = q.shape().dims();
        let [_, keys, kv_heads, _] = k.shape().dims();
        Self { batch, length, keys, heads, kv_heads, head_dim, options }
    }

    /// G.
    fn groups(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// How many keys token `token` sees.
    fn visible(&self, token: usize) -> usize {
        match self.options.causal {
            true => token + self.keys - self.length + 1,
            false => self.keys,
        }
    }

    /// Tokens whose query heads fill a tile.
    fn tile_tokens(&self) -> usize {
        (TILE / self.groups()).max(1)
    }

    /// Sequences with their key-value heads.
    fn sequences(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.batch).flat_map(move |batch| (0..self.kv_heads).map(move |kv| (batch, kv)))
    }

    /// The work in elements that pass: of products a core makes some eight in their time.
    fn elements(&self) -> usize {
        self.batch * self.heads * self.length * self.keys * self.head_dim / 8
    }
}

/// A tensor `[B, T, heads, H]` whose heads are H neighbouring elements, wherever those lie.
struct Heads(FlexTensor);

impl Heads {
    fn new(tensor: FlexTensor) -> Self {
        let neighbours = tensor.shape()[3] == 1 || tensor.layout().strides()[3] == 1;
        Self(match neighbours && tensor.layout().has_positive_strides() {
            true => tensor,
            false => tensor.to_contiguous(),
        })
    }

    /// From one token to the next.
    fn stride(&self) -> usize {
        self.0.layout().strides()[1] as usize
    }

    fn head<E: Scalar>(&self, batch: usize, token: usize, head: usize) -> &[E] {
        let layout = self.0.layout();
        let at = |dim: usize, index: usize| layout.strides()[dim] as usize * index;
        let start = layout.start_offset() + at(0, batch) + at(1, token) + at(2, head);
        &E::storage(&self.0)[start..start + layout.shape()[3]]
    }

    /// Where a head of `count` tokens begins; they lie [`Heads::stride`] apart.
    fn tokens<E: Scalar>(&self, batch: usize, first: usize, count: usize, head: usize) -> *const E {
        // The last one is asked for, so that all lie in the buffer.
        let _last = self.head::<E>(batch, first + count - 1, head);
        let layout = self.0.layout();
        let start = self.head::<E>(batch, first, head);
        debug_assert_eq!(start.len(), layout.shape()[3]);
        start.as_ptr()
    }
}

/// The G heads of each token of a task times `factor`, as rows of `tile`.
#[inline(always)]
fn pack<E: Scalar>(
    from: &Heads,
    tile: &mut [E],
    batch: usize,
    tokens: std::ops::Range<usize>,
    heads: std::ops::Range<usize>,
    factor: E,
) {
    let head_dim = from.0.layout().shape()[3];
    let rows = tokens.flat_map(|token| heads.clone().map(move |head| (token, head)));
    for ((token, head), row) in rows.zip(tile.chunks_exact_mut(head_dim)) {
        for (packed, &x) in row.iter_mut().zip(from.head::<E>(batch, token, head)) {
            *packed = x * factor;
        }
    }
}
