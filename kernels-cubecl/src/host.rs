//! What the plain-Rust kernels of the CPU share: `host.rs` in the folder of each operation.
//!
//! A kernel is a loop over rows that LLVM turns into SIMD code. [`vectorised`] compiles it once for the
//! baseline and once for each wider instruction set, and picks at run time. No product is fused with a
//! sum, and sums run in a fixed number of lanes: so a kernel gives the same bits on every CPU and for
//! every number of threads. The exception is attention, whose products the `gemm` crate and AVX2 make: its
//! bits do not depend on the threads, but on the CPU.

mod disjoint;
mod exp;
mod lanes;
mod memory;
mod product;
mod scalar;
mod shares;
#[cfg(test)]
pub(crate) mod testing;

use pulp::Arch;

pub(crate) use disjoint::Disjoint;
pub(crate) use lanes::{dot, largest, sum, sum_of_exp, sum_of_squares};
pub(crate) use memory::{
    Contiguous, contiguous, ids, into_tensor, overwritable, owned, shared_dtype, unwritten,
    writable,
};
pub(crate) use product::{Tile, product};
pub(crate) use scalar::Scalar;
pub(crate) use shares::{for_each_share, for_each_task, rows_per_share};

/// Runs `kernel`, an `#[inline(always)]` closure over `#[inline(always)]` functions, compiled for the
/// widest instructions of this machine.
#[inline(always)]
pub(crate) fn vectorised<T>(kernel: impl FnOnce() -> T) -> T {
    #[cfg(test)]
    if testing::is_portable() {
        return kernel();
    }
    Arch::new().dispatch(kernel)
}
