//! twemproxy's twelve hash functions, as its C code computes them on x86-64: where it adds a
//! `char`, the byte is sign-extended; where an intermediate overflows its name, it still counts.

use super::md5;

/// A hash function of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hash {
    /// Bob Jenkins' one_at_a_time.
    OneAtATime,
    /// The first word of MD5.
    Md5,
    /// CRC-16/CCITT, not cut to 16 bits.
    Crc16,
    /// Bits 16 to 30 of CRC-32, as libmemcached has it.
    Crc32,
    /// CRC-32.
    Crc32a,
    /// FNV-1 of 64 bits, its low half.
    Fnv164,
    /// twemproxy's default. Its name says 64 bits; it computes with the low halves of the constants.
    #[default]
    Fnv1a64,
    /// FNV-1 of 32 bits.
    Fnv132,
    /// FNV-1a of 32 bits.
    Fnv1a32,
    /// Paul Hsieh's SuperFastHash.
    Hsieh,
    /// MurmurHash2, seeded by the length.
    Murmur,
    /// Bob Jenkins' lookup3.
    Jenkins,
}

impl Hash {
    /// Every hash function.
    pub const ALL: [Hash; 12] = [
        Hash::OneAtATime,
        Hash::Md5,
        Hash::Crc16,
        Hash::Crc32,
        Hash::Crc32a,
        Hash::Fnv164,
        Hash::Fnv1a64,
        Hash::Fnv132,
        Hash::Fnv1a32,
        Hash::Hsieh,
        Hash::Murmur,
        Hash::Jenkins,
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Hash::OneAtATime => "one_at_a_time",
            Hash::Md5 => "md5",
            Hash::Crc16 => "crc16",
            Hash::Crc32 => "crc32",
            Hash::Crc32a => "crc32a",
            Hash::Fnv164 => "fnv1_64",
            Hash::Fnv1a64 => "fnv1a_64",
            Hash::Fnv132 => "fnv1_32",
            Hash::Fnv1a32 => "fnv1a_32",
            Hash::Hsieh => "hsieh",
            Hash::Murmur => "murmur",
            Hash::Jenkins => "jenkins",
        }
    }

    /// The hash of `key`, which is not empty.
    pub fn of(self, key: &[u8]) -> u32 {
        match self {
            Hash::OneAtATime => one_at_a_time(key),
            Hash::Md5 => md5::digest(key)[0],
            Hash::Crc16 => crc16(key),
            Hash::Crc32 => (crc32(key) >> 16) & 0x7fff,
            Hash::Crc32a => crc32(key),
            Hash::Fnv164 => fnv1_64(key),
            Hash::Fnv1a64 => fnv1a(key, 0x8422_2325, 0x1b3),
            Hash::Fnv132 => fnv1_32(key),
            Hash::Fnv1a32 => fnv1a(key, 0x811c_9dc5, 0x0100_0193),
            Hash::Hsieh => hsieh(key),
            Hash::Murmur => murmur(key),
            Hash::Jenkins => jenkins(key),
        }
    }
}

/// A `char` of C as a 32-bit word.
fn signed(byte: u8) -> u32 {
    i32::from(byte.cast_signed()).cast_unsigned()
}

fn one_at_a_time(key: &[u8]) -> u32 {
    let mut value = key.iter().fold(0_u32, |value, &byte| {
        let value = value.wrapping_add(signed(byte));
        let value = value.wrapping_add(value << 10);
        value ^ (value >> 6)
    });
    value = value.wrapping_add(value << 3);
    value ^= value >> 11;
    value.wrapping_add(value << 15)
}

fn crc16(key: &[u8]) -> u32 {
    key.iter().fold(0, |crc: u32, &byte| {
        let mut row = ((crc >> 8) ^ u32::from(byte)) & 0xff;
        row <<= 8;
        for _ in 0..8 {
            row = if row & 0x8000 != 0 { (row << 1) ^ 0x1021 } else { row << 1 };
        }
        (crc << 8) ^ (row & 0xffff)
    })
}

fn crc32(key: &[u8]) -> u32 {
    !key.iter().fold(u32::MAX, |crc, &byte| {
        let mut row = (crc ^ u32::from(byte)) & 0xff;
        for _ in 0..8 {
            row = if row & 1 != 0 { (row >> 1) ^ 0xedb8_8320 } else { row >> 1 };
        }
        (crc >> 8) ^ row
    })
}

fn fnv1_64(key: &[u8]) -> u32 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        hash.wrapping_mul(0x0100_0000_01b3) ^ i64::from(byte.cast_signed()).cast_unsigned()
    });
    hash as u32
}

fn fnv1_32(key: &[u8]) -> u32 {
    key.iter().fold(0x811c_9dc5, |hash: u32, &byte| hash.wrapping_mul(0x0100_0193) ^ signed(byte))
}

fn fnv1a(key: &[u8], start: u32, prime: u32) -> u32 {
    key.iter().fold(start, |hash, &byte| (hash ^ signed(byte)).wrapping_mul(prime))
}

fn hsieh(key: &[u8]) -> u32 {
    let pair = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]));
    let (words, rest) = key.as_chunks::<4>();
    let mut hash = 0_u32;
    for &[a, b, c, d] in words {
        hash = hash.wrapping_add(pair(a, b));
        hash = (hash << 16) ^ (pair(c, d) << 11) ^ hash;
        hash = hash.wrapping_add(hash >> 11);
    }
    match *rest {
        [a, b, c] => {
            hash = hash.wrapping_add(pair(a, b));
            hash ^= hash << 16;
            hash ^= signed(c) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [a, b] => {
            hash = hash.wrapping_add(pair(a, b));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [a] => {
            hash = hash.wrapping_add(u32::from(a));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}

fn murmur(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    let mut hash = 0xdead_beef_u32.wrapping_mul(length) ^ length;
    for &word in words {
        let mut mixed = u32::from_le_bytes(word).wrapping_mul(M);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(M) ^ mixed.wrapping_mul(M);
    }
    if !rest.is_empty() {
        hash = (hash ^ little_endian(rest)).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// Up to four bytes as a number.
fn little_endian(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, &byte| (number << 8) | u32::from(byte))
}

fn jenkins(key: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(key.len() as u32).wrapping_add(13);
    let mut state = [start; 3];
    let mut rest = key;
    while rest.len() > 12 {
        jenkins_add(&mut state, &rest[..12]);
        jenkins_mix(&mut state);
        rest = &rest[12..];
    }
    jenkins_add(&mut state, rest);
    jenkins_final(state)
}

fn jenkins_add(state: &mut [u32; 3], bytes: &[u8]) {
    for (word, part) in state.iter_mut().zip(bytes.chunks(4)) {
        *word = word.wrapping_add(little_endian(part));
    }
}

fn jenkins_mix([a, b, c]: &mut [u32; 3]) {
    let step = |x: &mut u32, y: &mut u32, z: &mut u32, turn: u32| {
        *x = x.wrapping_sub(*z) ^ z.rotate_left(turn);
        *z = z.wrapping_add(*y);
    };
    step(a, b, c, 4);
    step(b, c, a, 6);
    step(c, a, b, 8);
    step(a, b, c, 16);
    step(b, c, a, 19);
    step(c, a, b, 4);
}

fn jenkins_final([mut a, mut b, mut c]: [u32; 3]) -> u32 {
    let step = |x: u32, y: u32, turn: u32| (x ^ y).wrapping_sub(y.rotate_left(turn));
    c = step(c, b, 14);
    a = step(a, c, 11);
    b = step(b, a, 25);
    c = step(c, b, 16);
    a = step(a, c, 4);
    b = step(b, a, 14);
    step(c, b, 24)
}
