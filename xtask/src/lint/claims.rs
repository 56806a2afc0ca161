//! A page's claims have a test each: rows of a table that begin with a number (`S1`), whose last cell names them.
//!
//! `users::a_name` is a test of `tests/tests/users.rs`; one beside the code is named by its file, `tracer/src/quota.rs::a_name`.

use std::{fs, path::Path};

/// The page that claims.
pub(crate) const PAGE: &str = "docs/security.md";

pub(crate) fn check(root: &Path, text: &str, failures: &mut Vec<String>) {
    let mut last = 0;
    for (index, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let Some(number) = cells
            .first()
            .and_then(|cell| cell.strip_prefix('S')?.parse::<u32>().ok())
        else {
            continue;
        };
        let mut fail = |why: String| failures.push(format!("{PAGE}:{}: claim S{number}: {why}", index + 1));
        if number != last + 1 {
            fail(format!("the claim before is S{last}"));
        }
        last = number;
        let mut tests = cells
            .last()
            .into_iter()
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .peekable();
        if tests.peek().is_none() {
            fail("no test attacks it".to_owned());
        }
        for test in tests {
            if !exists(root, test) {
                fail(format!("there is no test {test}"));
            }
        }
    }
    if last == 0 {
        failures.push(format!("{PAGE}: claims nothing"));
    }
}

fn exists(root: &Path, test: &str) -> bool {
    let Some((place, name)) = test.rsplit_once("::") else {
        return false;
    };
    let file = if place.contains('/') {
        root.join(place)
    } else {
        root.join("tests/tests").join(place).with_extension("rs")
    };
    let text = fs::read_to_string(file).unwrap_or_default();
    // proptest's have arguments.
    text.contains("#[test]") && text.contains(&format!("fn {name}("))
}
