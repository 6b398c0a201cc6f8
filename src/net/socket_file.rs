//! The file of a unix socket: taken over from a server that has gone, and removed at the end.
//!
//! Knows no connections.
//!
//! Rule: only a socket that nobody answers at is replaced, and only our own file is removed.

use super::BACKLOG;
use crate::log::{info, warn};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::{self, Path, PathBuf};
use std::thread;
use std::time::Duration;

/// What fits `sun_path` with the NUL behind it (unix(7)).
const MAX_PATH_BYTES: usize = match cfg!(any(target_os = "linux", target_os = "android")) {
    true => 107,
    false => 103,
};

/// How often a stale file is removed, in case that somebody else puts new ones there.
const TRIES: usize = 3;

/// How long another server is waited for that is at a file of the same folder.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The file of a socket that listens. Removed when dropped: drop it before the socket, or another
/// server takes it for stale, and a file that it puts there could have the same inode.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Listens at `path`: from here on clients can connect.
pub(super) fn listen(path: &Path) -> io::Result<(SocketFile, UnixListener)> {
    let bytes = path.as_os_str().len();
    if !(1..=MAX_PATH_BYTES).contains(&bytes) {
        let error = format!(
            "the path of a socket has 1 to {MAX_PATH_BYTES} bytes, and this one has {bytes}"
        );
        return Err(io::Error::new(ErrorKind::InvalidInput, error));
    }
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // A socket that is bound and does not listen yet looks like a stale one. So nobody else who
    // holds to this lock looks until ours listens.
    let _lock = lock_folder_of(path);
    let file = bind(&socket, &address, path)?;
    socket.listen(BACKLOG)?;
    Ok((file, OwnedFd::from(socket).into()))
}

fn bind(socket: &Socket, address: &SockAddr, path: &Path) -> io::Result<SocketFile> {
    for _ in 0..TRIES {
        match socket.bind(address) {
            Err(cause) if cause.kind() == ErrorKind::AddrInUse => remove_stale(address, path)?,
            bound => return bound.and_then(|()| SocketFile::of(path)),
        }
    }
    Err(ErrorKind::AddrInUse.into())
}

/// Removes a socket's file that nobody answers at. Any other file is an error.
fn remove_stale(address: &SockAddr, path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let error = "the file exists and is not a socket";
        return Err(io::Error::new(ErrorKind::AlreadyExists, error));
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A server whose backlog is full answers, too.
    socket.set_nonblocking(true)?;
    match socket.connect(address) {
        Err(cause) if cause.kind() == ErrorKind::ConnectionRefused => {
            info!(path = %path.display(), "nobody answers at this socket: it is replaced");
            fs::remove_file(path)
        }
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
        Err(cause) if !is_from_a_server(&cause) => Err(cause),
        _ => {
            let error = "address in use: a server answers there";
            Err(io::Error::new(ErrorKind::AddrInUse, error))
        }
    }
}

/// Its backlog is full, or it is a server of another kind.
fn is_from_a_server(cause: &io::Error) -> bool {
    let errno = Errno::from_io_error(cause);
    matches!(
        errno,
        Some(Errno::AGAIN | Errno::INPROGRESS | Errno::PROTOTYPE)
    )
}

/// None where that cannot be had: then two servers that start at once may remove each other's
/// file, as any other program may.
fn lock_folder_of(path: &Path) -> Option<File> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new("."))).ok()?;
    for _ in 0..LOCK_TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => thread::sleep(LOCK_PAUSE),
            locked => return locked.ok().map(|()| folder),
        }
    }
    None
}

impl SocketFile {
    /// The file that was bound just now.
    fn of(path: &Path) -> io::Result<SocketFile> {
        let found = fs::symlink_metadata(path)?;
        Ok(SocketFile {
            // The program may go to another folder.
            path: path::absolute(path)?,
            device: found.dev(),
            inode: found.ino(),
        })
    }

    fn is(&self, found: &Metadata) -> bool {
        (self.device, self.inode) == (found.dev(), found.ino())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| self.is(&found))
            && let Err(cause) = fs::remove_file(&self.path)
        {
            warn!(path = %self.path.display(), %cause, "the file of the socket stays behind");
        }
    }
}
