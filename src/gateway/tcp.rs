//! What the kernel knows of a TCP connection that libzmq owns: the bytes that came and went, and who is at its ends.

use std::ffi::c_void;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use nix::libc;
use nix::sys::socket::{Shutdown, SockaddrStorage, getpeername, getsockname, setsockopt, shutdown, sockopt};

/// How long sent data may stay unacknowledged, or a full window closed, before the kernel gives the connection up: about
/// as long as keepalive takes to find a dead host (`sockets.rs`).
const UNACKNOWLEDGED_MS_MAX: u32 = 20_000;

/// Bytes of a connection since it was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Received, in order; whether libzmq has read them or not.
    pub(super) received: u64,
    /// Sent, and acknowledged by the peer's kernel.
    pub(super) acknowledged: u64,
    /// Handed to the kernel, and not sent for the first time yet.
    pub(super) unsent: u32,
}

/// Asks the kernel. An error when the descriptor is no TCP connection any more.
pub(super) fn traffic(fd: RawFd) -> io::Result<Traffic> {
    // `struct tcp_info` of linux/tcp.h up to `tcpi_notsent_bytes`, in words of 8 bytes. The C library's own is shorter.
    let mut info = [0_u64; 19];
    let whole = size_of_val(&info) as libc::socklen_t;
    let mut length = whole;
    // SAFETY: the kernel writes at most `length` bytes, which `info` has, and any bytes make a number.
    let result = unsafe {
        let info = info.as_mut_ptr().cast::<c_void>();
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info, &raw mut length)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if length < whole {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let [.., acknowledged, received, _segments, last] = info;
    let [unsent @ .., _, _, _, _] = last.to_ne_bytes();
    Ok(Traffic { received, acknowledged, unsent: u32::from_ne_bytes(unsent) })
}

/// The port at this end; `None` for what is no TCP connection.
pub(super) fn local_port(fd: RawFd) -> Option<u16> {
    let address: SockaddrStorage = getsockname(fd).ok()?;
    let port = address.as_sockaddr_in().map(|address| address.port());
    port.or_else(|| address.as_sockaddr_in6().map(|address| address.port()))
}

/// The address at the other end.
pub(super) fn peer_address(fd: RawFd) -> Option<SockaddrStorage> {
    getpeername(fd).ok()
}

/// Lets the kernel notice a path that is dead and a peer that never reads.
pub(super) fn expect_progress(fd: RawFd) {
    // SAFETY: the descriptor is used for this one call; should it be closed already, the call fails.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    // A connection that is gone already needs no time-out.
    let _ = setsockopt(&fd, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MS_MAX);
}

/// Ends a connection without closing the descriptor, which is libzmq's: it notices, and cleans up. What was not sent is
/// thrown away.
pub(super) fn cut(fd: RawFd) {
    // SAFETY: as above.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let _ = setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
    // An error means that the peer was faster.
    let _ = shutdown(fd, Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn bytes_are_counted_both_ways_and_a_cut_is_felt() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let mut near = TcpStream::connect(address).expect("it listens");
        let (mut far, _) = listener.accept().expect("somebody came");
        near.write_all(&[7; 1_000]).expect("room");
        far.write_all(&[7; 50]).expect("room");
        near.read_exact(&mut [0; 50]).expect("sent");
        far.read_exact(&mut [0; 1_000]).expect("sent");
        near.write_all(&[7]).expect("its packet acknowledges the 50 bytes");
        far.read_exact(&mut [0; 1]).expect("sent");
        let fd = far.as_raw_fd();
        let traffic = traffic(fd).expect("a connection");
        assert_eq!(traffic, Traffic { received: 1_001, acknowledged: 50, unsent: 0 });
        assert_eq!(local_port(fd), Some(address.port()));
        expect_progress(fd);
        cut(fd);
        assert_eq!(near.read(&mut [0; 1]).map_err(|_| ()), Ok(0), "the end");
    }

    #[test]
    fn a_unix_socket_is_no_tcp_connection() {
        let (end, _other) = UnixStream::pair().expect("two ends");
        assert!(traffic(end.as_raw_fd()).is_err());
        assert_eq!(local_port(end.as_raw_fd()), None);
    }
}
