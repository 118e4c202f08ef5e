//! `tombolo compute ssh`: real logins, through real firewalls, by the machine's own ssh.

use crate::support::http::{Served, send};
use crate::support::{Home, LIMIT, Ran, as_each_user, eventually, homes, run};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

const COMPUTE: &str = "/compute/v1/projects/project-1";
const INSTANCE: &str = "/compute/v1/projects/project-1/zones/us-central1-a/instances/vm-1";

/// A project with a network without rules, and vm-1 in it.
fn project(served: &Served) {
    served.good("POST", "/cloudresourcemanager/v1/projects", json!({ "projectId": "project-1" }));
    let enable = "/serviceusage/v1/projects/project-1/services/compute.googleapis.com:enable";
    served.good("POST", enable, json!({}));
    let network = json!({ "name": "vpc", "autoCreateSubnetworks": false });
    served.good("POST", &format!("{COMPUTE}/global/networks"), network);
    let subnetwork =
        json!({ "name": "subnet", "network": "global/networks/vpc", "ipCidrRange": "10.0.0.0/24" });
    served.good("POST", &format!("{COMPUTE}/regions/us-central1/subnetworks"), subnetwork);
    let instance = json!({
        "name": "vm-1",
        "machineType": "zones/us-central1-a/machineTypes/e2-micro",
        "disks": [{ "boot": true, "initializeParams":
            { "sourceImage": "projects/debian-cloud/global/images/family/debian-12" } }],
        "networkInterfaces": [{ "subnetwork": "regions/us-central1/subnetworks/subnet" }],
    });
    served.good("POST", &format!("{COMPUTE}/zones/us-central1-a/instances"), instance);
}

/// Lets ssh in.
fn allow(served: &Served) {
    let rule = json!({
        "name": "allow-ssh", "network": "global/networks/vpc", "sourceRanges": ["35.235.240.0/20"],
        "allowed": [{ "IPProtocol": "tcp", "ports": ["22"] }]
    });
    served.good("POST", &format!("{COMPUTE}/global/firewalls"), rule);
}

/// A command in vm-1.
fn ssh(home: &Home, command: &str, stdin: &[u8]) -> Ran {
    run(home.command(&["compute", "ssh", "vm-1", "--command", command]), stdin)
}

#[test]
fn the_firewall_decides_and_a_restart_changes_nothing() {
    as_each_user(|home| {
        let mut served = home.serve(&[]);
        project(&served);
        let refused = ssh(home, "true", b"");
        assert_eq!((refused.code, refused.out.as_str()), (255, ""));
        for said in ["port 22 of vm-1", "default-deny-ingress", "allow tcp/22: ingress rule in vpc"] {
            assert!(refused.err.contains(said), "{said}: {}", refused.err);
        }
        allow(&served);
        assert_eq!(ssh(home, "hostname; echo ${SSH_CONNECTION%% *}", b"").exits(0), "vm-1\n35.235.240.1\n");
        for file in ["tombolo_compute_engine", "host-secret"] {
            let mode = home.path.join("state/ssh").join(file).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        // The key went where gcloud puts it.
        let project = served.good("GET", COMPUTE, Value::Null);
        let item = &project["commonInstanceMetadata"]["items"][0];
        assert!(item["key"] == "ssh-keys" && item["value"].as_str().unwrap().contains(":ssh-ed25519 "));
        let known = || {
            let folder = std::fs::read_dir(home.path.join("state/ssh")).unwrap().flatten();
            let hosts = folder.filter(|f| f.file_name().to_string_lossy().starts_with("known_hosts."));
            hosts.map(|f| std::fs::read_to_string(f.path()).unwrap()).collect::<Vec<_>>()
        };
        let before = known();

        served.up.signal(Signal::SIGTERM);
        assert_eq!(served.up.wait(), Some(0), "{}", served.up.stderr());
        home.assert_nothing_runs();
        let served = home.serve(&[]);
        assert_eq!(ssh(home, "hostname", b"").exits(0), "vm-1\n");
        assert_eq!((before.len(), before), (1, known()));
        served.good("DELETE", &format!("{COMPUTE}/global/firewalls/allow-ssh"), Value::Null);
        assert_eq!(ssh(home, "true", b"").code, 255);
        home.down();
    });
}

#[test]
fn sessions_are_as_with_any_sshd() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        assert!(home.learn().iter().all(|process| process.comm != "vm-sshd"), "nobody is logged in");
        for code in [0, 1, 42, 254] {
            assert_eq!(ssh(home, &format!("exit {code}"), b"").code, code);
        }
        // What ssh says of a command that a signal ended.
        assert_eq!(ssh(home, "kill -9 $$", b"").code, 255);
        let both = ssh(home, "echo out; echo err >&2", b"");
        assert_eq!((both.out.as_str(), both.err.trim()), ("out\n", "err"));

        let every_byte: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
        let sum = "cksum; head -c 3 /dev/zero | od -An -tx1";
        let here = run(home.program("cksum"), &every_byte).exits(0);
        assert_eq!(ssh(home, sum, &every_byte).exits(0), format!("{here} 00 00 00\n"));
        // Much more than fits anywhere on the way, both ways at once.
        let text = "0123456789abcde\n".repeat(1 << 20);
        assert!(ssh(home, "cat", text.as_bytes()).exits(0) == text);

        let alice = home.run(&["compute", "ssh", "alice@vm-1", "--", "echo $USER ~alice; test ! -t 0"]);
        assert_eq!(alice.exits(0), "alice /root\n");
        let mut command = home.command(&["compute", "ssh", "vm-1", "--ssh-flag=-oSendEnv=LC_ALL PATH_OF"]);
        command.args(["--command", "echo $LC_ALL,$PATH_OF"]).env("LC_ALL", "C.UTF-8").env("PATH_OF", "x");
        assert_eq!(run(command, b"").exits(0), "C.UTF-8,\n");

        // From vm-2 to the Redis that only its network reaches: a forwarded connection.
        let redis = home.command(&["compute", "ssh", "vm-2", "--", "-W", "10.34.175.91:6379"]);
        assert_eq!(run(redis, b"PING\r\nQUIT\r\n").exits(0), "+PONG\r\n+OK\r\n");
        let nobody = home.command(&["compute", "ssh", "vm-2", "--", "-W", "127.0.0.1:9"]);
        assert_eq!(run(nobody, b"").code, 255);

        // And two at once.
        let start = |text: &str| {
            let mut command =
                home.command(&["compute", "ssh", "vm-1", "--command", &format!("read x; echo {text}$x")]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut both = [start("one "), start("two ")];
        for (child, word) in both.iter_mut().zip(["one", "two"]).rev() {
            child.stdin.take().unwrap().write_all(b"line\n").unwrap();
            let mut out = String::new();
            child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
            assert_eq!((out, child.wait().unwrap().code()), (format!("{word} line\n"), Some(0)));
        }
        home.down();
    });
}

#[test]
fn a_terminal_has_a_name_a_size_and_signals() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let size = nix::libc::winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let mut command = home.command(&[
            "compute",
            "ssh",
            "vm-1",
            "--",
            "-t",
            "trap 'echo caught' INT; tty; stty size; cat; exit 9",
        ]);
        command.env("TERM", "vt100");
        for (set, fd) in [Command::stdin, Command::stdout, Command::stderr]
            .into_iter()
            .zip([0; 3].map(|_| pty.slave.try_clone().unwrap()))
        {
            set(&mut command, Stdio::from(fd));
        }
        // SAFETY: the closure makes system calls only.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                match nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let mut child = command.spawn().unwrap();
        drop((command, pty.slave));
        let mut master = File::from(pty.master);
        let mut said = String::new();
        let mut buffer = [0; 4096];
        let start = Instant::now();
        let mut until = |text: &str, master: &mut File| {
            while !said.contains(text) {
                assert!(start.elapsed() < LIMIT, "{text}: {said}");
                let got = master.read(&mut buffer).unwrap_or(0);
                assert!(got > 0, "{text}: {said}");
                said += &String::from_utf8_lossy(&buffer[..got]);
            }
        };
        until("33 77", &mut master);
        until("/dev/pts/", &mut master);
        // Control-C goes to the program, not to ssh.
        master.write_all(b"typed\n").unwrap();
        until("typed\r\ntyped", &mut master);
        master.write_all(&[3]).unwrap();
        until("caught", &mut master);
        assert_eq!(child.wait().unwrap().code(), Some(9));
        home.down();
    });
}

#[test]
fn keys_in_metadata_let_in_and_no_others() {
    as_each_user(|home| {
        let served = home.serve(&[]);
        project(&served);
        allow(&served);
        let key = home.path.join("other");
        let mut keygen = home.program("ssh-keygen");
        keygen.args(["-q", "-t", "rsa", "-N", "", "-f"]).arg(&key);
        run(keygen, b"").exits(0);
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        let login = |user: &str| {
            let mut command = home.program("ssh");
            let tombolo = home.path.join("tombolo");
            let proxy = format!("{} compute start-iap-tunnel vm-1 22 --listen-on-stdin", tombolo.display());
            command
                .arg(format!("-oProxyCommand={proxy}"))
                .args(["-oStrictHostKeyChecking=no", "-oBatchMode=yes"]);
            command.args([
                "-oUserKnownHostsFile=/dev/null",
                "-oIdentitiesOnly=yes",
                "-oLogLevel=ERROR",
                "-i",
            ]);
            command.arg(&key).arg(format!("{user}@vm-1")).arg("echo in");
            run(command, b"")
        };
        let refused = |user: &str| {
            let ran = login(user);
            assert_eq!((ran.code, ran.out.as_str()), (255, ""));
            assert!(ran.err.contains("Permission denied (publickey)"), "{}", ran.err);
        };
        let set = |items: Value| {
            let fingerprint = served.good("GET", INSTANCE, Value::Null)["metadata"]["fingerprint"].clone();
            let body = json!({ "fingerprint": fingerprint, "items": items });
            served.good("POST", &format!("{INSTANCE}/setMetadata"), body);
        };
        refused("bob");
        set(json!([{ "key": "ssh-keys", "value": format!("bob:{public}") }]));
        assert_eq!(login("bob").exits(0), "in\n");
        refused("carol");
        let dated = |year: u32| {
            let bare: Vec<_> = public.split(' ').take(2).collect();
            let json = json!({ "userName": "bob", "expireOn": format!("{year}-01-01T00:00:00+0000") });
            json!([{ "key": "ssh-keys", "value": format!("bob:{} google-ssh {json}", bare.join(" ")) }])
        };
        set(dated(2999));
        assert_eq!(login("bob").exits(0), "in\n");
        set(dated(2020));
        refused("bob");
        // Of the project, which the instance blocks, and then not.
        let fingerprint =
            served.good("GET", COMPUTE, Value::Null)["commonInstanceMetadata"]["fingerprint"].clone();
        let body = json!({ "fingerprint": fingerprint,
            "items": [{ "key": "ssh-keys", "value": format!("bob:{public}") }] });
        served.good("POST", &format!("{COMPUTE}/setCommonInstanceMetadata"), body);
        assert_eq!(login("bob").exits(0), "in\n");
        set(json!([{ "key": "block-project-ssh-keys", "value": "TRUE" }]));
        refused("bob");
        // Then our own goes into the instance's.
        assert_eq!(ssh(home, "echo ours", b"").exits(0), "ours\n");
        let items = served.good("GET", INSTANCE, Value::Null)["metadata"]["items"].clone();
        assert!(items.as_array().unwrap().iter().any(|item| item["key"] == "ssh-keys"), "{items}");
        // An instance that is made again is another host.
        let (status, _) = send(served.address, "POST", &format!("{INSTANCE}/reset"), &json!({})).unwrap();
        assert_eq!((status, ssh(home, "echo still", b"").exits(0).as_str()), (200, "still\n"));
        home.down();
    });
}

#[test]
fn a_login_ends_with_the_lab() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let mut command = home.command(&["compute", "ssh", "vm-1", "--command", "echo in; sleep 1000"]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut word = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        assert_eq!(&word, b"in\n");
        home.learn();
        home.run(&["down"]).exits(0);
        let mut status = None;
        eventually("ssh ends", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(255));
        home.assert_nothing_runs();
        assert!(!home.runtime().exists());
    });
}

#[test]
fn a_tunnel_listens_on_this_machine() {
    let homes = homes();
    let home = homes.last().unwrap();
    home.up(&home.example("article.yaml"));
    let out = home.path.join("tunnel.out");
    let mut command =
        home.command(&["compute", "start-iap-tunnel", "vm-1", "22", "--local-host-port=127.0.0.1:0"]);
    let mut child = command.stdout(File::create(&out).unwrap()).spawn().unwrap();
    let mut address = None;
    eventually("it listens", || {
        let said = std::fs::read_to_string(&out).unwrap();
        address = said
            .strip_prefix("Listening at ")
            .and_then(|rest| rest.split_once(';'))
            .map(|(a, _)| a.to_owned());
        address.is_some()
    });
    let mut stream = TcpStream::connect(address.unwrap()).unwrap();
    let mut hello = [0; 8];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"SSH-2.0-");
    child.kill().unwrap();
    child.wait().unwrap();
    let nobody = home.run(&["compute", "ssh", "vm-9"]);
    assert!(
        nobody.code == 255 && nobody.err.contains("vm-9") && nobody.err.contains("vm-1"),
        "{}",
        nobody.err
    );
    home.down();
}
