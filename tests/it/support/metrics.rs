//! What a node tells of itself in figures.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Raw;

/// `/metrics`, read once. Figures are asked for by their whole names, without the `wsmesh_` of all of them.
#[derive(Debug)]
pub(crate) struct Metrics {
    values: BTreeMap<String, f64>,
}

impl Metrics {
    /// Asks the status listener there.
    #[track_caller]
    pub(crate) fn read(at: SocketAddr) -> Metrics {
        Metrics::read_with(at, "")
    }

    /// … of a node that wants a token for it.
    #[track_caller]
    pub(crate) fn read_as(at: SocketAddr, token: &str) -> Metrics {
        Metrics::read_with(at, &format!("Authorization: Bearer {token}\r\n"))
    }

    #[track_caller]
    fn read_with(at: SocketAddr, fields: &str) -> Metrics {
        let mut raw = Raw::connect(at);
        raw.send(format!(
            "GET /metrics HTTP/1.1\r\nHost: {at}\r\n{fields}\r\n"
        ));
        let answer = String::from_utf8(raw.read_to_end().0).expect("text");
        let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            let name = name.strip_prefix("wsmesh_").expect("it is ours");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Metrics {
            values: values.collect(),
        }
    }

    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> f64 {
        let value = self.values.get(name);
        *value.unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    /// A figure that counts something.
    #[track_caller]
    pub(crate) fn count(&self, name: &str) -> u64 {
        let value = self.value(name);
        assert!(value >= 0.0 && value.fract() == 0.0, "{name} is {value}");
        value as u64
    }

    /// The sum of a figure over its labels.
    #[track_caller]
    pub(crate) fn sum(&self, name: &str) -> u64 {
        let labelled = format!("{name}{{");
        let names = self.values.keys().filter(|key| key.starts_with(&labelled));
        names.map(|name| self.count(name)).sum()
    }
}
