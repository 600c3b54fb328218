//! The recipes, from beginning to end.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::Message;

use super::stage::Stage;
use super::{paths, read};
use crate::support::{Frame, Node, Program, Raw, Tab, eventually, letters, tools};

const RECIPES: &str = "docs/RECIPES.md";

/// Every section is somebody's.
#[test]
fn each_recipe_is_tried() {
    let tried = read("tests/it/documents/recipes.rs");
    assert!(paths().contains(&RECIPES.to_owned()));
    for title in read(RECIPES)
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
    {
        assert!(tried.contains(&format!("RECIPES, {title:?}")), "{title}");
    }
}

#[test]
fn two_sites_hear_each_other_through_a_firewall() {
    if tools::of_system("openssl").is_none() {
        return;
    }
    let mut stage = Stage::of(RECIPES, "Two sites and a firewall");
    stage.prints("openssl req");
    stage.prints("openssl rand");
    let reached = stage.node("--bind wss://");
    let behind = stage.node("--peers wss://");
    for node in [&reached, &behind] {
        node.stderr.wait_for("neighbor ");
    }
    let mut sub = stage.start("wsmesh sub");
    behind.stderr.wait_for("connected on /doors");
    stage.prints("wsmesh pub");
    assert_eq!(sub.wait_exit().code(), Some(0));
    assert_eq!(sub.stdout.all(), ["the gate is open"]);
    let mut peer = Raw::upgraded(behind.address(), "/doors");
    peer.send_frame(Frame::text("it is shut"));
    reached.stdout.wait_for("/doors it is shut");
    stage.end();
}

#[test]
fn shell_scripts_hear_and_speak() {
    if tools::of_system("jq").is_none() {
        return;
    }
    let mut stage = Stage::of(RECIPES, "Shell scripts");
    let node = stage.node("wsmesh --bind");
    let mut speaker = Raw::upgraded(node.address(), "/alerts");
    let _log = stage.start("while read -r text");
    node.stderr.wait_for_count(2, "connected on /alerts");
    speaker.send_frame(Frame::text("water in the cellar"));
    let log = stage.folder.join("alerts.log");
    eventually("the message is in the file", || {
        fs::read_to_string(&log)
            .is_ok_and(|log| log.ends_with(" water in the cellar\n") && log.contains(':'))
    });

    let mut listener = Raw::upgraded(node.address(), "/load");
    let _load = stage.start("/proc/loadavg");
    for _ in 0..2 {
        let load = listener.read_frame().payload_text();
        assert!(load.parse::<f64>().is_ok(), "{load}");
    }

    assert_eq!(stage.prints("|| echo"), "status 27\n");

    let mut json = stage.start("jq -r");
    node.stderr.wait_for_count(3, "connected on /alerts");
    speaker.send_frame(Frame::text("fire"));
    assert!(json.wait_exit().success());
    let line = json.stdout.wait_for(": fire");
    assert!(
        line.contains(&format!(
            "Z ws://localhost:{}/alerts: fire",
            stage.port(8080)
        )),
        "{line}"
    );

    let content = [letters(200_000).as_bytes(), &[0, 0xff]].concat();
    fs::write(stage.folder.join("sent"), &content).unwrap();
    let mut receiver = stage.start("> received");
    node.stderr.wait_for("connected on /files");
    stage.prints("< sent");
    assert!(receiver.wait_exit().success());
    assert!(fs::read(stage.folder.join("received")).unwrap() == content);
    stage.end();
}

/// Waits until a list that Prometheus has is so long, and all that is in it is well.
#[track_caller]
fn assert_all(prometheus: &Program, path: &str, list: &str, count: usize, health: &str) {
    let url = format!(
        "http://127.0.0.1:{}/api/v1{path}",
        prometheus.wait_listening_port()
    );
    eventually(path, || {
        let mut curl = tools::of_system("curl").expect("Debian has it");
        let answer = curl.args(["--silent", &url]).output().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap_or_default();
        let found = answer.pointer(list).and_then(|list| list.as_array());
        found.is_some_and(|found| {
            found.len() == count && found.iter().all(|one| one["health"] == health)
        })
    });
}

#[test]
fn prometheus_watches_a_fleet() {
    if tools::of_system("jq").is_none()
        || tools::of_system("openssl").is_none()
        || tools::prometheus().is_none()
    {
        return;
    }
    let mut stage = Stage::of(RECIPES, "A fleet under Prometheus");
    let first = stage.node("--bind localhost:8080");
    let second = stage.node("--ready-neighbors 1");
    assert_eq!(stage.comes_to_print("/readyz", |_| true), "ready\n");
    let ids = stage.comes_to_print("/mesh", |ids| !ids.is_empty());
    assert_eq!(ids.trim().len(), 32, "{ids}");

    // So that the test need not wait for a quarter of a minute.
    let soon = [("15s", "1s")];
    stage.save("yaml", "prometheus.yml", &soon);
    stage.save("yaml", "rules.yml", &[]);
    let said = stage.prints("promtool check");
    assert!(
        said.contains("SUCCESS") && said.contains("5 rules found"),
        "{said}"
    );
    let figures = crate::status::page(
        SocketAddr::from(([127, 0, 0, 1], stage.port(9090))),
        "/metrics",
    );
    let rules = fs::read_to_string(stage.folder.join("rules.yml")).unwrap();
    for word in rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let is_known =
            figures.contains(&format!("\n{word} ")) || figures.contains(&format!("\n{word}{{"));
        assert!(!word.starts_with("wsmesh_") || is_known, "{word}");
    }
    // Whichever port is free, which it does not say.
    stage.map(9099, 0);
    let prometheus = stage.start("prometheus --config.file");
    assert_all(&prometheus, "/targets", "/data/activeTargets", 2, "up");
    assert_all(&prometheus, "/rules", "/data/groups/0/rules", 5, "ok");
    drop((prometheus, first, second));

    stage.prints("openssl req");
    stage.prints("openssl rand");
    stage.prints("> tokens");
    let _far = stage.node("--status wss://");
    let figures = stage.prints("--oauth2-bearer");
    assert!(figures.contains("wsmesh_neighbors 0\n"), "{figures}");
    stage.save("yaml", "prometheus.yml", &soon);
    stage.repeat("prometheus --config.file");
    let prometheus = stage.start("prometheus --config.file");
    assert_all(&prometheus, "/targets", "/data/activeTargets", 1, "up");
    stage.end();
}

#[test]
fn a_server_is_measured() {
    let mut stage = Stage::of(RECIPES, "How much does my server hold?");
    let server = Node::listening(["--interval", "off", "--max-publish-rate", "off"]);
    stage.map(8080, server.address().port());
    let report = stage.prints("-n 200");
    assert!(report.contains("200") && report.contains("p99"), "{report}");
    stage.prints("before.json");
    stage.prints("after.json");
    let compared = stage.prints("--compare");
    assert!(compared.contains("p99"), "{compared}");
    stage.prints("--html report.html");
    let page = fs::read_to_string(stage.folder.join("report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>"));
    stage.end();
}

/// Files of a certificate for `localhost`.
fn certify(stage: &Stage) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(stage.folder.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(
        stage.folder.join("key.pem"),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
}

/// Says something through the proxy, from another address of this machine, by which the node calls who says it.
#[track_caller]
fn assert_client_is_known(stage: &Stage, node: &Program) {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(stage.folder.join("cert.pem")).unwrap())
        .unwrap();
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let tls = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap())
        .unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 9, 8, 7], 0)).into())
        .unwrap();
    let port = stage.port(8443);
    socket
        .connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())
        .unwrap();
    let stream = StreamOwned::new(tls, TcpStream::from(socket));
    let url = format!("wss://localhost:{port}/chat");
    let (mut peer, _) = tungstenite::client(url, stream).expect("an upgrade");
    peer.send(Message::text("from elsewhere")).unwrap();
    peer.close(None).unwrap();
    while peer.read().is_ok() {}
    let line = node.stdout.wait_for("/chat from elsewhere");
    assert!(line.starts_with("127.9.8.7:"), "{line}");
}

#[test]
fn haproxy_stands_before_a_node() {
    if tools::of_system("haproxy").is_none() {
        return;
    }
    let mut stage = Stage::of(RECIPES, "Behind HAProxy");
    certify(&stage);
    stage.prints("cat cert.pem");
    // It takes no port 0, but it takes a socket.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    stage.map(8443, listener.local_addr().unwrap().port());
    let listener = Stdio::from(OwnedFd::from(listener));
    let node = stage.node("--trust-forwarded-for");
    let changes = [
        ("bind localhost:8443", "bind fd@1"),
        ("server node localhost", "server node 127.0.0.1"),
    ];
    stage.save("haproxy", "haproxy.cfg", &changes);
    let _proxy = stage.start_with_stdout("haproxy -f", listener);
    stage.prints("wsmesh pub");
    node.stdout.wait_for("/chat hello");
    assert_client_is_known(&stage, &node);
    stage.end();
}

#[test]
fn nginx_stands_before_a_node() {
    if tools::nginx().is_none() {
        return;
    }
    let mut stage = Stage::of(RECIPES, "Behind nginx");
    certify(&stage);
    // It takes no port 0, but it shares a port that is kept for it.
    let kept = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    kept.set_reuse_port(true).unwrap();
    kept.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let kept_port = kept.local_addr().unwrap().as_socket().unwrap().port();
    stage.map(8443, kept_port);
    let node = stage.node("--trust-forwarded-for");
    let folder = stage.folder.display().to_string();
    // Where a package for Debian would have its folders.
    let main =
        format!("daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}");
    let http = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .concat();
    let http = format!("http {{ access_log off; {http}");
    let changes = [
        ("events {}", main.as_str()),
        ("http {", &http),
        ("8443 ssl;", "8443 ssl reuseport;"),
    ];
    stage.save("nginx", "nginx.conf", &changes);
    let proxy = stage.start("nginx -c");
    assert_eq!(proxy.wait_listening_port(), kept_port);
    stage.prints("wsmesh pub");
    node.stdout.wait_for("/chat hello");
    assert_client_is_known(&stage, &node);
    stage.end();
}

#[test]
fn a_page_listens() {
    let mut stage = Stage::of(RECIPES, "A page that listens");
    let node = stage.node("--allow-origin null");
    stage.save("html", "news.html", &[]);
    let url = format!("file://{}", stage.folder.join("news.html").display());
    let Some(mut tab) = Tab::open(&stage.folder, &url) else {
        return;
    };
    node.stderr.wait_for("connected on /news");
    stage.prints("wsmesh pub");
    tab.wait("document.querySelector('li')?.textContent === 'it works'");
    stage.end();
}

#[test]
fn sensors_speak_and_screens_hear() {
    if tools::of_system("openssl").is_none() {
        return;
    }
    let mut stage = Stage::of(RECIPES, "Sensors and screens");
    for part in [
        "rand -hex -out sensor",
        "rand -hex -out screen",
        "publish",
        "subscribe",
    ] {
        stage.prints(part);
    }
    let node = stage.node("--token-file tokens");
    let mut screen = stage.start("--token-file screen --count 1");
    node.stderr.wait_for("connected on /sensors/cellar");
    stage.prints("--token-file sensor");
    assert_eq!(screen.wait_exit().code(), Some(0));
    assert_eq!(screen.stdout.all(), ["21.5 °C"]);
    for (part, why) in [("'99 °C'", "1008"), ("/alerts", "403")] {
        let output = stage.run(part);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.stdout, b"status 1\n", "{said}");
        assert!(said.contains(why), "{said}");
    }
    assert!(!node.stdout.contain("99"));
    stage.end();
}
