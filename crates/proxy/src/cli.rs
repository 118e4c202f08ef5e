//! The command line: nutcracker's flags. Those that this version does not implement are refused.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

/// A Redis proxy, configured like twemproxy (nutcracker).
#[derive(Debug, Parser)]
#[command(name = "tombolo-proxy", version, disable_help_flag = true)]
pub struct Args {
    /// Show this help
    #[arg(short = 'h', long = "help", short_alias = '?', action = ArgAction::Help)]
    help: Option<bool>,
    /// Check the configuration and exit
    #[arg(short = 't', long)]
    pub test_conf: bool,
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = "/etc/nutcracker/nutcracker.yml")]
    pub conf_file: PathBuf,
    /// How much to log, from 0 to 11
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=11))]
    pub verbose: u8,
    /// Log to this file instead of standard error; SIGHUP opens it anew
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write the process id to this file; it is removed at the end
    #[arg(short, long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Accepted for nutcracker's sake and without effect: buffers have the size of what is in them
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(512..=16777216))]
    pub mbuf_size: Option<u32>,
    /// Not supported yet
    #[arg(short, long, hide = true)]
    pub daemonize: bool,
    /// Not supported yet
    #[arg(short = 'D', long, hide = true)]
    pub describe_stats: bool,
    /// Not supported yet
    #[arg(short, long, value_name = "PORT", hide = true)]
    pub stats_port: Option<u16>,
    /// Not supported yet
    #[arg(short = 'a', long, value_name = "ADDRESS", hide = true)]
    pub stats_addr: Option<String>,
    /// Not supported yet
    #[arg(short = 'i', long, value_name = "MS", hide = true)]
    pub stats_interval: Option<u32>,
}

impl Args {
    /// Why these flags can not be honoured, if they can not.
    pub fn unsupported(&self) -> Option<&'static str> {
        match self {
            Args { daemonize: true, .. } => {
                Some("-d, --daemonize is not supported yet: run it under a service manager")
            }
            Args { describe_stats: true, .. } => Some("-D, --describe-stats is not supported yet"),
            Args { stats_port: Some(_), .. } => Some("-s, --stats-port is not supported yet"),
            Args { stats_addr: Some(_), .. } => Some("-a, --stats-addr is not supported yet"),
            Args { stats_interval: Some(_), .. } => Some("-i, --stats-interval is not supported yet"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsupported(args: &[&str]) -> Option<&'static str> {
        let all = std::iter::once("tombolo-proxy").chain(args.iter().copied());
        Args::try_parse_from(all).expect("flags of nutcracker").unsupported()
    }

    #[test]
    fn nutcrackers_flags() {
        for args in [
            ["-c", "a.yml"].as_slice(),
            &["--conf-file=a.yml", "-t", "-v", "11", "-o", "log", "-p", "pid", "-m", "16384"],
            &["--test-conf", "--verbose=6", "--output=log", "--pid-file=pid", "--mbuf-size=512"],
        ] {
            assert_eq!(unsupported(args), None, "{args:?}");
        }
        for args in [
            ["-d"].as_slice(),
            &["-D"],
            &["-s", "22222"],
            &["--stats-port=1"],
            &["-a", "0.0.0.0"],
            &["-i", "30000"],
        ] {
            assert!(unsupported(args).is_some_and(|reason| reason.contains("not supported yet")), "{args:?}");
        }
    }
}
