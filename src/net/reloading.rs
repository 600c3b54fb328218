//! What is told anew while the node runs: files, limits, and whom to dial. Connections stay as they are.

use std::time::Instant;

use super::{
    CloseReason, FilesError, Kind, Token,
    connection::{Connection, Side},
    network::Network,
    shared::dials_in_clear,
    tls,
};
use crate::config::{Config, PeerUrl};

/// Nothing is wrong: the connection is not needed (RFC 6455 §7.4.1).
const CLOSE_NORMAL: u16 = 1000;

impl Network {
    /// Reads the files of tokens and of TLS, again if they were read before; with `dials` in any case what dialing
    /// `wss://` needs. Connections stay as they are. After an error everything is as it was.
    ///
    /// # Errors
    /// A file cannot be read, is not what it should be, or does not fit another one.
    pub(crate) fn load_files(&mut self, dials: bool) -> Result<(), FilesError> {
        let access = self.shared.access.reread()?;
        self.tls.load(dials)?;
        self.shared.access = access;
        Ok(())
    }

    /// Whether there are files to be read.
    pub(crate) fn has_files(&self) -> bool {
        self.tls.has_files() || self.shared.access.has_files()
    }

    /// Takes over what may have changed of a configuration, the files that it names included. Connections stay as they
    /// are; those that are made from now on, and all decisions, are by the new one. After an error everything is as it was.
    ///
    /// # Errors
    /// A file cannot be read, is not what it should be, or does not fit another one.
    pub(crate) fn reconfigure(&mut self, config: &Config, now: Instant) -> Result<(), FilesError> {
        let access = self
            .shared
            .access
            .reconfigured(&config.access, dials_in_clear(config))?;
        let dials = config.configured().any(PeerUrl::is_tls);
        let tls: tls::Settings = self.tls.reconfigured(&config.tls, dials)?;
        (self.shared.access, self.tls) = (access, tls);
        self.shared.reconfigure(config);
        self.farewell = CloseReason::going(config);
        self.dialer.reconfigure(&config.proxies, &config.limits);
        self.configured.clone_from(&config.peers);
        self.names.set_limits(&config.limits);
        self.names.follow(&config.named_peers, now);
        self.close_unwanted(now);
        self.keep_dialing(now);
        Ok(())
    }

    /// Closes plain peers that were dialed because somebody had asked for it who does not any more.
    fn close_unwanted(&mut self, now: Instant) {
        let wanted = self.wanted();
        let is_unwanted = |connection: &&Connection| match connection.side() {
            Side::Dialed(dial) if connection.is_open() && connection.kind() == Kind::Plain => {
                let url = self.dialer.url(dial);
                url.is_some_and(|url| !wanted.contains(url))
            }
            _ => false,
        };
        let connections = self.connections.iter().map(|(_, connection)| connection);
        let unwanted: Vec<Token> = connections
            .filter(is_unwanted)
            .map(Connection::token)
            .collect();
        for token in unwanted {
            let words = "this node does not dial here any more".to_owned();
            self.close(token, CloseReason::ByNode(CLOSE_NORMAL, words), now);
        }
    }
}
