//! Reductions over the units that share a row.

use cubecl::prelude::*;

/// The units of one row, inside a cube of `rows` rows: `CUBE_DIM_X` units per row, `CUBE_DIM_Y` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowUnits {
    /// Units per row, a power of two.
    pub(crate) units: u32,
    /// Rows per cube.
    pub(crate) rows: u32,
    /// Units of a plane; 0 where the device has no plane operations or several sizes of planes.
    pub(crate) plane: u32,
}

/// Sum of `value` over the units of a row; every unit gets the same bits, in every run. All units of the
/// cube must call it.
#[cube]
pub(crate) fn row_sum<A: Float>(value: A, #[comptime] row: RowUnits) -> A {
    row_reduce::<A>(value, false, row)
}

/// Maximum of `value` over the units of a row, as [`row_sum`].
#[cube]
pub(crate) fn row_max<A: Float>(value: A, #[comptime] row: RowUnits) -> A {
    row_reduce::<A>(value, true, row)
}

#[cube]
fn row_reduce<A: Float>(value: A, #[comptime] max: bool, #[comptime] row: RowUnits) -> A {
    let planes = comptime!(row.units.checked_div(row.plane).unwrap_or(0));
    if comptime!(row.units == 1) {
        value
    } else if comptime!(planes == 1) {
        plane_reduce::<A>(value, max)
    } else if comptime!(planes > 1 && row.units.is_multiple_of(row.plane)) {
        let mut partial = Shared::<[A]>::new_slice(comptime!((planes * row.rows) as usize));
        let of_plane = plane_reduce::<A>(value, max);
        let first = (UNIT_POS_Y * planes) as usize;
        if UNIT_POS_PLANE == 0 {
            partial[first + (UNIT_POS_X / row.plane) as usize] = of_plane;
        }
        sync_cube();
        let mut total = partial[first];
        #[unroll]
        for plane in 1..planes as usize {
            total = combine::<A>(total, partial[first + plane], max);
        }
        // The next reduction may use the same memory.
        sync_cube();
        total
    } else {
        let mut partial = Shared::<[A]>::new_slice(comptime!((row.units * row.rows) as usize));
        let first = (UNIT_POS_Y * row.units) as usize;
        let own = first + UNIT_POS_X as usize;
        partial[own] = value;
        #[unroll]
        for step in 0..comptime!(row.units.ilog2()) {
            let half = comptime!(row.units >> (step + 1));
            sync_cube();
            if UNIT_POS_X < half {
                partial[own] = combine::<A>(partial[own], partial[own + half as usize], max);
            }
        }
        sync_cube();
        let total = partial[first];
        sync_cube();
        total
    }
}

#[cube]
fn plane_reduce<A: Float>(value: A, #[comptime] max: bool) -> A {
    if comptime!(max) { plane_max(value) } else { plane_sum(value) }
}

#[cube]
fn combine<A: Float>(a: A, b: A, #[comptime] max: bool) -> A {
    if comptime!(max) { a.max(b) } else { a + b }
}
