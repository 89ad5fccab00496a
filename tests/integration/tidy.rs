//! Rules about the tree that no compiler checks. Each test lists every offence before it fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that outgrows this holds more than one concept.
const MAX_LINES: usize = 400;
/// What a clone may pay for the committed reference outputs.
const MAX_FIXTURE_BYTES: u64 = 1_700_000;

/// Every library crate with the workspace crates it may depend on: arrows point one way.
const CRATES: [(&str, &[&str]); 5] = [
    ("kernels-cubecl", &[]),
    ("tinyllama-model", &["kernels-cubecl"]),
    ("tinyllama-train", &["kernels-cubecl", "tinyllama-model"]),
    ("tinyllama-infer", &["kernels-cubecl", "tinyllama-model"]),
    ("tinyllama-sft", &["kernels-cubecl", "tinyllama-model", "tinyllama-train"]),
];

#[test]
fn no_source_file_is_too_long() {
    let offences = files(&["rs"]).into_iter().filter_map(|path| {
        let lines = read(&path).lines().count();
        (lines > MAX_LINES).then(|| format!("{}: {lines} lines, at most {MAX_LINES}", show(&path)))
    });
    report(offences);
}

#[test]
fn no_work_is_left_over() {
    // In two halves, so that this file passes its own test.
    let forbidden = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("#[ig", "nore"),
        concat!("allow(dead", "_code)"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
    ];
    let mut offences = Vec::new();
    for path in files(&["rs", "py", "sh", "toml"]) {
        for (index, line) in read(&path).lines().enumerate() {
            for word in forbidden.iter().filter(|word| line.contains(**word)) {
                offences.push(format!("{}:{}: `{word}`", show(&path), index + 1));
            }
        }
    }
    report(offences);
}

#[test]
fn every_crate_describes_itself() {
    let mut offences = Vec::new();
    for (name, _) in CRATES {
        let manifest = read(&root().join(name).join("Cargo.toml"));
        for key in ["description = ", "license.workspace = true", "readme"] {
            if !manifest.lines().any(|line| line.starts_with(key)) {
                offences.push(format!("{name}/Cargo.toml: no `{key}`"));
            }
        }
        if !manifest.contains("[lints]\nworkspace = true") {
            offences.push(format!("{name}/Cargo.toml: the workspace's lints are off"));
        }
        if !read(&root().join(name).join("src/lib.rs")).starts_with("//!") {
            offences.push(format!("{name}/src/lib.rs: no documentation at the top"));
        }
    }
    report(offences);
}

#[test]
fn dependencies_point_one_way() {
    let mut offences = Vec::new();
    for (name, allowed) in CRATES {
        let manifest = read(&root().join(name).join("Cargo.toml"));
        let keys: BTreeSet<_> = manifest
            .lines()
            .filter_map(|line| line.split(['.', '=', ' ']).next())
            .filter(|key| CRATES.iter().any(|(other, _)| other == key))
            .collect();
        for key in keys.into_iter().filter(|key| !allowed.contains(key)) {
            offences.push(format!("{name} depends on {key}"));
        }
    }
    report(offences);
}

#[test]
fn fixtures_are_small() {
    let mut all = Vec::new();
    walk(&root().join("tests/fixtures"), &mut all);
    let bytes: u64 = all.iter().map(|path| fs::metadata(path).expect("it was listed").len()).sum();
    assert!(bytes > 0 && bytes <= MAX_FIXTURE_BYTES, "{bytes} bytes, at most {MAX_FIXTURE_BYTES}");
}

/// Another version, feature or profile would compile Burn a second time for `tests/downstream`.
#[test]
fn the_downstream_project_shares_the_build() {
    let downstream = root().join("tests/downstream");
    let ours = packages(&read(&root().join("Cargo.lock")));
    let theirs = packages(&read(&downstream.join("Cargo.lock")));
    assert!(!theirs.is_empty(), "its lock file names no package of a registry");
    let mut offences: Vec<String> = theirs.difference(&ours).cloned().collect();
    let profile = |manifest: &Path| {
        let text = read(manifest);
        let (_, rest) = text.split_once("[profile.release]\n").expect("a release profile");
        rest.split("\n\n").next().unwrap_or(rest).trim().to_owned()
    };
    let manifest = downstream.join("Cargo.toml");
    if profile(&manifest) != profile(&root().join("Cargo.toml")) {
        offences.push("the release profiles differ".to_owned());
    }
    let ours = features(&root().join("Cargo.toml"));
    offences.extend(features(&manifest).difference(&ours).cloned());
    report(offences);
}

#[test]
fn the_translated_readme_has_the_same_commands_and_figures() {
    let english = read(&root().join("README.md"));
    let chinese = read(&root().join("README.zh-CN.md"));
    assert!(!code_blocks(&english).is_empty(), "README.md shows no command");
    assert!(!table_figures(&english).is_empty(), "README.md has no table");
    assert_eq!(code_blocks(&english), code_blocks(&chinese), "the fenced code blocks differ");
    assert_eq!(table_figures(&english), table_figures(&chinese), "the tables' figures differ");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut offences = Vec::new();
    for path in files(&["md"]) {
        let folder = path.parent().expect("a file has a folder");
        for target in link_targets(&read(&path)) {
            if !folder.join(&target).exists() {
                offences.push(format!("{}: no file `{target}`", show(&path)));
            }
        }
    }
    report(offences);
}

/// The registry packages of a lock file, each with its version and checksum.
fn packages(lock: &str) -> BTreeSet<String> {
    let keys = ["name = ", "version = ", "checksum = "];
    let package = |block: &str| -> Vec<String> {
        let lines = block.lines().filter(|line| keys.iter().any(|key| line.starts_with(key)));
        lines.map(str::to_owned).collect()
    };
    let packages = lock.split("[[package]]").skip(1).map(package);
    packages.filter(|lines| lines.len() == keys.len()).map(|lines| lines.join(" ")).collect()
}

/// The registry packages that building everything behind a manifest takes, each with its features.
fn features(manifest: &Path) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").expect("Cargo runs the tests");
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--locked", "--edges", "normal,build,dev", "--workspace"])
        .args(["--prefix", "none", "--format", "{p} {f}", "--manifest-path"])
        .arg(manifest)
        .output()
        .expect("Cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("Cargo writes UTF-8");
    // The mark of a package that was shown before.
    let packages = text.lines().map(|line| line.trim_end_matches(" (*)"));
    // Packages of this repository show their folder in brackets.
    let is_foreign = |line: &&str| !line.contains(" (") || line.contains(" (proc-macro)");
    packages.filter(is_foreign).map(str::to_owned).collect()
}

/// The fenced code blocks of a Markdown text, in order, each with its opening line.
fn code_blocks(markdown: &str) -> Vec<String> {
    let fences = markdown.split("\n```");
    fences.skip(1).step_by(2).map(|block| block.trim_end().to_owned()).collect()
}

/// The figures of each table row, sorted, since a translated sentence may name them in another
/// order; rows without any are left out.
fn table_figures(markdown: &str) -> Vec<Vec<String>> {
    let rows = markdown.lines().filter(|line| line.starts_with('|'));
    let sorted = rows.map(|row| {
        let mut figures = figures(row);
        figures.sort_unstable();
        figures
    });
    sorted.filter(|figures| !figures.is_empty()).collect()
}

/// The runs of digits in a line, with the points and commas inside them.
fn figures(line: &str) -> Vec<String> {
    line.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','))
        .map(|run| run.trim_matches(['.', ',']).to_owned())
        .filter(|run| !run.is_empty())
        .collect()
}

/// Targets of `[text](target)` that name a file of this repository.
fn link_targets(markdown: &str) -> Vec<String> {
    let targets = markdown.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| target.split('#').next().unwrap_or(target).to_owned())
        .collect()
}

/// All files of the tree with one of these extensions, build outputs and Git's own left out.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let mut all = Vec::new();
    walk(&root(), &mut all);
    all.retain(|path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| extensions.contains(&extension))
    });
    assert!(!all.is_empty(), "found no {extensions:?} file under {}", root().display());
    all
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the tree is readable") {
        let entry = entry.expect("the tree is readable");
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().expect("the tree is readable");
        // Everything that .gitignore names, and hidden folders.
        let skipped = name == "target" || name == "out" || name.to_string_lossy().starts_with('.');
        if kind.is_dir() && !skipped {
            walk(&path, files);
        } else if kind.is_file() {
            files.push(path);
        }
    }
}

#[track_caller]
fn report(offences: impl IntoIterator<Item = String>) {
    let offences: Vec<String> = offences.into_iter().collect();
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[track_caller]
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The path as a reader of the repository names it.
fn show(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
