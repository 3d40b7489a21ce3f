//! Networks of hosts: a namespace for each, with a cable to the one where the server is. It takes the
//! rights of root; without them the hosts are processes on one network.

use std::process::Command;

#[path = "../../../../tests/src/namespace.rs"]
#[allow(dead_code, unreachable_pub)]
mod namespace;

use namespace::Namespace;

/// Their numbers: those of the tests, which may run beside this, are smaller.
const FIRST: u32 = 240;

/// The networks of both hosts.
pub(super) struct Network {
    /// Why there are no namespaces, if there are none.
    why_not: String,
    namespaces: Vec<Namespace>,
}

impl Network {
    /// Namespaces for both hosts, if they can be had.
    pub(super) fn new() -> Self {
        let namespaces: Result<Vec<_>, _> =
            (0..2).map(|host| Namespace::new(FIRST + host)).collect();
        match namespaces {
            Ok(namespaces) => Self { why_not: String::new(), namespaces },
            Err(why_not) => Self { why_not, namespaces: vec![] },
        }
    }

    /// What stands for the hosts, in words.
    pub(super) fn told(&self) -> String {
        match &self.why_not[..] {
            "" => "two network namespaces".into(),
            why_not => format!("two processes on loopback, as there are no namespaces ({why_not})"),
        }
    }

    /// The addresses at which a server is to listen beside loopback.
    pub(super) fn addresses(&self) -> Vec<&str> {
        self.namespaces.iter().map(Namespace::address).collect()
    }

    /// The address of the server as a host sees it.
    pub(super) fn address_from(&self, host: usize) -> &str {
        self.namespaces.get(host).map_or("127.0.0.1", Namespace::address)
    }

    /// A command that runs the program of another one on a host.
    pub(super) fn on_host(&self, host: usize, command: Command) -> Command {
        let Some(namespace) = self.namespaces.get(host) else { return command };
        let [ip, words @ ..] = namespace.entry();
        let mut entered = Command::new(ip);
        entered.args(words).arg(command.get_program()).args(command.get_args());
        entered
    }
}
