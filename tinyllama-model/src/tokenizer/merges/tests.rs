use super::*;

fn pieces(list: &[(&str, f32)]) -> Vec<Piece> {
    let piece = |&(text, score): &(&str, f32)| Piece {
        text: text.to_owned(),
        score,
        kind: PieceKind::Normal,
    };
    list.iter().map(piece).collect()
}

fn lines(merges: &[Merge]) -> Vec<String> {
    merges.iter().map(|(left, right)| format!("{left} {right}")).collect()
}

fn merges(lines: &[&str]) -> Vec<Merge> {
    let merge = |line: &&str| {
        let (left, right) = line.split_once(' ').unwrap();
        (left.to_owned(), right.to_owned())
    };
    lines.iter().map(merge).collect()
}

const LIST: [(&str, f32); 6] =
    [("a", 0.0), ("b", 0.0), ("abab", -3.0), ("ab", -1.0), ("aba", -2.0), ("ba", -2.0)];

#[test]
fn higher_scores_come_first_and_equal_ones_by_id() {
    let found = of_scores(&pieces(&LIST)).unwrap();
    assert_eq!(lines(&found), ["a b", "a ba", "ab a", "b a", "ab ab", "aba b"]);
}

#[test]
fn only_text_is_joined() {
    for kind in [
        PieceKind::Unknown,
        PieceKind::Control,
        PieceKind::UserDefined,
        PieceKind::Unused,
        PieceKind::Byte,
    ] {
        let mut list = pieces(&LIST);
        list[3].kind = kind;
        assert_eq!(lines(&of_scores(&list).unwrap()), ["a ba", "b a", "aba b"]);
    }
}

#[test]
fn scores_come_back() {
    // "aba" and "ba" make their pairs by turns, as equal scores do, the longer parts first.
    for (given, expected) in [
        (["a b", "ab a", "a ba", "b a", "aba b", "ab ab"], [-4.0, -4.0, -3.0, 0.0, -1.0, -2.0]),
        (["b a", "a b", "a ba", "ab a", "ab ab", "aba b"], [-4.0, -4.0, -3.0, -1.0, -2.0, 0.0]),
    ] {
        let mut list = pieces(&LIST);
        to_scores(&mut list, &merges(&given)).unwrap();
        let scores: Vec<f32> = list.iter().map(|piece| piece.score).collect();
        assert_eq!(scores, expected);
    }
    // Longer parts first, by turns: the scores were equal.
    let mut list = pieces(&[("a", 0.), ("aa", 0.), ("aaa", 0.), ("aaaa", 0.)]);
    let given = merges(&["aaa a", "aa aa", "aa a", "a aaa", "a aa", "a a"]);
    to_scores(&mut list, &given).unwrap();
    assert!(list[2].score == list[3].score && list[1].score < list[2].score, "{list:?}");
    assert_eq!(list[0].score, list[1].score - 1.0);
}

#[test]
fn what_sentencepiece_would_do_otherwise_is_refused() {
    for (given, expected) in [
        (&["a b", "a ba", "ab a", "b a", "ab ab"][..], "without `aba b`"),
        (&["a b", "a ba", "ab a", "b a", "ab ab", "aba b", "b ab"][..], "`b ab`"),
        (&["a b", "a ba", "b a", "ab a", "ab ab", "aba b"][..], "joins all pairs"),
    ] {
        let mut list = pieces(&LIST);
        list.extend(pieces(&[("x", 0.0), ("bab", 0.0)]));
        list[7].kind = PieceKind::Control;
        let error = to_scores(&mut list, &merges(given)).unwrap_err().to_string();
        assert!(error.contains("model.merges") && error.contains(expected), "{error}");
    }
}

/// All pairs of 1,000 runs of one letter would need hundreds of megabytes.
#[test]
fn pieces_that_fall_apart_everywhere_are_refused() {
    let list: Vec<Piece> = (1..=500)
        .flat_map(|len| ["a", "b"].map(|letter| (letter.repeat(len), -(len as f32))))
        .map(|(text, score)| Piece { text, score, kind: PieceKind::Normal })
        .collect();
    let error = of_scores(&list).unwrap_err().to_string();
    assert!(error.starts_with("`pieces`") && error.contains("32 times"), "{error}");
    assert_eq!(of_scores(&list[..40]).unwrap().len(), 2 * 190);
    let long = Piece { text: "é".repeat(257), score: 0.0, kind: PieceKind::Normal };
    let error = of_scores(&[long]).unwrap_err().to_string();
    assert!(error.starts_with("`pieces[0]`") && error.contains("512"), "{error}");
}
