//! The page in Chromium: what a person would see and do.

use std::path::Path;

use super::{ask, metric, node};
use crate::support::{Frame, Node, Raw, RawListener, Scratch, Tab};

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
        ("phone.png", 390, 1700, "light"),
        ("phone-dark.png", 390, 1700, "dark"),
        ("narrow.png", 320, 1800, "light"),
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

/// Asserts that a script that collects what is wrong finds nothing.
#[track_caller]
fn assert_none(tab: &mut Tab, what: &str, script: &str) {
    let found = tab.eval(script);
    let found = found.as_array().expect("a list");
    assert!(found.is_empty(), "{what}: {found:?}");
}

/// All that shows a text of its own.
const SHOWN: &str = "[...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && \
                     [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim()))";

/// How much lighter a text is than what is behind it, or darker (WCAG 2.2).
const CONTRAST: &str = "\
    const rgb = c => c.match(/[\\d.]+/g).map(Number); \
    const light = c => { const [r, g, b] = rgb(c).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); \
      return .2126 * r + .7152 * g + .0722 * b; }; \
    const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; \
      if (rgb(c).length === 3) return c; } return 'rgb(255, 255, 255)'; }; \
    const of = e => { const style = getComputedStyle(e); const front = e instanceof SVGElement ? style.fill : style.color; \
      const [a, b] = [light(front), light(behind(e))].sort((x, y) => y - x); return (a + .05) / (b + .05); };";

/// With neighbors, peers of both kinds of level and a message in the log, so that all is there to be read.
fn lively() -> Option<(Vec<Node>, Vec<Raw>, Tab, Scratch)> {
    let scratch = Scratch::new("status-page");
    let (a, at) = node(&[]);
    let mut tab = Tab::open(&scratch, &format!("http://{at}/"))?;
    tab.wait_text("state", "network default");
    let neighbors = (0..4).map(|_| Node::listening(["--interval", "off", "--peers", &a.url("/")]));
    let neighbors: Vec<_> = neighbors.collect();
    let mut peers: Vec<_> = (0..2)
        .map(|_| {
            Raw::upgraded(
                a.address(),
                "/a/channel/with/quite/a/long/name/that/does/not/fit",
            )
        })
        .collect();
    tab.submit("channel", "/chat");
    tab.wait_text("joined", "listening to /chat");
    let mut speaker = Raw::upgraded(a.address(), "/chat");
    speaker.send_frame(Frame::text("x".repeat(300)));
    tab.wait_text("log", "xxx");
    tab.submit("text", "of my own");
    tab.wait("document.querySelectorAll('#mesh circle').length === 6");
    peers.push(speaker);
    Some((
        neighbors.into_iter().chain([a]).collect(),
        peers,
        tab,
        scratch,
    ))
}

#[test]
fn the_page_can_be_read_on_a_phone_and_by_day_and_night() {
    let Some((_nodes, _peers, mut tab, scratch)) = lively() else {
        return;
    };
    for (width, scheme) in [
        (390, "light"),
        (390, "dark"),
        (1280, "light"),
        (1280, "dark"),
    ] {
        tab.draw(width, 1700, scheme, &scratch.join("page.png"));
        // As large as it is drawn: a picture is scaled.
        let small = format!(
            "{SHOWN}.map(e => [e.textContent.trim(), parseFloat(getComputedStyle(e).fontSize) * \
             (e instanceof SVGElement ? e.getScreenCTM().a : 1)]).filter(([, size]) => size < 10.5)"
        );
        assert_none(&mut tab, &format!("too small at {width}"), &small);
        let pale = format!(
            "(() => {{ {CONTRAST} return {SHOWN}.map(e => [e.textContent.trim(), of(e)]).filter(([, ratio]) => ratio < 4.5); }})()"
        );
        assert_none(&mut tab, &format!("too pale, {scheme}"), &pale);
        let tiny = "[...document.querySelectorAll('button, input')].filter(e => e.checkVisibility()) \
                    .map(e => [e.id, e.getBoundingClientRect().height]).filter(([, height]) => height < 32)";
        assert_none(&mut tab, "no place for a finger", tiny);
        let out = "[...document.querySelectorAll('#mesh text')].filter(e => { const b = e.getBBox(); \
                   return b.x < 0 || b.x + b.width > 400 || b.y < 0 || b.y + b.height > 310; }).map(e => e.textContent)";
        assert_none(&mut tab, "beyond the picture of the mesh", out);
    }
}

#[test]
fn the_page_is_used_with_the_keyboard_alone() {
    let scratch = Scratch::new("status-page");
    let (node, at) = node(&[]);
    let Some(mut tab) = Tab::open(&scratch, &format!("http://{at}/")) else {
        return;
    };
    let mut peer = Raw::upgraded(node.address(), "/chat");
    tab.wait_text("state", "network default");
    let nameless =
        "[...document.querySelectorAll('input')].filter(e => !e.labels.length).map(e => e.id)";
    assert_none(&mut tab, "fields without a label", nameless);
    let nameless = "[...document.querySelectorAll('[tabindex], [role=region], [role=img], [role=log]')] \
                    .filter(e => !e.getAttribute('aria-label') && !e.getAttribute('aria-labelledby')).map(e => e.id)";
    assert_none(&mut tab, "parts without a name", nameless);
    const FOCUSED: &str = "(e => e.id || e.className || e.textContent)(document.activeElement)";
    let mut way = Vec::new();
    for _ in 0..6 {
        tab.press("Tab");
        way.push(tab.eval(FOCUSED));
        let outline = tab.eval(
            "(s => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2)(getComputedStyle(document.activeElement))",
        );
        assert_eq!(outline, true, "nobody sees that {way:?} is where one is");
        match way.len() {
            1 => tab.write("/chat"),
            2 => tab.press("Enter"),
            4 => tab.write("by keyboard"),
            5 => {
                tab.wait_text("joined", "listening to /chat");
                tab.press("Enter");
            }
            _ => {}
        }
    }
    assert_eq!(way, ["channel", "Listen", "log", "text", "Publish", "wide"]);
    assert_eq!(peer.read_frame(), Frame::text("by keyboard"));
}

#[test]
fn the_page_loads_and_sends_nothing_elsewhere() {
    let scratch = Scratch::new("status-page");
    let (_node, at) = node(&[]);
    let Some(mut tab) = Tab::open(&scratch, &format!("http://{at}/")) else {
        return;
    };
    tab.wait_text("state", "network default");
    let elsewhere = RawListener::bind();
    let place = elsewhere.address();
    tab.eval(&format!(
        "window.barred = []; addEventListener('securitypolicyviolation', e => barred.push(e.effectiveDirective)); \
         const image = new Image(); image.src = 'http://{place}/'; fetch('http://{place}/').catch(() => 0); \
         try {{ new WebSocket('ws://{place}/') }} catch {{}}; \
         const style = document.createElement('style'); style.textContent = 'h1 {{ color: red }}'; document.head.append(style); \
         const frame = document.createElement('iframe'); frame.src = 'http://127.0.0.1:1/'; document.body.append(frame)"
    ));
    tab.wait(
        "['img-src', 'connect-src', 'style-src-elem', 'frame-src'].every(part => barred.includes(part)) && \
         barred.filter(part => part === 'connect-src').length === 2",
    );
    assert!(elsewhere.try_accept().is_none());
    // Nor may another page show it within itself.
    let mut head = ask(at, "HEAD /").to_ascii_lowercase();
    head.retain(|c| c != '\r');
    assert!(
        head.contains("frame-ancestors 'none'") && head.contains("nosniff"),
        "{head}"
    );
}

#[test]
fn the_page_asks_for_a_token_and_shows_it() {
    let scratch = Scratch::new("status-page");
    let file = scratch.join("tokens");
    let token = "0123456789abcdef-looks";
    std::fs::write(&file, format!("{token} status subscribe publish\n")).unwrap();
    let (node, at) = node(&["--token-file", file.to_str().unwrap()]);
    let Some(mut tab) = Tab::open(&scratch, &format!("http://{at}/")) else {
        return;
    };
    tab.wait_text("state", "this node wants a token");
    assert_eq!(tab.eval("document.getElementById('key').hidden"), false);
    tab.submit("token", "0123456789abcdef-wrong");
    tab.wait_text("state", "this is no token of this node");
    tab.submit("token", token);
    tab.wait_text("state", "network default");
    tab.wait("document.getElementById('key').hidden");
    tab.submit("channel", "/chat");
    tab.wait_text("joined", "listening to /chat");
    tab.submit("text", "with a token");
    node.stdout.wait_for("/chat with a token");
    // It stays in this tab, and in no URL.
    assert_eq!(
        tab.eval("location.href.includes('0123') || document.cookie.includes('0123')"),
        false
    );
    tab.eval("location.reload()");
    tab.wait_text("state", "network default");
}
