//! What a configuration says, and what is wrong in one.

use super::*;
use crate::sinks::{
    configured::{Common, Kind, Settings},
    delivery::Keys,
    file, nats, otlp,
};

fn problems(text: &str) -> Vec<String> {
    match read(text) {
        Ok(config) => panic!("{text} is read as {config:?}"),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// The default file with its comments taken from every key, and what it says of sinks.
fn uncommented() -> (String, String) {
    let (settings, sinks) = DEFAULT.split_at(DEFAULT.find("# Where events go").unwrap());
    let key = |line: &str| {
        let text = line.strip_prefix("# ").unwrap_or(line);
        let is_key = text.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        if is_key || text.starts_with('[') {
            text
        } else {
            line
        }
        .to_owned()
            + "\n"
    };
    (
        settings.lines().map(key).collect(),
        sinks.lines().map(key).collect(),
    )
}

#[test]
fn the_default_file_says_nothing_but_the_defaults() {
    assert_eq!(read(DEFAULT), Ok(Config::default()));
    assert_eq!(read(""), Ok(Config::default()));
    let (settings, sinks) = uncommented();
    assert_eq!(read(&settings), Ok(Config::default()), "{settings}");
    // And every key: what is left out of it would not be told to anybody.
    let told: toml::Table = settings.parse().unwrap();
    let mut all = toml::Table::try_from(Config::default()).unwrap();
    all.remove("sink");
    assert_eq!(told, all);

    let config = read(&sinks).unwrap_or_else(|problems| panic!("{problems:?}\n{sinks}"));
    let [Settings { common, kind }, otlp, nats, journal] = config.sinks.as_slice() else {
        panic!("{config:?}")
    };
    let Kind::File(settings) = kind else {
        panic!("{kind:?}")
    };
    assert_eq!(
        read("[[sink]]\nkind = \"journald\"").unwrap().sinks,
        std::slice::from_ref(journal)
    );
    let (Kind::Otlp(otlp), Kind::Nats(nats)) = (&otlp.kind, &nats.kind) else {
        panic!("{config:?}")
    };
    // Beside what has no default.
    let own = otlp::Settings {
        headers_file: None,
        ca_file: None,
        cert_file: None,
        key_file: None,
        ..otlp.own.clone()
    };
    assert_eq!((own, &otlp.keys), (otlp::Settings::default(), &Keys::default()));
    let own = nats::Settings {
        stream: None,
        credentials_file: None,
        ca_file: None,
        cert_file: None,
        key_file: None,
        ..nats.own.clone()
    };
    assert_eq!((own, &nats.keys), (nats::Settings::default(), &Keys::default()));
    // Every key of theirs has its line.
    for sink in [toml::Table::try_from(otlp), toml::Table::try_from(nats)] {
        for key in sink.unwrap().keys() {
            assert!(sinks.contains(&format!("\n{key} = ")), "{key}:\n{sinks}");
        }
    }
    let default = Common {
        name: "file".into(),
        events: common.events.clone(),
        ..Common::default()
    };
    assert_eq!(*common, default);
    let least = format!("[[sink]]\nkind = \"file\"\npath = {:?}", settings.path);
    let least = read(&least).unwrap();
    assert_eq!(config.sinks[0].kind, least.sinks[0].kind);
    // All that it takes by default, but for diagnoses, which are to be asked for.
    let takes = |settings: &Settings| {
        let selection = settings.selection(crate::cli::filter_words).unwrap();
        (
            ["syscall", "process", "container", "end", "warning", "loss"],
            selection.kinds,
        )
    };
    assert!(takes(&config.sinks[0]).1.has(crate::sinks::Kind::Container));
    assert_eq!(takes(&least.sinks[0]).1, crate::sinks::Kinds::default());
    let told: toml::Table = sinks.parse().unwrap();
    let all = toml::Table::try_from(&config).unwrap();
    // Every key of a sink is explained: the common ones once.
    let keys = |table: &toml::Table, sink: usize| -> Vec<String> {
        table["sink"][sink].as_table().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&told, 0), keys(&all, 0));
    let mut both = keys(&told, 0);
    both.extend(keys(&told, 1));
    assert!(keys(&all, 1).iter().all(|key| both.contains(key)), "{both:?}");
}

#[test]
fn what_is_shown_is_read_as_the_same() {
    let text = r#"
        [daemon]
        ring_size = "64M"
        mode = "no-duration"
        linger = "1m"
        [annotations]
        options = "mode,filter"
        [audit]
        mode = "attach"
        runtime_state = ["/run/other"]
        [[sink]]
        kind = "file"
        path = "/var/log/a"
        events = ["syscall", "loss"]
        filter = "%file -Z"
        labels = "app=web"
        rotate_every = "24h"
        compress = "zstd"
        [[sink]]
        name = "two"
        kind = "file"
        path = "/var/log/b"
        explain = true
    "#;
    let config = read(text).unwrap();
    assert_eq!(
        (config.sinks.len(), config.daemon.ring_size),
        (2, Bytes(64 << 20))
    );
    let Kind::File(file::Settings { compress, .. }) = &config.sinks[0].kind else {
        panic!("{config:?}")
    };
    assert_eq!(*compress, file::Compression::Zstd);
    assert_eq!(read(&toml::to_string(&config).unwrap()), Ok(config));
}

#[test]
fn each_thing_that_is_wrong_is_told_with_its_place() {
    let text = "\
[daemon]
ring_siz = \"64M\"
mode = \"fast\"
linger = \"soon\"
string_limit = \"x\"

[demon]

[users]
queue = \"1T\"
containers = 5

[[sink]]
kind = \"fil\"

[[sink]]
kind = \"file\"
pth = \"/x\"

[[sink]]
kind = \"file\"
path = \"x\"
filter = \"-e trace=%nothing\"
queu = 5
labels = \"a b\"
";
    let found = problems(text);
    let starts = [
        r#"2:1: there is no key "ring_siz"; did you mean ring_size? There are ring_size, mode, string_limit, linger, hand_over"#,
        r#"3:8: mode: there is no word "fast"; there are full, no-duration, counts"#,
        r#"4:10: linger: "soon" is no time like 500ms, 30s or 5m"#,
        r#"5:16: string_limit: invalid type: string "x", expected u16"#,
        r#"7:2: there is no table "demon"; did you mean daemon?"#,
        r#"10:9: queue is 1T: write a size from 4K to 1G"#,
        r#"14:8: there is no kind "fil"; did you mean file?"#,
        "16:1: path is missing: write path = ...",
        r#"18:1: there is no key "pth"; did you mean path? There are path, "#,
        r#"22:8: path: "x" is no absolute path"#,
        r#"23:10: filter: "#,
        r#"24:1: there is no key "queu"; did you mean queue?"#,
        r#"25:10: labels: "#,
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}\nshould begin with\n{start}");
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    assert!(
        problems("[daemon]\nring_size = \n")[0].starts_with("2:13: "),
        "{:?}",
        problems("[daemon]\nring_size = \n")
    );
    assert!(problems("sink = 1")[0].contains("[[sink]]"));
    assert!(problems("daemon = 1")[0].contains("[daemon]"));
    assert!(problems("[[sink]]\npath = \"/x\"")[0].starts_with("1:1: the sink has no kind"));
}

#[test]
fn metrics_are_served_at_an_address_or_a_socket() {
    for good in ["", "127.0.0.1:9464", "[::1]:1", "/run/tracer/metrics.sock"] {
        assert!(read(&format!("[metrics]\nlisten = {good:?}\n")).is_ok(), "{good}");
    }
    for bad in ["9464", "localhost", "run/x", "/", "unix:/x"] {
        let found = problems(&format!("[metrics]\nlisten = {bad:?}\n"));
        assert!(found[0].starts_with("2:10: listen: "), "{found:?}");
    }
}

#[test]
fn no_two_sinks_share_a_name_or_a_file() {
    let sink =
        |name: &str, path: &str| format!("[[sink]]\nkind = \"file\"\nname = \"{name}\"\npath = \"{path}\"\n");
    let found = problems(&(sink("a", "/x") + &sink("b", "/x") + &sink("a", "/y")));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("8:8: path: ") && found[0].contains("/x"),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("11:8: name: ") && found[1].contains("\"a\""),
        "{found:?}"
    );
    assert_eq!(
        problems("[[sink]]\nkind = \"file\"\npath = \"/x\"\nname = \"a b\"\n").len(),
        1
    );
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(\\[\\[?(sink|daemon|users)\\]\\]?\n|(kind|path|queue|mode|linger) = (\"(file|/x|4M|\\PC{0,4})\"|[0-9]{1,20}|\\[\\])\n|\\PC{0,8}\n){0,8}") {
        for problem in read(&text).err().unwrap_or_default() {
            proptest::prop_assert!(problem.line >= 1 && problem.line <= text.lines().count() + 1);
        }
    }
}

#[test]
fn every_key_of_a_sink_that_delivers_is_in_the_docs() {
    let docs = include_str!("../../../docs/sinks.md");
    for kind in ["otlp", "nats"] {
        let config = read(&format!("[[sink]]\nkind = {kind:?}")).unwrap();
        let told = toml::Table::try_from(&config).unwrap();
        for key in told["sink"][0].as_table().unwrap().keys() {
            assert!(docs.contains(&format!("`{key}`")), "{key} of {kind}");
        }
        assert_eq!(read(&toml::to_string(&config).unwrap()), Ok(config));
    }
    let found = problems("[[sink]]\nkind = \"nats\"\nspol = \"1M\"\nsubject = \"a.*\"");
    assert!(
        found[0].starts_with("3:1: there is no key \"spol\"; did you mean spool?"),
        "{found:?}"
    );
    assert!(found[1].starts_with("4:11: subject: "), "{found:?}");
    let found = problems("[[sink]]\nkind = \"otlp\"\nendpoint = \"host:4318\"");
    assert_eq!(
        found,
        ["3:12: endpoint: \"host:4318\" is no address like http://127.0.0.1:4318"]
    );
    let found = problems("[[sink]]\nkind = \"otlp\"\nspool = \"1K\"");
    assert_eq!(found, ["3:9: spool: 1K is too small: 64K or more, or 0"]);
}

#[test]
fn a_share_of_more_than_all_is_refused() {
    for share in ["101", "-1", "300"] {
        let found = problems(&format!("[annotations]\nmax_ring_share = {share}"));
        let told = format!("{share} is no percentage: 1 to 100, or 0 for no such bound");
        assert!(
            found.len() == 1 && found[0].starts_with("2:") && found[0].contains(&told),
            "{found:?}"
        );
    }
    let config = read("[annotations]\nmax_ring_share = 100").unwrap();
    assert_eq!(config.annotations.max_ring_share, 100);
}
