//! `--internet host`: the lab's internet goes on into the network of this machine. Nothing here is sent to any other
//! machine: who answers is this one, by an address of its own that is not loopback's. By TCP; for UDP and pings see
//! `internet_host_datagrams.rs`.

use crate::support::{Home, Ran, Up, as_each_user, eventually};
use nix::ifaddrs::getifaddrs;
use nix::sys::signal::Signal;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;

pub(crate) const LAB: &str = r#"
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    subnetworks: [{name: subnet-1, region: us-central1, ipCidrRange: 10.234.1.0/24}]
  - name: vpc-2
    subnetworks: [{name: subnet-2, region: us-central1, ipCidrRange: 10.234.2.0/24}]
    firewalls: [{name: closed, direction: EGRESS, denied: [{IPProtocol: tcp}, {IPProtocol: udp}]}]
instances:
  - {name: web, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1, accessConfigs: [{name: out}]}]}
  - {name: inner, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1}]}
  - {name: denied, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-2, accessConfigs: [{name: out}]}]}
"#;

/// Says many bytes, then that this was all, and prints what the other side says to that.
const CLIENT: &str = "
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3]))
s.sendall(b'x' * 3000000)
s.shutdown(socket.SHUT_WR)
answer = b''
while part := s.recv(99999): answer += part
print(len(answer), answer[:7].decode())
";

/// An address of this machine that others know it by; `None`, and a word about it, where there is none.
pub(crate) fn own_address() -> Option<Ipv4Addr> {
    let all = getifaddrs().unwrap().filter_map(|one| Some(one.address?.as_sockaddr_in()?.ip()));
    let found = all.into_iter().find(|address| !address.is_loopback() && !address.is_link_local());
    if found.is_none() {
        eprintln!("SKIPPED: no interface of this machine has an address beside loopback's");
    }
    found
}

/// Serves a lab, and returns where its server would be met at an address.
pub(crate) fn serve(home: &Home, listen: &str, own: Ipv4Addr) -> (Up, SocketAddr) {
    let mut up = home.start(&["serve", "--state", "state", "--listen", listen, "--internet", "host"]);
    up.wait_until_up();
    home.learn();
    let said = up.stdout();
    let port = said.split("http://").nth(1).and_then(|rest| rest.lines().next()?.rsplit(':').next());
    (up, SocketAddr::from((own, port.unwrap().parse().unwrap())))
}

/// Answers each connection once its client has said all: how much that was, and as much again.
fn server(address: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard)?;
                stream.write_all(format!("{:7}", heard.len()).as_bytes())?;
                stream.write_all(&heard)
            });
        }
    });
    at
}

fn ask(home: &Home, vm: &str, to: SocketAddr, seconds: &str) -> Ran {
    let (ip, port) = (to.ip().to_string(), to.port().to_string());
    home.run(&["exec", vm, "--", "python3", "-c", CLIENT, &ip, &port, seconds])
}

/// Whether all bytes get there, and back.
#[track_caller]
fn reaches(home: &Home, vm: &str, to: SocketAddr) {
    assert_eq!(ask(home, vm, to, "30").exits(0), "3000007 3000000\n", "{vm} to {to}");
}

/// Nothing comes back.
#[track_caller]
fn is_met_with_silence(home: &Home, vm: &str, to: SocketAddr) {
    let ran = ask(home, vm, to, "0.5");
    assert!(ran.err.contains("timed out"), "{vm} to {to}: {ran:?}");
}

/// The connection is refused, or reset as it begins.
#[track_caller]
fn is_refused(home: &Home, vm: &str, to: SocketAddr) {
    let ran = ask(home, vm, to, "30");
    let refused =
        ["ConnectionRefusedError", "ConnectionResetError", "BrokenPipeError"].map(|e| ran.err.contains(e));
    assert!(refused.contains(&true), "{vm} to {to}: {ran:?}");
}

/// A port of this machine's at which nobody is.
fn closed_port(address: Ipv4Addr) -> SocketAddr {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap()
}

/// Has the lab up, and returns what is said beside that.
pub(crate) fn brought_up(home: &Home, more: &[&str]) -> String {
    let file = home.write("lab.yaml", LAB);
    let ran = home.run(&[&["up", file.to_str().unwrap(), "--detach"], more].concat());
    home.learn();
    let said = ran.err.clone();
    ran.exits(0);
    said
}

#[test]
fn who_has_a_way_to_the_internet_reaches_the_hosts_network() {
    let Some(own) = own_address() else { return };
    let server = server(own);
    as_each_user(|home| {
        brought_up(home, &["--internet", "host"]);
        reaches(home, "web", server);
        is_refused(home, "web", closed_port(own));
        is_met_with_silence(home, "inner", server);
        is_met_with_silence(home, "denied", server);

        let trace = |from: &str, to: &str, more: &[&str], code| {
            let text = home.run(&[&["trace", from, to], more].concat()).exits(code);
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let to = server.to_string();
        let text = trace("web", &to, &[], 0);
        assert!(text.starts_with("REACHABLE web (10.234.1.2, vpc-1) -> "), "{text}");
        assert!(text.contains("DELIVER internet the host's network, from 198.18.0."), "{text}");
        assert!(text.contains("3 sent, 3 delivered"), "{text}");
        for (from, to, more, cause) in [
            ("inner", to.as_str(), &[][..], "NO_EXTERNAL_ADDRESS"),
            ("denied", to.as_str(), &[], "FIREWALL_RULE"),
            ("web", &own.to_string(), &["--protocol", "esp"], "reached by tcp, udp and pings only"),
            // The host itself, its link and what is behind it, and what is the lab's own: real packets in each case.
            ("web", "127.0.0.1:80", &[], "TRAFFIC_TYPE_BLOCKED"),
            ("web", "0.0.0.1:80", &[], "TRAFFIC_TYPE_BLOCKED"),
            ("web", "224.0.0.1:80", &[], "TRAFFIC_TYPE_BLOCKED"),
            ("web", "255.255.255.255:80", &[], "TRAFFIC_TYPE_BLOCKED"),
            ("web", "169.254.1.1:80", &[], "UNKNOWN_EXTERNAL_ADDRESS"),
            ("web", "10.234.2.2:80", &[], "PRIVATE_TRAFFIC_TO_INTERNET"),
            ("web", "198.18.9.9:80", &[], "UNKNOWN_EXTERNAL_ADDRESS"),
        ] {
            let text = trace(from, to, more, 1);
            assert!(text.contains(cause) && text.contains("3 sent, 0 delivered"), "{text}");
        }
        let steps = home.run(&["trace", "web", &to, "--format", "json"]).json(0)["steps"].clone();
        let last = steps.as_array().unwrap().last().unwrap();
        assert_eq!((&last["state"], &last["what"]), (&"DELIVER".into(), &"internet".into()), "{steps:#}");
        assert!(home.run(&["status"]).exits(0).contains("\nThe internet is the host's network"));
        assert_eq!(home.run(&["status", "--format", "json"]).json(0)["internet"], "host");

        // By Cloud NAT too, and no longer than there is a way.
        let verb = |words: &str| {
            let words: Vec<&str> = words.split(' ').collect();
            home.run(&[&["compute"], &words[..], &["--quiet"]].concat()).exits(0)
        };
        verb("routers create r-1 --network vpc-1 --region us-central1");
        verb(
            "routers nats create n-1 --router r-1 --region us-central1 --auto-allocate-nat-external-ips \
              --nat-all-subnet-ip-ranges",
        );
        reaches(home, "inner", server);
        verb("routers delete r-1 --region us-central1");
        is_met_with_silence(home, "inner", server);
        for vm in ["web", "denied"] {
            let config = "--zone us-central1-a --access-config-name out";
            verb(&format!("instances delete-access-config {vm} {config}"));
        }
        is_met_with_silence(home, "web", server);
        verb("instances add-access-config web --zone us-central1-a");
        reaches(home, "web", server);
        home.down();
    });
}

/// A name that this machine knows without asking anybody.
fn own_name() -> Option<String> {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let found = lines.find_map(|mut words| {
        words.next()?.parse::<Ipv4Addr>().ok()?;
        let name = words.find(|name| !name.starts_with("localhost") && !name.ends_with(".internal"))?;
        Some(name.to_owned())
    });
    if found.is_none() {
        eprintln!("SKIPPED: /etc/hosts has no name beside localhost");
    }
    found
}

#[test]
fn names_that_the_lab_does_not_know_are_the_hosts() {
    let Some(name) = own_name() else { return };
    as_each_user(|home| {
        brought_up(home, &["--internet", "host"]);
        // Whoever has no way out learns names as well: they are the metadata server's.
        let resolve = |name: &str| {
            let ran = home.sh("inner", &format!("getent ahostsv4 {name}"));
            ran.out.split_whitespace().next().map(str::to_owned)
        };
        let known = (name.as_str(), 0).to_socket_addrs().unwrap();
        let known: Vec<String> = known.map(|address| address.ip().to_string()).collect();
        let found = resolve(&name);
        assert!(
            found.as_ref().is_some_and(|found| known.contains(found)),
            "{name}: {found:?}, not {known:?}"
        );
        assert_eq!(resolve("web.us-central1-a.c.project-1.internal").as_deref(), Some("10.234.1.2"));
        assert_eq!(resolve("nobody.us-central1-a.c.project-1.internal"), None);
        home.down();
        brought_up(home, &[]);
        assert_eq!(resolve(&name), None);
        home.down();
    });
}

#[test]
fn without_it_nothing_leaves_the_lab() {
    let Some(own) = own_address() else { return };
    let listener = TcpListener::bind((own, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap();
    as_each_user(|home| {
        brought_up(home, &[]);
        is_met_with_silence(home, "web", at);
        assert!(home.run(&["trace", "web", &at.to_string()]).exits(1).contains("3 sent, 0 delivered"));
        assert_eq!(home.run(&["status", "--format", "json"]).json(0)["internet"], "lab");
        home.down();
    });
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn the_server_itself_is_not_reached_and_the_next_one_relays_again() {
    let Some(own) = own_address() else { return };
    let server = server(own);
    as_each_user(|home| {
        // Anywhere on the host, so at the address by which the VMs would come too.
        let (mut up, itself) = serve(home, "0.0.0.0:0", own);
        let file = home.write("lab.yaml", LAB);
        home.run(&["import", file.to_str().unwrap()]).exits(0);
        reaches(home, "web", server);
        TcpStream::connect(itself).unwrap();
        is_refused(home, "web", itself);

        // A connection that is open when the server is killed ends with it.
        let hold =
            "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.send(b'x')
open('/tmp/open', 'w'); s.recv(1)";
        let (ip, port) = (server.ip().to_string(), server.port().to_string());
        let mut hold = home.command(&["exec", "web", "--", "python3", "-c", hold, &ip, &port]);
        let mut held = hold.stderr(std::process::Stdio::null()).spawn().unwrap();
        eventually("a connection is open", || home.sh("web", "test -e /tmp/open").code == 0);
        up.signal(Signal::SIGKILL);
        assert_eq!(up.wait(), None);
        eventually("it ends", || held.try_wait().unwrap().is_some());
        let (mut up, _) = serve(home, "127.0.0.1:0", own);
        assert!(up.stdout().contains("The lab of the server before goes on; 0 edits made it"));
        reaches(home, "web", server);
        up.signal(Signal::SIGKILL);
        assert_eq!(up.wait(), None);
        // The next one may have it otherwise.
        let mut served = home.serve(&[]);
        is_met_with_silence(home, "web", server);
        served.up.signal(Signal::SIGTERM);
        assert_eq!(served.up.wait(), Some(0));
    });
}
