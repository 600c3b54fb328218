//! The page of `docs/LEAF.md`, which is a leaf of the mesh: in Node.js, and in a browser.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::member::{ANNOUNCEMENT, ids, message};
use super::proxy::{Cable, Proxy};
use super::site::{Site, wait_joined};
use crate::documents;
use crate::support::raw::{answer, header};
use crate::support::{Frame, Program, Raw, RawListener, Scratch, tools};

/// Where that page joins the mesh.
const ITS_URL: &str = "\"ws://localhost:8080/\"";

/// The page as it stands in the document, but for the URLs.
fn page(urls: &[String]) -> String {
    let document = documents::read("docs/LEAF.md");
    let mut pages = document.split("```html\n").skip(1);
    let page = pages.next().and_then(|rest| rest.split("```").next());
    let page = page.expect("a page in the document");
    assert!(page.contains(ITS_URL));
    let urls: Vec<_> = urls.iter().map(|url| format!("{url:?}")).collect();
    page.replace(ITS_URL, &urls.join(", "))
}

/// The script of that page, in a file.
fn script(scratch: &Scratch, urls: &[String]) -> PathBuf {
    let page = page(urls);
    let script = page
        .split("<script>")
        .nth(1)
        .and_then(|rest| rest.split("</script>").next());
    let path = scratch.join("leaf.js");
    fs::write(&path, script.expect("a script in the page")).expect("a file can be written");
    path
}

/// The leaf in Node.js; `None` if that is not installed.
#[track_caller]
fn leaf(scratch: &Scratch, urls: &[String]) -> Option<Program> {
    let mut command = tools::node_js()?;
    command
        .arg(tools::peer_script("leaf.mjs"))
        .arg(script(scratch, urls));
    Some(Program::start("leaf.mjs", command))
}

/// Two neighbors.
fn pair() -> [Site; 2] {
    // The page is a file.
    let options = ["-v", "--allow-origin", "null"];
    let a = Site::start(&options, &[]);
    let b = Site::start(&options, &[a.url()]);
    wait_joined(&[&a, &b], 2);
    [a, b]
}

#[track_caller]
fn assert_hears(peer: &mut Raw, text: &str) {
    assert_eq!(peer.read_frame(), Frame::text(text));
}

/// Asserts that these are all the messages that the leaf has heard, in this order.
#[track_caller]
fn assert_heard(leaf: &Program, texts: &[&str]) {
    let last = texts.last().expect("some");
    leaf.stdout.wait_for_line(&format!("heard {last}"));
    let expected: Vec<_> = texts.iter().map(|text| format!("heard {text}")).collect();
    assert_eq!(leaf.stdout.all(), expected);
}

#[test]
fn the_page_of_the_document_gets_what_it_missed_once() {
    let scratch = Scratch::new("page");
    let [a, b] = pair();
    a.publish(["before its time"]);
    let cable = Cable::default();
    let way = Proxy::start(a.address(), &cable);
    let Some(mut leaf) = leaf(&scratch, &[way.url()]) else {
        return;
    };
    a.node().stderr.wait_for_count(2, "neighbor 127.0.0.1:");
    let mut peers = [&a, &b].map(|site| Raw::upgraded(site.address(), "/"));
    let mut sensors = Raw::upgraded(b.address(), "/sensors");
    // It is heard as soon as it is a neighbor, and hears from then on.
    leaf.say("say hello");
    for peer in &mut peers {
        assert_hears(peer, "hello");
    }
    b.publish(["one", "grüße, 世界"]);
    sensors.send_frame(Frame::text("21 °C"));
    assert_heard(&leaf, &["/ one", "/ grüße, 世界", "/sensors 21 °C"]);

    cable.cut();
    leaf.say("say in the dark");
    b.publish(["two"]);
    for peer in &mut peers {
        for text in ["one", "grüße, 世界", "two"] {
            assert_hears(peer, text);
        }
    }
    // Only now, so that it comes second at both nodes.
    a.publish(["three"]);
    for peer in &mut peers {
        assert_hears(peer, "three");
    }
    cable.mend();
    for peer in &mut peers {
        assert_hears(peer, "in the dark");
    }
    a.publish(["four"]);
    let texts = [
        "/ one",
        "/ grüße, 世界",
        "/sensors 21 °C",
        "/ two",
        "/ three",
        "/ four",
    ];
    assert_heard(&leaf, &texts);
    leaf.say("say goodbye");
    for peer in &mut peers {
        assert_hears(peer, "four");
        assert_hears(peer, "goodbye");
        assert_eq!(peer.sync(), [], "nothing twice");
    }
}

#[test]
fn the_page_of_the_readme_goes_from_node_to_node() {
    let scratch = Scratch::new("page");
    let [mut a, b] = pair();
    let Some(mut leaf) = leaf(&scratch, &[a.url(), b.url()]) else {
        return;
    };
    let mut peer = Raw::upgraded(b.address(), "/");
    leaf.say("say hello");
    assert_hears(&mut peer, "hello");
    b.publish(["one"]);
    assert_heard(&leaf, &["/ one"]);
    a.kill();
    leaf.say("say to nobody");
    b.publish(["two"]);
    assert_heard(&leaf, &["/ one", "/ two"]);
    for text in ["one", "two", "to nobody"] {
        assert_hears(&mut peer, text);
    }
    // A node that starts again is another one, and has nothing.
    a.restart();
    wait_joined(&[&b, &a], 1);
    leaf.say("say still here");
    a.node().stdout.wait_for("still here");
    assert!(!a.node().stdout.contain("to nobody"));
}

/// Answers to the leaf as a node would; returns the connection and the hello.
#[track_caller]
fn accept(listener: &RawListener) -> (Raw, Value) {
    let mut raw = listener.accept();
    let head = raw.read_head();
    assert_eq!(
        header(&head, "sec-websocket-protocol").as_deref(),
        Some("wsmesh.v1")
    );
    let selected = "Upgrade\r\nSec-WebSocket-Protocol: wsmesh.v1\r\n";
    raw.send(answer(&head).replacen("Upgrade\r\n", selected, 1));
    let hello = serde_json::from_slice(&raw.read_frame().payload).expect("JSON");
    (raw, hello)
}

#[test]
fn the_page_of_the_readme_takes_each_message_once_and_leaves_aside_what_it_does_not_know() {
    const ORIGIN: u128 = 0xabc;
    let scratch = Scratch::new("page");
    let listener = RawListener::bind();
    let Some(mut leaf) = leaf(&scratch, &[listener.url("/")]) else {
        return;
    };
    let (mut node, hello) = accept(&listener);
    let id = u128::from_str_radix(hello["id"].as_str().expect("an id"), 16).expect("hexadecimal");
    for (key, value) in [
        ("type", json!("hello")),
        ("min", json!(1)),
        ("max", json!(1)),
        ("network", json!("default")),
        ("role", json!("leaf")),
        ("have", Value::Null),
        ("age", Value::Null),
    ] {
        assert_eq!(hello[key], value, "{key}");
    }
    let name = format!("{ORIGIN:032x}");
    let ours = json!({"type": "hello", "id": "00", "have": {&name: 4}});
    node.send_frame(Frame::text(ours.to_string()));
    node.send_frame(Frame::text(json!({"type": "later"}).to_string()));
    node.send_frame(ids(ANNOUNCEMENT, ORIGIN, 1..9));
    node.send_frame(Frame::binary([9]));
    for number in [4, 5, 5, 7, 3, 6, 7, 5, 9] {
        node.send_frame(message(ORIGIN, number, &format!("number {number}")));
    }
    assert_heard(
        &leaf,
        &["/ number 5", "/ number 7", "/ number 6", "/ number 9"],
    );
    leaf.say("say mine");
    leaf.say("say mine too");
    assert_eq!(node.read_frame(), message(id, 1, "mine"));
    assert_eq!(node.read_frame(), message(id, 2, "mine too"));
    drop(node);

    // The second one did not get through.
    let (mut node, hello) = accept(&listener);
    let mine = format!("{id:032x}");
    assert_eq!(hello["id"], json!(&mine));
    assert_eq!(hello["have"], json!({name: 7, &mine: 2}));
    let age = hello["age"].as_f64().expect("milliseconds");
    assert!((0.0..60_000.0).contains(&age), "{age}");
    let ours = json!({"type": "hello", "id": "00", "have": {mine: 1}});
    node.send_frame(Frame::text(ours.to_string()));
    assert_eq!(node.read_frame(), message(id, 2, "mine too"));
    for number in [9, 8, 10] {
        node.send_frame(message(ORIGIN, number, &format!("number {number}")));
    }
    leaf.stdout.wait_for_line("heard / number 10");
    assert_eq!(leaf.stdout.count("number"), 6);
}

#[test]
fn the_page_of_the_readme_takes_bytes_and_what_is_for_the_neighbors_alone() {
    const DIRECT_TEXT: u8 = 1 | 2;
    let scratch = Scratch::new("page");
    let listener = RawListener::bind();
    let Some(leaf) = leaf(&scratch, &[listener.url("/")]) else {
        return;
    };
    let (mut node, _) = accept(&listener);
    node.send_frame(Frame::text(
        json!({"type": "hello", "id": "00"}).to_string(),
    ));
    let flagged = |frame: Frame, flags| {
        let mut bytes = frame.payload.to_vec();
        bytes[1] = flags;
        Frame::binary(bytes)
    };
    // Such a message has no number that would tell it from the one before.
    for text in ["direct", "direct", "direct too"] {
        node.send_frame(flagged(message(0xabc, 0, text), DIRECT_TEXT));
    }
    node.send_frame(flagged(message(0xabc, 1, "AZ"), 0));
    assert_heard(&leaf, &["/ direct", "/ direct", "/ direct too", "/ 415a"]);
}

/// Says again what the page shows, as a person at the keyboard would.
const PARROT: &str = r#"<script>
new MutationObserver(changes => {
  const shown = changes.flatMap(change => Array.from(change.addedNodes, node => node.textContent.trim()));
  for (const text of shown) {
    form.elements[0].value = `the page shows: ${text}`;
    form.requestSubmit();
  }
}).observe(pre, { childList: true });
publish("the page is open");
</script>
"#;

#[test]
fn the_page_of_the_readme_runs_in_a_browser() {
    let Some(mut browser) = tools::chromium() else {
        return;
    };
    let scratch = Scratch::new("page");
    let [a, b] = pair();
    let cable = Cable::default();
    let way = Proxy::start(a.address(), &cable);
    let mut peer = Raw::upgraded(b.address(), "/");
    let path = scratch.join("leaf.html");
    fs::write(&path, page(&[way.url()]) + PARROT).expect("a file can be written");
    browser.arg(format!(
        "--user-data-dir={}",
        scratch.join("profile").display()
    ));
    browser.arg(format!("file://{}", path.display()));
    let _browser = Program::start("chromium", browser);
    assert_hears(&mut peer, "the page is open");
    a.publish(["one"]);
    assert_hears(&mut peer, "one");
    assert_hears(&mut peer, "the page shows: / one");

    cable.cut();
    a.publish(["two"]);
    assert_hears(&mut peer, "two");
    cable.mend();
    assert_hears(&mut peer, "the page shows: / two");
    a.publish(["three"]);
    assert_hears(&mut peer, "three");
    assert_hears(&mut peer, "the page shows: / three");
    assert_eq!(peer.sync(), [], "nothing twice");
}
