//! `tombolo-proxy-chaos`: see the library.

use std::process::ExitCode;

use clap::Parser;
use tombolo_proxy_chaos::{Format, Options, run};

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(report) => {
            match options.format {
                Format::Text => println!("{report}"),
                Format::Json => match serde_json::to_string_pretty(&report) {
                    Ok(text) => println!("{text}"),
                    Err(error) => eprintln!("tombolo-proxy-chaos: {error}"),
                },
            }
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("tombolo-proxy-chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}
