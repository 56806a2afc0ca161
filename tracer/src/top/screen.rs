//! The terminal: taken for a while, and given back as it was, whatever ends the program. Signals are read here, since a
//! terminal in raw mode must not be left by one.

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::{
    signal::{SigSet, Signal, raise},
    signalfd::{SfdFlags, SignalFd},
};
use ratatui::{
    DefaultTerminal, Frame, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        event::{self, Event, KeyEvent},
        execute,
        terminal::{Clear, ClearType, EnterAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// The signals that are looked at. A key is none in raw mode: these come from elsewhere.
const AWAITED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// Signals that are blocked, and read.
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Blocks them for this thread, and those that it starts.
    pub(super) fn block() -> Result<Self> {
        let set = SigSet::from_iter(AWAITED);
        set.thread_block().context("block signals")?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Ok(Self(signals.context("make a signalfd")?))
    }
}

/// Wakes [`Screen::wait`] from another thread.
pub(super) struct Waker(PipeWriter);

impl Waker {
    pub(super) fn pair() -> io::Result<(PipeReader, Self)> {
        let (reader, writer) = io::pipe()?;
        Ok((reader, Self(writer)))
    }

    pub(super) fn wake(&self) {
        // Who waited has gone.
        let _gone = (&self.0).write_all(&[0]);
    }
}

/// Why a wait was over.
#[derive(Debug, Default)]
pub(super) struct Woken {
    pub(super) keys: Vec<KeyEvent>,
    /// The exit code, where the program is to end.
    pub(super) ends: Option<u8>,
}

pub(super) struct Screen {
    terminal: DefaultTerminal,
    signals: Signals,
}

impl Screen {
    /// Takes the terminal: raw mode, the other screen. A panic gives it back.
    pub(super) fn enter(signals: Signals) -> Result<Self> {
        let terminal = ratatui::try_init();
        if terminal.is_err() {
            ratatui::restore();
        }
        let mut terminal = terminal.context("take the terminal")?;
        terminal.hide_cursor()?;
        Ok(Self { terminal, signals })
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        self.terminal.draw(draw).context("draw")?;
        Ok(())
    }

    /// Waits for keys, signals, a wake or the time.
    pub(super) fn wait(&mut self, wakes: &PipeReader, time: Option<Duration>) -> Result<Woken> {
        let mut woken = Woken::default();
        let stdin = io::stdin();
        let mut on = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(&self.signals.0, PollFlags::IN),
            PollFd::new(wakes, PollFlags::IN),
        ];
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        match poll(&mut on, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for a key"),
        }
        let [typed, _, woke] = on.map(|it| it.revents());
        if woke.contains(PollFlags::IN) {
            (&*wakes).read(&mut [0; 64]).context("read a wake")?;
        }
        if typed.intersects(PollFlags::HUP | PollFlags::ERR) {
            // The terminal has gone.
            woken.ends = Some(128 + libc::SIGHUP as u8);
            return Ok(woken);
        }
        while event::poll(Duration::ZERO).context("read a key")? {
            if let Event::Key(key) = event::read().context("read a key")? {
                woken.keys.push(key);
            }
        }
        while let Some(signal) = self.signals.0.read_signal().context("read a signal")? {
            match Signal::try_from(signal.ssi_signo.cast_signed()) {
                Ok(Signal::SIGTSTP) => self.suspend()?,
                // Whoever stopped us may have used the terminal.
                Ok(Signal::SIGCONT) => self.retake()?,
                // The next drawing asks for the size.
                Ok(Signal::SIGWINCH) | Err(_) => {}
                Ok(signal) => woken.ends = Some(128 + signal as u8),
            }
        }
        Ok(woken)
    }

    /// Gives the terminal back and stops, as Ctrl-Z does with any job; takes it again when the job goes on.
    pub(super) fn suspend(&mut self) -> Result<()> {
        self.terminal.show_cursor()?;
        ratatui::try_restore().context("give the terminal back")?;
        let stop = SigSet::from(Signal::SIGTSTP);
        raise(Signal::SIGTSTP).context("stop")?;
        // Here it stops, unless no shell is there that could let it go on.
        stop.thread_unblock().context("unblock a signal")?;
        stop.thread_block().context("block a signal")?;
        self.retake()
    }

    fn retake(&mut self) -> Result<()> {
        // Off first: who was there meanwhile may have set its own modes, and raw mode that is on is not set again.
        disable_raw_mode().context("take the terminal")?;
        enable_raw_mode().context("take the terminal")?;
        execute!(io::stdout(), EnterAlternateScreen, Clear(ClearType::All)).context("take the terminal")?;
        // A new one, which takes the screen for empty; to clear the old one would ask the terminal where its cursor is.
        self.terminal = Terminal::new(CrosstermBackend::new(io::stdout())).context("take the terminal")?;
        Ok(self.terminal.hide_cursor()?)
    }

    /// Gives the terminal back.
    pub(super) fn leave(mut self) -> Result<()> {
        self.terminal.show_cursor().context("give the terminal back")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
