//! Reads little-endian values from the front of a run of bytes, and never past its end.

use std::fmt;

use super::error::Flaw;

/// A place in the bytes of a file.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

/// Without the bytes, which are the whole file.
impl fmt::Debug for Cursor<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Cursor({} of {})", self.position, self.bytes.len())
    }
}

impl<'a> Cursor<'a> {
    /// At `position`, which must lie within `bytes`.
    pub(super) fn new(bytes: &'a [u8], position: usize) -> Self {
        assert!(position <= bytes.len(), "a position within the file");
        Self { bytes, position }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], Flaw> {
        match usize::try_from(count) {
            Ok(count) if count <= self.left() => {
                let start = self.position;
                self.position += count;
                Ok(&self.bytes[start..self.position])
            }
            _ => Err(Flaw::Short { needed: count, left: self.left() }),
        }
    }

    /// The bytes of `count` things of `size` bytes, or the proof that so many cannot follow.
    pub(super) fn require(&self, count: u64, size: usize) -> Result<u64, Flaw> {
        let needed = count.saturating_mul(size as u64);
        match needed <= self.left() as u64 {
            true => Ok(needed),
            false => Err(Flaw::Short { needed, left: self.left() }),
        }
    }

    pub(super) fn u32(&mut self) -> Result<u32, Flaw> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Flaw> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length in bytes and a text of that length.
    pub(super) fn string(&mut self) -> Result<&'a str, Flaw> {
        let len = self.u64()?;
        std::str::from_utf8(self.take(len)?).map_err(|_| Flaw::Utf8)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        Ok(self.take(N as u64)?.try_into().expect("N bytes were taken"))
    }
}
