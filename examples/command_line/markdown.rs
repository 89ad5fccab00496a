//! Markdown on a terminal, character by character as a model writes it.
//!
//! Only a marker that may still become another one is held back, so that text appears as it comes.
//! The price: a style is shown before its end is known. Where the end never comes, the style ends
//! with the line, and the marker is lost; `--plain` shows every character.
//!
//! Known are headings, emphasis, code spans, fenced code, bullets, quotes and rules; a subset of
//! CommonMark (<https://spec.commonmark.org/0.31.2/>) that never looks back.

/// What is drawn in place of markers.
const BULLET: &str = "• ";
const QUOTE: &str = "│ ";
const RULE: &str = "────────";
const CODE_INDENT: &str = "  ";

const CODE: Style = Style { is_bold: false, is_italic: false, is_code: false, is_dim: true };

/// How characters look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    is_bold: bool,
    is_italic: bool,
    is_code: bool,
    is_dim: bool,
}

/// Where the next character stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// At the beginning of a line, behind any markers of quotes and lists.
    #[default]
    Start,
    /// In a line of text.
    Text,
    /// Behind the marks that open fenced code, in their line.
    FenceLine,
    /// At the beginning of a line of fenced code.
    CodeStart,
    /// In a line of fenced code.
    Code,
}

/// The state between two characters.
#[derive(Debug, Default)]
pub(crate) struct Markdown {
    place: Place,
    /// Characters that may be a marker.
    held: String,
    /// The last character before them; a space at the beginning of a line.
    before: char,
    is_heading: bool,
    is_quote: bool,
    /// The character that opened bold, or italic.
    bold: Option<char>,
    italic: Option<char>,
    /// How many backticks opened a code span.
    code_span: Option<usize>,
    /// The mark of the open fence, and how often it stood there.
    fence: (char, usize),
    /// How the terminal writes now.
    shown: Style,
    out: String,
}

impl Markdown {
    /// Takes the next piece; gives what the terminal shows for it.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        for c in piece.chars() {
            // A model must not move the cursor or rename the window.
            if c == '\n' || c == '\t' || !c.is_control() {
                self.take(c);
            }
        }
        std::mem::take(&mut self.out)
    }

    /// The rest, at the end of the text.
    pub(crate) fn finish(mut self) -> String {
        match self.place {
            Place::Start if self.held == ">" => {}
            Place::Start if is_rule(&self.held) => self.draw(RULE),
            Place::Start | Place::Text => self.end_of_markers('\n'),
            Place::CodeStart if self.closes_fence() => {}
            Place::FenceLine | Place::CodeStart | Place::Code => self.put_held(CODE),
        }
        self.switch(Style::default());
        self.out
    }

    fn take(&mut self, c: char) {
        match self.place {
            Place::Start => self.at_start(c),
            Place::Text => self.in_text(c),
            Place::FenceLine => self.in_fence_line(c),
            Place::CodeStart => self.at_code_start(c),
            Place::Code => self.in_code(c),
        }
    }

    /// Blocks: what is held begins the line.
    fn at_start(&mut self, c: char) {
        let first = self.held.chars().next();
        let count = self.held.chars().count();
        match (first, c) {
            (None, ' ' | '\t') => self.put(c, Style::default()),
            (None, '>') => self.quote(),
            (None, '#' | '`' | '~' | '-' | '+' | '*' | '_') => self.held.push(c),
            (Some('#'), '#') if count < 6 => self.held.push(c),
            (Some('`' | '~' | '-' | '*' | '_'), _) if first == Some(c) => self.held.push(c),
            // The space that may follow the mark of a quote.
            (Some('>'), ' ') => self.held.clear(),
            (Some('>'), _) => {
                self.held.clear();
                self.at_start(c);
            }
            (Some('#'), ' ') => {
                self.held.clear();
                self.is_heading = true;
                self.place = Place::Text;
            }
            (Some('-' | '+' | '*'), ' ') if count == 1 => {
                self.held.clear();
                self.draw(BULLET);
            }
            // A fence within a quote would have to look for the quote's mark in each line.
            (Some(mark @ ('`' | '~')), _) if count >= 3 && !self.is_quote => {
                self.fence = (mark, count);
                self.place = Place::FenceLine;
                self.in_fence_line(c);
            }
            (Some(_), '\n') if is_rule(&self.held) => {
                self.held.clear();
                self.draw(RULE);
                self.end_line();
            }
            _ => {
                self.place = Place::Text;
                self.in_text(c);
            }
        }
    }

    fn quote(&mut self) {
        let dim = Style { is_dim: true, ..Style::default() };
        QUOTE.chars().for_each(|c| self.put(c, dim));
        self.is_quote = true;
        self.held.push('>');
    }

    /// Inlines: what is held is a backslash, a run of one marker, or none of both.
    fn in_text(&mut self, c: char) {
        if self.held == "\\" && c.is_ascii_punctuation() {
            self.held.clear();
            self.put(c, self.style());
        } else if !self.held.is_empty() && self.held != "\\" && self.held.ends_with(c) {
            self.held.push(c);
        } else {
            self.end_of_markers(c);
            match c {
                '\n' => self.end_line(),
                '`' => self.held.push(c),
                '*' | '_' | '\\' if self.code_span.is_none() => self.held.push(c),
                _ => self.put(c, self.style()),
            }
        }
    }

    /// Decides what the held run means, now that it is followed by `next`.
    fn end_of_markers(&mut self, next: char) {
        let run = std::mem::take(&mut self.held);
        let count = run.chars().count();
        let mark = run.chars().next();
        let left = match mark {
            Some('`') => self.code_marks(count, next),
            Some(mark @ ('*' | '_')) if count <= 3 => self.emphasis_marks(mark, count, next),
            _ => count,
        };
        let skipped = count - left;
        run.chars().skip(skipped).for_each(|c| self.put(c, self.style()));
        // Of a marker that went away, its own place counts for the next one.
        self.before = mark.unwrap_or(self.before);
    }

    /// Opens or closes a code span; gives how many marks are mere text.
    fn code_marks(&mut self, count: usize, next: char) -> usize {
        match self.code_span {
            Some(opened) if opened == count => self.code_span = None,
            None if next != '\n' => self.code_span = Some(count),
            _ => return count,
        }
        0
    }

    /// Closes what `mark` has opened, or opens; gives how many marks are mere text.
    fn emphasis_marks(&mut self, mark: char, mut count: usize, next: char) -> usize {
        let is_inside_word = |c: char| match mark {
            // Snake case, in any script.
            '_' => c.is_alphanumeric(),
            // Products and powers; Chinese and Japanese have no spaces around emphasis.
            _ => c.is_ascii_alphanumeric(),
        };
        let begins_word = self.before.is_whitespace() || (mark == '_' && is_inside_word(next));
        if !begins_word {
            if count >= 2 && self.bold == Some(mark) {
                (self.bold, count) = (None, count - 2);
            }
            if count >= 1 && self.italic == Some(mark) {
                (self.italic, count) = (None, count - 1);
            }
        }
        if !next.is_whitespace() && !is_inside_word(self.before) {
            if count >= 2 && self.bold.is_none() {
                (self.bold, count) = (Some(mark), count - 2);
            }
            if count == 1 && self.italic.is_none() {
                (self.italic, count) = (Some(mark), count - 1);
            }
        }
        count
    }

    /// What a fence may carry, a language, is not shown.
    fn in_fence_line(&mut self, c: char) {
        let (mark, _) = self.fence;
        if c == '\n' {
            self.held.clear();
            self.place = Place::CodeStart;
        } else if c == '`' && mark == '`' {
            // A code span that begins with three marks.
            let line = std::mem::take(&mut self.held);
            self.place = Place::Text;
            line.chars().chain([c]).for_each(|c| self.in_text(c));
        } else {
            self.held.push(c);
        }
    }

    fn at_code_start(&mut self, c: char) {
        let (mark, _) = self.fence;
        let is_indent = self.held.trim_start().is_empty();
        if c == '\n' && self.closes_fence() {
            self.held.clear();
            self.place = Place::Start;
        } else if c == mark || (matches!(c, ' ' | '\t') && (is_indent || self.closes_fence())) {
            self.held.push(c);
        } else if c == '\n' && self.held.is_empty() {
            self.end_line();
            self.place = Place::CodeStart;
        } else {
            CODE_INDENT.chars().for_each(|c| self.put(c, Style::default()));
            self.place = Place::Code;
            self.put_held(CODE);
            self.in_code(c);
        }
    }

    fn in_code(&mut self, c: char) {
        if c == '\n' {
            self.end_line();
            self.place = Place::CodeStart;
        } else {
            self.put(c, CODE);
        }
    }

    /// Whether the held line of code consists of as many marks as opened it, or more.
    fn closes_fence(&self) -> bool {
        let (mark, count) = self.fence;
        let line = self.held.trim();
        line.chars().all(|c| c == mark) && line.chars().count() >= count
    }

    /// Styles end with their line, so that a marker without end spoils no more than that.
    fn end_line(&mut self) {
        (self.bold, self.italic, self.code_span) = (None, None, None);
        (self.is_heading, self.is_quote) = (false, false);
        self.put('\n', Style::default());
        self.before = ' ';
        self.place = Place::Start;
    }

    fn style(&self) -> Style {
        Style {
            is_bold: self.is_heading || self.bold.is_some(),
            is_italic: self.italic.is_some(),
            is_code: self.code_span.is_some(),
            is_dim: false,
        }
    }

    fn put_held(&mut self, style: Style) {
        std::mem::take(&mut self.held).chars().for_each(|c| self.put(c, style));
    }

    fn draw(&mut self, text: &str) {
        text.chars().for_each(|c| self.put(c, Style::default()));
    }

    fn put(&mut self, c: char, style: Style) {
        self.switch(style);
        self.out.push(c);
        self.before = c;
    }

    /// Makes the terminal write in a style, by Select Graphic Rendition (ECMA-48, 8.3.117).
    fn switch(&mut self, style: Style) {
        if style == self.shown {
            return;
        }
        if self.shown != Style::default() {
            self.out.push_str("\x1b[0m");
        }
        let Style { is_bold, is_italic, is_code, is_dim } = style;
        let codes = [(is_bold, "1"), (is_dim, "2"), (is_italic, "3"), (is_code, "36")];
        let codes: Vec<&str> =
            codes.into_iter().filter_map(|(on, code)| on.then_some(code)).collect();
        if !codes.is_empty() {
            self.out.push_str(&format!("\x1b[{}m", codes.join(";")));
        }
        self.shown = style;
    }
}

/// Whether a line of this alone is a rule.
fn is_rule(line: &str) -> bool {
    let mark = line.chars().next().filter(|mark| "-*_".contains(*mark));
    mark.is_some_and(|mark| line.chars().all(|c| c == mark) && line.len() >= 3)
}
