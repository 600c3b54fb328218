//! Certificates that are read again.

use std::fs;

use super::{Authority, certified, client, dialing, listening, url_of};

#[test]
fn a_new_certificate_is_for_new_connections_and_the_old_ones_stay() {
    let (authority, mut node) = certified();
    let mut before = client::upgrade(node.address(), authority.client_config());
    let old_pin = node.stderr.wait_for("the key of this node in TLS is ");

    let renewed = authority.issue("renewed", &["localhost"], |_| {});
    fs::copy(&renewed.cert, authority.file("node.pem")).unwrap();
    fs::copy(&renewed.key, authority.file("node.key")).unwrap();
    node.signal("HUP");
    node.stderr.wait_for("SIGHUP: all files are read again");
    let pins = node
        .stderr
        .wait_for_count(2, "the key of this node in TLS is ");
    let pin = |line: &str| line.rsplit(' ').next().map(str::to_owned);
    assert_ne!(pin(&pins[1]), pin(&old_pin));
    let new = pin(&pins[1]).unwrap();

    client::assert_echoed(&mut before, "before");
    let mut after = client::upgrade(node.address(), authority.client_config());
    client::assert_echoed(&mut after, "after");
    let pinned = dialing(&url_of(&node), ["--tls-pin", &new]);
    pinned.stderr.wait_for("neighbor wss://localhost:");
    before.close(None).unwrap();
    node.stop();
}

#[test]
fn a_wrong_certificate_leaves_the_old_one_in_force() {
    let (authority, node) = certified();
    let files = [authority.file("node.pem"), authority.file("node.key")];
    let mut before = client::upgrade(node.address(), authority.client_config());
    let another = authority.local("another");
    for (count, (key, what)) in [
        (fs::read(&another.key).unwrap(), "does not belong to it"),
        (b"nothing".to_vec(), "there is no private key in it"),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(&files[1], key).unwrap();
        node.signal("HUP");
        let lines = node.stderr.wait_for_count(count + 1, " SIGHUP: --tls-");
        let line = &lines[count];
        assert!(line.contains(" ERROR ") && line.contains(what), "{line}");
        assert!(
            line.ends_with("what was read before stays in force"),
            "{line}"
        );
        let mut after = client::upgrade(node.address(), authority.client_config());
        client::assert_echoed(&mut after, "the old one");
    }
    fs::remove_file(&files[0]).unwrap();
    node.signal("HUP");
    node.stderr
        .wait_for("there is no such file; what was read before stays in force");
    client::assert_echoed(&mut before, "connected");
}

#[test]
fn whom_to_believe_is_read_again_too() {
    let authority = Authority::new("test");
    let elsewhere = Authority::new("elsewhere");
    let server = listening(&authority.local("node"), super::NO_OPTIONS);
    let options = ["--retry-min", "10ms", "--retry-max", "20ms"].map(str::to_owned);
    let options = options.into_iter().chain(elsewhere.ca_options());
    let client = dialing(&url_of(&server), options);
    client.stderr.wait_for("not trusted here");
    fs::copy(authority.ca(), elsewhere.ca()).unwrap();
    client.signal("HUP");
    client.stderr.wait_for("neighbor wss://localhost:");
}
