//! What has gone wrong in TLS, in words that tell a person what to do.

use jiff::Timestamp;
use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible,
    pki_types::UnixTime,
};

use crate::printable::Excerpt;

/// Names of a certificate that are shown; a stranger can put thousands into one.
const NAMES_MAX: usize = 5;

/// Which side we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// We dialed: the other one is the server.
    Client,
    Server,
}

/// What an error means; `first` is the first byte that the other side has sent.
pub(super) fn explain(error: &Error, side: Side, first: Option<u8>) -> String {
    match (error, side) {
        (Error::InvalidMessage(InvalidMessage::InvalidContentType), Side::Client)
            if first == Some(b'H') =>
        {
            "it answers in plain HTTP, without TLS: dial ws:// instead of wss://, or the port where TLS is \
             spoken"
                .to_owned()
        }
        (Error::InvalidMessage(InvalidMessage::InvalidContentType), _)
            if first.is_some_and(|first| !(0x14..=0x18).contains(&first)) =>
        {
            "what it sends is not TLS".to_owned()
        }
        (Error::InvalidCertificate(error), side) => of_certificate(error, side),
        (Error::NoCertificatesPresented, _) => {
            "it shows no certificate, and --tls-client-ca asks for one: a node shows that of its \
             --tls-client-cert"
                .to_owned()
        }
        (Error::AlertReceived(alert), side) => of_alert(*alert, side),
        (Error::NoApplicationProtocol, _) => {
            "it wants another protocol than HTTP/1.1, by which WebSocket begins (ALPN)".to_owned()
        }
        (Error::PeerIncompatible(what), _) => of_incompatible(what),
        (error, _) => format!("{error}"),
    }
}

fn of_certificate(error: &CertificateError, side: Side) -> String {
    let hint = |of_client: &str, of_server: &str| match side {
        Side::Client => of_client.to_owned(),
        Side::Server => of_server.to_owned(),
    };
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate has expired, at {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "its certificate is not valid before {} (is the clock of this machine right?)",
            date(*not_before)
        ),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            format!(
                "its certificate is not for {}, which was dialed, but for {}",
                expected.to_str(),
                Names(presented)
            )
        }
        CertificateError::UnknownIssuer => hint(
            "its certificate is of an issuer that is not trusted here: give the certificate of a private \
             authority with --tls-ca FILE, or the key itself with --tls-pin (a server that leaves out its \
             intermediate certificates looks the same)",
            "its certificate is of an issuer that is not in --tls-client-ca",
        ),
        CertificateError::Other(error) if format!("{error:?}").contains("CaUsedAsEndEntity") => {
            hint(
                "its certificate is that of an authority (CA:TRUE), which cannot be a server's own: make one \
             without, or trust its key with --tls-pin",
                "its certificate is that of an authority (CA:TRUE), which cannot be a client's own",
            )
        }
        CertificateError::Other(error) => error.0.to_string(),
        CertificateError::InvalidPurposeContext { .. } => hint(
            "its certificate is not for servers (extended key usage)",
            "its certificate is not for clients (extended key usage clientAuth)",
        ),
        CertificateError::BadEncoding => "its certificate cannot be read".to_owned(),
        CertificateError::Revoked => "its certificate has been revoked".to_owned(),
        error => format!("its certificate is wrong: {error}"),
    }
}

/// What the other side has said before it went.
fn of_alert(alert: AlertDescription, side: Side) -> String {
    use AlertDescription::*;
    let meaning = match (alert, side) {
        (UnknownCA | CertificateUnknown | BadCertificate, Side::Server) => {
            "it does not trust our certificate: does it know the authority, and is the name that it dials in \
             the certificate?"
        }
        (CertificateExpired, Side::Server) => {
            "for it our certificate has expired, or is not valid yet"
        }
        (CertificateRequired | NoCertificate | HandshakeFailure, Side::Client) => {
            "it asks for a certificate of ours (--tls-client-cert), or has nothing in common with us"
        }
        (UnknownCA | CertificateUnknown | BadCertificate | AccessDenied, Side::Client) => {
            "it does not trust our certificate (--tls-client-cert), or asks for one"
        }
        (CertificateExpired, Side::Client) => {
            "for it our certificate (--tls-client-cert) has expired, or is not valid yet"
        }
        (ProtocolVersion, _) => "it speaks no TLS 1.2 or 1.3",
        (UnrecognisedName, Side::Client) => "it does not know the name that was dialed",
        (NoApplicationProtocol, _) => "it does not speak HTTP/1.1 there (ALPN)",
        (InternalError, Side::Client) => "it can take nobody in now, or has failed",
        _ => "it has ended the handshake or the connection",
    };
    format!("{meaning} (alert {alert:?})")
}

fn of_incompatible(what: &PeerIncompatible) -> String {
    use PeerIncompatible::*;
    let meaning = match what {
        Tls12NotOffered
        | Tls12NotOfferedOrEnabled
        | Tls13RequiredForQuic
        | SupportedVersionsExtensionRequired
        | ServerDoesNotSupportTls12Or13
        | ServerTlsVersionIsDisabledByOurConfig => "it speaks no TLS 1.2 or 1.3",
        NoCipherSuitesInCommon | NoKxGroupsInCommon | NoSignatureSchemesInCommon => {
            "it knows none of the ciphers that are good enough here"
        }
        _ => "it speaks TLS in a way that is not supported here",
    };
    format!("{meaning} ({what:?})")
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok();
    let timestamp = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    timestamp.map_or_else(
        || "a time out of all bounds".to_owned(),
        |timestamp| timestamp.to_string(),
    )
}

/// The names in a certificate: `DnsName("a")` and the like, as the library says them.
struct Names<'a>(&'a [String]);

impl std::fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no name at all (subjectAltName)");
        }
        for (place, name) in self.0.iter().take(NAMES_MAX).enumerate() {
            let between = if place == 0 { "" } else { ", " };
            let inner = name
                .split_once('(')
                .and_then(|(_, inner)| inner.strip_suffix(')'));
            let name = inner.unwrap_or(name).trim_matches('"');
            write!(f, "{between}{}", Excerpt(name))?;
        }
        match self.0.len().saturating_sub(NAMES_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_people_write_them_and_no_more_than_some() {
        let names = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            Names(&names).to_string()
        };
        assert_eq!(names(&[]), "no name at all (subjectAltName)");
        assert_eq!(
            names(&["DnsName(\"a.example\")", "IpAddress(127.0.0.1)"]),
            "a.example, 127.0.0.1"
        );
        assert_eq!(names(&["DnsName(\"\u{1b}[2J\")"]), r"\u{1b}[2J");
        assert_eq!(names(&["DnsName(\"a\")"; 7]), "a, a, a, a, a and 2 more");
    }

    #[test]
    fn a_time_of_no_calendar_is_survived() {
        let since_epoch = std::time::Duration::from_secs;
        assert_eq!(
            date(UnixTime::since_unix_epoch(since_epoch(86_400))),
            "1970-01-02T00:00:00Z"
        );
        let never = date(UnixTime::since_unix_epoch(since_epoch(u64::MAX)));
        assert_eq!(never, "a time out of all bounds");
    }
}
