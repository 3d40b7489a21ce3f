//! Counters and latency histograms that every part above `metrics` writes to.
