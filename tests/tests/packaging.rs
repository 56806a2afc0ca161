//! The units are what systemd understands, and keep the daemon small in rights. The manifests for Kubernetes are
//! consistent with themselves, with the units and with the documents.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{fs, path::Path};
use tracer_tests::{Bundle, HookStage, Rootfs, Runtime, Verdict, programs, wait};

/// What `systemd-analyze security` may score at most, in tenths.
const EXPOSURE: &str = "35";

#[test]
fn systemd_understands_the_units() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let mut paths = Vec::new();
    for name in ["tracer.service", "tracer-nri.service", "tracer.socket"] {
        // The program need not be installed here.
        let text = fs::read_to_string(units.join(name))?.replace("/usr/bin/tracer", "/bin/true");
        let path = dir.path().join(name);
        fs::write(&path, text)?;
        paths.push(path);
    }
    let out = programs::output(
        programs::command("systemd-analyze")
            .args(["verify", "--man=no"])
            .args(&paths),
    )?;
    // It ends with 0 where it ignores a line that it does not know.
    ensure!(
        out.status.success() && out.stderr.is_empty(),
        "{}",
        programs::both(&out)
    );
    for service in paths
        .iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "service"))
    {
        let mut security = programs::command("systemd-analyze");
        security
            .args([
                "security",
                "--offline=true",
                "--no-pager",
                "--threshold",
                EXPOSURE,
            ])
            .arg(service);
        programs::success(&mut security)?;
    }
    Ok(())
}

fn packaging(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The documents of a manifest, by kind.
fn manifest(name: &str) -> Result<Vec<Value>> {
    const TO_JSON: &str =
        "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let text = packaging(&format!("kubernetes/{name}"))?;
    // Debian's own, which has the module.
    let mut python = programs::command("/usr/bin/python3");
    let out = programs::output_with(python.args(["-c", TO_JSON]), text.as_bytes())?;
    ensure!(out.status.success(), "{name}: {}", programs::both(&out));
    Ok(serde_json::from_slice(&out.stdout)?)
}

fn of_kind<'a>(manifests: &'a [Value], api: &str, kind: &str) -> Result<&'a Value> {
    let found = manifests.iter().find(|manifest| manifest["kind"] == kind);
    let found = found.with_context(|| format!("no {kind}"))?;
    assert_eq!(found["apiVersion"], api, "{kind}");
    Ok(found)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[test]
fn the_daemonset_is_sound() -> Result<()> {
    let manifests = manifest("daemonset.yaml")?;
    let namespace = of_kind(&manifests, "v1", "Namespace")?;
    let set = of_kind(&manifests, "apps/v1", "DaemonSet")?;
    assert_eq!(set["metadata"]["namespace"], namespace["metadata"]["name"]);
    let template = &set["spec"]["template"];
    assert_eq!(
        set["spec"]["selector"]["matchLabels"],
        template["metadata"]["labels"]
    );
    assert_ne!(
        template["metadata"]["annotations"]["container-tracer.io/trace"], "true",
        "it traces itself"
    );
    let pod = &template["spec"];
    assert_eq!(
        (&pod["hostPID"], &pod["automountServiceAccountToken"]),
        (&true.into(), &false.into())
    );

    let volumes: Vec<&Value> = list(&pod["volumes"]).collect();
    let path_of = |mount: &Value| {
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
        volume.with_context(|| format!("no volume for {mount}"))?["hostPath"]["path"]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("no path for {mount}"))
    };
    let mut mounted = Vec::new();
    for container in list(&pod["initContainers"]).chain(list(&pod["containers"])) {
        let security = &container["securityContext"];
        ensure!(security["privileged"] != true && security["allowPrivilegeEscalation"] == false);
        assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
        for mount in list(&container["volumeMounts"]) {
            mounted.push((path_of(mount)?, mount["mountPath"].clone()));
        }
    }
    let hook = "/usr/libexec/oci/hooks.d";
    let tracing = "/sys/kernel/tracing";
    let want = [
        (hook, "/host"),
        ("/run/tracer", "/run/tracer"),
        (tracing, tracing),
    ];
    assert_eq!(mounted, want.map(|(host, here)| (host.to_owned(), here.into())));

    let unit = packaging("systemd/tracer.service")?;
    let unit = unit
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .context("no capabilities in the unit")?;
    let added = list(&pod["containers"][0]["securityContext"]["capabilities"]["add"]);
    let added: Vec<String> = added
        .filter_map(|name| Some(format!("CAP_{}", name.as_str()?)))
        .collect();
    assert_eq!(added, unit.split_whitespace().collect::<Vec<_>>());
    let image = packaging("kubernetes/Containerfile")?;
    ensure!(image.contains(&format!("{hook}/tracer-hook")) && image.contains("/usr/bin/tracer"));
    Ok(())
}

/// Reads each manifest into the types of Kubernetes' own API, and says what they do not know.
const UNKNOWN_TO_KUBERNETES: &str = r#"
import json, sys, yaml
from kubernetes import client
api = client.ApiClient()
class Answer: pass
def unknown(given, known, path):
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            if key in known: unknown(value, known[key], f"{path}/{key}")
            else: print(f"{path}/{key}")
    elif isinstance(given, list) and isinstance(known, list):
        for index, pair in enumerate(zip(given, known)): unknown(*pair, f"{path}/{index}")
    elif given != known: print(f"{path}: {given!r} is {known!r}")
for name in sys.argv[1:]:
    for manifest in yaml.safe_load_all(open(name)):
        answer = Answer(); answer.data = json.dumps(manifest)
        known = api.deserialize(answer, "V1" + manifest["kind"])
        unknown(manifest, api.sanitize_for_serialization(known), manifest["kind"])
"#;

#[test]
fn kubernetes_knows_every_field() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/kubernetes");
    let mut command = programs::command("/usr/bin/python3");
    command.args(["-c", UNKNOWN_TO_KUBERNETES]);
    for name in ["daemonset.yaml", "runtimeclass.yaml", "pod.yaml"] {
        command.arg(folder.join(name));
    }
    // A field of Kubernetes 1.30; Debian's types are those of 1.22.
    let newer = "DaemonSet/spec/template/spec/containers/0/securityContext/appArmorProfile\n";
    assert_eq!(programs::success(&mut command)?, newer);
    Ok(())
}

#[test]
fn the_example_asks_for_what_the_documents_install() -> Result<()> {
    let (classes, pods) = (manifest("runtimeclass.yaml")?, manifest("pod.yaml")?);
    let class = of_kind(&classes, "node.k8s.io/v1", "RuntimeClass")?;
    let pod = of_kind(&pods, "v1", "Pod")?;
    assert_eq!(pod["spec"]["runtimeClassName"], class["metadata"]["name"]);
    assert_eq!(
        pod["metadata"]["annotations"]["container-tracer.io/trace"], "true",
        "a string, not a boolean"
    );
    let install = format!(
        "tracer hook install --runtime containerd --handler {}",
        class["handler"].as_str().context("no handler")?
    );
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runtimes/containerd.md");
    for text in [packaging("kubernetes/README.md")?, fs::read_to_string(docs)?] {
        ensure!(text.contains(&install), "no {install:?}");
    }
    Ok(())
}

/// The daemon in a container that has what the DaemonSet's has: the host's PID namespace, the same capabilities, and
/// nothing to write to but its runtime directory.
#[test]
fn the_daemon_works_with_the_rights_of_its_pod() -> Result<()> {
    let manifests = manifest("daemonset.yaml")?;
    let container =
        &of_kind(&manifests, "apps/v1", "DaemonSet")?["spec"]["template"]["spec"]["containers"][0];
    let dir = tempfile::Builder::new().prefix("tt-pod-").tempdir()?;
    let args = ["/workloads/tracer", "daemon"];
    let mut bundle = Bundle::new("daemon", Rootfs::Host, &args)?.namespace("pid", None)?;
    for set in ["bounding", "effective", "permitted"] {
        bundle.config["process"]["capabilities"][set] = serde_json::json!([]);
    }
    for name in list(&container["securityContext"]["capabilities"]["add"]) {
        bundle = bundle.capability(&format!("CAP_{}", name.as_str().context("capability")?));
    }
    bundle.config["root"]["readonly"] = container["securityContext"]["readOnlyRootFilesystem"].clone();
    fs::create_dir_all(bundle.path().join("rootfs/run/tracer"))?;
    let mounts = [
        serde_json::json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}),
        serde_json::json!({"destination": "/run/tracer", "type": "bind", "source": dir.path(), "options": ["bind", "rw"]}),
    ];
    let all = bundle.config["mounts"].as_array_mut().context("no mounts")?;
    all.extend(mounts);
    let daemon = Runtime::Runc.start(bundle)?;

    let client = |verb: &str| -> Result<std::process::Command> {
        let mut command = programs::command(programs::tracer()?);
        command.env("TRACER_RUNTIME_DIR", dir.path()).arg(verb);
        Ok(command)
    };
    wait::until("the daemon in its container", wait::LONG, || {
        let out = programs::output(client("status")?.args(["-o", "json"]))?;
        Ok(out.status.success().then_some(()))
    })
    .with_context(|| daemon.outputs())?;
    let traced = Bundle::new("traced", Rootfs::Busybox, &["/bin/echo", "hello"])?
        .hook(HookStage::CreateRuntime, dir.path())?
        .annotate("true");
    let mut traced = Runtime::Runc.start(traced)?;
    traced.success()?;
    let verdict = wait::until("the end of the traced container", wait::LONG, || {
        let out = programs::output(client("verify")?.args(["-o", "json", traced.id()]))?;
        let verdict =
            Verdict::parse(&String::from_utf8_lossy(&out.stdout)).with_context(|| programs::both(&out))?;
        Ok((verdict.state() == "gone").then_some(verdict))
    })?;
    verdict.whole()?;
    daemon.kill("TERM")
}
