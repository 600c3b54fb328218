//! Dialing through the proxies that sites have: CONNECT of HTTP, and SOCKS 5.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::support::{Node, RawListener, Scratch};

/// Who asks the proxies of these tests, and in base64 for HTTP.
const ALLOWED: &str = "me:secret";
const ALLOWED_BASE64: &str = "bWU6c2VjcmV0";

/// A name that no resolver knows.
const NAME: &str = "mesh.invalid";

#[derive(Clone, Copy)]
enum Speaks {
    Http,
    Socks,
}

/// A proxy that leads everybody to one address, whatever they ask for, and wants to know who asks.
struct SiteProxy {
    address: SocketAddr,
    /// What it was asked for.
    asked: Receiver<String>,
}

impl SiteProxy {
    fn start(speaks: Speaks, target: SocketAddr) -> SiteProxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = mpsc::channel();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                thread::spawn(move || {
                    near.set_nodelay(true).unwrap();
                    let asked = match speaks {
                        Speaks::Http => serve_http(&near),
                        Speaks::Socks => serve_socks(&near),
                    };
                    // A node that has gone meanwhile is no failure of the test.
                    if let Ok(Some(asked)) = asked {
                        let _ = sender.send(asked);
                        let _ = join(near, target);
                    }
                });
            }
        });
        SiteProxy { address, asked }
    }

    fn url(&self, speaks: Speaks, who: &str) -> String {
        match speaks {
            Speaks::Http => format!("http://{who}{}", self.address),
            Speaks::Socks => format!("socks5://{who}{}", self.address),
        }
    }
}

/// Says it byte by byte, as a network may.
fn say(mut near: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    bytes.iter().try_for_each(|byte| near.write_all(&[*byte]))
}

fn hear(mut near: &TcpStream, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    near.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn serve_http(near: &TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(hear(near, 1)?);
    }
    let head = String::from_utf8(head).unwrap();
    let asked = head.split_whitespace().nth(1).unwrap().to_owned();
    assert!(head.starts_with("CONNECT "), "{head}");
    if head.contains(&format!("Proxy-Authorization: Basic {ALLOWED_BASE64}\r\n")) {
        say(near, b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        return Ok(Some(asked));
    }
    say(
        near,
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
    )?;
    Ok(None)
}

fn serve_socks(near: &TcpStream) -> io::Result<Option<String>> {
    let count = hear(near, 2)?[1];
    if !hear(near, usize::from(count))?.contains(&2) {
        say(near, &[5, 0xff])?;
        return Ok(None);
    }
    say(near, &[5, 2])?;
    let mut who = Vec::new();
    hear(near, 1)?;
    for _ in 0..2 {
        let length = hear(near, 1)?[0];
        who.push(String::from_utf8(hear(near, usize::from(length))?).unwrap());
    }
    if who.join(":") != ALLOWED {
        say(near, &[1, 1])?;
        return Ok(None);
    }
    say(near, &[1, 0])?;
    let host = match hear(near, 4)?[..] {
        [5, 1, 0, 1] => Ipv4Addr::from(<[u8; 4]>::try_from(hear(near, 4)?).unwrap()).to_string(),
        [5, 1, 0, 3] => {
            let length = hear(near, 1)?[0];
            String::from_utf8(hear(near, usize::from(length))?).unwrap()
        }
        ref other => panic!("{other:?}"),
    };
    let port = u16::from_be_bytes(hear(near, 2)?.try_into().unwrap());
    say(near, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    Ok(Some(format!("{host}:{port}")))
}

/// Passes bytes both ways until one side ends.
fn join(near: TcpStream, target: SocketAddr) -> io::Result<()> {
    let far = TcpStream::connect(target)?;
    let (mut from_far, mut to_near) = (far.try_clone()?, near.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_far, &mut to_near);
        let _ = to_near.shutdown(Shutdown::Both);
    });
    io::copy(&mut (&near), &mut (&far))?;
    far.shutdown(Shutdown::Both)
}

/// Dials often; what the environment says of proxies is up to the test.
fn dialing(url: &str, options: &[&str], variables: &[(&str, &str)]) -> Node {
    let own = [
        "-v",
        "--interval",
        "off",
        "--retry-min",
        "10ms",
        "--retry-max",
        "20ms",
        "--peers",
        url,
    ];
    let mut command = Node::command(own.iter().chain(options));
    command.envs(variables.iter().copied());
    Node::start(command)
}

#[test]
fn nodes_become_neighbors_through_a_proxy_that_alone_knows_the_name() {
    for speaks in [Speaks::Http, Speaks::Socks] {
        let target = Node::listening(["--interval", "off"]);
        let proxy = SiteProxy::start(speaks, target.address());
        let url = format!("ws://{NAME}:8080/");
        let with = proxy.url(speaks, "me:secret@");
        let mut node = dialing(&url, &["--proxy", &with], &[]);
        node.stderr.wait_for(&format!("neighbor {url} connected"));
        assert_eq!(proxy.asked.recv().unwrap(), format!("{NAME}:8080"));
        node.stderr.wait_for(&format!(
            "dialing through the proxy {}",
            proxy.url(speaks, "")
        ));
        node.stop();
        for line in node.stderr.all() {
            assert!(!line.contains("secret"), "{line}");
        }
    }
}

#[test]
fn tls_is_spoken_with_the_other_side_and_not_with_the_proxy() {
    let scratch = Scratch::new("detour");
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let (cert, key) = (scratch.join("cert.pem"), scratch.join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let paths = [&cert, &key].map(|path| path.display().to_string());
    let options = [
        "--interval",
        "off",
        "--bind",
        "wss://127.0.0.1:0",
        "--tls-cert",
        &paths[0],
        "--tls-key",
        &paths[1],
    ];
    let mut target = Node::with(options);
    target.wait_listening(1);
    for speaks in [Speaks::Http, Speaks::Socks] {
        let proxy = SiteProxy::start(speaks, target.address());
        let url = format!("wss://{NAME}/");
        let with = proxy.url(speaks, "me:secret@");
        let node = dialing(&url, &["--tls-ca", &paths[0]], &[("HTTPS_PROXY", &with)]);
        node.stderr.wait_for(&format!("neighbor {url} connected"));
        assert_eq!(proxy.asked.recv().unwrap(), format!("{NAME}:443"));
    }
}

#[test]
fn a_proxy_is_asked_again_after_a_loss() {
    let listener = RawListener::bind();
    let proxy = SiteProxy::start(Speaks::Http, listener.address());
    let with = proxy.url(Speaks::Http, "me:secret@");
    let _node = dialing("ws://10.255.0.1:9/x", &["--proxy", &with], &[]);
    for _ in 0..3 {
        let (raw, head) = listener.accept_upgraded();
        assert!(
            head.starts_with("GET /x HTTP/1.1\r\nHost: 10.255.0.1:9\r\n"),
            "{head}"
        );
        assert_eq!(proxy.asked.recv().unwrap(), "10.255.0.1:9");
        raw.reset();
    }
}

#[test]
fn what_a_proxy_refuses_is_told() {
    let nobody = ([127, 0, 0, 1], 1).into();
    for (speaks, who, expected) in [
        (
            Speaks::Http,
            "",
            "the proxy refuses with 407 Proxy Authentication Required: put user and password",
        ),
        (Speaks::Http, "me:wrong@", "the proxy refuses with 407"),
        (Speaks::Socks, "", "the proxy wants to know who asks"),
        (
            Speaks::Socks,
            "me:wrong@",
            "the proxy does not take this user and password",
        ),
    ] {
        let proxy = SiteProxy::start(speaks, nobody);
        let node = dialing(
            "ws://mesh.invalid",
            &["--proxy", &proxy.url(speaks, who)],
            &[],
        );
        let said = node.stderr.wait_for("cannot reach peer ws://mesh.invalid");
        let through = format!("through the proxy {}", proxy.url(speaks, ""));
        assert!(said.contains(&through) && said.contains(expected), "{said}");
        assert!(!said.contains("wrong"), "{said}");
    }
}

#[test]
fn a_proxy_that_says_something_else_or_nothing_is_given_up() {
    for (answer, expected) in [
        (
            &b"\x00\x01garbage\r\n\r\n"[..],
            "what answers at the proxy's address is not HTTP",
        ),
        (
            b"HTTP/1.1 200 OK\r\n",
            "no answer of the proxy within 300ms",
        ),
    ] {
        let listener = RawListener::bind();
        let with = format!("http://{}", listener.address());
        let options = ["--proxy", &with, "--handshake-timeout", "300ms"];
        let node = dialing("ws://mesh.invalid", &options, &[]);
        let mut raw = listener.accept();
        raw.read_head();
        raw.send(answer);
        let said = node.stderr.wait_for("cannot reach peer");
        assert!(said.contains(expected), "{said}");
    }
    let listener = RawListener::bind();
    let with = format!("socks5://{}", listener.address());
    let node = dialing("ws://mesh.invalid", &["--proxy", &with], &[]);
    listener.accept().finish();
    let said = node.stderr.wait_for("cannot reach peer");
    assert!(
        said.contains("the proxy has ended the connection"),
        "{said}"
    );
}

#[test]
fn who_is_exempt_is_dialed_directly() {
    let nobody = "http://127.0.0.1:1";
    let target = Node::listening(["--interval", "off"]);
    let own_port = format!("127.0.0.1:{}", target.address().port());
    for (options, variables) in [
        (&[][..], &[("ALL_PROXY", nobody)][..]),
        (&["--proxy", nobody], &[("no_proxy", own_port.as_str())]),
        (&["--proxy", "off"], &[("ALL_PROXY", nobody)]),
    ] {
        let node = dialing(&target.url("/"), options, variables);
        node.wait_connected(1);
    }
    let node = dialing(&target.url("/"), &["--proxy", nobody], &[]);
    let said = node.stderr.wait_for("cannot reach peer");
    assert!(
        said.contains("through the proxy http://127.0.0.1:1"),
        "{said}"
    );
}

#[test]
fn a_wrong_proxy_is_told_before_anything_is_opened() {
    let peer = ["--peers", "ws://mesh.invalid"];
    for (options, variables, expected) in [
        (
            &["--proxy", "ftp://me:secret@a"][..],
            &[][..],
            "--proxy: a proxy of the kind `ftp`",
        ),
        (
            &[],
            &[("HTTPS_PROXY", "https://me:secret@a")],
            "HTTPS_PROXY: a proxy of the kind `https`",
        ),
    ] {
        let mut command = Node::command(peer.iter().chain(options));
        command.envs(variables.iter().copied());
        let mut node = Node::start(command);
        assert_eq!(node.wait_exit().code(), Some(2));
        node.stderr.wait_for(expected);
        assert!(!node.stderr.contain("secret"));
    }
}
