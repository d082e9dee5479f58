//! Mounting and serving in two processes, as `fve@.service` does it.
//!
//! The server (`--mounted-by SOCKET`) runs in a sandbox, where it can neither mount nor unmount for other
//! programs. It unlocks the volume, listens on the socket and reports to systemd that it is ready. The
//! mounter (`--mount-for SOCKET`) has root's privileges, and never reads the encrypted volume. Both have the
//! same other arguments, so the server decides only the name that the mount table shows as the source.
//! They exchange:
//!
//! | from | to | what |
//! |---|---|---|
//! | server | mounter | the name of the source: its length as two bytes, the lower one first, and the name |
//! | mounter | server | `m`, with the connection to the kernel of the mounted file system (`SCM_RIGHTS`) |
//! | server | mounter | `s`: it serves |
//! | mounter | server | `r`: what was asked for is mounted |
//! | server | unmounter | the requests of [`Unmounter`] |
//!
//! Before it ends, the mounter starts the process that unmounts, and leaves the socket to it.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use fve::error::Error;
use fve::serve::fuse::Unserved;
use fve::shown::ShowPath;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::cli::commands::unmount::Unmounter;
use crate::cli::failure::Failure;

const MOUNTED: u8 = b'm';
const SERVED: u8 = b's';
const READY: u8 = b'r';

/// The server's side of the socket, when it has the connection to the kernel.
#[derive(Debug)]
pub(super) struct Mounter(UnixStream);

impl Mounter {
    /// Tells systemd that a mounter may come, and waits for one. Returns the connection to the kernel of what
    /// it mounted, with `source` as the source in the mount table.
    pub(super) fn wait(socket: &Path, source: &str) -> Result<(Self, OwnedFd), Failure> {
        let fail = |error| {
            let what = format!("cannot listen on {}", socket.shown());
            Failure::from(Error::io(what, error))
        };
        let listener = UnixListener::bind(socket).map_err(fail)?;
        // Without a service manager, this does nothing.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let (mut stream, _) = listener.accept().map_err(fail)?;
        // One mounter is enough.
        drop(listener);
        let _ = std::fs::remove_file(socket);
        let device = send_name(&mut stream, source).and_then(|()| receive(&stream));
        Ok((Self(stream), device.map_err(mounter_failed)?))
    }

    /// Tells the mounter that requests are answered from now on, and waits until everything is mounted.
    pub(super) fn serves(&self) -> Result<(), Failure> {
        let told = (&self.0)
            .write_all(&[SERVED])
            .and_then(|()| expect(&mut &self.0, READY));
        Ok(told.map_err(mounter_failed)?)
    }

    /// Lets [`Mounter::serves`] fail, which may wait in another thread.
    pub(super) fn give_up(&self) {
        let _ = self.0.shutdown(Shutdown::Read);
    }

    pub(super) fn try_clone(&self) -> Result<Self, Failure> {
        Ok(Self(self.0.try_clone().map_err(mounter_failed)?))
    }

    /// What unmounts when it is told to: the socket is now connected to it.
    pub(super) fn unmounter(&self) -> io::Result<Unmounter> {
        self.0.try_clone().map(Unmounter::elsewhere)
    }
}

/// The mounter's side of the socket.
#[derive(Debug)]
pub(super) struct Server {
    stream: UnixStream,
}

impl Server {
    /// Reaches the server that listens on `socket`. Returns the source for the mount table, too.
    pub(super) fn reach(socket: &Path) -> Result<(Self, PathBuf), Failure> {
        let reached = UnixStream::connect(socket)
            .and_then(|mut stream| Ok((receive_name(&mut stream)?, stream)));
        let (source, stream) = reached.map_err(|error| {
            let what = format!(
                "cannot reach the server of the mount through {}",
                socket.shown()
            );
            Error::io(what, error)
        })?;
        Ok((Self { stream }, source))
    }

    /// Lets the server serve what is mounted, and starts the process that unmounts it.
    pub(super) fn hand_over(&self, unserved: Unserved) -> Result<(), Failure> {
        send(&self.stream, unserved.device()).map_err(server_failed)?;
        expect(&mut &self.stream, SERVED).map_err(server_failed)?;
        let requests = self.stream.try_clone().map_err(server_failed)?;
        Unmounter::start_for(unserved.directory(), requests.into())
            .map_err(|error| Error::io("cannot start the process that unmounts", error))?;
        unserved.leave();
        Ok(())
    }

    /// Tells the server that everything is mounted.
    pub(super) fn ready(&self) -> Result<(), Failure> {
        Ok((&self.stream).write_all(&[READY]).map_err(server_failed)?)
    }
}

fn mounter_failed(error: io::Error) -> Error {
    Error::io("the process that mounts has failed", error)
}

fn server_failed(error: io::Error) -> Error {
    Error::io("the server of the mount has failed", error)
}

fn send_name(stream: &mut UnixStream, name: &str) -> io::Result<()> {
    let length = u16::try_from(name.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(name.as_bytes())
}

fn receive_name(stream: &mut UnixStream) -> io::Result<PathBuf> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut name = vec![0; usize::from(u16::from_le_bytes(length))];
    stream.read_exact(&mut name)?;
    Ok(std::ffi::OsString::from_vec(name).into())
}

fn expect(stream: &mut &UnixStream, expected: u8) -> io::Result<()> {
    let mut byte = [0];
    if stream.read(&mut byte)? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it has ended early",
        ));
    }
    match byte == [expected] {
        true => Ok(()),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn send(stream: &UnixStream, device: BorrowedFd<'_>) -> io::Result<()> {
    let devices = [device];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&devices));
    let message = [IoSlice::new(&[MOUNTED])];
    sendmsg(stream, &message, &mut control, SendFlags::empty())?;
    Ok(())
}

fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut devices = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(devices) => Some(devices),
        _ => None,
    });
    let device = devices.next().and_then(|mut devices| devices.next());
    match (byte, device) {
        ([MOUNTED], Some(device)) => Ok(device),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_device_arrive_as_they_were_sent() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        send_name(&mut one, "/dev/a\nb").unwrap();
        assert_eq!(receive_name(&mut other).unwrap(), Path::new("/dev/a\nb"));
        let file = std::fs::File::open("/dev/null").unwrap();
        use std::os::fd::AsFd;
        send(&one, file.as_fd()).unwrap();
        let device = receive(&other).unwrap();
        let found = rustix::fs::fstat(device).unwrap();
        assert_eq!(found.st_rdev, rustix::fs::fstat(&file).unwrap().st_rdev);
    }

    #[test]
    fn a_byte_without_a_device_or_another_byte_is_refused() {
        let (mut one, other) = UnixStream::pair().unwrap();
        one.write_all(&[MOUNTED]).unwrap();
        assert_eq!(
            receive(&other).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        one.write_all(b"x").unwrap();
        let refused = expect(&mut &other, READY).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        drop(one);
        assert_eq!(
            receive(&other).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
