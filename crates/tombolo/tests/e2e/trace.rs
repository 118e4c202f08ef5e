//! `tombolo trace`: the reason, and the packets beside it.

use crate::support::as_each_user;

#[test]
fn trace_gives_the_reason_and_the_packets() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let far = home.run(&["trace", "vm-1", "redis-1:6379"]).exits(1);
        for part in [
            "UNREACHABLE  vm-1 (10.1.0.2, vpc-1)",
            "-> redis-1 (10.34.175.91, Google-managed) tcp/6379",
            "PRIVATE_TRAFFIC_TO_INTERNET",
            "3 sent, 0 delivered",
        ] {
            assert!(far.contains(part), "{part} is not in\n{far}");
        }
        assert!(far.lines().all(|line| line.chars().count() <= 80), "{far}");

        let near = home.run(&["trace", "vm-2", "redis-1"]).exits(0);
        assert!(near.starts_with("REACHABLE"), "{near}");
        assert!(near.contains("3 sent, 3 delivered"), "{near}");
        let by_address = home.run(&["trace", "vm-2", "10.34.175.91", "--protocol", "tcp", "--port", "6379"]);
        assert_eq!(by_address.exits(0), near);

        let json = home.run(&["trace", "vm-1", "redis-1", "--format", "json"]).json(1);
        assert_eq!(
            (&json["result"], &json["cause"]),
            (&"UNREACHABLE".into(), &"PRIVATE_TRAFFIC_TO_INTERNET".into())
        );
        assert_eq!((&json["packets"]["sent"], &json["packets"]["delivered"]), (&3.into(), &0.into()));
        assert!(!json["fixes"].as_array().unwrap().is_empty(), "{json:#}");
        let json = home.run(&["trace", "vm-1", "vm-2", "--no-packets", "--format", "json"]).json(0);
        assert_eq!((&json["result"], &json["packets"]), (&"REACHABLE".into(), &serde_json::Value::Null));
        assert_eq!(json["steps"][0]["state"], "START_FROM_INSTANCE");

        home.run(&["trace", "iap", "vm-1:22"]).exits(0);
        home.run(&["trace", "iap", "vm-1:23"]).exits(1);

        let bad = |args: &[&str]| home.run(&[&["trace"], args].concat()).refusal();
        assert!(bad(&["vm-1", "nobody"]).contains("'nobody' is neither an address nor an instance"));
        assert!(bad(&["nobody", "vm-1"]).contains("there is no instance 'nobody'"));
        assert!(bad(&["vm-1", "vm-2:99999"]).contains("not a port"));
        assert!(bad(&["vm-1", "vm-2", "--protocol", "udp"]).contains("needs a port"));
        home.down();
    });
}
