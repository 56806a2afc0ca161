//! The page of figures, and what of it is the node's own.

use super::*;

fn durations(ns: &[u64]) -> Histogram {
    let mut all = Histogram::default();
    for ns in ns {
        let mut buckets = [0; tracer_common::filter::BUCKETS];
        buckets[crate::histogram::bucket(*ns)] = 1;
        all.add(&tracer_common::filter::Aggregate {
            count: 1,
            total_ns: *ns,
            buckets,
        });
    }
    all
}

fn call(count: u64, errors: &[(&str, u64)], ns: &[u64]) -> Call {
    Call {
        count,
        errors: errors
            .iter()
            .map(|(errno, count)| ((*errno).to_owned(), *count))
            .collect(),
        durations: durations(ns),
    }
}

fn container(slot: u32, calls: &[(&str, Call)]) -> Container {
    Container {
        key: (slot, 1),
        names: Names {
            id: format!("id{slot}"),
            name: "we\"b\n".into(),
            pod: (slot == 1).then(|| "web-0".into()),
            ..Names::default()
        },
        books: Books::default(),
        calls: calls
            .iter()
            .map(|(name, call)| ((*name).to_owned(), call.clone()))
            .collect(),
    }
}

fn settings(containers: usize, calls: usize, histograms: usize) -> Settings {
    Settings {
        listen: String::new(),
        containers,
        calls,
        histograms,
    }
}

fn page(memory: &mut Memory, figures: &Figures, settings: &Settings) -> String {
    text(&Arc::new(memory.families(figures, settings))).unwrap()
}

fn value(text: &str, series: &str) -> Option<f64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(series));
    lines.next().and_then(|rest| rest.trim().parse().ok())
}

/// The sum of a family over all its series.
fn sum(text: &str, family: &str) -> f64 {
    let of = |line: &&str| line.split(['{', ' ']).next() == Some(family);
    text.lines()
        .filter(of)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[test]
fn figures_become_text_with_names_units_and_escapes() {
    let figures = Figures {
        status: Status {
            version: "1.2.3".into(),
            attached: true,
            containers: 2,
            refused: [("full".to_owned(), 3)].into(),
            ..Status::default()
        },
        registered: 7,
        containers: vec![container(
            1,
            &[("read", call(3, &[("EAGAIN", 1)], &[500, 5_000, 3_000_000_000]))],
        )],
        ..Figures::default()
    };
    let text = page(&mut Memory::default(), &figures, &settings(9, 9, 9));
    let labels = r#"container="we\"b\n",id="id1",pod="web-0""#;
    for (series, number) in [
        (r#"tracer_build_info{version="1.2.3",abi="0"}"#.to_owned(), 1.0),
        ("tracer_programs_attached".to_owned(), 1.0),
        ("tracer_containers_registered_total".to_owned(), 7.0),
        (r#"tracer_refused_total{reason="full"}"#.to_owned(), 3.0),
        (
            format!(r#"tracer_container_syscalls_total{{{labels},syscall="read"}}"#),
            3.0,
        ),
        (
            format!(r#"tracer_container_syscall_errors_total{{{labels},syscall="read",errno="EAGAIN"}}"#),
            1.0,
        ),
        (
            format!(r#"tracer_container_syscall_duration_seconds_sum{{{labels},syscall="read"}}"#),
            3.000_005_5,
        ),
        (
            format!(r#"tracer_container_syscall_duration_seconds_count{{{labels},syscall="read"}}"#),
            3.0,
        ),
    ] {
        assert_eq!(value(&text, &series), Some(number), "{series}\n{text}");
    }
    let bucket = |end: &str| {
        let series = "tracer_container_syscall_duration_seconds_bucket";
        let line = text
            .lines()
            .find(|line| line.starts_with(series) && line.contains(&format!("le=\"{end}\"")));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    let ends = ["1.024e-06", "4.096e-06", "1.6384e-05", "2.147483648", "+Inf"];
    assert_eq!(ends.map(bucket), [1.0, 1.0, 2.0, 2.0, 3.0].map(Some), "{text}");
    assert!(
        text.contains("# TYPE tracer_container_syscall_duration_seconds histogram"),
        "{text}"
    );
    assert!(text.contains("# TYPE tracer_refused_total counter"), "{text}");
}

#[test]
fn what_is_many_is_bounded_and_no_counter_goes_back() {
    let mut memory = Memory::default();
    let settings = settings(1, 2, 1);
    let figures = |calls: &[(&str, u64)]| Figures {
        containers: vec![
            container(
                1,
                &calls
                    .iter()
                    .map(|(name, n)| (*name, call(*n, &[("EIO", *n)], &[9])))
                    .collect::<Vec<_>>(),
            ),
            container(2, &[("read", call(1, &[], &[]))]),
        ],
        ..Figures::default()
    };
    let first = figures(&[("a", 5), ("b", 9), ("c", 1), ("d", 2)]);
    let text = page(&mut memory, &first, &settings);
    let of = |text: &str, call: &str| {
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with("tracer_container_syscalls_total"));
        let found = lines.find(|line| line.contains(&format!("syscall=\"{call}\"")));
        found.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    assert_eq!(
        ["a", "b", "c", "other"].map(|call| of(&text, call)),
        [Some(5), Some(9), None, Some(3)]
    );
    assert_eq!(
        value(&text, "tracer_containers_without_series"),
        Some(1.0),
        "{text}"
    );
    assert_eq!(sum(&text, "tracer_container_syscall_errors_total"), 17.0);
    assert_eq!(sum(&text, "tracer_container_syscall_duration_seconds_count"), 4.0);
    // What overtakes is still among the others.
    let second = figures(&[("a", 5), ("b", 9), ("c", 100), ("d", 2), ("e", 50)]);
    let text = page(&mut memory, &second, &settings);
    assert_eq!(
        ["a", "b", "c", "other"].map(|call| of(&text, call)),
        [Some(5), Some(9), None, Some(152)]
    );
    // A container that is gone makes room.
    let mut last = second;
    last.containers.remove(0);
    let text = page(&mut memory, &last, &settings);
    assert_eq!((of(&text, "read"), of(&text, "b")), (Some(1), None));
}

#[test]
fn an_address_that_others_reach_is_warned_of() {
    let warning = |listen: &str| {
        let settings = Settings {
            listen: listen.into(),
            ..Settings::default()
        };
        settings.warning()
    };
    for listen in [
        "",
        "127.0.0.1:9464",
        "127.9.9.9:1",
        "[::1]:9464",
        "/run/tracer/metrics.sock",
    ] {
        assert_eq!(warning(listen), None, "{listen}");
    }
    for listen in ["0.0.0.0:9464", "10.0.0.1:9464", "[::]:9464"] {
        assert!(warning(listen).unwrap().contains("no loopback"), "{listen}");
    }
}
