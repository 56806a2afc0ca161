//! Many rounds of one figure, and how a table shows them.

/// A figure of each round.
#[derive(Clone, Default)]
pub(crate) struct Figure(Vec<f64>);

impl Figure {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Other load on the machine only adds.
    pub(crate) fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// A share of something, of rounds in which both were measured one after the other: its median, and the least and the most.
pub(crate) fn percent(shares: &Figure) -> String {
    format!(
        "{:.0} % ({:.0} to {:.0})",
        shares.median() * 100.0,
        shares.least() * 100.0,
        shares.most() * 100.0
    )
}

/// Nanoseconds as a reader wants them.
pub(crate) fn time(ns: f64) -> String {
    match ns.abs() {
        abs if abs < 1e4 => format!("{ns:.0} ns"),
        abs if abs < 1e6 => format!("{:.1} µs", ns / 1e3),
        _ => format!("{:.1} ms", ns / 1e6),
    }
}

/// What the goals came to; whoever checks fails when one was missed.
#[derive(Default)]
pub(crate) struct Goals {
    missed: Vec<String>,
}

impl Goals {
    /// The words of a table's cell. `limit` says what stands in the way, by what was measured here: told where it is missed.
    pub(crate) fn at_most(&mut self, what: &str, value: f64, goal: f64, unit: &str, limit: &str) -> String {
        self.verdict(
            what,
            value <= goal,
            [format!("≤ {goal}{unit}"), figure(value, unit)],
            limit,
        )
    }

    /// The same.
    pub(crate) fn at_least(&mut self, what: &str, value: f64, goal: f64, unit: &str, limit: &str) -> String {
        self.verdict(
            what,
            value >= goal,
            [format!("≥ {goal}{unit}"), figure(value, unit)],
            limit,
        )
    }

    /// Prints the goal as a line that `cargo xtask bench` takes into the table of all goals.
    fn verdict(&mut self, what: &str, reached: bool, [goal, came]: [String; 2], limit: &str) -> String {
        let (how, limit) = if reached {
            ("reached", "")
        } else {
            ("**missed**", limit)
        };
        println!("<!-- goal | {what} | {goal} | {came} | {how} | {limit} -->");
        if !reached {
            self.missed.push(format!("{what}: {goal}"));
        }
        format!("{goal}: {how}")
    }

    pub(crate) fn missed(&self) -> &[String] {
        &self.missed
    }
}

/// A figure as the table of all goals has it.
fn figure(value: f64, unit: &str) -> String {
    match value.abs() {
        abs if abs < 10.0 => format!("{value:.2}{unit}"),
        _ => format!("{value:.0}{unit}"),
    }
}
