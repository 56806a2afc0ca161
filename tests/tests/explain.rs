//! `tracer explain` is right about failures in real containers, and what it says to change helps.
//!
//! `ROWS=word,word` runs only rows whose name has one of the words; `REPORT=1` prints what was said of each,
//! `REPORT=text` all that a user reads.

use anyhow::{Result, ensure};
use std::{
    collections::BTreeMap,
    env,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};
use tracer_tests::failures::{self, Failure, Fix, Ground, How};

/// Containers at once.
const AT_ONCE: usize = 4;

fn wanted(row: &Failure) -> bool {
    env::var("ROWS").map_or(true, |words| words.split(',').any(|word| row.name.contains(word)))
}

/// Judges the rows, several at a time; what is wrong, by the row's name.
fn judge(rows: &[Failure]) -> Result<()> {
    let ground = Ground::new()?;
    std::fs::write(ground.path().join("user"), ground.user()?.uid.to_string())?;
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let report = env::var_os("REPORT").is_some();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Relaxed)) {
                    match ground.judge(row) {
                        Ok(said) if report => eprintln!("{:<56} {said}", row.name),
                        Ok(_) => {}
                        Err(why) => {
                            let mut wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner);
                            wrong.insert(row.name, format!("{why:#}"));
                        }
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner()?;
    let all: Vec<_> = wrong.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    ensure!(
        all.is_empty(),
        "{} of {} rows:\n{}",
        all.len(),
        rows.len(),
        all.join("\n\n")
    );
    Ok(())
}

#[test]
fn the_cause_of_each_failure_is_found_and_its_fix_helps() -> Result<()> {
    let mut rows = failures::all();
    let rootless = rows
        .iter()
        .filter(|row| matches!(row.how, How::Rootless(_)))
        .count();
    let unshown = rows
        .iter()
        .filter(|row| matches!(row.fix, Fix::Unshown(_)))
        .count();
    ensure!(
        rows.len() >= 40 && rootless >= 15,
        "{} rows, {rootless} rootless",
        rows.len()
    );
    ensure!(unshown <= 5, "{unshown} fixes are not shown");
    rows.retain(wanted);
    judge(&rows)
}

#[test]
fn no_verdict_is_false_where_nothing_is_wrong() -> Result<()> {
    let mut rows = failures::well();
    ensure!(rows.len() >= 10);
    rows.retain(wanted);
    judge(&rows)
}
