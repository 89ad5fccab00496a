//! The values of metadata: their types, and their bytes checked and decoded.

use super::cursor::Cursor;
use super::error::Flaw;

/// Arrays may hold arrays; no key of a Llama does.
const MAX_DEPTH: usize = 4;

/// The type of a value, by GGUF's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueType {
    Uint8 = 0,
    Int8 = 1,
    Uint16 = 2,
    Int16 = 3,
    Uint32 = 4,
    Int32 = 5,
    Float32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    Uint64 = 10,
    Int64 = 11,
    Float64 = 12,
}

impl ValueType {
    const ALL: [(Self, &str); 13] = [
        (Self::Uint8, "uint8"),
        (Self::Int8, "int8"),
        (Self::Uint16, "uint16"),
        (Self::Int16, "int16"),
        (Self::Uint32, "uint32"),
        (Self::Int32, "int32"),
        (Self::Float32, "float32"),
        (Self::Bool, "bool"),
        (Self::String, "string"),
        (Self::Array, "array"),
        (Self::Uint64, "uint64"),
        (Self::Int64, "int64"),
        (Self::Float64, "float64"),
    ];

    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Flaw> {
        let code = cursor.u32()?;
        let known = Self::ALL.get(code as usize).ok_or(Flaw::ValueType(code))?;
        Ok(known.0)
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The fewest bytes of a value: all bytes, but of a string its length, of an array its head.
    pub(super) const fn least_bytes(self) -> usize {
        match self {
            Self::Uint8 | Self::Int8 | Self::Bool => 1,
            Self::Uint16 | Self::Int16 => 2,
            Self::Uint32 | Self::Int32 | Self::Float32 => 4,
            Self::Uint64 | Self::Int64 | Self::Float64 | Self::String => 8,
            Self::Array => 12,
        }
    }

    /// Whether it is a whole number of whatever size and sign.
    pub(super) fn is_integer(self) -> bool {
        !matches!(self, Self::Float32 | Self::Float64 | Self::Bool | Self::String | Self::Array)
    }

    /// Steps over one value of this type and holds it to the rules of the format.
    pub(super) fn check(self, cursor: &mut Cursor<'_>) -> Result<(), Flaw> {
        self.check_nested(cursor, 0)
    }

    fn check_nested(self, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Flaw> {
        match self {
            Self::Bool => bools(cursor.take(1)?),
            Self::String => cursor.string().map(|_| ()),
            Self::Array if depth == MAX_DEPTH => Err(Flaw::Depth(MAX_DEPTH)),
            Self::Array => {
                let element = Self::read(cursor)?;
                let count = cursor.u64()?;
                let bytes = cursor.require(count, element.least_bytes())?;
                match element {
                    Self::String | Self::Array => {
                        (0..count).try_for_each(|_| element.check_nested(cursor, depth + 1))
                    }
                    Self::Bool => bools(cursor.take(bytes)?),
                    _ => cursor.take(bytes).map(|_| ()),
                }
            }
            _ => cursor.take(self.least_bytes() as u64).map(|_| ()),
        }
    }
}

/// A value that has passed [`ValueType::check`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Integer(i128),
    Float32(f32),
    Float64(f64),
    Bool(bool),
    String(&'a str),
    Array(Array<'a>),
}

impl<'a> Value<'a> {
    pub(super) fn decode(kind: ValueType, cursor: &mut Cursor<'a>) -> Result<Self, Flaw> {
        Ok(match kind {
            ValueType::String => Self::String(cursor.string()?),
            ValueType::Bool => Self::Bool(cursor.take(1)? == [1]),
            ValueType::Float32 => Self::Float32(f32::from_bits(cursor.u32()?)),
            ValueType::Float64 => Self::Float64(f64::from_bits(cursor.u64()?)),
            ValueType::Array => {
                let element = ValueType::read(cursor)?;
                let count = cursor.u64()?;
                // At least one byte per element lies in memory.
                cursor.require(count, element.least_bytes())?;
                Self::Array(Array { element, count: count as usize, start: *cursor })
            }
            integer => {
                let bytes = cursor.take(integer.least_bytes() as u64)?;
                Self::Integer(decode_integer(integer, bytes))
            }
        })
    }

    /// Its type as messages name it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Integer(integer) => format!("the integer {integer}"),
            Self::Float32(float) => format!("the float {float}"),
            Self::Float64(float) => format!("the float {float}"),
            Self::Bool(bool) => format!("the bool {bool}"),
            Self::String(_) => "a string".to_owned(),
            Self::Array(array) => {
                format!("an array of {} values of type {}", array.count, array.element.name())
            }
        }
    }
}

/// The elements of an array, still in the file's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Array<'a> {
    pub(super) element: ValueType,
    pub(super) count: usize,
    start: Cursor<'a>,
}

impl<'a> Array<'a> {
    /// The bytes of each element.
    ///
    /// # Panics
    /// When elements have no fixed size.
    fn elements(self) -> std::slice::ChunksExact<'a, u8> {
        assert!(!matches!(self.element, ValueType::String | ValueType::Array), "a fixed size");
        let (mut cursor, size) = (self.start, self.element.least_bytes());
        let bytes = cursor.take((self.count * size) as u64).expect("checked when it was decoded");
        bytes.chunks_exact(size)
    }

    /// The elements of an array of integers.
    pub(super) fn integers(self) -> impl ExactSizeIterator<Item = i128> + use<'a> {
        self.elements().map(move |bytes| decode_integer(self.element, bytes))
    }

    /// The elements of an array of 32-bit floats.
    pub(super) fn floats(self) -> impl ExactSizeIterator<Item = f32> + use<'a> {
        self.elements().map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
    }

    /// The elements of an array of strings.
    pub(super) fn strings(self) -> Strings<'a> {
        Strings { cursor: self.start, left: self.count }
    }
}

/// The texts of an array of strings, each a view of the file's bytes.
#[derive(Clone, Debug)]
pub struct Strings<'a> {
    cursor: Cursor<'a>,
    left: usize,
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        Some(self.cursor.string().expect("checked when the file was opened"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strings<'_> {}

fn bools(bytes: &[u8]) -> Result<(), Flaw> {
    match bytes.iter().find(|&&byte| byte > 1) {
        Some(&byte) => Err(Flaw::Bool(byte)),
        None => Ok(()),
    }
}

/// The value of little-endian `bytes`, of any size that integers have.
fn decode_integer(kind: ValueType, bytes: &[u8]) -> i128 {
    let signed =
        matches!(kind, ValueType::Int8 | ValueType::Int16 | ValueType::Int32 | ValueType::Int64);
    let negative = signed && bytes.last().is_some_and(|&byte| byte > i8::MAX as u8);
    let mut wide = [if negative { u8::MAX } else { 0 }; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    i128::from_le_bytes(wide)
}
