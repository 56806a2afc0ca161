//! What `tracer verify` says of a container, and the equations that must hold to the last call.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The answer of `tracer verify -o json`.
#[derive(Clone, Debug)]
pub struct Verdict(pub Value);

impl Verdict {
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self(
            serde_json::from_str(text).with_context(|| format!("not one JSON object: {text}"))?,
        ))
    }

    /// A number by its JSON pointer.
    pub fn number(&self, pointer: &str) -> Result<u64> {
        let value = self.0.pointer(pointer).and_then(Value::as_u64);
        value.with_context(|| format!("verify has no number {pointer}: {}", self.0))
    }

    pub fn book(&self, name: &str) -> Result<u64> {
        self.number(&format!("/books/{name}"))
    }

    /// Kernel-side losses, by all reasons.
    pub fn dropped(&self) -> Result<u64> {
        Ok(self.book("dropped/ring_full")?
            + self.book("dropped/no_storage")?
            + self.book("dropped/unpaired")?
            + self.book("dropped/rate_limit")?
            + self.book("dropped/ring_share")?)
    }

    pub fn is_complete(&self) -> bool {
        self.0["complete"] == Value::Bool(true)
    }

    pub fn state(&self) -> &str {
        self.0["state"].as_str().unwrap_or_default()
    }

    /// All equations of the books, whatever was lost.
    pub fn balances(&self) -> Result<()> {
        let b = |name| self.book(name);
        let dropped = self.dropped()?;
        let out = b("emitted")? + dropped + b("filtered")? + b("counted")? + b("in_flight")?;
        ensure!(
            b("admitted")? == out,
            "admitted {} but {out} came out: {}",
            b("admitted")?,
            self.0
        );
        let read = b("decoded")? + b("undecodable")? + b("queue_drop")?;
        ensure!(
            b("emitted")? == read,
            "emitted {} but {read} were read: {}",
            b("emitted")?,
            self.0
        );
        let ended = b("admitted")? - b("in_flight")?;
        ensure!(
            b("aggregated")? == ended,
            "aggregated {} but {ended} ended: {}",
            b("aggregated")?,
            self.0
        );
        ensure!(
            self.0["balanced"] == Value::Bool(true),
            "verify says that its books do not balance: {}",
            self.0
        );
        let lost = dropped + b("undecodable")? + b("queue_drop")?;
        ensure!(self.number("/lost")? == lost, "lost is not {lost}: {}", self.0);
        Ok(())
    }

    /// The container was seen whole, from before its execve to its end.
    pub fn whole(&self) -> Result<()> {
        self.balances()?;
        ensure!(self.is_complete(), "not complete: {}", self.0);
        ensure!(self.number("/lost")? == 0, "lost some: {}", self.0);
        ensure!(
            self.0["gaps"].as_array().is_some_and(Vec::is_empty),
            "gaps: {}",
            self.0
        );
        ensure!(
            self.book("in_flight")? == 0,
            "calls in flight at the end: {}",
            self.0
        );
        ensure!(self.0["reason"].is_null(), "complete, with a reason: {}", self.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verdict() -> Value {
        json!({
            "complete": true, "reason": null, "state": "gone", "balanced": true, "lost": 0, "gaps": [],
            "books": {
                "admitted": 10, "emitted": 10, "dropped": {"ring_full": 0, "no_storage": 0, "unpaired": 0, "rate_limit": 0,
                    "ring_share": 0},
                "filtered": 0, "counted": 0, "in_flight": 0, "decoded": 10, "undecodable": 0, "queue_drop": 0,
                "aggregated": 10,
            },
        })
    }

    #[test]
    fn books_that_balance_are_whole() {
        Verdict(verdict()).whole().unwrap();
    }

    #[test]
    fn one_call_that_is_nowhere_is_found_in_every_equation() {
        let numbers = [
            "admitted",
            "emitted",
            "filtered",
            "counted",
            "in_flight",
            "decoded",
            "undecodable",
        ];
        for name in numbers.into_iter().chain(["queue_drop", "aggregated"]) {
            let mut wrong = verdict();
            wrong["books"][name] = json!(wrong["books"][name].as_u64().unwrap() + 1);
            assert!(Verdict(wrong).balances().is_err(), "{name}");
        }
        let mut lossy = verdict();
        lossy["books"]["dropped"]["ring_full"] = json!(3);
        lossy["books"]["admitted"] = json!(13);
        lossy["books"]["aggregated"] = json!(13);
        lossy["lost"] = json!(3);
        assert!(Verdict(lossy.clone()).balances().is_ok());
        assert!(Verdict(lossy).whole().is_err());
    }
}
