//! Resolves names without blocking the loop: the system's resolver has no other way than to block, so
//! it blocks a thread of its own, the only one beside the loop. It starts with the first name.
//!
//! Each peer has at most one question under way, so the queues are as short as the list of what is
//! dialed. The
//! questions are answered one after the other: a name whose servers do not answer delays those behind
//! it by as long as the system waits for them, but never a peer that is given by its address.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use mio::Waker;

use super::dialer::DialId;

#[derive(Debug)]
struct Question {
    dial: DialId,
    host: String,
    port: u16,
}

/// The addresses of a peer, or why there are none.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) dial: DialId,
    pub(crate) addresses: io::Result<Vec<SocketAddr>>,
}

#[derive(Debug)]
pub(crate) struct Resolver {
    waker: Arc<Waker>,
    thread: Option<(Sender<Question>, Receiver<Answer>)>,
}

impl Resolver {
    /// `waker` is called when an answer is there.
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        Self {
            waker,
            thread: None,
        }
    }

    /// Asks for the addresses of a host.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn ask(&mut self, dial: DialId, host: &str, port: u16) -> io::Result<()> {
        let (questions, _) = match &mut self.thread {
            Some(thread) => thread,
            none => none.insert(start(Arc::clone(&self.waker))?),
        };
        let question = Question {
            dial,
            host: host.to_owned(),
            port,
        };
        questions.send(question).map_err(|_| {
            // The next question starts another one.
            self.thread = None;
            io::Error::other("the resolver thread has ended")
        })
    }

    /// An answer that has arrived.
    pub(crate) fn poll_answer(&mut self) -> Option<Answer> {
        self.thread.as_mut()?.1.try_recv().ok()
    }
}

fn start(waker: Arc<Waker>) -> io::Result<(Sender<Question>, Receiver<Answer>)> {
    let (question_sender, questions) = mpsc::channel::<Question>();
    let (answers, answer_receiver) = mpsc::channel();
    let work = move || {
        for Question { dial, host, port } in questions {
            let addresses = (host.as_str(), port)
                .to_socket_addrs()
                .map(Iterator::collect);
            // The node may have stopped meanwhile, and then nobody wants to know.
            if answers.send(Answer { dial, addresses }).is_err() || waker.wake().is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(work)?;
    Ok((question_sender, answer_receiver))
}
