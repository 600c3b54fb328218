//! Sends messages, and ends when the server has taken them.

use mio::Registry;

use super::{
    ClientError, Connect, What,
    run::{Errand, Link, Progress, run},
};
use crate::{
    config::{Size, limits::FEED_MESSAGES_PER_TURN},
    feed::{Fed, Feed},
    message::Message,
};

/// Publishes messages at a server, as one of its plain peers. Returns how many, once the server has answered our
/// Close: then it has received all of them.
///
/// # Errors
/// The server cannot be reached, does not let us in, or closes the connection before it has all; a message is too
/// large, or the stream cannot be read; the time is over; or Ctrl-C. What was sent before may have been taken.
pub fn publish(connect: &Connect, what: What<'_>) -> Result<u64, ClientError> {
    let message_bytes_max = connect.message_bytes_max;
    let source = match what {
        What::One(message) if message.len() > message_bytes_max => {
            return Err(ClientError::Failed(too_big(1, message_bytes_max)));
        }
        What::One(message) => Source::One(Some(message)),
        What::Stream {
            input,
            framing,
            is_binary,
        } => Source::Feed(Feed::new(input, framing, is_binary, message_bytes_max)),
    };
    let mut publishing = Publishing {
        source,
        sent: 0,
        message_bytes_max,
    };
    run(connect, &mut publishing)?;
    Ok(publishing.sent)
}

enum Source<'a> {
    One(Option<Message>),
    Feed(Feed<'a>),
}

struct Publishing<'a> {
    source: Source<'a>,
    sent: u64,
    message_bytes_max: usize,
}

impl Publishing<'_> {
    fn next(&mut self) -> Fed {
        match &mut self.source {
            Source::One(message) => message.take().map_or(Fed::End, Fed::Message),
            Source::Feed(feed) => feed.poll(),
        }
    }

    fn has_more(&self) -> bool {
        match &self.source {
            Source::One(_) => true,
            Source::Feed(feed) => feed.has_more(),
        }
    }
}

impl Errand for Publishing<'_> {
    fn register(&self, registry: &Registry) {
        if let Source::Feed(feed) = &self.source {
            feed.register(registry);
        }
    }

    fn on_ready(&mut self, _: bool) {
        if let Source::Feed(feed) = &mut self.source {
            feed.on_ready();
        }
    }

    /// What others say is not of interest.
    fn on_message(&mut self, _: Message) {}

    fn work(&mut self, link: &mut Link<'_>) -> Progress {
        for _ in 0..FEED_MESSAGES_PER_TURN {
            if link.is_congested() {
                return Progress::Congested;
            }
            match self.next() {
                Fed::Message(message) => {
                    link.send(message);
                    self.sent += 1;
                }
                Fed::Nothing if self.has_more() => {}
                Fed::Nothing => return Progress::Waits,
                Fed::TooBig => {
                    return Progress::Failed(too_big(self.sent + 1, self.message_bytes_max));
                }
                Fed::Broken(what) => return Progress::Failed(what),
                Fed::End => return Progress::Done,
            }
        }
        Progress::HasMore
    }

    fn interrupt(&mut self) -> Result<(), String> {
        Err(format!("interrupted{}", self.standing()))
    }

    fn standing(&self) -> String {
        match self.sent {
            0 => String::new(),
            sent => format!("; messages sent before: {sent}, which it may have taken or not"),
        }
    }
}

fn too_big(number: u64, bytes_max: usize) -> String {
    let max = Size(bytes_max);
    format!("message {number} is larger than --max-message {max}; what was before it is sent")
}
