//! What is told anew while the node runs: files, limits, and whom to dial. Connections stay as they are.

use std::time::Instant;

use super::{
    CloseReason, Event, FilesError, Kind, Token,
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
        let dials = config.peers.iter().any(PeerUrl::is_tls);
        let tls: tls::Settings = self.tls.reconfigured(&config.tls, dials)?;
        (self.shared.access, self.tls) = (access, tls);
        self.shared.reconfigure(config);
        self.farewell = CloseReason::going(config);
        self.dialer.reconfigure(&config.proxies, &config.limits);
        self.keep_dialing(&config.peers, now);
        Ok(())
    }

    /// Dials these again and again from now on, and no others. Who was and is not any more stays connected as a neighbor;
    /// as a plain peer, which nobody else has asked for, it is closed.
    fn keep_dialing(&mut self, peers: &[PeerUrl], now: Instant) {
        let is_unwanted = |connection: &Connection| match connection.side() {
            Side::Dialed(dial) => {
                let url = self.dialer.url(dial).filter(|url| !peers.contains(url));
                connection.kind() == Kind::Plain && connection.is_open() && url.is_some()
            }
            _ => false,
        };
        let connections = self.connections.iter().map(|(_, connection)| connection);
        let unwanted: Vec<Token> = connections
            .filter(|connection| is_unwanted(connection))
            .map(Connection::token)
            .collect();
        self.dialer.keep(peers);
        self.events.push_back(Event::Configured(peers.to_vec()));
        for token in unwanted {
            let words = "this node does not dial here any more".to_owned();
            self.close(token, CloseReason::ByNode(CLOSE_NORMAL, words), now);
        }
        self.start_dials(now);
    }
}
