//! What the program was asked for.

use super::rivals::{NAMES, OURS};

/// The arguments of the program.
#[derive(Debug)]
pub(super) struct Arguments {
    quick: bool,
    only: Option<String>,
    /// Ours first.
    pub(super) rivals: Vec<&'static str>,
    chosen: bool,
    /// Rounds of each cell.
    pub(super) rounds: usize,
}

/// Rounds of each cell if nothing is said. Odd, so that a median is one of them.
const ROUNDS: usize = 7;

const QUICK_ROUNDS: usize = 1;

impl Arguments {
    pub(super) fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments =
            Self { quick: false, only: None, rivals: NAMES.to_vec(), chosen: false, rounds: 0 };
        let mut rounds = None;
        while let Some(argument) = given.next() {
            let mut value = || given.next().ok_or(format!("{argument} wants a value"));
            match argument.as_str() {
                "--quick" => arguments.quick = true,
                "--only" => arguments.only = Some(value()?),
                "--rounds" => {
                    let text = value()?;
                    let number = text.parse::<usize>().map_err(|_| format!("{text:?}: no number"));
                    rounds = Some(number?.max(1));
                }
                "--rivals" => {
                    arguments.rivals = chosen_rivals(&value()?)?;
                    arguments.chosen = true;
                }
                _ => {
                    return Err(format!(
                        "unknown argument {argument:?}; known: --quick, --only CELL, \
                         --rivals a,b, --rounds N"
                    ));
                }
            }
        }
        arguments.rounds = rounds.unwrap_or(if arguments.quick { QUICK_ROUNDS } else { ROUNDS });
        Ok(arguments)
    }

    /// True if the cell of this name is to be measured.
    pub(super) fn wants(&self, cell: &str) -> bool {
        self.only.as_ref().is_none_or(|text| cell.contains(text))
    }

    /// True if this run measured all there is to measure, so that its results are worth a file.
    pub(super) fn keeps_results(&self) -> bool {
        !self.quick && self.only.is_none() && !self.chosen
    }

    /// How long one run of one rival takes.
    pub(super) fn run_millis(&self) -> u64 {
        if self.quick { 100 } else { 500 }
    }
}

/// The rivals of a comma-separated list, with ours in front.
fn chosen_rivals(list: &str) -> Result<Vec<&'static str>, String> {
    let mut rivals = vec![OURS];
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
        let arguments = parse("--only get/ --rivals fred,tierce --rounds 3").unwrap();
        assert_eq!(arguments.rivals, ["tierce", "fred"]);
        assert!(arguments.wants("get/1KiB/64") && !arguments.wants("put/1KiB/64"));
        assert_eq!((arguments.rounds, arguments.keeps_results()), (3, false));
        assert!(parse("").unwrap().keeps_results());
        assert!(!parse("--quick").unwrap().keeps_results());
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (text, word) in [
            ("--loud", "--loud"),
            ("--rivals rocks", "rocks"),
            ("--rounds few", "few"),
            ("--only", "--only wants"),
        ] {
            assert!(parse(text).is_err_and(|message| message.contains(word)), "{text}");
        }
    }
}
