//! A WebSocket data message: text or bytes.

use bytes::Bytes;
use tungstenite::Utf8Bytes;

/// A data message as received from a peer or to be sent to one. Cloning shares the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text, sent in frames with opcode 1.
    Text(Utf8Bytes),
    /// Bytes, sent in frames with opcode 2.
    Binary(Bytes),
}

impl Message {
    /// A text message.
    ///
    /// ```
    /// use wsmesh::Message;
    ///
    /// assert_eq!(Message::text("hello").as_bytes(), b"hello");
    /// ```
    pub fn text(text: impl Into<Utf8Bytes>) -> Message {
        Message::Text(text.into())
    }

    /// A binary message.
    pub fn binary(bytes: impl Into<Bytes>) -> Message {
        Message::Binary(bytes.into())
    }

    /// The payload.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_str().as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// Length of the payload in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty, which a message may be.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_not_the_same() {
        let text = Message::text("Grüße");
        let binary = Message::binary("Grüße");
        assert_ne!(text, binary);
        assert_eq!(text.as_bytes(), binary.as_bytes());
        assert_eq!((text.len(), text.is_empty()), (7, false));
        assert!(Message::text("").is_empty() && Message::binary(Vec::new()).is_empty());
    }
}
