//! What the kernels of all operations share: how tensors reach a kernel, how a kernel is cut into cubes
//! and units, and how the units of a row reduce.
//!
//! Kernels are plain `#[cube]` functions in each operation's `cube.rs`. They read slices of vectors, keep
//! sums in f32 (f64 of f64), and take every size that shapes their code at compile time: one binary holds
//! any variant, because the device's compiler runs when the kernel is first launched.

mod launch;
mod plan;
mod reduce;

pub(crate) use launch::{cube_count, elem, empty, reads, shares_memory, statistics_elem, writable};
pub use plan::{Plan, PlanError, PlanFile, load_plans, set_plan};
pub(crate) use plan::{UnitPlan, check_environment, most_units, row_plan, unit_plan};
pub(crate) use reduce::{RowUnits, row_max, row_sum};
