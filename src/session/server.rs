//! The holder: one thread that never waits for a single client.
//!
//! It polls signals, its sockets, its clients, the kernel's requests to release devices, and the results of work that takes long
//! and is done in threads of its own. Only this thread touches the [`Holding`].

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::connection::{Connection, Event};
use super::folder::Claim;
use super::holding::{Holding, Settle, Step, Work};
use super::protocol::{Answer, Reply};
use super::ready::notify;
use super::{Failure, SessionError};
use crate::sys::event_fd;
use crate::types::{Bdf, ExitClass};

/// The most clients at once; others wait until one leaves.
const MOST_CLIENTS: usize = 64;

/// How soon it is tried again to take a client, where one too many files were open.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a holder that ends with its last mapping waits for its first client.
const FIRST_CLIENT: Duration = Duration::from_secs(10);

/// The signals that end a holder, blocked so that they can be polled for. Made before any other thread is.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// From now on SIGTERM, SIGINT and SIGHUP wait for the holder's turn.
    pub fn block() -> Result<Self, SessionError> {
        let failed = |errno| SessionError::Process {
            action: "take signals in turn",
            errno,
        };
        let mask = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
        mask.thread_block().map_err(failed)?;
        SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map(Self)
            .map_err(failed)
    }
}

/// Why a holder ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its last mapping was taken out.
    Unmapped,
    /// A signal asked for it.
    Signal(Signal),
    /// The kernel asked for its last device back.
    Released,
}

/// A holder at work.
pub struct Server {
    holding: Holding,
    claim: Claim,
    signals: Signals,
    until_unmapped: bool,
    clients: BTreeMap<u64, Connection>,
    next_client: u64,
    /// When clients are taken again, after too many files were open for one.
    full_until: Option<Instant>,
    /// Ends of work, by the client it was for.
    results: Receiver<(u64, Settle)>,
    finished: Sender<(u64, Settle)>,
    wake: Arc<EventFd>,
    working: usize,
    end: Option<End>,
    started: Instant,
}

/// What a file descriptor in the poll stands for.
#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Results,
    Listener(usize),
    Device(Bdf),
    Client(u64),
}

impl Server {
    /// A holder that listens at the sockets of `claim`. If `until_unmapped`, it ends with its last mapping.
    pub(super) fn new(
        holding: Holding,
        claim: Claim,
        signals: Signals,
        until_unmapped: bool,
    ) -> Result<Self, SessionError> {
        let wake =
            EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map_err(|error| SessionError::Process {
                action: "make an eventfd",
                errno: super::error::errno_of(&error),
            })?;
        let (finished, results) = channel();
        Ok(Self {
            holding,
            claim,
            signals,
            until_unmapped,
            clients: BTreeMap::new(),
            next_client: 0,
            full_until: None,
            results,
            finished,
            wake: Arc::new(wake),
            working: 0,
            end: None,
            started: Instant::now(),
        })
    }

    /// Serves until there is a reason to end. Then it makes the devices still, unmaps, closes, and at last stops to listen:
    /// who finds no socket can be sure that the devices are free.
    pub fn run(mut self) -> Result<End, SessionError> {
        let end = loop {
            self.look_for_end();
            match self.end {
                Some(end) if self.working == 0 => break end,
                _ => {}
            }
            for (source, ready) in self.wait()? {
                self.handle(source, ready);
            }
            self.leave_clients();
        };
        match end {
            End::Unmapped => log::info!("nothing is mapped any more"),
            End::Signal(signal) => log::info!("{signal}: closing"),
            End::Released => log::info!("no device is left: closing"),
        }
        notify("STOPPING=1");
        let Self { holding, claim, .. } = self;
        holding.release();
        drop(claim);
        // The clients' connections close with the process.
        Ok(end)
    }

    fn look_for_end(&mut self) {
        let unused = self.until_unmapped
            && self.holding.is_empty()
            && self.working == 0
            && !self.clients.values().any(Connection::is_active);
        let expected = self.next_client == 0 && self.started.elapsed() < FIRST_CLIENT;
        if unused && !expected {
            self.end.get_or_insert(End::Unmapped);
        }
    }

    /// Waits until something can be done.
    fn wait(&self) -> Result<Vec<(Source, PollFlags)>, SessionError> {
        let mut polled = vec![
            (Source::Signals, self.signals.0.as_fd(), PollFlags::POLLIN),
            (Source::Results, event_fd(&self.wake), PollFlags::POLLIN),
        ];
        if self.end.is_none() {
            if self.clients.len() < MOST_CLIENTS && self.full_until().is_none() {
                let listeners = self.claim.listeners().enumerate();
                polled.extend(listeners.map(|(index, listener)| {
                    (Source::Listener(index), listener.as_fd(), PollFlags::POLLIN)
                }));
            }
            let devices = self.holding.release_requests();
            polled.extend(
                devices
                    .map(|(bdf, event)| (Source::Device(bdf), event_fd(event), PollFlags::POLLIN)),
            );
        }
        polled.extend(
            self.clients
                .iter()
                .map(|(id, client)| (Source::Client(*id), client.as_fd(), client.interest())),
        );
        let mut fds: Vec<_> = polled
            .iter()
            .map(|(_, fd, interest)| PollFd::new(*fd, *interest))
            .collect();
        match poll(&mut fds, self.timeout()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(SessionError::Process {
                    action: "wait for clients",
                    errno,
                });
            }
        }
        Ok(polled
            .iter()
            .zip(&fds)
            .filter_map(|((source, ..), fd)| {
                let ready = fd.revents().filter(|ready| !ready.is_empty())?;
                Some((*source, ready))
            })
            .collect())
    }

    /// Until when no client is taken, as too many files are open.
    fn full_until(&self) -> Option<Instant> {
        self.full_until.filter(|until| *until > Instant::now())
    }

    /// How long nothing may happen until a client has taken too long.
    fn timeout(&self) -> PollTimeout {
        let first =
            (self.until_unmapped && self.next_client == 0).then(|| self.started + FIRST_CLIENT);
        let deadlines = self.clients.values().filter_map(Connection::deadline);
        let Some(next) = deadlines.chain(first).chain(self.full_until()).min() else {
            return PollTimeout::NONE;
        };
        let left = next.saturating_duration_since(Instant::now());
        // Rounded up: at the deadline it must have passed.
        PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
    }

    fn handle(&mut self, source: Source, ready: PollFlags) {
        match source {
            Source::Signals => self.take_signal(),
            Source::Results => self.take_results(),
            Source::Listener(index) => self.accept(index),
            Source::Device(bdf) => self.release_device(bdf),
            Source::Client(id) => self.serve(id, ready),
        }
    }

    fn take_signal(&mut self) {
        if let Ok(Some(info)) = self.signals.0.read_signal() {
            let signal = Signal::try_from(info.ssi_signo as i32).unwrap_or(Signal::SIGTERM);
            self.end.get_or_insert(End::Signal(signal));
            self.holding.interrupt();
        }
    }

    fn release_device(&mut self, bdf: Bdf) {
        log::warn!("the kernel asks for {bdf} back, as it is unplugged or unbound: letting it go");
        self.holding.let_go(bdf);
        if self.holding.is_deserted() {
            self.end.get_or_insert(End::Released);
        }
    }

    fn accept(&mut self, index: usize) {
        let Some(listener) = self.claim.listeners().nth(index) else {
            return;
        };
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => return self.take_none(super::error::errno_of(&error)),
        };
        self.full_until = None;
        let own = geteuid().as_raw();
        match getsockopt(&stream, PeerCredentials) {
            Ok(peer) if peer.uid() == own || peer.uid() == 0 => {}
            Ok(peer) => return log::warn!("refused a client of user {}", peer.uid()),
            Err(errno) => return log::warn!("cannot tell whose client it is: {errno}"),
        }
        let now = Instant::now();
        let hello = Reply::Hello(self.holding.hello(self.until_unmapped));
        if let Ok(mut client) = Connection::new(stream, hello, now) {
            let event = client.flush(now);
            self.clients.insert(self.next_client, client);
            self.next_client += 1;
            self.react(self.next_client - 1, event);
        }
    }

    fn take_none(&mut self, errno: Errno) {
        if !matches!(errno, Errno::EMFILE | Errno::ENFILE) {
            return log::warn!("cannot take a client: {errno}");
        }
        // It stays in the queue, so that poll would come back at once, and again.
        let until = Instant::now() + AGAIN;
        if self.full_until.replace(until).is_none() {
            log::warn!(
                "cannot take a client: {errno}. It waits until a file is closed; raise the limit of this process (ulimit -n, LimitNOFILE= of a unit)"
            );
        }
    }

    fn serve(&mut self, id: u64, ready: PollFlags) {
        if let Some(client) = self.clients.get_mut(&id) {
            let event = client.serve(ready, Instant::now());
            self.react(id, event);
        }
    }

    fn react(&mut self, id: u64, event: Event) {
        match event {
            Event::None => {}
            Event::Over => drop(self.clients.remove(&id)),
            Event::Request(..) if self.end.is_some() => {
                let message = "the process that holds the mappings is ending";
                self.reply(id, Err(Failure::new(ExitClass::Failed, message)));
            }
            Event::Request(request, file) => match self.holding.begin(request, file) {
                Step::Done(result) => self.reply(id, result),
                Step::Quick(work) => {
                    let result = work()(&mut self.holding);
                    self.reply(id, result);
                }
                Step::Long(work) => self.work(id, work),
            },
        }
    }

    /// Has a thread do the work. Each client has at most one request, so that there are no more threads than clients.
    fn work(&mut self, id: u64, work: Work) {
        let (finished, wake) = (self.finished.clone(), self.wake.clone());
        self.working += 1;
        let job = move || {
            // The holder waits for all work before it ends, so both arrive.
            let _ = finished.send((id, work()));
            let _ = wake.write(1);
        };
        let spawned = thread::Builder::new().name("work".to_owned()).spawn(job);
        if let Err(error) = spawned {
            self.working -= 1;
            let errno = super::error::errno_of(&error);
            let message = format!("cannot start a thread: {errno}");
            self.reply(id, Err(Failure::new(ExitClass::Failed, message)));
        }
    }

    fn take_results(&mut self) {
        // Only the number of signals is read, and the channel knows how many results there are.
        let _ = self.wake.read();
        while let Ok((id, settle)) = self.results.try_recv() {
            self.working -= 1;
            let result = settle(&mut self.holding);
            match (&result, self.clients.contains_key(&id)) {
                (Ok(answer), false) => self.holding.undo(answer),
                _ => self.reply(id, result),
            }
        }
    }

    fn reply(&mut self, id: u64, result: Result<Answer, Failure>) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let now = Instant::now();
        client.reply(
            match result {
                Ok(answer) => Reply::Answer(answer),
                Err(failure) => Reply::Error(failure),
            },
            now,
        );
        let event = client.flush(now);
        self.react(id, event);
    }

    /// Leaves clients that take too long, and those that wait for an end which does not come, or not soon.
    fn leave_clients(&mut self) {
        let now = Instant::now();
        if !self.until_unmapped || !self.holding.is_empty() || self.working > 0 {
            self.clients.retain(|_, client| client.is_active());
        }
        self.clients
            .retain(|_, client| client.deadline().is_none_or(|deadline| now < deadline));
    }
}
