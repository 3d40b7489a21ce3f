//! A Redis (or Valkey) server of the demo's own: on a socket in the run's folder, without a port
//! and without a file of its data, so that it meets nobody and leaves nothing.
//!
//! It ends with the demo in every case: `kill` at the normal end, and the kernel's parent-death
//! signal where the demo itself is killed. That signal has to be asked for between fork and exec;
//! instead of code in the forked child, this executable starts itself as `demo-child`, asks, and
//! becomes the server.

use std::{
    env,
    ffi::OsString,
    io::{self, Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::output::{Failure, Outcome};

/// The servers that will do, in the order in which they are looked for.
const SERVERS: [&str; 2] = ["redis-server", "valkey-server"];

/// How long a server may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `demo-child`.
#[derive(Debug, clap::Args)]
pub(crate) struct ChildArguments {
    /// The process that asks: where it is gone already, nothing is started.
    #[arg(long)]
    parent: i32,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes the given program, which will be killed when the parent dies.
pub(crate) fn become_child(arguments: &ChildArguments) -> Outcome {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(rustix::process::Pid::as_raw_pid) != Some(arguments.parent) {
        return Err("the parent ended before its child began".into());
    }
    let (program, rest) = arguments.command.split_first().ok_or("no program to become")?;
    Err(Command::new(program).args(rest).exec().into())
}

/// A server that may be stopped and started again. Dropping it kills it.
pub(super) struct RedisServer {
    program: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
}

impl RedisServer {
    /// A server found on the path, not started yet.
    pub(super) fn find(folder: &Path) -> Option<Self> {
        let path = env::var_os("PATH")?;
        let program = SERVERS.iter().find_map(|name| {
            env::split_paths(&path).map(|place| place.join(name)).find(|file| file.is_file())
        })?;
        Some(Self { program, folder: folder.into(), child: None })
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    /// Starts the server and waits until it answers. To be called from a thread that lives as long
    /// as the server is to live: the kernel looks at the thread, not at the process.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        self.stop();
        let child = Command::new(env::current_exe()?)
            .arg("demo-child")
            .arg(format!("--parent={}", std::process::id()))
            .arg("--")
            .arg(&self.program)
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(["--unixsocketperm", "700", "--unixsocket"])
            .arg(self.socket())
            .arg("--dir")
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C in the terminal is for the demo alone, which ends what it started.
            .process_group(0)
            .spawn()?;
        self.child = Some(child);
        let deadline = Instant::now() + START_PATIENCE;
        while let Err(error) = self.ping() {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                return Err(format!("{} ended with {status}", self.program.display()).into());
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not answer: {error}", self.program.display()).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Kills the server, as a crash would.
    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn ping(&self) -> io::Result<()> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        match &answer {
            b"+PONG\r\n" => Ok(()),
            _ => Err(io::Error::other("the answer to PING is not PONG")),
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}
