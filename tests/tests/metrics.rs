//! The metrics: what a real Prometheus reads is what `tracer stats` says, to the last call, and nobody who reads slowly
//! costs a container anything.

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};
use tracer_tests::{Bundle, Daemon, Rootfs, Runtime, programs, wait};

/// An address that nobody has at this moment.
fn free() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn daemon(dir: &Path, metrics: &str) -> Result<Daemon> {
    let path = dir.join("tracer.toml");
    fs::write(&path, format!("[metrics]\n{metrics}\n"))?;
    Daemon::start_with(&["--config", path.to_str().context("a path that is no text")?])
}

/// The body of an answer, and its status.
fn get(mut stream: impl Read + Write, path: &str) -> Result<(u16, String)> {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .with_context(|| format!("no answer: {text:?}"))?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok((
        status,
        if chunked {
            unchunked(body)?
        } else {
            body.to_owned()
        },
    ))
}

fn unchunked(mut rest: &str) -> Result<String> {
    let mut body = String::new();
    loop {
        let (len, after) = rest.split_once("\r\n").context("a chunk without length")?;
        let len = usize::from_str_radix(len.trim(), 16)?;
        if len == 0 {
            return Ok(body);
        }
        body += after.get(..len).context("a chunk that is cut")?;
        rest = after.get(len + 2..).context("a chunk that is cut")?;
    }
}

fn connect(address: &str) -> Result<TcpStream> {
    wait::until("somebody to listen", wait::LONG, || {
        Ok(TcpStream::connect(address).ok())
    })
}

fn scrape(address: &str) -> Result<String> {
    let (status, text) = get(connect(address)?, "/metrics")?;
    ensure!(status == 200, "{status}: {text}");
    Ok(text)
}

/// The values of a family's series that have this label, by another label.
fn series(text: &str, family: &str, with: &str, by: &str) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| line.starts_with(&format!("{family}{{")) && line.contains(with))
    {
        let label = line
            .split_once(&format!("{by}=\""))
            .and_then(|(_, rest)| rest.split('"').next());
        let value = line
            .rsplit(' ')
            .next()
            .and_then(|value| value.parse::<f64>().ok());
        if let (Some(label), Some(value)) = (label, value) {
            *found.entry(label.to_owned()).or_default() += value;
        }
    }
    found
}

/// Runs a container that makes calls that succeed and one that fails.
fn run(daemon: &Daemon, what: &str, args: &[&str]) -> Result<String> {
    let (_, container) = Runtime::Runc.run(Bundle::traced(what, Rootfs::Host, args, daemon)?)?;
    daemon.verdict_at_end(container.id())?.whole()?;
    Ok(container.id().to_owned())
}

/// `tracer stats` of the application: calls, errors by errno, and timed calls, by call.
fn stats(daemon: &Daemon, id: &str) -> Result<Value> {
    let text = programs::success(daemon.client("stats").args(["-o", "json", id]))?;
    serde_json::from_str(&text).with_context(|| text)
}

fn sums(stats: &Value, of: impl Fn(&Value) -> Option<u64>) -> Result<BTreeMap<String, f64>> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for row in stats["calls"].as_array().context("no calls")? {
        let name = row["syscall"].as_str().context("no name")?;
        let count = of(row).context("no count")?;
        if count > 0 {
            *sums.entry(name.to_owned()).or_default() += count as f64;
        }
    }
    Ok(sums)
}

#[test]
fn figures_are_those_of_stats_and_clean_for_promtool() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let address = free()?;
    let daemon = daemon(dir.path(), &format!("listen = {address:?}\nhistograms = 64"))?;
    let id = run(
        &daemon,
        "figures",
        &["/workloads/calls", "1009", "sched_get_priority_max"],
    )?;
    let failed = run(
        &daemon,
        "failed",
        &["/workloads/fail", "open", "read", "/no/such/file"],
    )?;
    let text = scrape(&address)?;
    for id in [&id, &failed] {
        let stats = stats(&daemon, id)?;
        let with = format!("id=\"{id}\"");
        let calls = series(&text, "tracer_container_syscalls_total", &with, "syscall");
        assert_eq!(calls, sums(&stats, |row| row["calls"].as_u64())?, "{id}");
        let errors = series(&text, "tracer_container_syscall_errors_total", &with, "syscall");
        assert_eq!(errors, sums(&stats, |row| row["errors"].as_u64())?, "{id}");
        let timed = series(
            &text,
            "tracer_container_syscall_duration_seconds_count",
            &with,
            "syscall",
        );
        assert_eq!(timed, sums(&stats, |row| row["timed"].as_u64())?, "{id}");
        let ns = series(
            &text,
            "tracer_container_syscall_duration_seconds_sum",
            &with,
            "syscall",
        );
        for (call, total) in sums(&stats, |row| row["total_ns"].as_u64())? {
            let told = ns.get(&call).copied().unwrap_or_default() * 1e9;
            ensure!(
                (told - total).abs() <= total * 1e-9 + 1.0,
                "{call}: {told} of {total} ns"
            );
        }
    }
    ensure!(
        series(
            &text,
            "tracer_container_syscall_errors_total",
            &format!("id=\"{failed}\""),
            "errno"
        )
        .contains_key("ENOENT")
    );
    let status = daemon.status()?;
    let admitted = series(&text, "tracer_calls_total", "stage=\"admitted\"", "stage");
    assert_eq!(admitted.get("admitted").copied(), status["admitted"].as_f64());

    let mut command = programs::command("promtool");
    let out = programs::output_with(command.args(["check", "metrics"]), text.as_bytes())?;
    ensure!(
        out.status.success() && out.stdout.is_empty() && out.stderr.is_empty(),
        "{}",
        programs::both(&out)
    );
    assert_eq!(get(connect(&address)?, "/")?.0, 404);
    Ok(())
}

/// Ended with this.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        if let Some(pid) = self.0.id().try_into().ok().and_then(Pid::from_raw) {
            let _gone = kill_process(pid, Signal::KILL);
        }
        drop(self.0.wait());
    }
}

#[test]
fn a_real_prometheus_reads_them() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (address, web) = (free()?, free()?);
    let daemon = daemon(dir.path(), &format!("listen = {address:?}"))?;
    let config = dir.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: tracer, static_configs: [{{targets: ['{address}']}}]}}]\n"
    );
    fs::write(&config, text)?;
    let mut command = programs::command("prometheus");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            dir.path().join("data").display()
        ))
        .arg(format!("--web.listen-address={web}"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.path().join("log"))?);
    let _prometheus = Prometheus(command.spawn().context("prometheus")?);
    let id = run(
        &daemon,
        "prometheus",
        &["/workloads/calls", "2003", "sched_get_priority_max"],
    )?;
    let expected = sums(&stats(&daemon, &id)?, |row| row["calls"].as_u64())?;
    let query = format!("/api/v1/query?query=tracer_container_syscalls_total%7Bid%3D%22{id}%22%7D");
    let read = || -> Result<BTreeMap<String, f64>> {
        let (_, answer) = get(connect(&web)?, &query)?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let found = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let pairs = found.iter().filter_map(|one| {
            let call = one["metric"]["syscall"].as_str()?;
            Some((call.to_owned(), one["value"][1].as_str()?.parse().ok()?))
        });
        Ok(pairs.collect())
    };
    let found = wait::until("Prometheus to have the container", wait::LONG, || {
        let found = read()?;
        Ok((found.len() >= expected.len()).then_some(found))
    })
    .with_context(|| fs::read_to_string(dir.path().join("log")).unwrap_or_default())?;
    assert_eq!(found, expected);
    Ok(())
}

#[test]
fn slow_clients_cost_only_themselves_and_a_reload_moves_them() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let address = free()?;
    let daemon = daemon(dir.path(), &format!("listen = {address:?}"))?;
    scrape(&address)?;
    let mut idle = Vec::new();
    for _ in 0..64 {
        let stream = connect(&address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        idle.push(stream);
    }
    // All places are taken; what is too many has been closed, and the container is traced whole.
    let last = idle.last_mut().context("no stream")?;
    assert_eq!(last.read(&mut [0; 16])?, 0, "it is closed");
    run(
        &daemon,
        "slow",
        &["/workloads/calls", "100003", "sched_get_priority_max"],
    )?;
    drop(idle);
    let text = wait::until("a place to be free", wait::LONG, || Ok(scrape(&address).ok()))?;
    ensure!(
        text.contains("tracer_programs_attached 0") || text.contains("tracer_programs_attached 1"),
        "{text}"
    );

    let socket = dir.path().join("metrics.sock");
    fs::write(
        dir.path().join("tracer.toml"),
        format!("[metrics]\nlisten = {socket:?}\n"),
    )?;
    daemon.signal(Signal::HUP)?;
    let stream = wait::until("the socket", wait::LONG, || Ok(UnixStream::connect(&socket).ok()))?;
    let (status, text) = get(stream, "/metrics")?;
    ensure!(
        status == 200 && text.contains("tracer_build_info{"),
        "{status} {text}"
    );
    wait::until("the address to be given up", wait::LONG, || {
        Ok(TcpStream::connect(&address).err())
    })?;
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&socket)?);
    assert_eq!(mode & 0o777, 0o660);
    Ok(())
}
