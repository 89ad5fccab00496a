//! The matrix product of the `gemm` crate, for tiles that one core multiplies.

use gemm::Parallelism;

use super::Scalar;

/// A matrix in memory: its first element and the distances between rows and between columns.
#[derive(Clone, Copy)]
pub(crate) struct Tile<P> {
    pub(crate) start: P,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl<P> Tile<P> {
    /// Rows of neighbouring elements.
    pub(crate) fn of_rows(start: P, row: usize) -> Self {
        Self { start, row, column: 1 }
    }

    /// The same memory as columns.
    pub(crate) fn transposed(self) -> Self {
        Self { start: self.start, row: self.column, column: self.row }
    }
}

/// out `[m, n]` = a `[m, k]` · b `[k, n]`, or += with `add`.
///
/// # Safety
/// The tiles lie in memory of these sizes, and nobody else uses that of `out`.
pub(crate) unsafe fn product<E: Scalar>(
    out: Tile<*mut E>,
    add: bool,
    [m, n, k]: [usize; 3],
    a: Tile<*const E>,
    b: Tile<*const E>,
) {
    // SAFETY: as the caller says.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.start,
            out.column as isize,
            out.row as isize,
            add,
            a.start,
            a.column as isize,
            a.row as isize,
            b.start,
            b.column as isize,
            b.row as isize,
            E::ONE,
            E::ONE,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
