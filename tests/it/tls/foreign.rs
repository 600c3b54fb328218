//! Clients and servers with another TLS than ours.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::authority::text;
use super::{Authority, certified, dialing, url_of};
use crate::support::{Node, Program, Scratch, block_on, letters, tools};

/// Lets a peer of `tests/peers` dial a node, and speak with it.
fn speaks(mut command: Command, script: &str) {
    let (authority, mut node) = certified();
    command.env("SSL_CERT_FILE", authority.ca());
    command.env("NODE_EXTRA_CA_CERTS", authority.ca());
    command.arg(tools::peer_script(script));
    command.args(["connect", &url_of(&node)]);
    let mut peer = Program::start(script, command);
    peer.say("connect 3");
    peer.stdout.wait_for_count(3, "open ");
    peer.say("text 0 grüße ✓");
    peer.stdout.wait_for("grüße ✓");
    peer.say("large 1 binary 1048576");
    peer.stdout.wait_for("binary 1 1048576 ");
    peer.say("close 2 4000 done");
    peer.stdout.wait_for("closed 2 4000");
    node.wait_closed(1);
    node.stop();
    peer.stdout.wait_for("closed 0 1001");
    peer.stdout.wait_for("closed 1 1001");
    assert!(!peer.stdout.contain("failed "), "{}", peer.stdout.tail(20));
    assert!(!node.stderr.contain("cut off"), "{}", node.stderr.tail(20));
}

#[test]
fn python_websockets_dials() {
    if let Some(python) = tools::python() {
        speaks(python, "websockets_peer.py");
    }
}

#[test]
fn npm_ws_dials() {
    if let Some(node) = tools::node_js() {
        speaks(node, "ws_peer.mjs");
    }
}

#[test]
fn python_websockets_is_dialed() {
    let Some(mut python) = tools::python() else {
        return;
    };
    let authority = Authority::new("test");
    let files = authority.local("server");
    python.arg(tools::peer_script("websockets_peer.py"));
    python.args(["listen", text(&files.cert), text(&files.key)]);
    let mut peer = Program::start("websockets_peer.py", python);
    let said = peer.stdout.wait_for("listening ");
    let port = said.trim_start_matches("listening ");
    let url = format!("wss://localhost:{port}/path");
    let options = authority.ca_options();
    let mut node = dialing(&url, options.iter().map(String::as_str).chain(["--echo"]));
    peer.stdout.wait_for("open 0 /path");
    peer.say("large 0 text 1048576");
    peer.stdout.wait_for("text 0 1048576 ");
    node.stop();
    peer.stdout.wait_for("closed 0 1001");
    assert!(!peer.stdout.contain("failed "), "{}", peer.stdout.tail(20));
}

/// Lets the node echo, and then stop.
async fn speak_until_it_stops<S>(socket: &mut WebSocketStream<S>, node: &Node)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    for message in [
        Message::text("grüße ✓"),
        Message::text(""),
        Message::binary(letters(1 << 20).into_bytes()),
    ] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    node.signal("TERM");
    let Message::Close(Some(close)) = socket.next().await.unwrap().unwrap() else {
        panic!("no Close")
    };
    assert_eq!(u16::from(close.code), 1001);
    // Without close_notify it would be an error.
    assert!(socket.next().await.is_none());
}

#[test]
fn tokio_tungstenite_dials() {
    let (authority, mut node) = certified();
    block_on(async {
        let connector = TlsConnector::from(authority.client_config());
        let socket = TcpStream::connect(node.address()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let socket = connector.connect(name, socket).await.unwrap();
        let connected = tokio_tungstenite::client_async(url_of(&node), socket).await;
        let (mut socket, _) = connected.unwrap();
        speak_until_it_stops(&mut socket, &node).await;
    });
    assert_eq!(node.wait_exit().code(), Some(0));
    assert!(!node.stderr.contain("cut off"), "{}", node.stderr.tail(20));
}

#[test]
fn tokio_tungstenite_is_dialed() {
    let authority = Authority::new("test");
    let files = authority.local("server");
    let mut node = block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let options = authority.ca_options();
        let options = options.iter().map(String::as_str);
        let options = options.chain(["--echo", "--max-publish-rate", "off"]);
        let node = dialing(&format!("wss://localhost:{port}/"), options);
        let (socket, _) = listener.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(files.server());
        let socket = acceptor.accept(socket).await.unwrap();
        let accepted = tokio_tungstenite::accept_async(socket).await;
        speak_until_it_stops(&mut accepted.unwrap(), &node).await;
        node
    });
    assert_eq!(node.wait_exit().code(), Some(0));
    assert!(!node.stderr.contain("cut off"), "{}", node.stderr.tail(20));
}

#[test]
fn curl_gets_a_page() {
    let (authority, node) = certified();
    for version in ["--tlsv1.2", "--tlsv1.3"] {
        let Some(mut curl) = tools::of_system("curl") else {
            return;
        };
        let most = ["--tls-max", version.trim_start_matches("--tlsv")];
        let ca = authority.ca();
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "30"]);
        curl.args(["--noproxy", "*", "--cacert", text(&ca), version])
            .args(most);
        curl.arg(format!(
            "https://localhost:{}/healthz",
            node.address().port()
        ));
        let output = curl.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{version}: {said}");
        assert_eq!(output.stdout, b"ok\n");
    }
}

/// Lets OpenSSL's client connect with some options and say `input`; returns what it shows.
fn s_client(authority: &Authority, address: &str, options: &[&str], input: &str) -> Option<String> {
    let mut openssl = tools::of_system("openssl")?;
    let ca = authority.ca();
    openssl.args(["s_client", "-connect", address, "-CAfile", text(&ca)]);
    openssl
        .args(["-verify_return_error", "-servername", "localhost"])
        .args(options);
    let pipes = openssl.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = pipes.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    let output = client.wait_with_output().unwrap();
    drop(stdin);
    let all = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&all).into_owned())
}

#[test]
fn openssl_connects_with_both_versions_and_no_older_one() {
    let (authority, node) = certified();
    let address = node.address().to_string();
    let request = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let options = [version, "-ign_eof"];
        let Some(said) = s_client(&authority, &address, &options, request) else {
            return;
        };
        assert!(said.contains("HTTP/1.1 200 OK"), "{version}: {said}");
        assert!(said.contains("Verification: OK"), "{version}: {said}");
    }
    let said = s_client(&authority, &address, &["-tls1_1"], request);
    let said = said.expect("it was there before");
    assert!(!said.contains("HTTP/1.1"), "{said}");
    // R asks to negotiate anew, which is not done.
    let input = "GET /healthz HTTP/1.1\r\nR\n";
    let said = s_client(&authority, &address, &["-tls1_2"], input);
    assert!(said.is_some_and(|said| !said.contains("200 OK")));
    node.assert_no_error_logged();
}

#[test]
fn a_browser_connects() {
    let Some(mut browser) = tools::chromium() else {
        return;
    };
    let (_authority, node) = certified();
    let scratch = Scratch::new("browser");
    let said = node.stderr.wait_for("the key of this node in TLS is ");
    let pin = said.rsplit_once("sha256/").unwrap().1;
    let page = format!(
        "<!doctype html><script>const ws = new WebSocket('{}/'); ws.onopen = () => ws.send('the page is open');\n\
         ws.onmessage = e => ws.send('heard ' + e.data.slice(0, 20)); </script>",
        url_of(&node)
    );
    let path = scratch.join("page.html");
    std::fs::write(&path, page).unwrap();
    browser.arg(format!(
        "--user-data-dir={}",
        scratch.join("profile").display()
    ));
    browser.arg(format!("--ignore-certificate-errors-spki-list={pin}"));
    browser.arg(format!("file://{}", path.display()));
    let _browser = Program::start("chromium", browser);
    node.stdout.wait_for("the page is open");
    node.stdout.wait_for("heard the page is open");
}
