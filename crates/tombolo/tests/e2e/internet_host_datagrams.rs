//! `--internet host` by UDP and by pings. As in `internet_host.rs`, nothing is sent to any other machine.

use crate::internet_host::{LAB, brought_up, own_address, serve};
use crate::support::{Home, as_each_user};
use nix::sys::signal::Signal;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Stdio;
use std::thread;

/// Answers each datagram with itself, after the port that it came from and a space. To `stranger` somebody else answers
/// first.
fn server(address: Ipv4Addr) -> SocketAddr {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    let at = socket.local_addr().unwrap();
    let stranger = UdpSocket::bind((address, 0)).unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 65535];
        loop {
            // An error is that of an answer to a client that is gone.
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let heard = &buffer[..length];
            if heard == b"stranger" {
                stranger.send_to(b"an answer of nobody's", from).unwrap();
            }
            let _ = match heard.len() {
                0..1400 => socket.send_to(&[from.port().to_string().as_bytes(), b" ", heard].concat(), from),
                _ => socket.send_to(heard, from),
            };
        }
    });
    at
}

/// What clients begin with: `ask` sends on a socket, and returns what comes and from where.
const CLIENT: &str = "
import socket, sys
to, limit = (sys.argv[1], int(sys.argv[2])), float(sys.argv[3])
def opened():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(limit); return s
def heard(s):
    answer, origin = s.recvfrom(65535); assert origin == to, origin; return answer
def ask(s, what):
    s.sendto(what, to); return heard(s)
";

/// Runs a client in a VM, and returns what it prints; a client whose patience is short gets nothing.
fn client(home: &Home, vm: &str, to: SocketAddr, seconds: &str, script: &str) -> crate::support::Ran {
    let (ip, port, script) = (to.ip().to_string(), to.port().to_string(), format!("{CLIENT}{script}"));
    home.run(&["exec", vm, "--", "python3", "-c", &script, &ip, &port, seconds])
}

#[track_caller]
fn reaches(home: &Home, vm: &str, to: SocketAddr) {
    let said = client(home, vm, to, "30", "print(ask(opened(), b'hello').split()[1])").exits(0);
    assert_eq!(said, "b'hello'\n", "{vm} to {to}");
}

#[track_caller]
fn is_met_with_silence(home: &Home, vm: &str, to: SocketAddr) {
    let ran = client(home, vm, to, "0.5", "ask(opened(), b'hello')");
    assert!(ran.err.contains("timed out"), "{vm} to {to}: {ran:?}");
}

/// A connected socket is told that nobody is there.
#[track_caller]
fn is_refused(home: &Home, vm: &str, to: SocketAddr) {
    let script = "s = opened(); s.connect(to); s.send(b'hello'); s.recv(1)";
    let ran = client(home, vm, to, "30", script);
    assert!(ran.err.contains("ConnectionRefusedError"), "{vm} to {to}: {ran:?}");
}

/// A port of this machine's at which nobody is.
fn closed_port(address: Ipv4Addr) -> SocketAddr {
    UdpSocket::bind((address, 0)).unwrap().local_addr().unwrap()
}

/// Many sockets at a time, each asked twice, the other way round the second time: what each hears is for it, and it is one
/// port of the host's. Prints these.
const MANY: &str = "
sockets = [opened() for _ in range(20)]
ports = {}
for round in (1, 2):
    for n, s in enumerate(sockets): s.sendto(b'%s %d %d' % (sys.argv[4].encode(), round, n), to)
    for n, s in reversed(list(enumerate(sockets))):
        port, rest = heard(s).split(b' ', 1)
        assert rest == b'%s %d %d' % (sys.argv[4].encode(), round, n), rest
        assert ports.setdefault(n, port) == port
for s in sockets:
    s.setblocking(False)
    try: raise SystemExit(s.recv(100))
    except BlockingIOError: pass
print(' '.join(p.decode() for p in ports.values()))
";

#[test]
fn datagrams_reach_the_hosts_network_and_answers_come_back() {
    let Some(own) = own_address() else { return };
    let server = server(own);
    as_each_user(|home| {
        brought_up(home, &["--internet", "host"]);
        reaches(home, "web", server);
        is_refused(home, "web", closed_port(own));
        is_met_with_silence(home, "inner", server);
        is_met_with_silence(home, "denied", server);
        // By Cloud NAT, so that some external addresses are shared and ports become others.
        let verb = |words: &str| {
            let words: Vec<&str> = words.split(' ').collect();
            home.run(&[&["compute"], &words[..], &["--quiet"]].concat()).exits(0)
        };
        verb("routers create r-1 --network vpc-1 --region us-central1");
        verb(
            "routers nats create n-1 --router r-1 --region us-central1 --auto-allocate-nat-external-ips \
              --nat-all-subnet-ip-ranges",
        );
        // At once: both VMs' flows are there together.
        let (ip, port, script) =
            (server.ip().to_string(), server.port().to_string(), format!("{CLIENT}{MANY}"));
        let started = ["web", "inner"].map(|vm| {
            let mut command =
                home.command(&["exec", vm, "--", "python3", "-c", &script, &ip, &port, "30", vm]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        });
        let mut ports = Vec::new();
        for child in started {
            let output = child.wait_with_output().unwrap();
            let (said, err) =
                (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{said}{err}");
            ports.extend(said.split_whitespace().map(str::to_owned));
        }
        let count = ports.len();
        ports.sort();
        ports.dedup();
        assert_eq!((count, ports.len()), (40, 40));

        // Of any length, fragmented on the way or not, or made of one buffer by the kernel; and only from where it was asked.
        let script = "
s = opened()
for n in (0, 1, 1391, 1432, 1433, 9000, 65507):
    answer = ask(s, b'x' * n); assert answer.endswith(b'x' * n) and len(answer) - n in (0, 6), n
s.setsockopt(17, 103, 1400); s.sendto(b'y' * 3500, to)
print([len(heard(s)) for _ in range(2)], len(heard(s).split()[1]))
print(ask(opened(), b'stranger').split()[1])";
        for vm in ["web", "inner"] {
            let said = client(home, vm, server, "30", script).exits(0);
            assert_eq!(said, "[1400, 1400] 700\nb'stranger'\n", "{vm}");
        }
        is_refused(home, "inner", closed_port(own));
        verb("routers delete r-1 --region us-central1");
        is_met_with_silence(home, "inner", server);

        let trace = |from: &str, to: &str, code| {
            let text = home.run(&["trace", from, to, "--protocol", "udp"]).exits(code);
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let text = trace("web", &server.to_string(), 0);
        assert!(text.contains("DELIVER internet the host's network, from 198.18.0."), "{text}");
        assert!(text.contains("3 sent, 3 delivered"), "{text}");
        for (from, to, cause) in [
            ("inner", server.to_string().as_str(), "NO_EXTERNAL_ADDRESS"),
            ("denied", &server.to_string(), "FIREWALL_RULE"),
            ("web", "127.0.0.1:53", "TRAFFIC_TYPE_BLOCKED"),
            ("web", "0.0.0.1:53", "TRAFFIC_TYPE_BLOCKED"),
            ("web", "224.0.0.251:5353", "TRAFFIC_TYPE_BLOCKED"),
            ("web", "255.255.255.255:53", "TRAFFIC_TYPE_BLOCKED"),
            ("web", "169.254.1.1:53", "UNKNOWN_EXTERNAL_ADDRESS"),
            ("web", "10.234.2.2:53", "PRIVATE_TRAFFIC_TO_INTERNET"),
            ("web", "198.18.9.9:53", "UNKNOWN_EXTERNAL_ADDRESS"),
        ] {
            let text = trace(from, to, 1);
            assert!(text.contains(cause) && text.contains("3 sent, 0 delivered"), "{text}");
        }
        home.down();
    });
}

/// Whether a user's programs may send pings, as they find out themselves.
fn may_ping(home: &Home) -> bool {
    const TRY: &str = "
import socket
def may(kind):
    try: socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP); return True
    except PermissionError: return False
raise SystemExit(not (may(socket.SOCK_DGRAM) or may(socket.SOCK_RAW)))";
    home.program("python3").args(["-c", TRY]).status().unwrap().success()
}

#[test]
fn pings_are_answered_where_the_system_lets_one_ping() {
    let Some(own) = own_address() else { return };
    as_each_user(|home| {
        let may = may_ping(home);
        assert!(may || !home.is_root());
        let said = brought_up(home, &["--internet", "host"]);
        assert_eq!(said.contains("net.ipv4.ping_group_range"), !may, "{said}");
        let own = own.to_string();
        assert_eq!(home.run(&["status", "--format", "json"]).json(0)["pingsHost"], may);
        let text = home.run(&["trace", "web", &own, "--protocol", "icmp"]).exits(if may { 0 } else { 1 });
        if !may {
            assert!(text.contains("no pings") && text.contains("3 sent, 0 delivered"), "{text}");
            assert!(home.run(&["status"]).exits(0).contains("(--internet host), but for pings\n"));
            assert_ne!(home.sh("web", &format!("ping -n -c1 -W1 {own}")).code, 0);
            home.down();
            return;
        }
        assert!(text.contains("the host's network") && text.contains("3 sent, 3 delivered"), "{text}");
        // ping takes only what has its identifier, its sequence numbers and its bytes; a reply that comes twice it counts.
        let pings = |size: u32| format!("ping -n -c3 -i0.2 -W30 -s{size} {own} & ");
        let all = format!("{}{}{}wait", pings(56), pings(5000), pings(56));
        for vm in ["web", "denied"] {
            let said = home.sh(vm, &all).exits(0);
            assert_eq!(
                said.matches("3 packets transmitted, 3 received, 0% packet loss").count(),
                3,
                "{said}"
            );
            assert!(said.contains("icmp_seq=3") && !said.contains("duplicates"), "{said}");
        }
        assert_ne!(home.sh("inner", &format!("ping -n -c1 -W1 {own}")).code, 0);
        home.down();
    });
}

#[test]
fn without_it_no_datagram_leaves_the_lab() {
    let Some(own) = own_address() else { return };
    let socket = UdpSocket::bind((own, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let at = socket.local_addr().unwrap();
    as_each_user(|home| {
        brought_up(home, &[]);
        is_met_with_silence(home, "web", at);
        assert_ne!(home.sh("web", &format!("ping -n -c1 -W1 {own}")).code, 0);
        let trace = home.run(&["trace", "web", &at.to_string(), "--protocol", "udp"]);
        assert!(trace.exits(1).contains("3 sent, 0 delivered"));
        home.down();
        // With it a trace sends nothing out either: its packets are not for who has the address.
        brought_up(home, &["--internet", "host"]);
        let trace = home.run(&["trace", "web", &at.to_string(), "--protocol", "udp"]);
        assert!(trace.exits(0).contains("3 sent, 3 delivered"));
        // What is sent after them would be behind them.
        let script = "opened().sendto(b'after', to)";
        client(home, "web", at, "30", script).exits(0);
        crate::support::eventually("it arrives", || {
            let mut heard = [0; 100];
            match socket.recv(&mut heard) {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    false
                }
                Ok(length) => {
                    assert_eq!(&heard[..length], b"after");
                    true
                }
            }
        });
        home.down();
    });
}

#[test]
fn the_servers_port_gets_no_datagrams_and_the_next_server_relays_again() {
    let Some(own) = own_address() else { return };
    let server = server(own);
    as_each_user(|home| {
        let (mut up, itself) = serve(home, "127.0.0.1:0", own);
        let file = home.write("lab.yaml", LAB);
        home.run(&["import", file.to_str().unwrap()]).exits(0);
        reaches(home, "web", server);
        let beside = UdpSocket::bind(itself).unwrap();
        beside.set_nonblocking(true).unwrap();
        is_refused(home, "web", itself);
        assert_eq!(beside.recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        up.signal(Signal::SIGKILL);
        assert_eq!(up.wait(), None);
        let (mut up, _) = serve(home, "127.0.0.1:0", own);
        assert!(up.stdout().contains("The lab of the server before goes on; 0 edits made it"));
        reaches(home, "web", server);
        up.signal(Signal::SIGTERM);
        assert_eq!(up.wait(), Some(0));
    });
}
