//! A certificate and its key for servers that speak TLS, and clients that believe them.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// What the certificate is for.
pub(crate) const NAME: &str = "localhost";

/// In files of a folder that all processes of a run are told.
pub(crate) struct Keys {
    folder: PathBuf,
}

impl Keys {
    /// Makes new ones.
    pub(crate) fn make() -> Result<Self, Box<dyn Error>> {
        let folder = format!("keys-{}", std::process::id());
        let keys = Self::of(Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder));
        std::fs::create_dir_all(&keys.folder)?;
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        std::fs::write(keys.cert(), made.cert.pem())?;
        std::fs::write(keys.key(), made.signing_key.serialize_pem())?;
        Ok(keys)
    }

    /// Those that another process has made.
    pub(crate) fn of(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn cert(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// Forgets what was made.
    pub(crate) fn remove(&self) -> io::Result<()> {
        std::fs::remove_dir_all(&self.folder)
    }

    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.cert())?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}
