//! What a run reports about itself: the lines of `--metrics-out`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::train_error::TrainError;

/// One logged step. The keys are stable.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepRecord {
    /// Steps done, this one included.
    pub step: u64,
    /// Tokens read by all steps so far.
    pub tokens: u64,
    /// Mean loss of this step's targets, in nats.
    pub loss: f64,
    /// Learning rate of this step.
    pub lr: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Tokens per second of the steps since the line before, evaluation and saving excluded.
    pub tokens_per_s: f64,
    /// Share of the device's peak that the model's operations make up; `None` where the peak is
    /// unknown.
    pub mfu: Option<f64>,
}

/// The last line of a run. The keys are stable; losses are in nats per token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "final")]
pub struct FinalRecord {
    /// Steps done.
    pub step: u64,
    /// Tokens read.
    pub tokens: u64,
    /// Loss on the held-out sequences.
    pub val_loss: Option<f64>,
    /// Loss of unigrams on the same targets.
    pub unigram_loss: Option<f64>,
    /// Loss of interpolated Kneser–Ney bigrams on the same targets.
    pub bigram_loss: Option<f64>,
    /// The held-out loss per byte of text, in bits.
    pub bits_per_byte: Option<f64>,
    /// Seconds of the run, those before a resume included.
    pub wall_s: f64,
}

/// What of a line says whether it stays when a run is resumed.
#[derive(Deserialize)]
struct Logged {
    step: u64,
    event: Option<String>,
}

/// A file of JSON lines.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Starts a file, which must not exist or be empty: the log of another run is never overwritten.
    ///
    /// # Errors
    /// It has content, or cannot be written.
    pub fn create(path: &Path) -> Result<Self, TrainError> {
        let file = open(path)?;
        match file.metadata().map_err(TrainError::read(path))?.len() {
            0 => Ok(Self { path: path.to_owned(), file }),
            _ => Err(TrainError::LogExists { path: path.to_owned() }),
        }
    }

    /// Continues the file, which need not exist, for a run that resumes after `step`. Lines of later
    /// steps go, because those steps are done again; so does a final line, and a last line that a
    /// kill has cut off.
    ///
    /// # Errors
    /// It cannot be read or written, or has a line that no run logs; it is then as it was.
    pub fn resume(path: &Path, step: u64) -> Result<Self, TrainError> {
        let mut file = open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(TrainError::read(path))?;
        let (mut kept, mut is_kept) = (0, true);
        for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
            let detail = || {
                format!(
                    "line {} is none that a run logs; give --metrics-out another file",
                    index + 1
                )
            };
            let foreign = || TrainError::Damaged { path: path.to_owned(), detail: detail() };
            if line.last() != Some(&b'\n') {
                if !is_cut_off(line) {
                    return Err(foreign());
                }
                break;
            }
            let logged: Logged = serde_json::from_slice(line).map_err(|_| foreign())?;
            is_kept &= logged.step <= step && logged.event.is_none();
            if is_kept {
                kept += line.len();
            }
        }
        file.set_len(kept as u64)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(TrainError::write(path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes one line, at once.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, record: &impl Serialize) -> Result<(), TrainError> {
        let mut line = serde_json::to_string(record).expect("records have string keys");
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(TrainError::write(&self.path))
    }
}

/// Opens a file as it is; makes it, and its folder, where there is none.
fn open(path: &Path) -> Result<File, TrainError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(TrainError::write(parent))?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(TrainError::write(path))
}

/// Whether a line without an end begins as a record does.
fn is_cut_off(line: &[u8]) -> bool {
    [&b"{\"step\":"[..], b"{\"event\":"].iter().any(|start| {
        let len = start.len().min(line.len());
        line[..len] == start[..len]
    })
}

#[cfg(test)]
impl MetricsFile {
    /// A file every write to which fails.
    pub(crate) fn read_only(path: &Path) -> Self {
        std::fs::write(path, "").unwrap();
        Self { path: path.to_owned(), file: File::open(path).unwrap() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: StepRecord = StepRecord {
        step: 3,
        tokens: 6144,
        loss: 6.5,
        lr: 0.001,
        grad_norm: 1.25,
        tokens_per_s: 2048.0,
        mfu: None,
    };

    #[test]
    fn lines_have_exactly_the_documented_keys() {
        let step = serde_json::to_string(&STEP).unwrap();
        assert_eq!(
            step,
            r#"{"step":3,"tokens":6144,"loss":6.5,"lr":0.001,"grad_norm":1.25,"tokens_per_s":2048.0,"mfu":null}"#
        );
        let last = FinalRecord {
            step: 3,
            tokens: 6144,
            val_loss: Some(6.0),
            unigram_loss: None,
            bigram_loss: None,
            bits_per_byte: None,
            wall_s: 1.5,
        };
        assert_eq!(
            serde_json::to_string(&last).unwrap(),
            r#"{"event":"final","step":3,"tokens":6144,"val_loss":6.0,"unigram_loss":null,"bigram_loss":null,"bits_per_byte":null,"wall_s":1.5}"#
        );
    }

    /// The file after a run resumed at step 4 and logged step 5.
    fn resumed(before: &str) -> Result<String, TrainError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/metrics.jsonl");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, before).unwrap();
        MetricsFile::resume(&path, 4)?.write(&StepRecord { step: 5, ..STEP })?;
        Ok(std::fs::read_to_string(&path).unwrap())
    }

    #[test]
    fn a_resumed_run_replaces_what_it_does_again() {
        let line = |step| serde_json::to_string(&StepRecord { step, ..STEP }).unwrap() + "\n";
        let (kept, expected) = (line(3) + &line(4), line(3) + &line(4) + &line(5));
        let last = r#"{"event":"final","step":4,"wall_s":1.5}"#;
        for lost in ["", "{\"step\":5,\"tok", &line(5), &(line(5) + &line(6)), &format!("{last}\n")]
        {
            assert_eq!(resumed(&format!("{kept}{lost}")).unwrap(), expected, "{lost}");
        }
        assert_eq!(resumed("").unwrap(), line(5));
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        let log = serde_json::to_string(&StepRecord { step: 5, ..STEP }).unwrap();
        for (text, line) in [
            ("{\"step\":1}\nshopping list\n".to_owned(), "line 2"),
            ("shopping list".to_owned(), "line 1"),
            // Behind a line that would go.
            (format!("{log}\nshopping list"), "line 2"),
        ] {
            std::fs::write(&path, &text).unwrap();
            let error = MetricsFile::resume(&path, 4).unwrap_err().to_string();
            assert!(error.contains("notes.txt") && error.contains(line), "{error}");
            let error = MetricsFile::create(&path).unwrap_err();
            assert!(matches!(error, TrainError::LogExists { .. }), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
