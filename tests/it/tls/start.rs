//! Files that a node does not start with, and those that it does.

use std::fs;
use std::path::Path;

use super::authority::text;
use super::{Authority, Files, client, listening};
use crate::support::{Node, tools};

/// What a node says that does not start.
#[track_caller]
fn refusal(options: &[&str]) -> String {
    let mut node = Node::with(options);
    assert_eq!(node.wait_exit().code(), Some(2), "{options:?}");
    node.stderr.all().join("\n")
}

/// … with these files on an address with TLS.
#[track_caller]
fn refusal_of(cert: &Path, key: &Path) -> String {
    let [cert, key] = [cert, key].map(|path| path.to_str().unwrap());
    refusal(&[
        "--bind",
        "wss://127.0.0.1:0",
        "--tls-cert",
        cert,
        "--tls-key",
        key,
    ])
}

#[test]
fn files_that_do_not_do_are_named_with_what_to_do() {
    let authority = Authority::new("test");
    let good = authority.local("good");
    let other = authority.local("other");
    let file = |name: &str, content: &[u8]| {
        let path = authority.file(name);
        fs::write(&path, content).unwrap();
        path
    };
    let missing = authority.file("missing.pem");
    let empty = file("empty.pem", b"");
    let der = file("der.pem", &[0x30, 0x82, 1, 2, 3]);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted = file("encrypted.key", encrypted.as_bytes());
    let damaged = file(
        "damaged.pem",
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    );
    let hollow = file(
        "hollow.pem",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let strange = file(
        "strange.key",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let chain = fs::read_to_string(&good.cert).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let (first, second) = chain.split_once(end).unwrap();
    let turned = file("turned.pem", format!("{second}{first}{end}").as_bytes());
    let large = file("large.pem", &vec![b'a'; (4 << 20) + 1]);
    for (cert, key, flag, expected) in [
        (
            &missing,
            &good.key,
            "--tls-cert",
            "missing.pem: there is no such file",
        ),
        (
            &good.cert,
            &missing,
            "--tls-key",
            "missing.pem: there is no such file",
        ),
        (
            &empty,
            &good.key,
            "--tls-cert",
            "there is no certificate in it",
        ),
        (
            &good.cert,
            &empty,
            "--tls-key",
            "there is no private key in it",
        ),
        (
            &good.key,
            &good.key,
            "--tls-cert",
            "did the two options change places?",
        ),
        (
            &good.cert,
            &good.cert,
            "--tls-key",
            "did the two options change places?",
        ),
        (&der, &good.key, "--tls-cert", "openssl x509 -inform der"),
        (&good.cert, &der, "--tls-key", "openssl pkey -inform der"),
        (&good.cert, &encrypted, "--tls-key", "the key is encrypted"),
        (&damaged, &good.key, "--tls-cert", "it is damaged PEM"),
        (
            &hollow,
            &good.key,
            "--tls-cert",
            "certificate 1 in it is damaged",
        ),
        (
            &good.cert,
            &strange,
            "--tls-key",
            "this kind of key is not supported",
        ),
        (
            &good.cert,
            &other.key,
            "--tls-cert",
            "other.key does not belong to it",
        ),
        (
            &turned,
            &good.key,
            "--tls-cert",
            "is number 2 in it, and must be the first",
        ),
        (&large, &good.key, "--tls-cert", "too large"),
    ] {
        let said = refusal_of(cert, key);
        assert!(
            said.contains(expected) && said.contains(flag),
            "{expected}: {said}"
        );
        assert!(!said.contains("listening on"), "{said}");
    }
    let peer = ["--peers", "wss://127.0.0.1:1"];
    for (flag, path, expected) in [
        ("--tls-ca", &missing, "there is no such file"),
        ("--tls-ca", &empty, "there is no certificate in it"),
        ("--tls-ca", &hollow, "certificate 1 in it is damaged"),
    ] {
        let said = refusal(&[peer[0], peer[1], flag, text(path)]);
        assert!(said.contains(flag) && said.contains(expected), "{said}");
    }
    let said = refusal(&[&peer[..], &["--tls-client-cert", text(&good.cert)]].concat());
    assert!(said.contains("without --tls-client-key"), "{said}");
}

/// Runs OpenSSL; `None` if it is not there.
fn openssl(arguments: &[&str]) -> Option<()> {
    let output = tools::of_system("openssl")?
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    Some(())
}

#[test]
fn keys_come_in_all_forms_that_there_are() {
    let authority = Authority::new("test");
    let file = |name: &str| text(&authority.file(name)).to_owned();
    let (ec, rsa, edwards) = (file("ec.key"), file("rsa.key"), file("ed25519.key"));
    let (sec1, pkcs1) = (file("sec1.key"), file("pkcs1.key"));
    let made = openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
        "-out",
        &ec,
    ])
    .and_then(|()| openssl(&["ec", "-in", &ec, "-out", &sec1]))
    .and_then(|()| openssl(&["genrsa", "-out", &rsa, "2048"]))
    .and_then(|()| openssl(&["rsa", "-in", &rsa, "-traditional", "-out", &pkcs1]))
    .and_then(|()| openssl(&["genpkey", "-algorithm", "ed25519", "-out", &edwards]));
    if made.is_none() {
        return;
    }
    for (key, head) in [
        (&ec, "BEGIN PRIVATE KEY"),
        (&sec1, "BEGIN EC PRIVATE KEY"),
        (&rsa, "BEGIN PRIVATE KEY"),
        (&pkcs1, "BEGIN RSA PRIVATE KEY"),
        (&edwards, "BEGIN PRIVATE KEY"),
    ] {
        assert!(fs::read_to_string(key).unwrap().contains(head), "{key}");
        let cert = file("self.pem");
        let subject = [
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ];
        let request = ["req", "-x509", "-key", key, "-out", &cert, "-days", "1"];
        let purpose = ["-addext", "basicConstraints=critical,CA:FALSE"];
        openssl(&[&request[..], &subject, &purpose].concat());
        let files = Files {
            cert: cert.clone().into(),
            key: key.into(),
        };
        let node = listening(&files, ["--echo"]);
        // It is its own authority.
        let client = super::dialing(&super::url_of(&node), ["--tls-ca", &cert]);
        client.stderr.wait_for("neighbor wss://localhost:");
    }
}

#[test]
fn a_file_may_hold_a_certificate_and_its_key() {
    let authority = Authority::new("test");
    let files = authority.local("node");
    let both = [&files.key, &files.cert].map(|file| fs::read_to_string(file).unwrap());
    let path = authority.file("both.pem");
    fs::write(&path, both.concat()).unwrap();
    let files = Files {
        cert: path.clone(),
        key: path,
    };
    let node = listening(&files, ["--echo"]);
    let mut socket = client::upgrade(node.address(), authority.client_config());
    client::assert_echoed(&mut socket, "hello");
}
