//! Children of a benchmark, which do as they are told in lines and answer in lines.

use std::{
    io::{BufRead, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// What a child says when it can begin.
const READY: &str = "ready";

/// A child, killed where it has not ended by itself.
pub struct Process {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a child and waits until it is ready.
    ///
    /// # Errors
    /// If it cannot be started, or ends; what it has to say goes to standard error.
    pub fn start(mut command: Command) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("no child: {error}"))?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let (Some(orders), Some(answers)) = (orders, answers) else {
            return Err("a child without pipes".into());
        };
        let mut process = Self { child, orders, answers: BufReader::new(answers) };
        let line = process.answer()?;
        if line != READY { Err(format!("a child said {line:?}")) } else { Ok(process) }
    }

    /// Tells it something.
    ///
    /// # Errors
    /// If it has ended.
    pub fn order(&mut self, order: &str) -> Result<(), String> {
        writeln!(self.orders, "{order}").map_err(|error| format!("a child ended: {error}"))
    }

    /// Waits for its next line.
    ///
    /// # Errors
    /// If it has ended.
    pub fn answer(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        match read {
            Ok(0) => Err("a child ended".into()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(format!("a child cannot be heard: {error}")),
        }
    }

    /// Ends it at once, by SIGKILL, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Both fail only where it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A command that runs this program again.
///
/// # Errors
/// If the system does not say where it is.
pub fn this_program() -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|error| format!("no path to self: {error}"))?;
    Ok(Command::new(program))
}

/// Says that this child is ready.
#[allow(clippy::print_stdout, reason = "the parent reads it")]
pub fn say_ready() {
    println!("{READY}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_child_that_is_ready_answers_its_orders_until_it_ends() {
        let mut child = Process::start(shell("echo ready; read order; echo did $order")).unwrap();
        child.order("this").unwrap();
        assert_eq!(child.answer().unwrap(), "did this");
        assert_eq!(child.answer().unwrap_err(), "a child ended");
    }

    #[test]
    fn a_child_that_is_not_ready_is_none() {
        assert!(Process::start(shell("echo busy")).is_err_and(|error| error.contains("busy")));
        assert!(Process::start(shell("exit 1")).is_err_and(|error| error.contains("ended")));
    }
}
