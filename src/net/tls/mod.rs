//! TLS 1.2 and 1.3 (RFC 5246, RFC 8446) between a socket and the outbox, without a socket here: what is
//! configured ([`Settings`]), and what each connection has of it ([`Encryption`]).

mod encryption;
mod explain;
mod files;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod settings;
mod trust;

pub use self::files::TlsError;
pub(crate) use self::{
    encryption::{Encryption, Incoming},
    settings::Settings,
};

/// What a client hears at once where TLS is spoken but nobody can be taken in: a fatal alert,
/// internal_error, which may come in clear before the handshake (RFC 8446 §6.2). To say more would cost
/// a handshake.
pub(crate) const REFUSAL: &[u8] = &[0x15, 3, 3, 0, 2, 2, 80];

/// Whether somebody begins to speak TLS: with a record of a handshake (RFC 8446 §5.1).
pub(crate) fn is_tls(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x16)
}

/// Whether somebody answers in TLS: with such a record or with that of an alert.
pub(crate) fn is_tls_answer(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 3, ..])
}
