//! What is refused before anything is sent.

use super::{bench, text};

#[test]
fn other_machines_are_left_alone_without_consent() {
    let output = bench(&["ws://192.0.2.1:80", "ws://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("192.0.2.1") && said.contains("--i-own-this-server"),
        "{said}"
    );
}

#[test]
fn what_was_typed_wrong_is_told() {
    let url = "ws://127.0.0.1:1";
    for (options, parts) in [
        (&[] as &[&str], &["URL"] as &[&str]),
        (
            &["localhost:80"],
            &["URL: `localhost:80`", "ws://localhost:80"],
        ),
        (&[url, "-n", "0"], &["--connections 0", "from 1"]),
        (
            &[url, "-n", "1"],
            &["--connections 1", "raise --connections"],
        ),
        (
            &[url, "-n", "1048576"],
            &["--connections 1048576", "ulimit -n"],
        ),
        (&[url, "--size", "10"], &["--size 10B", "from 56B"]),
        (
            &[url, "--mode", "chat"],
            &["--mode: `chat`", "publish, listen, echo or idle"],
        ),
        (
            &[url, "--source", "here"],
            &["--source: `here`", "127.0.0.2"],
        ),
        (&[url, "--header", "X"], &["--header: `X`", "X-Room: blue"]),
        (
            &[url, "--token-file", "/nowhere"],
            &["--token-file /nowhere"],
        ),
        (
            &[url, "--pid", "4194305"],
            &["--pid 4194305: there is no such process"],
        ),
        (&[url, "--pid", "99999999999"], &["--pid 99999999999: "]),
        (
            &[url, "--source", "192.0.2.7"],
            &["--source 192.0.2.7", "not an address"],
        ),
        (
            &[url, "--source", "::1"],
            &[url, "127.0.0.1:1", "--source ::1", "IPv4"],
        ),
        (&[url, "--subprotocol", "a b"], &["--subprotocol: `a b`"]),
        (
            &[url, "--mode", "idle", "--rate", "100"],
            &["--rate", "--mode idle", "publish or echo"],
        ),
        (
            &[url, "--mode", "echo", "--publishers", "1"],
            &["--publishers", "--mode echo", "for --mode publish"],
        ),
        (
            &[url, "--html", "/nowhere/page.html"],
            &["--html /nowhere/page.html"],
        ),
        (&[url, "--html", "/"], &["--html /: "]),
        (
            &["--compare", "/a", "/b", "-n", "5"],
            &["--connections", "--compare"],
        ),
        (
            &["--compare", "/a", "/b", "--max-p99", "5ms"],
            &["--max-p99"],
        ),
        (
            &["--compare", "/a", "/b", "--json"],
            &["--json", "--compare"],
        ),
        (&[url, "--json", "--csv"], &["--json", "--csv"]),
        (
            &["ws://no.such.invalid"],
            &["ws://no.such.invalid", "does not resolve"],
        ),
        (&["--compare", "/a", "/b"], &["--compare /a"]),
    ] {
        let output = bench(options);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{options:?}: {said}");
        }
    }
}
