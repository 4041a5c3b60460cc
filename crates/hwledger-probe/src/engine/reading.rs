//! From one scrape, or two, to readings under canonical names.

use std::collections::BTreeMap;

use super::histogram::Histogram;
use super::mapping::{CanonicalMetric, Combine, Kind, Mapping, MetricType, Row, canonical_metrics};
use super::scrape::{Engine, Scrape, Series};
use super::source::{Source, Values};
use crate::{Outcome, Reading, Unit};

/// Quantiles of durations.
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)];
/// Longest time between two scrapes of which a rate is told, unless the caller scrapes less often on purpose.
pub const GAP_MAX_S: f64 = 10.0;

/// Readings of a metric, or why it has none.
type Readings = Result<Vec<(Labels, f64, bool, String)>, String>;
type Labels = Vec<(String, String)>;

/// The scrape before, and what may be concluded from it.
#[derive(Debug)]
struct Window<'a> {
    before: &'a Scrape,
    seconds: f64,
    /// The process is another one than before: its counters began at zero.
    is_restarted: bool,
}

/// Reads a scrape; with the one before it, also rates and what happened in between.
#[derive(Debug)]
pub struct Reader<'a> {
    mapping: &'a Mapping,
    engine: &'a Engine,
    scrape: &'a Scrape,
    window: Option<Result<Window<'a>, String>>,
}

impl<'a> Reader<'a> {
    /// A reader of one scrape.
    pub const fn new(mapping: &'a Mapping, engine: &'a Engine, scrape: &'a Scrape) -> Self {
        Self { mapping, engine, scrape, window: None }
    }

    /// Takes the scrape before into account. After more than `gap_max_s` nothing is said of what happened in between: it
    /// would be spread over a time in which nobody looked.
    #[must_use]
    pub fn since(mut self, before: &'a Scrape, gap_max_s: f64) -> Self {
        let passed = self.scrape.monotonic_ns.saturating_sub(before.monotonic_ns);
        let seconds = passed as f64 / 1e9;
        let started = (before.process_start(), self.scrape.process_start());
        let is_restarted = matches!(started, (Some(then), Some(now)) if (then - now).abs() > 0.5);
        self.window = Some(if passed == 0 {
            Err("no time passed between the two scrapes".to_owned())
        } else if seconds > gap_max_s {
            Err(format!("{seconds:.1} s passed since the scrape before, more than {gap_max_s:.1} s"))
        } else {
            Ok(Window { before, seconds, is_restarted })
        });
        self
    }

    /// A reading of every canonical metric: at least one each, with the reason where there is no number.
    pub fn readings(&self) -> Vec<Reading> {
        let metrics = canonical_metrics();
        let mut readings = vec![self.info()];
        for metric in &metrics {
            let counter = metrics.iter().find(|counter| counter.rate == Some(metric.name));
            self.add(metric, counter, &mut readings);
        }
        readings
    }

    /// The engine's version, as a label of a reading that is always 1.
    fn info(&self) -> Reading {
        let version = self.engine.version.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        Reading {
            metric: "hwl_engine_info".to_owned(),
            labels: vec![("version".to_owned(), version)],
            unit: Unit::Flag,
            source: self.scrape.address.clone(),
            taken_at_ns: self.scrape.taken_at_ns,
            outcome: Outcome::Measured { value: 1.0 },
        }
    }

    fn reading(&self, metric: &CanonicalMetric, labels: Labels, source: &str, outcome: Outcome) -> Reading {
        Reading {
            metric: metric.name.to_owned(),
            labels,
            unit: metric.unit,
            source: format!("{} {source}", self.scrape.address).trim_end().to_owned(),
            taken_at_ns: self.scrape.taken_at_ns,
            outcome,
        }
    }

    fn add(&self, metric: &CanonicalMetric, counter: Option<&CanonicalMetric>, readings: &mut Vec<Reading>) {
        let mut reason = None;
        if let Some(counter) = counter {
            match self.first(counter, |row| self.rate(row)) {
                Ok(found) => return self.push(metric, found, readings),
                Err(why) => reason = Some(why),
            }
        }
        match self.first(metric, |row| self.values(row, metric)) {
            Ok(found) => self.push(metric, found, readings),
            Err(why) => {
                // Why there is no rate says more than that the engine has no gauge of it.
                let reason = reason.unwrap_or(why);
                readings.push(self.reading(metric, Vec::new(), "", Outcome::Unsupported { reason }));
            }
        }
    }

    fn push(&self, metric: &CanonicalMetric, found: Vec<(Labels, f64, bool, String)>, readings: &mut Vec<Reading>) {
        for (labels, value, is_measured, source) in found {
            let outcome = if is_measured { Outcome::Measured { value } } else { Outcome::Derived { value } };
            let mut reading = self.reading(metric, labels, &source, outcome);
            if let Some(bound) = reading.labels.iter().find(|(name, _)| name == "bound").map(|(_, bound)| bound.clone())
            {
                reading.metric = format!("{}_bound", metric.name);
                if bound == "high" && value.is_infinite() {
                    let reason = "the quantile lies past the histogram's last bound".to_owned();
                    reading.outcome = Outcome::Unsupported { reason };
                }
            } else if let Some((_, part)) = reading.labels.iter().find(|(name, _)| name == "part") {
                reading.metric = format!("{}_{part}", metric.name);
                reading.unit = if part == "count" { Unit::Count } else { metric.unit };
                reading.labels.retain(|(name, _)| name != "part");
            } else if value.is_nan() {
                let reason = "the quantile lies past the histogram's last bound".to_owned();
                reading.outcome = Outcome::Unsupported { reason };
            }
            readings.push(reading);
        }
    }

    /// What the first row gives that gives anything, or why the most wanted gave nothing.
    fn first(&self, metric: &CanonicalMetric, read: impl Fn(&Row) -> Readings) -> Readings {
        let mut reason = None;
        let version = self.engine.version.as_ref();
        for row in self.mapping.rows(metric.name, &self.engine.name, version) {
            match read(row) {
                Ok(found) => return Ok(found),
                Err(why) => {
                    reason.get_or_insert(why);
                }
            }
        }
        Err(reason.unwrap_or_else(|| {
            let version = version.map(|version| format!(" {version}")).unwrap_or_default();
            format!("{}{version} does not tell it", self.engine.name)
        }))
    }

    fn values(&self, row: &Row, metric: &CanonicalMetric) -> Readings {
        match &row.kind {
            Kind::Absent(reason) => Err(reason.clone()),
            Kind::Gauge(source) | Kind::Counter(source) => {
                let values = source.values(self.scrape)?;
                if matches!(row.kind, Kind::Counter(_)) {
                    check_counter(source, &values)?;
                } else if values.values().any(|value| *value < 0.0) {
                    // SGLang's weights are a difference of free memory, and others use memory too.
                    return Err(format!("`{}` is negative", source.text));
                }
                Ok(combined(row, source, &values, is_statistic(metric).then_some("mean")))
            }
            Kind::Ratio(source) => self.ratio(source, metric),
            Kind::Histogram(source) => self.histogram(source),
            Kind::Same => self.same(metric),
        }
    }

    /// Samples that have our name already, with their labels; of durations also bounds, sums and counts.
    fn same(&self, metric: &CanonicalMetric) -> Readings {
        let mut found = Vec::new();
        for suffix in ["", "_bound", "_sum", "_count"] {
            let name = format!("{}{suffix}", metric.name);
            let samples = self.scrape.metrics().into_iter().flat_map(|metrics| metrics.named(&name));
            for sample in samples.filter(|sample| sample.value.is_finite()) {
                let mut labels = sample.labels.clone();
                if let part @ ("sum" | "count") = suffix.trim_start_matches('_') {
                    labels.push(("part".to_owned(), part.to_owned()));
                }
                found.push((labels, sample.value, true, name.clone()));
            }
        }
        if found.is_empty() { Err(format!("`{}` is not in `/metrics`", metric.name)) } else { Ok(found) }
    }

    fn window(&self) -> Result<&Window<'a>, String> {
        match &self.window {
            None => Err("a rate needs two scrapes".to_owned()),
            Some(Err(reason)) => Err(reason.clone()),
            Some(Ok(window)) => Ok(window),
        }
    }

    /// How much each series counted since the scrape before. One that fell began anew, and all that it has is new; so
    /// has one that was not there.
    fn increases(window: &Window<'_>, now: &Values, then: &Values) -> Values {
        let increase = |(series, value): (&Series, &f64)| {
            let then = then.get(series).copied().filter(|then| !window.is_restarted && then <= value);
            (series.clone(), value - then.unwrap_or(0.0))
        };
        now.iter().map(increase).collect()
    }

    fn rate(&self, row: &Row) -> Readings {
        let Kind::Counter(source) = &row.kind else { return Err("it is no counter".to_owned()) };
        let now = source.values(self.scrape)?;
        let window = self.window()?;
        let then = source.values(window.before)?;
        check_counter(source, &now)?;
        let rates: Values = Self::increases(window, &now, &then)
            .into_iter()
            .map(|(series, increase)| (series, increase / window.seconds))
            .collect();
        let found = combined(row, source, &rates, None);
        let over = format!(" over {:.3} s", window.seconds);
        Ok(found.into_iter().map(|(labels, value, _, text)| (labels, value, false, text + &over)).collect())
    }

    fn ratio(&self, source: &Source, metric: &CanonicalMetric) -> Readings {
        let (above, below) = source.sides(self.scrape)?;
        check_counter(source, &above)?;
        check_counter(source, &below)?;
        let mut found = Vec::new();
        let statistic = is_statistic(metric).then_some("mean");
        let mut add = |above: &Values, below: &Values, over: &str| {
            let (above, below) = (by_model(above), by_model(below));
            for (model, below) in below.into_iter().filter(|(_, below)| *below > 0.0) {
                let Some(above) = above.get(&model) else { continue };
                let labels = labels(model.as_deref(), Some(over), statistic);
                found.push((labels, above / below, false, source.text.clone()));
            }
        };
        add(&above, &below, "lifetime");
        if let Ok(window) = self.window()
            && let Ok((above_then, below_then)) = source.sides(window.before)
        {
            let above = Self::increases(window, &above, &above_then);
            let below = Self::increases(window, &below, &below_then);
            add(&above, &below, "window");
        }
        if found.is_empty() { Err(format!("`{}`: nothing was counted yet", source.text)) } else { Ok(found) }
    }

    fn histogram(&self, source: &Source) -> Readings {
        let name = source.name().ok_or_else(|| "a histogram is one name and nothing else".to_owned())?;
        let now = histograms(name, self.scrape)?;
        let mut found = Vec::new();
        let describe = |model: Option<&str>, over: &str, histogram: &Histogram, found: &mut Vec<_>| {
            let mut add = |value: f64, extra: &[(&str, &str)]| {
                let mut labels = labels(model, Some(over), None);
                labels.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
                found.push((labels, value, false, source.text.clone()));
            };
            if let Some(mean) = histogram.mean() {
                add(mean, &[("statistic", "mean")]);
            }
            for (text, share) in QUANTILES {
                let Some(quantile) = histogram.quantile(share) else { continue };
                add(quantile.value.unwrap_or(f64::NAN), &[("quantile", text)]);
                add(quantile.low, &[("quantile", text), ("bound", "low")]);
                add(quantile.high, &[("quantile", text), ("bound", "high")]);
            }
        };
        for (model, histogram) in merged(&now)? {
            describe(model.as_deref(), "lifetime", &histogram, &mut found);
            for (part, value) in [("sum", histogram.sum), ("count", histogram.count())] {
                let mut labels = labels(model.as_deref(), None, None);
                labels.push(("part".to_owned(), part.to_owned()));
                if value.is_finite() {
                    found.push((labels, value, true, format!("{}_{part}", source.text)));
                }
            }
        }
        if let Ok(window) = self.window()
            && let Ok(then) = histograms(name, window.before)
        {
            let mut recent = BTreeMap::new();
            for (series, histogram) in &now {
                let before = then.get(series).filter(|_| !window.is_restarted);
                let since = before.map_or_else(|| Ok(histogram.clone()), |before| histogram.since(before))?;
                recent.insert(series.clone(), since);
            }
            for (model, histogram) in merged(&recent)? {
                describe(model.as_deref(), "window", &histogram, &mut found);
            }
        }
        let has_observations = found.iter().any(|(labels, ..)| labels.iter().any(|(name, _)| name == "over"));
        if has_observations { Ok(found) } else { Err(format!("`{name}`: nothing was observed yet")) }
    }
}

/// A counter counts from zero upwards.
fn check_counter(source: &Source, values: &Values) -> Result<(), String> {
    let is_count = values.values().all(|value| value.is_finite() && *value >= 0.0);
    if is_count { Ok(()) } else { Err(format!("`{}` is no count", source.text)) }
}

/// Whether a metric's values are statistics of durations, so that a lone number is their mean.
fn is_statistic(metric: &CanonicalMetric) -> bool {
    metric.kind == MetricType::Distribution
}

fn labels(model: Option<&str>, over: Option<&str>, statistic: Option<&str>) -> Labels {
    let pairs = [("model", model), ("over", over), ("statistic", statistic)];
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect()
}

fn by_model(values: &Values) -> BTreeMap<Option<String>, f64> {
    let mut sums = BTreeMap::new();
    for (series, value) in values {
        *sums.entry(series.model.clone()).or_insert(0.0) += value;
    }
    sums
}

/// One value of each model.
fn combined(row: &Row, source: &Source, values: &Values, statistic: Option<&str>) -> Vec<(Labels, f64, bool, String)> {
    let mut models: BTreeMap<Option<&str>, Vec<f64>> = BTreeMap::new();
    for (series, value) in values {
        models.entry(series.model.as_deref()).or_default().push(*value);
    }
    let one = |(model, values): (Option<&str>, Vec<f64>)| {
        let sum: f64 = values.iter().sum();
        let value = match row.combine {
            Combine::Sum => sum,
            Combine::Mean => sum / values.len() as f64,
            Combine::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        };
        let is_measured = source.is_plain() && values.len() == 1;
        (labels(model, None, statistic), value, is_measured, source.text.clone())
    };
    models.into_iter().map(one).collect()
}

/// The histograms of a name, ranks that tell the same taken once.
fn histograms(name: &str, scrape: &Scrape) -> Result<BTreeMap<Series, Histogram>, String> {
    let mut parts: BTreeMap<(Series, String), Histogram> = BTreeMap::new();
    for (series, part, sample) in Source::matching(name, scrape, "_bucket") {
        let bound = sample.label("le").and_then(|text| text.parse::<f64>().ok());
        let bound = bound.ok_or_else(|| format!("`{name}_bucket` has a bound that is no number"))?;
        let buckets = &mut parts.entry((series, part)).or_default().buckets;
        match buckets.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
            Some((_, count)) => *count += sample.value,
            None => buckets.push((bound, sample.value)),
        }
    }
    for (series, part, sample) in Source::matching(name, scrape, "_sum") {
        if let Some(histogram) = parts.get_mut(&(series, part)) {
            histogram.sum += sample.value;
        }
    }
    if parts.is_empty() {
        return Err(match scrape.metrics() {
            Some(_) => format!("`{name}_bucket` is not in `/metrics`"),
            None => scrape.json("/metrics").err().unwrap_or_else(|| "`/metrics` holds no metrics".to_owned()),
        });
    }
    let mut largest: BTreeMap<Series, Histogram> = BTreeMap::new();
    for ((series, _), histogram) in parts {
        let histogram = histogram.checked().map_err(|why| format!("`{name}`: {why}"))?;
        let known = largest.entry(series).or_default();
        if known.buckets.is_empty() || histogram.count() > known.count() {
            *known = histogram;
        }
    }
    Ok(largest)
}

/// One histogram of each model.
fn merged(histograms: &BTreeMap<Series, Histogram>) -> Result<BTreeMap<Option<String>, Histogram>, String> {
    let mut models: BTreeMap<Option<String>, Histogram> = BTreeMap::new();
    for (series, histogram) in histograms {
        let model = models.entry(series.model.clone()).or_default();
        if model.buckets.is_empty() {
            *model = histogram.clone();
        } else {
            model.add(histogram)?;
        }
    }
    Ok(models)
}
