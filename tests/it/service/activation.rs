//! Sockets that are open before the node starts, and stay open after it has ended.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::support::{Program, Raw, Scratch};

const QUIET: [&str; 2] = ["--interval", "off"];

/// Starts a node with a socket as its descriptor 3, as systemd passes it to the process `id`.
#[track_caller]
fn start_for(id: &str, socket: OwnedFd, options: &[&str]) -> Program {
    let program = crate::support::Node::command([&QUIET[..], options].concat());
    let mut shell = Command::new("sh");
    let script =
        format!("exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID={id}; exec \"$0\" \"$@\"");
    shell.args(["-c", &script]);
    shell.arg(program.get_program()).args(program.get_args());
    Program::start_reading("wsmesh", shell, Stdio::from(socket))
}

#[track_caller]
fn start(socket: &TcpListener, options: &[&str]) -> Program {
    start_for("$$", socket.try_clone().unwrap().into(), options)
}

/// A socket that listens, and its address.
fn socket() -> (TcpListener, String) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

/// A client that is connected and has asked for an upgrade, whoever answers.
#[track_caller]
fn client(address: &str) -> Raw {
    let address = address.parse().unwrap();
    let mut client = Raw::connect(address);
    client.send(Raw::request(address, "/"));
    client
}

#[track_caller]
fn stop(mut node: Program) {
    node.signal("TERM");
    assert_eq!(node.wait_exit().code(), Some(0), "{}", node.stderr.tail(20));
}

#[test]
fn a_restart_refuses_nobody() {
    let (socket, address) = socket();
    let mut early = client(&address);
    let first = start(&socket, &["--bind", &address]);
    early.expect_upgraded();
    first
        .stderr
        .wait_for(&format!("{address} is open already, and taken over"));
    first.stderr.wait_for(&format!("listening on {address}"));
    stop(first);

    let mut between: Vec<Raw> = (0..200).map(|_| client(&address)).collect();
    let second = start(&socket, &["--bind", &address]);
    for client in &mut between {
        client.expect_upgraded();
        assert_eq!(client.sync(), []);
    }
    stop(second);
}

#[test]
fn what_an_address_is_for_is_said_by_its_option() {
    let (socket, address) = socket();
    let node = start(&socket, &["--bind", "127.0.0.1:0", "--status", &address]);
    let mut client = Raw::connect(address.parse().unwrap());
    client.send(format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\n\r\n"));
    assert!(client.read_head().starts_with("HTTP/1.1 200 "));
    stop(node);

    let scratch = Scratch::new("activation");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (scratch.join("cert.pem"), scratch.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let bind = format!("wss://{address}");
    let options = ["--bind", &bind, "--tls-cert", cert, "--tls-key", key];
    let node = start(&socket, &options);
    node.stderr
        .wait_for(&format!("listening on {address} with TLS"));
    stop(node);
}

#[test]
fn a_socket_that_no_option_names_is_an_error() {
    let (socket, address) = socket();
    let mut node = start(&socket, &["--bind", "127.0.0.1:0"]);
    assert_eq!(node.wait_exit().code(), Some(2));
    node.stderr
        .wait_for(&format!("a socket that listens on {address} was passed"));
    node.stderr.wait_for(&format!("give --bind {address} "));
    assert!(!node.stderr.contain("listening on"));
}

#[test]
fn what_does_not_listen_is_an_error() {
    let (listener, address) = socket();
    let connected = std::net::TcpStream::connect(&address).unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    for socket in [OwnedFd::from(connected), datagrams.into()] {
        let mut node = start_for("$$", socket, &["--bind", "127.0.0.1:0"]);
        assert_eq!(node.wait_exit().code(), Some(2));
        node.stderr
            .wait_for("LISTEN_FDS: descriptor 3 is no TCP socket that listens");
    }
    drop(listener);
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let (socket, address) = socket();
    let node = start_for("1", socket.into(), &["--bind", "127.0.0.1:0"]);
    let line = node.stderr.wait_for("listening on ");
    assert!(!line.contains(&address), "{line}");
    stop(node);
}
