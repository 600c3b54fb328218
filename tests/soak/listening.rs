//! Those who stay: some publish at a steady pace, and all others hear each message once and in order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::wire::{self, Door, Socket};

pub(crate) const CHANNEL: &str = "/steady";
pub(crate) const PUBLISHERS: usize = 2;
/// Between two messages of a publisher. What the node is to bear at the same time comes from the guests.
const PACE: Duration = Duration::from_millis(100);
/// Each so manieth message is a large one.
const LARGE: u64 = 16;
const LARGE_BYTES: usize = 8 << 10;
const SMALL_BYTES: usize = 100;
const LAST: &str = "last";

/// Publishes until it is over. Returns the number of the publisher, and of its messages.
pub(crate) async fn publish(door: &Door, publisher: usize, is_over: &AtomicBool) -> (usize, u64) {
    let socket = door
        .enter(publisher % 2 == 1, CHANNEL, wire::PUBLISHER)
        .await;
    let (mut sink, mut stream) = socket.expect("a publisher is let in").split();
    // Answers pings. Its token lets it hear nothing.
    let hearing = tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            assert!(!message.is_text(), "a publisher has heard {message}");
        }
    });
    let mut pace = tokio::time::interval(PACE);
    let mut number = 0;
    let mut is_last = false;
    while !is_last {
        pace.tick().await;
        is_last = is_over.load(Ordering::Relaxed);
        let mark = if is_last { LAST } else { "more" };
        let len = if number % LARGE == 0 {
            LARGE_BYTES
        } else {
            SMALL_BYTES
        };
        let text = format!("{publisher} {number} {mark} {}", "x".repeat(len));
        sink.send(Message::text(text))
            .await
            .expect("the node takes it");
        number += 1;
    }
    sink.close().await.expect("the node is there");
    hearing.await.expect("it has heard nothing");
    (publisher, number)
}

/// What a listener has heard.
#[derive(Default)]
pub(crate) struct Ear {
    /// The number of the next message of each publisher; unknown to whom came later.
    next: [Option<u64>; PUBLISHERS],
    ended: usize,
}

impl Ear {
    /// Takes in a message, which must be the next one.
    pub(crate) fn hear(&mut self, message: &Message) {
        let Message::Text(text) = message else { return };
        let mut words = text.split(' ');
        let mut number = || words.next().and_then(|word| word.parse().ok());
        let (Some(publisher), Some(number)) = (number(), number()) else {
            panic!("nobody has published {text}")
        };
        let next = &mut self.next[publisher as usize];
        assert_eq!(number, next.unwrap_or(number), "of publisher {publisher}");
        *next = Some(number + 1);
        self.ended += usize::from(words.next() == Some(LAST));
    }
}

/// Hears everything from the first message to the last, and goes. Returns how many there were of each publisher.
pub(crate) async fn hear_all(socket: &mut Socket) -> Vec<u64> {
    let mut ear = Ear {
        next: [Some(0); PUBLISHERS],
        ended: 0,
    };
    while ear.ended < PUBLISHERS {
        let message = socket.next().await.expect("the connection stays");
        ear.hear(&message.expect("the connection stays"));
    }
    // An error means that it has gone first.
    let _ = socket.close(None).await;
    while let Some(Ok(message)) = socket.next().await {
        assert!(!message.is_text(), "after the last: {message}");
    }
    ear.next.into_iter().flatten().collect()
}
