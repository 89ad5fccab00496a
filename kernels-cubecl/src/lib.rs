//! The operations a Llama spends its time in, as differentiable functions on Burn tensors.
//!
//! | function | forward | gradient |
//! |---|---|---|
//! | [`linear`] | `y = x·Wᵀ`, `W` stored `[out, in]` | `x`, `W` |
//! | [`rms_norm`], [`add_rms_norm`] | `y = x · rstd(x) · w`, of x or of x + residual | `x`, residual, `w` |
//! | [`rope`] | rotation of half-split pairs by position, in place | `x` |
//! | [`swiglu`] | `silu(gate) · up` on a packed `[gate | up]` | `gate_up` |
//! | [`attention`] | causal grouped-query softmax attention | `q`, `k`, `v` |
//! | [`cross_entropy`] | negative log-likelihood of each row | `logits` |
//! | [`linear_cross_entropy`] | its sum over `x·Wᵀ`, never all logits in memory | `x`, `W` |
//! | [`embedding`] | rows of a table | the table, in a fixed order |
//! | [`adamw`], [`squared_norm`] | an optimizer's update of a flat buffer, in place | none |
//! | [`sample`] | the next token: temperature, top-k, top-p | none |
//! | [`packed_linear`] | `y = x·Wᵀ`, `W` in 16 bits or in blocks of small integers, on the host | none |
//!
//! A function takes and returns [`Tensor`](burn::tensor::Tensor)s of any device. The device decides
//! which implementation runs: every operation is a method of [`KernelBackend`], implemented once per
//! backend, and its gradient is written by hand over [`KernelBackward`]. The crate knows no model,
//! no configuration and no file.
//!
//! Shape letters: B batch, T query length, S key length, D hidden size, N query heads, K key-value
//! heads, H head dimension, F feed-forward size, V vocabulary, R = B·T rows.
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use kernels_cubecl::{linear, rms_norm};
//!
//! let device = Device::flex().autodiff();
//! let x = Tensor::<2>::random([4, 8], Distribution::Default, &device);
//! let norm = Tensor::<1>::ones([8], &device).require_grad();
//! let weight = Tensor::<2>::random([3, 8], Distribution::Default, &device).require_grad();
//! let y = linear(rms_norm(x, norm.clone(), 1e-5), weight); // [4, 3]
//! let grads = y.sum().backward();
//! assert_eq!(norm.grad(&grads).unwrap().dims(), [8]);
//! ```

#[cfg(all(feature = "cuda", feature = "cuda-cpp"))]
compile_error!(
    "features `cuda` (LLVM to PTX) and `cuda-cpp` (NVRTC) choose the CUDA compiler of the whole binary \
     and exclude each other: enable one"
);

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod adamw;
mod attention;
mod backend;
mod cross_entropy;
#[cfg(feature = "cubecl-backend")]
mod cube;
mod device;
mod embedding;
mod host;
mod linear;
mod linear_cross_entropy;
mod matmul;
mod packed_linear;
mod precision;
mod rms_norm;
mod rope;
mod sampling;
mod swiglu;
#[cfg(test)]
mod testing;

pub use adamw::{AdamWStep, adamw, squared_norm};
pub use attention::{AttentionOptions, attention};
pub use backend::{KernelBackend, KernelBackward, KernelSampling, KernelUpdate};
pub use cross_entropy::{CrossEntropyOptions, IGNORE_INDEX, cross_entropy};
#[cfg(feature = "cubecl-backend")]
pub use cube::{Plan, PlanError, PlanFile, load_plans, set_plan};
#[cfg(feature = "cubecl-backend")]
pub use device::adapter_name;
pub use device::{DeviceError, DeviceSpec, compiled_backends, describe, is_host};
pub use embedding::embedding;
pub use linear::linear;
pub use linear_cross_entropy::linear_cross_entropy;
pub use packed_linear::{Format, PackedMatrix, PackedRows, packed_linear, packed_rows};
pub use rms_norm::{add_rms_norm, rms_norm};
pub use rope::rope;
pub use sampling::{SamplingOptions, sample};
pub use swiglu::swiglu;
