//! One client's connection, as the holder sees it: never waited for, and bounded in every direction.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;

use super::Failure;
use super::protocol::{
    LARGEST_ANSWER, LARGEST_REQUEST, Reply, ReplyLine, Request, RequestLine, VERSION,
};
use crate::sys::descriptors;
use crate::types::ExitClass;

/// How long a client may be idle between two requests.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// How long a client may take to send a request that it began, and to take an answer.
pub(super) const STALL: Duration = Duration::from_secs(10);

/// How long a client may wait for an end that others put off.
const LINGER: Duration = Duration::from_secs(1);

/// A connected client.
pub(super) struct Connection {
    stream: UnixStream,
    incoming: Vec<u8>,
    /// How many bytes of it were looked through for the end of the line.
    scanned: usize,
    files: Vec<OwnedFd>,
    outgoing: Vec<u8>,
    sent: usize,
    phase: Phase,
    /// When the phase began.
    since: Instant,
    /// Whether the client sends nothing more.
    ended: bool,
}

/// What a connection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits for a request.
    Idle,
    /// A part of a request is there.
    Receiving,
    /// The request is being carried out.
    Working,
    /// The answer is on its way.
    Sending,
    /// After the answer in `outgoing` nothing more is said.
    Closing,
}

/// What came of looking at a connection.
#[derive(Debug)]
pub(super) enum Event {
    /// Nothing that concerns others.
    None,
    /// A request, and the file that came with it. It must be answered by [`Connection::reply`].
    Request(Request, Option<File>),
    /// The connection is over.
    Over,
}

impl Connection {
    /// A new client, to whom `hello` is said.
    pub(super) fn new(stream: UnixStream, hello: Reply, now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let mut connection = Self {
            stream,
            incoming: Vec::new(),
            scanned: 0,
            files: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            phase: Phase::Idle,
            since: now,
            ended: false,
        };
        connection.reply(hello, now);
        Ok(connection)
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> PollFlags {
        match self.phase {
            // A client that ends while its request is carried out is seen by the hang-up, which is always reported.
            Phase::Working => PollFlags::empty(),
            Phase::Sending | Phase::Closing => PollFlags::POLLOUT,
            Phase::Idle | Phase::Receiving if self.ended => PollFlags::empty(),
            Phase::Idle | Phase::Receiving => PollFlags::POLLIN,
        }
    }

    /// When the client will have taken too long; `None` while it is the holder's turn.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Working => None,
            // It waits for the holder to end, as `unmap` does.
            Phase::Idle if self.ended => Some(self.since + LINGER),
            Phase::Idle => Some(self.since + IDLE),
            Phase::Receiving | Phase::Sending | Phase::Closing => Some(self.since + STALL),
        }
    }

    /// Whether the client may still ask for something, or is waiting for an answer.
    pub(super) fn is_active(&self) -> bool {
        !(self.ended && self.phase == Phase::Idle)
    }

    /// Receives and sends what can be without waiting.
    pub(super) fn serve(&mut self, ready: PollFlags, now: Instant) -> Event {
        // Both ends are closed: nobody reads an answer.
        if ready.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
            return Event::Over;
        }
        if matches!(self.phase, Phase::Sending | Phase::Closing) {
            return self.flush(now);
        }
        if ready.contains(PollFlags::POLLIN) {
            return self.receive(now);
        }
        Event::None
    }

    /// Answers the request. The next one is read when this answer is out.
    pub(super) fn reply(&mut self, reply: Reply, now: Instant) {
        let line = ReplyLine {
            version: VERSION,
            reply,
        };
        let mut text = serde_json::to_vec(&line).expect("replies have no maps with other keys");
        text.push(b'\n');
        debug_assert!(text.len() <= LARGEST_ANSWER);
        self.outgoing = text;
        self.sent = 0;
        self.enter(Phase::Sending, now);
    }

    /// Answers what is no request, and closes.
    fn refuse(&mut self, message: String, now: Instant) -> Event {
        let failure = Failure::new(ExitClass::Failed, message);
        self.reply(Reply::Error(failure), now);
        self.enter(Phase::Closing, now);
        self.flush(now)
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }

    /// Sends what the client takes.
    pub(super) fn flush(&mut self, now: Instant) -> Event {
        while self.sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Event::None,
                    io::ErrorKind::Interrupted => {}
                    _ => return Event::Over,
                },
            }
        }
        if self.phase == Phase::Closing {
            return Event::Over;
        }
        self.outgoing = Vec::new();
        self.enter(Phase::Idle, now);
        Event::None
    }

    fn receive(&mut self, now: Instant) -> Event {
        let mut piece = [0; 16 << 10];
        loop {
            match descriptors::receive(&self.stream, &mut piece) {
                Ok((0, _)) => {
                    self.ended = true;
                    break;
                }
                Ok((length, files)) => {
                    self.files.extend(files);
                    self.incoming.extend_from_slice(&piece[..length]);
                    if self.incoming.len() > LARGEST_REQUEST || self.files.len() > 1 {
                        break;
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(Errno::EMFILE) => {
                    let message = "the file did not arrive: the process that holds the mappings has too many open files. \
                        Raise its limit (ulimit -n, LimitNOFILE= of a unit), or unmap something";
                    return self.refuse(message.to_owned(), now);
                }
                Err(_) => return Event::Over,
            }
        }
        self.next_request(now)
    }

    /// Takes a request out of what was received.
    fn next_request(&mut self, now: Instant) -> Event {
        if self.files.len() > 1 {
            return self.refuse("more than one file came with a request".to_owned(), now);
        }
        let fresh = &self.incoming[self.scanned..];
        let Some(end) = fresh.iter().position(|byte| *byte == b'\n') else {
            return self.wait_for_more(now);
        };
        if self.scanned + end + 1 != self.incoming.len() {
            let message = "a request came before the last one was answered".to_owned();
            return self.refuse(message, now);
        }
        self.scanned = 0;
        match parse(&std::mem::take(&mut self.incoming)) {
            Ok(request) => {
                self.enter(Phase::Working, now);
                Event::Request(request, self.files.pop().map(File::from))
            }
            Err(message) => self.refuse(message, now),
        }
    }

    fn wait_for_more(&mut self, now: Instant) -> Event {
        self.scanned = self.incoming.len();
        if self.incoming.len() >= LARGEST_REQUEST {
            let message = format!("a request has at most {LARGEST_REQUEST} bytes");
            return self.refuse(message, now);
        }
        match (self.incoming.is_empty(), self.ended) {
            // A part of a request, and no more to come.
            (false, true) => return Event::Over,
            (false, false) if self.phase == Phase::Idle => self.enter(Phase::Receiving, now),
            _ => {}
        }
        Event::None
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A request from its line; else what is wrong with it.
fn parse(line: &[u8]) -> Result<Request, String> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    if line.len() > LARGEST_REQUEST {
        return Err(format!("a request has at most {LARGEST_REQUEST} bytes"));
    }
    let malformed = |error: serde_json::Error| format!("this is no request: {error}");
    // The version first: the rest may mean something else in another.
    let Version { version } = serde_json::from_slice(line).map_err(malformed)?;
    if version != VERSION {
        return Err(format!(
            "this process speaks version {VERSION} of the protocol, not {version}: \
             unmap what it holds with the iommu-tool that started it"
        ));
    }
    serde_json::from_slice(line)
        .map(|line: RequestLine| line.request)
        .map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(now: Instant) -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let hello = Reply::Error(Failure::usage("hello"));
        let mut connection = Connection::new(ours, hello, now).unwrap();
        assert!(matches!(connection.flush(now), Event::None));
        (connection, theirs)
    }

    #[test]
    fn a_request_has_its_time_however_it_trickles() {
        let now = Instant::now();
        let (mut connection, mut client) = pair(now);
        assert_eq!(connection.deadline(), Some(now + IDLE));
        let begun = now + Duration::from_secs(1);
        for delay in 0..5 {
            client.write_all(b"{").unwrap();
            let event = connection.serve(PollFlags::POLLIN, begun + Duration::from_secs(delay));
            assert!(matches!(event, Event::None));
            assert_eq!(connection.deadline(), Some(begun + STALL));
        }
    }

    #[test]
    fn an_answer_has_its_time_and_nothing_is_read_before_it_is_taken() {
        let now = Instant::now();
        let (mut connection, mut client) = pair(now);
        let request = b"{\"version\":1,\"request\":{\"mappings\":{\"from\":\"0x0\"}}}\n";
        client.write_all(request).unwrap();
        let event = connection.serve(PollFlags::POLLIN, now);
        assert!(matches!(
            event,
            Event::Request(Request::Mappings { .. }, None)
        ));
        assert_eq!(connection.deadline(), None);
        assert_eq!(connection.interest(), PollFlags::empty());

        let large = Failure::usage("x".repeat(LARGEST_ANSWER / 2));
        connection.reply(Reply::Error(large), now);
        assert!(matches!(connection.flush(now), Event::None));
        assert_eq!(connection.deadline(), Some(now + STALL));
        assert_eq!(connection.interest(), PollFlags::POLLOUT);
    }

    #[test]
    fn a_client_that_sends_no_more_is_not_active_and_may_wait_for_a_while() {
        let now = Instant::now();
        let (mut connection, client) = pair(now);
        assert!(connection.is_active());
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(matches!(
            connection.serve(PollFlags::POLLIN, now),
            Event::None
        ));
        assert!(!connection.is_active());
        assert_eq!(connection.deadline(), Some(now + LINGER));
        assert_eq!(connection.interest(), PollFlags::empty());
    }
}
