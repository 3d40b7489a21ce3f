//! The terminal: taken over, and given back however it ends.
//!
//! Given back on every way out: the end of the loop, an error, a panic (by the hook that the
//! library sets), and a signal that asks to end, which ends the loop.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};

/// Between two looks whether a signal came.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a wait ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The time is up.
    Due,
    /// A key or a signal asks to end.
    Quit,
    /// The terminal has another size.
    Changed,
}

/// A terminal in raw mode, with a screen of its own.
pub(super) struct Terminal {
    terminal: DefaultTerminal,
    is_asked_to_end: Arc<AtomicBool>,
}

/// Takes the terminal over.
pub(super) fn enter() -> io::Result<Terminal> {
    let is_asked_to_end = listen()?;
    match ratatui::try_init() {
        Ok(terminal) => Ok(Terminal { terminal, is_asked_to_end }),
        Err(error) => {
            // It may have come half of the way.
            let _ = ratatui::try_restore();
            Err(error)
        }
    }
}

impl Terminal {
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(|_| ())
    }

    /// Waits for a key, a signal or the time.
    pub(super) fn wait_until(&self, due: Instant) -> io::Result<Event> {
        loop {
            if self.is_asked_to_end.load(Ordering::Relaxed) {
                return Ok(Event::Quit);
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Event::Due);
            }
            if !event::poll(left.min(PATIENCE))? {
                continue;
            }
            match event::read()? {
                event::Event::Key(key) if is_end(&key) => return Ok(Event::Quit),
                event::Event::Resize(..) => return Ok(Event::Changed),
                _ => {}
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

fn is_end(key: &KeyEvent) -> bool {
    if key.kind == KeyEventKind::Release {
        return false;
    }
    let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc)
        || has_control && matches!(key.code, KeyCode::Char('c'))
}

/// Notes signals that ask to end, from now until the process ends.
fn listen() -> io::Result<Arc<AtomicBool>> {
    let is_asked = Arc::new(AtomicBool::new(false));
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let signals: Vec<Signal> = {
        let _context = runtime.enter();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        kinds.into_iter().map(signal).collect::<io::Result<_>>()?
    };
    let asked = Arc::clone(&is_asked);
    thread::Builder::new().name("top-signals".into()).spawn(move || {
        runtime.block_on(async {
            let waits = signals.into_iter().map(|mut signal| {
                let asked = Arc::clone(&asked);
                tokio::spawn(async move {
                    while signal.recv().await.is_some() {
                        asked.store(true, Ordering::Relaxed);
                    }
                })
            });
            for wait in waits.collect::<Vec<_>>() {
                let _ = wait.await;
            }
        });
    })?;
    Ok(is_asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_control_c_end_and_other_keys_do_not() {
        let plain = |code| KeyEvent::new(code, KeyModifiers::NONE);
        for code in [KeyCode::Char('q'), KeyCode::Char('Q'), KeyCode::Esc] {
            assert!(is_end(&plain(code)), "{code:?}");
        }
        assert!(is_end(&KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        for code in [KeyCode::Char('c'), KeyCode::Char('x'), KeyCode::Enter] {
            assert!(!is_end(&plain(code)), "{code:?}");
        }
    }
}
