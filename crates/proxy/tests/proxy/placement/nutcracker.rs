//! Where the real nutcracker puts keys. Its servers are threads that answer each request with
//! their own number.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use tombolo_resp::Value;

use super::cases::{self, ADDRESSES, SOCKETS};
use crate::common::{self, Client, Process, request};

/// Requests under way at a time: more would only fill nutcracker's buffers.
const PIPELINE: usize = 100;

/// For each case, the number of each key's server.
pub(crate) fn take() -> Vec<Vec<u8>> {
    (0..ADDRESSES.len()).for_each(serve);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (text, paths) = cases::configuration(dir.path());
    let file = dir.path().join("nutcracker.yml");
    std::fs::write(&file, text).expect("a configuration");
    let nutcracker = common::mortal("nutcracker")
        .arg("-c")
        .arg(&file)
        .args(["-a", "127.0.0.1", "-s", &common::free_port().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nutcracker must be installed: cargo xtask installs what tests need");
    let _nutcracker = Process(nutcracker);
    let keys = cases::keys();
    let taken = paths.iter().map(|path| ask(path, &keys)).collect();
    SOCKETS.iter().for_each(|socket| std::fs::remove_file(socket).expect("the socket is ours"));
    taken
}

fn ask(path: &Path, keys: &[Vec<u8>]) -> Vec<u8> {
    let mut client = Client::unix(&path.to_path_buf());
    let mut found = Vec::new();
    for some in keys.chunks(PIPELINE) {
        client.send(&some.iter().flat_map(|key| request(&[b"GET", key])).collect::<Vec<u8>>());
        let mut replies = vec![0; some.len() * reply(0).len()];
        client.stream.read_exact(&mut replies).expect("a reply to each request");
        for (key, answer) in some.iter().zip(replies.chunks(reply(0).len())) {
            let server = (0..ADDRESSES.len()).find(|&server| reply(server).as_bytes() == answer);
            let shown = || (String::from_utf8_lossy(key), String::from_utf8_lossy(answer));
            found.push(server.unwrap_or_else(|| panic!("{:?}", shown())) as u8);
        }
    }
    found
}

/// What a server answers to every request.
fn reply(server: usize) -> String {
    format!("$1\r\n{server}\r\n")
}

/// Starts a server. It ends with the test's process; while another one has its address, this waits.
fn serve(server: usize) {
    let address = ADDRESSES[server];
    let listener = common::wait_for(address, || TcpListener::bind(address).ok());
    // Whoever has the address may have the socket.
    let _ = std::fs::remove_file(SOCKETS[server]);
    let socket = UnixListener::bind(SOCKETS[server]).expect("a unix socket");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream, server));
        }
    });
    thread::spawn(move || {
        for stream in socket.incoming().flatten() {
            thread::spawn(move || answer(stream, server));
        }
    });
}

fn answer(mut stream: impl Read + Write, server: usize) {
    let mut input = Vec::new();
    let mut chunk = [0; 65536];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        input.extend_from_slice(&chunk[..count]);
        let (mut used, mut requests) = (0, 0);
        while let Some((_, length)) = Value::decode(&input[used..]) {
            (used, requests) = (used + length, requests + 1);
        }
        input.drain(..used);
        if stream.write_all(reply(server).repeat(requests).as_bytes()).is_err() {
            return;
        }
    }
}
