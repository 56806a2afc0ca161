//! The bench still measures: short rounds of what needs no other tracer. Its figures are not judged here.

use anyhow::{Result, ensure};
use tracer_tests::programs;

#[test]
fn short_rounds_fill_the_tables() -> Result<()> {
    let mut bench = programs::command(programs::workload("bench")?);
    let page = programs::success(bench.args(["--quick", "containers", "clients"]))?;
    // A table's rows are all lines of cells but its head's two.
    let rows = |title: &str| -> Vec<Vec<&str>> {
        let section = page.split("## ").find(|section| section.starts_with(title));
        let lines = section.unwrap_or_default().lines();
        let rows = lines.filter(|line| line.starts_with("| ")).skip(2);
        rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
            .collect()
    };
    for (title, first, cells) in [
        ("Registered containers", &["1", "10"] as &[&str], 5),
        (
            "Readers",
            &[
                "none: what is held for `tail --since-start`",
                "1 `tail`",
                "1 `tail -o json`",
                "1 `record`",
                "5 `tail`",
                "20 `tail`",
            ],
            6,
        ),
    ] {
        let rows = rows(title);
        let names: Vec<_> = rows.iter().filter_map(|row| row.first().copied()).collect();
        assert_eq!(names, first, "{page}");
        for row in &rows {
            ensure!(
                row.len() == cells
                    && row
                        .iter()
                        .all(|cell| !cell.is_empty() && !cell.contains("NaN") && !cell.contains("inf")),
                "{row:?} of {page}"
            );
        }
    }
    Ok(())
}
