use std::fs;
use std::io::Write;

use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::*;

fn read(paths: &[PathBuf], text_key: Option<&str>) -> (Vec<String>, BadRows) {
    let sources = Sources::find(paths).unwrap();
    let mut documents = sources.documents(text_key);
    let texts = documents.by_ref().map(Result::unwrap).collect();
    assert_eq!(documents.read_bytes(), sources.num_bytes());
    (texts, documents.bad_rows().clone())
}

/// Two columns; a row of `content` may be null.
fn write_parquet(path: &Path, rows: &[Option<&str>]) {
    let schema = "message rows { optional binary content (UTF8); required binary repo (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer =
        SerializedFileWriter::new(File::create(path).unwrap(), schema, properties).unwrap();
    // Two rows a group, so that reading crosses groups.
    for rows in rows.chunks(2) {
        let mut group = writer.next_row_group().unwrap();
        let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.is_some())).collect();
        let texts: Vec<ByteArray> = rows.iter().flatten().map(|&text| text.into()).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None).unwrap();
        column.close().unwrap();
        let repos = vec![ByteArray::from("repo"); rows.len()];
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&repos, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn every_format_in_one_folder() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("deep")).unwrap();
    fs::write(at("deep/a.txt"), "plain").unwrap();
    fs::write(at("b.JSONL"), "{\"text\": \"one\"}\n{\"content\": \"two\", \"n\": 1}").unwrap();
    let lines = zstd::encode_all(&b"{\"text\": \"three\"}\n"[..], 1).unwrap();
    // zstd files may be several frames one after another.
    let more = zstd::encode_all(&b"{\"text\": \"four\"}\n"[..], 1).unwrap();
    fs::write(at("c.jsonl.zst"), [lines, more].concat()).unwrap();
    write_parquet(&at("d.parquet"), &[Some("five"), Some("six"), Some("seven")]);
    fs::write(at("skipped.bin"), "no").unwrap();
    let (texts, bad) = read(&[dir.path().to_owned()], None);
    assert_eq!(texts, ["one", "two", "three", "four", "five", "six", "seven", "plain"]);
    assert_eq!(bad.count, 0);
}

#[test]
fn bad_rows_are_placed_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.jsonl");
    let rows = [
        r#"{"text": "good"}"#,
        r#"{"text" 1"#,
        r#"{"text": 5}"#,
        r#"{"other": "x"}"#,
        r#"[1]"#,
        "",
        r#"{"text": "good too"}"#,
        "null",
    ];
    fs::write(&path, rows.join("\n")).unwrap();
    let (texts, bad) = read(&[path], None);
    assert_eq!(texts, ["good", "good too"]);
    assert_eq!((bad.count, bad.first.len()), (6, KEPT_BAD_ROWS));
    assert!(bad.first[0].ends_with("rows.jsonl:2: expected `:` at column 9"), "{}", bad.first[0]);
    assert!(bad.first[1].ends_with("rows.jsonl:3: `text` is not a string"), "{}", bad.first[1]);
    assert!(bad.first[2].ends_with(":4: no key `text` or `content`"), "{}", bad.first[2]);
    assert!(bad.first[3].ends_with(":5: the line is no JSON object"), "{}", bad.first[3]);

    let path = dir.path().join("rows.parquet");
    write_parquet(&path, &[Some("a"), None, Some("c")]);
    let (texts, bad) = read(&[path], None);
    assert_eq!(texts, ["a", "c"]);
    assert!(bad.first[0].contains("rows.parquet:2: `content`"), "{}", bad.first[0]);
}

#[test]
fn a_key_can_be_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.parquet");
    write_parquet(&path, &[Some("a")]);
    assert_eq!(read(std::slice::from_ref(&path), Some("repo")).0, ["repo"]);
    let sources = Sources::find(std::slice::from_ref(&path)).unwrap();
    let error = sources.documents(Some("body")).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("named body; its columns are content, repo"), "{error}");
}

#[test]
fn long_plain_text_is_cut_at_line_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("book.txt");
    // Lines of 15 bytes with two letters of two bytes: no multiple of 15 is 2^16, so no cut fits.
    let text = "größe 123456\n".repeat(10_000);
    fs::write(&path, &text).unwrap();
    let (texts, _) = read(&[path], None);
    assert_eq!(texts.len(), 3);
    assert!(texts.iter().all(|piece| piece.ends_with('\n')));
    assert_eq!(texts.concat(), text);
}

/// A line that takes more than two pieces is cut between characters, wherever they stand.
#[test]
fn lines_without_end_are_cut_between_characters() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("line.txt");
    for offset in 0..4 {
        let text = "x".repeat(offset) + &"🦀".repeat(TEXT_PIECE_BYTES);
        fs::write(&path, &text).unwrap();
        let (texts, bad) = read(std::slice::from_ref(&path), None);
        assert_eq!((texts.concat() == text, bad.count), (true, 0));
        assert!(texts.iter().all(|piece| piece.len() <= 2 * TEXT_PIECE_BYTES + 3));
    }
}

#[test]
fn a_line_is_read_up_to_its_limit() {
    let read = |text: &str| next_line(&mut text.as_bytes(), 4);
    assert_eq!(read("").unwrap(), None);
    assert_eq!(read("abc\nd").unwrap().unwrap(), b"abc\n");
    assert_eq!(read("abcd").unwrap().unwrap(), b"abcd");
    assert!(read("abcd\n").unwrap_err().to_string().contains("longer than 4 bytes"));
}

#[test]
fn damaged_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [("a.parquet", &b"PAR1 but not really"[..]), ("a.jsonl.zst", b"no zstd")] {
        let path = dir.path().join(name);
        File::create(&path).unwrap().write_all(bytes).unwrap();
        let sources = Sources::find(&[path]).unwrap();
        let mut documents = sources.documents(None);
        let error = documents.next().unwrap().unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("cannot be decoded"), "{error}");
        assert!(documents.next().is_none(), "nothing follows an error");
    }
    let cut = zstd::encode_all(&b"{\"text\": \"three\"}\n".repeat(100)[..], 1).unwrap();
    let path = dir.path().join("cut.jsonl.zst");
    fs::write(&path, &cut[..cut.len() - 5]).unwrap();
    let sources = Sources::find(&[path]).unwrap();
    assert!(sources.documents(None).any(|document| document.is_err()));
}

#[test]
fn unusable_paths_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.docx");
    let find = |path: &Path| Sources::find(&[path.to_owned()]).unwrap_err().to_string();
    assert!(find(&path).contains("cannot be read"));
    fs::write(&path, "x").unwrap();
    assert!(find(&path).contains("supported are .txt"));
    assert!(find(dir.path()).contains("no .txt"));
}
