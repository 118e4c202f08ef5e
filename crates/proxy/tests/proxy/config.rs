//! The command line and the configuration, as an operator meets them.

use std::process::Output;

use crate::common::proxy_command;

fn run(text: &str, args: &[&str]) -> (Output, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("nutcracker.yaml"), text).expect("a configuration");
    let output = proxy_command()
        .args(["-c", "nutcracker.yaml"])
        .args(args)
        .current_dir(dir.path())
        .output()
        .expect("tombolo-proxy");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, stderr)
}

const GOOD: &str = "redis-1:\n  listen: 0.0.0.0:6379\n  redis: true\n  servers:\n   - 10.34.175.91:6379:1\n";

#[test]
fn a_good_file_is_good() {
    let (output, stderr) = run(GOOD, &["--test-conf"]);
    assert!(output.status.success(), "{stderr}");
}

#[test]
fn a_bad_file_is_refused_with_the_place() {
    let cases = [
        (
            GOOD.replace("listen:", "lisen:"),
            "nutcracker.yaml:2: pool 'redis-1', key 'lisen': unknown key: a value; expected one of ",
        ),
        (
            GOOD.replace("0.0.0.0:6379", "0.0.0.0"),
            "nutcracker.yaml:2: pool 'redis-1', key 'listen': bad value: '0.0.0.0'; expected host:port",
        ),
        (
            GOOD.replace(":6379:1", ":6379"),
            "nutcracker.yaml:5: pool 'redis-1', key 'servers': bad value: '10.34.175.91:6379'; expected host:port:weight",
        ),
        (
            GOOD.replace("redis: true", "redis: 1"),
            "nutcracker.yaml:3: pool 'redis-1', key 'redis': bad value: '1'; expected 'true' or 'false'",
        ),
        (
            format!("{GOOD}  reuseport: 1\n"),
            "nutcracker.yaml:6: pool 'redis-1', key 'reuseport': bad value: '1'",
        ),
        (format!("{GOOD}  timeout: 400\n  timeout: 300\n"), "nutcracker.yaml:"),
    ];
    for (text, expected) in cases {
        for args in [["-t"].as_slice(), &[]] {
            let (output, stderr) = run(&text, args);
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(stderr.contains(expected), "{text}\n{stderr}\nexpected {expected}");
        }
    }
}

#[test]
fn a_file_is_not_called_good_that_can_not_be_listened_for() {
    for (listen, expected) in [
        ("nosuch.invalid:6379", "expected an address, or a name that has one: "),
        (&format!("/tmp/{}", "x".repeat(103)), "a path of at most 107 bytes"),
    ] {
        let (output, stderr) = run(&GOOD.replace("0.0.0.0:6379", listen), &["-t"]);
        assert_eq!(output.status.code(), Some(1), "{listen}");
        let place = format!("nutcracker.yaml:2: pool 'redis-1', key 'listen': bad value: '{listen}'; ");
        assert!(stderr.contains(&place) && stderr.contains(expected), "{stderr}");
    }
    let (output, stderr) = run(&GOOD.replace("0.0.0.0:6379", "localhost:6379"), &["-t"]);
    assert!(output.status.success(), "{stderr}");
}

#[test]
fn a_missing_file_an_address_in_use_and_the_version() {
    let (output, stderr) = run(GOOD, &["-V"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("tombolo-proxy "), "{stderr}");

    let (output, stderr) = run(GOOD, &["--nonsense"]);
    assert_eq!(output.status.code(), Some(1), "{stderr}");

    let output = proxy_command().args(["-c", "/nonexistent.yml"]).output().expect("tombolo-proxy");
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent.yml: "));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (output, stderr) = run(&GOOD.replace("0.0.0.0:6379", &address), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains(&format!("pool 'redis-1': can not listen on {address}: ")), "{stderr}");
    assert_eq!(stderr.matches("os error").count(), 1, "{stderr}");
}
