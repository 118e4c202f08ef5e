//! What a program in a VM sees, and what it cannot reach.

use std::fs;

use tombolo_agent::{Program, SpawnOptions};

use crate::Test;
use crate::support::{Lab, eventually, ran, vm};

pub(crate) const TESTS: &[Test] = &[
    ("names_are_the_vms", names_are_the_vms),
    ("names_change_while_it_runs", names_change_while_it_runs),
    ("names_change_whatever_is_in_their_place", names_change_whatever_is_in_their_place),
    ("processes_are_the_vms", processes_are_the_vms),
    ("host_files_are_read_only_or_hidden", host_files_are_read_only_or_hidden),
    ("tmp_is_private_and_lasts", tmp_is_private_and_lasts),
    ("host_configuration_is_found", host_configuration_is_found),
    ("the_labs_own_folders_are_not_there", the_labs_own_folders_are_not_there),
    ("keys_are_the_vms", keys_are_the_vms),
    ("kernel_settings_are_out_of_reach", kernel_settings_are_out_of_reach),
    ("capabilities_are_dropped", capabilities_are_dropped),
    ("nothing_is_inherited", nothing_is_inherited),
    ("extra_binaries_are_in_path", extra_binaries_are_in_path),
    ("network_is_the_vms", network_is_the_vms),
];

fn names_are_the_vms() {
    let lab = Lab::new();
    assert_eq!(lab.sh("a", "hostname; cat /etc/hostname"), ran(0, "vm-a\nvm-a\n"));
    assert_eq!(lab.sh("a", "cat /etc/hosts"), ran(0, &vm("a").hosts));
    assert_eq!(lab.sh("b", "cat /etc/resolv.conf"), ran(0, "nameserver 169.254.169.254\n"));
    assert_eq!(lab.sh("a", "id -un; echo $HOME $USER $LAB; pwd"), ran(0, "root\n/root root yes\n/root\n"));
    let ids = lab.sh("a", "cat /etc/machine-id").out + &lab.sh("b", "cat /etc/machine-id").out;
    let ids: Vec<&str> = ids.lines().collect();
    assert!(ids.len() == 2 && ids[0] != ids[1] && ids.iter().all(|id| id.len() == 32), "{ids:?}");
}

fn names_change_while_it_runs() {
    let lab = Lab::new();
    assert_eq!(lab.sh("a", "touch /tmp/mark").code, 0);
    let mut changed = vm("a");
    changed.hosts = "10.9.9.9 new\n".into();
    lab.agent.set_vms(vec![changed.clone()]).unwrap();
    assert_eq!(lab.sh("a", "cat /etc/hosts; ls /tmp"), ran(0, "10.9.9.9 new\nmark\n"));
    changed.hostname = "renamed".into();
    lab.agent.set_vms(vec![changed]).unwrap();
    assert_eq!(lab.sh("a", "hostname; ls /tmp"), ran(0, "renamed\n"), "another hostname is another machine");
    assert_eq!(lab.sh("b", "true").code, 125, "a VM that is not listed any more");
}

/// Whoever waits for somebody to read a pipe waits for ever, and an init has nobody beside it.
fn names_change_whatever_is_in_their_place() {
    let lab = Lab::new();
    let script =
        "cd /etc; rm hosts hostname resolv.conf; mkfifo hosts; mkdir hostname; ln -s /dev/zero resolv.conf";
    assert_eq!(lab.sh("a", script), ran(0, ""));
    let mut changed = vm("a");
    for round in 0..3 {
        changed.hosts = format!("10.9.9.{round} new\n");
        lab.agent.set_vms(vec![changed.clone(), vm("b")]).unwrap();
        lab.agent.ping().unwrap();
    }
    // The one that can not be replaced keeps those after it from being so, and nothing else.
    assert_eq!(lab.sh("a", "rmdir /etc/hostname"), ran(0, ""));
    changed.hosts = "10.9.9.9 new\n".into();
    lab.agent.set_vms(vec![changed, vm("b")]).unwrap();
    assert_eq!(lab.sh("a", "cat /etc/hosts"), ran(0, "10.9.9.9 new\n"));
    assert_eq!(lab.sh("a", "cat /etc/resolv.conf"), ran(0, &vm("a").resolv_conf));
}

/// Where sockets are that a VM sees it can connect to them, be they shown read-only.
fn the_labs_own_folders_are_not_there() {
    // A place that VMs see, and that this user may write to: some ordinary ones may write to none.
    let hidden = |place: &&str| ["/tmp", "/var", "/run", "/root"].iter().any(|own| place.starts_with(own));
    let places = [env!("CARGO_TARGET_TMPDIR"), "/opt", "/srv"].into_iter().filter(|place| !hidden(place));
    let Some(dir) = places.into_iter().find_map(|place| tempfile::tempdir_in(place).ok()) else { return };
    let run = dir.path().join("run");
    let (socket, file) = (run.join("agent.sock"), dir.path().join("file"));
    fs::write(&file, "seen").unwrap();
    let options = |hide| SpawnOptions { listen: Some(socket.clone()), hide, ..Default::default() };
    let look = format!("cat {}; ls -A {}", file.display(), run.display());
    let lab = Lab::with_options(&options(vec![run.clone(), "/nowhere".into(), "/tmp".into()]));
    assert_eq!(lab.sh("a", &look), ran(0, "seen"));
    drop(lab);
    // The agent knows its own all the same.
    let lab = Lab::with_options(&options(Vec::new()));
    assert_eq!(lab.sh("a", &look), ran(0, "seenagent.sock\n"));
    let program = std::env::current_exe().unwrap();
    let program = program.file_name().unwrap().to_str().unwrap();
    let enter = format!("{program} exec {} b hostname", socket.display());
    let inside = lab.sh("a", &enter);
    assert!(inside.code != 0 && !inside.out.contains("vm-b"), "{inside:?}");
}

fn keys_are_the_vms() {
    const NAME: &str = "tombolo-agent-test";
    if !add_key(NAME) {
        // A kernel or a container without keys; what is not there is nobody's.
        return;
    }
    let program = std::env::current_exe().unwrap();
    let look = |program: &std::path::Path| format!("{} has-key {NAME}", program.display());
    let on_the_host = std::process::Command::new("sh").args(["-c", &look(&program)]).status().unwrap();
    assert!(on_the_host.success());
    let lab = Lab::new();
    let name = program.file_name().unwrap();
    assert_eq!(lab.sh("a", &look(name.as_ref())), ran(1, ""));
}

/// `KEY_SPEC_SESSION_KEYRING` (linux/keyctl.h).
const SESSION: libc::c_long = -3;

/// Puts a key on the calling thread's session keyring, which its children have too.
fn add_key(name: &str) -> bool {
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: both texts end with a zero, and one byte of the second is the key.
    unsafe {
        libc::syscall(libc::SYS_add_key, c"user".as_ptr(), name.as_ptr(), c"x".as_ptr(), 1, SESSION) >= 0
    }
}

/// `lab has-key NAME`
pub(crate) fn has_key(name: &str) -> bool {
    const SEARCH: libc::c_long = 10;
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: both texts end with a zero.
    unsafe { libc::syscall(libc::SYS_keyctl, SEARCH, SESSION, c"user".as_ptr(), name.as_ptr(), 0) >= 0 }
}

fn processes_are_the_vms() {
    let lab = Lab::new();
    assert_eq!(lab.sh("a", "cat /proc/1/comm").out, "init\n");
    let count = lab.sh("a", "ls /proc | grep -c '^[0-9]'").out;
    assert!(count.trim().parse::<u32>().unwrap() <= 4, "{count}");
    let orphan =
        lab.sh("a", "(sh -c 'sleep 0.01; exit 3' &) ; sleep 0.2; cat /proc/[0-9]*/stat | grep -c ' Z '");
    assert_eq!(orphan.out, "0\n", "init reaps orphans");
    assert_eq!(lab.sh("a", "kill -9 1; kill 1; cat /proc/1/comm").out, "init\n");
}

fn host_files_are_read_only_or_hidden() {
    let lab = Lab::new();
    assert_eq!(lab.sh("a", "ls -A /run").out, "host\nlock\ntombolo\n");
    let marker = tempfile::NamedTempFile::new_in("/tmp").unwrap();
    let script =
        format!("ls {} 2>&1; ls -A /tmp /run/user /root /var/log 2>/dev/null", marker.path().display());
    let out = lab.sh("a", &script).out;
    assert!(out.contains("No such file"), "{out}");
    assert!(!out.contains(".cargo") && !out.contains(".ssh"), "{out}");
    for dir in ["/usr", "/usr/bin", "/home", "/opt", "/run/host/etc"] {
        let out = lab.sh("a", &format!("touch {dir}/tombolo-was-here")).out;
        assert!(out.contains("Read-only file system"), "{dir}: {out}");
    }
    assert_eq!(
        lab.sh("a", "cat /run/host/etc/shadow /run/host/etc/gshadow /etc/shadow | grep -v ':[*]:'").out,
        ""
    );
    let out = lab.sh("a", "mount -o remount,rw /usr || mount -t tmpfs x /mnt || umount /usr || echo no").out;
    assert!(out.ends_with("no\n"), "{out}");
    assert_eq!(lab.sh("a", "mknod /tmp/disk b 254 0 2>/dev/null || echo no").out, "no\n");
}

fn tmp_is_private_and_lasts() {
    let lab = Lab::new();
    assert_eq!(lab.sh("a", "echo kept > /tmp/f; echo log > /var/log/l; echo > /etc/own").code, 0);
    assert_eq!(lab.sh("a", "cat /tmp/f /var/log/l; ls /etc/own"), ran(0, "kept\nlog\n/etc/own\n"));
    assert_ne!(lab.sh("b", "cat /tmp/f").code, 0);
    assert_eq!(lab.sh("b", "stat -c %a /tmp /var/tmp /dev/shm /root").out, "1777\n1777\n1777\n700\n");
}

/// Links in /etc lead where they do on the host, also relative ones, also into directories.
fn host_configuration_is_found() {
    let lab = Lab::new();
    assert_eq!(lab.sh("a", "getent passwd root").out.trim(), "root:x:0:0:root:/root:/bin/bash");
    assert_eq!(lab.sh("a", "getent hosts vm-a.internal").code, 0);
    let links: Vec<String> = ["/etc/os-release", "/etc/ssl/certs", "/etc/ld.so.cache", "/etc/localtime"]
        .into_iter()
        .chain(["/etc/alternatives", "/etc/nsswitch.conf", "/etc/rc2.d", "/etc/profile"])
        .filter(|path| fs::metadata(path).is_ok())
        .map(Into::into)
        .collect();
    for link in &links {
        assert_eq!(lab.sh("a", &format!("test -e {link}")).code, 0, "{link}");
    }
    // Every link of the host's /etc that leads somewhere leads there in a VM, unless it leads into what is hidden.
    let broken = "find -L /etc -maxdepth 3 -type l 2>/dev/null | while read l; do readlink -m $l; done \
                  | grep -v -e ^/var -e ^/run -e ^/tmp -e ^/proc -e ^/root -e ^/dev";
    let host = std::process::Command::new("sh").args(["-c", broken]).output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let known: Vec<&str> = host.lines().map(|line| line.rsplit('/').next().unwrap()).collect();
    let vm = lab.sh("a", broken).out;
    let new: Vec<&str> =
        vm.lines().filter(|line| !known.contains(&line.rsplit('/').next().unwrap())).collect();
    assert!(new.is_empty(), "{new:?}");
}

fn kernel_settings_are_out_of_reach() {
    let lab = Lab::new();
    for file in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/swappiness",
        "/proc/sysrq-trigger",
        "/sys/power/state",
    ] {
        assert_ne!(lab.sh("a", &format!("test -w {file} && echo x > {file}")).code, 0, "{file}");
    }
    assert_eq!(
        lab.sh("a", "sysctl -qw net.ipv4.ip_forward=1 && cat /proc/sys/net/ipv4/ip_forward").out,
        "1\n"
    );
    let escape = "unshare -Urmpf --mount-proc sh -c 'echo x > /proc/sys/kernel/core_pattern'";
    assert_ne!(lab.sh("a", escape).code, 0, "not through a user namespace of its own either");
}

fn capabilities_are_dropped() {
    let lab = Lab::new();
    let status = lab.sh("a", "cat /proc/self/status").out;
    let set = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
    };
    // SYS_MODULE SYS_RAWIO SYS_PTRACE SYS_ADMIN SYS_BOOT SYS_TIME MKNOD AUDIT_CONTROL MAC_OVERRIDE MAC_ADMIN
    // SYSLOG WAKE_ALARM BLOCK_SUSPEND PERFMON BPF CHECKPOINT_RESTORE LINUX_IMMUTABLE
    let gone = [16, 17, 19, 21, 22, 25, 27, 30, 32, 33, 34, 35, 36, 38, 39, 40, 9];
    let kept = [0, 1, 3, 5, 6, 7, 10, 12, 13, 18];
    for name in ["CapEff", "CapPrm", "CapBnd"] {
        let found: Vec<u32> = gone.into_iter().filter(|cap| set(name) & (1 << cap) != 0).collect();
        assert!(found.is_empty(), "{name} has {found:?}");
        assert!(kept.iter().all(|cap| set(name) & (1 << cap) != 0), "{name} is {:x}", set(name));
    }
    assert_eq!((set("CapInh"), set("CapAmb")), (0, 0));
}

fn nothing_is_inherited() {
    let lab = Lab::new();
    let fds = lab.sh("a", "ls -l /proc/$$/fd").out;
    assert_eq!(fds.lines().count(), 1 + 3, "{fds}");
    // The descriptor of the directory itself is the fourth.
    assert_eq!(lab.run("a", Program::new(["ls", "/proc/self/fd"]), b"").out, "0\n1\n2\n3\n");
    let init = "for f in /proc/1/fd/* /proc/1/ns/* /proc/1/exe /proc/1/root; do readlink $f; done;
                cat /proc/1/environ /proc/1/mem 2>/dev/null";
    assert_eq!(lab.sh("a", init).out, "", "root in the VM sees nothing of its init");
    // Seen from outside: nothing of the host's, only its socket, its signals and /dev/null.
    let init = *crate::support::children(lab.pid1()).last().unwrap();
    let held = || {
        let fds = fs::read_dir(format!("/proc/{init}/fd")).unwrap();
        let fds = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        let mut kinds: Vec<String> =
            fds.map(|fd| fd.to_str().unwrap().split(':').next().unwrap().into()).collect();
        kinds.sort();
        kinds
    };
    let expected = ["/dev/null", "/dev/null", "/dev/null", "anon_inode", "socket"];
    // Init lets go of a requester a moment after the requester has its answer.
    eventually("init holds only its own", || held() == expected);
}

fn extra_binaries_are_in_path() {
    let lab = Lab::new();
    let name = std::env::current_exe().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(lab.run("a", Program::new([&*name, "--list"]), b"").code, 0);
    assert_eq!(lab.sh("a", "ls /run/tombolo/bin").out, format!("{name}\n"));
}

fn network_is_the_vms() {
    let lab = Lab::new();
    let links = "sed 's/:.*//; s/ //g; 1,2d' /proc/net/dev";
    assert_eq!(lab.sh("a", links).out, "lo\n");
    assert_eq!(lab.sh("a", "cat /sys/class/net/lo/flags").out, "0x9\n", "up");
    let inode = |vm| lab.sh(vm, "readlink /proc/self/ns/net").out;
    assert_ne!(inode("a"), inode("b"));
    assert_ne!(inode("a").trim(), fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap());
}
