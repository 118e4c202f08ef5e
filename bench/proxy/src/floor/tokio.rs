//! The null multiplexer with tokio, as one would write it there: a runtime of one thread, a task for
//! each client, one that writes to the server, one that reads from it.
//!
//! ```text
//!  clients' tasks ─▶ requests, in one buffer ─▶ (notified) the writer's task ─▶ server
//!  clients ◀─ written at once; what is refused, by a task of its own ◀─ the reader's task ◀─ server
//! ```

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, anyhow, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};

use super::multiplex::{Owners, Partial};
use crate::frame::Malformed;

/// What one read takes at most.
const BUFFER: usize = 256 << 10;

/// What tasks share.
#[derive(Default)]
struct Shared {
    clients: RefCell<Vec<Option<Rc<Client>>>>,
    owners: RefCell<Owners>,
    /// Requests that the server was not sent yet.
    requests: RefCell<Vec<u8>>,
    requested: Notify,
}

struct Client {
    stream: OwnedWriteHalf,
    /// Replies that it did not take yet; a task writes them.
    waiting: RefCell<Vec<u8>>,
}

/// Serves clients of `listener` from the server at `server`; returns only with an error.
pub(super) fn serve(listener: std::net::TcpListener, server: SocketAddr) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("tokio")?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let server = TcpStream::connect(server).await.with_context(|| format!("the server at {server}"))?;
        server.set_nodelay(true)?;
        let shared = Rc::new(Shared::default());
        let (read, write) = server.into_split();
        tokio::try_join!(accept(&shared, &listener), requests(&shared, write), replies(&shared, read))?;
        Ok(())
    })
}

async fn accept(shared: &Rc<Shared>, listener: &tokio::net::TcpListener) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true)?;
        let (read, stream) = stream.into_split();
        let client = Rc::new(Client { stream, waiting: RefCell::default() });
        let mut clients = shared.clients.borrow_mut();
        // Places are not used again: replies to one that has gone may be under way.
        clients.push(Some(client));
        spawn_local(read_client(Rc::clone(shared), clients.len() - 1, read));
    }
}

/// Appends a client's whole requests to what the server is sent, until it has gone.
async fn read_client(shared: Rc<Shared>, index: usize, mut client: OwnedReadHalf) {
    let (mut partial, mut buffer) = (Partial::default(), vec![0; 16 << 10]);
    while let Ok(count @ 1..) = client.read(&mut buffer).await {
        let requests = partial.take(&buffer[..count], &mut shared.requests.borrow_mut());
        let Ok(requests) = requests else { break };
        shared.owners.borrow_mut().push(index, requests);
        shared.requested.notify_one();
    }
    shared.clients.borrow_mut()[index] = None;
}

/// Writes requests to the server: all that there are, whenever there are some.
async fn requests(shared: &Shared, mut server: OwnedWriteHalf) -> anyhow::Result<()> {
    let mut sending = Vec::new();
    loop {
        shared.requested.notified().await;
        std::mem::swap(&mut sending, &mut *shared.requests.borrow_mut());
        server.write_all(&sending).await.context("the server")?;
        sending.clear();
    }
}

/// Reads replies, and writes each client those that are its own.
async fn replies(shared: &Shared, mut server: OwnedReadHalf) -> anyhow::Result<()> {
    let (mut input, mut filled) = (vec![0; BUFFER], 0);
    loop {
        let count = server.read(&mut input[filled..]).await.context("the server")?;
        ensure!(count > 0, "the server is gone");
        filled += count;
        let clients = shared.clients.borrow();
        let used = shared.owners.borrow_mut().split(&input[..filled], |index, _, at| {
            if let Some(client) = &clients[index] {
                deliver(client, &input[at]);
            }
        });
        let used = used.map_err(|Malformed| anyhow!("not a reply"))?;
        input.copy_within(used..filled, 0);
        filled -= used;
        if filled == input.len() {
            input.resize(filled * 2, 0);
        }
    }
}

/// Writes what the client takes now, and has a task write the rest.
fn deliver(client: &Rc<Client>, replies: &[u8]) {
    let mut waiting = client.waiting.borrow_mut();
    if !waiting.is_empty() {
        return waiting.extend_from_slice(replies);
    }
    // An error shows when it is read from.
    let count = client.stream.try_write(replies).unwrap_or(0);
    if count < replies.len() {
        waiting.extend_from_slice(&replies[count..]);
        spawn_local(flush(Rc::clone(client)));
    }
}

async fn flush(client: Rc<Client>) {
    while client.stream.writable().await.is_ok() {
        let mut waiting = client.waiting.borrow_mut();
        match client.stream.try_write(&waiting) {
            Ok(count) => drop(waiting.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        if waiting.is_empty() {
            return;
        }
    }
}
