//! Keys and values as bytes.

use crate::gguf::error::GgufError;
use crate::gguf::value::ValueType;

/// Metadata that grow key by key.
#[derive(Default)]
pub(in crate::gguf) struct MetadataWriter {
    bytes: Vec<u8>,
    count: u64,
}

impl MetadataWriter {
    /// Number of keys.
    pub(in crate::gguf) fn count(&self) -> u64 {
        self.count
    }

    pub(in crate::gguf) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(in crate::gguf) fn string(&mut self, key: &str, value: &str) {
        self.key(key, ValueType::String);
        self.text(value);
    }

    pub(in crate::gguf) fn bool(&mut self, key: &str, value: bool) {
        self.key(key, ValueType::Bool);
        self.bytes.push(value.into());
    }

    pub(in crate::gguf) fn uint32(&mut self, key: &str, value: u32) {
        self.key(key, ValueType::Uint32);
        self.bytes.extend(value.to_le_bytes());
    }

    /// A float, stored in 32 bits as llama.cpp wants it.
    ///
    /// # Errors
    /// The value is too large or too small for that.
    pub(in crate::gguf) fn float(&mut self, key: &str, value: f64) -> Result<(), GgufError> {
        let stored = value as f32;
        if !stored.is_normal() {
            return Err(GgufError::invalid(key, value, "within the range of a 32-bit float"));
        }
        self.key(key, ValueType::Float32);
        self.bytes.extend(stored.to_le_bytes());
        Ok(())
    }

    pub(in crate::gguf) fn strings<'a>(
        &mut self,
        key: &str,
        values: impl ExactSizeIterator<Item = &'a str>,
    ) {
        self.array(key, ValueType::String, values.len());
        values.for_each(|value| self.text(value));
    }

    pub(in crate::gguf) fn floats(
        &mut self,
        key: &str,
        values: impl ExactSizeIterator<Item = f32>,
    ) {
        self.array(key, ValueType::Float32, values.len());
        values.for_each(|value| self.bytes.extend(value.to_le_bytes()));
    }

    pub(in crate::gguf) fn int32s(
        &mut self,
        key: &str,
        values: impl ExactSizeIterator<Item = i32>,
    ) {
        self.array(key, ValueType::Int32, values.len());
        values.for_each(|value| self.bytes.extend(value.to_le_bytes()));
    }

    fn array(&mut self, key: &str, element: ValueType, len: usize) {
        self.key(key, ValueType::Array);
        self.bytes.extend((element as u32).to_le_bytes());
        self.bytes.extend((len as u64).to_le_bytes());
    }

    fn key(&mut self, key: &str, kind: ValueType) {
        self.text(key);
        self.bytes.extend((kind as u32).to_le_bytes());
        self.count += 1;
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }
}
