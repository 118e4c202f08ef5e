use crate::{vm, vpc, with_details, with_metadata, world};
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use serde_json::json;
use tombolo_guest::dns::{Beyond, Transport, answer, answer_with, beyond};
use tombolo_guest::names;
use tombolo_model::{Change, ManagedZoneKey, ManagedZoneSpec, RecordSet, World};

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message
}

fn send(world: &World, network: u8, message: &Message) -> Message {
    let bytes = message.to_vec().expect("bytes");
    let answered = answer(world, &vpc(network), &bytes, Transport::Udp).expect("an answer");
    Message::from_vec(&answered).expect("a message")
}

/// The answer as `CODE value value`.
fn ask(world: &World, network: u8, name: &str, kind: RecordType) -> String {
    let answer = send(world, network, &query(name, kind));
    assert_eq!(answer.metadata.id, 4711);
    assert!(answer.metadata.recursion_available && answer.metadata.recursion_desired);
    let code = match answer.metadata.response_code {
        ResponseCode::NoError => "ok",
        ResponseCode::NXDomain => "none",
        ResponseCode::ServFail => "failed",
        other => panic!("{name}: {other}"),
    };
    let values = answer.answers.iter().map(|record| format!(" {}", record.data));
    let soa = answer.authorities.iter().map(|record| format!(" soa={}", record.name));
    values.chain(soa).fold(code.to_owned(), |text, value| text + &value)
}

#[test]
fn names_are_their_own_networks() {
    use RecordType::{A, AAAA, ANY, MX, PTR};
    let world = world();
    for (network, name, kind, want) in [
        (1, "vm-1.us-central1-a.c.project-1.internal.", A, "ok 10.1.0.2"),
        (1, "VM-1.us-central1-a.C.project-1.Internal.", A, "ok 10.1.0.2"),
        (1, "vm-b.us-central1-b.c.project-1.internal.", A, "ok 10.1.0.3"),
        (1, "vm-1.us-central1-a.c.project-1.internal.", ANY, "ok 10.1.0.2"),
        (1, "vm-1.us-central1-a.c.project-1.internal.", AAAA, "ok soa=internal."),
        (1, "vm-1.us-central1-a.c.project-1.internal.", MX, "ok soa=internal."),
        (1, "vm-b.us-central1-a.c.project-1.internal.", A, "none soa=internal."),
        (1, "vm-1.us-central1-a.c.project-2.internal.", A, "none soa=internal."),
        // Not of the peer's, though packets get there.
        (1, "vm-2.us-central1-a.c.project-1.internal.", A, "none soa=internal."),
        (2, "vm-2.us-central1-a.c.project-1.internal.", A, "ok 10.2.0.2"),
        (2, "vm-1.us-central1-a.c.project-1.internal.", A, "none soa=internal."),
        // By its first interface, in the network of that.
        (2, "router.us-central1-a.c.project-1.internal.", A, "ok 10.2.0.9"),
        (1, "router.us-central1-a.c.project-1.internal.", A, "none soa=internal."),
        // Names above others exist.
        (1, "us-central1-a.c.project-1.internal.", A, "ok soa=internal."),
        (1, "us-central1-f.c.project-1.internal.", A, "none soa=internal."),
        (1, "c.project-1.internal.", A, "ok soa=internal."),
        (1, "c.project-2.internal.", A, "none soa=internal."),
        (1, "metadata.google.internal.", A, "ok 169.254.169.254"),
        (1, "metadata.", A, "ok 169.254.169.254"),
        (1, "metadata.google.internal.", AAAA, "ok soa=internal."),
        (1, "2.0.1.10.in-addr.arpa.", PTR, "ok vm-1.us-central1-a.c.project-1.internal."),
        (1, "2.0.2.10.in-addr.arpa.", PTR, "none"),
        (1, "0.1.10.in-addr.arpa.", PTR, "none"),
        (1, "254.169.254.169.in-addr.arpa.", PTR, "ok metadata.google.internal."),
        // There is no internet.
        (1, "example.com.", A, "none"),
        (1, ".", A, "none"),
    ] {
        assert_eq!(ask(&world, network, name, kind), want, "{name} {kind} in vpc-{network}");
    }
}

#[test]
fn global_names_are_of_projects_that_have_them() {
    let name = "vm-1.c.project-1.internal.";
    let zonal = world();
    let key = vm("vm-1");
    assert_eq!(ask(&zonal, 1, name, RecordType::A), "none soa=internal.");
    let items = json!([{ "key": "VmDnsSetting", "value": "GlobalDefault" }]);
    let global = with_details(&zonal, "projects/project-1", json!({ "commonInstanceMetadata": items }));
    assert_eq!(ask(&global, 1, name, RecordType::A), "ok 10.1.0.2");
    assert_eq!(ask(&global, 2, name, RecordType::A), "none soa=internal.");
    assert_eq!(names::own(&global, &key, &global.instances[&key]), "vm-1.c.project-1.internal");
    assert_eq!(names::search(&global, &key, &global.instances[&key]), "c.project-1.internal google.internal");
    // What an instance says goes before.
    let own = with_metadata(&global, &[("VmDnsSetting", "ZonalOnly")]);
    assert_eq!(ask(&own, 1, name, RecordType::A), "none soa=internal.");
    assert_eq!(ask(&own, 1, "vm-b.c.project-1.internal.", RecordType::A), "ok 10.1.0.3");
    assert_eq!(
        names::search(&own, &key, &own.instances[&key]),
        "us-central1-a.c.project-1.internal c.project-1.internal google.internal"
    );
}

#[test]
fn messages_follow_the_protocol() {
    let world = world();
    let name = "vM-1.us-central1-a.c.project-1.internal.";
    let plain = query(name, RecordType::A);
    let answer_ = send(&world, 1, &plain);
    assert_eq!(answer_.edns, None);
    assert_eq!(answer_.queries, plain.queries);
    assert!(answer_.answers[0].name.eq_case(plain.queries[0].name()), "in the asker's own letters");
    let code = |change: &dyn Fn(&mut Message)| {
        let mut message = query(name, RecordType::A);
        change(&mut message);
        let answer = send(&world, 1, &message);
        // The number: BADVERS and BADSIG share one.
        (u16::from(answer.metadata.response_code), answer.edns.is_some())
    };
    let edns = |version| {
        let mut edns = Edns::new();
        edns.set_version(version);
        edns
    };
    assert_eq!(code(&|m| drop(m.set_edns(edns(0)).clone())), (0, true));
    assert_eq!(code(&|m| drop(m.set_edns(edns(1)).clone())), (16, true));
    assert_eq!(code(&|m| m.metadata.op_code = OpCode::Status), (4, false));
    assert_eq!(code(&|m| m.queries.clear()), (1, false));
    let chaos = |m: &mut Message| drop(m.queries[0].set_query_class(DNSClass::CH).clone());
    assert_eq!(code(&chaos), (5, false));

    let raw = |bytes: &[u8]| answer(&world, &vpc(1), bytes, Transport::Udp);
    assert_eq!(raw(b""), None);
    assert_eq!(raw(b"short"), None);
    assert_eq!(raw(&answer_.to_vec().expect("bytes")), None, "an answer is not answered");
    let bytes = plain.to_vec().expect("bytes");
    let cut = raw(&bytes[..bytes.len() - 3]).expect("an answer");
    let cut = Message::from_vec(&cut).expect("a message");
    assert_eq!((cut.metadata.id, cut.metadata.response_code), (4711, ResponseCode::FormErr));
    // Whatever comes, something sensible is done.
    let mut noise = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let mut bytes = bytes.clone();
        for _ in 0..noise.usize(1..8) {
            let at = noise.usize(..bytes.len());
            bytes[at] = noise.u8(..);
        }
        bytes.truncate(noise.usize(..=bytes.len()));
        let _ = raw(&bytes);
    }
}

/// The World with zones: `net` of example.com in vpc-1, `sub` below it, `out` in vpc-2 that peers with vpc-1.
fn zones() -> World {
    let key = |name: &str| ManagedZoneKey::new("project-1", name);
    let zone = |name: &str, dns_name: &str, network: u8, peering: Option<u8>| {
        Change::ManagedZoneInsert(ManagedZoneSpec {
            key: key(name),
            dns_name: dns_name.to_owned(),
            networks: [vpc(network)].into(),
            peering: peering.map(vpc),
        })
    };
    let record = |name: &str, r#type: &str, rrdatas: &[&str]| RecordSet {
        name: name.to_owned(),
        r#type: r#type.to_owned(),
        ttl: 60,
        rrdatas: rrdatas.iter().map(|text| (*text).to_owned()).collect(),
    };
    let add = |name: &str, additions: Vec<RecordSet>| Change::RecordSetsChange {
        zone: key(name),
        deletions: Vec::new(),
        additions,
    };
    let enable = Change::ServiceEnable { project: "project-1".into(), service: "dns.googleapis.com".into() };
    let many: Vec<String> = (0..60).map(|n| format!("10.9.0.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let changes = [
        enable,
        zone("net", "example.com.", 1, None),
        zone("sub", "deep.example.com.", 1, None),
        zone("out", "example.com.", 2, Some(1)),
        zone("names", "c.project-1.internal.", 2, Some(1)),
        add(
            "net",
            vec![
                record("www.example.com.", "A", &["10.9.0.1", "10.9.0.2"]),
                record("www.example.com.", "TXT", &["\"a b\" c"]),
                record("alias.example.com.", "CNAME", &["www.example.com."]),
                record("vm.example.com.", "CNAME", &["vm-1.us-central1-a.c.project-1.internal."]),
                record("gone.example.com.", "CNAME", &["nothing.example.com."]),
                record("far.example.com.", "CNAME", &["elsewhere.test."]),
                record("one.example.com.", "CNAME", &["two.example.com."]),
                record("two.example.com.", "CNAME", &["one.example.com."]),
                record("*.wild.example.com.", "A", &["10.9.1.1"]),
                record("a.b.wild.example.com.", "A", &["10.9.1.2"]),
                record("_redis._tcp.example.com.", "SRV", &["0 5 6379 www.example.com."]),
                record("example.com.", "MX", &["10 mail.example.com."]),
                record("many.example.com.", "A", &many),
            ],
        ),
        add("sub", vec![record("deep.example.com.", "A", &["10.9.2.1"])]),
    ];
    crate::with(&world(), &changes)
}

#[test]
fn private_zones_are_their_networks_own() {
    use RecordType::{A, AAAA, CNAME, MX, SRV, TXT};
    let world = zones();
    for (network, name, kind, want) in [
        (1, "www.example.com.", A, "ok 10.9.0.1 10.9.0.2"),
        (1, "WWW.example.COM.", A, "ok 10.9.0.1 10.9.0.2"),
        (1, "www.example.com.", AAAA, "ok soa=example.com."),
        (1, "www.example.com.", TXT, "ok a bc"),
        (1, "nothing.example.com.", A, "none soa=example.com."),
        (1, "example.com.", MX, "ok 10 mail.example.com."),
        (1, "_redis._tcp.example.com.", SRV, "ok 0 5 6379 www.example.com."),
        (1, "_tcp.example.com.", SRV, "ok soa=example.com."),
        (1, "alias.example.com.", A, "ok www.example.com. 10.9.0.1 10.9.0.2"),
        (1, "alias.example.com.", CNAME, "ok www.example.com."),
        (1, "alias.example.com.", AAAA, "ok www.example.com. soa=example.com."),
        (1, "vm.example.com.", A, "ok vm-1.us-central1-a.c.project-1.internal. 10.1.0.2"),
        (1, "gone.example.com.", A, "none nothing.example.com. soa=example.com."),
        (1, "one.example.com.", A, "failed"),
        (1, "x.wild.example.com.", A, "ok 10.9.1.1"),
        (1, "x.y.wild.example.com.", A, "ok 10.9.1.1"),
        (1, "wild.example.com.", A, "ok soa=example.com."),
        // b.wild is there, so that the wildcard is not for what is below it.
        (1, "x.b.wild.example.com.", A, "none soa=example.com."),
        // The longest zone is asked, and no other.
        (1, "deep.example.com.", A, "ok 10.9.2.1"),
        (1, "www.deep.example.com.", A, "none soa=deep.example.com."),
        (1, "example.org.", A, "none"),
        // A peering zone sees what its target sees, and of that only its own names.
        (2, "www.example.com.", A, "ok 10.9.0.1 10.9.0.2"),
        (2, "vm.example.com.", A, "ok vm-1.us-central1-a.c.project-1.internal. 10.1.0.2"),
        (2, "vm-1.us-central1-a.c.project-1.internal.", A, "ok 10.1.0.2"),
        (2, "vm-2.us-central1-a.c.project-1.internal.", A, "none soa=internal."),
    ] {
        assert_eq!(ask(&world, network, name, kind), want, "{name} {kind} in vpc-{network}");
    }
}

#[test]
fn an_answer_that_is_too_long_for_a_datagram_says_so() {
    let world = zones();
    let mut message = query("many.example.com.", RecordType::A);
    let short = send(&world, 1, &message);
    assert!(short.metadata.truncation && short.answers.is_empty());
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    message.set_edns(edns);
    let large = send(&world, 1, &message);
    assert!(!large.metadata.truncation);
    assert_eq!(large.answers.len(), 60);
    let bytes = query("many.example.com.", RecordType::A).to_vec().expect("bytes");
    let whole = answer(&world, &vpc(1), &bytes, Transport::Tcp).expect("an answer");
    assert_eq!(Message::from_vec(&whole).expect("a message").answers.len(), 60);
}

#[test]
fn what_nobody_here_has_may_be_known_beyond_the_lab() {
    use RecordType::{A, AAAA};
    let world = zones();
    let asked = |world: &World, name: &str| {
        let bytes = query(name, A).to_vec().expect("bytes");
        beyond(world, &vpc(1), &bytes)
    };
    assert_eq!(asked(&world, "elsewhere.test."), None, "the lab's internet is its own");
    let world = world.reaching_host(true);
    for (name, want) in [
        ("Elsewhere.test.", Some("elsewhere.test")),
        ("nas.", Some("nas")),
        ("far.example.com.", Some("elsewhere.test")),
        // Theirs are the lab's to know, or nobody's.
        ("vm-9.us-central1-a.c.project-1.internal.", None),
        ("internal.", None),
        ("many.example.com.", None),
        ("nothing.example.com.", None),
        ("1.2.0.192.in-addr.arpa.", None),
        ("192.0.2.1.", None),
        (".", None),
    ] {
        assert_eq!(asked(&world, name).as_deref(), want, "{name}");
    }
    let told = |name: &str, kind, known: Beyond| {
        let bytes = query(name, kind).to_vec().expect("bytes");
        let answer = answer_with(&world, &vpc(1), &bytes, Transport::Udp, &known).expect("an answer");
        let answer = Message::from_vec(&answer).expect("a message");
        let values = answer.answers.iter().map(|record| format!(" {} {}", record.name, record.data));
        assert!(!answer.metadata.authoritative || name.ends_with("example.com."));
        values.fold(format!("{:?}", answer.metadata.response_code), |text, value| text + &value)
    };
    let addresses = || Beyond::Addresses(vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()]);
    let name = "elsewhere.test.";
    assert_eq!(told(name, A, addresses()), "NoError elsewhere.test. 192.0.2.1 elsewhere.test. 192.0.2.2");
    assert_eq!(told(name, AAAA, addresses()), "NoError");
    let known = Beyond::Addresses(vec![[192, 0, 2, 1].into()]);
    let want = "NoError far.example.com. elsewhere.test. elsewhere.test. 192.0.2.1";
    assert_eq!(told("far.example.com.", A, known), want);
    assert_eq!(told(name, A, Beyond::Unknown), "NXDomain");
    assert_eq!(told(name, A, Beyond::Failed), "ServFail");
    // What the lab has itself is what it has.
    assert_eq!(told("nothing.example.com.", A, addresses()), "NXDomain");
}
