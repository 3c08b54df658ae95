//! The connection of a check, and the check that is nothing but a connection.
//!
//! A connection of a check ends with a reset (`SO_LINGER` 0), unless the server has ended it before.
//! Closed the usual way, each would stay in `TIME_WAIT` for a minute: 300,000 sockets at 5,000 checks a second, more than
//! `net.ipv4.tcp_max_tw_buckets` usually allows to the whole machine.
//!
//! The TCP check also asks the kernel not to acknowledge the server's SYN at once (`TCP_QUICKACK`
//! 0 before the connect, as `HAProxy` does), so that the reset comes instead of the acknowledgement.
//! The server's kernel then forgets the half-made connection: the application is not woken, has
//! nothing to accept, to log or to fail on, and its backlog does not fill with connections that
//! are dead already. It shows that a socket listens there and has room, no more than that, as does
//! every check by connect: a process that is stopped still listens.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

use super::{Failure, Prepare};

/// Whether somebody listens.
pub(super) async fn reachable(
    address: SocketAddr,
    prepare: Option<&Prepare>,
) -> Result<(), Failure> {
    let socket = socket(address, prepare)?;
    // Where that is not possible, the server sees a short connection.
    drop(SockRef::from(&socket).set_tcp_quickack(false));
    drop(socket.connect(address).await.map_err(Failure::connect)?);
    Ok(())
}

/// A connection to talk over.
pub(super) async fn connect(
    address: SocketAddr,
    prepare: Option<&Prepare>,
) -> Result<TcpStream, Failure> {
    let socket = socket(address, prepare)?;
    let stream = socket.connect(address).await.map_err(Failure::connect)?;
    // It only delays.
    drop(stream.set_nodelay(true));
    Ok(stream)
}

fn socket(address: SocketAddr, prepare: Option<&Prepare>) -> Result<TcpSocket, Failure> {
    let local = |doing| move |source| Failure::Local { doing, source };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(local("open a socket"))?;
    socket.set_zero_linger().map_err(local("set SO_LINGER"))?;
    if let Some(Prepare(hook)) = prepare {
        hook(socket.as_fd()).map_err(local("keep the socket out of the mesh"))?;
    }
    Ok(socket)
}
