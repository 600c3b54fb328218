//! Sends messages, and ends when the server has taken them.

use std::time::{Duration, Instant};

use mio::Registry;

use super::{
    ClientError, Connect, What,
    run::{Errand, Link, Progress, run},
};
use crate::{
    config::{
        Size, check_count,
        limits::{FEED_MESSAGES_PER_TURN, PUBLISH_RATE_CEILING},
    },
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
    let mut pace = None;
    let source = match what {
        What::One(message) if message.len() > message_bytes_max => {
            return Err(ClientError::Failed(too_big(1, message_bytes_max)));
        }
        What::One(message) => Source::One(Some(message)),
        What::Stream {
            input,
            framing,
            is_binary,
            rate,
        } => {
            pace = rate.map(Pace::new).transpose()?;
            Source::Feed(Feed::new(input, framing, is_binary, message_bytes_max))
        }
    };
    let mut publishing = Publishing {
        source,
        pace,
        sent: 0,
        message_bytes_max,
    };
    run(connect, &mut publishing)?;
    Ok(publishing.sent)
}

/// When the next message may go.
struct Pace {
    step: Duration,
    due: Option<Instant>,
}

impl Pace {
    /// What is late by more is not made up for, so that a pause is not followed by a burst that a server minds.
    const LATE_MAX: Duration = Duration::from_millis(100);

    /// `rate`: messages a second at most.
    fn new(rate: usize) -> Result<Self, ClientError> {
        check_count("--rate", rate, PUBLISH_RATE_CEILING)?;
        Ok(Self {
            step: Duration::from_secs(1) / rate as u32,
            due: None,
        })
    }

    /// Until when the next one has to wait.
    fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.due.filter(|due| *due > now)
    }

    fn on_sent(&mut self, now: Instant) {
        let due = self.due.unwrap_or(now);
        let earliest = now.checked_sub(Self::LATE_MAX).unwrap_or(now);
        self.due = Some(due.max(earliest) + self.step);
    }
}

enum Source<'a> {
    One(Option<Message>),
    Feed(Feed<'a>),
}

struct Publishing<'a> {
    source: Source<'a>,
    pace: Option<Pace>,
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
            if let Some(due) = self.pace.as_ref().and_then(|it| it.waits_until(link.now())) {
                return Progress::Until(due);
            }
            match self.next() {
                Fed::Message(message) => {
                    link.send(message);
                    self.sent += 1;
                    if let Some(pace) = &mut self.pace {
                        pace.on_sent(link.now());
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How many may go at a moment.
    fn due_at(pace: &mut Pace, now: Instant) -> usize {
        (0..1_000_000)
            .take_while(|_| {
                let may = pace.waits_until(now).is_none();
                if may {
                    pace.on_sent(now);
                }
                may
            })
            .count()
    }

    #[test]
    fn evenly_and_a_pause_is_not_made_up_for() {
        let start = Instant::now();
        for rate in [1, 50, 5000] {
            let mut pace = Pace::new(rate).unwrap();
            assert_eq!(due_at(&mut pace, start), 1, "at once, at {rate} a second");
            let of_minute: usize = (1..=60_000)
                .map(|ms| due_at(&mut pace, start + Duration::from_millis(ms)))
                .sum();
            assert_eq!(of_minute, 60 * rate);
            let later = start + Duration::from_secs(3600);
            assert!(due_at(&mut pace, later) <= 1 + rate / 10);
        }
    }

    #[test]
    fn a_rate_has_bounds() {
        assert!(Pace::new(0).is_err());
        assert!(Pace::new(PUBLISH_RATE_CEILING).is_ok());
        assert!(Pace::new(PUBLISH_RATE_CEILING + 1).is_err());
    }
}
