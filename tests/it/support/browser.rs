//! A browser in which a test does what a person would: Chromium, driven by its DevTools protocol.

use std::path::Path;

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{Frame, Program, Raw, Scratch, eventually, tools};

/// A tab of a browser.
pub(crate) struct Tab {
    devtools: Raw,
    session: String,
    calls: u64,
    _browser: Program,
}

impl Tab {
    /// Opens a page; `None` if there is no Chromium.
    #[track_caller]
    pub(crate) fn open(scratch: &Scratch, url: &str) -> Option<Tab> {
        Tab::open_with(scratch, url, &[])
    }

    /// … with further options of the browser.
    #[track_caller]
    pub(crate) fn open_with(scratch: &Scratch, url: &str, options: &[&str]) -> Option<Tab> {
        let mut command = tools::chromium()?;
        command.args(options);
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
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
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
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let mut result = self.call("Runtime.evaluate", params);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].take()
    }

    #[track_caller]
    pub(crate) fn wait(&mut self, expression: &str) {
        eventually(expression, || self.eval(expression) == true);
    }

    #[track_caller]
    pub(crate) fn wait_text(&mut self, id: &str, text: &str) {
        self.wait(&format!(
            "document.getElementById({id:?})?.textContent.includes({text:?}) === true"
        ));
    }

    /// Fills in a field and sends its form, with the keyboard.
    #[track_caller]
    pub(crate) fn submit(&mut self, field: &str, text: &str) {
        self.eval(&format!("document.getElementById({field:?}).focus(); document.getElementById({field:?}).value = ''"));
        self.write(text);
        self.press("Enter");
    }

    /// Writes where the cursor is.
    #[track_caller]
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses a key: Enter, Tab or Backspace.
    #[track_caller]
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            "Backspace" => (8, ""),
            other => panic!("no code is known of {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key, "text": text, "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Draws it in this width, light or dark, and asserts that nothing sticks out.
    #[track_caller]
    pub(crate) fn draw(&mut self, width: u32, height: u32, scheme: &str, path: &Path) {
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
