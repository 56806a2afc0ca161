//! What is drawn, by ratatui's own test terminal, and what keys do.

use std::time::{Duration, Instant};

use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::{Color, Modifier},
};

use super::{
    Look, Settings, Sort,
    state::{Do, State},
    view,
};
use crate::{
    histogram::Histogram,
    report::{
        self, Line, Names, Stats,
        activity::{Activities, Activity, Calls},
    },
};

pub(super) fn activity(name: &str, calls: &[(&str, u64, u64)]) -> Activity {
    let calls = calls.iter().map(|(syscall, calls, errors)| Calls {
        syscall: (*syscall).to_owned(),
        calls: *calls,
        errors: *errors,
        total_ns: calls * 1_000,
    });
    Activity {
        line: Line {
            names: Names {
                id: format!("id-{name}"),
                name: name.to_owned(),
                pod: Some(format!("{}-0", name.to_lowercase())),
                namespace: Some("shop".into()),
                ..Names::default()
            },
            runtime: Some("runc".into()),
            pid: Some(7),
            state: report::State::Live,
            events: 1,
            lost: 0,
            complete: true,
            reason: None,
        },
        calls: calls.collect(),
        durations: Histogram::default(),
        overflow: 0,
    }
}

pub(super) fn look(ktime: u64, containers: Vec<Activity>) -> Activities {
    Activities { ktime, containers }
}

fn stats(name: &str, rows: &[(&str, u64, u64)]) -> Stats {
    let row = |(syscall, calls, errors): &(&str, u64, u64)| report::Row {
        syscall: (*syscall).to_owned(),
        arch: "x86_64".into(),
        calls: *calls,
        errors: *errors,
        timed: *calls,
        total_ns: calls * 1_500,
        p50_ns: 900,
        p95_ns: 12_000,
        p99_ns: 3_000_000,
        errnos: (*errors > 0)
            .then(|| ("ENOENT".to_owned(), *errors))
            .into_iter()
            .collect(),
        nr: syscall.len() as u32,
        ..report::Row::default()
    };
    Stats {
        container: Names {
            id: format!("id-{name}"),
            ..Names::default()
        },
        state: report::State::Live,
        calls: rows.iter().map(row).collect(),
        overflow: 0,
    }
}

/// Two looks, a second apart.
fn state() -> State {
    let mut state = State::new(Settings {
        interval: Duration::from_secs(1),
        ..Settings::default()
    });
    let mut gone = activity("old", &[("read", 1, 0)]);
    gone.line.state = report::State::Gone;
    let first = vec![
        gone.clone(),
        activity("web", &[("read", 100, 0), ("openat", 10, 10)]),
        activity("db", &[("futex", 5, 0)]),
    ];
    let mut lossy = activity("web", &[("read", 350, 0), ("openat", 30, 20)]);
    lossy.line.lost = 42;
    let second = vec![gone, lossy, activity("db", &[("futex", 5, 0)])];
    take(&mut state, look(1_000_000_000, first), None);
    take(&mut state, look(2_000_000_000, second), None);
    state
}

fn take(state: &mut State, containers: Activities, detail: Option<(String, Result<Stats, String>)>) {
    let at = Instant::now();
    state.asked(at);
    state.take(Ok(Look { containers, detail }), at);
}

fn drawn(state: &mut State, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, state)).unwrap();
    terminal.backend().buffer().clone()
}

/// The lines of a screen.
fn lines(state: &mut State, width: u16, height: u16) -> Vec<String> {
    let buffer = drawn(state, width, height);
    (0..height)
        .map(|y| {
            let cells = (0..width).map(|x| buffer[(x, y)].symbol().to_owned());
            cells.collect::<String>().trim_end().to_owned()
        })
        .collect()
}

fn press(state: &mut State, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            other => KeyCode::Char(other),
        };
        assert_eq!(state.key(code.into()), Do::Nothing, "{key:?}");
    }
}

#[test]
fn the_table_of_containers() {
    let lines = lines(&mut state(), 100, 8);
    assert_eq!(
        lines,
        [
            "tracer top  2 live, 1 gone  270 calls/s  10 errors/s  42 lost  every 1 s",
            "",
            "NAME     POD        STATE     CALLS/S   ERR/S     P99    LOST    CALLS   ERRORS TOP CALLS",
            "web      shop/web-0 live          270      10       -      42      380       20 read 250, openat 20",
            "db       shop/db-0  live            0       0       -       0        5        0",
            "",
            "",
            "q end  Enter calls  s sort (calls)  / filter  a all  p pause  ? help",
        ]
    );
}

#[test]
fn what_is_wrong_is_red_and_the_mark_is_reversed() {
    let buffer = drawn(&mut state(), 100, 8);
    let lost = (0..100).find(|x| buffer[(*x, 3)].symbol() == "4").unwrap();
    assert_eq!(buffer[(lost, 3)].fg, Color::Red);
    assert!(buffer[(0, 3)].modifier.contains(Modifier::REVERSED));
    assert!(!buffer[(0, 4)].modifier.contains(Modifier::REVERSED));
}

#[test]
fn it_fits_80_by_24() {
    let mut state = state();
    let screen = lines(&mut state, 80, 24);
    assert_eq!(
        screen[2].trim_end(),
        "NAME     STATE     CALLS/S   ERR/S     P99    LOST    CALLS TOP CALLS"
    );
    assert!(screen[3].ends_with("read 250, openat 20"), "{}", screen[3]);
    assert!(screen[23].ends_with("? help"), "{}", screen[23]);
}

#[test]
fn any_size_is_drawn() {
    let mut state = state();
    let mut with_calls = self::state();
    press(&mut with_calls, "\n");
    let told = Ok(stats("web", &[("read", 350, 0), ("openat", 30, 20)]));
    let now = look(3_000_000_000, vec![activity("web", &[("read", 360, 0)])]);
    take(&mut with_calls, now, Some(("id-web".into(), told)));
    for (width, height) in [
        (0, 0),
        (1, 1),
        (3, 2),
        (10, 3),
        (20, 4),
        (80, 24),
        (300, 100),
        (1000, 200),
    ] {
        for state in [&mut state, &mut with_calls] {
            for help in [false, true] {
                state.help = help;
                drawn(state, width, height);
            }
            state.help = false;
        }
    }
    // All of a small one is table.
    assert_eq!(
        lines(&mut state, 17, 2),
        ["NAME      CALLS/S", "web           270"]
    );
}

#[test]
fn a_container_is_opened_and_left() {
    let mut state = state();
    press(&mut state, "\n");
    assert_eq!(state.ask().detail.as_deref(), Some("id-web"));
    assert!(state.due().unwrap() <= Instant::now(), "at once");
    let told = |rows| Some(("id-web".to_owned(), Ok(stats("web", rows))));
    let now = |at| look(at, vec![activity("web", &[("read", 380, 0)])]);
    take(
        &mut state,
        now(3_000_000_000),
        told(&[("read", 350, 0), ("openat", 30, 20)]),
    );
    let screen = lines(&mut state, 110, 8);
    assert_eq!(screen[1], "web (live)  pod web-0  namespace shop  id-web");
    assert_eq!(
        screen[2],
        "SYSCALL       CALLS/S   ERR/S    CALLS  ERRORS     P50     P95     P99    TIME ERRORS BY NAME"
    );
    assert_eq!(
        screen[3],
        "read                -       -      350       0   900ns    12us   3.0ms   525us"
    );
    assert!(
        screen[4].starts_with("openat ") && screen[4].ends_with("ENOENT 20"),
        "{screen:#?}"
    );
    // The calls of another container that came late are not taken for this one's.
    take(
        &mut state,
        now(4_000_000_000),
        Some(("id-db".into(), Ok(stats("db", &[("futex", 9, 9)])))),
    );
    assert!(lines(&mut state, 110, 8)[3].starts_with("read "));
    press(&mut state, "\u{1b}");
    assert_eq!(state.ask().detail, None);
    assert!(lines(&mut state, 100, 8)[2].starts_with("NAME"));
}

#[test]
fn a_filter_is_typed() {
    let mut state = state();
    press(&mut state, "/Db");
    assert_eq!(lines(&mut state, 60, 8)[1], "filter: Db_");
    assert_eq!(state.rows.len(), 1);
    press(&mut state, "\n");
    assert_eq!(lines(&mut state, 60, 8)[1], "filter: Db");
    press(&mut state, "/x\u{1b}");
    assert_eq!(state.rows.len(), 1, "left: the one before holds");
    press(&mut state, "/x\n");
    assert_eq!(lines(&mut state, 60, 8)[2], "no container has that in its names");
    press(&mut state, "\u{1b}");
    assert_eq!(state.rows.len(), 2);
}

#[test]
fn keys_change_order_pace_and_what_is_shown() {
    let mut state = state();
    press(&mut state, "a");
    assert_eq!(state.rows.len(), 3);
    assert_eq!(
        state.rows[2].line.names.name, "old",
        "those that live stand first"
    );
    press(&mut state, "r");
    assert_eq!(state.rows[0].line.names.name, "db");
    assert_eq!(state.marked, 0, "it was not moved");
    press(&mut state, "jr");
    assert_eq!(
        (state.marked, state.rows[0].line.names.name.as_str()),
        (0, "web"),
        "the mark stays on its container"
    );
    press(&mut state, "s");
    assert_eq!(state.settings.sort, Sort::Errors);
    press(&mut state, "S++");
    assert_eq!(state.settings.interval, Duration::from_secs(4));
    press(&mut state, "------");
    assert_eq!(state.settings.interval, Duration::from_millis(250));
    press(&mut state, "p");
    assert_eq!(state.due(), None);
    assert!(lines(&mut state, 100, 8)[0].ends_with("PAUSED"));
    press(&mut state, "?");
    assert!(
        lines(&mut state, 100, 24)
            .iter()
            .any(|line| line.contains("any key goes on"))
    );
    press(&mut state, "p");
    assert!(!state.help && state.paused, "it only ends the help");
    press(&mut state, "p");
    assert!(state.due().is_some());
    for (key, expected) in [('c', Do::Interrupt), ('z', Do::Suspend)] {
        let key = KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL);
        assert_eq!(state.key(key), expected);
    }
    assert_eq!(state.key(KeyCode::Esc.into()), Do::Quit);
}

#[test]
fn marks_stay_on_the_screen() {
    let mut state = state();
    let many = (0..500).map(|at| activity(&format!("c{at:03}"), &[("read", 1000 - at, 0)]));
    state.settings.sort = Sort::Total;
    take(&mut state, look(3_000_000_000, many.collect()), None);
    for key in [KeyCode::End, KeyCode::Down, KeyCode::PageDown] {
        state.key(key.into());
        assert_eq!(state.marked, 499);
    }
    let screen = lines(&mut state, 80, 24);
    assert!(screen.iter().any(|line| line.starts_with("c499")), "{screen:#?}");
    state.key(KeyCode::PageUp.into());
    assert_eq!(state.marked, 499 - 20);
    state.key(KeyCode::Home.into());
    assert!(lines(&mut state, 80, 24)[3].starts_with("c000"));
}

#[test]
fn a_look_that_fails_says_why_and_keeps_what_was_seen() {
    let mut state = state();
    state.take(Err("no daemon answers on /run/x\u{1b}[2J".into()), Instant::now());
    let screen = lines(&mut state, 80, 8);
    assert_eq!(screen[1], "no daemon answers on /run/x\\u{1b}[2J");
    assert!(screen[3].starts_with("web"));
    let empty = look(9_000_000_000, Vec::new());
    take(&mut state, empty, None);
    assert_eq!(lines(&mut state, 80, 8)[2], "no container is traced");
}
