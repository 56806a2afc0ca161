//! Relative links in Markdown lead to a file, and to a heading of it where they name one.

use std::{fs, path::Path};

pub(crate) fn check(root: &Path, file: &str, text: &str, failures: &mut Vec<String>) {
    for (number, line) in prose(text) {
        for link in targets(line) {
            let outside = link.contains("://") || link.starts_with("mailto:");
            if outside || link.is_empty() {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => root.join(file),
                path => root.join(file).parent().unwrap_or(root).join(path),
            };
            if !target.exists() {
                failures.push(format!("{file}:{number}: {link} leads nowhere"));
            } else if !anchor.is_empty() && path.is_empty() | path.ends_with(".md") {
                let there = fs::read_to_string(&target).unwrap_or_default();
                if !prose(&there).any(|(_, line)| line.starts_with('#') && slug(line) == anchor) {
                    failures.push(format!("{file}:{number}: {link}: there is no such heading"));
                }
            }
        }
    }
}

/// Lines outside fenced blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((number + 1, line))
    })
}

/// What stands in `](…)`, but for code spans.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let plain = line.split('`').step_by(2);
    plain.flat_map(|part| {
        part.split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
    })
}

/// The anchor that forges give to a heading.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_and_headings_are_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b.md"), "# A Head, here\n").unwrap();
        let text =
            "[a](b.md) [b](b.md#a-head-here) [c](c.md) [d](b.md#no) `[e](e.md)`\n```\n[f](f.md)\n```\n";
        let mut failures = Vec::new();
        check(dir.path(), "a.md", text, &mut failures);
        assert_eq!(
            failures,
            [
                "a.md:1: c.md leads nowhere",
                "a.md:1: b.md#no: there is no such heading"
            ]
        );
    }
}
