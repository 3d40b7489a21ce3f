//! The workers as the demo sees them: started, told, listened to, killed.
//!
//! One thread for each worker reads its lines into one channel. Dropping the crew kills and waits
//! for everybody; a worker whose demo is gone ends by itself (its standard input ends).

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use super::protocol::{Line, PHASE, STOP};

/// What was heard from a worker.
#[derive(Debug)]
pub(super) struct Heard {
    /// Which of them, from 0.
    pub(super) worker: usize,
    /// Its how manieth life this is, from 0.
    pub(super) life: u32,
    pub(super) what: What,
}

/// A line, or the end of them.
#[derive(Debug)]
pub(super) enum What {
    Line(Line),
    /// Something that is no line of ours, such as half of one.
    Torn,
    /// Standard output ended: the process is gone.
    Gone,
}

/// All workers.
pub(super) struct Crew {
    /// What each worker is started with, besides its number and life.
    arguments: Vec<String>,
    members: Vec<Member>,
    sender: Sender<Heard>,
    receiver: Receiver<Heard>,
    phase: usize,
}

struct Member {
    life: u32,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Crew {
    /// Starts `count` workers with these arguments.
    pub(super) fn start(count: usize, arguments: Vec<String>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let mut crew = Self { arguments, members: Vec::new(), sender, receiver, phase: 0 };
        for worker in 0..count {
            let member = crew.hire(worker, 0, 0)?;
            crew.members.push(member);
        }
        Ok(crew)
    }

    /// How many lives the worker has behind it.
    pub(super) fn life(&self, worker: usize) -> u32 {
        self.members[worker].life
    }

    /// Tells all that another phase began.
    pub(super) fn tell_phase(&mut self, phase: usize) {
        self.phase = phase;
        for member in &mut self.members {
            tell(&mut member.stdin, &format!("{PHASE} {phase}"));
        }
    }

    /// Kills a worker with SIGKILL, waits until it is gone and starts its successor, which goes on
    /// at `position` of its share.
    pub(super) fn replace(&mut self, worker: usize, position: u64) -> io::Result<()> {
        let member = &mut self.members[worker];
        member.child.kill()?;
        member.child.wait()?;
        let life = member.life + 1;
        self.members[worker] = self.hire(worker, life, position)?;
        Ok(())
    }

    /// Asks all to end; what they say until then is still to be heard.
    pub(super) fn stop(&mut self) {
        for member in &mut self.members {
            tell(&mut member.stdin, STOP);
        }
    }

    /// The next thing heard, or `None` where nothing was until `deadline`.
    pub(super) fn hear(&self, deadline: Instant) -> Option<Heard> {
        let wait = deadline.saturating_duration_since(Instant::now());
        // The crew holds a sender itself, so the only error is that nothing came.
        self.receiver.recv_timeout(wait).ok()
    }

    fn hire(&self, worker: usize, life: u32, position: u64) -> io::Result<Member> {
        let mut child = Command::new(env::current_exe()?)
            .arg("demo-worker")
            .args(&self.arguments)
            .arg(format!("--worker={worker}"))
            .arg(format!("--life={life}"))
            .arg(format!("--phase={}", self.phase))
            .arg(format!("--position={position}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C in the terminal is for the demo alone, which ends what it started.
            .process_group(0)
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let sender = self.sender.clone();
        thread::Builder::new().name(format!("worker-{worker}")).spawn(move || {
            let Some(stdout) = stdout else { return };
            for line in BufReader::new(stdout).split(b'\n') {
                let Ok(line) = line else { break };
                let what = serde_json::from_slice(&line).map_or(What::Torn, What::Line);
                // An error means that nobody listens any more.
                if sender.send(Heard { worker, life, what }).is_err() {
                    return;
                }
            }
            let _ = sender.send(Heard { worker, life, what: What::Gone });
        })?;
        Ok(Member { life, child, stdin })
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.members {
            // An error means that it is gone already.
            let _ = member.child.kill();
        }
        for member in &mut self.members {
            let _ = member.child.wait();
        }
    }
}

/// A worker that is gone cannot be told; that it is gone is heard on the other pipe.
fn tell(stdin: &mut Option<ChildStdin>, line: &str) {
    if let Some(pipe) = stdin {
        let _ = writeln!(pipe, "{line}").and_then(|()| pipe.flush());
    }
}

/// How long workers may take to open their caches, or to end.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
