//! An end of a stream, for the benchmark: a program of its own, that is small enough to be put into VMs.

use anyhow::{Result, bail};
use std::net::TcpListener;
use std::time::Duration;
use tombolo_bench_fabric::traffic::{connecting, load, serve};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", at] => serve(&TcpListener::bind(at)?),
        ["load", to, millis] => {
            let load = load(to.parse()?, Duration::from_millis(millis.parse()?))?;
            println!("{}", serde_json::to_string(&load)?);
        }
        ["connect", to, _] => println!("{:.3}", connecting(to.parse()?)?),
        _ => bail!("serve ADDRESS:PORT, load ADDRESS:PORT MILLISECONDS or connect ADDRESS:PORT MILLISECONDS"),
    }
    Ok(())
}
