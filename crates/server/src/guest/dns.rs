//! DNS over UDP and TCP.

use super::{Net, Place};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tombolo_guest::dns::{self, Beyond, Transport};

/// How long a connection may be silent. Source: RFC 7766, section 6.2.3: on the order of seconds.
const IDLE: Duration = Duration::from_secs(30);

/// Answers a datagram; at once, or, where the host is to be asked, by the task that is returned.
pub(super) fn answer(
    socket: &Arc<UdpSocket>,
    message: &[u8],
    from: SocketAddr,
    net: &Net,
) -> Option<impl Future<Output = ()> + use<>> {
    let SocketAddr::V4(of) = from else { return None };
    // Whoever does not get it asks again.
    let send = move |socket: &UdpSocket, answer: Option<Vec<u8>>| {
        answer.map(|answer| socket.try_send_to(&answer, from));
    };
    let world = net.world();
    if dns::beyond(&world, &net.network, message).is_none() {
        send(socket, dns::answer(&world, &net.network, message, Transport::Udp));
        return None;
    }
    let (socket, message, net) = (Arc::clone(socket), message.to_vec(), net.clone());
    Some(async move { send(&socket, asked(&net, *of.ip(), &message, Transport::Udp).await) })
}

/// The answer to a message, for which the host is asked if need be.
async fn asked(net: &Net, of: Ipv4Addr, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let world = net.world();
    let beyond = match dns::beyond(&world, &net.network, message) {
        Some(name) => net.resolver.ask(of, name).await,
        None => Beyond::Unknown,
    };
    dns::answer_with(&world, &net.network, message, transport, &beyond)
}

/// Answers what comes on a connection: each message has its length before it.
pub(super) async fn serve(stream: TcpStream, net: Net, place: Place) {
    let _ = answer_all(stream, &net, place.of).await;
}

async fn answer_all(mut stream: TcpStream, net: &Net, of: Ipv4Addr) -> io::Result<()> {
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut message = vec![0; length.into()];
        timeout(IDLE, stream.read_exact(&mut message)).await??;
        let answer = asked(net, of, &message, Transport::Tcp).await;
        let Some(answer) = answer else { return Ok(()) };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend(answer);
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}
