//! A table for people, or JSON lines.

use serde_json::json;

use crate::command_line::say;
use crate::timing::Measured;

/// Prints measurements as they come.
pub(crate) struct Report {
    json: bool,
    /// The device's limit, in 10⁹ bytes per second.
    copy: f64,
}

impl Report {
    pub(crate) fn new(json: bool, copy: f64) -> Self {
        if !json {
            say(format_args!("\ncopies run at {copy:.1} GB/s\n"));
            say(
                "operation              direction  dtype  shape                    ms   GB/s  of copy  error",
            );
        }
        Self { json, copy }
    }

    pub(crate) fn add(&mut self, measured: Measured) {
        let Measured { op, direction, plan, shape, dtype, seconds, bytes, flops, relative_error } =
            measured;
        let dtype = format!("{dtype:?}").to_lowercase();
        let (ms, rate) = (seconds * 1e3, bytes / seconds / 1e9);
        let share = rate / self.copy;
        if self.json {
            say(json!({
                "op": op, "shape": shape, "dtype": dtype, "direction": direction, "ms": ms,
                "tflops": flops / seconds / 1e12, "gb_per_s": rate, "share_of_limit": share,
                "copy_gb_per_s": self.copy, "plan": plan, "relative_error": relative_error,
            }));
        } else {
            let shape = format!("{shape:?}");
            say(format_args!(
                "{op:<22} {direction:<9}  {dtype:<5}  {shape:<20} {ms:>8.3} {rate:>7.1}  {:>5.1} %  {relative_error:.0e}",
                100.0 * share
            ));
        }
    }
}
