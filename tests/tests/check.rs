//! `tracer check`: what it says of a machine that can trace, and what the programs ask of the kernel's verifier.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tracer_tests::programs;

/// The verifier refuses a program with a million, and what it looks at differs from kernel to kernel. Where a change needs
/// more, see how `tracer-ebpf/src/copy.rs` does with less. The whole buffers of `-e read=` took it from 297,000 to 418,000.
const MOST_INSTRUCTIONS: u64 = 500_000;

#[test]
fn the_programs_are_far_from_what_the_verifier_refuses() -> Result<()> {
    let mut command = programs::command(programs::tracer()?);
    let out = programs::success(command.args(["check", "-o", "json"]))?;
    let needs: Vec<Value> = serde_json::from_str(&out)?;
    let need = |name: &str| {
        let mut needs = needs.iter();
        needs
            .find(|need| need["need"] == name)
            .with_context(|| format!("no {name}: {out}"))
    };
    for name in [
        "privilege",
        "kernel BTF",
        "programs load",
        "programs attach",
        "pidfd",
    ] {
        ensure!(need(name)?["ok"] == true, "{}", need(name)?);
    }
    let figures = &need("programs load")?["figures"];
    let figure = |name: &str| {
        figures[name]
            .as_u64()
            .with_context(|| format!("no {name}: {out}"))
    };
    let (all, most) = (figure("instructions")?, figure("most_instructions")?);
    ensure!(
        1000 < most && most < all && most <= MOST_INSTRUCTIONS,
        "{most} instructions of one program, {all} of all"
    );
    Ok(())
}
