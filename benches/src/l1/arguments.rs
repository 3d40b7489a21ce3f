//! What the program was asked for.

use super::rivals::NAMES;

/// The arguments of the command line.
pub(super) struct Arguments {
    pub(super) quick: bool,
    /// Only cells whose names contain this text.
    pub(super) only: Option<String>,
    /// The rivals that take part, ours first.
    pub(super) rivals: Vec<&'static str>,
    /// True if `rivals` is not all there are.
    chosen: bool,
    /// Rounds of each cell.
    pub(super) rounds: usize,
    pub(super) task: Task,
}

/// What to do.
pub(super) enum Task {
    /// Measure, print, keep.
    Measure,
    /// Do the operations of one cell.
    Profile { cell: String, operations: usize },
    /// Print the memory that one rival takes; what children are called with.
    MemoryOf { rival: String, entries: usize },
}

/// Rounds of each cell if nothing is said. Odd, so that a median is one of them.
const ROUNDS: usize = 7;

const QUICK_ROUNDS: usize = 1;

/// Operations of `--profile` if nothing is said.
const PROFILED_OPERATIONS: usize = 10_000_000;

impl Arguments {
    pub(super) fn from_command_line() -> Result<Self, String> {
        Self::parse(std::env::args().skip(1))
    }

    fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            quick: false,
            only: None,
            rivals: NAMES.to_vec(),
            chosen: false,
            rounds: 0,
            task: Task::Measure,
        };
        let (mut rounds, mut operations, mut profiled) = (None, PROFILED_OPERATIONS, None);
        while let Some(argument) = given.next() {
            let mut value = || given.next().ok_or(format!("{argument} wants a value"));
            let number = |text: String| {
                text.replace('_', "").parse::<usize>().map_err(|_| format!("{text:?}: no number"))
            };
            match argument.as_str() {
                "--quick" => arguments.quick = true,
                "--only" => arguments.only = Some(value()?),
                "--rounds" => rounds = Some(number(value()?)?.max(1)),
                "--operations" => operations = number(value()?)?.max(1),
                "--profile" => profiled = Some(value()?),
                "--rivals" => {
                    arguments.rivals = chosen_rivals(&value()?)?;
                    arguments.chosen = true;
                }
                "--memory-of" => {
                    let rival = value()?;
                    arguments.task = Task::MemoryOf { rival, entries: number(value()?)? };
                }
                _ => {
                    return Err(format!(
                        "unknown argument {argument:?}; known: --quick, --only CELL, \
                         --rivals a,b, --rounds N, --profile CELL, --operations N"
                    ));
                }
            }
        }
        if let Some(cell) = profiled {
            arguments.task = Task::Profile { cell, operations };
        }
        arguments.rounds = rounds.unwrap_or(if arguments.quick { QUICK_ROUNDS } else { ROUNDS });
        Ok(arguments)
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self::parse(["--quick".to_owned()].into_iter()).unwrap()
    }

    /// True if the cell of this name is to be measured.
    pub(super) fn wants(&self, cell: &str) -> bool {
        self.only.as_ref().is_none_or(|text| cell.contains(text))
    }

    /// True if this run measured all there is to measure, so that its results are worth a file.
    pub(super) fn keeps_results(&self) -> bool {
        !self.quick && self.only.is_none() && !self.chosen
    }

    /// Entries of the larger caches.
    pub(super) fn many_entries(&self) -> usize {
        if self.quick { 20_000 } else { 1_000_000 }
    }
}

/// The rivals of a comma-separated list, with ours in front.
fn chosen_rivals(list: &str) -> Result<Vec<&'static str>, String> {
    let mut rivals = vec![NAMES[0]];
    for name in list.split(',') {
        let known = NAMES.iter().find(|known| **known == name);
        let known = known.ok_or(format!("unknown rival {name:?}; known: {}", NAMES.join(", ")))?;
        if !rivals.contains(known) {
            rivals.push(known);
        }
    }
    Ok(rivals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Arguments, String> {
        Arguments::parse(text.split_whitespace().map(String::from))
    }

    #[test]
    fn filters_choose_cells_and_rivals_and_keep_nothing() {
        let arguments = parse("--only u64/1M --rivals moka,tierce --rounds 3").unwrap();
        assert_eq!(arguments.rivals, ["tierce", "moka"]);
        assert!(arguments.wants("get-zipf/u64/1M/1t") && !arguments.wants("get-zipf/u64/10k/1t"));
        assert_eq!((arguments.rounds, arguments.keeps_results()), (3, false));
        assert!(parse("").unwrap().keeps_results());
        assert!(!parse("--quick").unwrap().keeps_results());
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (text, word) in [
            ("--loud", "--loud"),
            ("--rivals mocha", "mocha"),
            ("--rounds few", "few"),
            ("--only", "--only wants"),
        ] {
            assert!(parse(text).is_err_and(|message| message.contains(word)), "{text}");
        }
    }
}
