//! A bar while a model is loaded, on a terminal and where that takes a while.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is loaded sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(300);

/// Shows a bar on stderr for `name` while `load` calls what it is given with the bytes that are loaded
/// and all there are. Nothing stays on the screen, and nothing is shown but on a terminal.
pub(crate) fn with_bar<T>(name: &Path, load: impl FnOnce(&mut dyn FnMut(u64, u64)) -> T) -> T {
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template("loading {bar:24} {percent:>3}% {wide_msg}");
    bar.set_style(style.expect("a valid template"));
    bar.set_message(name.display().to_string());
    let (loaded, is_loaded) = channel::<()>();
    thread::scope(|scope| {
        // A thread of its own: opening a file may take long before it counts anything.
        let bar = &bar;
        scope.spawn(move || {
            if is_loaded.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.tick();
                is_loaded.recv().ok();
                bar.finish_and_clear();
            }
        });
        let outcome = load(&mut |bytes, total| {
            bar.set_length(total);
            bar.set_position(bytes);
        });
        drop(loaded);
        outcome
    })
}
