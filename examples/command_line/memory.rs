//! How much memory this process takes.

/// Memory that is in use, not merely reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResidentMemory {
    /// Now.
    pub(crate) current_bytes: u64,
    /// The most so far.
    pub(crate) peak_bytes: u64,
}

/// Of this process; `None` where the system has no `/proc/self/status` as Linux writes it.
pub(crate) fn resident() -> Option<ResidentMemory> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// From the text of `/proc/PID/status` (proc_pid_status(5)).
pub(crate) fn parse(status: &str) -> Option<ResidentMemory> {
    let bytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    };
    Some(ResidentMemory { current_bytes: bytes("VmRSS:")?, peak_bytes: bytes("VmHWM:")? })
}

/// A number of bytes for people.
pub(crate) fn show(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes} bytes"),
        0x400..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}
