//! Where an answer ends.

/// Tokens and texts at which generation stops.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopRules {
    /// Special tokens; the one that stops is part of the generated ids and has no text.
    pub token_ids: Vec<u32>,
    /// Texts; the one that stops is not part of the generated text. Empty ones are ignored.
    pub strings: Vec<String>,
}

/// Lets text through that is certainly not the beginning of a stop string.
#[derive(Debug)]
pub(crate) struct StopFilter<'a> {
    strings: &'a [String],
    /// Text that may yet turn out to begin a stop string.
    held: String,
}

impl<'a> StopFilter<'a> {
    pub(crate) fn new(strings: &'a [String]) -> Self {
        Self { strings, held: String::new() }
    }

    /// Takes the next piece; gives the text that may be shown, and whether a stop string ended it.
    pub(crate) fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        let strings = || self.strings.iter().filter(|string| !string.is_empty());
        if let Some(end) = strings().filter_map(|string| self.held.find(string.as_str())).min() {
            self.held.truncate(end);
            return (std::mem::take(&mut self.held), true);
        }
        let suspect = |start: &usize| {
            strings().any(|string| string.as_bytes().starts_with(&self.held.as_bytes()[*start..]))
        };
        // Offsets of bytes: where a whole suffix begins a stop string, it is a character's beginning.
        let start = (0..self.held.len()).find(suspect).unwrap_or(self.held.len());
        let kept = self.held.split_off(start);
        (std::mem::replace(&mut self.held, kept), false)
    }

    /// The text held back at the end, which began a stop string that never came.
    pub(crate) fn finish(self) -> String {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything shown for these pieces, and whether a stop string ended it.
    fn shown(strings: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let strings: Vec<String> = strings.iter().map(|&string| string.to_owned()).collect();
        let mut filter = StopFilter::new(&strings);
        let mut shown = Vec::new();
        for piece in pieces {
            let (text, stopped) = filter.push(piece);
            shown.push(text);
            if stopped {
                return (shown, true);
            }
        }
        shown.push(filter.finish());
        (shown, false)
    }

    #[test]
    fn a_stop_string_is_never_half_shown() {
        let (texts, stopped) = shown(&["### Human:"], &["Yes.#", "## Hu", "man: why", " not"]);
        assert_eq!((texts.concat().as_str(), stopped), ("Yes.", true));
        assert_eq!(texts, ["Yes.", "", ""]);
    }

    #[test]
    fn what_only_looked_like_one_is_shown_in_full() {
        let (texts, stopped) = shown(&["### Human:"], &["# Title\n##", "# Hum", "mus #"]);
        assert_eq!((texts.concat().as_str(), stopped), ("# Title\n### Hummus #", false));
        assert_eq!(texts[0], "# Title\n", "only the suspect end waits");
    }

    #[test]
    fn the_earliest_of_several_stops() {
        let (texts, stopped) = shown(&["b", "ab", ""], &["xx", "abc"]);
        assert_eq!((texts.concat().as_str(), stopped), ("xx", true));
    }

    #[test]
    fn pieces_stay_whole_characters() {
        // é is C3 A9; ã begins with the same byte.
        let (texts, stopped) = shown(&["é!"], &["ã", "é", "é!"]);
        assert_eq!((texts.concat().as_str(), stopped), ("ãé", true));
    }

    #[test]
    fn without_stop_strings_nothing_waits() {
        assert_eq!(shown(&[], &["a", "b"]).0, ["a", "b", ""]);
    }
}
