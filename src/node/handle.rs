//! How other threads reach a running node.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use mio::Waker;

use crate::{
    config::limits::BROADCAST_QUEUE_MAX, counters::Counters, message::Message, net::Outgoing,
};

/// What the threads share with the loop.
#[derive(Debug)]
pub(super) struct Mailbox {
    waker: Arc<Waker>,
    is_stopping: AtomicBool,
    messages: Mutex<Vec<Message>>,
    counters: Mutex<Counters>,
}

impl Mailbox {
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        Self {
            waker,
            is_stopping: AtomicBool::new(false),
            messages: Mutex::default(),
            counters: Mutex::default(),
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    pub(super) fn take_messages(&self) -> Vec<Outgoing> {
        lock(&self.messages).drain(..).map(Outgoing::new).collect()
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

/// The loop does not keep up: so many messages wait for it already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} messages wait for the node already, at most {BROADCAST_QUEUE_MAX} may")]
pub struct BroadcastError {
    /// Messages waiting.
    pub waiting: usize,
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

    /// Sends messages to every connected peer, in this order and in one turn of the loop.
    ///
    /// # Errors
    /// More than [`BROADCAST_QUEUE_MAX`] messages would wait; then none of these is sent.
    pub fn broadcast(
        &self,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<(), BroadcastError> {
        let mut queue = lock(&self.mailbox.messages);
        let waiting = queue.len();
        queue.extend(messages.into_iter().take(BROADCAST_QUEUE_MAX + 1 - waiting));
        if queue.len() > BROADCAST_QUEUE_MAX {
            queue.truncate(waiting);
            return Err(BroadcastError { waiting });
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
