//! DNS over UDP and TCP.

use super::{Net, Place};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tombolo_guest::dns::{self, Transport};

/// How long a connection may be silent. Source: RFC 7766, section 6.2.3: on the order of seconds.
const IDLE: Duration = Duration::from_secs(30);

/// Answers a datagram.
pub(super) async fn answer(socket: &UdpSocket, message: &[u8], from: SocketAddr, net: &Net) {
    if let Some(answer) = dns::answer(&net.world(), &net.network, message, Transport::Udp) {
        // Whoever does not get it asks again.
        let _ = socket.try_send_to(&answer, from);
    }
}

/// Answers what comes on a connection: each message has its length before it.
pub(super) async fn serve(stream: TcpStream, net: Net, _place: Place) {
    let _ = answer_all(stream, &net).await;
}

async fn answer_all(mut stream: TcpStream, net: &Net) -> io::Result<()> {
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut message = vec![0; length.into()];
        timeout(IDLE, stream.read_exact(&mut message)).await??;
        let answer = dns::answer(&net.world(), &net.network, &message, Transport::Tcp);
        let Some(answer) = answer else { return Ok(()) };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend(answer);
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}
