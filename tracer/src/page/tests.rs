//! Pages of made-up containers.

use super::*;
use crate::{
    decode::tests::fake::{self, A, A::*, Fake},
    event::{Cause, Comm, Diagnosis, Fact, Fix, Place, Process, ProcessEvent, Taken, Task, Verdict, Via},
};

/// A container in the making.
struct World {
    page: Page,
    container: Arc<Container>,
    now: u64,
}

impl World {
    fn new(container: Container) -> Self {
        Self {
            page: Page::new(Phases::App),
            container: Arc::new(container),
            now: 1_795_370_591_123_456_789,
        }
    }

    fn event(&mut self, body: Body) {
        self.page.take(&Event {
            time_ns: self.now,
            container: self.container.clone(),
            ..fake::event(body)
        });
    }

    fn call(&mut self, task: &Task, name: &str, args: impl Into<Vec<A>>, ret: i64, took: u64) {
        let mut call = Fake::new(name, args, ret).call();
        call.task = task.clone();
        call.duration_ns = Some(took);
        self.now += took;
        self.event(Body::Syscall(call));
    }

    fn process(&mut self, task: &Task, what: ProcessEvent) {
        self.event(Body::Process(Process {
            task: task.clone(),
            what,
        }));
    }

    fn fork(&mut self, task: &Task, pid: u32, tid: u32, comm: &[u8]) -> Task {
        let made = self::task(pid, tid, comm);
        self.process(
            task,
            ProcessEvent::Fork {
                pid,
                tid,
                host_pid: made.host_pid,
                host_tid: made.host_tid,
                comm: made.comm,
                thread: pid != tid,
            },
        );
        made
    }

    fn exec(&mut self, task: &Task, path: &[u8]) {
        self.process(
            task,
            ProcessEvent::Exec {
                path: path.to_vec(),
                truncated: false,
            },
        );
    }

    fn finish(self) -> String {
        self.page.finish(&Known::default())
    }
}

fn task(pid: u32, tid: u32, comm: &[u8]) -> Task {
    let mut name = [0; 16];
    name[..comm.len()].copy_from_slice(comm);
    Task {
        cpu: 0,
        pid,
        tid,
        host_pid: 4_000 + pid,
        host_tid: 4_000 + tid,
        comm: Comm(name),
        via: Via::Start,
        phase: Phase::App,
    }
}

fn web() -> Container {
    Container {
        id: "4f1c0a9be21d".into(),
        name: "web".into(),
        pod: Some("web-5c9f7d".into()),
        namespace: Some("shop".into()),
        image: Some("docker.io/library/nginx:1.27".into()),
        ..Container::default()
    }
}

fn diagnosis(task: &Task, call: &str, verdict: Verdict) -> Body {
    Body::Diagnosis(Box::new(Diagnosis {
        task: task.clone(),
        arch: crate::event::Arch::X86_64,
        nr: 144,
        syscall: "sched_setscheduler".into(),
        errno: Some(1),
        call: call.into(),
        count: 1,
        verdict,
    }))
}

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

#[test]
fn the_page_has_what_the_events_had() {
    let mut world = World::new(web());
    let init = task(1, 1, b"sh");
    world.exec(&init, b"/bin/sh");
    world.call(&init, "openat", [N(-100), S(b"/etc/passwd"), N(0)], 3, 1_500);
    world.call(&init, "openat", [N(-100), S(b"/nope"), N(0)], -2, 900);
    world.call(&init, "openat", [N(-100), S(b"/nope"), N(0)], -2, 900);
    let child = world.fork(&init, 7, 7, b"sh");
    world.call(&child, "sched_setscheduler", [N(0), N(1), N(0)], -1, 700);
    let failed = fake_written(&child);
    world.event(diagnosis(
        &child,
        &failed,
        Verdict {
            cause: Cause::Capability,
            why: "CAP_SYS_NICE is missing".into(),
            evidence: vec![Fact {
                text: "the kernel asked for it".into(),
                taken: Taken::Call,
            }],
            fixes: vec![
                Fix {
                    place: Place::Podman,
                    line: "--cap-add=SYS_NICE".into(),
                },
                Fix {
                    place: Place::Docker,
                    line: "--cap-add=SYS_NICE".into(),
                },
            ],
            ruled_out: Vec::new(),
        },
    ));
    world.process(
        &child,
        ProcessEvent::Exit {
            code: Exit::Code(3),
            oom: None,
        },
    );
    world.event(Body::Loss(Loss {
        reason: LossReason::RingFull,
        count: 12,
        hole: Some(Hole {
            cpu: 1,
            after: 41,
            before: 54,
        }),
    }));
    world.event(Body::Container(Lifecycle::Gone {
        books: Books {
            admitted: 16,
            emitted: 4,
            decoded: 4,
            dropped: crate::event::Dropped {
                ring_full: 12,
                ..Default::default()
            },
            aggregated: 16,
            ..Books::default()
        },
        complete: false,
        exit: Some(Exit::Code(3)),
    }));
    let html = world.finish();
    for text in [
        "<h1>web</h1>",
        "docker.io/library/nginx:1.27",
        "✗ Not complete.",
        "12 calls were lost",
        "The books balance.",
        "CPU 1, after call 41 and before 54",
        "change, podman and docker",
        "--cap-add=SYS_NICE\n",
        "seen in the kernel at the call",
        "<td class=code>openat</td><td class=code>ENOENT<small>No such file or directory</small></td><td class=n data-v=2>2</td>",
        "<td class=code>/nope</td><td class=n data-v=0></td><td class=n data-v=0></td><td class=n data-v=2>2</td>",
        "exit 3",
        "/bin/sh",
    ] {
        assert!(html.contains(text), "{text}:\n{html}");
    }
    assert!(html.contains("<dt>calls</dt><dd>4</dd>"), "{html}");
    assert!(
        html.contains("<dt>failed</dt><dd>3 <small>75.0 %</small>"),
        "{html}"
    );
    assert!(html.contains("<dt>root causes</dt><dd>1</dd>"), "{html}");
}

/// The call of the child above as a diagnosis has it.
fn fake_written(task: &Task) -> String {
    let mut call = Fake::new("sched_setscheduler", [N(0), N(1), N(0)], -1).call();
    call.task = task.clone();
    crate::explain::written(&call)
}

#[test]
fn what_a_container_chose_is_text_and_ascii() {
    const EVIL: &str = "</script><script>alert(1)</script><!--\"'\u{2028}\u{202e}&amp;\x1b[31m";
    let mut world = World::new(Container {
        id: EVIL.into(),
        name: EVIL.into(),
        pod: Some(EVIL.into()),
        namespace: Some(EVIL.into()),
        image: Some(EVIL.into()),
        ..Container::default()
    });
    let init = task(1, 1, b"</script><b>");
    world.exec(&init, EVIL.as_bytes());
    let path = b"/</script><img src=x onerror=alert(1)>\xe2\x80\xae";
    world.call(&init, "openat", [N(-100), S(path), N(0)], 3, 10);
    world.call(&init, "openat", [N(-100), S(path), N(0)], -2, 10);
    world.call(
        &init,
        "read",
        [N(3), B(path.to_vec()), N(100)],
        path.len() as i64,
        10,
    );
    let mut unix = vec![1, 0];
    unix.extend(path);
    unix.push(0);
    let length = unix.len() as i64;
    world.call(&init, "connect", [N(4), B(unix), N(length)], -2, 10);
    world.event(Body::Container(Lifecycle::Warning { text: EVIL.into() }));
    let evil = Verdict {
        cause: Cause::Missing,
        why: EVIL.into(),
        evidence: vec![Fact {
            text: EVIL.into(),
            taken: Taken::After,
        }],
        fixes: vec![Fix {
            place: Place::Host,
            line: EVIL.into(),
        }],
        ruled_out: vec![EVIL.into()],
    };
    world.event(diagnosis(&init, EVIL, evil));
    let known = Known {
        source: EVIL.into(),
        runtime: Some(EVIL.into()),
        notes: vec![EVIL.into()],
        ..Known::default()
    };
    let html = world.page.finish(&known);
    // The script, its three data elements, and no more.
    assert_eq!(count(&html, "<script"), 4, "{html}");
    assert_eq!(count(&html, "</script>"), 4);
    for markup in ["<img", "<b>alert", "<!--", "\u{202e}", "\u{2028}", "\x1b"] {
        assert!(!html.contains(markup), "{markup:?}");
    }
    assert!(html.contains("\\342\\200\\256"));
}

#[test]
fn the_policy_allows_the_scripts_of_the_page_alone() {
    let html = World::new(web()).finish();
    let policy = html.split("Content-Security-Policy content=\"").nth(1).unwrap();
    let policy = policy.split('"').next().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    // Neither addresses nor style attributes, which the policy would refuse.
    for word in ["http://", "https://", "url(", "@import", " style="] {
        assert!(!html.contains(word), "{word}");
    }
}

#[test]
fn what_was_attached_late_is_told_from_then_on() {
    const FROM_EXECVE: &str = "from its execve on";
    for late in [false, true] {
        let mut world = World::new(web());
        let away = Vec::new();
        world.event(Body::Container(Lifecycle::Registered { late, away }));
        world.call(&task(1, 1, b"sh"), "getppid", [], 0, 100);
        let html = world.finish();
        assert_eq!(html.contains(FROM_EXECVE), !late, "{html}");
        assert_eq!(
            html.contains("ran already when its tracing began"),
            late,
            "{html}"
        );
    }
}

#[test]
fn nothing_at_all_is_a_page_too() {
    let html = Page::new(Phases::App).finish(&Known::default());
    assert!(html.contains("No call is among these events."), "{html}");
    assert!(html.ends_with("</html>\n"));
}

/// A web server with its workers, of about so many calls.
fn server(calls: u64) -> World {
    let mut world = World::new(web());
    let mut random = 1_u64;
    let mut next = move |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let init = task(1, 1, b"nginx");
    world.event(Body::Container(Lifecycle::Exec));
    world.exec(&init, b"/docker-entrypoint.sh");
    for name in ["/etc/ld.so.preload", "/lib/libpcre2.so", "/etc/nginx/nginx.conf"] {
        let missing = name.ends_with("preload");
        world.call(
            &init,
            "openat",
            [N(-100), S(name.as_bytes()), N(0)],
            if missing { -2 } else { 3 },
            4_000 + next(3_000),
        );
        if !missing {
            world.call(&init, "read", [N(3), B(vec![b'x'; 800]), N(832)], 800, 900);
            world.call(
                &init,
                "mmap",
                [N(0), N(40_960), N(1), N(2), N(3), N(0)],
                0x7f00,
                1_100,
            );
            world.call(&init, "close", [N(3)], 0, 300);
        }
    }
    world.exec(&init, b"/usr/sbin/nginx");
    world.call(&init, "sched_setscheduler", [N(0), N(1), N(0)], -1, 700);
    world.event(diagnosis(
        &init,
        &fake_written(&init),
        Verdict {
            cause: Cause::Capability,
            why: "sched_setscheduler wants CAP_SYS_NICE, and the container does not have it".into(),
            evidence: vec![Fact {
                text: "the kernel asked for CAP_SYS_NICE during the call and did not find it in the effective set".into(),
                taken: Taken::Call,
            }],
            fixes: vec![Fix {
                place: Place::Podman,
                line: "--cap-add=SYS_NICE".into(),
            }],
            ruled_out: Vec::new(),
        },
    ));
    let workers: Vec<Task> = (0..6)
        .map(|number| world.fork(&init, 20 + number, 20 + number, b"nginx"))
        .collect();
    let threads: Vec<Task> = (0..2)
        .map(|number| world.fork(&workers[0], 20, 40 + number, b"nginx-io"))
        .collect();
    let all: Vec<&Task> = workers.iter().chain(&threads).collect();
    let mut inet = vec![2, 0, 0x1f, 0x90, 192, 0, 2, 7];
    inet.resize(16, 0);
    let mut made = 0;
    while made < calls {
        let task = all[next(all.len() as u64) as usize];
        world.now += next(40_000);
        world.call(
            task,
            "epoll_wait",
            [N(8), N(0), N(512), N(-1)],
            1,
            1_000 + next(200_000),
        );
        let number = next(500);
        let name: &'static str =
            Box::leak(format!("/usr/share/nginx/html/page-{number}.html").into_boxed_str());
        let missing = number % 97 == 0;
        world.call(
            task,
            "openat",
            [N(-100), S(name.as_bytes()), N(0)],
            if missing { -2 } else { 11 },
            2_000 + next(9_000),
        );
        if !missing {
            world.call(task, "newfstatat", [N(11), S(b""), N(0), N(0x1000)], 0, 600);
            world.call(
                task,
                "read",
                [N(11), B(vec![b'h'; 32]), N(4096)],
                4096,
                900 + next(5_000),
            );
            world.call(task, "close", [N(11)], 0, 250 + next(100));
        }
        world.call(
            task,
            "write",
            [N(5), B(vec![b'l'; 32]), N(90)],
            90,
            1_500 + next(2_500),
        );
        if next(400) == 0 {
            world.call(task, "connect", [N(12), B(inet.clone()), N(16)], -111, 30_000);
        }
        if next(20_000) == 0 {
            world.event(Body::Loss(Loss {
                reason: LossReason::RingFull,
                count: 3,
                hole: Some(Hole {
                    cpu: 1,
                    after: made,
                    before: made + 4,
                }),
            }));
        }
        made += 6;
    }
    for task in workers {
        world.process(
            &task,
            ProcessEvent::Exit {
                code: Exit::Code(0),
                oom: None,
            },
        );
    }
    world
}

/// Writes a page of so many calls to the file that PAGE names: `PAGE=/tmp/page.html CALLS=1000000`.
#[test]
#[ignore = "writes a page to look at"]
fn a_page_to_look_at() {
    let calls = std::env::var("CALLS").map_or(20_000, |calls| calls.parse().unwrap());
    let world = server(calls);
    let taken = world.page.calls;
    let html = world.finish();
    let path = std::env::var_os("PAGE").unwrap();
    std::fs::write(&path, &html).unwrap();
    assert!(taken > calls / 2 && html.ends_with("</html>\n"));
}
