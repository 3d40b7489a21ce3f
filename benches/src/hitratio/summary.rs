//! Means and regrets: how far each contestant is from the best rival, in points of hit ratio.

use super::{
    contestants::{Contestant, Role},
    run::Cell,
};

/// Differences below this are of no account: one hit in the smallest trace is more.
const TIE: f64 = 1e-9;

/// What a contestant did over some cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The mean hit ratio in percent.
    pub mean: f64,
    /// The mean of its regrets: what it lacks to the best rival of each cell, or 0.
    pub mean_regret: f64,
    /// The same against the best of all contestants but the bound and who is disturbed.
    pub mean_regret_of_all: f64,
    /// The largest regret against the best rival, and the cell's number among those given.
    pub worst: (f64, usize),
    /// The cells where no rival is better.
    pub best_cells: usize,
}

/// The index of the best rival in a cell.
pub fn best_rival(cell: &Cell, contestants: &[Contestant]) -> usize {
    best(cell, contestants, |role| role == Role::Rival)
}

fn best(cell: &Cell, contestants: &[Contestant], counts: impl Fn(Role) -> bool) -> usize {
    let candidates = (0..contestants.len()).filter(|index| counts(contestants[*index].role));
    // The first of several that are equal.
    let better = |best, index| if cell.ratios[index] > cell.ratios[best] { index } else { best };
    candidates.reduce(better).unwrap_or(0)
}

/// Summaries of all contestants, in their order, over the given cells.
pub fn summaries(cells: &[&Cell], contestants: &[Contestant]) -> Vec<Summary> {
    let count = cells.len().max(1) as f64;
    let one = |index: usize| {
        let mut summary = Summary {
            mean: 0.0,
            mean_regret: 0.0,
            mean_regret_of_all: 0.0,
            worst: (0.0, 0),
            best_cells: 0,
        };
        for (number, cell) in cells.iter().enumerate() {
            let ratio = cell.ratios[index];
            let lack = |best: usize| (cell.ratios[best] - ratio).max(0.0);
            let regret = lack(best_rival(cell, contestants));
            summary.mean += ratio / count;
            summary.mean_regret += regret / count;
            let of_all = lack(best(cell, contestants, |role| {
                !matches!(role, Role::Bound | Role::Disturbed)
            }));
            summary.mean_regret_of_all += of_all / count;
            summary.best_cells += usize::from(regret < TIE);
            if regret > summary.worst.0 {
                summary.worst = (regret, number);
            }
        }
        summary
    };
    (0..contestants.len()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::workload::Share, *};

    fn contestant(name: &'static str, role: Role) -> Contestant {
        Contestant { name, role, play: |_, _| 0 }
    }

    #[test]
    fn regret_is_what_lacks_to_the_best_rival_and_never_negative() {
        let contestants = [
            contestant("ours", Role::Ours),
            contestant("a", Role::Rival),
            contestant("b", Role::Rival),
            contestant("aside", Role::Aside),
            contestant("bound", Role::Bound),
            contestant("disturbed", Role::Disturbed),
        ];
        let cell = |ratios: [f64; 6]| Cell {
            trace: "t".into(),
            recorded: true,
            share: Share(5),
            capacity: 1,
            ratios: ratios.to_vec(),
        };
        let cells =
            [cell([10.0, 8.0, 4.0, 11.0, 99.0, 98.0]), cell([20.0, 25.0, 26.0, 22.0, 99.0, 98.0])];
        let cells: Vec<&Cell> = cells.iter().collect();
        assert_eq!(best_rival(cells[0], &contestants), 1);
        let found = summaries(&cells, &contestants);
        let expected = Summary {
            mean: 15.0,
            mean_regret: 3.0,
            mean_regret_of_all: 3.5,
            worst: (6.0, 1),
            best_cells: 1,
        };
        assert_eq!(found[0], expected);
        assert_eq!((found[2].mean_regret, found[2].worst), (2.0, (4.0, 0)));
    }
}
