//! The proxies to dial through: by an option, or by what the environment of a site says.

use std::str::FromStr;

use wsmesh::config::{Exemptions, ProxyConfig, ProxyUrl, ProxyUrlError};

/// What `--proxy` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProxyChoice {
    Off,
    Through(ProxyUrl),
}

impl FromStr for ProxyChoice {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        match text {
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::Through),
        }
    }
}

/// The option goes first; without it, what the variables say that other programs read too. With `is_at_home`, where
/// nobody is dialed but this machine itself, they are not asked: they are for others.
///
/// # Errors
/// What a variable says is no proxy: names it.
pub(super) fn proxies(
    choice: Option<ProxyChoice>,
    is_at_home: bool,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<ProxyConfig, String> {
    // Programs differ in the case, and curl reads the lower one first.
    let either = |name: &str| {
        let names = [name.to_ascii_lowercase(), name.to_owned()];
        let mut values = names
            .into_iter()
            .filter_map(|name| Some((variable(&name)?, name)));
        values.find(|(value, _)| !value.is_empty())
    };
    let proxy = |name: &str| {
        let read = |(value, name): (String, String)| {
            let proxy = value.parse::<ProxyUrl>();
            proxy.map_err(|error| {
                format!("{name}: {error}; --proxy goes before it, and --proxy off leaves it aside")
            })
        };
        either(name).map(read).transpose()
    };
    let exempt = either("NO_PROXY").map(|(list, _)| Exemptions::parse(&list));
    let exempt = exempt.unwrap_or_default();
    match choice {
        Some(ProxyChoice::Off) => Ok(ProxyConfig::default()),
        Some(ProxyChoice::Through(proxy)) => Ok(ProxyConfig {
            clear: Some(proxy.clone()),
            tls: Some(proxy),
            for_loopback: true,
            exempt,
        }),
        None if is_at_home => Ok(ProxyConfig::default()),
        None => {
            let clear = proxy("ALL_PROXY")?;
            Ok(ProxyConfig {
                tls: proxy("HTTPS_PROXY")?.or_else(|| clear.clone()),
                clear,
                for_loopback: false,
                exempt,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use wsmesh::config::PeerUrl;

    use super::*;

    fn read(
        choice: Option<&str>,
        peer: &str,
        variables: &[(&str, &str)],
    ) -> Result<[Option<String>; 2], String> {
        let choice = choice.map(|text| text.parse().unwrap());
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let peer: PeerUrl = peer.parse().unwrap();
        let config = proxies(choice, peer.is_loopback(), variable)?;
        Ok([config.clear, config.tls].map(|proxy| proxy.map(|proxy| proxy.host().to_owned())))
    }

    #[test]
    fn the_option_goes_first_and_then_the_environment() {
        let variables = [
            ("ALL_PROXY", "socks5://a"),
            ("https_proxy", "http://b"),
            ("HTTPS_PROXY", "http://c"),
        ];
        let read = |choice, peer| read(choice, peer, &variables).unwrap();
        let host = |name: &str| Some(name.to_owned());
        assert_eq!(read(None, "ws://x"), [host("a"), host("b")]);
        assert_eq!(read(Some("http://d"), "ws://x"), [host("d"), host("d")]);
        assert_eq!(read(Some("off"), "ws://x"), [None, None]);
        assert_eq!(read(None, "ws://localhost"), [None, None]);
    }

    #[test]
    fn a_variable_that_is_no_proxy_is_named_where_it_matters() {
        let variables = [("HTTPS_PROXY", "https://u:secret@b"), ("ALL_PROXY", "")];
        let error = read(None, "ws://x", &variables).unwrap_err();
        assert!(
            error.starts_with("HTTPS_PROXY: a proxy of the kind `https`"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
        for (choice, peer) in [(Some("off"), "ws://x"), (None, "ws://127.0.0.1")] {
            assert_eq!(read(choice, peer, &variables), Ok([None, None]));
        }
    }
}
