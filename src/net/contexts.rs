//! Contexts of tungstenite, which sessions have for as long as a message is under way. Pure.

use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

/// Tungstenite's own read buffer at first: a frame grows it to what it needs. The bytes themselves come from the
/// buffer that the loop shares.
const READ_CHUNK_BYTES: usize = 64;
/// A context that has had a larger frame is not kept: its buffer never shrinks.
pub(super) const KEPT_BYTES: u64 = 16 * 1024;

/// One of each role waits for the next session, so that the usual message costs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    server: Option<Box<WebSocketContext>>,
    client: Option<Box<WebSocketContext>>,
}

impl Contexts {
    pub(super) fn take(&mut self, role: Role, message_bytes_max: usize) -> Box<WebSocketContext> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_CHUNK_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes_max))
            // A header that claims more would reserve it at once.
            .max_frame_size(Some(message_bytes_max));
        match self.spare(role).take() {
            Some(mut context) => {
                context.set_config(|current| *current = config);
                context
            }
            None => Box::new(WebSocketContext::new(role, Some(config))),
        }
    }

    /// Keeps a context in which nothing is under way and whose buffer is small.
    pub(super) fn give_back(&mut self, role: Role, context: Box<WebSocketContext>) {
        *self.spare(role) = Some(context);
    }

    fn spare(&mut self, role: Role) -> &mut Option<Box<WebSocketContext>> {
        match role {
            Role::Server => &mut self.server,
            Role::Client => &mut self.client,
        }
    }
}
