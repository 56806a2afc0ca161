//! `tracer dentry`: the paths that a container looked for in vain are those that strace sees fail, each as often; their
//! searches and the variables behind them are told; what was not seen is said.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, process::Stdio};
use tracer_tests::{Bundle, Counts, Daemon, Rootfs, Runtime, asleep, programs};

/// `tracer dentry -o json`, and its exit code.
fn dentry(daemon: &Daemon, id: &str) -> Result<(i32, Value)> {
    let out = programs::output(daemon.client("dentry").args(["-o", "json", id]))?;
    let report = serde_json::from_slice(&out.stdout).with_context(|| programs::both(&out))?;
    Ok((out.status.code().context("killed")?, report))
}

/// Failures by path.
fn paths(report: &Value) -> Result<Counts> {
    let mut counts = Counts::new();
    for row in report["paths"].as_array().context("no paths")? {
        let path = row["path"].as_str().context("a path")?.to_owned();
        let count = |field: &str| row[field].as_u64().with_context(|| row.to_string());
        counts.insert(path, count("missing")? + count("not_a_directory")?);
    }
    Ok(counts)
}

fn row<'a>(report: &'a Value, list: &str, field: &str, value: &str) -> Result<&'a Value> {
    let rows = report[list].as_array().with_context(|| format!("no {list}"))?;
    rows.iter()
        .find(|row| row[field] == value)
        .with_context(|| format!("no {list} of {value}: {report}"))
}

/// The same by strace, in a container of the same kind.
fn by_strace(args: &[&str], env: &[&str]) -> Result<Counts> {
    let strace = [
        "/usr/bin/strace",
        "-f",
        "-s",
        "4096",
        "-e",
        "trace=%file,connect",
        "-o",
        "/scratch/strace",
    ];
    // The program's environment, not strace's: its loader would search too.
    let env = env.iter().flat_map(|pair| ["-E", pair]);
    let all: Vec<&str> = strace
        .into_iter()
        .chain(env)
        .chain(["--"])
        .chain(args.iter().copied())
        .collect();
    let bundle = Bundle::new("dentry", Rootfs::Host, &all)?.capability("CAP_SYS_PTRACE");
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    let text = fs::read_to_string(container.bundle.scratch().join("strace"))?;
    let mut counts = Counts::new();
    for line in text.lines() {
        if line.contains("= -1 ENOENT") || line.contains("= -1 ENOTDIR") {
            let path = line.split('"').nth(1).with_context(|| line.to_owned())?;
            *counts.entry(path.to_owned()).or_default() += 1;
        }
    }
    Ok(counts)
}

fn bundle(daemon: &Daemon, args: &[&str], env: &[&str]) -> Result<Bundle> {
    let mut bundle = Bundle::traced("dentry", Rootfs::Host, args, daemon)?;
    let list = bundle.config["process"]["env"].as_array_mut().context("no env")?;
    list.extend(env.iter().map(|pair| json!(pair)));
    Ok(bundle)
}

#[test]
fn each_failure_is_counted_by_path() -> Result<()> {
    let daemon = Daemon::start()?;
    let args = ["/workloads/missing", "/data/not there", "1013"];
    let mut container = Runtime::Runc.start(bundle(&daemon, &args, &[])?)?;
    container.success()?;
    assert_eq!(container.stdout(), "missing 1013\n");
    daemon.verdict_at_end(container.id())?.whole()?;
    let (code, report) = dentry(&daemon, container.id())?;
    assert_eq!(code, 0, "{report}");
    let ours = row(&report, "paths", "path", "/data/not there")?;
    assert_eq!(ours["missing"], 1013);
    assert_eq!(ours["calls"], json!(["newfstatat"]));
    assert_eq!(
        (&ours["by"][0]["comm"], &ours["by"][0]["count"]),
        (&json!("missing"), &json!(1013))
    );
    ensure!(
        ours["per_second"].as_f64().is_some_and(|rate| rate > 0.0),
        "{ours}"
    );
    assert_eq!(report["failed"], report["counted"]);
    assert_eq!(report["whole"], true);
    ensure!(
        report["negative"]["began"].is_u64() && report["negative"]["ended"].is_u64(),
        "{}",
        report["negative"]
    );
    assert_eq!(paths(&report)?, by_strace(&args, &[])?);
    Ok(())
}

#[test]
fn a_programs_searches_are_told_with_their_variables() -> Result<()> {
    let daemon = Daemon::start()?;
    let script =
        "import signal, sys\nprint('ready', flush=True)\nsys.argv[1:] == ['wait'] and signal.pause()";
    let env = ["LD_LIBRARY_PATH=/opt/none:/data", "PYTHONPATH=/srv/nope:/data"];
    let command = ["/usr/bin/python3", "-B", "-c", script];
    let args = [&command[..], &["wait"]].concat();
    let mut container = Runtime::Runc.start(bundle(&daemon, &args, &env)?)?;
    container.printed("ready")?;
    let id = container.id().to_owned();
    let (code, report) = dentry(&daemon, &id)?;
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["state"], "live");
    // It is the same before it waits.
    assert_eq!(
        paths(&report)?,
        by_strace(&[&command[..], &["end"]].concat(), &env)?
    );
    assert_eq!(row(&report, "paths", "path", "/srv/nope")?["from"], "PYTHONPATH");
    assert_eq!(
        row(&report, "paths", "path", "/etc/ld.so.preload")?["from"],
        "default search"
    );
    // The first library that python3 is linked with is looked for in both directories of the variable.
    let loader = report["searches"].as_array().context("no searches")?;
    let loader = loader
        .iter()
        .find(|search| search["from"] == "LD_LIBRARY_PATH")
        .with_context(|| report.to_string())?;
    let places: Vec<&str> = loader["places"]
        .as_array()
        .context("no places")?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let at = |place: &str| places.iter().position(|tried| *tried == place);
    ensure!(
        at("/opt/none").is_some() && at("/opt/none") < at("/data"),
        "{loader}"
    );
    ensure!(
        loader["found"]
            .as_str()
            .is_some_and(|found| found.contains("/lib")),
        "{loader}"
    );

    let mut watch = daemon.client("dentry");
    watch
        .args(["--watch=0.1", "--top", "3", &id])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let watch = watch.spawn()?;
    container.kill("KILL")?;
    container.wait()?;
    let out = watch.wait_with_output()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(
        out.status.success() && text.contains("failed look-ups of "),
        "{}",
        programs::both(&out)
    );
    ensure!(
        text.contains("more; --top 0 shows all") && !text.contains('\x1b'),
        "{text}"
    );
    Ok(())
}

#[test]
fn relative_paths_are_told_from_where_they_began() -> Result<()> {
    let daemon = Daemon::start()?;
    // The runtime goes to the first directory, the shell to the second, and its child inherits it.
    let script = "cat none/a; cd share; cat ./none; true";
    let mut bundle = bundle(&daemon, &["/bin/sh", "-c", script], &[])?;
    bundle.config["process"]["cwd"] = json!("/usr");
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    daemon.verdict_at_end(container.id())?.whole()?;
    let (code, report) = dentry(&daemon, container.id())?;
    assert_eq!(code, 0, "{report}");
    for path in ["/usr/none/a", "/usr/share/none"] {
        assert_eq!(row(&report, "paths", "path", path)?["missing"], 1);
    }
    let relative: Vec<_> = paths(&report)?
        .into_keys()
        .filter(|path| !path.starts_with('/'))
        .collect();
    ensure!(relative.is_empty(), "{relative:?}");
    Ok(())
}

#[test]
fn the_kernels_own_detail_is_told_where_it_lets_us_see() -> Result<()> {
    const TIMES: u64 = 1013;
    let daemon = Daemon::start()?;
    let path = format!("/usr/missing-{}", std::process::id());
    let script = format!("echo ready; read go </scratch/go; exec /workloads/missing {path} {TIMES}");
    let bundle = bundle(&daemon, &["/bin/sh", "-c", &script], &[])?;
    let go = bundle.fifo("go")?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.printed("ready")?;
    let id = container.id().to_owned();
    let (_, asked) = dentry(&daemon, &id)?;
    let detail = &asked["detail"];
    let text = programs::success(daemon.client("dentry").arg(&id))?;
    // That somebody asked begins it.
    fs::write(&go, "\n")?;
    container.success()?;
    daemon.verdict_at_end(&id)?.whole()?;
    let (_, report) = dentry(&daemon, &id)?;
    let row = row(&report, "paths", "path", &path)?;
    assert_eq!(row["missing"], TIMES);
    let seen = (row["cached"].as_u64(), row["looked_up"].as_u64());
    if let Some(why) = detail["absent"].as_str() {
        ensure!(
            why.contains("lookup_fast")
                && text.contains(&format!("kernel detail: from ENOENT results alone: {why}")),
            "{why}: {text}"
        );
        assert_eq!(seen, (Some(0), Some(0)));
    } else {
        assert_eq!(
            detail["functions"],
            json!(["lookup_fast", "d_add", "d_splice_alias"])
        );
        ensure!(
            detail["since"].is_string() && text.contains("kernel detail: fentry on lookup_fast"),
            "{text}"
        );
        assert_eq!(seen, (Some(TIMES - 1), Some(1)), "{row}");
    }
    Ok(())
}

#[test]
fn what_was_lost_or_left_out_is_said() -> Result<()> {
    let lossy = Daemon::start_with(&["--ring-size", "4096"])?;
    let container = asleep::container(&lossy, "dentry", &["/workloads/missing", "/none", "20011"])?;
    let (code, report) = dentry(&lossy, container.id())?;
    ensure!(
        lossy.verify_now(container.id())?.dropped()? > 0,
        "a ring of one page lost nothing"
    );
    assert_eq!((code, &report["whole"]), (1, &json!(false)));
    ensure!(
        report["counted"].as_u64() >= Some(20_011) && report["failed"].as_u64() < report["counted"].as_u64(),
        "{report}"
    );
    let text = programs::output(lossy.client("dentry").arg(container.id()))?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    ensure!(text.contains("counted and not seen"), "{text}");

    // A reader who wants less has the kernel side leave the rest out.
    let daemon = Daemon::start()?;
    let bundle = bundle(&daemon, &["/workloads/missing", "/none", "211"], &[])?;
    let tail = daemon
        .tail(&bundle.id, &["-o", "json", "-e", "write"])?
        .opened()?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    tail.events()?;
    daemon.verdict_at_end(container.id())?;
    let (code, report) = dentry(&daemon, container.id())?;
    assert_eq!(
        (code, &report["whole"], &report["failed"]),
        (1, &json!(false), &json!(0))
    );
    let names: BTreeMap<String, u64> = paths(&report)?;
    ensure!(
        names.is_empty() && report["counted"].as_u64() >= Some(211),
        "{report}"
    );
    Ok(())
}
