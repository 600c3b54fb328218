//! Options of TLS.

use std::path::PathBuf;

use clap::Args;
use wsmesh::config::{Pin, TlsConfig};

use super::typed::typed;

#[derive(Debug, Args)]
pub(super) struct TlsOptions {
    /// Certificate for --bind wss://…, with its chain (PEM)
    ///
    /// The node's own certificate first, then those of the authorities between it and the one that
    /// clients trust. Read again on SIGHUP, as all files of TLS are: connections stay, and if
    /// something is wrong with the new ones, an error is logged and the old ones stay in force.
    #[arg(long, env = "WSMESH_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// Private key of --tls-cert (PEM)
    ///
    /// PKCS#8, PKCS#1 or SEC1, not encrypted; RSA from 2048 bits on, ECDSA P-256 or P-384, or Ed25519.
    #[arg(long, env = "WSMESH_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// Ask every client for a certificate of these authorities (PEM)
    ///
    /// On all addresses with wss://. A client without one is not let in, not even for /healthz.
    #[arg(long, env = "WSMESH_TLS_CLIENT_CA", value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,

    #[command(flatten)]
    dialing: TlsDialingOptions,
}

#[derive(Debug, Args)]
pub(super) struct TlsDialingOptions {
    /// Believe these authorities in dialing wss:// (PEM)
    ///
    /// Instead of those that the system trusts.
    #[arg(long, env = "WSMESH_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,

    /// Dial wss:// only to who has this key (sha256/BASE64)
    ///
    /// A node with --tls-cert says its own when it starts. Several with commas, or repeated: one
    /// of them must be right. Then nothing else is checked of the certificate, neither its issuer
    /// nor its name nor its dates; with --tls-ca these must be right too.
    #[arg(
        long,
        env = "WSMESH_TLS_PIN",
        value_name = "PIN",
        value_delimiter = ','
    )]
    #[arg(value_parser = typed::<Pin>())]
    tls_pin: Vec<Pin>,

    /// Certificate to show to servers that ask for one (PEM)
    ///
    /// With its chain, as in --tls-cert.
    #[arg(long, env = "WSMESH_TLS_CLIENT_CERT", value_name = "FILE")]
    tls_client_cert: Option<PathBuf>,

    /// Private key of --tls-client-cert (PEM)
    ///
    /// As in --tls-key.
    #[arg(long, env = "WSMESH_TLS_CLIENT_KEY", value_name = "FILE")]
    tls_client_key: Option<PathBuf>,
}

impl From<TlsOptions> for TlsConfig {
    fn from(options: TlsOptions) -> Self {
        Self {
            cert: options.tls_cert,
            key: options.tls_key,
            client_ca: options.tls_client_ca,
            ..options.dialing.to_config()
        }
    }
}

impl TlsDialingOptions {
    /// With nothing for listeners.
    pub(super) fn to_config(&self) -> TlsConfig {
        TlsConfig {
            ca: self.tls_ca.clone(),
            pins: self.tls_pin.clone(),
            client_cert: self.tls_client_cert.clone(),
            client_key: self.tls_client_key.clone(),
            ..TlsConfig::default()
        }
    }
}
