//! `tombolo fault`: what it takes from packets, and that nothing else is taken.

use crate::support::{Home, as_each_user};

/// How many of so many pings, with so many bytes each, were answered.
fn answered(home: &Home, from: &str, to: &str, count: u32, bytes: u32) -> u32 {
    let (count, bytes) = (count.to_string(), bytes.to_string());
    let words = ["exec", from, "--", "ping", "-n", "-q", "-i0.002", "-W1", "-c", &count, "-s", &bytes, to];
    let said = home.run(&words).out;
    let number = said.split(" received").next().and_then(|before| before.rsplit(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn faults_take_packets_and_are_told() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let fault = |words: &[&str]| home.run(&[&["fault"], words].concat());
        assert_eq!(fault(&["list"]).exits(0), "");

        assert_eq!(fault(&["add", "vm-2", "--cut"]).exits(0), "vm-2 nic0: cut\n");
        assert_eq!(answered(home, "vm-1", "10.2.0.2", 2, 56), 0);
        assert_eq!(answered(home, "vm-1", "10.2.0.3", 2, 56), 2, "nobody else's");
        let traced = home.run(&["trace", "vm-1", "vm-2"]).exits(1);
        assert!(traced.contains("3 sent, 0 delivered\n fault  vm-2 nic0                    cut"), "{traced}");
        assert!(!home.run(&["trace", "vm-1", "10.2.0.3"]).exits(0).contains("\n fault"));

        // Of 200 packets, each way: neither all nor none, but for one run in 10^13.
        assert_eq!(
            fault(&["add", "vm-2", "--loss", "10%"]).exits(0),
            "vm-2 nic0: 10 % of packets are lost\n"
        );
        let lossy = answered(home, "vm-1", "10.2.0.2", 200, 56);
        assert!((1..200).contains(&lossy), "{lossy} of 200");

        // 1.6 MB at once, where 256 KiB may come at once and nearly nothing afterwards.
        fault(&["remove", "vm-2"]).exits(0);
        let slow = ["add", "--peering", "vpc-2-to-vpc-1", "--bandwidth", "8kbit"];
        assert_eq!(fault(&slow).exits(0), "vpc-1 – vpc-2: at most 8 kbit/s\n");
        let passed = answered(home, "vm-1", "10.2.0.2", 200, 8000);
        assert!((1..100).contains(&passed), "{passed} of 200");
        assert_eq!(answered(home, "redis-proxy", "10.2.0.2", 200, 8000), 200, "not within a network");

        let status = home.run(&["status", "--format", "json"]).json(0);
        assert_eq!(status["faults"][0]["bitsPerSecond"], 8000);
        fault(&["remove", "--all"]).exits(0);
        assert_eq!(answered(home, "vm-1", "10.2.0.2", 200, 8000), 200);
        home.down();
    });
}

#[test]
fn faults_that_make_no_sense_are_refused() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        for (words, part) in [
            (&["add", "vm-9", "--cut"][..], "there is no instance or redis instance 'vm-9'"),
            (&["add", "vm-1", "-i", "nic2", "--cut"], "vm-1 has no nic2 (it has: nic0)"),
            (&["add", "vm-1", "--loss", "101"], "expected 0.0001% to 99.9999%"),
            (&["add", "vm-1", "--bandwidth", "10"], "expected 8kbit to 1000gbit"),
            (&["add", "vm-1"], "required"),
            (&["add", "--cut"], "where?"),
            (&["add", "--peering", "nobody", "--cut"], "there is no peering 'nobody'"),
            (&["remove", "vm-1"], "there is no fault at vm-1 nic0"),
        ] {
            let said = home.run(&[&["fault"], words].concat()).refusal();
            assert!(said.contains(part), "{words:?}: {said}");
        }
        home.down();
    });
}

/// The least round-trip time of some pings, in milliseconds, and the numbers of the answers as they came.
fn round_trips(home: &Home, args: &str) -> (f64, Vec<u32>) {
    let said = home.sh("vm-1", &format!("ping -n -W 5 {args}")).out;
    let after = |line: &str, key: &str| {
        let (_, rest) = line.split_once(key)?;
        rest.split(' ').next()?.parse::<f64>().ok()
    };
    let least = said.lines().filter_map(|line| after(line, "time=")).fold(f64::MAX, f64::min);
    (least, said.lines().filter_map(|line| after(line, "icmp_seq=")).map(|number| number as u32).collect())
}

#[test]
fn packets_that_pass_are_late_and_in_order() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let fault = |words: &[&str]| home.run(&[&["fault"], words].concat());
        let all: Vec<u32> = (1..=60).collect();
        assert_eq!(
            fault(&["add", "vm-2", "--latency", "15ms", "--jitter", "10ms"]).exits(0),
            "vm-2 nic0: 15 ± 10 ms late\n"
        );
        let (least, numbers) = round_trips(home, "-c 60 -i 0.004 10.2.0.2");
        // Each way 5 ms at least.
        assert!(least >= 10.0, "{least} ms");
        assert_eq!(numbers, all);
        // Both faults on the way add up; the peering's is everybody's.
        fault(&["add", "--peering", "vpc-1-to-vpc-2", "--latency", "20ms"]).exits(0);
        assert!(round_trips(home, "-c 4 -i 0.2 10.2.0.2").0 >= 50.0);
        let (least, numbers) = round_trips(home, "-c 4 -i 0.2 10.2.0.3");
        assert!(least >= 40.0, "{least} ms");
        assert_eq!(numbers, [1, 2, 3, 4]);
        let told = home.run(&["trace", "vm-1", "vm-2"]).exits(0);
        assert!(told.contains("packets: 3 sent, 3 delivered"), "{told}");
        // What the gates drop is not let in by being late.
        assert_eq!(home.sh("vm-2", "ping -n -c1 -W1 10.1.0.2").code, 1);
        let status = home.run(&["status", "--format", "json"]).json(0);
        let late: Vec<_> = status["faults"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (&it["latencyMs"], &it["jitterMs"]))
            .collect();
        assert!(late.iter().any(|(latency, jitter)| **latency == 15.0 && **jitter == 10.0), "{late:?}");
        fault(&["remove", "--all"]).exits(0);
        assert_eq!(round_trips(home, "-c 60 -i 0.004 10.2.0.2").1, all);
        home.down();
    });
}
