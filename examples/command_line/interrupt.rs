//! Ctrl-C in a training run: once ends it after the current step, twice at once.

use std::io::Write;
use std::process::exit;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tinyllama_train::Interrupter;

use crate::terminal::Terminal;

/// What a shell reports for a program that SIGINT has ended.
const INTERRUPTED: i32 = 130;

/// A terminal that closes sends SIGHUP twice, itself and through its shell; a user takes longer.
const SAME_EVENT: Duration = Duration::from_millis(500);

/// Lets Ctrl-C, SIGTERM and SIGHUP stop the run; a second one ends the process without saving.
pub(crate) fn listen(interrupter: &Interrupter) -> Result<()> {
    let stop = interrupter.clone();
    let terminal = Terminal::now();
    let mut first: Option<Instant> = None;
    ctrlc::set_handler(move || {
        let mut stderr = std::io::stderr();
        if let Some(first) = first {
            if first.elapsed() < SAME_EVENT {
                return;
            }
            terminal.restore();
            writeln!(stderr, "stopped at once; what came after the last checkpoint is lost").ok();
            exit(INTERRUPTED);
        }
        first = Some(Instant::now());
        stop.stop(Some("a signal"));
        if !terminal.has_changed() {
            writeln!(stderr, "stopping after this step; once more stops at once, unsaved").ok();
        }
    })
    .map_err(|error| anyhow!("cannot listen for Ctrl-C: {error}"))
}
