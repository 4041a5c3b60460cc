use super::*;
use crate::{Basis, Estimate};

/// A small generator: tests must not depend on anybody's library or clock.
struct Random(u64);

impl Random {
    /// Uniform on (0, 1), by `SplitMix64`.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + 1e-17
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Student's t with three degrees of freedom: its fourth moment does not exist.
    fn heavy(&mut self) -> f64 {
        let squares: f64 = (0..3).map(|_| self.normal().powi(2)).sum();
        self.normal() / (squares / 3.0).sqrt()
    }
}

fn key(engine: &str, device: &str, version: &str) -> Key {
    Key {
        engine: Some(engine.to_owned()),
        device: Some(device.to_owned()),
        backend: Some("CUDA".to_owned()),
        quantisation: Some("Q4_K_M".to_owned()),
        architecture: Some("llama".to_owned()),
        engine_version: Some(version.to_owned()),
        ..Key::root(Figure::DecodeTokensPerS)
    }
}

fn subject(workload: &str) -> Subject {
    Subject { model: "llama-3.1-8b".to_owned(), workload: workload.to_owned() }
}

fn sample(key: &Key, ratio: f64) -> Sample {
    Sample {
        key: key.clone(),
        subject: subject("tg128"),
        is_own: false,
        predicted: 100.0,
        measured: 100.0 * ratio,
        spread: None,
        weight: 1.0,
        share_left: None,
        place: String::new(),
    }
}

fn samples(key: &Key, ratios: &[f64]) -> Vec<Sample> {
    ratios.iter().map(|ratio| sample(key, *ratio)).collect()
}

const FORMULA: Estimate<f64> = Estimate { value: 50.0, low: 40.0, high: 60.0, basis: Basis::Formula };

#[test]
fn nothing_measured_changes_nothing() {
    let calibrated = Calibration::default().apply(&key("vllm", "H100", "1"), FORMULA);
    assert_eq!(calibrated, Calibrated::unchanged(FORMULA));
    assert_eq!(calibrated.calibrated.basis, Basis::Formula);
    // Another figure's samples say nothing either.
    let other = Key { figure: Figure::TtftMs, ..key("vllm", "H100", "1") };
    let calibration = Calibration::new(samples(&other, &[0.5; 20]));
    assert_eq!(calibration.apply(&key("vllm", "H100", "1"), FORMULA).key_used, None);
}

#[test]
fn many_runs_of_a_key_decide_it() {
    let key = key("llama.cpp", "RTX 3090", "5000");
    let calibration = Calibration::new(samples(&key, &[0.8; 40]));
    let result = calibration.apply(&key, FORMULA);
    assert_eq!(result.calibrated.basis, Basis::Calibrated);
    assert_eq!(result.key_used.as_ref(), Some(&key));
    assert_eq!(result.samples, 40);
    assert!((result.calibrated.value - 40.0).abs() < 1.0, "{result:?}");
    assert!(result.calibrated.low <= 40.0 && result.calibrated.high >= 40.0, "{result:?}");
}

#[test]
fn one_run_moves_the_figure_less_than_many() {
    let key = key("llama.cpp", "RTX 3090", "5000");
    let value = |count| Calibration::new(samples(&key, &vec![0.5; count])).apply(&key, FORMULA).calibrated.value;
    let values: Vec<f64> = [1, 2, 5, 20, 80].into_iter().map(value).collect();
    assert!(values.is_sorted_by(|a, b| a > b), "{values:?}");
    assert!(values[0] < 50.0 && values[0] > 35.0, "{values:?}");
    assert!(values[4] < 26.0, "{values:?}");
    // One run says too little about its own spread: the interval is the formula's or wider.
    let one = Calibration::new(samples(&key, &[0.5])).apply(&key, FORMULA).calibrated;
    assert!(one.high / one.value >= 1.2 && one.value / one.low >= 1.25, "{one:?}");
}

#[test]
fn a_key_is_never_drowned_by_others() {
    let mine = key("llama.cpp", "RTX 3090", "5000");
    for own in [1_usize, 3, 10] {
        let alone = Calibration::new(samples(&mine, &vec![0.5; own])).apply(&mine, FORMULA).calibrated.value;
        for others in [1, 10, 1000] {
            let mut all = samples(&mine, &vec![0.5; own]);
            all.extend(samples(&key("llama.cpp", "RTX 4090", "5000"), &vec![2.0; others]));
            let value = Calibration::new(all).apply(&mine, FORMULA).calibrated.value;
            // At most PSEUDO_COUNT runs' worth of foreign opinion.
            let foreign = 3.0 / (own as f64 + 3.0) * 2.0_f64.ln();
            let bound = alone * foreign.exp() * 1.001;
            assert!(value >= alone && value <= bound, "{own} own, {others} others: {alone} {value} {bound}");
        }
    }
}

#[test]
fn a_new_key_is_corrected_by_its_nearest_kin() {
    let mut all = samples(&key("llama.cpp", "RTX 3090", "5000"), &[0.7; 12]);
    all.extend(samples(&key("vllm", "RTX 3090", "0.10"), &[1.4; 12]));
    let calibration = Calibration::new(all);
    let newer = key("llama.cpp", "RTX 3090", "6000");
    let result = calibration.apply(&newer, FORMULA);
    assert_eq!(result.key_used, newer.parent());
    assert!(result.calibrated.value < 46.0, "{result:?}");
    let unknown = key("sglang", "H200", "1");
    assert_eq!(calibration.apply(&unknown, FORMULA).key_used, Some(Key::root(Figure::DecodeTokensPerS)));
}

#[test]
fn runs_of_other_lengths_speak_only_where_there_are_none_of_these() {
    let with = |class: &str| Key { workload: Some(class.to_owned()), ..key("llama.cpp", "RTX 3090", "5000") };
    let mut all = samples(&with("prompt 1-3"), &[0.25; 30]);
    all.extend(samples(&with("prompt 256-1023"), &[1.0; 30]));
    let calibration = Calibration::new(all);
    let value = |class: &str| calibration.apply(&with(class), FORMULA).calibrated;
    assert!(value("prompt 1-3").value < 15.0 && value("prompt 256-1023").value > 45.0);
    let between = value("prompt 16-63");
    assert!(between.low < 14.0 && between.high > 45.0, "it may be like either: {between:?}");
    let key = with("prompt 16-63");
    let version_dropped = key.parent().unwrap();
    assert_eq!((&version_dropped.engine_version, &version_dropped.workload), (&None, &key.workload));
    assert_eq!(version_dropped.parent().unwrap().workload, None);
}

#[test]
fn one_busy_device_does_not_speak_for_all() {
    let mut all = samples(&key("vllm", "A", "1"), &[0.5; 500]);
    for device in ["B", "C", "D", "E", "F", "G"] {
        all.extend(samples(&key("vllm", device, "1"), &[1.0]));
    }
    let result = Calibration::new(all).apply(&key("vllm", "Z", "1"), FORMULA);
    assert!(result.calibrated.value > 45.0, "{result:?}");
    assert!(result.calibrated.low <= 25.0, "the interval must reach device A: {result:?}");
}

/// How often the truth of a fresh run lies in the interval, over many stores of `count` runs.
fn coverage(count: usize, seed: u64, mut noise: impl FnMut(&mut Random) -> f64) -> f64 {
    let mut random = Random(seed);
    let key = key("llama.cpp", "RTX 3090", "5000");
    let trials = 300;
    let held = (0..trials)
        .filter(|_| {
            let runs: Vec<Sample> = (0..count).map(|_| sample(&key, noise(&mut random).exp())).collect();
            let estimate = Calibration::new(runs).apply(&key, FORMULA).calibrated;
            let truth = FORMULA.value * noise(&mut random).exp();
            estimate.low <= truth && truth <= estimate.high
        })
        .count();
    held as f64 / f64::from(trials)
}

#[test]
fn nine_in_ten_of_log_normal_runs_are_held() {
    for (count, seed) in [(10, 1), (20, 2), (40, 3)] {
        let held = coverage(count, seed, |random| -0.3 + 0.2 * random.normal());
        assert!((0.86..=0.97).contains(&held), "{count}: {held}");
    }
}

#[test]
fn nine_in_ten_of_heavy_tailed_runs_are_held() {
    for (count, seed) in [(10, 4), (20, 5), (40, 6)] {
        let held = coverage(count, seed, |random| 0.2 + 0.1 * random.heavy());
        assert!((0.86..=0.97).contains(&held), "{count}: {held}");
    }
}

#[test]
fn samples_about_nothing_are_left_out() {
    let key = key("vllm", "H100", "1");
    let odd = [f64::NAN, f64::INFINITY, 0.0, -1.0];
    let mut all: Vec<Sample> = odd.iter().map(|measured| Sample { measured: *measured, ..sample(&key, 1.0) }).collect();
    all.extend(odd.iter().map(|predicted| Sample { predicted: *predicted, ..sample(&key, 1.0) }));
    all.extend(odd.iter().map(|weight| Sample { weight: *weight, ..sample(&key, 1.0) }));
    all.push(Sample { predicted: f64::MIN_POSITIVE, measured: f64::MAX, ..sample(&key, 1.0) });
    assert!(Calibration::new(all).is_empty());
    let calibration = Calibration::new(samples(&key, &[1.0]));
    for value in odd {
        let formula = Estimate { value, low: value, high: value, basis: Basis::Formula };
        assert_eq!(calibration.apply(&key, formula).key_used, None);
    }
}

#[test]
fn the_very_same_run_is_the_answer() {
    let key = key("llama.cpp", "RTX 3090", "5000");
    let own = Sample { is_own: true, spread: Some(0.01), ..sample(&key, 0.6) };
    let calibration = Calibration::new([own.clone(), sample(&key, 0.9)]);
    let result = calibration.apply_to(&key, &subject("tg128"), FORMULA);
    assert_eq!(result.calibrated.basis, Basis::Measured);
    assert!((result.calibrated.value - 60.0).abs() < 1e-9, "what was measured, not what is predicted: {result:?}");
    assert!(result.calibrated.high < 61.5, "{result:?}");
    for other in ["tg256", "tg128 @ d4096"] {
        let result = calibration.apply_to(&key, &subject(other), FORMULA);
        assert_eq!(result.calibrated.basis, Basis::Calibrated, "{other}");
    }
    let elsewhere = Calibration::new([Sample { is_own: false, ..own }]);
    assert_eq!(elsewhere.apply_to(&key, &subject("tg128"), FORMULA).calibrated.basis, Basis::Calibrated);
}

#[test]
fn residuals_never_see_their_own_sample() {
    let key = key("vllm", "H100", "1");
    let calibration = Calibration::new(samples(&key, &[0.5]));
    let residuals = calibration.residuals(None);
    assert_eq!(residuals.len(), 1);
    assert!((residuals[0].after - residuals[0].before).abs() < 1e-12);
    let calibration = Calibration::new(samples(&key, &[0.5; 30]));
    assert!(calibration.residuals(Some(Figure::DecodeTokensPerS)).iter().all(|residual| residual.after.abs() < 0.1));
    assert!(calibration.residuals(Some(Figure::TtftMs)).is_empty());
}

#[test]
fn order_does_not_matter() {
    let mut random = Random(9);
    let mut all: Vec<Sample> = ["A", "B", "C"]
        .iter()
        .flat_map(|device| (0..30).map(|_| key("vllm", device, "1")).collect::<Vec<_>>())
        .map(|key| sample(&key, (0.3 * random.normal()).exp()))
        .collect();
    let forward = Calibration::new(all.clone()).correction(&key("vllm", "A", "2")).unwrap();
    all.reverse();
    let backward = Calibration::new(all).correction(&key("vllm", "A", "2")).unwrap();
    assert!((forward.location - backward.location).abs() < 1e-12);
    assert_eq!(forward.samples, backward.samples);
}

#[test]
fn a_slower_release_raises_an_alarm() {
    let old: Vec<Sample> = samples(&key("llama.cpp", "RTX 3090", "5000"), &[0.99, 1.0, 1.01, 1.02, 0.98, 1.0]);
    let slower = samples(&key("llama.cpp", "RTX 3090", "6000"), &[0.80, 0.81, 0.79, 0.82]);
    let alarms = drifts(&old, &slower);
    assert_eq!(alarms.len(), 1);
    assert!((alarms[0].change - 0.805).abs() < 0.01, "{alarms:?}");
    assert_eq!(alarms[0].versions_before, ["5000"]);
    assert_eq!((alarms[0].runs_before, alarms[0].runs_after), (6, 4));
    let same = samples(&key("llama.cpp", "RTX 3090", "6000"), &[0.99, 1.01, 1.0, 1.02]);
    assert!(drifts(&old, &same).is_empty());
    assert!(drifts(&old, &slower[..3]).is_empty(), "three runs say too little");
    let elsewhere = samples(&key("llama.cpp", "RTX 4090", "6000"), &[0.5; 8]);
    assert!(drifts(&old, &elsewhere).is_empty());
}

/// A run on a machine whose rate by itself is `truth`, of which others leave `share`: they slow it by a power of that
/// share which differs from run to run.
fn run_beside_others(key: &Key, truth: f64, share: f64, random: &mut Random) -> Sample {
    let slowed = share.powf(0.8 + 0.6 * random.uniform());
    let measured = truth * slowed * (0.04 * random.normal()).exp();
    Sample { measured, share_left: Some(share), ..sample(key, 1.0) }
}

/// Learns from runs that had the machine nearly alone, and predicts ones that others run beside: the share of these within
/// their intervals, and the median of their errors, where the shares are used and where they are not.
fn beside_others(seed: u64) -> ([f64; 2], [f64; 2]) {
    let mut random = Random(seed);
    let key = key("hwledger", "this machine", "1");
    let (mut held, mut errors) = ([0.0; 2], [Vec::new(), Vec::new()]);
    let trials = 400;
    for _ in 0..trials {
        let truth = 100.0 * (0.3 * random.normal()).exp();
        let runs: Vec<Sample> = (0..20)
            .map(|number| {
                let share = if number % 5 == 0 { 0.6 + 0.35 * random.uniform() } else { 1.0 - 0.03 * random.uniform() };
                run_beside_others(&key, truth, share, &mut random)
            })
            .collect();
        let share = 0.4 + 0.5 * random.uniform();
        let fresh = run_beside_others(&key, truth, share, &mut random).measured;
        // What the others will take is known only nearly when the prediction is made.
        let expected = (share * (0.1 * random.normal()).exp()).min(1.0);
        let formula = Estimate { value: 100.0, low: 50.0, high: 200.0, basis: Basis::Formula };
        let blind: Vec<Sample> = runs.iter().map(|run| Sample { share_left: None, ..run.clone() }).collect();
        let told = Calibration::new(runs).apply(&key, formula).calibrated;
        let told = under_load(Figure::DecodeTokensPerS, told, expected);
        for (place, estimate) in [told, Calibration::new(blind).apply(&key, formula).calibrated].iter().enumerate() {
            held[place] += f64::from(u8::from((estimate.low..=estimate.high).contains(&fresh))) / f64::from(trials);
            errors[place].push((fresh / estimate.value).ln().abs());
        }
    }
    let median = |mut errors: Vec<f64>| {
        errors.sort_by(f64::total_cmp);
        errors[errors.len() / 2]
    };
    (held, errors.map(median))
}

#[test]
fn intervals_hold_beside_others_where_it_is_known_what_they_take() {
    for seed in [1, 2] {
        let (held, errors) = beside_others(seed);
        assert!(held[0] >= 0.9 && held[1] < 0.8, "{seed}: {held:?}");
        assert!(errors[0] < 0.15 && errors[0] < errors[1] / 2.0, "{seed}: {errors:?}");
    }
}

#[test]
fn what_is_learnt_is_the_machine_by_itself() {
    let rate = key("hwledger", "this machine", "1");
    let time = Key { figure: Figure::TpotMs, ..rate.clone() };
    let bytes = Key { figure: Figure::WeightsBytes, ..rate.clone() };
    for (key, ratio, expected) in [(&rate, 0.5, 1.0), (&time, 2.0, 1.0), (&bytes, 2.0, 2.0)] {
        let half = Sample { share_left: Some(0.5), ..sample(key, ratio) };
        let calibration = Calibration::new(vec![half.clone(); 40]);
        let value = calibration.apply(key, FORMULA).calibrated.value;
        assert!((value / (FORMULA.value * expected) - 1.0).abs() < 0.1, "{key}: {value}");
        let own = Calibration::new([Sample { is_own: true, ..half }]);
        let value = own.apply_to(key, &subject("tg128"), FORMULA).calibrated.value;
        assert!((value - 100.0 * expected).abs() < 1e-9, "{key}: {value}");
    }
    // A run that had the machine alone counts more than one that had a tenth of it.
    let alone = sample(&rate, 1.0);
    let crowded = Sample { share_left: Some(0.1), ..sample(&rate, 0.2) };
    let both = Calibration::new([vec![alone; 5], vec![crowded; 5]].concat()).correction(&rate).unwrap();
    assert!(both.location.abs() < 0.01, "{both:?}");
    for share in [0.0, -1.0, 1.5, f64::NAN] {
        assert!(!Sample { share_left: Some(share), ..sample(&rate, 1.0) }.is_sound());
        assert_eq!(under_load(Figure::TpotMs, FORMULA, share), FORMULA);
    }
    let slower = under_load(Figure::TpotMs, FORMULA, 0.5);
    assert_eq!((slower.low, slower.value, slower.high), (40.0, 100.0, 240.0));
}
