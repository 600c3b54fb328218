//! Certificates made for one test: of a private authority, right ones and wrong ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::support::Scratch;

/// An authority with an intermediate one, which issues the certificates.
pub(super) struct Authority {
    scratch: Scratch,
    root: String,
    intermediate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its chain, and its key, in files.
pub(super) struct Files {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl Files {
    /// The options of a node that listens with it.
    pub(super) fn options(&self) -> [&str; 4] {
        ["--tls-cert", text(&self.cert), "--tls-key", text(&self.key)]
    }

    /// The options of a node that shows it where it dials.
    pub(super) fn client_options(&self) -> [&str; 4] {
        let (cert, key) = (text(&self.cert), text(&self.key));
        ["--tls-client-cert", cert, "--tls-client-key", key]
    }

    /// For a server of the test's own.
    pub(super) fn server(&self) -> Arc<ServerConfig> {
        let certificates = CertificateDer::pem_file_iter(&self.cert).unwrap();
        let key = PrivateKeyDer::from_pem_file(&self.key).unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates.map(Result::unwrap).collect(), key);
        Arc::new(config.unwrap())
    }
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of UTF-8")
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn of_authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    pub(super) fn new(name: &str) -> Authority {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root_params = of_authority(&format!("{name} root"));
        let root = root_params.self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(root_params, root_key);
        let params = of_authority(&format!("{name} intermediate"));
        let intermediate = params.signed_by(&key, &root_issuer).unwrap();
        let authority = Authority {
            scratch: Scratch::new("tls"),
            root: root.pem(),
            intermediate: intermediate.pem(),
            issuer: Issuer::new(params, key),
        };
        fs::write(authority.ca(), &authority.root).unwrap();
        authority
    }

    /// A file in the directory of the test.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// The certificate of the root.
    pub(super) fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// What makes somebody believe this authority.
    pub(super) fn ca_options(&self) -> [String; 2] {
        ["--tls-ca".to_owned(), text(&self.ca()).to_owned()]
    }

    /// A certificate for `localhost` and 127.0.0.1.
    pub(super) fn local(&self, name: &str) -> Files {
        self.issue(name, &["localhost", "127.0.0.1"], |_| {})
    }

    /// A certificate for clients, for none of which a name matters.
    pub(super) fn client(&self, name: &str) -> Files {
        self.issue(name, &["client"], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    /// A certificate for some names, with what else `change` makes of it.
    pub(super) fn issue(
        &self,
        name: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Files {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write(name, &certificate.pem(), &key.serialize_pem())
    }

    fn write(&self, name: &str, certificate: &str, key: &str) -> Files {
        let files = Files {
            cert: self.file(&format!("{name}.pem")),
            key: self.file(&format!("{name}.key")),
        };
        fs::write(&files.cert, format!("{certificate}{}", self.intermediate)).unwrap();
        fs::write(&files.key, key).unwrap();
        files
    }

    /// A client of the test's own, that believes this authority.
    pub(super) fn client_config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.root.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}
