//! Listens to a channel, and hands over what comes as fast as it is taken.

use std::{collections::VecDeque, os::fd::RawFd};

use mio::{Interest, Registry, unix::SourceFd};

use super::{
    ClientError, Connect,
    run::{Errand, Link, Progress, run},
};
use crate::{
    config::{PeerUrl, limits::CLIENT_OUTPUT_BYTES},
    message::Message,
    net::{PeerName, Source},
    output::{Output, Received},
};

/// Listens at a server, as one of its plain peers, until so many messages have come, the output takes no more for ever,
/// or Ctrl-C. While the output is not ready nothing is received, so that nothing is lost here: it is the server that
/// finds us slow.
///
/// # Errors
/// The server cannot be reached, does not let us in, or closes the connection before; or the time is over.
pub fn listen(
    connect: &Connect,
    count: Option<u64>,
    output: &mut dyn Output,
) -> Result<(), ClientError> {
    let mut listening = Listening {
        url: &connect.url,
        left: count,
        heard: VecDeque::new(),
        output,
        is_stalled: false,
        is_closed: false,
        is_interrupted: false,
    };
    run(connect, &mut listening)
}

struct Listening<'a> {
    url: &'a PeerUrl,
    /// Messages that are still wanted; `None`: all.
    left: Option<u64>,
    /// What is to be handed over.
    heard: VecDeque<Message>,
    output: &'a mut dyn Output,
    /// The output takes no more now.
    is_stalled: bool,
    /// … and never will.
    is_closed: bool,
    is_interrupted: bool,
}

impl Listening<'_> {
    /// Hands over what the output takes.
    fn hand_over(&mut self) {
        loop {
            self.is_stalled = self.output.flush();
            self.is_closed |= self.output.is_closed();
            if self.is_stalled || self.is_closed || self.heard.is_empty() {
                return;
            }
            let mut bytes = 0;
            while bytes < CLIENT_OUTPUT_BYTES
                && let Some(message) = self.heard.pop_front()
            {
                bytes += message.len().max(1);
                self.output.message(&Received {
                    from: PeerName::Dialed(self.url),
                    path: self.url.path(),
                    message: &message,
                });
            }
        }
    }

    fn has_all(&self) -> bool {
        self.left == Some(0)
    }

    fn descriptor(&self) -> Option<RawFd> {
        self.output.descriptor()
    }
}

impl Errand for Listening<'_> {
    fn register(&self, registry: &Registry) {
        if let Some(descriptor) = self.descriptor() {
            let mut descriptor = SourceFd(&descriptor);
            let source = Source::Output.into();
            if let Err(error) = registry.register(&mut descriptor, source, Interest::WRITABLE) {
                log::debug!("standard output is not polled: {error}");
            }
        }
    }

    fn on_ready(&mut self, is_end: bool) {
        // Nobody reads any more: there is no need to try.
        self.is_closed |= is_end;
    }

    fn on_message(&mut self, message: Message) {
        match &mut self.left {
            Some(0) => return,
            Some(left) => *left -= 1,
            None => {}
        }
        self.heard.push_back(message);
    }

    fn takes_more(&self) -> bool {
        (self.heard.is_empty() && !self.is_stalled) || self.has_all() || self.is_closed
    }

    fn work(&mut self, _: &mut Link<'_>) -> Progress {
        self.hand_over();
        match self.has_all() || self.is_closed {
            true => Progress::Done,
            false if self.is_stalled && self.descriptor().is_none() => Progress::Retries,
            false => Progress::Waits,
        }
    }

    fn settle(&mut self) -> bool {
        self.hand_over();
        let is_empty = self.heard.is_empty() && !self.is_stalled;
        is_empty || self.is_closed || self.is_interrupted
    }

    fn interrupt(&mut self) -> Result<(), String> {
        self.is_interrupted = true;
        Ok(())
    }

    fn is_done_early(&self) -> bool {
        self.has_all() || self.is_closed || self.is_interrupted
    }

    fn standing(&self) -> String {
        match self.left {
            Some(left) if left > 0 => format!("; messages still awaited: {left}"),
            _ => String::new(),
        }
    }
}
