//! Files in memory without being read.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;

/// Maps a regular file; slices of it share the map.
pub(crate) fn map_file(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    // SAFETY: the map is read-only; a file that another process cuts short meanwhile would fault, as it
    // would for every reader of mapped weights.
    Ok(Bytes::from_owner(unsafe { Mmap::map(&file) }?))
}
