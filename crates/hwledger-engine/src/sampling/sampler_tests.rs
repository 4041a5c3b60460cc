use super::candidates::Candidates;
use super::*;

fn sampler(change: impl FnOnce(&mut SamplingSettings)) -> Sampler {
    let mut settings = SamplingSettings { temperature: 1.0, ..SamplingSettings::default() };
    change(&mut settings);
    Sampler::new(settings).unwrap()
}

fn logits(seed: u64, count: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    #[expect(clippy::cast_possible_truncation, reason = "test data")]
    (0..count).map(|_| (random.fraction() * 12.0 - 6.0) as f32).collect()
}

fn tokens(sampler: &mut Sampler, logits: &[f32], count: usize) -> Vec<u32> {
    (0..count).map(|_| sampler.sample(&mut logits.to_vec(), History::default()).unwrap().token).collect()
}

#[test]
fn greedy_takes_the_likeliest_and_the_lowest_of_equals() {
    let settings = SamplingSettings { logprobs: Some(0), ..SamplingSettings::default() };
    let mut greedy = Sampler::new(settings).unwrap();
    let choice = greedy.sample(&mut [1.0, 3.0, 3.0, -1.0], History::default()).unwrap();
    assert_eq!(choice.token, 1);
    let expected = 3.0 - (1_f32.exp() + 2.0 * 3_f32.exp() + (-1_f32).exp()).ln();
    assert!((choice.logprob.unwrap() - expected).abs() < 1e-6, "{choice:?}");
    assert_eq!(choice.top, []);
    // Wherever they lie in a vocabulary.
    let mut greedy = Sampler::new(SamplingSettings::default()).unwrap();
    for length in [1, 15, 16, 17, 255, 256, 257, 1000] {
        for place in [0, length / 3, length - 1] {
            let mut logits = vec![-2.0; length];
            logits[place] = -1.0;
            logits[(place + 300).min(length - 1)] = -1.0;
            let choice = greedy.sample(&mut logits, History::default()).unwrap();
            assert_eq!((choice.token as usize, choice.logprob), (place, None), "{length}");
        }
    }
}

#[test]
fn the_likeliest_are_those_of_a_full_sort() {
    for seed in 0..40 {
        // Few different values, so that many are equal.
        let mut logits = logits(seed, 1000);
        if seed % 2 == 0 {
            for logit in &mut logits {
                *logit = logit.round();
            }
        }
        logits[77] = f32::NEG_INFINITY;
        let all: Vec<u32> = Candidates::new(&logits, 0).list.iter().map(|candidate| candidate.token).collect();
        assert_eq!(all.len(), 999);
        for top_k in [1, 2, 40, 64, 65, 500, 999, 5000] {
            let kept = Candidates::new(&logits, top_k);
            let kept: Vec<u32> = kept.list.iter().map(|candidate| candidate.token).collect();
            assert_eq!(kept, all[..top_k.min(999)], "{top_k} of seed {seed}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_tokens() {
    let logits = logits(1, 500);
    let draw = |seed| tokens(&mut sampler(|settings| settings.seed = seed), &logits, 100);
    assert_eq!(draw(5), draw(5));
    assert_ne!(draw(5), draw(6));
}

#[test]
fn probabilities_sum_to_one_and_filters_only_remove() {
    for seed in 0..50 {
        let logits = logits(seed, 300);
        let check = |candidates: &Candidates, name: &str| {
            let sum: f64 = candidates.list.iter().map(|candidate| candidate.probability).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{name}: {sum}");
            assert!(candidates.list.windows(2).all(|pair| pair[0].logit >= pair[1].logit), "{name}");
        };
        let mut candidates = Candidates::new(&logits, 40);
        assert_eq!(candidates.list.len(), 40);
        check(&candidates, "top_k");
        let mut sorted = logits.clone();
        sorted.sort_by(|left, right| right.total_cmp(left));
        let kept: Vec<f32> = candidates.list.iter().map(|candidate| candidate.logit).collect();
        assert_eq!(kept, sorted[..40]);
        candidates.top_p(0.9);
        check(&candidates, "top_p");
        let before = candidates.list.len();
        candidates.min_p(0.05);
        check(&candidates, "min_p");
        candidates.typical_p(0.8);
        check(&candidates, "typical_p");
        assert!(before < 40 && candidates.list.len() <= before && !candidates.list.is_empty());
    }
}

/// Pearson's chi-square over 16 tokens: beyond 37.7 with probability 0.001 (15 degrees of freedom).
#[test]
fn tokens_are_drawn_as_often_as_their_probabilities_say() {
    let logits: Vec<f32> = (0_u8..16).map(|place| f32::from(place) * 0.2).collect();
    let draws = 200_000;
    let mut counts = [0_u32; 16];
    for token in tokens(&mut sampler(|settings| settings.temperature = 0.7), &logits, draws) {
        counts[token as usize] += 1;
    }
    let weights: Vec<f64> = logits.iter().map(|&logit| (f64::from(logit) / 0.7).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let statistic: f64 = weights
        .iter()
        .zip(counts)
        .map(|(weight, count)| {
            let expected = weight / sum * draws as f64;
            (f64::from(count) - expected).powi(2) / expected
        })
        .sum();
    assert!(statistic < 37.7, "{statistic}: {counts:?}");
}

#[test]
#[expect(clippy::float_cmp, reason = "penalties of halves are exact")]
fn each_setting_does_what_it_says() {
    let flat = vec![0.0; 8];
    let only = |change: fn(&mut SamplingSettings), history: History<'_>, logits: &[f32]| {
        let mut sampler = sampler(change);
        let mut found: Vec<u32> =
            (0..200).map(|_| sampler.sample(&mut logits.to_vec(), history).unwrap().token).collect();
        found.sort_unstable();
        found.dedup();
        found
    };
    let none = History::default();
    assert_eq!(only(|settings| settings.top_k = 3, none, &flat), [0, 1, 2]);
    assert_eq!(only(|settings| settings.top_p = 0.5, none, &flat), [0, 1, 2, 3]);
    assert_eq!(only(|settings| settings.min_p = 0.5, none, &[2.0, 1.9, 1.0, 0.0]), [0, 1]);
    assert_eq!(only(|settings| settings.logit_bias = vec![(3, 60.0)], none, &flat), [3]);
    assert_eq!(only(|settings| settings.logit_bias = vec![(0, f32::NEG_INFINITY)], none, &[9.0, 1.0]), [1]);
    assert_eq!(only(|settings| settings.temperature = 1e-30, none, &[1.0, 3e10, 2.0]), [1]);
    let history = History { prompt: &[0], generated: &[1, 1, 2] };
    let penalised = |change: fn(&mut SamplingSettings)| {
        let mut sampler = sampler(change);
        let mut logits = [2.0, 2.0, 2.0, 2.0, -2.0];
        sampler.sample(&mut logits, history).unwrap();
        logits
    };
    assert_eq!(penalised(|settings| settings.repetition_penalty = 2.0), [1.0, 1.0, 1.0, 2.0, -2.0]);
    assert_eq!(penalised(|settings| settings.presence_penalty = 0.5), [2.0, 1.5, 1.5, 2.0, -2.0]);
    assert_eq!(penalised(|settings| settings.frequency_penalty = 0.5), [2.0, 1.0, 1.5, 2.0, -2.0]);
    let narrow = |settings: &mut SamplingSettings| {
        settings.repetition_penalty = 2.0;
        settings.repetition_window = 1;
    };
    assert_eq!(penalised(narrow), [2.0, 2.0, 1.0, 2.0, -2.0]);
}

#[test]
fn likeliest_tokens_are_listed_as_the_model_gave_them() {
    let mut sampler = sampler(|settings| {
        settings.logprobs = Some(2);
        settings.logit_bias = vec![(2, 50.0)];
    });
    let choice = sampler.sample(&mut [0.0, 1.0, -1.0], History::default()).unwrap();
    assert_eq!(choice.token, 2);
    assert_eq!(choice.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [1, 0]);
    assert!(choice.logprob.unwrap() < choice.top[1].1 && choice.top[1].1 < choice.top[0].1);
}

#[test]
fn what_is_wrong_is_an_error() {
    let mut any = sampler(|_| ());
    let error = any.sample(&mut [0.0, f32::NAN], History::default()).unwrap_err();
    assert_eq!(error.to_string(), "the logit of token 1 is NaN");
    let error = any.sample(&mut [f32::NEG_INFINITY; 3], History::default()).unwrap_err();
    assert_eq!(error, SamplingError::NoToken);
    assert_eq!(any.sample(&mut [], History::default()).unwrap_err(), SamplingError::NoToken);
    let wrong = [
        SamplingSettings { top_p: 0.0, ..SamplingSettings::default() },
        SamplingSettings { temperature: f32::NAN, ..SamplingSettings::default() },
        SamplingSettings { repetition_penalty: 0.0, ..SamplingSettings::default() },
        SamplingSettings { min_p: 1.5, ..SamplingSettings::default() },
        SamplingSettings { logit_bias: vec![(0, f32::INFINITY)], ..SamplingSettings::default() },
    ];
    for settings in wrong {
        assert!(matches!(Sampler::new(settings), Err(SamplingError::Setting { .. })));
    }
    let mut biased = sampler(|settings| settings.logit_bias = vec![(9, 1.0)]);
    assert!(matches!(biased.sample(&mut [0.0], History::default()), Err(SamplingError::Bias { token: 9, tokens: 1 })));
}
