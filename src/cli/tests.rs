use super::*;
use log::LevelFilter;
use std::time::Duration;
use wsmesh::config::{
    AccessConfig, BroadcastScope, Exemptions, HistoryLimits, Limits, MeshConfig, Pin, ProxyConfig,
    Rate, SlowPeer, StatusConfig, TlsConfig,
};

fn cli(line: &str) -> Result<Cli, clap::Error> {
    let words = std::iter::once("wsmesh").chain(line.split_whitespace());
    read(words.map(OsString::from).collect())
}

fn config(line: &str) -> Config {
    cli(line).and_then(|cli| cli.node.into_config()).unwrap()
}

fn error(line: &str) -> String {
    let error = cli(line)
        .and_then(|cli| cli.node.into_config())
        .unwrap_err();
    assert_eq!(error.exit_code(), 2, "{line}");
    error.to_string()
}

#[test]
fn clap_accepts_its_definition() {
    command().debug_assert();
}

#[test]
fn every_option_has_its_variable_and_both_helps() {
    for arg in Cli::command().get_arguments() {
        let long = arg.get_long().unwrap();
        let expected = format!("WSMESH_{}", long.to_uppercase().replace('-', "_"));
        assert_eq!(arg.get_env().unwrap(), expected.as_str());
        assert!(
            arg.get_help().is_some() && arg.get_long_help().is_some(),
            "{long}"
        );
    }
}

#[test]
fn the_short_help_has_one_line_an_option() {
    let help = command().term_width(100).render_help().to_string();
    let options = command().get_arguments().count() + 2;
    // A line each, and one of the usage for all of them.
    let subcommands = command().get_subcommands().count() + 1;
    let lines = help.lines().filter(|line| line.starts_with("  "));
    assert_eq!(lines.count(), options + subcommands, "{help}");
}

#[test]
fn what_is_not_said_has_the_defaults_of_the_library() {
    let expected = Config {
        binds: vec!["localhost:8080".parse().unwrap()],
        ..Config::default()
    };
    assert_eq!(config("--bind localhost:8080"), expected);
}

#[test]
fn every_option_reaches_its_place() {
    let config = config(
        "-b a:1,b:2 --bind [::1]:3 -p ws://a,ws://b/x -p ws://c --interval 2m --message {seq} \
         --echo --slow-peer drop-oldest --max-connections 11 --max-connections-per-address 12 --max-connections-per-network 20 \
         --max-handshakes 13 --handshake-timeout 14s --max-head 1KiB --max-message 64KiB \
         --outbox 1MB --ping-interval off --close-timeout 15s --shutdown-timeout 16s --drain 24s --restart-notice --resolve-interval 25s \
         --retry-min 17ms --retry-max 18s --broadcast-scope mesh --relay off --network n \
         --advertise ws://a,ws://b --advertise ws://c --degree 6 --hops 7 --history 8s \
         --history-messages 9 --history-bytes 10KiB --max-publish-rate 19 --token-file t1 --peer-token-file t2 \
         --token-in-url --proxy http://p --allow-origin null,https://a --allow 10.0.0.0/8,::1 --deny 10.0.0.7 --trust-forwarded-for 127.0.0.1 --proxy-protocol 10.0.0.8 --bind wss://a:4 --tls-cert c1 --tls-key k1 \
         --memory 21MB \
         --max-publish-bytes 1MB,delay --max-publish-rate-per-address 22,delay --max-publish-bytes-per-address 2MB --max-handshake-rate 23 \
         --tls-client-ca a1 --tls-ca a2 --tls-client-cert c2 --tls-client-key k2 \
         --tls-pin sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= --status [::1]:5 --ready-neighbors 21",
    );
    let expected = Config {
        binds: ["a:1", "b:2", "[::1]:3", "wss://a:4"]
            .map(|bind| bind.parse().unwrap())
            .to_vec(),
        peers: ["ws://a", "ws://b/x", "ws://c"]
            .map(|url| url.parse().unwrap())
            .to_vec(),
        // They are not resolved here with a proxy.
        named_peers: Vec::new(),
        restart_notice: true,
        proxies: ProxyConfig {
            clear: Some("http://p".parse().unwrap()),
            tls: Some("http://p".parse().unwrap()),
            for_loopback: true,
            exempt: Exemptions::default(),
        },
        interval: Some(Duration::from_secs(120)),
        message: "{seq}".parse().unwrap(),
        broadcast_scope: BroadcastScope::Mesh,
        relay: false,
        mesh: MeshConfig {
            network: "n".parse().unwrap(),
            advertise: ["ws://a", "ws://b", "ws://c"]
                .map(|url| url.parse().unwrap())
                .to_vec(),
            degree: 6,
            hops_max: 7,
            history: HistoryLimits {
                age_max: Some(Duration::from_secs(8)),
                messages_max: 9,
                bytes_max: 10 * 1024,
            },
            is_leaf: false,
        },
        echo: true,
        slow_peer: SlowPeer::DropOldest,
        access: AccessConfig {
            token_file: Some("t1".into()),
            token_in_url: true,
            peer_token_file: Some("t2".into()),
            allow: ["10.0.0.0/8", "::1"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            deny: vec!["10.0.0.7".parse().unwrap()],
            trusted_proxies: vec!["127.0.0.1".parse().unwrap()],
            introducing_proxies: vec!["10.0.0.8".parse().unwrap()],
            origins: vec!["null".parse().unwrap(), "https://a".parse().unwrap()],
        },
        tls: TlsConfig {
            cert: Some("c1".into()),
            key: Some("k1".into()),
            client_ca: Some("a1".into()),
            ca: Some("a2".into()),
            pins: vec![Pin::new(std::array::from_fn(|place| place as u8))],
            client_cert: Some("c2".into()),
            client_key: Some("k2".into()),
        },
        status: StatusConfig {
            bind: Some("[::1]:5".parse().unwrap()),
            ready_neighbors: 21,
        },
        limits: Limits {
            connections_max: 11,
            connections_per_address_max: 12,
            connections_per_network_max: 20,
            handshakes_max: 13,
            handshake_timeout: Duration::from_secs(14),
            head_bytes_max: 1024,
            message_bytes_max: 65536,
            publish_rate_max: Some(Rate::closing(19)),
            publish_bytes_max: Some(Rate::delaying(1_000_000)),
            publish_rate_per_address_max: Some(Rate::delaying(22)),
            publish_bytes_per_address_max: Some(Rate::closing(2_000_000)),
            handshake_rate_max: Some(23),
            outbox_bytes_max: 1_000_000,
            memory_bytes_max: Some(21_000_000),
            ping_interval: None,
            close_timeout: Duration::from_secs(15),
            shutdown_timeout: Duration::from_secs(16),
            drain: Some(Duration::from_secs(24)),
            resolve_interval: Duration::from_secs(25),
            retry_min: Duration::from_millis(17),
            retry_max: Duration::from_secs(18),
        },
    };
    assert_eq!(config, expected);
    assert!(self::config("-p ws://a --leaf").mesh.is_leaf);
}

#[test]
fn names_stand_beside_peers_and_need_no_proxy() {
    let config = config("-p ws://a,dns+ws://b:1,ws://c -p dns+wss://d");
    let urls = |texts: [&str; 2]| texts.map(|text| text.parse().unwrap()).to_vec();
    assert_eq!(config.peers, urls(["ws://a", "ws://c"]));
    assert_eq!(config.named_peers, urls(["ws://b:1", "wss://d"]));
    let error = error("-p dns+ws://mesh.example:1 --proxy http://p");
    for part in [
        "dns+ws://mesh.example:1",
        "the proxy resolves names",
        "NO_PROXY=mesh.example",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn what_can_be_switched_off_is_off() {
    for text in ["off", "0", "0s"] {
        assert_eq!(config(&format!("-b a:1 --drain {text}")).limits.drain, None);
    }
    let config = config("-b a:1 --history off --max-publish-rate off --relay off");
    assert_eq!(config.mesh.history.age_max, None);
    assert_eq!(config.limits.publish_rate_max, None);
    assert!(!config.relay);
}

#[test]
fn the_level_follows_both_flags() {
    for (line, level) in [
        ("", LevelFilter::Info),
        ("-v", LevelFilter::Debug),
        ("-vv", LevelFilter::Trace),
        ("-vvvv", LevelFilter::Trace),
        ("-q", LevelFilter::Warn),
        ("-qq", LevelFilter::Error),
        ("-qqq", LevelFilter::Off),
        ("-qqqqq", LevelFilter::Off),
        ("-v -q", LevelFilter::Info),
    ] {
        assert_eq!(
            cli(line).unwrap().node.logging().bounds().level,
            level,
            "{line}"
        );
    }
}

#[test]
fn errors_name_the_option_and_what_was_typed() {
    for (line, parts) in [
        ("", ["--bind localhost:8080", "--peers ws://localhost:8080"]),
        ("-b 8080", ["--bind: `8080`", "localhost:PORT"]),
        ("-b a:1,,b:2", ["--bind: `` is empty", "stray comma"]),
        (
            "-p localhost:8080",
            ["--peers: `localhost:8080`", "ws://localhost:8080"],
        ),
        ("-p https://a", ["--peers: `https://a`", "write wss://a"]),
        ("-p ws://a,", ["--peers: `` is empty", "stray comma"]),
        ("-b a:1 --interval 10", ["--interval: `10`", "no unit"]),
        ("-b a:1 --interval -1s", ["--interval: `-1s`", "negative"]),
        ("--degree --hops 3", ["--degree needs", "`--hops`"]),
        ("simulate --nodes --json", ["--nodes needs", "`--json`"]),
        ("-b a:1 --message {name}", ["--message", "{name}"]),
        (
            "-b a:1 --slow-peer drop",
            ["--slow-peer: `drop`", "drop-newest"],
        ),
        ("-b a:1 --max-head 1", ["--max-head 1B", "512B"]),
        (
            "-b a:1 --max-connections x",
            ["--max-connections: `x`", "number"],
        ),
        (
            "-b a:1 --outbox 1MiB",
            ["--outbox 1MiB", "--max-message 1MiB"],
        ),
        (
            "-b a:1 --retry-min 2m",
            ["--retry-min 2m", "--retry-max 1m"],
        ),
        (
            "-b a:1 --network grün",
            ["--network: `grün`", "ASCII, without spaces"],
        ),
        ("-b a:1 --advertise a:1", ["--advertise: `a:1`", "ws://a:1"]),
        (
            "-b a:1 --advertise ws://a,ws://b,ws://c,ws://d,ws://e",
            ["--advertise has 5 URLs", "at most 4"],
        ),
        ("-p ws://a --advertise ws://b", ["--advertise", "--bind"]),
        (
            "-p ws://a -b a:1 --leaf --advertise ws://b",
            ["--advertise", "--leaf"],
        ),
        ("-b a:1 --leaf", ["--leaf", "--peers"]),
        ("-b a:1 --degree 65", ["--degree 65", "from 1 to 64"]),
        ("-b a:1 --hops 0", ["--hops: `0`", "from 1 to 255"]),
        ("-b a:1 --hops 256", ["--hops: `256`", "from 1 to 255"]),
        ("-b a:1 --history 60", ["--history: `60`", "no unit"]),
        (
            "-b a:1 --history-messages 0",
            ["--history-messages 0", "from 1 to 65536"],
        ),
        (
            "-b a:1 --history-bytes 2GiB",
            ["--history-bytes 2GiB", "from 1KiB to 1GiB"],
        ),
        ("-b a:1 --relay maybe", ["--relay: `maybe`", "on nor off"]),
        (
            "-b a:1 --broadcast-scope all",
            ["--broadcast-scope: `all`", "peers or mesh"],
        ),
        (
            "-b a:1 --broadcast-scope mesh --message {index}",
            ["--message has {index}", "--broadcast-scope mesh"],
        ),
        (
            "-b a:1 --max-publish-rate 5/s",
            ["--max-publish-rate: `5/s`", "or write off"],
        ),
        (
            "-b wss://a:1",
            ["--bind wss://a:1 without --tls-cert", "--tls-key FILE"],
        ),
        (
            "-b wss://a:1 --tls-cert c",
            ["--tls-cert c without --tls-key", "both"],
        ),
        (
            "-b a:1 --tls-client-ca c",
            ["--tls-client-ca without", "--bind wss://"],
        ),
        (
            "-b a:1 --tls-pin sha256/AA==",
            ["--tls-pin: `sha256/AA==`", "44 characters"],
        ),
        ("-b a:1 --foo", ["--foo", "--help"]),
    ] {
        let error = error(line);
        for part in parts {
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}

#[test]
fn errors_carry_no_control_characters_of_what_was_typed() {
    let words = ["wsmesh", "--bind", "\u{1b}[31m\u{7}"];
    let error = command()
        .try_get_matches_from(words)
        .unwrap_err()
        .to_string();
    assert!(error.contains(r"\u{1b}[31m\u{7}"), "{error}");
}

/// Runs this test in a process of its own, where it finds `variables` in the environment
/// and prints what it makes of them.
fn from_environment(variables: &[(&str, &str)]) -> String {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "cli::tests::no_option_is_needed_to_be_parsed",
            "--nocapture",
        ])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Also run by `from_environment`, which looks at what it prints.
#[test]
fn no_option_is_needed_to_be_parsed() {
    let cli = cli("");
    match &cli {
        Ok(cli) => println!("{:?} {cli:?}", cli.node.logging().bounds().level),
        Err(error) => println!("{error}"),
    }
    let mut variables = std::env::vars_os().map(|(name, _)| name);
    if !variables.any(|name| name.to_string_lossy().starts_with("WSMESH_")) {
        assert_eq!(
            cli.unwrap().node.logging().bounds().level,
            LevelFilter::Info
        );
    }
}

#[test]
fn the_environment_gives_what_the_command_line_does_not() {
    let got = from_environment(&[
        ("WSMESH_BIND", "a:1,b:2"),
        ("WSMESH_ECHO", "true"),
        ("WSMESH_VERBOSE", "2"),
        ("WSMESH_MAX_HEAD", "1KiB"),
        ("WSMESH_INTERVAL", "off"),
        ("WSMESH_MESSAGE", ""),
    ]);
    for part in [
        "\"a\"",
        "\"b\"",
        "echo: true",
        "Size(1024)",
        "Every(None)",
        "Trace",
        "message: None",
    ] {
        assert!(got.contains(part), "{part}: {got}");
    }
}

#[test]
fn a_flag_in_the_environment_is_true_or_false() {
    for (value, expected) in [
        ("1", "echo: true"),
        ("on", "echo: true"),
        ("TRUE", "echo: true"),
        ("0", "echo: false"),
        ("false", "echo: false"),
        ("", "echo: false"),
        ("maybe", "WSMESH_ECHO: `maybe` is neither on nor off"),
    ] {
        let got = from_environment(&[("WSMESH_ECHO", value)]);
        assert!(got.contains(expected), "{value}: {got}");
    }
}

#[test]
fn a_count_in_the_environment_is_a_number() {
    for (value, expected) in [
        ("1", "Warn"),
        ("3", "Off"),
        ("0", "Info"),
        ("", "Info"),
        ("true", "WSMESH_QUIET: `true` is not a number"),
    ] {
        let got = from_environment(&[("WSMESH_QUIET", value)]);
        assert!(got.contains(expected), "{value}: {got}");
    }
}
