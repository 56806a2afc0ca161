//! What is shown, and what the keys change of it. It must not know how it is drawn, nor where looks come from.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    Ask, Look, Settings,
    rates::{self, Detail, Row},
};
use crate::report::{self, Stats, activity::Activities};

/// Shortest and longest time between two looks.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));

/// What a key asks of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Do {
    Nothing,
    /// Ctrl-Z.
    Suspend,
    Quit,
    /// Ctrl-C.
    Interrupt,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) paused: bool,
    pub(super) help: bool,
    /// Shown are containers with this in their names.
    pub(super) filter: String,
    /// What is being typed as the next filter.
    pub(super) typing: Option<String>,
    /// Why the last look saw nothing.
    pub(super) error: Option<String>,
    pub(super) now: Option<Activities>,
    /// What is shown of the containers, in order.
    pub(super) rows: Vec<Row>,
    /// The container whose calls are shown: its id.
    pub(super) detail: Option<String>,
    pub(super) details: Vec<Detail>,
    /// What its calls are read from.
    pub(super) stats: Option<Result<Stats, String>>,
    /// The row that is marked.
    pub(super) marked: usize,
    /// The mark was moved: it stays on its container, wherever that goes.
    moved: bool,
    /// Rows that a screen has, as it was drawn last.
    pub(super) page: usize,
    before: Option<Activities>,
    stats_before: Option<(Stats, f64)>,
    stats_at: Option<Instant>,
    asked: Option<Instant>,
    at_once: bool,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            page: 10,
            ..Self::default()
        }
    }

    /// When to look next; `None` while it is paused.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.asked {
            None => Some(Instant::now()),
            Some(asked) if self.at_once => Some(asked),
            Some(asked) => (!self.paused).then(|| asked + self.settings.interval),
        }
    }

    pub(super) fn asked(&mut self, now: Instant) {
        self.asked = Some(now);
        self.at_once = false;
    }

    pub(super) fn ask(&self) -> Ask {
        Ask {
            detail: self.detail.clone(),
        }
    }

    /// Takes a look, or why there is none: then what was seen before stays.
    pub(super) fn take(&mut self, look: Result<Look, String>, at: Instant) {
        self.asked.get_or_insert(at);
        let look = match look {
            Ok(look) => look,
            Err(error) => {
                self.error = Some(error);
                return;
            }
        };
        self.error = None;
        // Two looks at one moment tell no rates: the earlier ones are kept.
        if self
            .now
            .as_ref()
            .is_none_or(|now| now.ktime < look.containers.ktime)
        {
            self.before = self.now.replace(look.containers);
        }
        if let Some((id, stats)) = look.detail
            && self.detail.as_ref() == Some(&id)
        {
            if let (Some(Ok(old)), Some(since)) = (self.stats.take(), self.stats_at) {
                self.stats_before = Some((old, at.duration_since(since).as_secs_f64()));
            }
            self.stats = Some(stats);
            self.stats_at = Some(at);
        }
        self.arrange();
    }

    /// Makes the rows anew, and keeps the mark on its container.
    fn arrange(&mut self) {
        let marked = self.rows.get(self.marked).map(|row| row.line.names.id.clone());
        let all = self
            .now
            .as_ref()
            .map(|now| rates::rows(self.before.as_ref(), now))
            .unwrap_or_default();
        self.rows = shown(all, &self.settings);
        let wanted = self.typing.as_ref().unwrap_or(&self.filter);
        self.rows.retain(|row| rates::has(&row.line, wanted));
        if let Some(Ok(stats)) = &self.stats {
            let before = self
                .stats_before
                .as_ref()
                .map(|(stats, seconds)| (stats, *seconds));
            self.details = rates::details(before, stats);
            rates::sort_details(&mut self.details, self.settings.sort, self.settings.reverse);
        }
        if self.moved
            && self.detail.is_none()
            && let Some(place) = self
                .rows
                .iter()
                .position(|row| Some(&row.line.names.id) == marked.as_ref())
        {
            self.marked = place;
        }
        self.marked = self.marked.min(self.last());
    }

    fn last(&self) -> usize {
        let rows = match self.detail {
            Some(_) => self.details.len(),
            None => self.rows.len(),
        };
        rows.saturating_sub(1)
    }

    /// The row of the container whose calls are shown.
    pub(super) fn detailed(&self) -> Option<&Row> {
        let id = self.detail.as_ref()?;
        self.rows.iter().find(|row| row.line.names.id == *id)
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Do {
        if key.kind == KeyEventKind::Release {
            return Do::Nothing;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Do::Interrupt,
                KeyCode::Char('z') => Do::Suspend,
                _ => Do::Nothing,
            };
        }
        if self.typing.is_some() {
            self.typed(key.code);
            return Do::Nothing;
        }
        if self.help {
            self.help = false;
            return if key.code == KeyCode::Char('q') {
                Do::Quit
            } else {
                Do::Nothing
            };
        }
        self.pressed(key.code)
    }

    fn pressed(&mut self, key: KeyCode) -> Do {
        match key {
            KeyCode::Char('q') => return Do::Quit,
            KeyCode::Esc if self.detail.is_none() && self.filter.is_empty() => return Do::Quit,
            KeyCode::Esc | KeyCode::Left | KeyCode::Backspace | KeyCode::Char('h') => self.back(key),
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => self.open(),
            KeyCode::Up | KeyCode::Char('k') => self.mark(self.marked.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.mark(self.marked.saturating_add(1)),
            KeyCode::PageUp => self.mark(self.marked.saturating_sub(self.page)),
            KeyCode::PageDown => self.mark(self.marked.saturating_add(self.page)),
            KeyCode::Home => self.mark(0),
            KeyCode::End => self.mark(usize::MAX),
            KeyCode::Char('s' | '>') => self.settings.sort = self.settings.sort.next(true),
            KeyCode::Char('S' | '<') => self.settings.sort = self.settings.sort.next(false),
            KeyCode::Char('r') => self.settings.reverse = !self.settings.reverse,
            KeyCode::Char('a') => self.settings.all = !self.settings.all,
            KeyCode::Char('/') if self.detail.is_none() => self.typing = Some(self.filter.clone()),
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('+') => self.pace(2.0),
            KeyCode::Char('-') => self.pace(0.5),
            KeyCode::Char('?') | KeyCode::F(1) => self.help = true,
            _ => {}
        }
        self.arrange();
        Do::Nothing
    }

    /// Marks that row, or the last. The first is first whatever stands there.
    fn mark(&mut self, row: usize) {
        self.marked = row.min(self.last());
        self.moved = self.marked > 0;
    }

    fn typed(&mut self, key: KeyCode) {
        let Some(text) = &mut self.typing else { return };
        match key {
            KeyCode::Enter => self.filter = self.typing.take().unwrap_or_default(),
            KeyCode::Esc => self.typing = None,
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(c) if text.chars().count() < 100 => text.push(c),
            _ => {}
        }
        self.arrange();
    }

    /// Shows the calls of the marked container.
    fn open(&mut self) {
        if self.detail.is_none()
            && let Some(row) = self.rows.get(self.marked)
        {
            self.detail = Some(row.line.names.id.clone());
            (self.stats, self.stats_before, self.stats_at) = (None, None, None);
            self.details.clear();
            self.mark(0);
            self.at_once = true;
        }
    }

    /// Back to the containers; there, without a filter.
    fn back(&mut self, key: KeyCode) {
        if let Some(id) = self.detail.take() {
            let place = self.rows.iter().position(|row| row.line.names.id == id);
            self.mark(place.unwrap_or(0));
        } else if key == KeyCode::Esc {
            self.filter.clear();
        }
    }

    fn pace(&mut self, factor: f64) {
        let (shortest, longest) = INTERVALS;
        self.settings.interval = self.settings.interval.mul_f64(factor).clamp(shortest, longest);
    }
}

/// The rows that are shown, in order.
pub(super) fn shown(mut rows: Vec<Row>, settings: &Settings) -> Vec<Row> {
    rows.retain(|row| settings.all || row.line.state == report::State::Live);
    rates::sort(&mut rows, settings.sort, settings.reverse);
    rows
}
