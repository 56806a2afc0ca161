//! How it is drawn. It fits any terminal: columns go before they are cut, and of a very small one all is table.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Cell, Clear, Paragraph, Row as Cells, Table, TableState},
};

use super::{
    columns::{self, CALLS, CONTAINERS, Column, count, rate},
    rates::Row,
    state::State,
};
use crate::report::{self, activity::Activity, table::safe};

const KEYS: [(&str, &str); 11] = [
    ("up, down, k, j", "mark a row; also Page Up, Page Down, Home, End"),
    ("Enter, l", "the calls of the marked container"),
    ("Esc, h", "back; takes the filter away"),
    ("s, S", "sort by the next key, by the one before"),
    ("r", "reverse the order"),
    (
        "/",
        "show only containers with this in their name, Pod, namespace or id",
    ),
    ("a", "also those that ended or were missed"),
    ("p, Space", "pause"),
    ("+, -", "look half as often, twice as often"),
    ("Ctrl-Z", "stop, as any job"),
    ("q, Ctrl-C", "end"),
];

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State) {
    let area = frame.area();
    let edges = u16::from(area.height >= 4);
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(edges * 2),
        Constraint::Min(0),
        Constraint::Length(edges),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(self::head(state)), head);
    state.page = usize::from(body.height.saturating_sub(1)).max(1);
    let marked = state.marked;
    match (&state.detail, &state.stats) {
        (None, _) if state.rows.is_empty() => nothing(frame, body, none(state)),
        (None, _) => rows(frame, body, &CONTAINERS, &state.rows, marked),
        (Some(_), None) => nothing(frame, body, "...".into()),
        (Some(_), Some(Err(error))) => nothing(frame, body, safe(error)),
        (Some(_), Some(Ok(_))) if state.details.is_empty() => nothing(frame, body, "no calls yet".into()),
        (Some(_), Some(Ok(_))) => rows(frame, body, &CALLS, &state.details, marked),
    }
    frame.render_widget(Paragraph::new(self::foot(state)).style(Modifier::DIM), foot);
    if state.help {
        help(frame, area);
    }
}

/// Two lines: how all are, and what is shown of them.
fn head(state: &State) -> Vec<Line<'_>> {
    let containers = state.now.as_ref().map_or(&[][..], |now| &now.containers);
    let mut first = vec![
        Span::styled("tracer top", Modifier::BOLD),
        Span::raw(format!("  {}", summary(containers, &state.rows))),
    ];
    if state.paused {
        first.push(Span::styled("  PAUSED", alarm()));
    } else {
        let every = state.settings.interval.as_secs_f64();
        first.push(Span::raw(format!("  every {every} s")));
    }
    let second = if let Some(error) = &state.error {
        Line::styled(safe(error), alarm())
    } else if let Some(text) = &state.typing {
        Line::from(vec![Span::raw("filter: "), Span::raw(safe(text)), Span::raw("_")])
    } else if let Some(row) = state.detailed() {
        Line::raw(title(row))
    } else if let Some(id) = &state.detail {
        Line::raw(format!("{}, no longer shown", safe(id)))
    } else if state.filter.is_empty() {
        Line::raw("")
    } else {
        Line::raw(format!("filter: {}", safe(&state.filter)))
    };
    vec![Line::from(first), second]
}

/// How many containers there are, and what those that are shown do.
pub(super) fn summary(containers: &[Activity], shown: &[Row]) -> String {
    let in_state = |state| containers.iter().filter(|it| it.line.state == state).count();
    let sum = |of: fn(&Row) -> Option<f64>| rate(Some(shown.iter().filter_map(of).sum()));
    let mut text = format!("{} live", in_state(report::State::Live));
    for state in [
        report::State::Gone,
        report::State::Detached,
        report::State::Missed,
    ] {
        let number = in_state(state);
        if number > 0 {
            text += &format!(", {number} {}", state.name());
        }
    }
    let lost = shown.iter().map(|row| row.line.lost).sum();
    text += &format!(
        "  {} calls/s  {} errors/s  {} lost",
        sum(|row| row.calls_per_s),
        sum(|row| row.errors_per_s),
        count(lost)
    );
    text
}

/// The container whose calls are shown.
fn title(row: &Row) -> String {
    let names = &row.line.names;
    let mut text = format!("{} ({})", safe(&names.name), row.line.state.name());
    if let Some(pod) = &names.pod {
        text += &format!("  pod {}", safe(pod));
    }
    if let Some(namespace) = &names.namespace {
        text += &format!("  namespace {}", safe(namespace));
    }
    if names.id != names.name {
        text += &format!("  {}", safe(&names.id));
    }
    if let Some(reason) = &row.line.reason {
        text += &format!("  not complete: {}", safe(reason));
    }
    text
}

fn none(state: &State) -> String {
    let hidden = state.now.as_ref().is_some_and(|now| !now.containers.is_empty());
    match (hidden, state.filter.is_empty() && state.typing.is_none()) {
        (true, false) => "no container has that in its names".into(),
        (true, true) => "no container lives; a shows those that ended".into(),
        _ => "no container is traced".into(),
    }
}

fn nothing(frame: &mut Frame<'_>, area: Rect, text: String) {
    frame.render_widget(Paragraph::new(text), area);
}

fn foot(state: &State) -> Line<'static> {
    let order = state.settings.sort.name();
    let arrow = if state.settings.reverse { ", reversed" } else { "" };
    let keys = if state.typing.is_some() {
        "Enter takes the filter  Esc leaves it".to_owned()
    } else if state.detail.is_some() {
        format!("q end  Esc back  s sort ({order}{arrow})  p pause  ? help")
    } else {
        format!("q end  Enter calls  s sort ({order}{arrow})  / filter  a all  p pause  ? help")
    };
    Line::raw(keys)
}

fn rows<R>(frame: &mut Frame<'_>, area: Rect, columns: &[Column<R>], rows: &[R], marked: usize) {
    let fitted = columns::fitted(columns, rows, area.width);
    let aligned = |text: String, column: &Column<R>| {
        let line = Line::raw(text);
        if column.right { line.right_aligned() } else { line }
    };
    let head = fitted
        .iter()
        .map(|(column, _)| Cell::new(aligned(column.head.to_owned(), column)));
    // Only what can be seen: a node has hundreds of containers.
    let page = usize::from(area.height.saturating_sub(1)).max(1);
    let first = (marked / page) * page;
    let seen = rows.iter().skip(first).take(page);
    let body = seen.map(|row| {
        Cells::new(fitted.iter().map(|(column, _)| {
            let cell = Cell::new(aligned((column.cell)(row), column));
            if (column.alarms)(row) {
                cell.style(alarm())
            } else {
                cell
            }
        }))
    });
    let widths = fitted.iter().map(|(_, width)| Constraint::Length(*width));
    let table = Table::new(body, widths)
        .header(Cells::new(head).style(Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)))
        .row_highlight_style(Modifier::REVERSED)
        .column_spacing(1);
    let mut at = TableState::new().with_selected(Some(marked - first));
    frame.render_stateful_widget(table, area, &mut at);
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let widest = KEYS.iter().map(|(_, does)| does.len()).max().unwrap_or(0);
    let width = u16::try_from(widest + 22).unwrap_or(u16::MAX).min(area.width);
    let height = u16::try_from(KEYS.len() + 4).unwrap_or(u16::MAX).min(area.height);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let mut lines: Vec<_> = KEYS
        .iter()
        .map(|(keys, does)| Line::raw(format!(" {keys:<16} {does}")))
        .collect();
    lines.push(Line::raw(""));
    lines.push(Line::raw(" any key goes on"));
    frame.render_widget(Clear, place);
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title("keys")),
        place,
    );
}

fn alarm() -> Style {
    Style::new().fg(Color::Red)
}
