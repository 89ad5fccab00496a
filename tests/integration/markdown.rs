//! Markdown as `chat` shows it: escape sequences for styles, in any pieces, nothing held too long.

#[path = "../../examples/command_line/markdown.rs"]
mod renderer;

use renderer::Markdown;

/// Every construct, and the ones that only look like one.
const SAMPLE: &str = "# Title with *stress*\n\nPlain, **bold _and italic_**, `a*b` and 2 * 3 * 4.\n\
- one\n* two\n  + nested **x**\n1. first\n> quoted *text*\n>> deeper\n---\n\
```rust\nlet x = *y; // `no` **marks**\n\n  `` not the end\n```\nafter snake_case_name \\*kept\\*\n\
**never closed\nnext 2*3*4 #tag -5 ~~~\n~~~\ncode\n~~~\n这是**重点**内容\n***both***";

/// What the terminal shows for the whole text.
fn render(text: &str) -> String {
    let mut markdown = Markdown::default();
    let shown = markdown.push(text);
    shown + &markdown.finish()
}

/// With the sequences written as tags.
fn tagged(text: &str) -> String {
    let names = [
        ("0", "/"),
        ("1", "b"),
        ("2", "dim"),
        ("3", "i"),
        ("36", "code"),
        ("1;3", "bi"),
        ("1;36", "bcode"),
    ];
    names.iter().fold(render(text), |text, (code, name)| {
        text.replace(&format!("\x1b[{code}m"), &format!("<{name}>"))
    })
}

#[track_caller]
fn shows(text: &str, expected: &str) {
    assert_eq!(tagged(text), expected, "of {text:?}");
}

#[test]
fn blocks() {
    shows("# Title\ntext", "<b>Title</>\ntext");
    shows("###### Deep *x*\n", "<b>Deep </><bi>x</>\n");
    shows("#tag\n####### seven\n#\n", "#tag\n####### seven\n#\n");
    shows("- a\n* b\n+ c\n  - d\n-5\n", "• a\n• b\n• c\n  • d\n-5\n");
    shows("1. a\n2) b\n", "1. a\n2) b\n");
    shows("> a\n>b\n>> c\n>\n", "<dim>│ </>a\n<dim>│ </>b\n<dim>│ │ </>c\n<dim>│ </>\n");
    shows("> - a\n- # b\n", "<dim>│ </>• a\n• <b>b</>\n");
    shows("---\n***\n___\n--\n----x\n", "────────\n────────\n────────\n--\n----x\n");
}

#[test]
fn fenced_code_is_left_alone() {
    shows("```rust\nlet *x* = `y`;\n```\n*z*", "  <dim>let *x* = `y`;</>\n<i>z</>");
    shows("~~~\n```\n~~~\n", "  <dim>```</>\n");
    shows("````\n```\n````  \nafter", "  <dim>```</>\nafter");
    shows("```\n\n  # a\n", "\n  <dim>  # a</>\n");
    shows("```\na\n``` b\n", "  <dim>a</>\n  <dim>``` b</>\n");
    shows("``` one ``` line\n", "<code> one </> line\n");
    // In a quote the marks are those of a code span.
    shows("> ```\n> *a*\n", "<dim>│ </>```\n<dim>│ </><i>a</>\n");
}

#[test]
fn inlines() {
    shows("a **b** *c* __d__ _e_ `f`.", "a <b>b</> <i>c</> <b>d</> <i>e</> <code>f</>.");
    shows("***x*** **a *b* c**", "<bi>x</> <b>a </><bi>b</><b> c</>");
    shows("`a*b` ``c`d`` `_e_`", "<code>a*b</> <code>c`d</> <code>_e_</>");
    shows("**`f(*x)`**", "<bcode>f(*x)</>");
    shows("\\*a\\* \\\\ \\x `\\`", "*a* \\ \\x <code>\\</>");
    shows("(*a*), **Note:**b 这是**重点**内容", "(<i>a</>), <b>Note:</>b 这是<b>重点</>内容");
}

#[test]
fn what_only_looks_like_a_marker_stays() {
    for text in [
        "2 * 3 * 4 and 2*3*4 and 2**3",
        "snake_case_name and a_b",
        "* \n** a **\n",
        "a ****b**** c",
        "100% of #1 - a > b ~ c + d",
        "| a | b |\n|---|---|\n",
    ] {
        shows(text, &text.replace("* \n", "• \n"));
    }
}

#[test]
fn a_style_ends_with_its_line() {
    shows("**a\nb", "<b>a</>\nb");
    shows("`a\nb", "<code>a</>\nb");
    shows("**a", "<b>a</>");
}

#[test]
fn pieces_make_no_difference() {
    let whole = render(SAMPLE);
    for size in 1..7 {
        let chars: Vec<char> = SAMPLE.chars().collect();
        let mut markdown = Markdown::default();
        let shown: String = chars
            .chunks(size)
            .map(|piece| markdown.push(&piece.iter().collect::<String>()))
            .collect();
        assert_eq!(shown + &markdown.finish(), whole, "in pieces of {size}");
    }
}

#[test]
fn text_appears_as_it_comes() {
    let mut markdown = Markdown::default();
    for c in "Hello, world: 1 + 2 = 3".chars() {
        assert_eq!(markdown.push(&c.to_string()), c.to_string());
    }
    // Bold is shown before its end is known.
    assert_eq!(markdown.push(" **"), " ");
    assert_eq!(markdown.push("b"), "\x1b[1mb");
    assert_eq!(markdown.push("*"), "");
    assert_eq!(markdown.push("* c"), "\x1b[0m c");
    assert_eq!(markdown.finish(), "");
}

/// All but the marks of styles: nothing of a plain text gets lost, wherever it ends.
#[test]
fn every_beginning_keeps_its_words() {
    let letters = |text: &str| -> String {
        let mut rest = text.to_owned();
        while let Some(start) = rest.find('\x1b') {
            let end = rest[start..].find('m').expect("a sequence ends") + start;
            rest.replace_range(start..=end, "");
        }
        rest.chars().filter(|c| c.is_alphanumeric()).collect()
    };
    let shown = SAMPLE.replace("```rust", "```");
    for (end, _) in shown.char_indices() {
        let beginning = &shown[..end];
        let found = render(beginning);
        assert_eq!(letters(&found), letters(beginning), "of {beginning:?}");
        let last = found.rfind('\x1b').map_or("", |start| &found[start..]);
        assert!(last.is_empty() || last.starts_with("\x1b[0m"), "{beginning:?} leaves a style on");
    }
}

#[test]
fn a_model_does_not_control_the_terminal() {
    shows("a\x1b[2Jb\x07\rc\u{9b}d\te", "a[2Jbcd\te");
}
