//! What is measured: an operation, a size of values, a number of clients, a pipeline's depth.
//!
//! In text: `get/64/50x16`, `set/16384/500x1`, `mget/64/50x1`, `idle/10000`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};

/// Keys of one MGET, and keys there are at all.
pub const KEYS: usize = 100;
/// A point at which more bytes may be under way is left out of `all`: it measures the memory.
const MAX_UNDER_WAY: usize = 1 << 30;

/// What clients ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// GET of a key that exists.
    Get,
    /// SET of a key that exists.
    Set,
    /// MGET of 100 keys that are on four servers.
    Mget,
    /// One GET each, and silence from then on.
    Idle,
}

/// A point of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The operation.
    pub op: Op,
    /// The length of every value.
    pub bytes: usize,
    /// Clients, each with a connection of its own.
    pub clients: usize,
    /// Requests that a client sends at once, before it waits for their replies.
    pub pipeline: usize,
}

impl Point {
    /// Servers behind the proxy.
    pub fn servers(self) -> usize {
        if self.op == Op::Mget { 4 } else { 1 }
    }

    /// How many requests make a run of a second or two, or of the time that is the limit; `scale` is for more or fewer of them.
    pub fn requests(self, scale: f64) -> u64 {
        let base = match (self.op, self.pipeline, self.clients) {
            (Op::Idle, ..) => return self.clients as u64,
            (Op::Mget, ..) => 20_000,
            (_, 1, 1) => 20_000,
            (_, _, 1) if self.bytes > 1024 => 40_000,
            (_, _, 1) => 300_000,
            _ if self.bytes > 1024 => 40_000,
            (_, 1, _) => 100_000,
            (_, 2..50, _) => 1_000_000,
            _ => 3_000_000,
        };
        let least = self.clients * self.pipeline * 2;
        ((f64::from(base) * scale) as u64).max(least as u64)
    }

    /// The points of the table in the README.
    pub fn main() -> Vec<Point> {
        let texts = [
            "get/64/1x1",
            "get/64/50x1",
            "get/64/500x1",
            "get/64/5000x1",
            "get/64/50x16",
            "get/64/500x16",
            "get/64/50x100",
            "get/64/500x100",
            "set/64/50x1",
            "get/16384/50x1",
            "mget/64/50x1",
            "idle/10000",
        ];
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// The whole matrix.
    pub fn all() -> Vec<Point> {
        let mut all = Vec::new();
        for op in [Op::Get, Op::Set] {
            for bytes in [64, 16384] {
                for clients in [1, 50, 500, 5000] {
                    all.extend([1, 16, 100].map(|pipeline| Point { op, bytes, clients, pipeline }));
                }
            }
        }
        all.retain(|point| point.bytes * point.clients * point.pipeline <= MAX_UNDER_WAY);
        all.extend(Point::main().into_iter().filter(|point| matches!(point.op, Op::Mget | Op::Idle)));
        all
    }

    /// What `--quick` looks at.
    pub fn quick() -> Vec<Point> {
        ["get/64/20x1", "set/64/20x16", "idle/200"].iter().filter_map(|text| text.parse().ok()).collect()
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Point { bytes, clients, pipeline, .. } = self;
        match self.op {
            Op::Get => write!(f, "get/{bytes}/{clients}x{pipeline}"),
            Op::Set => write!(f, "set/{bytes}/{clients}x{pipeline}"),
            Op::Mget => write!(f, "mget/{bytes}/{clients}x{pipeline}"),
            Op::Idle => write!(f, "idle/{clients}"),
        }
    }
}

impl FromStr for Point {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Point> {
        let expected = || format!("'{text}' is no point; one is 'get/64/50x16' or 'idle/10000'");
        let number = |text: &str| -> anyhow::Result<usize> {
            let number = text.parse().with_context(expected)?;
            if (1..=100_000).contains(&number) { Ok(number) } else { bail!(expected()) }
        };
        let parts: Vec<&str> = text.split('/').collect();
        let (op, bytes, shape) = match parts[..] {
            ["get", bytes, shape] => (Op::Get, bytes, shape),
            ["set", bytes, shape] => (Op::Set, bytes, shape),
            ["mget", bytes, shape] => (Op::Mget, bytes, shape),
            ["idle", clients] => {
                return Ok(Point { op: Op::Idle, bytes: 64, clients: number(clients)?, pipeline: 1 });
            }
            _ => bail!(expected()),
        };
        let (clients, pipeline) = shape.split_once('x').with_context(expected)?;
        let (clients, pipeline) = (number(clients)?, number(pipeline)?);
        Ok(Point { op, bytes: number(bytes)?, clients, pipeline })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_have_a_text_form() {
        assert_eq!(Point::main().len(), 12);
        assert_eq!(Point::quick().len(), 3);
        for point in Point::all().into_iter().chain(Point::main()).chain(Point::quick()) {
            assert_eq!(point.to_string().parse::<Point>().ok(), Some(point), "{point}");
        }
        for text in ["", "get", "get/64", "get/64/50", "get/0/50x1", "del/64/50x1", "idle/x", "get/64/1x1/1"]
        {
            assert!(text.parse::<Point>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_client_has_its_pipeline_twice() {
        for point in Point::all().into_iter().filter(|point| point.op != Op::Idle) {
            assert!(point.requests(0.0) >= 2 * (point.clients * point.pipeline) as u64, "{point}");
        }
    }
}
