//! What is timed: every operation of kernels-cubecl in each direction, with the bytes it has to move.

mod all;

use anyhow::{Result, bail};
use burn::tensor::Tensor;

use crate::data::Data;

/// The sizes that all cases share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// R
    pub(crate) rows: usize,
    /// D
    pub(crate) hidden: usize,
    /// F
    pub(crate) intermediate: usize,
    /// Query heads and key-value heads of dimension 64
    pub(crate) heads: [usize; 2],
    /// V
    pub(crate) vocab: usize,
    /// Elements of a flat buffer of parameters.
    pub(crate) parameters: usize,
}

impl Sizes {
    /// TinyLlama-1.1B; the buffer is one block's.
    pub(crate) fn tinyllama(rows: usize) -> Self {
        Self {
            rows,
            hidden: 2048,
            intermediate: 5632,
            heads: [32, 4],
            vocab: 32_000,
            parameters: 44_044_288,
        }
    }

    /// What a CPU does in a moment.
    pub(crate) fn small(rows: usize) -> Self {
        Self {
            rows,
            hidden: 256,
            intermediate: 704,
            heads: [4, 2],
            vocab: 4096,
            parameters: 1 << 20,
        }
    }
}

/// Runs a case once; hands out its results when asked, else leaves in-place operations their memory.
type Run = Box<dyn FnMut(bool) -> Vec<Tensor<1>>>;

/// One operation in one direction.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) op: &'static str,
    pub(crate) direction: &'static str,
    /// The kernel whose plan decides, on devices that have plans.
    pub(crate) plan: Option<&'static str>,
    pub(crate) shape: fn(Sizes) -> Vec<usize>,
    /// (bytes moved, operations of matrix products) with elements of so many bytes.
    pub(crate) bytes: fn(Sizes, f64) -> (f64, f64),
    pub(crate) build: fn(&Data, Sizes) -> Run,
}

/// The cases of the named operations, of all without a name.
pub(crate) fn select(names: &[String]) -> Result<Vec<Case>> {
    let all = all::all();
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|case| case.op != **name)) {
        let mut known: Vec<&str> = all.iter().map(|case| case.op).collect();
        known.dedup();
        bail!("--op {unknown}: no such operation; there are {}", known.join(", "));
    }
    let is_named = |case: &Case| names.is_empty() || names.iter().any(|name| name == case.op);
    Ok(all.into_iter().filter(is_named).collect())
}
