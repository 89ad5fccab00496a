//! What a run reports about itself: the lines of `--metrics-out`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

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

/// A file of JSON lines.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Starts the file anew.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path) -> Result<Self, TrainError> {
        make_parent(path)?;
        let file = File::create(path).map_err(TrainError::write(path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Continues the file, which need not exist. A last line that a kill has cut off is dropped.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn append(path: &Path) -> Result<Self, TrainError> {
        make_parent(path)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(TrainError::write(path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(TrainError::read(path))?;
        let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        file.set_len(end as u64)
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

fn make_parent(path: &Path) -> Result<(), TrainError> {
    match path.parent() {
        Some(parent) => std::fs::create_dir_all(parent).map_err(TrainError::write(parent)),
        None => Ok(()),
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

    #[test]
    fn appending_drops_a_torn_line_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/metrics.jsonl");
        MetricsFile::create(&path).unwrap().write(&STEP).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"step\":4,\"tok")).unwrap();
        MetricsFile::append(&path).unwrap().write(&STEP).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole.repeat(2));
    }
}
