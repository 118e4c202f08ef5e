//! The log: who reads it, or does not, must not make a difference to clients.

use std::io::Read;
use std::process::Stdio;

use crate::common::{
    Client, Process, Redis, free_port, listening, pool_text, proxy_command, retry, wait_for,
};
use tombolo_resp::Value;

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("c.yml");
    let (mut proxy, port) = retry("tombolo-proxy", || {
        let port = free_port();
        let options = ["slowlog_log_slower_than: 0"];
        let text = pool_text("p", &format!("127.0.0.1:{port}"), &[redis.port], &options);
        std::fs::write(&file, text).expect("a file");
        let mut command = proxy_command();
        command.arg("-c").arg(&file).args(["-v", "6"]).stderr(Stdio::piped());
        listening(Process(command.spawn().expect("tombolo-proxy")), port).map(|process| (process, port))
    });
    let mut stderr = proxy.0.stderr.take().expect("piped");
    let mut client = Client::connect(port);
    // A line for each, and more lines than the pipe and the queue take.
    let mut fill = || {
        for _ in 0..100 {
            client.send(format!("GET {}\r\n", "k".repeat(100)).repeat(200).as_bytes());
            (0..200).for_each(|_| assert_eq!(client.reply(), Value::Null));
        }
    };
    fill();
    let (mut seen, mut chunk) = (Vec::new(), [0; 65536]);
    wait_for("the loss", || {
        let count = stderr.read(&mut chunk).expect("a read");
        assert!(count > 0, "the proxy is there");
        seen.extend_from_slice(&chunk[..count]);
        String::from_utf8_lossy(&seen).contains(" lines of the log were lost").then_some(())
    });
    let text = String::from_utf8_lossy(&seen);
    assert!(text.lines().next().is_some_and(|line| line.contains("listening on")), "the first line is there");
    // Full again, it does not keep the proxy from its end.
    fill();
    proxy.signal("-TERM");
    let status = proxy.0.wait().expect("the end");
    assert!(status.success(), "{status}");
}
