//! The courier with a receiver by script and a clock that the test moves.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::{event::Container, sinks::Counts};

/// What the receiver says at its next attempts; after that it takes all.
enum Answer {
    Take,
    /// These, then it refuses.
    TakeThen(usize),
    Away,
    Wait(Duration),
    /// So many of the first are refused for good, then as the next answer says.
    Never(usize),
}

#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    taken: Arc<Mutex<Vec<(Id, String)>>>,
    attempts: Arc<Mutex<u32>>,
}

impl Receiver for Script {
    fn deliver(&mut self, batch: &mut Batch, _within: Duration) -> Result<(), Refusal> {
        *self.attempts.lock().unwrap() += 1;
        let text = |(id, bytes): (Id, &[u8])| (id, String::from_utf8_lossy(bytes).into_owned());
        let events: Vec<_> = batch.events().map(text).collect();
        let answer = self.answers.lock().unwrap().pop_front();
        let take = |count: usize| {
            self.taken
                .lock()
                .unwrap()
                .extend(events.iter().take(count).cloned());
        };
        match answer {
            Some(Answer::Away) => Err(Refusal::new("away")),
            Some(Answer::Wait(time)) => Err(Refusal {
                why: "busy".into(),
                after: Some(time),
            }),
            Some(Answer::TakeThen(count)) => {
                take(count);
                batch.accept(count);
                Err(Refusal::new("torn"))
            }
            Some(Answer::Never(count)) => {
                batch.refuse(count);
                self.taken
                    .lock()
                    .unwrap()
                    .extend(events.iter().skip(count).cloned());
                Ok(())
            }
            Some(Answer::Take) | None => {
                take(usize::MAX);
                Ok(())
            }
        }
    }
}

struct Bench {
    script: Script,
    delivery: Delivery,
    courier: Courier<Script>,
    clock: Arc<AtomicU64>,
    web: Arc<Account>,
    _dir: Option<tempfile::TempDir>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let clock = Arc::<AtomicU64>::default();
        static RUNS: AtomicU64 = AtomicU64::new(1);
        let (began, its) = (Instant::now(), clock.clone());
        let shared = Arc::new(Shared {
            name: "test".into(),
            settings,
            run: RUNS.fetch_add(1, Ordering::Relaxed),
            format: Mutex::new(Format::Json(Default::default())),
            total: Arc::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            clock: Box::new(move || began + Duration::from_millis(its.load(Ordering::Relaxed))),
        });
        let script = Script::default();
        let web = Container {
            id: "web".into(),
            ..Container::default()
        };
        Self {
            courier: Courier::new(shared.clone(), script.clone()),
            delivery: Delivery { shared },
            script,
            clock,
            web: {
                let account = Account::default();
                account.belongs_to(&Arc::new(web));
                Arc::new(account)
            },
            _dir: None,
        }
    }

    fn spooling(mut settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        settings.directory = Some(dir.path().join("spool"));
        Self {
            _dir: Some(dir),
            ..Self::new(settings)
        }
    }

    fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.answers.lock().unwrap().extend(answers);
    }

    /// Hands over these calls in one chunk.
    fn put<'a>(&mut self, calls: impl IntoIterator<Item = &'a str>) {
        let mut chunk = Chunk::new(self.delivery.shared.total.clone());
        for call in calls {
            chunk.push(Some(&self.web), |to| to.extend_from_slice(call.as_bytes()));
        }
        chunk.book();
        self.delivery.write(&mut chunk).unwrap();
    }

    fn pass(&self, time: Duration) {
        self.clock.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }

    /// Steps until there is nothing to be done now; when there will be.
    fn work(&mut self) -> Next {
        loop {
            match self.courier.step() {
                Next::Step => {}
                next => return next,
            }
        }
    }

    /// Works on, and makes time pass, until nothing is queued.
    fn settle(&mut self) {
        for _ in 0..1000 {
            self.work();
            if self.web.counts().queued == 0 && self.total().queued == 0 {
                return;
            }
            self.pass(Duration::from_secs(1));
        }
        panic!("still queued: {:?}", self.web.counts());
    }

    fn total(&self) -> Counts {
        self.delivery.shared.total.counts()
    }

    /// Written, dropped, queued of the container.
    fn books(&self) -> (u64, u64, u64) {
        let counts = self.web.counts();
        (counts.written, counts.dropped, counts.queued)
    }

    fn taken(&self) -> Vec<String> {
        let taken = self.script.taken.lock().unwrap();
        taken.iter().map(|(_, text)| text.clone()).collect()
    }
}

fn settings() -> Settings {
    Settings {
        linger: Duration::ZERO,
        ..Settings::default()
    }
}

#[test]
fn small_chunks_wait_for_more_and_go_together() {
    let mut bench = Bench::new(Settings {
        linger: Duration::from_secs(1),
        ..settings()
    });
    bench.put(["a"]);
    assert!(matches!(bench.work(), Next::Wait(Some(_))));
    bench.put(["b", "c"]);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.work(), Next::Wait(None));
    assert_eq!(bench.taken(), ["a", "b", "c"]);
    assert_eq!(*bench.script.attempts.lock().unwrap(), 1);
    let numbers: Vec<_> = bench
        .script
        .taken
        .lock()
        .unwrap()
        .iter()
        .map(|(id, _)| id.number)
        .collect();
    assert_eq!((numbers, bench.books()), (vec![0, 1, 2], (3, 0, 0)));
}

#[test]
fn what_is_refused_is_tried_again_later_and_later() {
    let mut bench = Bench::new(settings());
    bench.answers((0..8).map(|_| Answer::Away));
    bench.put(["a"]);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let at = (bench.courier_now(), bench.work());
        let (now, Next::Wait(Some(until))) = at else {
            panic!("{at:?}")
        };
        let pause = until - now;
        pauses.push(pause);
        // A little before nothing is tried.
        bench.pass(pause - Duration::from_millis(2));
        bench.work();
        bench.pass(Duration::from_millis(3));
    }
    for (pause, most) in pauses
        .iter()
        .zip([250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000])
    {
        let most = Duration::from_millis(most);
        assert!(*pause >= most / 2 && *pause <= most, "{pause:?} of {most:?}");
    }
    assert_eq!(bench.books(), (0, 0, 1));
    bench.work();
    assert_eq!((bench.taken(), bench.books()), (vec!["a".into()], (1, 0, 0)));
    assert_eq!(*bench.script.attempts.lock().unwrap(), 9);
    // And then soon again.
    bench.answers([Answer::Away]);
    bench.put(["b"]);
    let now = bench.courier_now();
    let Next::Wait(Some(until)) = bench.work() else {
        panic!("no pause")
    };
    assert!(until - now <= Duration::from_millis(250));
}

#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    let mut bench = Bench::new(settings());
    bench.answers([Answer::Wait(Duration::from_secs(7))]);
    bench.put(["a"]);
    let now = bench.courier_now();
    let Next::Wait(Some(until)) = bench.work() else {
        panic!("no pause")
    };
    assert_eq!(until - now, Duration::from_secs(7));
}

#[test]
fn a_torn_batch_goes_on_where_it_was() {
    for spool in [false, true] {
        let mut bench = if spool {
            Bench::spooling(settings())
        } else {
            Bench::new(settings())
        };
        bench.answers([Answer::TakeThen(2), Answer::TakeThen(1), Answer::Away]);
        bench.put(["a", "b", "c", "d", "e"]);
        bench.work();
        assert_eq!(bench.books(), (2, 0, 3), "spool: {spool}");
        bench.settle();
        assert_eq!(bench.taken(), ["a", "b", "c", "d", "e"]);
        assert_eq!(bench.books(), (5, 0, 0));
    }
}

#[test]
fn what_will_never_be_taken_is_dropped_and_told() {
    let mut bench = Bench::new(settings());
    bench.answers([Answer::Never(2)]);
    bench.put(["a", "b", "c"]);
    bench.settle();
    let taken = bench.taken();
    assert_eq!(
        (taken.len(), taken[0].as_str(), bench.books()),
        (2, "c", (1, 2, 0))
    );
    let loss: serde_json::Value = serde_json::from_str(&taken[1]).unwrap();
    assert_eq!(
        (&loss["type"], &loss["reason"]),
        (&"loss".into(), &"sink_drop".into())
    );
    assert_eq!(
        (&loss["count"], &loss["container"]["id"]),
        (&2.into(), &"web".into())
    );
}

#[test]
fn a_full_queue_drops_what_comes_and_tells_where() {
    let mut bench = Bench::new(Settings {
        queue: 200,
        batch_events: 1,
        ..settings()
    });
    let calls: Vec<_> = (0..100).map(|number| format!("call {number}")).collect();
    for call in &calls[..60] {
        bench.put([call.as_str()]);
    }
    let (_, dropped, queued) = bench.books();
    assert!(
        dropped > 40 && dropped + queued == 60,
        "{dropped} dropped, {queued} queued"
    );
    bench.settle();
    for call in &calls[60..64] {
        bench.put([call.as_str()]);
        bench.settle();
    }
    let taken = bench.taken();
    let expected = calls[..queued as usize].iter();
    assert!(expected.clone().zip(&taken).all(|(a, b)| a == b));
    let loss: serde_json::Value = serde_json::from_str(&taken[queued as usize]).unwrap();
    assert_eq!(loss["count"], dropped);
    assert_eq!(taken[queued as usize + 1..], calls[60..64]);
    assert_eq!(bench.books(), (queued + 4, dropped, 0));
    let ids: Vec<_> = bench
        .script
        .taken
        .lock()
        .unwrap()
        .iter()
        .map(|(id, _)| id.number)
        .collect();
    // A hole in the numbers where they are missing, and the loss right behind it.
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    let holes: u64 = ids.windows(2).map(|pair| pair[1] - pair[0] - 1).sum();
    assert_eq!(holes, dropped);
}

#[test]
fn the_spool_keeps_what_memory_cannot_in_order() {
    let mut bench = Bench::spooling(Settings {
        queue: 2000,
        spool: 20_000,
        batch_events: 4,
        ..settings()
    });
    bench.answers((0..20).map(|_| Answer::Away));
    let calls: Vec<_> = (0..600).map(|number| format!("call {number}")).collect();
    for call in &calls {
        bench.put([call.as_str()]);
        bench.work();
    }
    let (written, dropped, queued) = bench.books();
    assert!(
        written == 0 && dropped > 0 && queued > 100,
        "{dropped} dropped, {queued} queued"
    );
    assert_eq!(dropped + queued, 600);
    assert!(bench.delivery.shared.lock().health.spooled_bytes > 10_000);
    bench.settle();
    let taken = bench.taken();
    let calls_taken: Vec<_> = taken.iter().filter(|text| text.starts_with("call")).collect();
    let told: u64 = taken
        .iter()
        .filter(|text| text.starts_with('{'))
        .map(|text| {
            serde_json::from_str::<serde_json::Value>(text).unwrap()["count"]
                .as_u64()
                .unwrap()
        })
        .sum();
    assert_eq!(bench.books(), (queued, dropped, 0));
    assert_eq!((calls_taken.len() as u64, told), (queued, dropped));
    let number = |text: &str| text.strip_prefix("call ").unwrap().parse::<u64>().unwrap();
    assert!(
        calls_taken
            .windows(2)
            .all(|pair| number(pair[0]) < number(pair[1]))
    );
    assert_eq!(bench.delivery.shared.lock().health.spooled_bytes, 0);
}

#[test]
fn what_is_left_at_the_end_is_the_next_daemons() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        directory: Some(dir.path().join("spool")),
        ..settings()
    };
    let mut first = Bench::new(settings.clone());
    first.answers([Answer::Take, Answer::TakeThen(1), Answer::Away, Answer::Away]);
    first.put(["a"]);
    first.work();
    first.put(["b", "c"]);
    first.work();
    first.put(["d"]);
    first.delivery.finish().unwrap();
    assert_eq!(first.work(), Next::Done);
    assert_eq!(first.books(), (2, 0, 2), "what is spooled is queued");
    let ids = first.script.taken.lock().unwrap().clone();
    drop(first);

    let mut second = Bench::new(settings);
    // The container was handed over.
    let before = Arc::<Account>::default();
    before.queue(2);
    second.delivery.resume(&before, 2);
    second.put(["e"]);
    assert_eq!(before.counts().queued, 2);
    second.settle();
    second.work();
    assert_eq!((before.counts().written, before.counts().queued), (2, 0));
    // What was delivered of a torn batch before it was spooled does not come again.
    assert_eq!(second.taken(), ["c", "d", "e"]);
    assert_eq!((second.books(), second.total().written), ((1, 0, 0), 3));
    let later = second.script.taken.lock().unwrap().clone();
    assert_eq!(
        (later[0].0.run, later[0].0.number),
        (ids[1].0.run, ids[1].0.number + 1)
    );
    assert_ne!(later[2].0.run, ids[1].0.run);
}

#[test]
fn an_end_waits_for_a_receiver_that_takes_and_for_no_other() {
    let mut bench = Bench::new(settings());
    bench.put(["a", "b"]);
    bench.delivery.finish().unwrap();
    assert_eq!(bench.work(), Next::Done);
    assert_eq!(bench.books(), (2, 0, 0));

    // Without a spool it is asked again until the time is over.
    let mut bench = Bench::new(settings());
    bench.answers((0..200).map(|_| Answer::Away));
    bench.put(["a"]);
    bench.delivery.finish().unwrap();
    let began = bench.courier_now();
    loop {
        match bench.work() {
            Next::Done => break,
            _ => bench.pass(Duration::from_millis(50)),
        }
    }
    let took = bench.courier_now() - began;
    assert!(
        took >= Duration::from_millis(4900) && took < Duration::from_millis(5200),
        "{took:?}"
    );
    drop(bench.courier);
    assert!(*bench.script.attempts.lock().unwrap() > 3);
    assert_eq!(bench.web.counts().dropped, 1);
}

#[test]
fn the_thread_delivers_and_ends() {
    let script = Script::default();
    let its = script.clone();
    let total = Arc::<Account>::default();
    let (mut delivery, handle) = open(
        "test",
        settings(),
        Format::Json(Default::default()),
        total.clone(),
        Vec::new(),
        move || its,
    )
    .unwrap();
    for number in 0..100 {
        let mut chunk = Chunk::new(total.clone());
        chunk.push(None, |to| to.extend_from_slice(format!("{number}").as_bytes()));
        chunk.book();
        delivery.write(&mut chunk).unwrap();
    }
    drop(delivery);
    handle.join(None);
    let taken: Vec<_> = script
        .taken
        .lock()
        .unwrap()
        .iter()
        .map(|(id, text)| (id.number, text.clone()))
        .collect();
    let expected: Vec<_> = (0..100).map(|number| (number, number.to_string())).collect();
    assert_eq!(taken, expected);
    assert_eq!(total.counts().written, 100);
}

impl Bench {
    fn courier_now(&self) -> Instant {
        self.courier.now()
    }
}
