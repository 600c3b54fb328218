//! What all connections with TLS have in common: made of the files, again at every reload.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring::default_provider},
    pki_types::ServerName,
    server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier},
    sign::SingleCertAndKey,
};

use super::{
    encryption::Encryption,
    files::{TlsError, identity},
    trust::{Pinned, by_chain, pin_of},
};
use crate::{
    config::{Pin, TlsConfig},
    net::files::Source,
};

/// The only protocol that we speak within TLS (RFC 7301): whoever offers others, but not this, is not
/// looking for us.
const PROTOCOL: &[u8] = b"http/1.1";

/// How connections are encrypted.
pub(crate) struct Settings {
    config: TlsConfig,
    server: Option<Server>,
    /// Made when it is first needed: the system's list of authorities takes a while to read, and most
    /// nodes of a mesh without TLS never dial `wss://`.
    client: Option<Arc<ClientConfig>>,
}

struct Server {
    config: Arc<ServerConfig>,
    pin: Pin,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest has keys in it.
        f.debug_struct("Settings")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads nothing yet: until [`Self::load`], connections can be dialed only.
    pub(crate) fn new(config: TlsConfig) -> Self {
        Self {
            config,
            server: None,
            client: None,
        }
    }

    /// Reads the files that are named, and with `dials` in any case what dialing needs. After an error
    /// everything is as it was.
    ///
    /// # Errors
    /// A file cannot be read, is not what it should be, or does not fit another one.
    pub(crate) fn load(&mut self, dials: bool) -> Result<(), TlsError> {
        let provider = Arc::new(default_provider());
        let server = server(&self.config, &provider)?;
        let names_servers = self.config.ca.is_some() || !self.config.pins.is_empty();
        let is_needed = dials || names_servers || self.config.client_cert.is_some();
        let client = match is_needed || self.client.is_some() {
            true => Some(client(&self.config, &provider)?),
            false => None,
        };
        (self.server, self.client) = (server, client);
        Ok(())
    }

    /// As they are when they are told so, with the files as they are now.
    ///
    /// # Errors
    /// A file cannot be read, is not what it should be, or does not fit another one.
    pub(crate) fn reconfigured(&self, config: &TlsConfig, dials: bool) -> Result<Self, TlsError> {
        let mut settings = Self::new(config.clone());
        settings.load(dials || self.client.is_some())?;
        Ok(settings)
    }

    /// Whether there are files to be read.
    pub(crate) fn has_files(&self) -> bool {
        let TlsConfig {
            cert,
            key: _,
            client_ca,
            ca,
            pins: _,
            client_cert,
            client_key: _,
        } = &self.config;
        let files = [cert, client_ca, ca, client_cert];
        files.iter().any(|file| file.is_some()) || self.client.is_some()
    }

    /// Whether every client needs a certificate.
    pub(crate) fn wants_client_certificates(&self) -> bool {
        self.config.client_ca.is_some()
    }

    /// The key that clients may pin.
    pub(crate) fn own_pin(&self) -> Option<Pin> {
        self.server.as_ref().map(|server| server.pin)
    }

    /// For a connection that was accepted where TLS is spoken; `None` without a certificate.
    pub(crate) fn accept(&self) -> Option<Box<Encryption>> {
        let config = Arc::clone(&self.server.as_ref()?.config);
        Encryption::accepting(config).ok().map(Box::new)
    }

    /// For a connection to a host: a name, or an address without brackets.
    ///
    /// # Errors
    /// In words for the log: there is nobody to believe, or no certificate can be for such a name.
    pub(crate) fn connect(&mut self, host: &str) -> Result<Box<Encryption>, String> {
        let config = match &self.client {
            Some(client) => Arc::clone(client),
            None => {
                let made = client(&self.config, &Arc::new(default_provider()));
                let made = made.map_err(|error| error.to_string())?;
                Arc::clone(self.client.insert(made))
            }
        };
        // The zone of an address means something on this machine only.
        let host = host.split('%').next().unwrap_or_default();
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("no certificate can be for the name {host}"))?;
        let encryption = Encryption::dialing(config, name);
        encryption
            .map(Box::new)
            .map_err(|error| format!("TLS cannot begin: {error}"))
    }
}

/// For listeners, if there is a certificate.
fn server(config: &TlsConfig, provider: &Arc<CryptoProvider>) -> Result<Option<Server>, TlsError> {
    let (Some(cert), Some(key)) = (&config.cert, &config.key) else {
        return Ok(None);
    };
    let cert = Source::new("--tls-cert", cert);
    let identity = identity(cert, Source::new("--tls-key", key))?;
    let verifier = match &config.client_ca {
        None => Arc::new(NoClientAuth),
        Some(path) => {
            let roots = Source::new("--tls-client-ca", path).authorities()?;
            let (roots, provider) = (Arc::new(roots), Arc::clone(provider));
            WebPkiClientVerifier::builder_with_provider(roots, provider).build()?
        }
    };
    let pin = pin_of(identity.end_entity_cert()?)?;
    let mut made = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    // Nothing is kept of a session that is over, and no ticket can outlive a certificate.
    made.send_tls13_tickets = 0;
    made.session_storage = Arc::new(NoServerSessionStorage {});
    made.alpn_protocols = vec![PROTOCOL.to_vec()];
    let config = Arc::new(made);
    Ok(Some(Server { config, pin }))
}

/// For dialing.
fn client(
    config: &TlsConfig,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &config.ca {
        Some(path) => Some(Source::new("--tls-ca", path).authorities()?),
        None if config.pins.is_empty() => Some(system_authorities()?),
        None => None,
    };
    let chain = roots.map(|roots| by_chain(roots, provider)).transpose()?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()?;
    let builder = match chain {
        Some(chain) if config.pins.is_empty() => builder.with_webpki_verifier(chain),
        chain => {
            let pinned = Pinned::new(config.pins.clone(), chain, Arc::clone(provider));
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(pinned))
        }
    };
    let mut made = match (&config.client_cert, &config.client_key) {
        (Some(cert), Some(key)) => {
            let cert = Source::new("--tls-client-cert", cert);
            let identity = identity(cert, Source::new("--tls-client-key", key))?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
        }
        _ => builder.with_no_client_auth(),
    };
    made.resumption = Resumption::disabled();
    made.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(made))
}

/// Those that the system trusts, as far as they can be read.
fn system_authorities() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors = found.errors.first();
        let why = errors.map_or(String::new(), |error| format!(" ({error})"));
        return Err(TlsError::NoSystemRoots(why));
    }
    Ok(roots)
}
