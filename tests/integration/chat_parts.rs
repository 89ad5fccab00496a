//! Parts of `chat` that need no model: inputs of several lines, saved conversations, memory.

#[path = "../../examples/command_line/input.rs"]
mod input;
#[path = "../../examples/command_line/memory.rs"]
mod memory;
#[path = "../../examples/command_line/saved_chat.rs"]
mod saved_chat;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tinyllama_infer::Sampling;
use tinyllama_model::Message;

use input::{Input, Lines};
use memory::ResidentMemory;
use saved_chat::{MAX_BYTES, SavedChat};

fn question(text: &str) -> Option<Input> {
    Some(Input::Question(text.to_owned()))
}

fn command(name: &str, rest: &str) -> Option<Input> {
    Some(Input::Command { name: name.to_owned(), rest: rest.to_owned() })
}

/// The input that `entries` make, the last of which must finish it.
#[track_caller]
fn read(entries: &[&str]) -> Option<Input> {
    let mut lines = Lines::default();
    let (last, others) = entries.split_last().expect("entries");
    for entry in others {
        assert_eq!(lines.push(entry), None, "{entry:?} of {entries:?}");
        assert!(lines.is_open(), "{entry:?} of {entries:?}");
    }
    let input = lines.push(last);
    assert!(!lines.is_open(), "{entries:?}");
    input
}

#[test]
fn a_line_is_a_question_or_a_command() {
    assert_eq!(read(&["  Why? "]), question("Why?"));
    assert_eq!(read(&["/help"]), command("help", ""));
    assert_eq!(read(&[" /set  top_k   3 "]), command("set", "top_k   3"));
    assert_eq!(read(&["  "]), None);
    assert_eq!(read(&["\"\"\" \"\"\""]), None);
}

#[test]
fn quotes_hold_several_lines() {
    assert_eq!(read(&["\"\"\"", "  a", "", "b", "\"\"\""]), question("  a\n\nb"));
    assert_eq!(read(&["\"\"\"a", "b\"\"\" "]), question("a\nb"));
    assert_eq!(read(&["\"\"\"/help\"\"\""]), question("/help"));
    assert_eq!(read(&["\"\"\"a \"\"\" b", "c\\", "\"\"\""]), question("a \"\"\" b\nc\\"));
    assert_eq!(read(&["/system \"\"\"a", "b\"\"\""]), command("system", "a\nb"));
}

#[test]
fn a_backslash_continues_a_line() {
    assert_eq!(read(&["a \\", "b\\", "c"]), question("a \nb\nc"));
    assert_eq!(read(&["/system a\\", "b"]), command("system", "a\nb"));
}

#[test]
fn a_paste_is_one_question() {
    assert_eq!(read(&["a\n  b \\\nc\n"]), question("a\n  b \\\nc"));
    assert_eq!(read(&["/bin/sh\n/exit"]), question("/bin/sh\n/exit"));
    assert_eq!(read(&["/help\n"]), command("help", ""));
    let docstring = "def f():\n    \"\"\"g\"\"\"\n    return 1";
    assert_eq!(read(&["\"\"\"", docstring, "\"\"\""]), question(docstring));
}

#[test]
fn an_input_may_end_early() {
    let mut lines = Lines::default();
    assert_eq!((lines.push("a\\"), lines.end()), (None, question("a")));
    assert_eq!((lines.push("\"\"\"a"), lines.is_quoted()), (None, true));
    assert_eq!((lines.end(), lines.is_open()), (None, false));
    lines.push("a\\");
    lines.discard();
    assert_eq!(lines.push("b"), question("b"));
}

#[test]
fn an_entry_of_the_history_is_the_same_input_again() {
    let inputs = [
        question("a"),
        question("a\n\n  b\\\nc"),
        question("  a\nb"),
        question("/bin/sh"),
        question("\"\"\"quoted\"\"\" twice"),
        question("ends with \\"),
        command("help", ""),
        command("save", "/tmp/a b.json"),
        command("system", "a\nb"),
        command("system", "a\\"),
    ];
    for input in inputs {
        let entry = input.as_ref().expect("some input").history_entry();
        assert_eq!(read(&[&entry]), input, "{entry:?}");
    }
    assert_eq!(question("a").expect("a question").history_entry(), "a");
}

fn chat() -> SavedChat {
    SavedChat {
        system: Some("Be brief.\n".to_owned()),
        messages: vec![Message::user("\"Why\"?\u{1b}"), Message::assistant("这样。")],
        sampling: Sampling { top_k: 3, seed: u64::MAX, ..Sampling::unfiltered(0) },
    }
}

/// A folder with a file of this content in it.
fn file(content: &[u8]) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("chat.json");
    fs::write(&path, content).expect("a new file");
    (folder, path)
}

#[test]
fn a_saved_chat_is_read_as_it_was() {
    let (_folder, path) = file(b"");
    fs::remove_file(&path).expect("it exists");
    saved_chat::write(&path, &chat()).expect("a writable folder");
    assert_eq!(saved_chat::read(&path, &Sampling::greedy()).expect("a saved chat"), chat());
    let json: Value =
        serde_json::from_slice(&fs::read(&path).expect("it exists")).expect("valid JSON");
    let keys: Vec<_> = json.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["system", "messages", "sampling"]);
    assert_eq!(json["messages"][1], json!({"role": "assistant", "content": "这样。"}));
    let settings: Vec<_> = json["sampling"].as_object().expect("an object").keys().collect();
    assert_eq!(settings, Sampling::SETTINGS);
    // A saved chat may be replaced, and nothing is left beside it.
    let shorter = SavedChat { system: None, messages: Vec::new(), ..chat() };
    saved_chat::write(&path, &shorter).expect("a saved chat is there");
    assert_eq!(saved_chat::read(&path, &Sampling::greedy()).expect("a saved chat"), shorter);
    assert_eq!(fs::read_dir(path.parent().expect("a folder")).expect("it exists").count(), 1);
}

#[test]
fn what_a_file_does_not_name_stays() {
    let (_folder, path) = file(br#"{"messages": [], "sampling": {"temperature": 0.25}}"#);
    let found = saved_chat::read(&path, &chat().sampling).expect("a saved chat");
    assert_eq!(found.sampling, Sampling { temperature: 0.25, ..chat().sampling });
    assert_eq!((found.system, found.messages), (None, Vec::new()));
}

#[test]
fn other_files_are_refused_and_left_alone() {
    let deep = "[".repeat(100_000);
    let cases: [(&[u8], &str); 14] = [
        (b"shopping list", "not JSON"),
        (deep.as_bytes(), "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not an object"),
        (b"{}", "`messages` is missing"),
        (br#"{"messages": {}}"#, "`messages` is missing or no list"),
        (br#"{"messages": ["a"]}"#, "`messages[0]` is no object"),
        (br#"{"messages": [{"role": "human", "content": ""}]}"#, "`messages[0].role` must be"),
        (br#"{"messages": [{"role": "system", "content": ""}]}"#, "belong in `system`"),
        (br#"{"messages": [{"role": "user"}]}"#, "`messages[0].content` is missing"),
        (br#"{"messages": [], "sytem": "a"}"#, "`sytem` is unknown"),
        (br#"{"messages": [], "system": 1}"#, "`system` must be text"),
        (br#"{"messages": [], "sampling": {"top_p": 2}}"#, "`top_p` is 2"),
        (br#"{"messages": [], "sampling": {"top_q": 1}}"#, "top_q"),
    ];
    for (content, expected) in cases {
        let (_folder, path) = file(content);
        let error = saved_chat::read(&path, &Sampling::greedy()).expect_err("no saved chat");
        let error = error.to_string();
        assert!(error.contains("chat.json: ") && error.contains(expected), "{error}");
        let error = saved_chat::write(&path, &chat()).expect_err("no saved chat").to_string();
        assert!(error.contains(expected) && error.contains("left as it is"), "{error}");
        assert!(fs::read(&path).expect("it exists") == content, "{expected}");
    }
}

#[test]
fn a_file_has_a_size() {
    let (folder, path) = file(b"");
    // Sparse: it takes no room on the disk.
    let large = fs::File::options().write(true).open(&path).expect("it exists");
    large.set_len(MAX_BYTES + 1).expect("a sparse file");
    let error = saved_chat::read(&path, &Sampling::greedy()).expect_err("too large").to_string();
    assert!(error.contains("larger than"), "{error}");
    let error = saved_chat::read(folder.path(), &Sampling::greedy()).expect_err("a folder");
    assert!(error.to_string().contains("not a file"), "{error}");
    let long = SavedChat { system: Some("a".repeat(MAX_BYTES as usize)), ..chat() };
    let other = folder.path().join("other.json");
    let error = saved_chat::write(&other, &long).expect_err("too large").to_string();
    assert!(error.contains("other.json") && !other.exists(), "{error}");
    let nowhere = folder.path().join("absent/chat.json");
    let error = saved_chat::write(&nowhere, &chat()).expect_err("no folder").to_string();
    assert!(error.contains("cannot write") && error.contains("absent"), "{error}");
}

#[test]
fn memory_is_that_of_this_process() {
    let status = "Name:\tchat\nVmPeak:\t  900 kB\nVmHWM:\t    20 kB\nVmRSS:\t    12 kB\n";
    let expected = ResidentMemory { current_bytes: 12 << 10, peak_bytes: 20 << 10 };
    assert_eq!(memory::parse(status), Some(expected));
    assert_eq!(memory::parse("Name:\tchat\nVmRSS:\t12 pages\n"), None);
    assert_eq!(memory::resident().is_some(), Path::new("/proc/self/status").exists());
    let pages = std::hint::black_box(vec![1_u8; 64 << 20]);
    if let Some(found) = memory::resident() {
        assert!(found.peak_bytes >= pages.len() as u64, "{found:?}");
        assert!(found.current_bytes <= found.peak_bytes, "{found:?}");
    }
    let shown = [999, 1536, 5 << 20, 3 << 29].map(memory::show);
    assert_eq!(shown, ["999 bytes", "1.5 KiB", "5.0 MiB", "1.50 GiB"]);
}
