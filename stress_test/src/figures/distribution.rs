//! How long something took, as figures: percentiles, extremes and the whole curve.
//!
//! Knows how they follow from measured latencies; not what took so long.
//!
//! Rule: a percentile that the sample is too small for is none.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::figures::latencies::Latencies;

/// The percentiles of a [`Distribution`].
pub(crate) const PERCENTILES: [f64; 7] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99];
/// Those that the text report shows.
pub(crate) const REPORTED_PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

/// How long something took, in microseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Distribution {
    /// How many there are.
    pub(crate) count: u64,
    /// How many of them are ages of requests that got no answer.
    pub(crate) unanswered: u64,
    /// The shortest that was answered, exactly.
    pub(crate) min_us: Option<f64>,
    /// The mean, exactly.
    pub(crate) mean_us: Option<f64>,
    /// The longest, exactly.
    pub(crate) max_us: Option<f64>,
    /// The usual percentiles.
    pub(crate) percentiles: Vec<Percentile>,
    /// Pairs of percentile and microseconds, up to the last one that the sample is enough for.
    pub(crate) curve: Vec<(f64, f64)>,
    /// All of it, in microseconds: a compressed HdrHistogram of version 2 in base64. An empty
    /// sample has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) histogram: Option<String>,
}

/// One percentile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Percentile {
    /// Such as 99.9.
    pub(crate) percent: f64,
    /// What it is; `None` where fewer than 10 of the sample lie above it.
    pub(crate) us: Option<f64>,
    /// Whether it is only known to be at least that, because requests got no answer.
    pub(crate) is_lower_bound: bool,
}

/// A time of a distribution, and how well it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Known {
    /// In microseconds; `None` where the sample is too small for it.
    pub(crate) us: Option<f64>,
    /// Whether it is only known to be at least that, because requests got no answer.
    pub(crate) is_lower_bound: bool,
}

impl From<&Percentile> for Known {
    fn from(percentile: &Percentile) -> Self {
        Self {
            us: percentile.us,
            is_lower_bound: percentile.is_lower_bound,
        }
    }
}

impl Distribution {
    /// The figures of `latencies`.
    pub(crate) fn of(latencies: &Latencies) -> Self {
        let some = |value: Duration| (latencies.count() > 0).then(|| microseconds(value));
        let percentile = |percent| {
            let value = latencies.known_percentile(percent);
            Percentile {
                percent,
                us: value.map(microseconds),
                is_lower_bound: value.is_some() && latencies.is_lower_bound(percent),
            }
        };
        let curve = latencies.curve().into_iter();
        Self {
            count: latencies.count(),
            unanswered: latencies.unanswered(),
            min_us: latencies.shortest().map(microseconds),
            mean_us: some(latencies.mean()),
            max_us: some(latencies.longest()),
            percentiles: PERCENTILES.map(percentile).to_vec(),
            curve: curve
                .map(|(percent, value)| ((percent * 1e6).round() / 1e6, microseconds(value)))
                .collect(),
            histogram: (latencies.count() > 0).then(|| STANDARD.encode(latencies.serialized())),
        }
    }

    /// The percentile `percent`, which is one of the usual ones.
    pub(crate) fn percentile(&self, percent: f64) -> Option<&Percentile> {
        let mut percentiles = self.percentiles.iter();
        percentiles.find(|known| known.percent == percent)
    }

    /// The percentile `percent`, with how well it is known.
    pub(crate) fn at(&self, percent: f64) -> Known {
        self.percentile(percent)
            .map(Known::from)
            .unwrap_or_default()
    }

    /// The longest.
    pub(crate) fn longest(&self) -> Known {
        self.of_all(self.max_us)
    }

    /// The mean.
    pub(crate) fn mean(&self) -> Known {
        self.of_all(self.mean_us)
    }

    /// A figure that each unanswered request would move.
    fn of_all(&self, us: Option<f64>) -> Known {
        let is_lower_bound = self.unanswered > 0;
        Known { us, is_lower_bound }
    }

    /// What the percentile `percent` is, where it is known.
    pub(crate) fn us(&self, percent: f64) -> Option<f64> {
        self.at(percent).us
    }
}

/// To a tenth of a microsecond, so that files stay readable.
pub(crate) fn microseconds(duration: Duration) -> f64 {
    (duration.as_nanos() as f64 / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;

    #[test]
    fn the_histogram_is_what_other_tools_read() {
        let mut latencies = Latencies::default();
        for us in 1..=5000 {
            latencies.record(Duration::from_micros(us));
        }
        let distribution = Distribution::of(&latencies);
        let text = distribution.histogram.expect("there is a sample");
        // So begins every compressed histogram of version 2 in the logs of HdrHistogram.
        assert!(text.starts_with("HISTFAAA"), "{text}");
        let bytes = STANDARD.decode(text).expect("it is base64");
        let read = Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice());
        let read = read.expect("it is a histogram");
        assert_eq!((read.len(), read.value_at_quantile(0.5)), (5000, 2501));
        assert_eq!(Distribution::of(&Latencies::default()).histogram, None);
    }
}
