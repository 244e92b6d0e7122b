//! A command's side of the conversation with a holder.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;

use super::connection::IDLE;
use super::protocol::{
    Answer, Hello, LARGEST_ANSWER, MappingInfo, Reply, ReplyLine, Request, RequestLine, VERSION,
};
use super::{Folder, SessionError, peer};
use crate::sys::descriptors;
use crate::types::{BackendChoice, GroupId, Iova, IovaRange, VfioNode};

/// How long a holder may take to end.
const ENDING: Duration = Duration::from_secs(60);

/// A connection to the holder of a group.
#[derive(Debug)]
pub struct Client {
    folder: Folder,
    group: GroupId,
    stream: BufReader<UnixStream>,
    hello: Hello,
    last: Instant,
}

impl Hello {
    /// Whether its backend is one that was asked for.
    pub(super) fn backend_is(&self, choice: BackendChoice) -> bool {
        choice.named().is_none_or(|named| named == self.backend)
    }
}

impl Client {
    /// Connects to the holder of a group that this user may ask; `None` if there is none. For root it may be another user's.
    ///
    /// # Errors
    /// As [`Self::own`]; what is wrong with others' folders is logged and passed over.
    pub fn find(group: GroupId) -> Result<Option<Self>, SessionError> {
        if let Some(client) = Self::own(group)? {
            return Ok(Some(client));
        }
        let others = Folder::others();
        Ok(others
            .iter()
            .find_map(|folder| Self::of_another(folder, group)))
    }

    /// Connects to this user's holder of a group; `None` if there is none.
    ///
    /// # Errors
    /// [`SessionError::HeldByOther`] if it is root's, who may ask all.
    pub(super) fn own(group: GroupId) -> Result<Option<Self>, SessionError> {
        if let Some(client) = Self::in_folder(&Folder::own()?, group)? {
            return Ok(Some(client));
        }
        match Folder::socket_of_root(group) {
            Some(socket) if !geteuid().is_root() => Err(SessionError::HeldByOther {
                group,
                owner: "root".to_owned(),
                socket,
            }),
            _ => Ok(None),
        }
    }

    /// Connects to all holders that this user may ask, each once. What is wrong with others' folders is logged and passed over.
    pub fn all() -> Result<Vec<Self>, SessionError> {
        let mut clients: Vec<Self> = Vec::new();
        let mut add = |client: Self| {
            let is_new = |known: &Self| known.hello.pid != client.hello.pid;
            if clients.iter().all(is_new) {
                clients.push(client);
            }
        };
        let own = Folder::own()?;
        for group in own.groups()? {
            Self::in_folder(&own, group)?.into_iter().for_each(&mut add);
        }
        for folder in Folder::others() {
            let groups = folder.groups().unwrap_or_else(|error| {
                passed_over(&error);
                Vec::new()
            });
            let found = groups
                .into_iter()
                .filter_map(|group| Self::of_another(&folder, group));
            found.for_each(&mut add);
        }
        Ok(clients)
    }

    fn of_another(folder: &Folder, group: GroupId) -> Option<Self> {
        Self::in_folder(folder, group).unwrap_or_else(|error| {
            passed_over(&error);
            None
        })
    }

    pub(super) fn in_folder(folder: &Folder, group: GroupId) -> Result<Option<Self>, SessionError> {
        match folder.connect(group)? {
            Some(stream) => Self::greet(folder, group, stream),
            None => Ok(None),
        }
    }

    /// Hears who it is; `None` if it ended before it took the connection.
    pub(super) fn greet(
        folder: &Folder,
        group: GroupId,
        stream: UnixStream,
    ) -> Result<Option<Self>, SessionError> {
        let peer = getsockopt(&stream, PeerCredentials).map_err(|errno| SessionError::Process {
            action: "see whose socket it is",
            errno,
        })?;
        // Root's commands must not be deceived by what is in a folder that is not root's.
        if peer.uid() != folder.owner() {
            return Err(SessionError::Unsafe {
                path: folder.socket(group),
                what: format!("a process of user {} listens there", peer.uid()),
            });
        }
        if !folder.is_own() && !peer::holds(&peer, group) {
            return Err(SessionError::Unsafe {
                path: folder.socket(group),
                what: format!(
                    "process {} of user {} listens there, but does not hold IOMMU group {group}",
                    peer.pid(),
                    peer.uid()
                ),
            });
        }
        let mut stream = BufReader::new(stream);
        let line = match read_line(&mut stream, Some(folder.patience())) {
            Ok(line) => line,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(broken(group, peer.pid(), &error)),
        };
        if line.is_empty() {
            return Ok(None);
        }
        let Reply::Hello(mut hello) = parse(group, &line)? else {
            return Err(strange(group));
        };
        if !folder.is_own() {
            // Whatever it says.
            hello.pid = peer.pid().unsigned_abs();
            hello.uid = peer.uid();
        }
        Ok(Some(Self {
            folder: folder.clone(),
            group,
            stream,
            hello,
            last: Instant::now(),
        }))
    }

    /// Whether the holder is one of the user who asks.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.folder.is_own()
    }

    /// What the holder said of itself.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Has a request carried out.
    ///
    /// # Errors
    /// What the holder says, or that it cannot be talked to any more.
    pub fn ask(&mut self, request: Request, file: Option<&File>) -> Result<Answer, SessionError> {
        self.ask_within(None, request, file)
    }

    /// As [`Self::ask`], for a request that takes no longer than this.
    fn ask_within(
        &mut self,
        limit: Option<Duration>,
        request: Request,
        file: Option<&File>,
    ) -> Result<Answer, SessionError> {
        // A holder leaves those that say nothing for long.
        if self.last.elapsed() > IDLE / 2 {
            *self = Self::in_folder(&self.folder, self.group)?
                .filter(|again| again.hello.pid == self.hello.pid)
                .ok_or_else(|| self.ended())?;
        }
        let line = RequestLine {
            version: VERSION,
            request,
        };
        let mut text = serde_json::to_vec(&line).expect("requests have no maps with other keys");
        text.push(b'\n');
        self.send(&text, file)?;
        let line = read_line(&mut self.stream, limit)
            .map_err(|error| broken(self.group, self.hello.pid, &error))?;
        self.last = Instant::now();
        if line.is_empty() {
            return Err(self.ended());
        }
        match parse(self.group, &line)? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Error(failure) => Err(failure.into()),
            Reply::Hello(_) => Err(self.strange()),
        }
    }

    /// Has the holder take a device in, if it does not have it yet.
    pub(super) fn include(&mut self, node: &VfioNode) -> Result<(), SessionError> {
        if self.hello.devices.contains(&node.bdf) {
            return Ok(());
        }
        let node = node.clone();
        self.ask(Request::Attach { node }, None).map(drop)
    }

    /// All mappings that end at `from` or after it, by IOVA, as long as `wanted` says so.
    pub fn mappings(
        &mut self,
        mut from: Iova,
        mut wanted: impl FnMut(&MappingInfo) -> bool,
    ) -> Result<Vec<MappingInfo>, SessionError> {
        let mut found = Vec::new();
        let limit = (!self.is_own()).then(|| self.folder.patience());
        loop {
            let request = Request::Mappings { from };
            let (page, next) = match self.ask_within(limit, request, None)? {
                Answer::Mappings { mappings, next } => (mappings, next),
                _ => return Err(self.strange()),
            };
            for mapping in page {
                if IovaRange::new(mapping.iova, mapping.size).is_err() {
                    return Err(self.strange());
                }
                if !wanted(&mapping) {
                    return Ok(found);
                }
                found.push(mapping);
            }
            match next {
                Some(next) if next > from => from = next,
                Some(_) => return Err(self.strange()),
                None => return Ok(found),
            }
        }
    }

    /// Waits until the holder has ended and its devices are free; returns at once if it goes on, as others use it.
    pub fn wait_for_end(mut self) -> Result<(), SessionError> {
        let asked = self.stream.get_ref().shutdown(Shutdown::Write);
        match asked.and_then(|()| read_line(&mut self.stream, Some(ENDING))) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(SessionError::Connection {
                    group: self.group,
                    what: format!("(process {}) has not ended yet", self.hello.pid),
                })
            }
            // However the connection ended, it did.
            _ => Ok(()),
        }
    }

    /// An answer to another question than was asked.
    #[must_use]
    pub fn strange(&self) -> SessionError {
        strange(self.group)
    }

    fn send(&mut self, text: &[u8], file: Option<&File>) -> Result<(), SessionError> {
        let mut sent = 0;
        while sent < text.len() {
            // The descriptor goes with the first byte.
            let file = file.filter(|_| sent == 0).map(File::as_fd);
            match descriptors::send(self.stream.get_ref(), &text[sent..], file) {
                Ok(length) => sent += length,
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(self.ended()),
                Err(errno) => {
                    return Err(SessionError::Connection {
                        group: self.group,
                        what: format!("cannot be told: {errno}"),
                    });
                }
            }
        }
        Ok(())
    }

    fn ended(&self) -> SessionError {
        SessionError::Connection {
            group: self.group,
            what: format!(
                "(process {}) ended before it answered: the kernel has taken out what it had mapped",
                self.hello.pid
            ),
        }
    }
}

/// A line; empty at the end of the connection. EAGAIN if it is not there after this time.
fn read_line(stream: &mut BufReader<UnixStream>, limit: Option<Duration>) -> io::Result<Vec<u8>> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut line = Vec::new();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Errno::EAGAIN.into());
        }
        stream.get_ref().set_read_timeout(left)?;
        let piece = match stream.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            piece => piece?,
        };
        let end = piece.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(piece.len(), |end| end + 1);
        line.extend_from_slice(&piece[..length]);
        stream.consume(length);
        if end.is_some() || line.is_empty() {
            return Ok(line);
        }
        // It ended in the middle of a line, or the line is too long.
        if length == 0 || line.len() >= LARGEST_ANSWER {
            return Err(Errno::EPROTO.into());
        }
    }
}

fn broken(group: GroupId, pid: impl Display, error: &io::Error) -> SessionError {
    SessionError::Connection {
        group,
        what: match error.kind() {
            io::ErrorKind::WouldBlock => format!(
                "(process {pid}) does not answer: look at what it waits for, or end it with kill {pid}"
            ),
            _ => format!("cannot be heard: {}", super::error::errno_of(error)),
        },
    }
}

/// Root's commands go on without what another user put in their way.
fn passed_over(error: &SessionError) {
    log::warn!("passed over: {error}");
}

fn parse(group: GroupId, line: &[u8]) -> Result<Reply, SessionError> {
    let reply: ReplyLine = serde_json::from_slice(line).map_err(|_| strange(group))?;
    if reply.version != VERSION {
        return Err(SessionError::Connection {
            group,
            what: format!(
                "speaks version {} of the protocol, not {VERSION}: unmap what it holds with the iommu-tool that started it",
                reply.version
            ),
        });
    }
    Ok(plain(reply.reply))
}

/// Without control characters, which would do things to a terminal: root's commands show what other users' processes say.
fn plain(mut reply: Reply) -> Reply {
    let clean = |text: &mut String| {
        if text.contains(char::is_control) {
            *text = text.replace(char::is_control, "\u{fffd}");
        }
    };
    let clean_mapping = |mapping: &mut MappingInfo| {
        clean(&mut mapping.pages);
        let path = mapping.file.as_mut().map(|file| &mut file.path);
        mapping.name.iter_mut().chain(path).for_each(clean);
    };
    match &mut reply {
        Reply::Answer(Answer::Mappings { mappings, .. }) => {
            mappings.iter_mut().for_each(clean_mapping);
        }
        Reply::Answer(Answer::Mapped(mapping)) => clean_mapping(mapping),
        Reply::Answer(Answer::Located(located)) => clean_mapping(&mut located.mapping),
        Reply::Answer(Answer::Tested(tested)) => {
            let mut lines: Vec<String> = tested.text.lines().map(str::to_owned).collect();
            lines.iter_mut().for_each(clean);
            tested.text = lines.join("\n") + "\n";
        }
        Reply::Error(failure) => {
            let mut next = Some(failure);
            while let Some(failure) = next {
                clean(&mut failure.message);
                next = failure.source.as_deref_mut();
            }
        }
        _ => {}
    }
    reply
}

fn strange(group: GroupId) -> SessionError {
    SessionError::Connection {
        group,
        what: "says what this command does not understand".to_owned(),
    }
}
