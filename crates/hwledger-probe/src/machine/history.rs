//! The last few values of what a face draws, in memory that does not grow.

use std::collections::VecDeque;

use super::device::Snapshot;

/// Series that are kept at most: what comes after is not drawn.
pub const SERIES_MAX: usize = 512;

/// One metric of one device, or of the host.
#[derive(Debug)]
struct Series {
    /// None: the host.
    device: Option<String>,
    metric: &'static str,
    values: VecDeque<Option<f64>>,
}

/// Rings of the last values of some metrics. A value that is missing is a gap, not zero.
#[derive(Debug)]
pub struct History {
    metrics: Vec<&'static str>,
    length: usize,
    series: Vec<Series>,
}

impl History {
    /// Keeps the last `length` values of each of `metrics`.
    pub fn new(metrics: &[super::Metric], length: usize) -> Self {
        Self { metrics: metrics.iter().map(|metric| metric.name).collect(), length: length.max(1), series: Vec::new() }
    }

    /// Takes a snapshot's values in.
    pub fn push(&mut self, snapshot: &Snapshot) {
        for index in 0..self.metrics.len() {
            let metric = self.metrics[index];
            self.extend(None, metric, snapshot.host.value(metric));
            for device in &snapshot.devices {
                self.extend(Some(&device.device.id), metric, device.value(metric));
            }
        }
    }

    fn extend(&mut self, device: Option<&str>, metric: &'static str, value: Option<f64>) {
        let position = self.series.iter().position(|one| one.metric == metric && one.device.as_deref() == device);
        let series = match position {
            Some(position) => &mut self.series[position],
            // Metrics that a device never had need no ring.
            None if value.is_none() || self.series.len() >= SERIES_MAX => return,
            None => {
                let values = VecDeque::with_capacity(self.length);
                self.series.push(Series { device: device.map(str::to_owned), metric, values });
                let last = self.series.len() - 1;
                &mut self.series[last]
            }
        };
        if series.values.len() == self.length {
            series.values.pop_front();
        }
        series.values.push_back(value);
    }

    /// The last values of a metric, the oldest first; of the host where no device is named.
    pub fn values(&self, device: Option<&str>, metric: super::Metric) -> Vec<Option<f64>> {
        let series = self.series.iter().find(|one| one.metric == metric.name && one.device.as_deref() == device);
        series.map(|one| one.values.iter().copied().collect()).unwrap_or_default()
    }

    /// Values that are kept now.
    pub fn len(&self) -> usize {
        self.series.iter().map(|series| series.values.len()).sum()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
