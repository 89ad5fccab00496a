//! Commands that a user can copy: this build's features, paths quoted for a shell.

use std::path::Path;

/// The features of this build that bring a backend.
const FEATURES: [(&str, bool); 7] = [
    ("wgpu", cfg!(feature = "wgpu")),
    ("vulkan", cfg!(feature = "vulkan")),
    ("metal", cfg!(feature = "metal")),
    ("webgpu", cfg!(feature = "webgpu")),
    ("cuda", cfg!(feature = "cuda")),
    ("cuda-cpp", cfg!(feature = "cuda-cpp")),
    ("cubecl-cpu", cfg!(feature = "cubecl-cpu")),
];

/// Runs another example, or this one again, without compiling anything anew.
pub(crate) fn command(example: &str, arguments: &[String]) -> String {
    let features: Vec<&str> =
        FEATURES.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    let features = match features.is_empty() {
        true => String::new(),
        false => format!(" --features {}", features.join(",")),
    };
    format!("cargo run --release{features} --example {example} -- {}", arguments.join(" "))
}

/// A flag with a path, as one argument pair.
pub(crate) fn path_flag(flag: &str, path: &Path) -> String {
    format!("{flag} {}", quoted(&path.to_string_lossy()))
}

/// The text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:=+,@%".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
