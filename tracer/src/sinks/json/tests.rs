//! JSON lines, as bytes and against the schema.

use std::sync::Arc;

use serde_json::{Value, json};
use tracer_common::record::flag;

use super::*;
use crate::{
    decode::tests::fake::{A::*, Fake, event},
    event::{
        Away, Body, Books, Cause, Comm, Diagnosis, Fact, Fix, Hole, LossReason, OutOfMemory, Place, Taken,
        Verdict,
    },
};

fn text(event: &Event) -> String {
    let mut out = Vec::new();
    write_event(&mut out, event, Descriptors::Numbers);
    String::from_utf8(out).unwrap()
}

/// The line as JSON, after the schema accepted it.
fn valid(body: Body) -> Value {
    let line: Value = serde_json::from_str(&text(&event(body))).unwrap();
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&line)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{line}\n{errors:#?}");
    line
}

fn call(fake: &Fake) -> Body {
    let mut call = fake.call();
    call.task.comm = Comm(*b"nginx\0\0\0\0\0\0\0\0\0\0\0");
    Body::Syscall(call)
}

fn process(what: ProcessEvent) -> Body {
    let task = Task {
        comm: Comm(*b"a\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ..Task::default()
    };
    Body::Process(Process { task, what })
}

#[test]
fn the_contracts_line() {
    let flags = i64::from(libc::O_RDONLY | libc::O_CLOEXEC);
    let fake = Fake::new("openat", [N(0xffff_ff9c), S(b"/etc/passwd"), N(flags)], 3).flags(flag::APP);
    let mut event = event(call(&fake));
    event.container = Arc::new(Container {
        id: "4f1c".into(),
        name: "web".into(),
        pod: Some("web-0".into()),
        namespace: Some("shop".into()),
        image: Some("nginx:1".into()),
        owner: 0,
        labels: [("app".to_owned(), "sh\u{f6}p".to_owned())].into(),
    });
    assert_eq!(
        text(&event),
        concat!(
            r#"{"type":"syscall","v":1,"seq":42,"time":"2026-11-22T18:03:11.123456789Z","ktime":5123456789,"#,
            r#""container":{"id":"4f1c","name":"web","pod":"web-0","namespace":"shop","image":"nginx:1"},"#,
            r#""cpu":1,"phase":"app","via":"start","pid":7,"tid":8,"host_pid":4711,"host_tid":4712,"comm":"nginx","#,
            r#""arch":"x86_64","nr":257,"syscall":"openat","#,
            r#""args":[{"name":"dfd","raw":4294967196,"text":"AT_FDCWD"},"#,
            r#"{"name":"filename","raw":28928,"text":"\"/etc/passwd\""},"#,
            r#"{"name":"flags","raw":524288,"text":"O_RDONLY|O_CLOEXEC"}],"#,
            r#""ret":3,"errno":null,"duration_ns":1832}"#,
            "\n"
        )
    );
}

#[test]
fn calls_in_every_way_they_end() {
    let failed = valid(call(&Fake::new("open", [S(b"/x"), N(0)], -2)));
    assert_eq!((&failed["ret"], &failed["errno"]), (&json!(-1), &json!("ENOENT")));
    let restarted = valid(call(&Fake::new("pause", [], -514)));
    assert_eq!(restarted["errno"], json!("ERESTARTNOHAND"));
    let unfinished = valid(call(&Fake::new("exit_group", [N(0)], 0).flags(flag::UNFINISHED)));
    assert_eq!(
        (&unfinished["ret"], &unfinished["unfinished"]),
        (&json!(null), &json!(true))
    );
    let denied = valid(call(&Fake::new("getppid", [], -1).flags(flag::SECCOMP)));
    assert_eq!(
        (&denied["errno"], &denied["denied_by"]),
        (&json!("EPERM"), &json!("seccomp"))
    );
    let trapped = valid(call(&Fake::new("getppid", [], 110).flags(flag::SECCOMP)));
    assert_eq!(
        (&trapped["ret"], &trapped["duration_ns"]),
        (&json!(null), &json!(null))
    );
    let skipped = valid(call(&Fake::new("getppid", [], 1).flags(flag::SKIPPED)));
    assert_eq!(skipped["denied_by"], json!("ptrace"));
    let noted = valid(call(&Fake::new("fcntl", [N(1), N(3)], 2)));
    assert_eq!(noted["ret_note"], json!("flags O_RDWR"));
    let cut = valid(call(&Fake::new(
        "write",
        [N(1), S(b"0123456789012345678901234567890123456789"), N(40)],
        40,
    )));
    assert_eq!(cut["args"][1]["truncated"], json!(true));
    let fault = valid(call(&Fake::new("open", [Bad, N(0)], -14)));
    assert_eq!(fault["args"][0]["fault"], json!(true));
    let unknown = valid(call(&Fake {
        nr: 999,
        args: vec![N(1); 6],
        ..Fake::new("getppid", [], -38)
    }));
    assert_eq!(unknown["syscall"], json!("syscall_0x3e7"));
    valid(call(&Fake::on(
        crate::event::Arch::I386,
        "openat",
        [N(-100), S(b"/x"), N(0)],
        3,
    )));
}

#[test]
fn processes() {
    let comm = Comm(*b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let fork = ProcessEvent::Fork {
        pid: 9,
        tid: 9,
        host_pid: 99,
        host_tid: 99,
        comm,
        thread: false,
    };
    let fork = valid(process(fork));
    assert_eq!(
        fork["child"],
        json!({"pid":9,"tid":9,"host_pid":99,"host_tid":99,"comm":"sh","thread":false})
    );
    assert_eq!(
        (&fork["comm"], &fork["comm_hex"]),
        (&json!("a\u{fffd}"), &json!("61ff"))
    );
    let exec = valid(process(ProcessEvent::Exec {
        path: "/bin/\u{202e}\u{1f600}\x1b".into(),
        truncated: true,
    }));
    assert_eq!(exec["path"], json!("/bin/\u{202e}\u{1f600}\u{1b}"));
    assert_eq!(
        valid(process(ProcessEvent::Exit {
            code: Exit::Code(3),
            oom: None
        }))["exit_code"],
        json!(3)
    );
    let killed = Exit::Signal {
        number: 9,
        core_dumped: false,
    };
    let exit = |oom| valid(process(ProcessEvent::Exit { code: killed, oom }));
    assert_eq!(exit(None)["signal"], json!("SIGKILL"));
    assert_eq!(exit(None)["oom"], json!(null));
    for (level, of) in [(Some(1), "cgroup"), (None, "machine")] {
        assert_eq!(exit(Some(OutOfMemory { level, max: None }))["oom"], json!(of));
    }
    assert_eq!(valid(process(ProcessEvent::Join))["event"], json!("join"));
}

#[test]
fn containers_and_losses() {
    let away = vec![Away {
        from: "2026-11-22T18:03:11.000Z".into(),
        to: "2026-11-22T18:03:12.500Z".into(),
    }];
    let again = valid(Body::Container(Lifecycle::Registered { late: true, away }));
    assert_eq!(
        again["away"],
        json!([{"from": "2026-11-22T18:03:11.000Z", "to": "2026-11-22T18:03:12.500Z"}])
    );
    let detached = valid(Body::Container(Lifecycle::Detached {
        books: Books::default(),
    }));
    assert_eq!(
        (&detached["state"], &detached["complete"]),
        (&json!("detached"), &json!(false))
    );
    let reason = "no hook \u{1b}".to_owned();
    let unregistered = valid(Body::Container(Lifecycle::Unregistered { reason }));
    assert_eq!(unregistered["reason"], json!("no hook \u{1b}"));
    let registered = valid(Body::Container(Lifecycle::Registered {
        late: true,
        away: Vec::new(),
    }));
    assert_eq!(registered.get("away"), None);
    assert_eq!(
        (&registered["state"], &registered["late"]),
        (&json!("registered"), &json!(true))
    );
    let armed = valid(Body::Container(Lifecycle::Armed { round_trip_ns: 5 }));
    assert_eq!(
        armed["receipt"],
        json!({"armed_at": 5_123_456_789_u64, "round_trip_ns": 5})
    );
    assert_eq!(armed["container"].get("labels"), None);
    let warning = valid(Body::Container(Lifecycle::Warning {
        text: "no \u{1b}mode".into(),
    }));
    assert_eq!(
        (&warning["state"], &warning["warning"]),
        (&json!("warning"), &json!("no \u{1b}mode"))
    );
    valid(Body::Container(Lifecycle::Exec));
    let books = Books {
        admitted: 7,
        ..Books::default()
    };
    let gone = valid(Body::Container(Lifecycle::Gone {
        books,
        complete: false,
        exit: Some(Exit::Code(1)),
    }));
    assert_eq!(
        (&gone["books"]["admitted"], &gone["exit_code"]),
        (&json!(7), &json!(1))
    );
    let hole = Some(Hole {
        cpu: 1,
        after: 41,
        before: 54,
    });
    let reasons = [
        LossReason::RingFull,
        LossReason::NoStorage,
        LossReason::Unpaired,
        LossReason::Undecodable,
        LossReason::Queue,
        LossReason::Sink,
    ];
    for reason in reasons {
        let loss = valid(Body::Loss(Loss {
            reason,
            count: 12,
            hole,
        }));
        assert_eq!(
            (&loss["cpu"], &loss["after"], &loss["before"]),
            (&json!(1), &json!(41), &json!(54))
        );
        valid(Body::Loss(Loss {
            reason,
            count: 1,
            hole: None,
        }));
    }
}

#[test]
fn the_schema_refuses_mistakes() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let good = valid(call(&Fake::new("open", [S(b"/x"), N(0)], -2)));
    let mut mistakes = 0;
    let mut refused = |change: &dyn Fn(&mut Value)| {
        let mut line = good.clone();
        change(&mut line);
        assert!(!validator.is_valid(&line), "{line}");
        mistakes += 1;
    };
    for field in [
        "type",
        "v",
        "seq",
        "time",
        "ktime",
        "container",
        "cpu",
        "phase",
        "via",
        "pid",
        "tid",
        "host_pid",
    ] {
        refused(&|line| drop(line.as_object_mut().unwrap().remove(field)));
    }
    for field in [
        "host_tid",
        "comm",
        "arch",
        "nr",
        "syscall",
        "args",
        "ret",
        "errno",
        "duration_ns",
    ] {
        refused(&|line| drop(line.as_object_mut().unwrap().remove(field)));
    }
    refused(&|line| line["type"] = json!("sycall"));
    refused(&|line| line["time"] = json!("2026-11-22T18:03:11Z"));
    refused(&|line| line["ret"] = json!(3));
    refused(&|line| line["ret"] = json!(null));
    refused(&|line| line["unfinished"] = json!(true));
    refused(&|line| line["pid"] = json!("7"));
    refused(&|line| line["args"][0]["raw"] = json!(-1));
    assert_eq!(mistakes, 28);
    let reserved =
        json!({"type":"capability","v":1,"time":good["time"],"ktime":1,"container":good["container"]});
    assert!(validator.is_valid(&reserved));
}

#[test]
fn a_diagnosis() {
    for cause in Cause::ALL {
        let line = valid(Body::Diagnosis(Box::new(Diagnosis {
            task: Task::default(),
            arch: crate::event::Arch::X86_64,
            nr: 257,
            syscall: "openat".into(),
            errno: Some(13),
            call: r#"openat(AT_FDCWD, "/a\33[31m", O_RDONLY)"#.into(),
            count: 3,
            verdict: Verdict {
                cause,
                why: "\"/a\u{1b}[31m\" is not there".into(),
                evidence: vec![Fact {
                    text: "mode 0700".into(),
                    taken: Taken::After,
                }],
                fixes: vec![Fix {
                    place: Place::Image,
                    line: "chmod".into(),
                }],
                ruled_out: vec!["seccomp".into()],
            },
        })));
        assert_eq!(
            (&line["cause"], &line["count"], &line["errno"]),
            (&json!(cause.name()), &json!(3), &json!("EACCES"))
        );
        assert_eq!(line["why"], json!("\"/a\u{1b}[31m\" is not there"));
        assert_eq!(line["evidence"], json!([{"text": "mode 0700", "taken": "after"}]));
        assert_eq!(line["fixes"], json!([{"place": "image", "line": "chmod"}]));
    }
}

#[test]
fn a_diagnosis_of_a_process_that_was_killed() {
    let fact = |taken| Fact {
        text: "x".into(),
        taken,
    };
    let line = valid(Body::Diagnosis(Box::new(Diagnosis {
        task: Task::default(),
        arch: crate::event::Arch::NATIVE,
        nr: u32::MAX,
        syscall: "".into(),
        errno: None,
        call: "killed by SIGKILL".into(),
        count: 1,
        verdict: Verdict {
            cause: Cause::CgroupMemory,
            why: "no memory".into(),
            evidence: [Taken::Before, Taken::Call, Taken::After, Taken::Always]
                .map(fact)
                .to_vec(),
            fixes: Vec::new(),
            ruled_out: Vec::new(),
        },
    })));
    assert_eq!(
        (&line["syscall"], &line["errno"], &line["call"]),
        (&json!(""), &Value::Null, &json!("killed by SIGKILL"))
    );
}
