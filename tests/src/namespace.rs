//! Networks of their own on this machine: namespaces, each with a cable to the one where the test or the
//! benchmark runs. It takes the rights of root.

use std::process::{Command, Output, Stdio};

/// A network namespace with a cable; gone when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// This end of the cable.
    cable: String,
    /// Our address on it.
    address: String,
}

impl Namespace {
    /// The namespace of a host of this number, below 250.
    ///
    /// # Errors
    /// What the system says where it may not be made.
    pub fn new(number: u32) -> Result<Self, String> {
        let process = std::process::id();
        let name = format!("tierce-{process}-{number}");
        // A name of a cable has 15 letters at most.
        let (cable, other) = (format!("tc{process}h{number}"), format!("tc{process}g{number}"));
        let net = format!("10.{}.{number}", 64 + process % 160);
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

    /// The address at which its processes reach this one.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What runs a program in it: the first words of the command.
    pub fn entry(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Cuts the cable, or mends it. Nobody is told: what is sent is lost.
    ///
    /// # Panics
    /// If the system refuses.
    #[allow(clippy::unwrap_used)]
    pub fn cut(&self, is_cut: bool) {
        ip(&format!("link set {} {}", self.cable, if is_cut { "down" } else { "up" })).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its processes may be there still; the namespace goes with the last of them, the cable
        // with the namespace.
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
