//! Against distributions computed by hand.

use super::*;

/// Softmax of these at temperature 1: 0.5, 0.25, 0.15, 0.1.
fn logits() -> Vec<f32> {
    [0.15f32, 0.5, 0.1, 0.25].map(f32::ln).to_vec()
}

fn sampler(change: impl FnOnce(&mut Sampling)) -> Sampler {
    let mut sampling = Sampling::unfiltered(7);
    change(&mut sampling);
    Sampler::new(sampling).unwrap()
}

/// The logits were rounded to f32.
const F32_ROUNDING: f64 = 1e-6;

#[track_caller]
fn check(sampler: &Sampler, context: &[u32], expected: &[(u32, f64)]) {
    let found = sampler.candidates(&logits(), context);
    let ids = |list: &[(u32, f64)]| list.iter().map(|entry| entry.0).collect::<Vec<_>>();
    assert_eq!(ids(&found), ids(expected), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found.1 - expected.1).abs() < F32_ROUNDING, "{found:?} is not {expected:?}");
    }
}

#[test]
fn temperature_one_is_softmax() {
    check(&sampler(|_| ()), &[], &[(1, 0.5), (3, 0.25), (0, 0.15), (2, 0.1)]);
}

#[test]
fn temperature_raises_probabilities_to_its_inverse() {
    // Squares: 0.25, 0.0625, 0.0225, 0.01, whose sum is 0.345.
    let half = sampler(|s| s.temperature = 0.5);
    let expected = [(1, 0.25), (3, 0.0625), (0, 0.0225), (2, 0.01)].map(|(id, p)| (id, p / 0.345));
    check(&half, &[], &expected);
}

#[test]
fn temperature_zero_is_greedy_and_the_smaller_id_wins_a_tie() {
    check(&sampler(|s| s.temperature = 0.0), &[], &[(1, 1.0)]);
    let mut greedy = Sampler::new(Sampling::greedy()).unwrap();
    assert_eq!(greedy.sample(&[1.0, 3.0, 3.0, -1.0], &[]), 1);
}

#[test]
fn a_tiny_temperature_stays_finite() {
    check(&sampler(|s| s.temperature = 1e-300), &[], &[(1, 1.0), (3, 0.0), (0, 0.0), (2, 0.0)]);
}

/// Every value that passes the checks gives probabilities, however odd.
#[test]
fn extreme_settings_stay_finite() {
    for penalty in [f64::MIN_POSITIVE, 5e-324, 1e-300, 1e300, f64::MAX] {
        for temperature in [5e-324, 1.0, f64::MAX] {
            let sampler =
                sampler(|s| (s.temperature, s.repetition_penalty) = (temperature, penalty));
            for logits in [[3e38_f32, -3e38, 2.0, -2.0], [1.0; 4], [-1.0; 4], [0.0; 4]] {
                let found = sampler.candidates(&logits, &[0, 1, 2, 3]);
                let sum: f64 = found.iter().map(|(_, probability)| probability).sum();
                assert!((sum - 1.0).abs() < F32_ROUNDING, "{penalty}, {temperature}: {found:?}");
            }
        }
    }
}

#[test]
fn top_k_keeps_the_k_largest() {
    check(&sampler(|s| s.top_k = 2), &[], &[(1, 2.0 / 3.0), (3, 1.0 / 3.0)]);
    let all = [(1, 0.5), (3, 0.25), (0, 0.15), (2, 0.1)];
    check(&sampler(|s| s.top_k = 4), &[], &all);
    check(&sampler(|s| s.top_k = 1000), &[], &all);
}

#[test]
fn top_p_keeps_the_token_that_reaches_p() {
    check(&sampler(|s| s.top_p = 0.4), &[], &[(1, 1.0)]);
    check(&sampler(|s| s.top_p = 0.6), &[], &[(1, 2.0 / 3.0), (3, 1.0 / 3.0)]);
    check(&sampler(|s| s.top_p = 0.8), &[], &[(1, 0.5 / 0.9), (3, 0.25 / 0.9), (0, 0.15 / 0.9)]);
}

#[test]
fn min_p_is_relative_to_the_most_probable() {
    check(&sampler(|s| s.min_p = 0.4), &[], &[(1, 2.0 / 3.0), (3, 1.0 / 3.0)]);
    check(&sampler(|s| s.min_p = 1.0), &[], &[(1, 1.0)]);
}

#[test]
fn top_p_counts_what_top_k_left() {
    // Of 2/3 and 1/3 the first alone reaches 0.6; of the four it would not.
    let both = sampler(|s| {
        s.top_k = 2;
        s.top_p = 0.6;
    });
    check(&both, &[], &[(1, 1.0)]);
}

#[test]
fn repetition_penalty_weakens_what_was_said_once() {
    // All logits are negative, so they are multiplied: p becomes p², for token 1 only.
    let sum = 0.25 + 0.25 + 0.15 + 0.1;
    let expected = [(1, 0.25), (3, 0.25), (0, 0.15), (2, 0.1)].map(|(id, p)| (id, p / sum));
    let mut found = sampler(|s| s.repetition_penalty = 2.0).candidates(&logits(), &[1, 1, 999]);
    found.sort_by_key(|(id, _)| expected.iter().position(|(other, _)| other == id));
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.0 == expected.0 && (found.1 - expected.1).abs() < F32_ROUNDING);
    }
    let mut greedy = sampler(|s| (s.temperature, s.repetition_penalty) = (0.0, 2.0));
    assert_eq!(greedy.sample(&[3.0, 2.0], &[0]), 1, "3 / 2 is less than 2");
}

#[test]
fn frequencies_follow_the_probabilities() {
    const DRAWS: usize = 10_000;
    let mut sampler = sampler(|_| ());
    let mut counts = [0f64; 4];
    for _ in 0..DRAWS {
        counts[sampler.sample(&logits(), &[]) as usize] += 1.0;
    }
    let chi_square: f64 = [0.15, 0.5, 0.1, 0.25]
        .into_iter()
        .zip(counts)
        .map(|(p, count)| (count - p * DRAWS as f64).powi(2) / (p * DRAWS as f64))
        .sum();
    // The 99.9th percentile for 3 degrees of freedom; the seed makes this one outcome, not a chance.
    assert!(chi_square < 16.27, "{chi_square} for {counts:?}");
}

#[test]
fn a_seed_determines_the_draws() {
    let draws = |seed| {
        let mut sampler = sampler(|s| s.seed = seed);
        (0..50).map(|_| sampler.sample(&logits(), &[])).collect::<Vec<_>>()
    };
    assert_eq!(draws(1), draws(1));
    assert_ne!(draws(1), draws(2));
}

#[test]
fn settings_outside_of_their_range_are_named() {
    for (name, value) in [
        ("temperature", "-1"),
        ("temperature", "NaN"),
        ("temperature", "hot"),
        ("top_k", "-1"),
        ("top_p", "0"),
        ("top_p", "1.5"),
        ("min_p", "-0.1"),
        ("repetition_penalty", "0"),
        ("seed", "1.5"),
        ("colour", "red"),
    ] {
        let mut sampling = Sampling::greedy();
        let error = sampling.set(name, value).unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}`")), "{error}");
        assert_eq!(sampling, Sampling::greedy(), "a refused value changes nothing");
    }
}

#[test]
fn every_listed_setting_can_be_set() {
    for name in Sampling::SETTINGS {
        let mut sampling = Sampling::greedy();
        let value = if ["top_p", "min_p"].contains(&name) { "0.25" } else { "2" };
        sampling.set(name, value).unwrap();
        assert_ne!(sampling, Sampling::greedy(), "{name}");
    }
}
