//! What a program of benchmarks was asked for.

/// The arguments that all programs take.
#[derive(Debug)]
pub struct Arguments {
    /// Shorter, and good for nothing but to see that it works.
    pub quick: bool,
    /// Only cells whose names contain this text.
    pub only: Option<String>,
    /// The rivals that take part, ours first.
    pub rivals: Vec<&'static str>,
    /// True if `rivals` is not all there are.
    chosen: bool,
    /// Rounds of each cell.
    pub rounds: usize,
}

/// Rounds of each cell if nothing is said. Odd, so that a median is one of them.
const ROUNDS: usize = 7;

const QUICK_ROUNDS: usize = 1;

/// Gets the value of an argument.
pub type Value<'a> = dyn FnMut() -> Result<String, String> + 'a;

impl Arguments {
    /// Reads the arguments of a program with these rivals, ours first.
    ///
    /// # Errors
    /// The text names the argument that is wrong, and what is known.
    pub fn parse(
        given: impl Iterator<Item = String>,
        names: &'static [&'static str],
    ) -> Result<Self, String> {
        Self::parse_with(given, names, "", |_, _| Ok(false))
    }

    /// As [`parse`](Self::parse); `more` takes arguments of the program's own, which are `known`,
    /// and says whether it did.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and those of `more`.
    pub fn parse_with(
        mut given: impl Iterator<Item = String>,
        names: &'static [&'static str],
        known: &str,
        mut more: impl FnMut(&str, &mut Value<'_>) -> Result<bool, String>,
    ) -> Result<Self, String> {
        let mut arguments =
            Self { quick: false, only: None, rivals: names.to_vec(), chosen: false, rounds: 0 };
        let mut rounds = None;
        while let Some(argument) = given.next() {
            let mut value = || given.next().ok_or(format!("{argument} wants a value"));
            match argument.as_str() {
                "--quick" => arguments.quick = true,
                "--only" => arguments.only = Some(value()?),
                "--rounds" => rounds = Some(number(&value()?)?.max(1)),
                "--rivals" => {
                    arguments.rivals = chosen_rivals(&value()?, names)?;
                    arguments.chosen = true;
                }
                other if more(other, &mut value)? => {}
                _ => {
                    return Err(format!(
                        "unknown argument {argument:?}; known: --quick, --only CELL, \
                         --rivals a,b, --rounds N{known}"
                    ));
                }
            }
        }
        arguments.rounds = rounds.unwrap_or(if arguments.quick { QUICK_ROUNDS } else { ROUNDS });
        Ok(arguments)
    }

    /// Those of a quick run, with all rivals.
    ///
    /// # Panics
    /// Never.
    #[allow(clippy::unwrap_used)]
    pub fn for_tests(names: &'static [&'static str]) -> Self {
        Self::parse(["--quick".to_owned()].into_iter(), names).unwrap()
    }

    /// True if the cell of this name is to be measured.
    pub fn wants(&self, cell: &str) -> bool {
        self.only.as_ref().is_none_or(|text| cell.contains(text))
    }

    /// True if this run measured all there is to measure, so that its results are worth a file.
    pub fn keeps_results(&self) -> bool {
        !self.quick && self.only.is_none() && !self.chosen
    }

    /// True if the rivals are all there are.
    pub fn all_rivals(&self) -> bool {
        !self.chosen
    }

    /// A full amount, or the twentieth of it.
    pub fn amount(&self, full: usize) -> usize {
        if self.quick { full / 20 } else { full }
    }
}

/// The number in a text, which may have underscores.
///
/// # Errors
/// Where it is none; the text names it.
pub fn number(text: &str) -> Result<usize, String> {
    text.replace('_', "").parse().map_err(|_| format!("{text:?}: no number"))
}

/// The rivals of a comma-separated list, with ours in front.
fn chosen_rivals(list: &str, names: &[&'static str]) -> Result<Vec<&'static str>, String> {
    let mut rivals: Vec<_> = names.first().copied().into_iter().collect();
    for name in list.split(',') {
        let known = names.iter().find(|known| **known == name);
        let known = known.ok_or(format!("unknown rival {name:?}; known: {}", names.join(", ")))?;
        if !rivals.contains(known) {
            rivals.push(known);
        }
    }
    Ok(rivals)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["ours", "moka", "redb"];

    fn parse(text: &str) -> Result<Arguments, String> {
        Arguments::parse(text.split_whitespace().map(String::from), &NAMES)
    }

    #[test]
    fn filters_choose_cells_and_rivals_and_keep_nothing() {
        let arguments = parse("--only u64/1M --rivals redb,ours --rounds 3").unwrap();
        assert_eq!(arguments.rivals, ["ours", "redb"]);
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
