//! What a node is told about TLS: files and keys. Names them only; who opens the sockets reads them.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

use data_encoding::BASE64;

use super::{BindAddress, ConfigError};
use crate::printable::Printable;

/// How a node proves who it is in TLS, and whom it believes. All files are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// Certificate of the listeners with `wss://`, followed by its intermediates (`--tls-cert`).
    pub cert: Option<PathBuf>,
    /// Its private key: PKCS#8, PKCS#1 or SEC1 (`--tls-key`).
    pub key: Option<PathBuf>,
    /// Authorities of which every client of the listeners with `wss://` needs a certificate
    /// (`--tls-client-ca`). Default: clients need none.
    pub client_ca: Option<PathBuf>,
    /// Authorities that are believed of servers that are dialed, instead of those that the system
    /// trusts (`--tls-ca`).
    pub ca: Option<PathBuf>,
    /// Keys of servers (`--tls-pin`): one that is dialed must have one of them. Then neither who has
    /// issued its certificate nor its name nor its dates matter, unless [`Self::ca`] is given too: then
    /// both must be right.
    pub pins: Vec<Pin>,
    /// Certificate that is shown to a server that asks for one, with its intermediates
    /// (`--tls-client-cert`).
    pub client_cert: Option<PathBuf>,
    /// Its private key (`--tls-client-key`).
    pub client_key: Option<PathBuf>,
}

impl TlsConfig {
    /// Checks that what is given makes sense together, and with the addresses to listen on.
    pub(super) fn check<'a>(
        &self,
        binds: impl IntoIterator<Item = &'a BindAddress>,
    ) -> Result<(), ConfigError> {
        self.check_pairs()?;
        let encrypted = binds.into_iter().find(|bind| bind.is_tls());
        let for_listeners = [
            ("--tls-cert", &self.cert),
            ("--tls-client-ca", &self.client_ca),
        ];
        match encrypted {
            Some(bind) if self.cert.is_none() => {
                Err(ConfigError::TlsCertMissing { bind: bind.clone() })
            }
            Some(_) => Ok(()),
            None => match for_listeners.iter().find(|(_, file)| file.is_some()) {
                Some((flag, _)) => Err(ConfigError::TlsUnused { flag }),
                None => Ok(()),
            },
        }
    }

    /// Checks that every certificate has a key, and the reverse.
    pub(crate) fn check_pairs(&self) -> Result<(), ConfigError> {
        let pairs = [
            (("--tls-cert", &self.cert), ("--tls-key", &self.key)),
            (
                ("--tls-client-cert", &self.client_cert),
                ("--tls-client-key", &self.client_key),
            ),
        ];
        for (one, other) in pairs {
            for ((given, file), (missing, none)) in [(one, other), (other, one)] {
                if let (Some(file), None) = (file, none) {
                    return Err(ConfigError::TlsUnpaired {
                        given,
                        file: file.clone(),
                        missing,
                    });
                }
            }
        }
        Ok(())
    }
}

/// The public key of a server, by its hash: `sha256/` and in base64 the SHA-256 of the key as it stands
/// in a certificate (SubjectPublicKeyInfo, RFC 7469 §2.4).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl Pin {
    /// From the 32 bytes of the hash.
    pub fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

impl Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", BASE64.encode(&self.0))
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hash = text.strip_prefix("sha256/").and_then(|base64| {
            let bytes = BASE64.decode(base64.as_bytes()).ok()?;
            bytes.try_into().ok()
        });
        hash.map(Self).ok_or_else(|| PinError(text.to_owned()))
    }
}

/// A text that is no [`Pin`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no hash of a key: write sha256/ and 44 characters of base64, as a node with --tls-cert \
     says them when it starts",
    Printable(.0)
)]
pub struct PinError(String);

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_pin_is_shown_as_it_is_written() {
        let pin: Pin = PIN.parse().unwrap();
        assert_eq!(pin, Pin::new(std::array::from_fn(|place| place as u8)));
        assert_eq!(pin.to_string(), PIN);
        let bare = PIN.strip_prefix("sha256/").unwrap();
        let unpadded = PIN.trim_end_matches('=');
        for text in [
            "",
            "sha256/",
            "sha1/AAEC",
            bare,
            unpadded,
            "sha256/AAECAw==",
        ] {
            let error = text.parse::<Pin>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{text}` is no hash")),
                "{error}"
            );
        }
    }

    #[test]
    fn what_belongs_together_is_given_together() {
        let file = || Some(PathBuf::from("a.pem"));
        let config = |change: fn(&mut TlsConfig, Option<PathBuf>)| {
            let mut config = TlsConfig::default();
            change(&mut config, file());
            config
        };
        let plain: Vec<BindAddress> = vec!["a:1".parse().unwrap()];
        let both = vec!["a:1".parse().unwrap(), "wss://a:2".parse().unwrap()];
        let error = |config: &TlsConfig, binds: &[BindAddress]| {
            config.check(binds).unwrap_err().to_string()
        };
        for (config, expected) in [
            (
                config(|tls, file| tls.cert = file),
                "--tls-cert a.pem without --tls-key: ",
            ),
            (
                config(|tls, file| tls.key = file),
                "--tls-key a.pem without --tls-cert: ",
            ),
            (
                config(|tls, file| tls.client_cert = file),
                "--tls-client-cert a.pem without --tls-client-key: ",
            ),
            (
                config(|tls, file| tls.client_key = file),
                "--tls-client-key a.pem without --tls-client-cert: ",
            ),
        ] {
            assert!(error(&config, &both).starts_with(expected));
            assert!(error(&config, &plain).starts_with(expected));
        }
        let none = TlsConfig::default();
        assert_eq!(none.check(&plain), Ok(()));
        assert!(error(&none, &both).starts_with("--bind wss://a:2 without --tls-cert: "));
        let certified = config(|tls, file| (tls.cert, tls.key) = (file.clone(), file));
        assert_eq!(certified.check(&both), Ok(()));
        assert!(error(&certified, &plain).starts_with("--tls-cert without --bind wss://"));
        let asking = config(|tls, file| tls.client_ca = file);
        assert!(error(&asking, &plain).starts_with("--tls-client-ca without --bind wss://"));
        assert!(error(&asking, &both).starts_with("--bind wss://a:2 without --tls-cert: "));
        // Others may tell of nodes with TLS, so these need no URL.
        let dialing = config(|tls, file| tls.ca = file);
        assert_eq!(dialing.check(&plain), Ok(()));
    }
}
