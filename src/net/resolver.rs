//! Resolves names without blocking the loop: the system's resolver has no other way than to block, so
//! it blocks a thread of its own, which starts with the first name.
//!
//! Each peer has at most one question under way, so the queues are as short as the list of what is
//! dialed. The questions of a thread are answered one after the other: a name whose servers do not answer
//! delays those behind it by as long as the system waits for them, but never a peer that is given by its
//! address. Names that other nodes have told are asked for by another thread than those that a person has
//! configured: nobody can delay these.

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

use super::{dialer::DialId, names::NameId};

/// What a host is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    /// To dial it.
    Dial(DialId),
    /// To know who is behind the name.
    Name(NameId),
}

#[derive(Debug)]
struct Question {
    need: Need,
    host: String,
    port: u16,
}

/// The addresses of a peer, or why there are none.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) need: Need,
    pub(crate) addresses: io::Result<Vec<SocketAddr>>,
}

#[derive(Debug)]
pub(crate) struct Resolver {
    waker: Arc<Waker>,
    configured: Option<Thread>,
    told: Option<Thread>,
}

type Thread = (Sender<Question>, Receiver<Answer>);

impl Resolver {
    /// `waker` is called when an answer is there.
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        Self {
            waker,
            configured: None,
            told: None,
        }
    }

    /// Asks for the addresses of a host.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn ask(
        &mut self,
        need: Need,
        host: &str,
        port: u16,
        is_configured: bool,
    ) -> io::Result<()> {
        let thread = if is_configured {
            &mut self.configured
        } else {
            &mut self.told
        };
        if thread.is_none() {
            *thread = Some(start(Arc::clone(&self.waker))?);
        }
        let question = Question {
            need,
            host: host.to_owned(),
            port,
        };
        let sent = thread
            .as_ref()
            .is_some_and(|(questions, _)| questions.send(question).is_ok());
        if !sent {
            // The next question starts another one.
            *thread = None;
            return Err(io::Error::other("the resolver thread has ended"));
        }
        Ok(())
    }

    /// An answer that has arrived.
    pub(crate) fn poll_answer(&mut self) -> Option<Answer> {
        let mut threads = [&self.configured, &self.told].into_iter().flatten();
        threads.find_map(|(_, answers)| answers.try_recv().ok())
    }
}

fn start(waker: Arc<Waker>) -> io::Result<Thread> {
    let (question_sender, questions) = mpsc::channel::<Question>();
    let (answers, answer_receiver) = mpsc::channel();
    let work = move || {
        for Question { need, host, port } in questions {
            let addresses = (host.as_str(), port)
                .to_socket_addrs()
                .map(Iterator::collect);
            // The node may have stopped meanwhile, and then nobody wants to know.
            if answers.send(Answer { need, addresses }).is_err() || waker.wake().is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(work)?;
    Ok((question_sender, answer_receiver))
}
