//! The keys and values at the front of a GGUF file, checked once and read from the file's bytes.

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::cursor::Cursor;
use super::error::{Flaw, GgufError, shown};
use super::value::{Array, Strings, Value, ValueType};

/// A model has about 40.
const MAX_KEYS: usize = 1 << 16;
/// By the specification.
const MAX_KEY_BYTES: usize = (1 << 16) - 1;
/// The shortest pair: the key's length, one letter, the type, one byte.
const LEAST_PAIR_BYTES: usize = 14;

/// The metadata of a GGUF file. Values stay in the file's bytes until they are asked for.
///
/// Every getter gives `None` for a key that the file lacks, and names file and key in its errors.
#[derive(Clone)]
pub struct Metadata {
    path: PathBuf,
    bytes: Bytes,
    /// Sorted by key.
    pairs: Vec<Pair>,
}

/// Without the values.
impl fmt::Debug for Metadata {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.keys()).finish()
    }
}

/// Where a key and its value lie.
#[derive(Clone, Copy, Debug)]
struct Pair {
    /// Of the key's length.
    key_start: usize,
    value_start: usize,
    kind: ValueType,
}

impl Metadata {
    /// Reads `count` pairs from `cursor`, which lies within `bytes`.
    pub(super) fn parse(
        path: &Path,
        bytes: &Bytes,
        cursor: &mut Cursor<'_>,
        count: u64,
    ) -> Result<Self, GgufError> {
        let place = || format!("{count} metadata keys");
        cursor.require(count, LEAST_PAIR_BYTES).map_err(|flaw| flaw.at(place()))?;
        if count > MAX_KEYS as u64 {
            let remedy = format!("at most {MAX_KEYS} metadata keys are read");
            return Err(GgufError::unsupported("metadata_kv_count", count, remedy));
        }
        let mut pairs = Vec::with_capacity(count as usize);
        for index in 0..count {
            let nth = || format!("metadata key {index} (from 0) of {count}");
            let key_start = cursor.position();
            let key = cursor.string().map_err(|flaw| flaw.at(nth()))?;
            if key.is_empty() || key.len() > MAX_KEY_BYTES {
                let detail = format!("has {} bytes, not 1 to {MAX_KEY_BYTES}", key.len());
                return Err(GgufError::Damaged { place: nth(), detail });
            }
            let in_key = |flaw: Flaw| flaw.at(format!("`{}`", shown(key)));
            let kind = ValueType::read(cursor).map_err(in_key)?;
            pairs.push(Pair { key_start, value_start: cursor.position(), kind });
            kind.check(cursor).map_err(in_key)?;
        }
        let mut metadata = Self { path: path.to_owned(), bytes: bytes.clone(), pairs: Vec::new() };
        let bytes = |pair: &Pair| metadata.key_bytes(pair);
        pairs.sort_unstable_by(|a, b| bytes(a).cmp(bytes(b)));
        let twice = pairs.windows(2).find(|pair| bytes(&pair[0]) == bytes(&pair[1]));
        if let Some(twice) = twice {
            let place = format!("`{}`", shown(metadata.key(&twice[0])));
            return Err(GgufError::Damaged { place, detail: "is there twice".to_owned() });
        }
        metadata.pairs = pairs;
        Ok(metadata)
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.pairs.iter().map(|pair| self.key(pair))
    }

    /// A text.
    ///
    /// # Errors
    /// The value has another type.
    pub fn string(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.typed(key, "a string", |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    /// A truth value.
    ///
    /// # Errors
    /// The value has another type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.typed(key, "a bool", |value| match value {
            Value::Bool(bool) => Some(bool),
            _ => None,
        })
    }

    /// An integer, stored in whatever size and sign, that is no larger than `largest`.
    ///
    /// # Errors
    /// The value has another type, is negative or too large.
    pub fn unsigned(&self, key: &str, largest: u64) -> Result<Option<u64>, GgufError> {
        let Some(integer) = self.integer(key)? else { return Ok(None) };
        match u64::try_from(integer).ok().filter(|&integer| integer <= largest) {
            Some(integer) => Ok(Some(integer)),
            None => {
                let error = GgufError::invalid(key, integer, format!("between 0 and {largest}"));
                Err(self.in_file(error))
            }
        }
    }

    /// A float of 32 or 64 bits that is finite.
    ///
    /// Of the f64 values that a 32-bit float stands for, this is the one with the fewest decimal
    /// places: 0.00001 and not 0.0000099999997, so that config.json and GGUF say the same.
    ///
    /// # Errors
    /// The value has another type, is infinite or not a number.
    pub fn float(&self, key: &str) -> Result<Option<f64>, GgufError> {
        let float = self.typed(key, "a float", |value| match value {
            Value::Float32(float) => Some(shortest(float)),
            Value::Float64(float) => Some(float),
            _ => None,
        })?;
        match float {
            Some(float) if !float.is_finite() => {
                Err(self.in_file(GgufError::invalid(key, float, "finite")))
            }
            finite => Ok(finite),
        }
    }

    /// An array of texts.
    ///
    /// # Errors
    /// The value has another type.
    pub fn strings(&self, key: &str) -> Result<Option<Strings<'_>>, GgufError> {
        self.array(key, "an array of strings", |element| element == ValueType::String)
            .map(|array| array.map(Array::strings))
    }

    /// An array of 32-bit floats.
    ///
    /// # Errors
    /// The value has another type.
    pub fn floats(
        &self,
        key: &str,
    ) -> Result<Option<impl ExactSizeIterator<Item = f32>>, GgufError> {
        self.array(key, "an array of 32-bit floats", |element| element == ValueType::Float32)
            .map(|array| array.map(Array::floats))
    }

    /// An array of integers, stored in whatever size and sign.
    ///
    /// # Errors
    /// The value has another type.
    pub fn integers(
        &self,
        key: &str,
    ) -> Result<Option<impl ExactSizeIterator<Item = i128>>, GgufError> {
        self.array(key, "an array of integers", ValueType::is_integer)
            .map(|array| array.map(Array::integers))
    }

    /// The value of a key that must be there: `metadata.required(key, metadata.string(key)?)`.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, GgufError> {
        value.ok_or_else(|| GgufError::Missing { key: key.to_owned() })
    }

    /// The integer of a key, of whatever size and sign.
    pub(super) fn integer(&self, key: &str) -> Result<Option<i128>, GgufError> {
        self.typed(key, "an integer", |value| match value {
            Value::Integer(integer) => Some(integer),
            _ => None,
        })
    }

    /// Whether the value of a key is an array.
    pub(super) fn is_array(&self, key: &str) -> bool {
        self.find(key).is_some_and(|pair| pair.kind == ValueType::Array)
    }

    /// Whether the value of a key is an unsigned integer of 32 bits, the only type of some.
    pub(super) fn is_uint32(&self, key: &str) -> bool {
        self.find(key).is_some_and(|pair| pair.kind == ValueType::Uint32)
    }

    fn array(
        &self,
        key: &str,
        expected: &'static str,
        accepts: impl FnOnce(ValueType) -> bool,
    ) -> Result<Option<Array<'_>>, GgufError> {
        self.typed(key, expected, |value| match value {
            Value::Array(array) if accepts(array.element) => Some(array),
            _ => None,
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        accept: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(pair) = self.find(key) else { return Ok(None) };
        let mut cursor = Cursor::new(&self.bytes, pair.value_start);
        let value = Value::decode(pair.kind, &mut cursor).expect("checked by parse");
        let wrong = || GgufError::Type { key: key.to_owned(), found: value.describe(), expected };
        accept(value).map(Some).ok_or_else(|| self.in_file(wrong()))
    }

    fn find(&self, key: &str) -> Option<&Pair> {
        let order = |pair: &Pair| self.key_bytes(pair).cmp(key.as_bytes());
        let index = self.pairs.binary_search_by(order).ok()?;
        self.pairs.get(index)
    }

    fn key(&self, pair: &Pair) -> &str {
        std::str::from_utf8(self.key_bytes(pair)).expect("checked by parse")
    }

    fn key_bytes(&self, pair: &Pair) -> &[u8] {
        let mut cursor = Cursor::new(&self.bytes, pair.key_start);
        cursor.u64().and_then(|len| cursor.take(len)).expect("checked by parse")
    }

    fn in_file(&self, error: GgufError) -> GgufError {
        error.in_file(&self.path)
    }
}

/// The f64 with the fewest decimal places that rounds to `float`.
fn shortest(float: f32) -> f64 {
    float.to_string().parse().expect("the text of a float is one, be it infinite or NaN")
}
