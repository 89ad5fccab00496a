//! Writing token files.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{
    FINGERPRINT_BYTES, HEADER_BYTES, Split, SplitSize, TokenFormat, bytes_per_token, encode_header,
    shard_name,
};
use crate::data_error::DataError;

/// Writes the token files of one split.
#[derive(Debug)]
pub(crate) struct ShardWriter {
    folder: PathBuf,
    split: Split,
    format: TokenFormat,
    max_shard_tokens: u64,
    num_shards: usize,
    open: Option<OpenShard>,
    size: SplitSize,
}

#[derive(Debug)]
struct OpenShard {
    temporary: PathBuf,
    file: BufWriter<File>,
    size: SplitSize,
}

impl ShardWriter {
    /// Starts a split in an existing folder; files of [`super::MAX_SHARD_TOKENS`] are usual.
    ///
    /// # Panics
    /// When the fingerprint is longer than 64 bytes or `max_shard_tokens` is zero.
    pub(crate) fn new(
        folder: &Path,
        split: Split,
        format: TokenFormat,
        max_shard_tokens: u64,
    ) -> Self {
        assert!(format.fingerprint.len() <= FINGERPRINT_BYTES, "fingerprint: at most 64 bytes");
        assert!(max_shard_tokens > 0, "max_shard_tokens must be positive");
        let folder = folder.to_owned();
        let size = SplitSize::default();
        Self { folder, split, format, max_shard_tokens, num_shards: 0, open: None, size }
    }

    /// Appends one document of `text_bytes` bytes, whole in one file.
    ///
    /// # Errors
    /// The file cannot be written.
    ///
    /// # Panics
    /// When a token is not below the vocabulary size.
    pub(crate) fn push(&mut self, tokens: &[u32], text_bytes: u64) -> Result<(), DataError> {
        let vocab_size = self.format.vocab_size;
        assert!(tokens.iter().all(|&token| token < vocab_size), "token outside of the vocabulary");
        if self.open.as_ref().is_some_and(|open| open.size.num_tokens >= self.max_shard_tokens) {
            self.close()?;
        }
        let bytes: Vec<u8> = match bytes_per_token(vocab_size) {
            2 => tokens.iter().flat_map(|&token| (token as u16).to_le_bytes()).collect(),
            _ => tokens.iter().flat_map(|&token| token.to_le_bytes()).collect(),
        };
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let name = format!(".{}.partial", shard_name(self.split, self.num_shards));
                let temporary = self.folder.join(name);
                let file = File::create(&temporary).map_err(DataError::write(&temporary))?;
                let mut file = BufWriter::with_capacity(1 << 20, file);
                file.write_all(&[0; HEADER_BYTES]).map_err(DataError::write(&temporary))?;
                self.open.insert(OpenShard { temporary, file, size: SplitSize::default() })
            }
        };
        open.file.write_all(&bytes).map_err(DataError::write(&open.temporary))?;
        open.size.add(SplitSize { num_documents: 1, num_tokens: tokens.len() as u64, text_bytes });
        Ok(())
    }

    /// Completes the last file and returns the size of the split.
    ///
    /// # Errors
    /// The file cannot be written or renamed.
    pub(crate) fn finish(mut self) -> Result<SplitSize, DataError> {
        self.close()?;
        Ok(self.size)
    }

    fn close(&mut self) -> Result<(), DataError> {
        let Some(OpenShard { temporary, mut file, size }) = self.open.take() else {
            return Ok(());
        };
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.write_all(&encode_header(&self.format, size)))
            .and_then(|()| file.flush())
            .and_then(|()| file.get_ref().sync_all())
            .map_err(DataError::write(&temporary))?;
        let path = self.folder.join(shard_name(self.split, self.num_shards));
        fs::rename(&temporary, &path).map_err(DataError::write(&path))?;
        self.num_shards += 1;
        self.size.add(size);
        Ok(())
    }
}
