//! Networks of hosts: a namespace for each, with a cable to the one where the server is. It takes the
//! rights of root; without them the hosts are processes on one network.

use std::process::{Command, Output, Stdio};

/// The networks of both hosts.
pub(super) struct Network {
    /// Why there are no namespaces, if there are none.
    why_not: String,
    namespaces: Vec<Namespace>,
}

/// A namespace with a cable; gone when dropped.
struct Namespace {
    name: String,
    /// This end of the cable.
    cable: String,
    /// Our address on it.
    address: String,
}

impl Network {
    /// Namespaces for both hosts, if they can be had.
    pub(super) fn new() -> Self {
        let namespaces: Result<Vec<_>, _> = (0..2).map(Namespace::new).collect();
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
        self.namespaces.iter().map(|it| &it.address[..]).collect()
    }

    /// The address of the server as a host sees it.
    pub(super) fn address_from(&self, host: usize) -> &str {
        self.namespaces.get(host).map_or("127.0.0.1", |it| &it.address)
    }

    /// A command that runs the program of another one on a host.
    pub(super) fn on_host(&self, host: usize, command: Command) -> Command {
        let Some(Namespace { name, .. }) = self.namespaces.get(host) else { return command };
        let mut entered = Command::new("ip");
        entered.args(["netns", "exec", name]).arg(command.get_program()).args(command.get_args());
        entered
    }
}

impl Namespace {
    fn new(number: u32) -> Result<Self, String> {
        let process = std::process::id();
        let name = format!("tierce-near-{process}-{number}");
        // A name of a cable has 15 letters at most.
        let (cable, other) = (format!("tn{process}h{number}"), format!("tn{process}g{number}"));
        // Apart from the networks of the tests, which may run beside this.
        let net = format!("10.{}.{}", 224 + process % 30, 2 * (process / 30 % 120) + number);
        let namespace = Self { name, cable, address: format!("{net}.1") };
        let Self { name, cable, .. } = &namespace;
        for command in [
            format!("netns add {name}"),
            format!("link add {cable} type veth peer name {other} netns {name}"),
            format!("addr add {net}.1/24 dev {cable}"),
            format!("link set {cable} up"),
            format!("-n {name} addr add {net}.2/24 dev {other}"),
            format!("-n {name} link set {other} up"),
            format!("-n {name} link set lo up"),
        ] {
            ip(&command)?;
        }
        Ok(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The namespace goes with the last of its processes, the cable with the namespace.
        _ = ip(&format!("link del {}", self.cable));
        _ = ip(&format!("netns del {}", self.name));
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let command = Command::new("ip").args(arguments.split(' ')).stdin(Stdio::null()).output();
    let Output { status, stderr, .. } = command.map_err(|error| format!("ip: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&stderr).trim()))
}
