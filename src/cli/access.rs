//! Options that say who may come in.

use std::path::PathBuf;

use clap::Args;
use wsmesh::config::{AccessConfig, AllowedOrigin, Subnet};

use super::typed::{switch, typed};

/// Variables that keep somebody out: set to nothing they are an error and not unset, or a slip in a configuration file
/// would open the node to all.
pub(super) const GUARDS: [&str; 6] = [
    "WSMESH_ALLOW",
    "WSMESH_DENY",
    "WSMESH_PROXY_PROTOCOL",
    "WSMESH_TLS_CLIENT_CA",
    "WSMESH_TOKEN_FILE",
    "WSMESH_TRUST_FORWARDED_FOR",
];

#[derive(Debug, Args)]
pub(super) struct AccessOptions {
    /// Let in only who shows a token of this file
    ///
    /// One a line: the token, its rights (neighbor, publish, subscribe, status) and its channels (/sensors,
    /// /alerts/*). Without rights it has all, and with channels those of plain peers. What follows a # is
    /// a comment. A token has 16 to 256 letters, digits and -._~; `openssl rand -hex 32` makes one. It is
    /// shown as `Authorization: Bearer TOKEN`, and by a page as a subprotocol:
    /// new WebSocket(url, ["wsmesh.plain", "wsmesh.token.TOKEN"]). Read again on SIGHUP; connections
    /// stay.
    #[arg(long, env = "WSMESH_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Take a token in the URL, too (?token=TOKEN)
    ///
    /// For clients that can do nothing else: a URL ends up in logs and histories.
    #[arg(long, env = "WSMESH_TOKEN_IN_URL", value_parser = switch())]
    token_in_url: bool,

    /// Show the token of this file to nodes that are dialed
    ///
    /// To those of --peers, and to nodes that the mesh tells of: over wss:// to all, over ws:// only if
    /// one of --peers is dialed so, because then it can be read on the way anyway. Read again on SIGHUP.
    #[arg(long, env = "WSMESH_PEER_TOKEN_FILE", value_name = "FILE")]
    peer_token_file: Option<PathBuf>,

    /// Let in only who connects from these addresses (10.0.0.0/8)
    ///
    /// An address (10.0.0.7), or those that begin with so many of its bits (fd00::/8). Others hear 403. Who is dialed is not concerned. A list with commas, and may be repeated.
    #[arg(
        long,
        env = "WSMESH_ALLOW",
        value_name = "ADDRESSES",
        value_delimiter = ','
    )]
    #[arg(value_parser = typed::<Subnet>())]
    allow: Vec<Subnet>,

    /// Keep out who connects from these addresses
    ///
    /// Also those that --allow would let in. They hear 403. A list with commas, and may be
    /// repeated.
    #[arg(
        long,
        env = "WSMESH_DENY",
        value_name = "ADDRESSES",
        value_delimiter = ','
    )]
    #[arg(value_parser = typed::<Subnet>())]
    deny: Vec<Subnet>,

    /// Believe proxies at these addresses whom they ask for
    ///
    /// In X-Forwarded-For or Forwarded, to which the proxy must add the address of its client: the last one
    /// there that is not of these proxies itself. All limits by address, --allow, --deny, output and logs
    /// then go by it. What others say there is left aside. A list with commas, and may be repeated.
    #[arg(
        long,
        env = "WSMESH_TRUST_FORWARDED_FOR",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    #[arg(value_parser = typed::<Subnet>())]
    trust_forwarded_for: Vec<Subnet>,

    /// Expect the PROXY protocol, version 2, from these addresses
    ///
    /// Each of their connections must begin with a header that says whose it is (send-proxy-v2 in HAProxy), before TLS if
    /// that is spoken. All limits by address, --allow, --deny, output and logs then go by it. Others are not asked
    /// for it. Not at --status. A list with commas, and may be repeated.
    #[arg(
        long,
        env = "WSMESH_PROXY_PROTOCOL",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    #[arg(value_parser = typed::<Subnet>())]
    proxy_protocol: Vec<Subnet>,

    /// Let in pages of these origins (https://host[:port], null, any)
    ///
    /// A browser connects to wherever a page wants, so a page must come from the host that it connects to, or
    /// be named here: null are pages from files, any are all pages. Programs send no origin and
    /// are not concerned. A list with commas, and may be repeated.
    #[arg(
        long,
        env = "WSMESH_ALLOW_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    #[arg(value_parser = typed::<AllowedOrigin>())]
    allow_origin: Vec<AllowedOrigin>,
}

impl From<AccessOptions> for AccessConfig {
    fn from(options: AccessOptions) -> Self {
        Self {
            token_file: options.token_file,
            token_in_url: options.token_in_url,
            peer_token_file: options.peer_token_file,
            allow: options.allow,
            deny: options.deny,
            trusted_proxies: options.trust_forwarded_for,
            introducing_proxies: options.proxy_protocol,
            origins: options.allow_origin,
        }
    }
}
