//! The values of records, as zone files and Cloud DNS have them.
//!
//! Source: RFC 1035, section 5.1; Google's documentation of DNS records ("Supported DNS record types").

use hickory_proto::rr::{RData, RecordType};
use std::str::FromStr;

/// The longest string in a TXT record. Source: RFC 1035, section 3.3.
const LONGEST_STRING: usize = 255;

/// The value of a record of this type, or why it is none.
pub fn parse(r#type: &str, text: &str) -> Result<RData, String> {
    let kind = RecordType::from_str(r#type).map_err(|_| format!("'{}' is no record type.", r#type))?;
    if text.contains(['\n', '\r']) {
        return Err("A value has one line.".into());
    }
    let data = RData::try_from_str(kind, text).map_err(|error| format!("{error}."))?;
    let named = match &data {
        RData::CNAME(name) => Some(&name.0),
        RData::NS(name) => Some(&name.0),
        RData::PTR(name) => Some(&name.0),
        RData::MX(mx) => Some(&mx.exchange),
        RData::SRV(srv) => Some(&srv.target),
        _ => None,
    };
    if named.is_some_and(|name| !name.is_fqdn()) {
        return Err("The name must end with a dot.".into());
    }
    if let RData::TXT(txt) = &data
        && txt.txt_data.iter().any(|string| string.len() > LONGEST_STRING)
    {
        return Err(format!("A string has at most {LONGEST_STRING} bytes."));
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_as_in_zone_files() {
        for (r#type, text, good) in [
            ("A", "10.0.0.1", true),
            ("A", "10.0.0", false),
            ("A", "fd00::1", false),
            ("AAAA", "fd00::1", true),
            ("CNAME", "a.example.com.", true),
            ("CNAME", "a.example.com", false),
            ("MX", "10 mail.example.com.", true),
            ("MX", "mail.example.com.", false),
            ("SRV", "0 5 6379 redis.example.com.", true),
            ("SRV", "0 5 redis.example.com.", false),
            ("TXT", "\"a b\" c", true),
            ("TXT", &"x".repeat(256), false),
            ("TXT", "a\nb", false),
            ("NOTHING", "x", false),
        ] {
            assert_eq!(parse(r#type, text).is_ok(), good, "{type} {text}: {:?}", parse(r#type, text), type = r#type);
        }
    }
}
