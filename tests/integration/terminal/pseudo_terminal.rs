//! A program on a pseudo-terminal: what a user types, and what the user sees.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// How long anything may take, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// Wide enough that no line of the tests is broken.
const SIZE: Winsize = Winsize { ws_row: 50, ws_col: 250, ws_xpixel: 0, ws_ypixel: 0 };

/// A running program and its terminal.
pub(crate) struct PseudoTerminal {
    child: Child,
    keyboard: File,
    screen: Arc<Screen>,
    /// Bytes of the screen that are dealt with.
    seen: usize,
}

#[derive(Default)]
struct Screen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    /// Nobody writes any more.
    is_over: bool,
}

impl PseudoTerminal {
    /// Starts the program with the terminal as stdin, stderr and, unless it goes elsewhere, stdout.
    pub(crate) fn start(command: &mut Command, stdout: Option<File>) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let user = openpt(flags).expect("the system has pseudo-terminals");
        grantpt(&user).expect("our own terminal");
        unlockpt(&user).expect("our own terminal");
        let name = ptsname(&user, Vec::new()).expect("it has a name");
        let name = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let flags = OFlags::NOCTTY.bits().cast_signed();
        let program = OpenOptions::new().read(true).write(true).custom_flags(flags).open(name);
        let program = OwnedFd::from(program.expect("the other side of it"));
        tcsetwinsize(&program, SIZE).expect("a terminal");

        let stream = || Stdio::from(program.try_clone().expect("a file to copy"));
        command.stdin(stream()).stderr(stream());
        command.stdout(stdout.map_or_else(stream, Stdio::from));
        // SAFETY: between fork and exec there are two system calls, which allocate nothing.
        unsafe {
            command.pre_exec(|| {
                // A session of its own, whose signals come from this terminal.
                setsid()?;
                ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            });
        }
        let child = command.spawn().expect("the program starts");
        // What is left here would keep the terminal open when the program has ended.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());

        let keyboard = File::from(user);
        let mut output = keyboard.try_clone().expect("a file to copy");
        let screen = Arc::new(Screen::default());
        let writes = screen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Linux reports the end as an error.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                writes.state.lock().expect("readers do not panic").bytes.extend(&bytes[..count]);
                writes.changed.notify_all();
            }
            writes.state.lock().expect("readers do not panic").is_over = true;
            writes.changed.notify_all();
        });
        Self { child, keyboard, screen, seen: 0 }
    }

    /// Presses keys.
    pub(crate) fn send(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the program listens");
    }

    /// Waits until `text` appears behind what was waited for before; gives what came before it.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let find = |state: &State| {
            let rest = &state.bytes[self.seen..];
            rest.windows(text.len()).position(|window| window == text.as_bytes())
        };
        let state = self.screen.state.lock().expect("the reader does not panic");
        let (state, _) = self
            .screen
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !state.is_over && find(state).is_none())
            .expect("the reader does not panic");
        let Some(start) = find(&state) else {
            let shown = String::from_utf8_lossy(&state.bytes).into_owned();
            // A panic with the lock held would be taken for one of the reader.
            let (seen, is_over) = (self.seen, state.is_over);
            drop(state);
            panic!("no {text:?} after byte {seen} (ended: {is_over}) in\n{shown:?}");
        };
        let before = String::from_utf8_lossy(&state.bytes[self.seen..][..start]).into_owned();
        drop(state);
        self.seen += start + text.len();
        before
    }

    /// Waits for the program's end; gives its status and all that it showed.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let state = self.screen.state.lock().expect("the reader does not panic");
        let (state, timeout) = self
            .screen
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !state.is_over)
            .expect("the reader does not panic");
        let shown = String::from_utf8_lossy(&state.bytes).into_owned();
        drop(state);
        assert!(!timeout.timed_out(), "it goes on after\n{shown:?}");
        (self.child.wait().expect("it was started"), shown)
    }
}

/// A test that fails leaves no program behind.
impl Drop for PseudoTerminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
