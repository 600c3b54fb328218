//! Files of certificates and keys, fed with arbitrary bytes.

use std::path::Path;

use super::files::identity_in;
use crate::{
    fuzzing::{assert_printable, split_choice},
    net::files::Source,
};

/// A file with a certificate and its key, or with authorities: what is wrong can be shown, and nothing of a key is.
pub(crate) fn feed_pem(bytes: &[u8]) {
    let (choice, bytes) = split_choice(bytes);
    let path = Path::new("a.pem");
    let (cert, key) = (
        Source::new("--tls-cert", path),
        Source::new("--tls-key", path),
    );
    let error = match choice % 2 {
        0 => match Source::new("--tls-ca", path).authorities_in(bytes) {
            Ok(roots) => return assert!(!roots.is_empty()),
            Err(error) => error,
        },
        _ => match identity_in((cert, bytes), (key, bytes)) {
            Ok(identity) => {
                return assert!(identity.keys_match().is_ok() && !identity.cert.is_empty());
            }
            Err(error) => error,
        },
    };
    let error = error.to_string();
    assert!(error.starts_with("--tls-"), "{error}");
    assert_printable(&error);
    // Whatever stands in the file: no long part of it is shown.
    let text = String::from_utf8_lossy(bytes);
    let mut long_lines = text
        .lines()
        .filter(|line| line.len() > 40 && !line.contains(' '));
    assert!(
        long_lines.all(|line| line.contains("-----") || !error.contains(line)),
        "{error}"
    );
}
