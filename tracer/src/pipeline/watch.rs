//! What makes a container's last events worth keeping, told to whoever keeps them. It waits for nobody.

use std::sync::mpsc::{SyncSender, TrySendError};

use super::Held;
use crate::{
    event::{Body, Event, Exit, Lifecycle, Process, ProcessEvent},
    log::note,
    recording::{Reason, Reasons},
};

/// Something happened to a container, for which what is held of it may be worth keeping.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// The container's id.
    pub id: String,
    pub reason: Option<Reason>,
    /// It was its end.
    pub over: bool,
}

/// What is to be told of, and to whom.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Of containers that did not ask for others.
    pub on: Reasons,
    pub to: SyncSender<Trigger>,
}

impl Watch {
    /// Tells of an event that is a reason, once a container and reason. It waits for nobody.
    pub(super) fn see(&self, held: &mut Held, event: &Event) {
        let (reason, over) = match &event.body {
            Body::Process(Process {
                what: ProcessEvent::Exit { code, oom },
                ..
            }) => {
                let signal = reason(*code).filter(|reason| *reason == Reason::Signal);
                if signal.is_some() && oom.is_some() {
                    self.tell(held, Some(Reason::Oom), false);
                }
                (signal, false)
            }
            Body::Container(Lifecycle::Gone { exit, .. }) => (exit.and_then(reason), true),
            Body::Diagnosis(_) => (Some(Reason::Diagnosis), false),
            _ => return,
        };
        self.tell(held, reason, over);
    }

    fn tell(&self, held: &mut Held, reason: Option<Reason>, over: bool) {
        let on = held.asked.dump_on.as_ref().unwrap_or(&self.on);
        let reason = reason.filter(|reason| on.has(*reason) && !held.triggered.contains(reason));
        held.triggered.extend(reason);
        // Its end also ends the wait of what was told before.
        if reason.is_none() && (!over || held.triggered.is_empty()) {
            return;
        }
        let trigger = Trigger {
            id: held.info.id.clone(),
            reason,
            over,
        };
        if let Err(TrySendError::Full(lost)) = self.to.try_send(trigger) {
            note(&format!("no dump of container {}: too many at once", lost.id));
        }
    }
}

/// Why the end of a process may be worth a dump: not where it was asked to end, or nobody read what it wrote.
fn reason(exit: Exit) -> Option<Reason> {
    match exit {
        Exit::Code(0) => None,
        Exit::Code(_) => Some(Reason::Exit),
        Exit::Signal { number, .. } => {
            let asked = [
                libc::SIGHUP,
                libc::SIGINT,
                libc::SIGPIPE,
                libc::SIGALRM,
                libc::SIGTERM,
                libc::SIGUSR1,
                libc::SIGUSR2,
            ];
            (!asked.contains(&i32::from(number))).then_some(Reason::Signal)
        }
    }
}
