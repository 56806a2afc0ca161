//! Just enough of Rust's surface for the rules: what is code, and whether a line of it has a word.

/// The text with comments, strings and characters blanked; lines stay where they are.
pub(crate) fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = token(rest);
        let (skipped, after) = match len {
            Some(len) => rest.split_at(len),
            None => {
                // An identifier goes in one piece, so that its end is never taken for the start of a raw string.
                let word = rest
                    .find(|c: char| !is_word(c))
                    .unwrap_or(rest.len())
                    .max(first.len_utf8());
                let (word, after) = rest.split_at(word);
                out.push_str(word);
                rest = after;
                continue;
            }
        };
        out.push(' ');
        out.extend(skipped.matches('\n').map(|_| '\n'));
        rest = after;
    }
    out
}

/// Bytes of the comment, string or character that `text` begins with.
fn token(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    let quoted = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - quoted.len();
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = quoted.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &raw[hashes + 1..];
            let close = body.find(&end).map_or(body.len(), |at| at + end.len());
            return Some(prefix + 1 + hashes + 1 + close);
        }
        return None;
    }
    if quoted.starts_with('"') {
        return Some(prefix + until_quote(quoted, '"'));
    }
    // 'x' and '\…' are characters, 'x is a lifetime.
    let mut chars = quoted.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\''), Some('\\'), _) | (Some('\''), Some(_), Some('\'')) => {
            Some(prefix + until_quote(quoted, '\''))
        }
        _ => None,
    }
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Bytes up to and with the closing quote; a backslash takes the character after it along.
fn until_quote(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

/// Whether the line has the word; `println!` is not in `eprintln!`, nor `unsafe` in `unsafe_code`.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    positions(line, word).next().is_some()
}

/// Whether the line names the crate: `use name…` or `name::…`, not `other::name::…`.
pub(crate) fn names_crate(line: &str, name: &str) -> bool {
    positions(line, name).any(|at| {
        let before = line[..at].trim_end();
        let after = &line[at + name.len()..];
        let root = !before.ends_with("::") || before.ends_with(" ::") || before == "::";
        root && (after.starts_with("::") || before.ends_with("use") || before.ends_with("extern crate"))
    })
}

fn positions<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    line.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = line[..*at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let open = |c: Option<char>| !c.is_some_and(is_word);
        open(before) && (word.ends_with('!') || open(after))
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_no_code() {
        let text = "let a = \"unsafe \\\" aya::x\"; // unsafe\n/* unsafe /* */ aya:: */ let r = r#\"a\"unsafe\"#;\nfn f<'a>(c: char) { c == '\"' }";
        let code = code(text);
        assert!(!code.contains("unsafe") && !code.contains("aya"), "{code}");
        assert_eq!(code.lines().count(), text.lines().count());
        assert!(
            code.contains("let r =") && code.contains("fn f<'a>(c: char)"),
            "{code}"
        );
    }

    #[test]
    fn words_have_edges() {
        assert!(has_word("  unsafe { x }", "unsafe") && !has_word("unsafe_op", "unsafe"));
        assert!(has_word("println!(1)", "println!") && !has_word("eprintln!(1)", "println!"));
    }

    #[test]
    fn crates_are_named_at_the_root_of_a_path() {
        for line in [
            "use aya;",
            "use aya::Ebpf;",
            "let x = aya::load();",
            "use ::aya::x;",
            "pub use aya as b;",
        ] {
            assert!(names_crate(line, "aya"), "{line}");
        }
        for line in ["use aya_log::x;", "crate::aya::x()", "let aya = 1;", "maya::x()"] {
            assert!(!names_crate(line, "aya"), "{line}");
        }
    }
}
