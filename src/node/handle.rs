//! How other threads reach a running node.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use mio::Waker;

use crate::{
    config::{
        Limits,
        limits::{BROADCAST_QUEUE_MAX, joined_bytes_max},
    },
    counters::Counters,
    message::Message,
    net::{Outgoing, PerKind},
};

/// What the threads share with the loop.
#[derive(Debug)]
pub(super) struct Mailbox {
    waker: Arc<Waker>,
    is_stopping: AtomicBool,
    queue: Mutex<Queue>,
    message_bytes_max: usize,
    queue_bytes_max: usize,
    joined_bytes_max: usize,
    counters: Mutex<Counters>,
}

/// Messages that wait for the loop.
#[derive(Debug, Default)]
struct Queue {
    messages: Vec<Message>,
    bytes: usize,
}

impl Mailbox {
    pub(super) fn new(waker: Arc<Waker>, limits: &Limits) -> Self {
        Self {
            waker,
            is_stopping: AtomicBool::new(false),
            queue: Mutex::default(),
            message_bytes_max: limits.message_bytes_max,
            queue_bytes_max: limits.outbox_bytes_max,
            joined_bytes_max: joined_bytes_max(limits.outbox_bytes_max),
            counters: Mutex::default(),
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    pub(super) fn take_messages(&self) -> PerKind<Vec<Outgoing>> {
        let messages = mem::take(&mut *lock(&self.queue)).messages;
        let joined = |messages| Outgoing::joined(messages, self.joined_bytes_max);
        PerKind {
            plain: joined(messages.clone()),
            neighbor: joined(messages),
        }
    }

    pub(super) fn publish(&self, counters: Counters) {
        *lock(&self.counters) = counters;
    }
}

/// A thread that panicked while it held one of our locks cannot have left half a value behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reaches a running node from any thread. Outlives the node; then nothing happens any more.
#[derive(Clone, Debug)]
pub struct Handle {
    mailbox: Arc<Mailbox>,
}

/// Why messages were not taken. None of the call's messages is sent then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BroadcastError {
    /// The loop does not keep up: too much waits for it already, or the call alone has too much.
    #[error(
        "{waiting} messages of {bytes} bytes would wait for the node, at most {BROADCAST_QUEUE_MAX} messages of {bytes_max} bytes may"
    )]
    Full {
        /// Messages that would wait; of a call that has too many alone, not all are counted.
        waiting: usize,
        /// Bytes that would wait.
        bytes: usize,
        /// Bytes that may wait: as many as for one peer.
        bytes_max: usize,
    },
    /// A message is larger than peers accept.
    #[error("a message has {bytes} bytes, at most {bytes_max} are sent")]
    TooBig {
        /// Bytes of the message.
        bytes: usize,
        /// The limit of a message.
        bytes_max: usize,
    },
}

impl Handle {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox }
    }

    /// Asks the node to close its connections and end, as Ctrl-C does. Returns at once.
    pub fn stop(&self) {
        self.mailbox.is_stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// What the node had counted at the end of its last turn.
    pub fn counters(&self) -> Counters {
        *lock(&self.mailbox.counters)
    }

    /// Sends messages to every peer connected by then, in this order and in one turn of the loop.
    ///
    /// # Errors
    /// A message is larger than [`Limits::message_bytes_max`], or more than [`BROADCAST_QUEUE_MAX`]
    /// messages or [`Limits::outbox_bytes_max`] bytes would wait. Then none of these messages is sent.
    pub fn broadcast(
        &self,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<(), BroadcastError> {
        // The caller's iterator may take its time, so it is not run under the lock.
        let messages: Vec<_> = messages.into_iter().take(BROADCAST_QUEUE_MAX + 1).collect();
        let bytes_max = self.mailbox.message_bytes_max;
        if let Some(bytes) = messages
            .iter()
            .map(Message::len)
            .find(|len| *len > bytes_max)
        {
            return Err(BroadcastError::TooBig { bytes, bytes_max });
        }
        let mut queue = lock(&self.mailbox.queue);
        let waiting = queue.messages.len() + messages.len();
        let bytes = queue.bytes + messages.iter().map(Message::len).sum::<usize>();
        let bytes_max = self.mailbox.queue_bytes_max;
        if waiting > BROADCAST_QUEUE_MAX || bytes > bytes_max {
            return Err(BroadcastError::Full {
                waiting,
                bytes,
                bytes_max,
            });
        }
        queue.messages.extend(messages);
        queue.bytes = bytes;
        drop(queue);
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        // The poll outlives every wake-up that matters: when it is gone, so is the node.
        let _ = self.mailbox.waker.wake();
    }
}
