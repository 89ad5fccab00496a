//! The tensors of a GGUF file: their names, shapes, formats and bytes.

use std::fmt;

use bytes::Bytes;
use kernels_cubecl::Format;

use super::cursor::Cursor;
use super::error::{Flaw, GgufError, shown};

/// The largest Llama has 1138.
const MAX_TENSORS: usize = 1 << 14;
/// By the specification.
const MAX_NAME_BYTES: usize = 64;
/// GGML's largest.
pub(super) const MAX_DIMENSIONS: usize = 4;
/// The shortest entry: the name's length, one letter, one dimension, type and offset.
const LEAST_INFO_BYTES: usize = 33;

/// GGML's types by number, as far as they have ever been written.
const TYPE_NAMES: [(u32, &str); 40] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (4, "Q4_2"),
    (5, "Q4_3"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (8, "Q8_0"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (30, "BF16"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

/// A tensor of a GGUF file.
#[derive(Clone)]
pub struct TensorInfo {
    /// GGUF's name, as `blk.0.attn_q.weight`.
    pub name: String,
    /// Sizes in row-major order, `[rows, columns]` of a matrix: GGUF's own order reversed.
    pub shape: Vec<usize>,
    /// How rows lie in bytes.
    pub format: Format,
    /// All rows, a view of the file's bytes.
    pub bytes: Bytes,
}

/// Without the bytes.
impl fmt::Debug for TensorInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {:?} in {}", self.name, self.shape, self.format)
    }
}

/// GGML's number of a format.
pub(super) fn type_code(format: Format) -> u32 {
    let known = TYPE_NAMES.iter().find(|(_, name)| *name == format.name());
    known.expect("every format is one of GGML's").0
}

/// An entry of the list, whose bytes are not yet found.
struct Entry {
    name: String,
    shape: Vec<usize>,
    format: Format,
    len: usize,
    /// From the start of the data.
    offset: u64,
}

/// Refuses a number of tensors that the rest of the file has no room for.
pub(super) fn check_count(cursor: &Cursor<'_>, count: u64) -> Result<(), GgufError> {
    let short = |flaw: Flaw| flaw.at(format!("{count} tensors"));
    cursor.require(count, LEAST_INFO_BYTES).map_err(short)?;
    match count <= MAX_TENSORS as u64 {
        true => Ok(()),
        false => {
            let remedy = format!("at most {MAX_TENSORS} tensors are read");
            Err(GgufError::unsupported("tensor_count", count, remedy))
        }
    }
}

/// Reads the list of `count` tensors, after which the data begin at the next multiple of `alignment`.
pub(super) fn parse(
    bytes: &Bytes,
    cursor: &mut Cursor<'_>,
    count: u64,
    alignment: usize,
) -> Result<Vec<TensorInfo>, GgufError> {
    check_count(cursor, count)?;
    let mut entries = Vec::with_capacity(count as usize);
    for index in 0..count {
        entries.push(Entry::parse(cursor, &format!("tensor {index} (from 0) of {count}"))?);
    }
    let start = cursor.position().next_multiple_of(alignment);
    let tensors = entries.into_iter().map(|entry| entry.locate(bytes, start, alignment));
    let tensors: Vec<_> = tensors.collect::<Result<_, _>>()?;
    refuse_overlaps(bytes, &tensors)?;
    Ok(tensors)
}

impl Entry {
    fn parse(cursor: &mut Cursor<'_>, nth: &str) -> Result<Self, GgufError> {
        let name = cursor.string().map_err(|flaw| flaw.at(nth))?;
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) {
            let detail = format!("has a name of {} bytes, not 1 to {MAX_NAME_BYTES}", name.len());
            return Err(GgufError::Damaged { place: nth.to_owned(), detail });
        }
        let place = format!("tensor `{}`", shown(name));
        let damaged = |detail: String| GgufError::Damaged { place: place.clone(), detail };
        let short = |flaw: Flaw| flaw.at(place.clone());
        let dimensions = cursor.u32().map_err(short)?;
        if !(1..=MAX_DIMENSIONS as u32).contains(&dimensions) {
            return Err(damaged(format!("has {dimensions} dimensions, not 1 to {MAX_DIMENSIONS}")));
        }
        let mut shape = Vec::with_capacity(dimensions as usize);
        for _ in 0..dimensions {
            let size = cursor.u64().map_err(short)?;
            match usize::try_from(size) {
                Ok(size) if size > 0 => shape.push(size),
                _ => return Err(damaged(format!("has a dimension of {size}"))),
            }
        }
        shape.reverse();
        let format = read_format(cursor.u32().map_err(short)?, name)?;
        let columns = *shape.last().expect("at least one dimension");
        if !columns.is_multiple_of(format.block_elements()) {
            let block = format.block_elements();
            return Err(damaged(format!(
                "has rows of {columns} elements, no whole number of {format}'s blocks of {block}"
            )));
        }
        let rows = shape[..shape.len() - 1].iter();
        let len = rows.fold(format.row_bytes(columns), |len, &size| len?.checked_mul(size));
        let len =
            len.ok_or_else(|| damaged(format!("of shape {shape:?} is larger than memory")))?;
        let offset = cursor.u64().map_err(short)?;
        Ok(Self { name: name.to_owned(), shape, format, len, offset })
    }

    fn locate(
        self,
        bytes: &Bytes,
        start: usize,
        alignment: usize,
    ) -> Result<TensorInfo, GgufError> {
        let Self { name, shape, format, len, offset } = self;
        let damaged = |detail: String| GgufError::Damaged {
            place: format!("tensor `{}`", shown(&name)),
            detail,
        };
        if !offset.is_multiple_of(alignment as u64) {
            return Err(damaged(format!("lies at {offset}, no multiple of {alignment}")));
        }
        let begin = usize::try_from(offset).ok().and_then(|offset| start.checked_add(offset));
        let range = begin.and_then(|begin| Some(begin..begin.checked_add(len)?));
        match range.filter(|range| range.end <= bytes.len()) {
            Some(range) => Ok(TensorInfo { name, shape, format, bytes: bytes.slice(range) }),
            None => Err(damaged(format!(
                "has {len} bytes at {offset} of the data, past the end of the file, whose data have \
                 {} bytes",
                bytes.len().saturating_sub(start)
            ))),
        }
    }
}

/// The format of a type number.
fn read_format(code: u32, tensor: &str) -> Result<Format, GgufError> {
    let name = TYPE_NAMES.iter().find(|(known, _)| *known == code).map(|(_, name)| *name);
    if let Some(format) = Format::ALL.into_iter().find(|format| Some(format.name()) == name) {
        return Ok(format);
    }
    let found = match name {
        Some(name) => format!("stored as {name}"),
        None => format!("stored as type {code}, which is unknown"),
    };
    let read = Format::ALL.map(Format::name).join(", ");
    let key = format!("tensor {}", shown(tensor));
    Err(GgufError::unsupported(&key, found, format!("{read} are read")))
}

/// No byte belongs to two tensors.
fn refuse_overlaps(bytes: &Bytes, tensors: &[TensorInfo]) -> Result<(), GgufError> {
    let start = |tensor: &TensorInfo| tensor.bytes.as_ptr() as usize - bytes.as_ptr() as usize;
    let mut sorted: Vec<&TensorInfo> = tensors.iter().collect();
    sorted.sort_unstable_by_key(|tensor| start(tensor));
    match sorted.windows(2).find(|pair| start(pair[0]) + pair[0].bytes.len() > start(pair[1])) {
        Some(pair) => Err(GgufError::Damaged {
            place: format!("tensor `{}`", shown(&pair[1].name)),
            detail: format!("overlaps with tensor `{}`", shown(&pair[0].name)),
        }),
        None => Ok(()),
    }
}
