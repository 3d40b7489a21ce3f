//! Rivals take turns: one round runs each of them once, in an order that moves on by one every
//! round. So what disturbs the machine for a while disturbs all, and the medians stay comparable.

/// One rival in one case: does the work once and returns the measured value.
pub struct Contestant<'a> {
    /// The name in reports.
    pub name: &'static str,
    /// One run.
    pub run: Box<dyn FnMut() -> f64 + 'a>,
}

impl<'a> Contestant<'a> {
    /// Names a run.
    pub fn new(name: &'static str, run: impl FnMut() -> f64 + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// What the runs of one rival gave.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The name of the rival.
    pub name: &'static str,
    /// The value in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many runs.
    pub runs: usize,
}

/// The value in the middle; sorts them. There must be one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Whose turn it is: `rounds` times all of `contestants`, in an order that moves on by one every
/// round. Yields round and contestant.
pub fn turns(contestants: usize, rounds: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rounds).flat_map(move |round| {
        (0..contestants).map(move |turn| (round, (round + turn) % contestants))
    })
}

/// Runs all contestants once to warm up, then `rounds` times in turn.
pub fn compete(contestants: &mut [Contestant<'_>], rounds: usize) -> Vec<Timing> {
    let mut values = vec![Vec::with_capacity(rounds); contestants.len()];
    for contestant in contestants.iter_mut() {
        (contestant.run)();
    }
    for (_, index) in turns(contestants.len(), rounds) {
        values[index].push((contestants[index].run)());
    }
    let timing = |(contestant, mut values): (&Contestant<'_>, Vec<f64>)| Timing {
        name: contestant.name,
        median: median(&mut values),
        min: values[0],
        max: values[values.len() - 1],
        runs: values.len(),
    };
    contestants.iter().zip(values).map(timing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_those_of_each_rival_after_the_warm_up() {
        let (mut one, mut two) = (0.0, 100.0);
        let mut contestants = [
            Contestant::new("one", || {
                one += 1.0;
                one
            }),
            Contestant::new("two", || {
                two -= 1.0;
                two
            }),
        ];
        let timings = compete(&mut contestants, 3);
        assert_eq!((timings[0].min, timings[0].median, timings[0].max), (2.0, 3.0, 4.0));
        assert_eq!((timings[1].min, timings[1].median, timings[1].max), (96.0, 97.0, 98.0));
    }
}
