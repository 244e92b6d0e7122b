//! The folders where holders listen, one socket for each IOMMU group that is held.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt::SendTimeout,
};
use nix::sys::stat::{Mode, umask};
use nix::sys::time::TimeVal;
use nix::unistd::geteuid;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::SessionError;
use crate::types::GroupId;

/// Where root's holders listen.
const OF_ROOT: &str = "/run/iommu-tool";

/// Where the runtime folders of ordinary users are, by user ID.
const OF_USERS: &str = "/run/user";

/// The name of our folder in a user's runtime folder.
const NAME: &str = "iommu-tool";

/// How long to wait for a holder of one's own.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait for what others put there.
const WITH_OTHERS: Duration = Duration::from_secs(5);

/// A folder of sockets, all of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
    owner: u32,
}

/// The sockets of one holder: the groups are its own until this is dropped, or the process ends.
#[derive(Debug)]
pub struct Claim {
    sockets: Vec<Socket>,
    /// Whether there was a socket at which nobody listened any more.
    was_stale: bool,
}

#[derive(Debug)]
struct Socket {
    path: PathBuf,
    inode: u64,
    listener: UnixListener,
}

impl Folder {
    /// The folder of the user who runs this: `/run/iommu-tool` for root, else `iommu-tool` in `XDG_RUNTIME_DIR`.
    pub fn own() -> Result<Self, SessionError> {
        let owner = geteuid().as_raw();
        let path = if owner == 0 {
            PathBuf::from(OF_ROOT)
        } else {
            let usual = Path::new(OF_USERS).join(owner.to_string());
            match std::env::var_os("XDG_RUNTIME_DIR") {
                Some(path) if Path::new(&path).is_absolute() => PathBuf::from(path).join(NAME),
                _ if usual.is_dir() => usual.join(NAME),
                _ => return Err(SessionError::NoFolder(usual)),
            }
        };
        Ok(Self { path, owner })
    }

    /// The folders of other users whose holders this user may ask too: for root those of all.
    pub fn others() -> Vec<Self> {
        if !geteuid().is_root() {
            return Vec::new();
        }
        let users = fs::read_dir(OF_USERS).into_iter().flatten().flatten();
        let folders = users.filter_map(|entry| {
            let owner = entry.file_name().to_str()?.parse().ok()?;
            let path = entry.path().join(NAME);
            path.is_dir().then_some(Self { path, owner })
        });
        folders.filter(|folder| !folder.is_own()).collect()
    }

    /// Whether it belongs to the user who runs this. What is in others' folders may be there to deceive.
    pub(super) fn is_own(&self) -> bool {
        self.owner == geteuid().as_raw()
    }

    /// How long to wait for a holder that ought to answer at once, but may be opening its devices, which may take a reset each.
    pub(super) fn patience(&self) -> Duration {
        if self.is_own() { PATIENCE } else { WITH_OTHERS }
    }

    /// The socket of root's holder of a group, for telling an ordinary user about it; `None` if there is none.
    pub(super) fn socket_of_root(group: GroupId) -> Option<PathBuf> {
        let of_root = Self {
            path: PathBuf::from(OF_ROOT),
            owner: 0,
        };
        let socket = of_root.socket(group);
        // The socket may be stale, and only root can try it; but the kernel lists those in use to everyone.
        let in_use = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        let name = socket.to_string_lossy();
        let listens = in_use.lines().any(|line| line.ends_with(name.as_ref()));
        listens.then_some(socket)
    }

    /// A folder for tests.
    #[cfg(test)]
    pub(super) fn at(path: PathBuf) -> Self {
        let owner = geteuid().as_raw();
        Self { path, owner }
    }

    /// The user whose holders listen here.
    #[must_use]
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The socket of a group.
    #[must_use]
    pub fn socket(&self, group: GroupId) -> PathBuf {
        self.path.join(format!("group-{group}.sock"))
    }

    /// The groups that have a socket here, live or stale, by number.
    pub fn groups(&self) -> Result<Vec<GroupId>, SessionError> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(SessionError::path("list", &self.path, &error)),
        };
        self.check()?;
        let mut groups: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let number = name.strip_prefix("group-")?.strip_suffix(".sock")?;
                number.parse().ok().map(GroupId)
            })
            .collect();
        groups.sort_unstable();
        Ok(groups)
    }

    /// Makes the folder if it is not there.
    pub(super) fn prepare(&self) -> Result<(), SessionError> {
        // Root's is open to be looked into, so that others can be told who holds a device; its sockets are not.
        let mode = if self.owner == 0 { 0o755 } else { 0o700 };
        match DirBuilder::new().mode(mode).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(SessionError::path("make the folder", &self.path, &error))
            }
            _ => self.check(),
        }
    }

    /// That nobody else can put sockets here.
    pub(super) fn check(&self) -> Result<(), SessionError> {
        let found = fs::symlink_metadata(&self.path)
            .map_err(|error| SessionError::path("look at", &self.path, &error))?;
        let what = if !found.is_dir() {
            "it is not a folder. Remove it"
        } else if found.uid() != self.owner {
            "it belongs to another user. Remove it"
        } else if found.mode() & 0o022 != 0 {
            "others may write to it. Take that away: chmod go-w"
        } else {
            return Ok(());
        };
        Err(SessionError::Unsafe {
            path: self.path.clone(),
            what: what.to_owned(),
        })
    }

    /// Connects to the holder of a group; `None` if there is none.
    pub(super) fn connect(&self, group: GroupId) -> Result<Option<UnixStream>, SessionError> {
        let path = self.socket(group);
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SessionError::path("look at", &path, &error)),
        };
        self.check()?;
        if !found.file_type().is_socket() {
            return Err(SessionError::Unsafe {
                path,
                what: "it is not a socket, but has the name of one. Remove it".to_owned(),
            });
        }
        match connect_within(&path, self.patience()) {
            Ok(stream) => Ok(Some(stream)),
            // Refused: the process that listened is gone. Not found: it went just now.
            Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(None),
            Err(errno) => Err(SessionError::Path {
                action: "connect to",
                path,
                errno,
            }),
        }
    }

    /// Starts to listen for these groups.
    ///
    /// # Errors
    /// [`Unclaimed::Taken`] if a group has a holder.
    pub(super) fn claim(&self, groups: &[GroupId]) -> Result<Claim, Unclaimed> {
        self.prepare()?;
        let _lock = self.lock()?;
        for group in groups {
            if let Some(stream) = self.connect(*group)? {
                return Err(Unclaimed::Taken(*group, stream));
            }
        }
        let was_stale = groups.iter().any(|group| self.socket(*group).exists());
        let sockets: Result<_, _> = groups.iter().map(|group| self.listen(*group)).collect();
        Ok(Claim {
            sockets: sockets?,
            was_stale,
        })
    }

    /// Only one process at a time may look for stale sockets and replace them.
    fn lock(&self) -> Result<Flock<File>, SessionError> {
        let path = self.path.join("sockets.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| SessionError::path("open", &path, &error))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| SessionError::Path {
            action: "lock",
            path,
            errno,
        })
    }

    fn listen(&self, group: GroupId) -> Result<Socket, SessionError> {
        let path = self.socket(group);
        match fs::remove_file(&path) {
            Ok(()) => log::info!("removed {}: nobody listened any more", path.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(SessionError::path("remove the stale", &path, &error)),
        }
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(&path);
        umask(before);
        let listener = bound
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|error| SessionError::path("listen at", &path, &error))?;
        let inode = fs::symlink_metadata(&path)
            .map_err(|error| SessionError::path("look at", &path, &error))?
            .ino();
        Ok(Socket {
            path,
            inode,
            listener,
        })
    }
}

/// Connects; EAGAIN if so many others wait that there is no room for that long (`unix_stream_connect` of net/unix/af_unix.c).
fn connect_within(path: &Path, limit: Duration) -> nix::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let timeout = TimeVal::new(limit.as_secs() as i64, 0);
    setsockopt(&socket, SendTimeout, &timeout)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    setsockopt(&socket, SendTimeout, &TimeVal::new(0, 0))?;
    Ok(UnixStream::from(socket))
}

/// Why groups could not be claimed.
#[derive(Debug)]
pub(super) enum Unclaimed {
    /// A holder listens for this group.
    Taken(GroupId, UnixStream),
    /// It could not be tried.
    Failed(SessionError),
}

impl From<SessionError> for Unclaimed {
    fn from(error: SessionError) -> Self {
        Self::Failed(error)
    }
}

impl Claim {
    /// Whether it replaced the socket of a process that was killed.
    pub(super) fn was_stale(&self) -> bool {
        self.was_stale
    }

    /// The sockets to listen at.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &UnixListener> {
        self.sockets.iter().map(|socket| &socket.listener)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Someone may have removed it, and another holder put its own there.
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if is_ours {
            if let Err(error) = fs::remove_file(&self.path) {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
                log::warn!("cannot remove {}: {errno}", self.path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const GROUP: GroupId = GroupId(7);

    fn folder(root: &tempfile::TempDir) -> Folder {
        Folder::at(root.path().join("sockets"))
    }

    #[test]
    fn a_group_is_claimed_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder(&root);
        let claim = folder.claim(&[GROUP]).unwrap();
        let mode = fs::metadata(folder.socket(GROUP)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(
            folder.claim(&[GroupId(1), GROUP]),
            Err(Unclaimed::Taken(GROUP, _))
        ));
        assert_eq!(folder.groups().unwrap(), [GROUP]);
        drop(claim);
        assert_eq!(folder.groups().unwrap(), []);
        assert!(folder.connect(GROUP).unwrap().is_none());
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder(&root);
        folder.prepare().unwrap();
        // The standard library leaves the socket behind, as a killed process does.
        drop(UnixListener::bind(folder.socket(GROUP)).unwrap());
        assert!(folder.connect(GROUP).unwrap().is_none());
        let _claim = folder.claim(&[GROUP]).unwrap();
        assert!(folder.connect(GROUP).unwrap().is_some());
    }

    #[test]
    fn what_others_could_have_put_there_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder(&root);
        folder.prepare().unwrap();
        fs::write(folder.socket(GROUP), "").unwrap();
        assert!(matches!(
            folder.connect(GROUP),
            Err(SessionError::Unsafe { .. })
        ));
        assert!(folder.claim(&[GROUP]).is_err());

        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o775)).unwrap();
        assert!(matches!(folder.groups(), Err(SessionError::Unsafe { .. })));

        let link = Folder::at(root.path().join("link"));
        std::os::unix::fs::symlink(folder.path(), link.path()).unwrap();
        assert!(matches!(link.prepare(), Err(SessionError::Unsafe { .. })));
    }
}
