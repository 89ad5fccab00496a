//! SentencePiece joins the two neighbours whose join is the piece of the highest score; `tokenizers`
//! wants a list of pairs instead, most urgent first. Here is the way from one to the other and back.
//!
//! The two agree wherever scores differ. Of two joins of equal score SentencePiece takes the leftmost,
//! which no list of pairs expresses; it then has the order of the ids, as in the `tokenizer.json` that
//! transformers makes of Llama's `tokenizer.model`.

use std::collections::{HashMap, HashSet};

use super::vocabulary::{Piece, PieceKind};
use crate::error::TokenizerError;

/// A pair to join.
pub(super) type Merge = (String, String);

/// The longest piece that is cut in all its places. The largest trained vocabularies stay below 128.
const MAX_CUT_BYTES: usize = 512;
/// All pairs together may be so many times as long as all pieces. Llama 2 has 2.1; pieces made to
/// exhaust the memory have hundreds.
const MAX_GROWTH: usize = 32;
/// A vocabulary of a few pieces is within its rights whatever its growth.
const SMALL: usize = 1 << 20;

/// One place where a piece falls apart into two others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Cut {
    /// Id of the whole.
    piece: u32,
    /// Bytes of the left part.
    left: usize,
}

/// All pairs of pieces that make another one, by its score. Only text takes part: no join ever makes
/// a special token or a byte.
///
/// # Errors
/// The pieces fall apart in more ways than those of any trained vocabulary.
pub(super) fn of_scores(pieces: &[Piece]) -> Result<Vec<Merge>, TokenizerError> {
    let mut cuts = cuts(pieces)?;
    let score = |cut: &Cut| pieces[cut.piece as usize].score;
    cuts.sort_by(|a, b| score(b).partial_cmp(&score(a)).expect("no score is NaN"));
    let pair = |cut: Cut| {
        let (left, right) = pieces[cut.piece as usize].text.split_at(cut.left);
        (left.to_owned(), right.to_owned())
    };
    Ok(cuts.into_iter().map(pair).collect())
}

/// Sets the scores of all pieces so that [`of_scores`] gives `merges` again, but for the order of the
/// pairs that make the same piece: 0, -1, -2 and so on, as SentencePiece's trainer does.
///
/// # Errors
/// SentencePiece would make something else of the same pieces.
pub(super) fn to_scores(pieces: &mut [Piece], merges: &[Merge]) -> Result<(), TokenizerError> {
    let ids: HashMap<&str, u32> =
        pieces.iter().zip(0..).map(|(piece, id)| (piece.text.as_str(), id)).collect();
    // An added token may have taken the id, and so the place, of what two pieces make.
    let cut =
        |(rank, (left, right)): (usize, &Merge)| match ids.get((left.clone() + right).as_str()) {
            Some(&piece) => Ok(Cut { piece, left: left.len() }),
            None => Err(TokenizerError::unsupported(
                format!("model.merges[{rank}]"),
                format!("`{left} {right}`"),
                "an added token has the id of the piece that they make",
            )),
        };
    let made: Vec<Cut> = merges.iter().enumerate().map(cut).collect::<Result<_, _>>()?;
    same_pairs(pieces, &made)?;

    let last_rank: HashMap<u32, usize> =
        made.iter().enumerate().map(|(rank, cut)| (cut.piece, rank)).collect();
    let mut score = 0.0;
    let mut end = 0;
    for (rank, cut) in made.iter().enumerate() {
        if rank > end {
            score -= 1.0;
        } else if rank > 0 && made[rank - 1].piece != cut.piece {
            // Pairs that make different pieces by turns: equal scores. transformers 4.45 and later
            // put longer parts first then.
            let chars = |(left, right): &Merge| (left.chars().count(), right.chars().count());
            if chars(&merges[rank - 1]) < chars(&merges[rank]) {
                let (left, right) = &merges[rank];
                return Err(TokenizerError::unsupported(
                    format!("model.merges[{rank}]"),
                    format!("`{left} {right}`"),
                    "SentencePiece joins all pairs that make one piece before those of the next",
                ));
            }
        }
        end = end.max(last_rank[&cut.piece]);
        pieces[cut.piece as usize].score = score;
    }
    for (piece, id) in pieces.iter_mut().zip(0..) {
        if piece.kind == PieceKind::Normal && !last_rank.contains_key(&id) {
            piece.score = score - 1.0;
        }
    }
    Ok(())
}

/// Whether `made` holds every pair that SentencePiece would find.
fn same_pairs(pieces: &[Piece], made: &[Cut]) -> Result<(), TokenizerError> {
    const REMEDY: &str = "in a vocabulary of SentencePiece's kind every pair of pieces that makes \
                          another one is joined, so that this one's text would be cut differently";
    let pair = |cut: &Cut| {
        let (left, right) = pieces[cut.piece as usize].text.split_at(cut.left);
        format!("`{left} {right}`")
    };
    let made_set: HashSet<Cut> = made.iter().copied().collect();
    let wanted = cuts(pieces)?;
    if let Some(missing) = wanted.iter().find(|cut| !made_set.contains(cut)) {
        let value = format!("without {}", pair(missing));
        return Err(TokenizerError::unsupported("model.merges", value, REMEDY));
    }
    let wanted: HashSet<Cut> = wanted.into_iter().collect();
    match made.iter().position(|cut| !wanted.contains(cut)) {
        Some(rank) => {
            let field = format!("model.merges[{rank}]");
            Err(TokenizerError::unsupported(field, pair(&made[rank]), REMEDY))
        }
        None => Ok(()),
    }
}

/// Every cut of a piece into two others, by the id of the piece, then those of the parts.
fn cuts(pieces: &[Piece]) -> Result<Vec<Cut>, TokenizerError> {
    let is_text = |piece: &Piece| piece.kind == PieceKind::Normal && !piece.text.is_empty();
    let ids: HashMap<&str, u32> = (pieces.iter().zip(0..))
        .filter(|(piece, _)| is_text(piece))
        .map(|(piece, id)| (piece.text.as_str(), id))
        .collect();
    let total: usize = ids.keys().map(|text| text.len()).sum();
    let mut budget = total.saturating_mul(MAX_GROWTH).saturating_add(SMALL);
    let mut all = Vec::new();
    let mut of_piece = Vec::new();
    for (piece, id) in pieces.iter().zip(0..) {
        let text = piece.text.as_str();
        if !is_text(piece) {
            continue;
        }
        if text.len() > MAX_CUT_BYTES {
            return Err(TokenizerError::invalid(
                format!("pieces[{id}]"),
                text,
                format!("at most {MAX_CUT_BYTES} bytes long"),
            ));
        }
        of_piece.clear();
        for (left, _) in text.char_indices().skip(1) {
            let (start, rest) = text.split_at(left);
            if let (Some(&start), Some(&rest)) = (ids.get(start), ids.get(rest)) {
                of_piece.push((start, rest, left));
            }
        }
        budget = budget.checked_sub(of_piece.len() * text.len()).ok_or_else(|| {
            let requirement = format!("at most {MAX_GROWTH} times as long as the pieces");
            TokenizerError::invalid("pieces", "a list whose pairs are too long", requirement)
        })?;
        of_piece.sort_unstable();
        all.extend(of_piece.iter().map(|&(.., left)| Cut { piece: id, left }));
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
