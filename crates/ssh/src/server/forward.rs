//! Forwarded connections: `ssh -L`, which leave from the VM's own network.

use super::session::{Input, copy};
use russh::server::{ChannelOpenHandle, Msg};
use russh::{ChannelOpenFailure, ChannelWriteHalf};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a connection may take to be made: the client waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connects, and copies both ways until both sides have ended.
pub(super) async fn run(
    host: String,
    port: u16,
    input: Input,
    channel: ChannelWriteHalf<Msg>,
    reply: ChannelOpenHandle,
) {
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, TcpStream::connect((host.as_str(), port))).await
    else {
        return reply.reject(ChannelOpenFailure::ConnectFailed).await;
    };
    reply.accept().await;
    let _ = stream.set_nodelay(true);
    let (from, to) = stream.into_split();
    let back = async {
        copy(Some(from), channel.make_writer()).await;
        let _ = channel.eof().await;
    };
    tokio::join!(there(input, to), back);
    let _ = channel.close().await;
}

/// Gives the far side what the client sends, and its end.
async fn there(mut input: Input, mut to: impl AsyncWrite + Unpin) {
    while let Some(piece) = input.recv().await {
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
