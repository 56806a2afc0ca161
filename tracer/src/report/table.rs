//! Cells in columns, and text that fits a width. Text from values; it must not know where it goes, nor what a terminal is.

use std::io;

/// Text that a container chose, without what moves a cursor or turns text around: such characters are escaped.
pub fn safe(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() || is_bidi(c) {
                c.escape_unicode().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

/// A name, or so much of a runtime's id as names it.
pub fn short(name: &str) -> &str {
    let is_id = name.len() > 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.get(..12).filter(|_| is_id).unwrap_or(name)
}

/// The characters that reorder text: Unicode Standard Annex 9, table 4.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}')
}

/// How a column is laid out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout {
    /// Numbers stand at its right.
    pub right: bool,
    /// Its width where there is room.
    pub wide: usize,
    /// It may be cut to that many characters; `None`: never.
    pub narrow: Option<usize>,
}

/// A line of a table.
#[derive(Clone, Debug)]
pub enum Line {
    Cells(Vec<String>),
    /// Dashes in all columns.
    Rule,
}

/// Writes the lines with `gap` spaces between columns. In at most `width` characters where one is given: first columns
/// are as narrow as their cells, then the widest of those that may be are cut, which `…` marks.
///
/// # Errors
/// The writer's.
pub fn write(
    to: &mut impl io::Write,
    lines: &[Line],
    layouts: &[Layout],
    gap: usize,
    width: Option<usize>,
) -> io::Result<()> {
    let cells = cell_widths(lines, layouts);
    let mut widths: Vec<_> = cells
        .iter()
        .zip(layouts)
        .map(|(cell, of)| (*cell).max(of.wide))
        .collect();
    let over = |widths: &[usize]| total(widths, gap).saturating_sub(width.unwrap_or(usize::MAX));
    if over(&widths) > 0 {
        widths = cells;
    }
    for _ in 0..over(&widths) {
        let spare = widths
            .iter_mut()
            .zip(layouts)
            .filter(|(width, of)| of.narrow.is_some_and(|least| **width > least));
        let Some((widest, _)) = spare.max_by_key(|(width, _)| **width) else {
            break;
        };
        *widest -= 1;
    }
    for line in lines {
        let mut text = String::new();
        for (at, (&width, layout)) in widths.iter().zip(layouts).enumerate() {
            let cell = match line {
                Line::Cells(cells) => cut(cells.get(at).map_or("", String::as_str), width),
                Line::Rule => "-".repeat(width),
            };
            text += &if layout.right {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            };
            text.extend(std::iter::repeat_n(' ', gap));
        }
        writeln!(to, "{}", text.trim_end())?;
    }
    Ok(())
}

/// The characters that a table needs at least.
pub fn least(lines: &[Line], layouts: &[Layout], gap: usize) -> usize {
    let cells = cell_widths(lines, layouts).into_iter().zip(layouts);
    let least: Vec<_> = cells
        .map(|(cell, of)| of.narrow.map_or(cell, |narrow| narrow.min(cell)))
        .collect();
    total(&least, gap)
}

fn total(widths: &[usize], gap: usize) -> usize {
    widths.iter().sum::<usize>() + gap * widths.len().saturating_sub(1)
}

/// The longest cell of each column.
fn cell_widths(lines: &[Line], layouts: &[Layout]) -> Vec<usize> {
    let cell = |line: &Line, at| match line {
        Line::Cells(cells) => cells.get(at).map_or(0, |cell: &String| cell.chars().count()),
        Line::Rule => 0,
    };
    (0..layouts.len())
        .map(|at| lines.iter().map(|line| cell(line, at)).max().unwrap_or(0))
        .collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Lines broken between words where they are longer than `width`; what follows stands below the column `indent`.
pub fn fold(text: &str, indent: usize, width: usize) -> String {
    let mut folded = String::new();
    for line in text.lines() {
        let mut rest = line;
        let mut room = width;
        while rest.chars().count() > room {
            let end = rest.char_indices().nth(room).map_or(rest.len(), |(end, _)| end);
            // A word that is longer than the room stands whole: half a path helps nobody. What begins a line, names and
            // the spaces after them, is never broken.
            let first = if folded.is_empty() || folded.ends_with('\n') {
                indent
            } else {
                0
            };
            let spaces = || {
                rest.match_indices(' ')
                    .map(|(at, _)| at)
                    .filter(|at| *at >= first.max(1))
            };
            let Some(at) = spaces()
                .take_while(|at| *at <= end)
                .last()
                .or_else(|| spaces().next())
            else {
                break;
            };
            let (line, after) = rest.split_at(at);
            folded += line.trim_end();
            folded.push('\n');
            folded.extend(std::iter::repeat_n(' ', indent));
            rest = after.trim_start();
            room = width.saturating_sub(indent).max(1);
        }
        folded += rest;
        folded.push('\n');
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Layout = Layout {
        right: false,
        wide: 0,
        narrow: Some(4),
    };
    const NUMBER: Layout = Layout {
        right: true,
        wide: 5,
        narrow: None,
    };

    fn text(rows: &[&[&str]], layouts: &[Layout], width: Option<usize>) -> String {
        let lines: Vec<_> = rows
            .iter()
            .map(|row| Line::Cells(row.iter().map(|&cell| cell.to_owned()).collect()))
            .collect();
        let mut out = Vec::new();
        write(&mut out, &lines, layouts, 2, width).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_that_moves_the_cursor_or_turns_text_around_gets_through() {
        assert_eq!(safe("web\u{1b}[2J\u{202e}x"), "web\\u{1b}[2J\\u{202e}x");
        assert_eq!(safe("Behälter-1"), "Behälter-1");
    }

    #[test]
    fn a_column_is_as_wide_as_its_widest_cell() {
        assert_eq!(
            text(&[&["a", "1"], &["bbb", "22"]], &[TEXT, TEXT], None),
            "a    1\nbbb  22\n"
        );
    }

    #[test]
    fn padding_goes_first_then_the_widest_text() {
        let rows: &[&[&str]] = &[&["name", "7", "reason of it"], &["a-long-name", "42", "none"]];
        let layouts = [TEXT, NUMBER, TEXT];
        assert_eq!(
            text(rows, &layouts, None),
            "name             7  reason of it\na-long-name     42  none\n"
        );
        assert_eq!(
            text(rows, &layouts, Some(29)),
            "name          7  reason of it\na-long-name  42  none\n"
        );
        assert_eq!(
            text(rows, &layouts, Some(24)),
            "name        7  reason o…\na-long-n…  42  none\n"
        );
        // Numbers stay whole, whatever the width.
        assert_eq!(text(rows, &layouts, Some(1)), "name   7  rea…\na-l…  42  none\n");
    }

    #[test]
    fn what_is_too_long_goes_on_below_its_column() {
        let line = "reason   it ran already when it was registered\nshort    yes\n";
        assert_eq!(
            fold(line, 9, 30),
            "reason   it ran already when\n         it was registered\nshort    yes\n"
        );
        assert_eq!(fold(line, 9, 80), line);
        // A word that is too long for the room stands whole, and the head is not torn from it.
        assert_eq!(
            fold("file     /etc/containers/x is\n", 9, 15),
            "file     /etc/containers/x\n         is\n"
        );
        assert_eq!(fold("ä ä ä ä\n", 2, 3), "ä ä\n  ä\n  ä\n");
    }
}
