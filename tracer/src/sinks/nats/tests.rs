//! Settings and entries; the server itself is the end-to-end tests' (`tests/tests/nats.rs`).

use super::*;
use crate::event::{Body, Container, Lifecycle};

#[test]
fn an_entry_has_the_subject_and_the_line() {
    let messages = Messages::new(&Settings::default());
    let event = Event {
        time_ns: 1,
        ktime: 2,
        container: Arc::new(Container {
            id: "4f1c".into(),
            name: "we.b>".into(),
            ..Container::default()
        }),
        body: Body::Container(Lifecycle::Exec),
    };
    let mut entry = Vec::new();
    messages.write_event(&mut entry, &event, &Detail::default());
    let mut line = Vec::new();
    json::write_event(&mut line, &event, Descriptors::Numbers);
    let (subject, its) = message(&entry).unwrap();
    assert_eq!((subject, its), ("tracer._._.we_b_", line.trim_ascii_end()));
    for cut in 0..2 + subject.len() {
        assert!(message(&entry[..cut]).is_none(), "{cut}");
    }
}

#[test]
fn secrets_have_a_file_of_their_own() {
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.check().map_err(|(key, _)| key)
    };
    assert_eq!(with(&|_| {}), Ok(()));
    assert_eq!(
        with(&|s| s.servers = vec!["nats://joe:secret@h:4222".into()]),
        Err("servers")
    );
    assert_eq!(with(&|s| s.servers.clear()), Err("servers"));
    assert_eq!(
        with(&|s| {
            s.token_file = Some("/t".into());
            s.user_file = Some("/u".into());
        }),
        Err("credentials_file")
    );
    assert_eq!(with(&|s| s.key_file = Some("/k".into())), Err("cert_file"));
    assert_eq!(with(&|s| s.stream = Some("a.b".into())), Err("stream"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("user");
    let settings = Settings {
        user_file: Some(file.clone()),
        ..Settings::default()
    };
    let why = settings.options().map(drop).unwrap_err();
    assert!(why.contains(file.to_str().unwrap()), "{why}");
    fs::write(&file, "no-colon").unwrap();
    assert!(
        settings
            .options()
            .map(drop)
            .unwrap_err()
            .contains("user:password")
    );
    fs::write(&file, "joe:secret\n").unwrap();
    settings.options().map(drop).unwrap();
}
