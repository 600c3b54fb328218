//! How other threads reach a running node.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use mio::Waker;

use crate::{
    config::{ChannelError, Limits, check_channel, limits::BROADCAST_QUEUE_MAX},
    counters::Counters,
    message::Message,
};

/// How a node is to end: not yet, by and by, at once.
const GOES_ON: u8 = 0;
const DRAINS: u8 = 1;
const STOPS: u8 = 2;

/// What the threads share with the loop.
#[derive(Debug)]
pub(super) struct Mailbox {
    waker: Arc<Waker>,
    /// One of the ends below.
    end: AtomicU8,
    queue: Mutex<Queue>,
    message_bytes_max: usize,
    counters: Mutex<Counters>,
}

/// What other threads want to be sent, in their order.
#[derive(Debug)]
pub(super) enum Posted {
    /// To the direct peers.
    Broadcast(Vec<Message>),
    /// In a channel of the whole mesh.
    Publication(Box<str>, Message),
}

/// What waits for the loop.
#[derive(Debug, Default)]
struct Queue {
    posted: Vec<Posted>,
    messages: usize,
    bytes: usize,
    /// … of which so many may be there.
    bytes_max: usize,
}

impl Queue {
    fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            ..Self::default()
        }
    }
}

impl Mailbox {
    pub(super) fn new(waker: Arc<Waker>, limits: &Limits) -> Self {
        Self {
            waker,
            end: AtomicU8::new(GOES_ON),
            queue: Mutex::new(Queue::new(limits.outbox_bytes_max)),
            message_bytes_max: limits.message_bytes_max,
            counters: Mutex::default(),
        }
    }

    /// Whether the node is to end, and over which time it lets its peers go; `drain` where there is time for it.
    pub(super) fn end(&self, drain: Duration) -> Option<Duration> {
        match self.end.load(Ordering::Acquire) {
            GOES_ON => None,
            DRAINS => Some(drain),
            _ => Some(Duration::ZERO),
        }
    }

    pub(super) fn take(&self) -> Vec<Posted> {
        let mut queue = lock(&self.queue);
        let empty = Queue::new(queue.bytes_max);
        mem::replace(&mut *queue, empty).posted
    }

    /// Others hold from now on.
    pub(super) fn set_limits(&self, limits: &Limits) {
        lock(&self.queue).bytes_max = limits.outbox_bytes_max;
    }

    pub(super) fn report(&self, counters: Counters) {
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

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// There can be no such channel.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The node does not take the message.
    #[error(transparent)]
    Refused(#[from] BroadcastError),
}

impl Handle {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox }
    }

    /// Asks the node to close its connections and end, as Ctrl-C does. Returns at once.
    pub fn stop(&self) {
        self.end(STOPS);
    }

    /// Asks the node to let its peers go one by one, within [`Limits::drain`], and end, as SIGTERM does. Returns at once;
    /// [`Self::stop`] hurries it.
    pub fn drain(&self) {
        self.end(DRAINS);
    }

    fn end(&self, how: u8) {
        self.mailbox.end.fetch_max(how, Ordering::AcqRel);
        self.wake();
    }

    /// What the node had counted at the end of its last turn.
    pub fn counters(&self) -> Counters {
        *lock(&self.mailbox.counters)
    }

    /// Sends messages to every peer connected by then, in this order and in one turn of the loop. They go no
    /// further: a neighbor hands them to its output and not to its peers. [`Self::publish`] reaches all.
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
        self.check_sizes(&messages)?;
        let bytes = messages.iter().map(Message::len).sum();
        self.post(messages.len(), bytes, Posted::Broadcast(messages))
    }

    /// Publishes a message in a channel of the whole mesh, as a peer of this node would: every node hands it
    /// to its peers of that channel and to its output, once. Here it goes to the peers alone.
    ///
    /// # Errors
    /// The channel is no path, or has more than [`CHANNEL_BYTES_MAX`] bytes; the message is larger than
    /// [`Limits::message_bytes_max`]; or as in [`Self::broadcast`] too much would wait.
    ///
    /// [`CHANNEL_BYTES_MAX`]: crate::config::limits::CHANNEL_BYTES_MAX
    pub fn publish(&self, channel: &str, message: Message) -> Result<(), PublishError> {
        check_channel(channel)?;
        self.check_sizes(std::slice::from_ref(&message))?;
        let bytes = channel.len() + message.len();
        self.post(1, bytes, Posted::Publication(channel.into(), message))?;
        Ok(())
    }

    fn check_sizes(&self, messages: &[Message]) -> Result<(), BroadcastError> {
        let bytes_max = self.mailbox.message_bytes_max;
        let mut sizes = messages.iter().map(Message::len);
        match sizes.find(|len| *len > bytes_max) {
            Some(bytes) => Err(BroadcastError::TooBig { bytes, bytes_max }),
            None => Ok(()),
        }
    }

    /// Puts something into the queue, if so many messages and bytes more may wait.
    fn post(&self, messages: usize, bytes: usize, posted: Posted) -> Result<(), BroadcastError> {
        let mut queue = lock(&self.mailbox.queue);
        let (waiting, bytes) = (queue.messages + messages, queue.bytes + bytes);
        let bytes_max = queue.bytes_max;
        if waiting > BROADCAST_QUEUE_MAX || bytes > bytes_max {
            return Err(BroadcastError::Full {
                waiting,
                bytes,
                bytes_max,
            });
        }
        (queue.messages, queue.bytes) = (waiting, bytes);
        match (queue.posted.last_mut(), posted) {
            (Some(Posted::Broadcast(before)), Posted::Broadcast(more)) => before.extend(more),
            (_, posted) => queue.posted.push(posted),
        }
        drop(queue);
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        // The poll outlives every wake-up that matters: when it is gone, so is the node.
        let _ = self.mailbox.waker.wake();
    }
}
