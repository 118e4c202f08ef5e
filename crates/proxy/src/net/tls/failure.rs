//! Why a TLS connection failed, in words that say what to look at.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// The words for an error of a TLS connection; `None` for one of the socket below it.
pub(in crate::net) fn explain(error: &io::Error) -> Option<String> {
    error.get_ref()?.downcast_ref::<Error>().map(words)
}

fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::NoCertificatesPresented => "the peer shows no certificate".to_string(),
        Error::AlertReceived(alert) => refused(*alert),
        Error::InvalidMessage(_) => "the peer does not speak TLS".to_string(),
        // What this proxy found itself.
        Error::General(text) => text.clone(),
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "the certificate is not signed by a CA that is trusted".to_string()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired".to_string()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet".to_string()
        }
        CertificateError::NotValidForName => "the certificate is for another name".to_string(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            match &presented[..] {
                [] => format!("the certificate is for no name at all, expected '{expected}'"),
                names => {
                    // rustls gives them as `DnsName("a.example")` and `IpAddress(10.0.0.1)`.
                    let bare = |name: &String| match name.split_once('(') {
                        Some((_, name)) => name.trim_end_matches(')').trim_matches('"').to_string(),
                        None => name.clone(),
                    };
                    let names: Vec<String> = names.iter().map(bare).collect();
                    format!("the certificate is for {}, expected '{expected}'", names.join(", "))
                }
            }
        }
        CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => {
            "the certificate is a certificate authority's (CA:TRUE); the peer needs one that is signed by it"
                .to_string()
        }
        other => format!("the certificate is of no use: {other}"),
    }
}

fn refused(alert: AlertDescription) -> String {
    let reason = match alert {
        AlertDescription::CertificateRequired => "it wants a certificate, and was shown none",
        AlertDescription::UnknownCA => {
            "the certificate that it was shown is not signed by a CA that it trusts"
        }
        AlertDescription::CertificateExpired => "the certificate that it was shown has expired",
        AlertDescription::BadCertificate => "it does not accept the certificate that it was shown",
        AlertDescription::HandshakeFailure => "no common parameters, or it wants a certificate",
        AlertDescription::ProtocolVersion => "no common version of TLS",
        other => return format!("the peer refused: {other:?}"),
    };
    format!("the peer refused: {reason}")
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn errors_say_what_to_look_at() {
        let wrong_name = |presented: &[&str]| {
            Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("10.0.0.3").expect("an address"),
                presented: presented.iter().map(ToString::to_string).collect(),
            })
        };
        for (error, expected) in [
            (
                wrong_name(&["DnsName(\"a.example\")", "IpAddress(10.0.0.1)"]),
                "the certificate is for a.example, 10.0.0.1, expected '10.0.0.3'",
            ),
            (wrong_name(&[]), "the certificate is for no name at all, expected '10.0.0.3'"),
            (Error::InvalidCertificate(CertificateError::Expired), "the certificate has expired"),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                "the peer refused: it wants a certificate, and was shown none",
            ),
            (Error::AlertReceived(AlertDescription::DecryptError), "the peer refused: DecryptError"),
        ] {
            assert_eq!(explain(&io::Error::other(error)).as_deref(), Some(expected));
        }
        assert_eq!(explain(&io::ErrorKind::ConnectionReset.into()), None);
    }
}
