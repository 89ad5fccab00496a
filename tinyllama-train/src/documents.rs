//! Documents from files: plain text, JSON lines (plain or zstd) and parquet.
//!
//! A row of JSON lines or parquet is a document; its text is the string under the key `text` (as in
//! SlimPajama) or `content` (as in StarCoder), or under a key the caller names. A plain text file is
//! one document up to [`TEXT_PIECE_BYTES`]; longer ones are cut at line ends into documents of about
//! that size, so that a book can be split and memory stays bounded. A row that cannot be used is
//! counted and skipped; a file that cannot be read on, or whose lines do not end, is an error.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parquet::basic::Type as PhysicalType;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type as SchemaType;

use crate::corpus::sorted_entries;
use crate::data_error::DataError;

/// Size at which plain text is cut into documents.
pub(crate) const TEXT_PIECE_BYTES: usize = 64 << 10;

/// Keys of a row's text, in the order tried.
pub(crate) const TEXT_KEYS: [&str; 2] = ["text", "content"];

/// Longest line of JSON lines: beyond every document, and a compressed file of a few kilobytes can hold
/// gigabytes without a line end.
const MAX_LINE_BYTES: usize = 256 << 20;

/// Bad rows whose place and cause are kept; all are counted.
const KEPT_BAD_ROWS: usize = 5;

/// How a file holds documents, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    PlainText,
    JsonLines,
    JsonLinesZstd,
    Parquet,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let formats = [
            (".txt", Self::PlainText),
            (".md", Self::PlainText),
            (".rs", Self::PlainText),
            (".jsonl", Self::JsonLines),
            (".jsonl.zst", Self::JsonLinesZstd),
            (".parquet", Self::Parquet),
        ];
        formats.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, format)| format)
    }
}

/// The files to read, in order.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    files: Vec<(PathBuf, Format)>,
    num_bytes: u64,
}

impl Sources {
    /// Finds the files: `paths` in the order given; of a folder, all files of a known format below
    /// it, sorted by path.
    ///
    /// # Errors
    /// A path does not exist, a file named directly has an unknown format, or a folder holds no file
    /// of a known format.
    pub(crate) fn find(paths: &[PathBuf]) -> Result<Self, DataError> {
        let mut files = Vec::new();
        for path in paths {
            let metadata = path.metadata().map_err(DataError::read(path))?;
            if metadata.is_dir() {
                let found = files_below(path)?;
                if found.is_empty() {
                    return Err(DataError::NoInput { path: path.clone() });
                }
                files.extend(found);
            } else {
                let format = Format::of(path);
                let unknown = || DataError::UnknownFormat { path: path.clone() };
                files.push((path.clone(), format.ok_or_else(unknown)?));
            }
        }
        let mut num_bytes = 0;
        for (path, _) in &files {
            num_bytes += path.metadata().map_err(DataError::read(path))?.len();
        }
        Ok(Self { files, num_bytes })
    }

    /// Size of the files as they are, compressed ones included.
    pub(crate) fn num_bytes(&self) -> u64 {
        self.num_bytes
    }

    /// Reads the documents in order. `text_key` replaces [`TEXT_KEYS`].
    pub(crate) fn documents(&self, text_key: Option<&str>) -> Documents<'_> {
        let text_keys = match text_key {
            Some(key) => vec![key.to_owned()],
            None => TEXT_KEYS.map(str::to_owned).to_vec(),
        };
        Documents {
            files: self.files.iter(),
            text_keys,
            open: None,
            finished_bytes: 0,
            bad_rows: BadRows::default(),
        }
    }
}

/// Rows that were skipped.
#[derive(Clone, Debug, Default)]
pub struct BadRows {
    /// How many.
    pub count: u64,
    /// File, line (or row) and cause of the first few.
    pub first: Vec<String>,
}

/// An iterator over the documents of [`Sources`]; after an error it ends.
pub(crate) struct Documents<'a> {
    files: std::slice::Iter<'a, (PathBuf, Format)>,
    text_keys: Vec<String>,
    open: Option<OpenFile<'a>>,
    finished_bytes: u64,
    bad_rows: BadRows,
}

struct OpenFile<'a> {
    path: &'a Path,
    num_bytes: u64,
    read_bytes: Arc<AtomicU64>,
    rows: Rows,
    /// Rows read, good and bad.
    row: u64,
}

/// Counts what is read of a file.
struct CountedFile {
    file: File,
    read_bytes: Arc<AtomicU64>,
}

impl Read for CountedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let num_bytes = self.file.read(buffer)?;
        self.read_bytes.fetch_add(num_bytes as u64, Ordering::Relaxed);
        Ok(num_bytes)
    }
}

/// What is left of an open file.
enum Rows {
    PlainText(Box<dyn BufRead + Send>),
    JsonLines(Box<dyn BufRead + Send>, &'static str),
    /// With the number of rows.
    Parquet(Box<RowIter<'static>>, u64),
}

/// One row: its text, or why it has none.
type Row = Result<String, String>;

impl Documents<'_> {
    /// The rows skipped so far.
    pub(crate) fn bad_rows(&self) -> &BadRows {
        &self.bad_rows
    }

    /// Bytes of the files read so far, as they are on disk, for a progress bar.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.finished_bytes + self.open.as_ref().map_or(0, OpenFile::read_bytes)
    }

    fn next_row(&mut self) -> Result<Option<Row>, DataError> {
        loop {
            let Some(open) = &mut self.open else {
                let Some((path, format)) = self.files.next() else { return Ok(None) };
                self.open = Some(OpenFile::new(path, *format, &self.text_keys)?);
                continue;
            };
            if let Some(row) = open.next_row(&self.text_keys)? {
                return Ok(Some(row));
            }
            self.finished_bytes += open.num_bytes;
            self.open = None;
        }
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<String, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_row() {
                Ok(None) => return None,
                Ok(Some(Ok(text))) => return Some(Ok(text)),
                Ok(Some(Err(cause))) => {
                    self.bad_rows.count += 1;
                    if let Some(open) =
                        self.open.as_ref().filter(|_| self.bad_rows.first.len() < KEPT_BAD_ROWS)
                    {
                        let place = format!("{}:{}: {cause}", open.path.display(), open.row);
                        self.bad_rows.first.push(place);
                    }
                }
                Err(error) => {
                    (self.files, self.open) = ([].iter(), None);
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<'a> OpenFile<'a> {
    fn new(path: &'a Path, format: Format, text_keys: &[String]) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::read(path))?;
        let num_bytes = file.metadata().map_err(DataError::read(path))?.len();
        let read_bytes = Arc::new(AtomicU64::new(0));
        if format == Format::Parquet {
            let (rows, num_rows) = parquet_rows(path, file, text_keys)?;
            let rows = Rows::Parquet(Box::new(rows), num_rows);
            return Ok(Self { path, num_bytes, read_bytes, rows, row: 0 });
        }
        let file = CountedFile { file, read_bytes: read_bytes.clone() };
        let rows = match format {
            Format::PlainText => Rows::PlainText(Box::new(BufReader::new(file))),
            Format::JsonLinesZstd => {
                let decoder = zstd::Decoder::new(file).map_err(DataError::read(path))?;
                Rows::JsonLines(Box::new(BufReader::new(decoder)), "zstd")
            }
            _ => Rows::JsonLines(Box::new(BufReader::new(file)), "JSON lines"),
        };
        Ok(Self { path, num_bytes, read_bytes, rows, row: 0 })
    }

    fn read_bytes(&self) -> u64 {
        match &self.rows {
            Rows::Parquet(_, num_rows) => {
                (self.num_bytes as f64 * self.row as f64 / (*num_rows).max(1) as f64) as u64
            }
            _ => self.read_bytes.load(Ordering::Relaxed),
        }
    }

    fn next_row(&mut self, text_keys: &[String]) -> Result<Option<Row>, DataError> {
        let path = self.path;
        let decode =
            |format, message: String| DataError::Decode { path: path.into(), format, message };
        let row = match &mut self.rows {
            Rows::PlainText(reader) => {
                let piece = next_piece(reader).map_err(DataError::read(path))?;
                piece.map(|bytes| {
                    String::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))
                })
            }
            Rows::JsonLines(reader, format) => {
                let line = next_line(reader, MAX_LINE_BYTES);
                let line = line
                    .map_err(|error| decode(format, format!("line {}: {error}", self.row + 1)))?;
                line.map(|line| json_text(&line, text_keys))
            }
            Rows::Parquet(rows, _) => match rows.next() {
                None => None,
                Some(Err(error)) => return Err(decode("parquet", error.to_string())),
                Some(Ok(row)) => Some(match row.into_columns().into_iter().next() {
                    Some((_, Field::Str(text))) => Ok(text),
                    // Not the value itself: bytes would be printed number by number.
                    Some((key, _)) => Err(format!("`{key}` is no string")),
                    None => Err("the row has no column".into()),
                }),
            },
        };
        self.row += u64::from(row.is_some());
        Ok(row)
    }
}

/// Every file of a known format below `folder`, sorted; links to files count, links to folders do
/// not, since they may lead in circles.
fn files_below(folder: &Path) -> Result<Vec<(PathBuf, Format)>, DataError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in sorted_entries(&folder)? {
            if path.symlink_metadata().map_err(DataError::read(&path))?.is_dir() {
                folders.push(path);
            } else if let Some(format) = Format::of(&path).filter(|_| path.is_file()) {
                files.push((path, format));
            }
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

/// Reads up to [`TEXT_PIECE_BYTES`] and on to the end of the line, or where the line takes as much
/// again, of the character; `None` at the end of the file.
fn next_piece(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut piece = Vec::new();
    reader.by_ref().take(TEXT_PIECE_BYTES as u64).read_to_end(&mut piece)?;
    if piece.len() == TEXT_PIECE_BYTES {
        reader.by_ref().take(TEXT_PIECE_BYTES as u64).read_until(b'\n', &mut piece)?;
    }
    if piece.len() == 2 * TEXT_PIECE_BYTES {
        // UTF-8 continues a character with at most three bytes.
        for _ in 0..3 {
            match reader.fill_buf()?.first() {
                Some(&byte) if byte & 0b1100_0000 == 0b1000_0000 => piece.push(byte),
                _ => break,
            }
            reader.consume(1);
        }
    }
    Ok(Some(piece).filter(|piece| !piece.is_empty()))
}

/// Reads a line with its end; `None` at the end of the file.
fn next_line(reader: &mut impl BufRead, max_bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.by_ref().take(max_bytes as u64 + 1).read_until(b'\n', &mut line)?;
    match line.len() {
        0 => Ok(None),
        len if len > max_bytes => {
            let message = format!("longer than {max_bytes} bytes; cut its document into several");
            Err(io::Error::other(message))
        }
        _ => Ok(Some(line)),
    }
}

/// The text of a JSON object, under the first of `text_keys` it has.
fn json_text(line: &[u8], text_keys: &[String]) -> Row {
    // Without its end the line is one line, and only the column tells where the mistake is.
    let row: serde_json::Value = serde_json::from_slice(line.trim_ascii_end())
        .map_err(|error| error.to_string().replace(" at line 1 column ", " at column "))?;
    let serde_json::Value::Object(mut object) = row else {
        return Err("the line is no JSON object".into());
    };
    match text_keys.iter().find_map(|key| Some((key, object.remove(key)?))) {
        Some((_, serde_json::Value::String(text))) => Ok(text),
        Some((key, _)) => Err(format!("`{key}` is not a string")),
        None => Err(format!("no key `{}`", text_keys.join("` or `"))),
    }
}

/// The rows of a parquet file, reduced to the text column, and their number.
fn parquet_rows(
    path: &Path,
    file: File,
    text_keys: &[String],
) -> Result<(RowIter<'static>, u64), DataError> {
    let decode = |error: parquet::errors::ParquetError| DataError::Decode {
        path: path.to_owned(),
        format: "parquet",
        message: error.to_string(),
    };
    let reader = SerializedFileReader::new(file).map_err(decode)?;
    let schema = reader.metadata().file_metadata().schema().clone();
    let is_text = |field: &SchemaType| {
        field.is_primitive() && field.get_physical_type() == PhysicalType::BYTE_ARRAY
    };
    let fields = schema.get_fields();
    let column = text_keys
        .iter()
        .find_map(|key| fields.iter().find(|field| field.name() == key && is_text(field)))
        .ok_or_else(|| DataError::Column {
            path: path.to_owned(),
            wanted: text_keys.to_vec(),
            found: fields.iter().map(|field| field.name().to_owned()).collect(),
        })?;
    let projection = SchemaType::group_type_builder(schema.name())
        .with_fields(vec![Arc::clone(column)])
        .build()
        .map_err(decode)?;
    let num_rows = reader.metadata().file_metadata().num_rows().max(0) as u64;
    let rows = RowIter::from_file_into(Box::new(reader));
    Ok((rows.project(Some(projection)).map_err(decode)?, num_rows))
}

#[cfg(test)]
mod tests;
