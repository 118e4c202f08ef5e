//! A network namespace, our connection to its rules, and the `nft` program in it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use tombolo_dataplane::Table;
use tombolo_dataplane::linux::netns;
use tombolo_dataplane::linux::nft::{Loaded, Nft};

pub(crate) struct Space(OwnedFd);

impl Space {
    pub(crate) fn new() -> Space {
        Space(netns::create().expect("a network namespace"))
    }

    /// That of which this is a descriptor.
    pub(crate) fn of(fd: &OwnedFd) -> Space {
        Space(fd.try_clone().expect("another descriptor"))
    }

    /// Has us load a table, in transactions of so many bytes.
    pub(crate) fn load(
        &self,
        before: Option<(&Table, u32)>,
        after: &Table,
        most: usize,
    ) -> std::io::Result<u32> {
        let load = || {
            let mut nft = Nft::open()?;
            let loaded = nft.load_in_parts(before, after, most)?;
            // What was left for packets on their way goes with the next change, if there is something.
            let known = Some((&loaded.table, loaded.generation));
            let swept = nft.load_in_parts(known, after, most)?;
            assert_eq!(swept.table, *after);
            assert_eq!(swept.generation == loaded.generation, loaded.table == *after);
            Ok(swept.generation)
        };
        netns::with(&self.0, load).expect("to be inside")
    }

    /// Has us load tables one after the other, by one connection, which remembers what the kernel calls their rules.
    pub(crate) fn load_all(&self, tables: &[Table], each: impl Fn(usize)) {
        let load = || {
            let mut nft = Nft::open()?;
            let mut known: Option<Loaded> = None;
            for (index, table) in tables.iter().enumerate() {
                let before = known.as_ref().map(|known| (&known.table, known.generation));
                known = Some(nft.load(before, table)?);
                each(index);
            }
            Ok::<_, std::io::Error>(())
        };
        netns::with(&self.0, load).expect("to be inside").expect("to be loaded");
    }

    pub(crate) fn generation(&self) -> u32 {
        netns::with(&self.0, || Nft::open()?.generation()).expect("to be inside").expect("a generation")
    }

    /// What has been counted.
    pub(crate) fn counters(&self) -> BTreeMap<String, u64> {
        netns::with(&self.0, || Nft::open()?.counters()).expect("to be inside").expect("counters")
    }

    /// Sends datagrams over the loopback interface.
    pub(crate) fn send_to_itself(&self, datagrams: usize) {
        let send = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            for _ in 0..datagrams {
                socket.send_to(b"it", "127.0.0.1:9").expect("to send");
            }
        };
        netns::with(&self.0, send).expect("to be inside");
    }

    /// Runs a script by `nft`.
    pub(crate) fn nft(&self, script: &str) {
        self.run(&["-f", "-"], script);
    }

    /// What `nft` lists: the parts of the table, which have no order of their own, sorted.
    pub(crate) fn list(&self) -> Vec<String> {
        let text = self.run(&["list", "ruleset"], "");
        let body = text.strip_prefix("table inet tombolo {\n").and_then(|text| text.strip_suffix("}\n"));
        let body = body.unwrap_or_else(|| panic!("not one table: {text}"));
        let mut parts: Vec<String> = body.split("\n\n").map(|part| part.trim_end().to_owned()).collect();
        parts.sort();
        parts
    }

    fn run(&self, args: &[&str], input: &str) -> String {
        let known = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"].map(Path::new);
        let program = known.into_iter().find(|path| path.exists()).unwrap_or(Path::new("nft"));
        let output = netns::with(&self.0, || {
            let mut child = Command::new(program)
                .args(args)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("nft: install the package nftables");
            child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("nft reads");
            child.wait_with_output().expect("nft ends")
        });
        let output = output.expect("to be inside");
        assert!(output.status.success(), "{}\n{input}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}
