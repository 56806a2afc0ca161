//! Installing and uninstalling on the files of scratch machines.

use std::{collections::BTreeMap, fs, time::Duration};

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// A machine's files below a scratch directory.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            let path = machine.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn settings(&self, runtime: Runtime) -> Settings {
        Settings {
            runtime,
            root: self.0.path().into(),
            home: None,
            hook: Hook {
                program: PROGRAM.into(),
                options: Vec::new(),
                timeout: Duration::from_secs(1),
            },
            runtime_dir: tracer_hook::DEFAULT_RUNTIME_DIR.into(),
            hooks_dir: None,
            config: None,
            handlers: Vec::new(),
            base_spec: Some(self.path("base.json")),
            name: "traced".into(),
            wrapped: None,
            all: false,
        }
    }

    /// Every file and directory, with text and mode.
    fn tree(&self) -> BTreeMap<PathBuf, (u32, Option<String>)> {
        fn walk(dir: &Path, tree: &mut BTreeMap<PathBuf, (u32, Option<String>)>) {
            use std::os::unix::fs::MetadataExt;
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let mode = fs::metadata(&path).unwrap().mode();
                tree.insert(path.clone(), (mode, fs::read_to_string(&path).ok()));
                if path.is_dir() {
                    walk(&path, tree);
                }
            }
        }
        let mut tree = BTreeMap::new();
        walk(self.0.path(), &mut tree);
        tree
    }
}

fn carry_out(plan: Plan) -> Vec<String> {
    plan.edits.iter().map(|edit| write(edit).unwrap()).collect()
}

/// Installs twice and uninstalls twice; between the two, `look` sees the machine. The tree is then as it was.
fn round_trip(machine: &Machine, settings: &Settings, look: impl FnOnce()) {
    let before = machine.tree();
    let plan = install(settings).unwrap();
    assert!(!plan.edits.is_empty());
    assert_eq!(machine.tree(), before, "planning writes nothing");
    for edit in &plan.edits {
        assert!(show(edit).contains("\n+"), "{}", show(edit));
    }
    carry_out(plan);
    let installed = machine.tree();
    assert!(install(settings).unwrap().edits.is_empty(), "idempotent");
    assert_eq!(machine.tree(), installed);
    look();
    carry_out(uninstall(settings).unwrap());
    assert_eq!(machine.tree(), before, "byte for byte");
    assert!(uninstall(settings).unwrap().edits.is_empty());
}

const BASE: (&str, &str) = (
    "base.json",
    "{\n    \"ociVersion\": \"1.0.2\",\n    \"linux\": {}\n}\n",
);

const HOOK_FILE: &str = "/usr/share/containers/oci/hooks.d/10-tracer.json";

const CONTAINERD_V2: &str = r#"# ours
version = 2
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "pause" # a comment
    [plugins."io.containerd.grpc.v1.cri".containerd]
      default_runtime_name = "runc"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"
        pod_annotations = ["a.b/*"]
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
          SystemdCgroup = true
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
        runtime_type = "io.containerd.kata.v2"
[plugins."io.containerd.internal.v1.opt"]
  path = "/opt"
"#;

#[test]
fn podman_gets_the_committed_file_where_it_reads() {
    let machine = Machine::new(&[]);
    let settings = machine.settings(Runtime::Podman);
    round_trip(&machine, &settings, || {
        let committed = fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../hooks/oci/10-tracer.json"
        ))
        .unwrap();
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(json(&machine.read(HOOK_FILE)), json(&committed));
    });
    let machine = Machine::new(&[
        (
            "/etc/containers/containers.conf",
            "[engine]\nhooks_dir = [\"/etc/hooks\"]\n",
        ),
        (
            "/etc/containers/containers.conf.d/50.conf",
            "[engine]\nhooks_dir = [\"/opt/hooks\"]\n",
        ),
        (
            "/etc/containers/containers.conf.d/90.txt",
            "[engine]\nhooks_dir = [\"/no\"]\n",
        ),
    ]);
    let settings = machine.settings(Runtime::Podman);
    round_trip(&machine, &settings, || {
        assert!(machine.path("/opt/hooks/10-tracer.json").exists());
    });
}

#[test]
fn a_users_podman_is_told_of_the_directory() {
    let conf = "# mine\n[containers]\nlog_size_max = 1 # one\n";
    for conf in [None, Some(conf)] {
        let path = "/var/u/.config/containers/containers.conf";
        let machine = Machine::new(&conf.map_or_else(Vec::new, |conf| vec![(path, conf)]));
        let settings = Settings {
            home: Some("/var/u".into()),
            ..machine.settings(Runtime::Podman)
        };
        round_trip(&machine, &settings, || {
            let written = machine.read(path);
            assert!(written.starts_with(conf.unwrap_or_default()), "{written}");
            let read = oci_hooks::podman_reads(&settings).unwrap();
            let own = PathBuf::from("/var/u/.config/containers/oci/hooks.d");
            assert_eq!(read, [PathBuf::from("/usr/share/containers/oci/hooks.d"), own]);
        });
    }
}

#[test]
fn crio_gets_its_file() {
    let machine = Machine::new(&[(
        "/etc/crio/crio.conf.d/10.conf",
        "[crio.runtime]\nhooks_dir = [\"/etc/crio/hooks\"]\n",
    )]);
    let settings = machine.settings(Runtime::Crio);
    round_trip(&machine, &settings, || {
        assert!(machine.path("/etc/crio/hooks/10-tracer.json").exists());
    });
}

#[test]
fn containerds_configuration_keeps_its_layout() {
    let v3 = CONTAINERD_V2
        .replace("version = 2", "version = 3")
        .replace("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime");
    for text in [CONTAINERD_V2, &v3] {
        let machine = Machine::new(&[BASE, ("/etc/containerd/config.toml", text)]);
        let settings = machine.settings(Runtime::Containerd);
        let plan = install(&settings).unwrap();
        let left_alone = plan.notes.iter().any(|note| note.contains("kata"));
        assert!(left_alone, "{:?}", plan.notes);
        round_trip(&machine, &settings, || {
            let want = text
                .replace(
                    "pod_annotations = [\"a.b/*\"]\n",
                    "pod_annotations = [\"a.b/*\", \"container-tracer.io/*\"]\n        base_runtime_spec = \
                     \"/etc/containerd/tracer-base-spec.json\"\n        container_annotations = [\"container-tracer.io/*\"]\n",
                );
            assert_eq!(machine.read("/etc/containerd/config.toml"), want);
            let spec: Value =
                serde_json::from_str(&machine.read("/etc/containerd/tracer-base-spec.json")).unwrap();
            assert_eq!(spec["ociVersion"], "1.0.2");
            assert_eq!(
                spec["hooks"]["createRuntime"][0],
                settings.hook.entry("createRuntime")
            );
            assert_eq!(spec["hooks"]["poststop"][0], settings.hook.entry("poststop"));
        });
    }
}

#[test]
fn containerd_without_a_configuration_gets_one() {
    for text in [None, Some("")] {
        let path = "/etc/containerd/config.toml";
        let mut files = vec![BASE];
        files.extend(text.map(|text| (path, text)));
        let machine = Machine::new(&files);
        round_trip(&machine, &machine.settings(Runtime::Containerd), || {
            let document = containerd::read(&machine.read(path), Path::new(path)).unwrap();
            let runc = containerd::handler_table(&document, "runc").unwrap();
            let text = |name: &str| runc.get(name).and_then(|item| item.as_str());
            assert_eq!(text("runtime_type"), Some("io.containerd.runc.v2"));
            assert_eq!(
                text("base_runtime_spec"),
                Some("/etc/containerd/tracer-base-spec.json")
            );
        });
    }
}

#[test]
fn a_new_handler_of_containerd_is_like_the_default_one() {
    let machine = Machine::new(&[BASE, ("/etc/containerd/config.toml", CONTAINERD_V2)]);
    let settings = Settings {
        handlers: vec!["traced".into()],
        ..machine.settings(Runtime::Containerd)
    };
    round_trip(&machine, &settings, || {
        let text = machine.read("/etc/containerd/config.toml");
        let document = containerd::read(&text, Path::new("c")).unwrap();
        let traced = containerd::handler_table(&document, "traced").unwrap();
        let cgroup = traced
            .get("options")
            .and_then(|options| options.get("SystemdCgroup")?.as_bool());
        assert_eq!(cgroup, Some(true), "{text}");
        let runc = containerd::handler_table(&document, "runc").unwrap();
        assert!(runc.get("base_runtime_spec").is_none(), "{text}");
    });
}

#[test]
fn a_base_spec_that_is_there_gets_the_hooks() {
    let spec = "{\"hooks\": {\"createRuntime\": [{\"path\": \"/bin/other\"}]},\n \"process\": {}}\n";
    let config = CONTAINERD_V2.replace(
        "        pod_annotations",
        "        base_runtime_spec = \"/etc/spec.json\"\n        pod_annotations",
    );
    let machine = Machine::new(&[("/etc/spec.json", spec), ("/etc/containerd/config.toml", &config)]);
    let settings = machine.settings(Runtime::Containerd);
    round_trip(&machine, &settings, || {
        let spec: Value = serde_json::from_str(&machine.read("/etc/spec.json")).unwrap();
        assert_eq!(spec["hooks"]["createRuntime"][0]["path"], "/bin/other");
        assert_eq!(
            spec["hooks"]["createRuntime"][1],
            settings.hook.entry("createRuntime")
        );
    });
}

#[test]
fn a_users_dockerd_is_restarted_by_the_user() {
    let machine = Machine::new(&[]);
    let says = |home: Option<&str>| {
        let settings = Settings {
            home: home.map(Into::into),
            ..machine.settings(Runtime::Docker)
        };
        let plan = install(&settings).unwrap();
        let said = plan.notes.clone();
        carry_out(plan);
        (said, uninstall(&settings).unwrap().notes)
    };
    let (into, out) = says(None);
    assert_eq!(into[0], "then: systemctl reload docker");
    assert_eq!(
        out,
        ["then: systemctl restart docker"],
        "a reload leaves the last runtime"
    );
    let (into, out) = says(Some("/var/u"));
    assert_eq!(into[0], "then: systemctl --user restart docker");
    assert_eq!(out, ["then: systemctl --user restart docker"]);
}

#[test]
fn dockers_other_keys_stay_as_they_are() {
    for text in [
        None,
        Some(""),
        Some("{}"),
        Some("{\n    \"log-driver\": \"local\",\n    \"data-root\": \"/d\"\n}\n"),
        Some("{\"runtimes\": {\"kata\": {\"path\": \"/kata\"}}, \"bip\": \"10.0.0.1/24\"}"),
    ] {
        let path = "/etc/docker/daemon.json";
        let machine = Machine::new(&text.map_or_else(Vec::new, |text| vec![(path, text)]));
        let settings = Settings {
            wrapped: Some("/usr/bin/crun".into()),
            all: true,
            ..machine.settings(Runtime::Docker)
        };
        round_trip(&machine, &settings, || {
            let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            let mut want = json(text.filter(|text| !text.is_empty()).unwrap_or("{}"));
            want["runtimes"]["traced"] = serde_json::json!({
                "path": PROGRAM, "runtimeArgs": ["runtime", "--runtime", "/usr/bin/crun", "--all", "--"],
            });
            assert_eq!(json(&machine.read(path)), want);
        });
    }
}

#[test]
fn what_was_edited_since_stays_edited() {
    let docker = "/etc/docker/daemon.json";
    let machine = Machine::new(&[(docker, "{\n  \"debug\": false\n}\n")]);
    let settings = machine.settings(Runtime::Docker);
    carry_out(install(&settings).unwrap());
    let edited = machine.read(docker).replace(
        "\"debug\": false",
        "\"debug\": true,\n  \"default-runtime\": \"traced\"",
    );
    fs::write(machine.path(docker), edited).unwrap();
    // Installing once more keeps the edit, and its undoing does too.
    assert!(
        install(&settings).unwrap().edits.is_empty() || !carry_out(install(&settings).unwrap()).is_empty()
    );
    assert!(machine.read(docker).contains("\"debug\": true"));
    let plan = uninstall(&settings).unwrap();
    carry_out(plan);
    assert_eq!(machine.read(docker), "{\n  \"debug\": true\n}\n");

    let toml = "/etc/containerd/config.toml";
    let machine = Machine::new(&[BASE, (toml, CONTAINERD_V2)]);
    let settings = machine.settings(Runtime::Containerd);
    carry_out(install(&settings).unwrap());
    let edit = |text: &str| text.replace("# a comment", "# another");
    fs::write(machine.path(toml), edit(&machine.read(toml))).unwrap();
    let plan = uninstall(&settings).unwrap();
    assert!(
        plan.notes
            .iter()
            .any(|note| note.contains("was edited since") && note.contains("before-tracer")),
        "{:?}",
        plan.notes
    );
    carry_out(plan);
    assert_eq!(machine.read(toml), edit(CONTAINERD_V2));
    assert!(!machine.path("/etc/containerd/tracer-base-spec.json").exists());
    assert!(uninstall(&settings).unwrap().edits.is_empty());

    let other = r#"{"version": "1.0.0", "hook": {"path": "/bin/other"}}"#;
    let machine = Machine::new(&[(HOOK_FILE, other)]);
    assert!(
        uninstall(&machine.settings(Runtime::Podman))
            .unwrap()
            .edits
            .is_empty(),
        "another's hook file"
    );
}

#[test]
fn other_options_take_the_place_of_the_old_ones() {
    let docker = "/etc/docker/daemon.json";
    let machine = Machine::new(&[(docker, "{}")]);
    let before = machine.tree();
    let settings = machine.settings(Runtime::Docker);
    carry_out(install(&settings).unwrap());
    let all = Settings {
        all: true,
        ..settings.clone()
    };
    carry_out(install(&all).unwrap());
    assert!(machine.read(docker).contains("--all"));
    carry_out(uninstall(&settings).unwrap());
    assert_eq!(machine.tree(), before);
}

#[test]
fn what_cannot_be_is_said_and_nothing_is_written() {
    let says = |runtime: Runtime, files: &[(&str, &str)], change: fn(&mut Settings), text: &str| {
        let machine = Machine::new(files);
        let before = machine.tree();
        let mut settings = machine.settings(runtime);
        change(&mut settings);
        let why = format!("{:#}", install(&settings).unwrap_err());
        assert!(why.contains(text), "{why}");
        assert_eq!(machine.tree(), before);
    };
    let docker = "/etc/docker/daemon.json";
    says(Runtime::Docker, &[(docker, "{,}")], |_| (), "no JSON");
    says(Runtime::Docker, &[(docker, "{/* no */}")], |_| (), "no JSON");
    says(Runtime::Docker, &[(docker, "[]")], |_| (), "no JSON object");
    says(
        Runtime::Docker,
        &[(docker, r#"{"runtimes": 1}"#)],
        |_| (),
        "runtimes is no object",
    );
    says(
        Runtime::Docker,
        &[(docker, r#"{"runtimes": {"traced": {"path": "/x"}}}"#)],
        |_| (),
        "not ours",
    );
    says(
        Runtime::Docker,
        &[],
        |settings| settings.name = "runc".into(),
        "Docker's own runtime",
    );
    says(
        Runtime::Docker,
        &[],
        |settings| settings.wrapped = Some("/a b".into()),
        "without spaces",
    );
    let toml = "/etc/containerd/config.toml";
    says(
        Runtime::Containerd,
        &[BASE, (toml, "root = \"/x\"\n")],
        |_| (),
        "version 1",
    );
    says(
        Runtime::Containerd,
        &[BASE, (toml, "version = \n")],
        |_| (),
        "config.toml",
    );
    says(
        Runtime::Containerd,
        &[(toml, "version = 2\n")],
        |_| (),
        "base.json is not there",
    );
}

#[test]
fn each_step_is_checked() {
    use std::os::unix::fs::PermissionsExt;
    let machine = Machine::new(&[(PROGRAM, "#!/bin/sh\necho tracer-hook 9\n")]);
    let settings = machine.settings(Runtime::Podman);
    let state = |name: &str| {
        let checks = checks(&settings);
        let check = checks.into_iter().find(|check| check.check == name).unwrap();
        (check.ok, check.detail)
    };
    let (ok, detail) = state("file");
    assert!(
        !ok && detail.contains("`tracer hook install --runtime podman --write`"),
        "{detail}"
    );
    carry_out(install(&settings).unwrap());
    assert!(state("file").0 && state("when").0 && state("directory").0);
    assert!(!state("program").0, "not executable");
    fs::set_permissions(machine.path(PROGRAM), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(state("program").1.ends_with("tracer-hook 9"));
    assert!(!state("daemon").0);
    let other = machine.read(HOOK_FILE).replace("^true$", "^yes$");
    fs::write(machine.path(HOOK_FILE), other).unwrap();
    assert!(state("when").1.contains("does not match"));
    fs::create_dir_all(machine.path("/etc/containers")).unwrap();
    let elsewhere = "[engine]\nhooks_dir = [\"/opt/hooks\"]\n";
    fs::write(machine.path("/etc/containers/containers.conf"), elsewhere).unwrap();
    assert!(!state("file").0, "podman reads another directory now");
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused(text in "(.|\n){0,60}") {
        for kind in [
            Kind::HookFile, Kind::ContainersConf("/d".into()), Kind::ContainerdConfig("/s".into()),
            Kind::BaseSpec, Kind::DaemonJson,
        ] {
            kind.without(&text).ok();
        }
    }

    #[test]
    fn text_without_our_part_stays_as_it_is(
        daemon in r#"\{( |\n)?("debug": (true|false))?( |\n)?(, *"runtimes": *\{ *("x": \{"path": "/x"\} *)?\})?\n?\}"#
    ) {
        if let Ok(left) = Kind::DaemonJson.without(&daemon) {
            prop_assert_eq!(left, Some(daemon));
        }
    }
}
