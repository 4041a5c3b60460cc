//! What a row of the mapping says about where a value comes from: sums of products of samples, labels, places in JSON
//! documents and numbers, and one quotient of two such sums.

use std::collections::BTreeMap;

use super::exposition::Sample;
use super::scrape::{Scrape, Series};

/// Labels of ranks that hold parts of one instance, and all tell the same.
const PART_LABELS: [&str; 3] = ["tp_rank", "pp_rank", "moe_ep_rank"];
/// Labels that tell instances apart.
const INSTANCE_LABELS: [&str; 2] = ["engine", "dp_rank"];
/// Labels that name the model.
const MODEL_LABELS: [&str; 2] = ["model_name", "model"];
const TERMS_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq)]
enum Term {
    Number(f64),
    /// A sample, or the number in one of its labels.
    Sample {
        name: String,
        picks: Vec<(String, String)>,
        label: Option<String>,
    },
    Json {
        path: String,
        pointer: Vec<String>,
    },
}

type Sum = Vec<Vec<Term>>;
/// A value of each series.
pub(super) type Values = BTreeMap<Series, f64>;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Source {
    pub(super) text: String,
    numerator: Sum,
    denominator: Option<Sum>,
}

impl Source {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut sides = text.split(" / ");
        let numerator = sum(sides.next().unwrap_or_default())?;
        let denominator = sides.next().map(sum).transpose()?;
        if sides.next().is_some() {
            return Err("it has more than one ` / `".to_owned());
        }
        let is_constant = numerator.iter().flatten().all(|term| matches!(term, Term::Number(_)));
        if is_constant {
            return Err("it names no sample and no document".to_owned());
        }
        Ok(Self { text: text.to_owned(), numerator, denominator })
    }

    pub(super) const fn is_quotient(&self) -> bool {
        self.denominator.is_some()
    }

    /// Whether the value is one that the engine said, and not computed from several.
    pub(super) fn is_plain(&self) -> bool {
        self.denominator.is_none() && self.numerator.len() == 1 && self.numerator[0].len() == 1
    }

    /// The sample's name, where the source is nothing else.
    pub(super) fn name(&self) -> Option<&str> {
        match self.numerator.first()?.first()? {
            Term::Sample { name, label: None, .. } if self.is_plain() => Some(name),
            _ => None,
        }
    }

    /// Paths of the documents that are read.
    pub(super) fn documents(&self) -> impl Iterator<Item = &str> {
        let sums = self.numerator.iter().chain(self.denominator.iter().flatten());
        sums.flatten().filter_map(|term| match term {
            Term::Json { path, .. } => Some(path.as_str()),
            _ => None,
        })
    }

    /// Numerators and denominators of each series; the latter are 1 where there is no quotient.
    pub(super) fn sides(&self, scrape: &Scrape) -> Result<(Values, Values), String> {
        let above = total(&self.numerator, scrape)?;
        let below = match &self.denominator {
            Some(sum) => total(sum, scrape)?,
            None => BTreeMap::from([(Series::default(), 1.0)]),
        };
        Ok((above, below))
    }

    /// The value of each series.
    pub(super) fn values(&self, scrape: &Scrape) -> Result<Values, String> {
        let (above, below) = self.sides(scrape)?;
        let values = joined(&above, &below, |above, below| above / below);
        if values.is_empty() {
            return Err(format!("`{}`: its two sides tell of different series", self.text));
        }
        if values.values().any(|value| !value.is_finite()) {
            return Err(format!("`{}` is no finite number", self.text));
        }
        Ok(values)
    }

    /// The samples that the source names, with the series that each belongs to.
    pub(super) fn matching<'a>(name: &str, scrape: &'a Scrape, suffix: &str) -> Vec<(Series, String, &'a Sample)> {
        let Some(metrics) = scrape.metrics() else { return Vec::new() };
        let is_named = |sample: &&Sample| sample.name.strip_suffix(suffix) == Some(name);
        metrics.samples.iter().filter(is_named).map(|sample| (series(sample), part(sample), sample)).collect()
    }
}

fn sum(text: &str) -> Result<Sum, String> {
    let products = text.split(" + ").map(|product| product.split(" * ").map(term).collect::<Result<Vec<_>, _>>());
    let sum = products.collect::<Result<Sum, _>>()?;
    if sum.iter().map(Vec::len).sum::<usize>() > TERMS_MAX {
        return Err(format!("it has more than {TERMS_MAX} terms"));
    }
    Ok(sum)
}

fn term(text: &str) -> Result<Term, String> {
    let text = text.trim();
    if text.starts_with(|letter: char| letter.is_ascii_digit()) {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        return number.map(Term::Number).ok_or_else(|| format!("`{text}` is no number"));
    }
    if let Some((path, pointer)) = text.split_once('#') {
        let steps = pointer.strip_prefix('/').ok_or_else(|| format!("`{text}` has no `/` after `#`"))?;
        let is_path = path == "response" || path.starts_with('/');
        if !is_path || path.contains(char::is_whitespace) {
            return Err(format!("`{path}` is neither `response` nor a path that begins with `/`"));
        }
        return Ok(Term::Json { path: path.to_owned(), pointer: steps.split('/').map(str::to_owned).collect() });
    }
    let (front, label) = match text.split_once('@') {
        Some((front, label)) => (front, Some(label.to_owned())),
        None => (text, None),
    };
    let (name, picks) = match front.split_once('{') {
        None => (front, Vec::new()),
        Some((name, picks)) => {
            let inner = picks.strip_suffix('}').ok_or_else(|| format!("`{text}` has no closing `}}`"))?;
            let pairs = inner.split(',').map(|pair| pair.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())));
            (name, pairs.collect::<Option<Vec<_>>>().ok_or_else(|| format!("`{inner}` is not `label=value`"))?)
        }
    };
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
    };
    if !is_name(name) || label.as_deref().is_some_and(|label| !is_name(label)) {
        return Err(format!("`{text}` is no metric's name"));
    }
    Ok(Term::Sample { name: name.to_owned(), picks, label })
}

/// A pairing of two sides: what has no series goes with every one.
fn joined(left: &Values, right: &Values, operation: impl Fn(f64, f64) -> f64) -> Values {
    let lone = |values: &Values| {
        let only = values.first_key_value().filter(|(series, _)| values.len() == 1 && **series == Series::default());
        only.map(|(_, value)| *value)
    };
    match (lone(left), lone(right)) {
        (_, Some(right)) => left.iter().map(|(series, left)| (series.clone(), operation(*left, right))).collect(),
        (Some(left), None) => right.iter().map(|(series, right)| (series.clone(), operation(left, *right))).collect(),
        (None, None) => {
            let pairs = left.iter().filter_map(|(series, value)| right.get(series).map(|other| (series, value, other)));
            pairs.map(|(series, left, right)| (series.clone(), operation(*left, *right))).collect()
        }
    }
}

fn total(sum: &Sum, scrape: &Scrape) -> Result<Values, String> {
    let mut total: Option<Values> = None;
    for product in sum {
        let mut values = BTreeMap::from([(Series::default(), 1.0)]);
        for term in product {
            values = joined(&values, &read(term, scrape)?, |left, right| left * right);
        }
        total = Some(match total {
            Some(before) => joined(&before, &values, |left, right| left + right),
            None => values,
        });
    }
    Ok(total.unwrap_or_default())
}

fn read(term: &Term, scrape: &Scrape) -> Result<Values, String> {
    match term {
        Term::Number(number) => Ok(BTreeMap::from([(Series::default(), *number)])),
        Term::Sample { name, picks, label } => sampled(name, picks, label.as_deref(), scrape),
        Term::Json { path, pointer } => {
            let mut values = Values::new();
            for (series, value) in scrape.pointed(path, pointer)? {
                let number = value.as_f64().or_else(|| value.as_bool().map(f64::from));
                values.extend(number.map(|number| (series, number)));
            }
            let is_list = pointer.iter().any(|step| step == "*");
            match values.is_empty() {
                true if is_list => Err(format!("`{path}` lists none with `{}`", pointer.join("/"))),
                true => Err(format!("`{path}` has no number at `/{}`", pointer.join("/"))),
                false => Ok(values),
            }
        }
    }
}

fn sampled(name: &str, picks: &[(String, String)], label: Option<&str>, scrape: &Scrape) -> Result<Values, String> {
    if scrape.metrics().is_none() {
        return Err(scrape.json("/metrics").err().unwrap_or_else(|| "`/metrics` holds no metrics".to_owned()));
    }
    let mut parts: BTreeMap<Series, BTreeMap<String, f64>> = BTreeMap::new();
    for (series, part, sample) in Source::matching(name, scrape, "") {
        // As Prometheus has it, a label that is not there is an empty one.
        let is_picked = picks.iter().all(|(label, value)| sample.label(label).unwrap_or_default() == value);
        let value = match label {
            Some(label) => sample.label(label).and_then(|text| text.parse().ok()),
            None => Some(sample.value),
        };
        if let (true, Some(value)) = (is_picked, value) {
            // What other labels tell apart (why a request ended, for example) is summed.
            *parts.entry(series).or_default().entry(part).or_insert(0.0) += value;
        }
    }
    if parts.is_empty() {
        return Err(match label {
            Some(label) => format!("`{name}` has no number in its label `{label}`"),
            None => format!("`{name}` is not in `/metrics`"),
        });
    }
    let largest = |parts: BTreeMap<String, f64>| parts.into_values().fold(f64::NEG_INFINITY, f64::max);
    Ok(parts.into_iter().map(|(series, parts)| (series, largest(parts))).collect())
}

/// The first of some labels that a sample has.
fn first_label(sample: &Sample, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| sample.label(name)).map(|text| text.chars().take(200).collect())
}

fn series(sample: &Sample) -> Series {
    let instance = first_label(sample, &INSTANCE_LABELS).unwrap_or_default();
    Series { model: first_label(sample, &MODEL_LABELS).filter(|model| !model.is_empty()), instance }
}

fn part(sample: &Sample) -> String {
    let ranks: Vec<&str> = PART_LABELS.iter().map(|name| sample.label(name).unwrap_or_default()).collect();
    ranks.join("/")
}
