//! A certificate of all nodes of an ordeal, in a file for as long as that lasts, and who believes it.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::{ClientConfig, RootCertStore, client::Resumption, crypto::ring::default_provider};

use crate::config::TlsConfig;

#[derive(Debug)]
pub(super) struct Certificate {
    /// It and its key.
    file: PathBuf,
    peer: Arc<ClientConfig>,
}

impl Certificate {
    /// For the nodes at these addresses. Its signatures have one length, so that what a seed makes does not depend on
    /// them.
    pub(super) fn new(addresses: impl Iterator<Item = String>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let names: Vec<_> = [NAME.to_owned()].into_iter().chain(addresses).collect();
        let params = CertificateParams::new(names).expect("they are names");
        let certificate = params.self_signed(&key).expect("a certificate");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wsmesh-ordeal-{}-{number}.pem", std::process::id());
        let file = std::env::temp_dir().join(name);
        let text = certificate.pem() + &key.serialize_pem();
        fs::write(&file, text).expect("there is a place for it");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("a certificate");
        let peer = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("there are some")
            .with_root_certificates(roots);
        let mut peer = peer.with_no_client_auth();
        peer.resumption = Resumption::disabled();
        let peer = Arc::new(peer);
        Self { file, peer }
    }

    /// What a node is told that listens with TLS, and dials others that do.
    pub(super) fn of_node(&self) -> TlsConfig {
        let file = || Some(self.file.clone());
        TlsConfig {
            cert: file(),
            key: file(),
            ca: file(),
            ..TlsConfig::default()
        }
    }

    /// A client that believes it.
    pub(super) fn of_peer(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.peer)
    }
}

/// The name that peers know all nodes by.
pub(super) const NAME: &str = "localhost";

impl Drop for Certificate {
    fn drop(&mut self) {
        // It goes with the other files there.
        let _ = fs::remove_file(&self.file);
    }
}
