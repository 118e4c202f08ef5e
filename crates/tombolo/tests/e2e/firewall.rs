//! What changes of firewall rules do to packets.

use crate::support::http::{Served, send};
use crate::support::{Home, as_each_user, eventually};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

const P: &str = "/compute/v1/projects/project-1";
const WEB: &str = "web@project-1.iam.gserviceaccount.com";

/// Echoes lines at port 7000, to many at once.
const SERVER: &str = r#"#!/bin/sh
exec perl -MIO::Socket::INET -e '
my $l = IO::Socket::INET->new(LocalPort => 7000, Listen => 9, ReuseAddr => 1) or die;
$SIG{CHLD} = "IGNORE";
while (my $c = $l->accept) { fork and next; $c->autoflush(1); print $c $_ while <$c>; exit }'
"#;

/// Two VMs in a network without rules: `client`, and `server` with a service account, which echoes.
fn lab(home: &Home) -> Served {
    let served = home.serve(&[]);
    served.good("POST", "/cloudresourcemanager/v1/projects", json!({ "projectId": "project-1" }));
    let enable = "/serviceusage/v1/projects/project-1/services/compute.googleapis.com:enable";
    served.good("POST", enable, json!({}));
    let network = json!({ "name": "vpc", "autoCreateSubnetworks": false });
    served.good("POST", &format!("{P}/global/networks"), network);
    let subnetwork = json!({ "name": "s", "network": "global/networks/vpc", "ipCidrRange": "10.0.0.0/24" });
    served.good("POST", &format!("{P}/regions/us-central1/subnetworks"), subnetwork);
    vm(&served, "client", json!({}));
    let metadata = json!({ "items": [{ "key": "startup-script", "value": SERVER }] });
    vm(&served, "server", json!({ "metadata": metadata, "serviceAccounts": [{ "email": WEB }] }));
    eventually("the server listens", || home.sh("server", "grep -q ':1B58 ' /proc/net/tcp").code == 0);
    served
}

fn vm(served: &Served, name: &str, mut body: Value) {
    body["name"] = json!(name);
    body["networkInterfaces"] = json!([{ "subnetwork": "regions/us-central1/subnetworks/s" }]);
    served.good("POST", &format!("{P}/zones/us-central1-a/instances"), body);
}

fn rule(served: &Served, mut body: Value) {
    body["network"] = json!("global/networks/vpc");
    served.good("POST", &format!("{P}/global/firewalls"), body);
}

/// Whether a new connection to the server comes about.
fn connects(home: &Home) -> bool {
    home.run(&["exec", "client", "--", "timeout", "1", "bash", "-c", "</dev/tcp/10.0.0.3/7000"]).code == 0
}

/// A connection that stays.
struct Live {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Live {
    fn new(home: &Home) -> Self {
        let script = "exec 3<>/dev/tcp/10.0.0.3/7000\n\
                      while read -r line; do echo $line >&3; read -r -t 10 back <&3 || exit; echo $back; done";
        let mut command = home.command(&["exec", "client", "--", "bash", "-c", script]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    /// Sends a line: what comes back.
    fn echo(&mut self, line: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut back = String::new();
        self.answers.read_line(&mut back).unwrap();
        back.trim().to_owned()
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// "Firewall rules are stateful": a connection outlives the rule that let it in, and a later rule that would not.
#[test]
fn a_connection_outlives_its_rule() {
    as_each_user(|home| {
        let mut served = lab(home);
        assert!(!connects(home), "the implied rule denies");
        rule(&served, json!({ "name": "web", "allowed": [{ "IPProtocol": "tcp", "ports": ["7000"] }] }));
        let mut live = Live::new(home);
        assert_eq!(live.echo("one"), "one");
        served.good("DELETE", &format!("{P}/global/firewalls/web"), Value::Null);
        assert!(!connects(home), "a new connection meets the rules of now");
        assert_eq!(live.echo("two"), "two");
        let deny = json!({ "name": "no", "denied": [{ "IPProtocol": "all" }], "priority": 0 });
        rule(&served, deny.clone());
        let mut outward = deny;
        (outward["name"], outward["direction"]) = (json!("no-more"), json!("EGRESS"));
        rule(&served, outward);
        assert_eq!(live.echo("three"), "three", "nor do new denials end it");
        live.end();
        served.up.signal(nix::sys::signal::Signal::SIGTERM);
        served.up.wait();
    });
}

#[test]
fn a_service_account_is_what_a_rule_acts_at() {
    as_each_user(|home| {
        let mut served = lab(home);
        let tcp = json!([{ "IPProtocol": "tcp" }]);
        rule(&served, json!({ "name": "web", "allowed": tcp, "targetServiceAccounts": [WEB] }));
        assert!(connects(home));
        let vm = format!("{P}/zones/us-central1-a/instances/server");
        served.good("POST", &format!("{vm}/stop"), Value::Null);
        let status = home.run(&["status"]).exits(0);
        assert!(status.contains("\nstopped: server\n"), "{status}");
        let told = home.run(&["trace", "client", "server:7000"]).exits(1);
        assert!(told.contains("server is stopped") && told.contains("INSTANCE_NOT_RUNNING"), "{told}");
        let told = home.run(&["trace", "server", "client:7000"]).exits(1);
        assert!(told.contains("server is stopped") && told.contains("INSTANCE_NOT_RUNNING"), "{told}");
        assert!(told.contains("packets: 0 sent"), "{told}");
        let output = send(served.address, "GET", &format!("{vm}/serialPort"), &Value::Null);
        assert!(output.is_ok_and(|(status, _)| status == 400));
        served.good("POST", &format!("{vm}/setServiceAccount"), json!({ "email": "" }));
        served.good("POST", &format!("{vm}/start"), Value::Null);
        eventually("the server listens", || home.sh("server", "grep -q ':1B58 ' /proc/net/tcp").code == 0);
        assert!(!connects(home), "it is no longer what the rule is for");
        served.up.signal(nix::sys::signal::Signal::SIGTERM);
        served.up.wait();
    });
}
