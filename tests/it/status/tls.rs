//! The status listener with TLS.

use std::fs;

use crate::support::{Frame, Node, Raw, Scratch, Tab, tools};

/// A node that shows its status with TLS, and listens for peers without.
fn node(scratch: &Scratch, options: &[&str]) -> Node {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
        .unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| scratch.join(name).display().to_string());
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let own = [
        "--interval",
        "off",
        "--status",
        "wss://127.0.0.1:0",
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
    ];
    Node::listening(own.iter().chain(options))
}

#[test]
fn it_is_read_by_those_who_believe_the_certificate() {
    let scratch = Scratch::new("status-tls");
    let node = node(&scratch, &[]);
    let at = node.status_address();
    node.stderr.wait_for("status at https://");
    let curl = |options: &[&str], url: &str| {
        let mut curl = tools::of_system("curl")?;
        let output = curl
            .args(["--silent", "--show-error"])
            .args(options)
            .arg(url)
            .output()
            .unwrap();
        Some((
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        ))
    };
    let cert = scratch.join("cert.pem").display().to_string();
    for (path, start) in [
        ("/healthz", "ok\n"),
        ("/metrics", "# HELP wsmesh_"),
        ("/mesh", "{\"id\":"),
        ("/", "<!doctype html>"),
    ] {
        let Some((is_done, body)) = curl(&["--cacert", &cert], &format!("https://{at}{path}"))
        else {
            return;
        };
        assert!(is_done && body.starts_with(start), "{path}: {body}");
    }
    let stranger = curl(&[], &format!("https://{at}/mesh"));
    assert_eq!(
        stranger,
        Some((false, String::new())),
        "who does not believe it goes away"
    );
    // In clear it says what is wrong, and nothing else.
    let mut clear = Raw::connect(at);
    clear.send(format!("GET /mesh HTTP/1.1\r\nHost: {at}\r\n\r\n"));
    let answer = String::from_utf8(clear.read_to_end().0).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("speaks TLS"),
        "{answer}"
    );
    // Its peers are not those of --bind, which speaks none.
    let mut peer = Raw::upgraded(node.address(), "/");
    assert_eq!(peer.sync(), []);
}

#[test]
fn the_page_works_with_tls() {
    let scratch = Scratch::new("status-tls");
    let node = node(&scratch, &[]);
    let at = node.status_address();
    let said = node.stderr.wait_for("the key of this node in TLS is ");
    let pin = said.rsplit_once("sha256/").unwrap().1.trim();
    let believe = format!("--ignore-certificate-errors-spki-list={pin}");
    let Some(mut tab) = Tab::open_with(&scratch, &format!("https://{at}/"), &[&believe]) else {
        return;
    };
    let mut peer = Raw::upgraded(node.address(), "/chat");
    tab.wait_text("state", "network default");
    tab.submit("channel", "/chat");
    tab.wait_text("joined", "listening to /chat");
    tab.submit("text", "in private");
    assert_eq!(peer.read_frame(), Frame::text("in private"));
    peer.send_frame(Frame::text("so is this"));
    tab.wait_text("log", "so is this");
}
