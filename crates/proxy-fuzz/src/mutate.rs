//! Inputs from inputs: what is there, cut, doubled, joined and mixed with the words of its language.

use fastrand::Rng;

use crate::Target;

/// The longest input that is made.
pub const MAX_INPUT: usize = 16 << 10;

/// Numbers at the edges of what parsers accept.
const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "2",
    "15",
    "255",
    "65535",
    "65536",
    "1048576",
    "1048577",
    "536870912",
    "2147483648",
    "9223372036854775807",
    "99999999999999999999",
];

/// Input number `iteration` of the run `seed`: a pure function, so that a crash of the whole process
/// needs no trace but its number.
pub fn input(target: Target, seeds: &[Vec<u8>], seed: u64, iteration: u64) -> Vec<u8> {
    let mut dice = Rng::with_seed(seed ^ iteration.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let words = target.words();
    let mut data = match dice.u8(..4) {
        0 => fresh(&mut dice, words),
        1 if target == Target::Session => random(&mut dice, 2048),
        _ => dice.choice(seeds).cloned().unwrap_or_else(|| fresh(&mut dice, words)),
    };
    for _ in 0..dice.u32(..6) {
        mutate(&mut dice, words, seeds, &mut data);
    }
    data.truncate(MAX_INPUT);
    data
}

/// A sentence of words, behind a byte that most targets take for a setting.
fn fresh(dice: &mut Rng, words: &[&[u8]]) -> Vec<u8> {
    let mut data = vec![dice.u8(..)];
    for _ in 0..dice.u32(1..30) {
        data.extend_from_slice(dice.choice(words).copied().unwrap_or_default());
    }
    data
}

fn random(dice: &mut Rng, most: usize) -> Vec<u8> {
    (0..dice.usize(..=most)).map(|_| dice.u8(..)).collect()
}

fn mutate(dice: &mut Rng, words: &[&[u8]], seeds: &[Vec<u8>], data: &mut Vec<u8>) {
    let at = dice.usize(..=data.len());
    let end = at + dice.usize(..=(data.len() - at).min(64));
    match dice.u8(..10) {
        0 => data.truncate(at),
        1 => drop(data.drain(at..end)),
        2 => {
            let part = data[at..end].to_vec();
            insert(data, at, &part.repeat(dice.usize(1..8)));
        }
        3 => {
            let part = data[at..end].to_vec();
            let to = dice.usize(..=data.len());
            insert(data, to, &part);
        }
        4 if at < data.len() => data[at] ^= 1 << dice.u8(..8),
        5 if at < data.len() => data[at] = dice.u8(..),
        6 => {
            let bytes = random(dice, 16);
            insert(data, at, &bytes);
        }
        7 => {
            if let Some(number) = digits(data, at) {
                data.splice(number, dice.choice(NUMBERS).unwrap_or("0").bytes());
            }
        }
        8 => {
            if let Some(other) = dice.choice(seeds) {
                let from = dice.usize(..=other.len());
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
        }
        _ => insert(data, at, dice.choice(words).copied().unwrap_or_default()),
    }
}

fn insert(data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if data.len() + bytes.len() <= MAX_INPUT {
        data.splice(at..at, bytes.iter().copied());
    }
}

/// The first number from `at` on.
fn digits(data: &[u8], at: usize) -> Option<std::ops::Range<usize>> {
    let start = at + data[at..].iter().position(u8::is_ascii_digit)?;
    let length = data[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    Some(start..start + length)
}
