//! A matrix in the bytes of its file.

use std::fmt;

use bytes::Bytes;

use super::format::Format;

/// Consecutive rows in one format.
#[derive(Clone)]
pub struct PackedRows {
    /// The layout of each row.
    pub format: Format,
    /// How many there are.
    pub rows: usize,
    /// Row after row; a slice of a mapped file costs no memory of its own.
    pub bytes: Bytes,
}

/// A matrix `[rows, columns]`, stored as runs of rows that need not have the same format: a file keeps
/// q, k and v apart, and often in different formats, where a model multiplies by all three at once.
#[derive(Clone)]
pub struct PackedMatrix {
    columns: usize,
    parts: Vec<PackedRows>,
}

impl PackedMatrix {
    /// Stacks `parts`, the first one on top.
    ///
    /// # Panics
    /// When a part does not have exactly the bytes of its rows.
    pub fn new(columns: usize, parts: Vec<PackedRows>) -> Self {
        for PackedRows { format, rows, bytes } in &parts {
            let expected = format.row_bytes(columns).and_then(|row| row.checked_mul(*rows));
            assert_eq!(
                expected,
                Some(bytes.len()),
                "{rows} rows of {columns} elements in {format}"
            );
        }
        Self { columns, parts }
    }

    /// Number of rows, the outputs of the projection.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// Elements of a row, the inputs of the projection.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The runs of rows, top to bottom.
    pub fn parts(&self) -> &[PackedRows] {
        &self.parts
    }

    /// Bytes of all rows.
    pub fn num_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    /// Writes row `row` to `out` `[columns]`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        let (part, row) = self.locate(row);
        part.format.dequantize(part.row(row, self.columns), out);
    }

    /// The part that holds row `row`, and the row's place in it.
    fn locate(&self, mut row: usize) -> (&PackedRows, usize) {
        for part in &self.parts {
            if row < part.rows {
                return (part, row);
            }
            row -= part.rows;
        }
        panic!("row {row} behind the last of a matrix with {}", self.rows());
    }
}

impl PackedRows {
    /// The bytes of row `row`.
    pub(super) fn row(&self, row: usize, columns: usize) -> &[u8] {
        let row_bytes = self.format.row_bytes(columns).expect("checked when the matrix was made");
        &self.bytes[row * row_bytes..][..row_bytes]
    }
}

impl fmt::Debug for PackedMatrix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let formats: Vec<Format> = self.parts.iter().map(|part| part.format).collect();
        write!(formatter, "PackedMatrix[{}, {}] {formats:?}", self.rows(), self.columns)
    }
}
