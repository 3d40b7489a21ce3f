//! Rivals take turns: one round runs each of them once, in an order that moves on by one every
//! round. So what disturbs the machine for a while disturbs all, and the medians stay comparable.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_first_once_in_as_many_rounds_as_there_are_contestants() {
        let turns: Vec<_> = turns(3, 3).collect();
        assert_eq!(turns.len(), 9);
        assert_eq!(turns.iter().step_by(3).map(|turn| turn.1).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn the_median_is_the_value_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
    }
}
