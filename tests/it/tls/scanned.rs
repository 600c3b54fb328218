//! What a scanner for weak TLS finds: nothing.

use super::{Authority, listening};
use crate::support::tools;

#[test]
fn nothing_weak_is_offered() {
    let Some(mut scanner) = tools::of_system("sslscan") else {
        return;
    };
    let authority = Authority::new("test");
    // It opens a connection for each thing that it tries.
    let node = listening(&authority.local("node"), ["--max-handshakes", "1000"]);
    scanner.args(["--no-colour", "--sni-name=localhost"]);
    scanner.arg(node.address().to_string());
    let output = scanner.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");

    let enabled = said.lines().filter_map(|line| line.strip_suffix("enabled"));
    let enabled: Vec<&str> = enabled.map(str::trim).collect();
    assert_eq!(enabled, ["TLSv1.2", "TLSv1.3"], "{said}");
    for old in ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"] {
        let is_disabled = |line: &str| line.starts_with(old) && line.ends_with("disabled");
        assert!(said.lines().any(is_disabled), "{old}: {said}");
    }

    let mut ciphers = 0;
    for line in said.lines() {
        if !line.starts_with("Preferred") && !line.starts_with("Accepted") {
            continue;
        }
        // Accepted  TLSv1.2  128 bits  ECDHE-ECDSA-AES128-GCM-SHA256 …
        let words: Vec<&str> = line.split_whitespace().collect();
        let (bits, name) = (words[2].parse::<u32>().unwrap(), words[4]);
        let has_forward_secrecy = words[1] == "TLSv1.3" || name.starts_with("ECDHE-");
        let is_authenticated = name.contains("GCM") || name.contains("POLY1305");
        assert!(
            bits >= 128 && has_forward_secrecy && is_authenticated,
            "{line}"
        );
        ciphers += 1;
    }
    assert_eq!(ciphers, 6, "{said}");
    assert!(
        said.contains("Session renegotiation not supported"),
        "{said}"
    );
    assert!(
        said.contains("TLSv1.2 not vulnerable to heartbleed"),
        "{said}"
    );
    node.assert_no_error_logged();
}
