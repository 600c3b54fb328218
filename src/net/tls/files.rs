//! Certificates and keys in files, and what can be wrong with them.

use std::sync::Arc;

use rustls::{
    RootCertStore,
    crypto::ring::sign::any_supported_type,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::VerifierBuilderError,
    sign::CertifiedKey,
};

use super::trust::pin_of;
use crate::{
    config::Pin,
    net::files::{FileError, Source},
};

/// Larger files are none with certificates: the list that a system trusts has a quarter of a MiB.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why the files of TLS cannot be used: names the option, the file, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not what the option needs.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system's list of authorities is of no use.
    #[error(
        "the system has no certificates of authorities that can be read{0}: install ca-certificates, or \
         say whom to believe with --tls-ca FILE or --tls-pin"
    )]
    NoSystemRoots(String),
    /// The TLS library does not take what the files say.
    #[error("TLS cannot be set up: {0}")]
    Library(String),
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Library(error.to_string())
    }
}

impl From<VerifierBuilderError> for TlsError {
    fn from(error: VerifierBuilderError) -> Self {
        Self::Library(error.to_string())
    }
}

impl Source<'_> {
    fn pem(self) -> Result<Vec<u8>, FileError> {
        self.read(FILE_BYTES_MAX, "a file of certificates or keys")
    }

    fn fault(self, problem: impl Into<String>) -> TlsError {
        self.error(problem).into()
    }

    fn certificates(self, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            Ok(_) => Err(self.fault(if is_der(bytes) {
                "it is not PEM but looks like DER: convert it with `openssl x509 -inform der`"
                    .to_owned()
            } else if is_key(bytes) {
                "there is no certificate in it, but a private key: did the two options change places?"
                    .to_owned()
            } else {
                "there is no certificate in it, no -----BEGIN CERTIFICATE-----".to_owned()
            })),
            Err(error) => Err(self.fault(damaged(&error))),
        }
    }

    fn key(self, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
        // Both the encrypted PKCS#8 and OpenSSL's own old way have this word in clear.
        if contains(bytes, b"ENCRYPTED") {
            return Err(self.fault(
                "the key is encrypted, and nobody is there to type the password: decrypt it with \
                 `openssl pkey -in FILE -out NEW-FILE`",
            ));
        }
        PrivateKeyDer::from_pem_slice(bytes).map_err(|error| {
            self.fault(match error {
                pem::Error::NoItemsFound if is_der(bytes) => {
                    "it is not PEM but looks like DER: convert it with `openssl pkey -inform der`"
                        .to_owned()
                }
                pem::Error::NoItemsFound if contains(bytes, b"BEGIN CERTIFICATE") => {
                    "there is no private key in it, but a certificate: did the two options change places?"
                        .to_owned()
                }
                pem::Error::NoItemsFound => {
                    "there is no private key in it, no -----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or EC \
                     PRIVATE KEY"
                        .to_owned()
                }
                error => damaged(&error),
            })
        })
    }

    /// The authorities of a file, all of which must be right.
    pub(super) fn authorities(self) -> Result<RootCertStore, TlsError> {
        self.authorities_in(&self.pem()?)
    }

    pub(super) fn authorities_in(self, bytes: &[u8]) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for (place, certificate) in self.certificates(bytes)?.into_iter().enumerate() {
            roots.add(certificate).map_err(|error| {
                let number = place + 1;
                self.fault(format!("certificate {number} in it is damaged: {error}"))
            })?;
        }
        Ok(roots)
    }
}

/// A certificate with its chain and its key.
pub(super) fn identity(cert: Source<'_>, key: Source<'_>) -> Result<Arc<CertifiedKey>, TlsError> {
    identity_in((cert, &cert.pem()?), (key, &key.pem()?))
}

/// Of the bytes that stand in the files.
pub(super) fn identity_in(
    (cert, cert_bytes): (Source<'_>, &[u8]),
    (key, key_bytes): (Source<'_>, &[u8]),
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = cert.certificates(cert_bytes)?;
    let signing_key = any_supported_type(&key.key(key_bytes)?).map_err(|_| {
        key.fault(
            "this kind of key is not supported: RSA from 2048 bits on, ECDSA P-256 or P-384, or Ed25519 is",
        )
    })?;
    let spki = signing_key.public_key();
    for (place, certificate) in chain.iter().enumerate() {
        let of_certificate = pin_of(certificate).map_err(|error| {
            let number = place + 1;
            cert.fault(format!("certificate {number} in it is damaged: {error}"))
        })?;
        let is_its_key = match &spki {
            Some(spki) => Pin::of(spki.as_ref()) == of_certificate,
            None => place == 0,
        };
        match (place, is_its_key) {
            (0, true) => return Ok(Arc::new(CertifiedKey::new(chain, signing_key))),
            (_, true) => {
                let number = place + 1;
                return Err(cert.fault(format!(
                    "the certificate of the key is number {number} in it, and must be the first: put those of \
                     the authorities after it"
                )));
            }
            (_, false) => {}
        }
    }
    let path = key.path.display();
    Err(cert.fault(format!(
        "{} {path} does not belong to it: that is the key of another certificate",
        key.flag
    )))
}

fn damaged(error: &pem::Error) -> String {
    format!("it is damaged PEM: {error:?}")
}

fn is_der(bytes: &[u8]) -> bool {
    // A SEQUENCE of more than 127 bytes.
    bytes.starts_with(&[0x30, 0x82]) || bytes.starts_with(&[0x30, 0x81])
}

fn is_key(bytes: &[u8]) -> bool {
    contains(bytes, b"PRIVATE KEY-----")
}

fn contains(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}
