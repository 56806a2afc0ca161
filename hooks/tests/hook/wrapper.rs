//! `tracer-hook runtime` around a runtime that tells what it was given.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::HOOK;

/// Prints its words, a variable, its standard input, descriptor 7 and what is in config.json; then ends with 37.
const RUNTIME: &str = r#"#!/bin/sh
printf '[%s]' "$@"
printf ' %s ' "$MARK"
cat; cat <&7
[ ! -e config.json ] || cat config.json
echo mistake >&2
exit 37
"#;

struct Bundle(tempfile::TempDir);

impl Bundle {
    fn new(config: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), config).unwrap();
        let bundle = Self(dir);
        bundle.script("runtime", RUNTIME);
        bundle
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn config(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("config.json")).unwrap()).unwrap()
    }

    /// The wrapper in the bundle's folder, as an engine starts a runtime.
    fn wrapper(&self, options: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new(HOOK);
        command.current_dir(self.0.path()).arg("runtime");
        command.arg("--runtime").arg(self.path("runtime"));
        command.args(options).args(words).stdin(Stdio::null());
        command
    }
}

fn asking() -> Value {
    json!({"process": {"env": ["A=b", "CONTAINER_TRACER_TRACE=true"]}, "hooks": {"poststop": [{"path": "/bin/x"}]}})
}

/// The command with descriptor 7 open, which shell redirection gives it.
fn with_descriptor(command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args([
        "-c",
        r#"exec 7<<E
seventh
E
printf input | exec "$@""#,
        "sh",
    ]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
        .current_dir(command.get_current_dir().unwrap())
        .env("MARK", "mark");
    shell
}

#[test]
fn everything_is_passed_through_but_the_hooks() {
    for words in [
        &["state", "a b", ""][..],
        &["--root", "/x y", "create", "web"],
        &[],
    ] {
        let bundle = Bundle::new(b"{}\n");
        let direct = with_descriptor(&{
            let mut direct = Command::new(bundle.path("runtime"));
            direct.current_dir(bundle.0.path()).args(words);
            direct
        })
        .output()
        .unwrap();
        let wrapped = with_descriptor(&bundle.wrapper(&["--"], words)).output().unwrap();
        assert_eq!(wrapped, direct, "{words:?}");
        assert_eq!(wrapped.status.code(), Some(37));
        assert!(String::from_utf8_lossy(&wrapped.stdout).contains(" mark inputseventh\n{}\n"));
    }
}

#[test]
fn the_runtime_keeps_the_process_and_its_signals() {
    let bundle = Bundle::new(b"{}");
    bundle.script("runtime", "#!/bin/sh\necho $$\nkill -KILL $$\n");
    let child = bundle
        .wrapper(&[], &["kill", "web"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.signal(), Some(9));
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), pid.to_string());
}

#[test]
fn a_container_that_asks_gets_the_hooks_once() {
    let bundle = Bundle::new(asking().to_string().as_bytes());
    fs::set_permissions(bundle.path("config.json"), fs::Permissions::from_mode(0o640)).unwrap();
    let options = ["--runtime-dir", "/r", "--timeout", "1500ms"];
    let mut first = None;
    for _again in 0..2 {
        let out = with_descriptor(&bundle.wrapper(&options, &["create", "web"]))
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(37));
        let ours = |stage: &str| {
            json!({
                "path": HOOK,
                "args": ["tracer-hook", "--runtime-dir", "/r", "--timeout", "1500ms", stage],
                "timeout": 3,
            })
        };
        let mut want = asking();
        want["annotations"] = json!({"container-tracer.io/trace": "true"});
        want["hooks"] = json!({
            "createRuntime": [ours("createRuntime")],
            "poststop": [{"path": "/bin/x"}, ours("poststop")],
        });
        assert_eq!(bundle.config(), want);
        let bytes = fs::read(bundle.path("config.json")).unwrap();
        assert_eq!(first.get_or_insert(bytes.clone()), &bytes);
    }
    let mode = fs::metadata(bundle.path("config.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    let names = fs::read_dir(bundle.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(
        names,
        [OsStr::new("config.json"), OsStr::new("runtime")],
        "nothing is left"
    );
}

#[test]
fn who_does_not_ask_and_what_starts_nothing_is_left_alone() {
    let plain = json!({"process": {"env": ["CONTAINER_TRACER_TRACE=false"]}}).to_string();
    let asks = asking().to_string();
    for (config, words) in [
        (&plain, ["create", "web"]),
        (&asks, ["start", "web"]),
        (&asks, ["delete", "create"]),
    ] {
        let bundle = Bundle::new(config.as_bytes());
        with_descriptor(&bundle.wrapper(&[], &words)).output().unwrap();
        assert_eq!(
            fs::read_to_string(bundle.path("config.json")).unwrap(),
            *config,
            "{words:?}"
        );
    }
    let bundle = Bundle::new(b"{}");
    with_descriptor(&bundle.wrapper(&["--all"], &["run", "web"]))
        .output()
        .unwrap();
    assert_eq!(
        bundle.config()["annotations"]["container-tracer.io/trace"],
        "true"
    );
}

#[test]
fn a_change_that_fails_leaves_the_container_as_it_was() {
    for config in [&b"nonsense"[..], b"", b"[]", br#"{"hooks": 7}"#] {
        let bundle = Bundle::new(config);
        let words = ["--log", "log.json", "--log-format", "json", "create", "web"];
        let out = with_descriptor(&bundle.wrapper(&["--all"], &words))
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(37));
        assert_eq!(fs::read(bundle.path("config.json")).unwrap(), config);
        assert_eq!(
            out.stderr, b"mistake\n",
            "the container's own output stays its own"
        );
        let log: Value = serde_json::from_slice(&fs::read(bundle.path("log.json")).unwrap()).unwrap();
        assert_eq!(log["level"], "warning");
        let message = log["msg"].as_str().unwrap();
        assert!(
            message.starts_with("tracer-hook: container is not traced: config.json"),
            "{message}"
        );

        let out = with_descriptor(&bundle.wrapper(&["--all", "--fail-closed"], &words))
            .output()
            .unwrap();
        assert_eq!(
            (out.status.code(), out.stdout),
            (Some(1), Vec::new()),
            "the runtime did not run"
        );
        assert!(String::from_utf8_lossy(&out.stderr).contains("container is not traced"));
    }
    let missing = Bundle::new(b"{}");
    let out = with_descriptor(&missing.wrapper(&["--timeout", "soon"], &["create", "web"]))
        .output()
        .unwrap();
    assert_eq!(
        out.status.code(),
        Some(37),
        "a wrong option is not the container's fault"
    );
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("--timeout"),
        "{out:?}"
    );
}

#[test]
fn without_a_runtime_it_says_so_and_never_calls_itself() {
    let bundle = Bundle::new(b"{}");
    let says = |command: &mut Command| {
        let out = command.output().unwrap();
        assert_eq!(out.status.code(), Some(127));
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let mut own = Command::new(HOOK);
    assert!(says(own.args(["runtime", "--runtime", HOOK, "state", "x"])).contains("this program itself"));
    let link = bundle.path("runc");
    std::os::unix::fs::symlink(HOOK, &link).unwrap();
    let mut none = Command::new(HOOK);
    none.env("PATH", bundle.0.path()).args(["runtime", "state", "x"]);
    assert!(says(&mut none).contains("neither runc nor crun"));
    bundle.script("crun", "#!/bin/sh\nexit 5\n");
    let mut found = Command::new(HOOK);
    found.env("PATH", bundle.0.path()).args(["runtime", "state", "x"]);
    assert_eq!(
        found.output().unwrap().status.code(),
        Some(5),
        "crun, for runc is ourselves"
    );
}
