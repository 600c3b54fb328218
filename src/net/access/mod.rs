//! Who may come in, and as what: by the page that it comes from and by the token that it shows. Files are read at the
//! start and when they are to be read again; judging is pure.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod tokens;

use std::{fmt, net::IpAddr};

pub(crate) use self::tokens::Rights;
use self::tokens::{Grant, Tokens, parse_own};
use super::{
    Kind,
    files::{FileError, Source},
    upgrade::{Refusal, Status},
};
use crate::config::{AccessConfig, Origin, Subnet, limits::TOKEN_FILE_BYTES_MAX};

/// What a request for an upgrade shows of who it comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    /// What it is to be.
    pub(crate) kind: Kind,
    pub(crate) channel: &'a str,
    pub(crate) host: &'a str,
    /// Of the page, if it comes from a browser.
    pub(crate) origin: Option<&'a str>,
    /// In a header field or among the subprotocols.
    pub(crate) token: Option<&'a str>,
    /// In the URL.
    pub(crate) url_token: Option<&'a str>,
}

/// Whose an accepted connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Of who has opened it.
    Itself,
    /// Of a client of a proxy, which says in its request whom it asks for.
    Forwarded,
    /// … or which says so before anything else.
    Introduced,
}

/// Whom this node lets in, and what it shows to others.
pub(crate) struct Access {
    config: AccessConfig,
    /// A person has named somebody to be dialed without TLS.
    dials_in_clear: bool,
    /// `None`: no token is needed.
    tokens: Option<Tokens>,
    own_token: Option<Box<str>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The own token stays out of it.
        f.debug_struct("Access")
            .field("config", &self.config)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

fn is_in(ranges: &[Subnet], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(address))
}

impl Access {
    /// Before the files are read nobody needs a token. `dials_in_clear`: a person has named somebody to be dialed
    /// without TLS.
    pub(crate) fn unread(config: AccessConfig, dials_in_clear: bool) -> Self {
        Self {
            config,
            dials_in_clear,
            tokens: None,
            own_token: None,
        }
    }

    /// As it is with the files as they are now.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it should be.
    pub(super) fn reread(&self) -> Result<Self, FileError> {
        self.reconfigured(&self.config, self.dials_in_clear)
    }

    /// As it is when it is told so, with the files as they are now.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it should be.
    pub(super) fn reconfigured(
        &self,
        config: &AccessConfig,
        dials_in_clear: bool,
    ) -> Result<Self, FileError> {
        let config = config.clone();
        let tokens = config.token_file.as_deref().map(|path| {
            let source = Source::new("--token-file", path);
            Tokens::parse(&text_of(source)?).map_err(|what| source.error(what))
        });
        let own_token = config.peer_token_file.as_deref().map(|path| {
            let source = Source::new("--peer-token-file", path);
            parse_own(&text_of(source)?).map_err(|what| source.error(what))
        });
        Ok(Self {
            tokens: tokens.transpose()?,
            own_token: own_token.transpose()?,
            dials_in_clear,
            config,
        })
    }

    /// Whether there are files to be read.
    pub(crate) fn has_files(&self) -> bool {
        self.config.token_file.is_some() || self.config.peer_token_file.is_some()
    }

    /// Whether peers may connect from an address.
    pub(super) fn admits(&self, address: IpAddr) -> bool {
        let AccessConfig { allow, deny, .. } = &self.config;
        (allow.is_empty() || is_in(allow, address)) && !is_in(deny, address)
    }

    /// Whether it is believed whom this address asks for.
    pub(super) fn is_proxy(&self, address: IpAddr) -> bool {
        is_in(&self.config.trusted_proxies, address)
    }

    /// Whose a connection from this address is.
    pub(super) fn caller(&self, address: IpAddr) -> Caller {
        match is_in(&self.config.introducing_proxies, address) {
            true => Caller::Introduced,
            false if self.is_proxy(address) => Caller::Forwarded,
            false => Caller::Itself,
        }
    }

    /// Whether people of other machines come in by an address of ours, whoever they are.
    pub(super) fn is_open(&self, address: IpAddr, wants_certificate: bool) -> bool {
        let allow = &self.config.allow;
        let is_limited = !allow.is_empty() && !allow.iter().any(Subnet::is_everywhere);
        let is_guarded = self.tokens.is_some() || wants_certificate || is_limited;
        !is_guarded && !address.is_loopback()
    }

    /// The token to show to who is dialed, `is_named` by a person or by the mesh. A node that the mesh names may be
    /// anybody's by now: over TLS its certificate tells, and without it the token is shown only where others are
    /// dialed so as well, because then it can be read on the way anyway.
    pub(super) fn token_for(&self, is_named: bool, is_tls: bool) -> Option<&str> {
        let is_shown = is_named || is_tls || self.dials_in_clear;
        self.own_token.as_deref().filter(|_| is_shown)
    }

    /// What who asks for an upgrade may do, if it is let in.
    pub(crate) fn judge(&self, claim: Claim<'_>) -> Result<Rights, Refusal> {
        let is_welcome = claim.origin.is_none_or(|origin| {
            Origin::is_same_host(origin, claim.host)
                || self
                    .config
                    .origins
                    .iter()
                    .any(|allowed| allowed.allows(origin))
        });
        if !is_welcome {
            let reason = "pages of this origin may not connect here: the node names those that may with \
                          --allow-origin";
            return Err(Refusal {
                detail: claim.origin.unwrap_or_default().to_owned(),
                ..Refusal::new(Status::Forbidden, reason)
            });
        }
        let Some(grant) = self.grant_of(&claim)? else {
            return Ok(Rights::ALL);
        };
        match claim.kind {
            Kind::Neighbor if grant.neighbor => Ok(Rights::ALL),
            Kind::Neighbor => Err(Refusal::new(
                Status::Forbidden,
                "this token does not make a neighbor",
            )),
            Kind::Plain => grant.in_channel(claim.channel).ok_or(Refusal::new(
                Status::Forbidden,
                "this token is not for this channel",
            )),
        }
    }

    /// Whether who asks may look at what the node does.
    pub(crate) fn judge_look(&self, claim: Claim<'_>) -> Result<(), Refusal> {
        match self.grant_of(&claim)? {
            Some(grant) if !grant.status => Err(Refusal::new(
                Status::Forbidden,
                "this token is not for the status of the node",
            )),
            _ => Ok(()),
        }
    }

    /// What the token is good for that is shown; `None`: nobody needs one.
    fn grant_of(&self, claim: &Claim<'_>) -> Result<Option<&Grant>, Refusal> {
        let Some(tokens) = &self.tokens else {
            return Ok(None);
        };
        let in_url = claim.url_token.filter(|_| self.config.token_in_url);
        let Some(shown) = claim.token.or(in_url) else {
            return Err(Refusal::new(
                Status::Unauthorized,
                "this node wants a token: Authorization: Bearer TOKEN, or the subprotocol wsmesh.token.TOKEN",
            ));
        };
        match tokens.find(shown) {
            Some(grant) => Ok(Some(grant)),
            None => Err(Refusal::new(
                Status::Unauthorized,
                "this is no token of this node",
            )),
        }
    }
}

fn text_of(source: Source<'_>) -> Result<String, FileError> {
    let bytes = source.read(TOKEN_FILE_BYTES_MAX, "a file of tokens")?;
    String::from_utf8(bytes)
        .map_err(|_| source.error("it is not UTF-8, so it is no file of tokens"))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn access(tokens: Option<&str>, own_token: Option<&str>, dials_in_clear: bool) -> Access {
        Access {
            tokens: tokens.map(|text| Tokens::parse(text).expect("it is a file of tokens")),
            own_token: own_token.map(Into::into),
            ..Access::unread(AccessConfig::default(), dials_in_clear)
        }
    }

    const CLAIM: Claim<'_> = Claim {
        kind: Kind::Plain,
        channel: "/a",
        host: "localhost:8080",
        origin: None,
        token: None,
        url_token: None,
    };

    #[test]
    fn a_page_must_come_from_the_same_host_or_be_named() {
        let mut access = access(None, None, false);
        let mut judge = |origins: &[&str], origin| {
            access.config.origins = origins.iter().map(|text| text.parse().unwrap()).collect();
            let origin = Some(origin);
            access
                .judge(Claim { origin, ..CLAIM })
                .map_err(|refusal| refusal.status)
        };
        assert_eq!(judge(&[], "http://localhost:3000"), Ok(Rights::ALL));
        for stranger in ["https://evil.example", "null", "", "http://localhost.evil"] {
            assert_eq!(judge(&[], stranger), Err(Status::Forbidden), "{stranger}");
            assert_eq!(judge(&["any"], stranger), Ok(Rights::ALL), "{stranger}");
        }
        let named = ["https://app.example", "null"];
        assert_eq!(judge(&named, "https://app.example"), Ok(Rights::ALL));
        assert_eq!(judge(&named, "null"), Ok(Rights::ALL));
        assert_eq!(judge(&named, "http://app.example"), Err(Status::Forbidden));
    }

    #[test]
    fn a_token_in_the_url_counts_only_where_it_is_wanted() {
        let mut access = access(Some(TOKEN), None, false);
        let url_token = Some(TOKEN);
        let claim = Claim { url_token, ..CLAIM };
        assert_eq!(
            access.judge(claim).map_err(|refusal| refusal.status),
            Err(Status::Unauthorized)
        );
        access.config.token_in_url = true;
        assert_eq!(access.judge(claim), Ok(Rights::ALL));
        // What stands in the head goes first.
        let token = Some("another-0123456789abcdef");
        assert!(access.judge(Claim { token, ..claim }).is_err());
    }

    #[test]
    fn the_own_token_is_not_shown_to_whoever_has_an_address_by_now() {
        for (dials_in_clear, is_named, is_tls, is_shown) in [
            (false, true, false, true),
            (false, true, true, true),
            (false, false, true, true),
            (false, false, false, false),
            (true, false, false, true),
        ] {
            let access = access(None, Some(TOKEN), dials_in_clear);
            assert_eq!(access.token_for(is_named, is_tls).is_some(), is_shown);
        }
    }

    #[test]
    fn a_node_is_open_where_strangers_need_nothing_to_come_in() {
        let (here, anywhere) = (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::UNSPECIFIED.into());
        let open = access(None, Some(TOKEN), false);
        assert!(open.is_open(anywhere, false));
        assert!(!open.is_open(here, false) && !open.is_open(anywhere, true));
        assert!(!access(Some(TOKEN), None, false).is_open(anywhere, false));
        for (range, is_open) in [("10.0.0.0/8", false), ("0.0.0.0/0", true)] {
            let mut access = access(None, None, false);
            access.config.allow = vec![range.parse().unwrap()];
            assert_eq!(access.is_open(anywhere, false), is_open, "{range}");
        }
    }

    #[test]
    fn an_address_must_be_allowed_and_not_denied() {
        let mut access = access(None, None, false);
        let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let mut admits = |allow: &[&str], deny: &[&str], address: &str| {
            (access.config.allow, access.config.deny) = (ranges(allow), ranges(deny));
            access.admits(address.parse().unwrap())
        };
        assert!(admits(&[], &[], "10.0.0.7"));
        assert!(admits(&["10.0.0.0/8", "::1"], &[], "10.0.0.7"));
        assert!(!admits(&["10.0.0.0/8", "::1"], &[], "11.0.0.7"));
        assert!(!admits(&["10.0.0.0/8"], &["10.0.0.7"], "10.0.0.7"));
        assert!(admits(&["10.0.0.0/8"], &["10.0.0.7"], "10.0.0.8"));
        assert!(!admits(&[], &["10.0.0.7"], "::ffff:10.0.0.7"));
    }

    #[test]
    fn no_token_is_shown_for_debugging() {
        let access = access(Some(TOKEN), Some("0123456789abcdef-own"), false);
        assert!(!format!("{access:?}").contains("0123456789abcdef"));
    }
}
