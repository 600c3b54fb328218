//! The page in Chromium, driven by its DevTools protocol: what a person would see and do.

use std::path::Path;

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{metric, node};
use crate::support::{Frame, Node, Program, Raw, Scratch, eventually, tools};

/// A tab of a browser.
struct Tab {
    devtools: Raw,
    session: String,
    calls: u64,
    _browser: Program,
}

impl Tab {
    /// Opens a page; `None` if there is no Chromium.
    #[track_caller]
    fn open(scratch: &Scratch, url: &str) -> Option<Tab> {
        let mut command = tools::chromium()?;
        command.arg("--remote-debugging-port=0");
        command.arg(format!(
            "--user-data-dir={}",
            scratch.join("profile").display()
        ));
        let browser = Program::start("chromium", command);
        const SAID: &str = "DevTools listening on ws://";
        let line = browser.stderr.wait_for(SAID);
        let (_, rest) = line.split_once(SAID).unwrap();
        let (address, path) = rest.trim().split_at(rest.find('/').unwrap());
        let mut tab = Tab {
            devtools: Raw::upgraded(address.parse().unwrap(), path),
            session: String::new(),
            calls: 0,
            _browser: browser,
        };
        let target = tab.call("Target.createTarget", json!({ "url": url }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = tab.call("Target.attachToTarget", target);
        tab.session = session["sessionId"].as_str().unwrap().to_owned();
        Some(tab)
    }

    #[track_caller]
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": params });
        if !self.session.is_empty() {
            call["sessionId"] = self.session.clone().into();
        }
        self.devtools.send_frame(Frame::text(call.to_string()));
        loop {
            let frame = self.devtools.read_frame();
            let mut answer: Value = serde_json::from_slice(&frame.payload).unwrap();
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// The value of an expression.
    #[track_caller]
    fn eval(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let mut result = self.call("Runtime.evaluate", params);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].take()
    }

    #[track_caller]
    fn wait(&mut self, expression: &str) {
        eventually(expression, || self.eval(expression) == true);
    }

    #[track_caller]
    fn wait_text(&mut self, id: &str, text: &str) {
        self.wait(&format!(
            "document.getElementById({id:?})?.textContent.includes({text:?}) === true"
        ));
    }

    /// Fills in a field and sends its form, with the keyboard.
    #[track_caller]
    fn submit(&mut self, field: &str, text: &str) {
        self.eval(&format!("document.getElementById({field:?}).focus(); document.getElementById({field:?}).value = ''"));
        self.call("Input.insertText", json!({ "text": text }));
        for kind in ["keyDown", "keyUp"] {
            let key = json!({ "type": kind, "key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13 });
            self.call("Input.dispatchKeyEvent", key);
        }
    }

    /// Draws it in this width, light or dark, and asserts that nothing sticks out.
    #[track_caller]
    fn draw(&mut self, width: u32, height: u32, scheme: &str, path: &Path) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", scheme);
        self.wait("document.documentElement.scrollWidth <= innerWidth");
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let picture = BASE64.decode(picture["data"].as_str().unwrap().as_bytes());
        std::fs::write(path, picture.unwrap()).unwrap();
    }
}

#[test]
fn the_page_draws_the_mesh_and_keeps_up_with_it() {
    let scratch = Scratch::new("status-page");
    let (a, at) = node(&[]);
    let Some(mut tab) = Tab::open(&scratch, &format!("http://{at}/")) else {
        return;
    };
    tab.wait_text("state", "network default");
    tab.wait("document.querySelectorAll('#mesh circle').length === 1");
    let b = Node::listening(["--interval", "off", "--peers", &a.url("/")]);
    let mut peers: Vec<_> = (0..3)
        .map(|_| Raw::upgraded(a.address(), "/<i>&amp;"))
        .collect();
    // This node, its neighbor, and the plain peers.
    tab.wait("document.querySelectorAll('#mesh circle').length === 3");
    tab.wait("document.querySelector('#mesh .crowd text').textContent === '3'");
    tab.wait("[...document.querySelectorAll('#mesh line')].some(line => /parent|child/.test(line.className.baseVal))");
    tab.wait("document.querySelectorAll('#peers tr').length === 4");
    tab.wait_text("peers", "/<i>&amp;");
    let mut other = Raw::upgraded(b.address(), "/x");
    other.send_frame(Frame::text("y".repeat(5000)));
    tab.wait("rates.some(rate => rate.messagesIn > 0 && rate.bytesIn > 0)");
    tab.wait("document.querySelector('#bytes polyline').getAttribute('points').length > 10");
    for (name, width, height, scheme) in [
        ("phone.png", 375, 1600, "light"),
        ("phone-dark.png", 375, 1600, "dark"),
        ("desktop.png", 1280, 900, "light"),
        ("desktop-dark.png", 1280, 900, "dark"),
    ] {
        let kept = std::env::var_os("WSMESH_TEST_PICTURES");
        let path = kept.map_or_else(
            || scratch.join(name),
            |folder| Path::new(&folder).join(name),
        );
        tab.draw(width, height, scheme, &path);
        let is_dark =
            tab.eval("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)";
        assert_eq!(is_dark, scheme == "dark");
    }
    assert_eq!(peers[0].sync(), []);
    assert_eq!(metric(at, "neighbors"), 1.0);
}

#[test]
fn the_page_publishes_and_shows_what_peers_say_as_text() {
    let scratch = Scratch::new("status-page");
    let (node, at) = node(&[]);
    let Some(mut tab) = Tab::open(&scratch, &format!("http://{at}/")) else {
        return;
    };
    let mut peer = Raw::upgraded(node.address(), "/chat");
    tab.wait_text("state", "network default");
    tab.submit("text", "too early");
    tab.wait_text("log", "listen to a channel first");
    tab.submit("channel", "/chat");
    tab.wait_text("joined", "listening to /chat");
    tab.submit("text", "hello, 世界");
    assert_eq!(peer.read_frame(), Frame::text("hello, 世界"));
    let markup = "<img src=x onerror=\"document.title='taken'\"><script>alert(1)</script>";
    peer.send_frame(Frame::text(markup));
    peer.send_frame(Frame::binary([1, 2, 3]));
    tab.wait_text("log", "<script>alert(1)</script>");
    tab.wait_text("log", "(3 B binary)");
    assert_eq!(
        tab.eval("document.querySelectorAll('#log img, #log script').length"),
        0
    );
    // What the page may load and run, the node says; a style or a script that was smuggled in has no effect.
    tab.eval("try { const s = document.createElement('script'); s.textContent = 'window.taken = 1'; document.body.append(s) } catch {}");
    assert_eq!(tab.eval("window.taken === undefined"), true);
    assert!(
        tab.eval("document.title")
            .as_str()
            .unwrap()
            .starts_with("wsmesh ")
    );
}

#[test]
fn the_page_outlives_the_node_that_it_shows() {
    let scratch = Scratch::new("status-page");
    let (mut node, at) = node(&[]);
    let Some(mut tab) = Tab::open(&scratch, &format!("http://{at}/")) else {
        return;
    };
    tab.wait_text("state", "network default");
    tab.submit("channel", "/");
    tab.wait_text("joined", "listening to /");
    let before = tab.eval("document.getElementById('id').textContent");
    node.kill();
    tab.wait_text("state", "trying again");
    let at = at.to_string();
    let node = Node::listening(["--interval", "off", "--status", &at]);
    assert_eq!(node.status_address().to_string(), at);
    tab.wait_text("state", "network default");
    tab.wait_text("joined", "listening to /");
    assert_ne!(
        tab.eval("document.getElementById('id').textContent"),
        before
    );
    let mut peer = Raw::upgraded(node.address(), "/");
    tab.submit("text", "still here");
    assert_eq!(peer.read_frame(), Frame::text("still here"));
}
