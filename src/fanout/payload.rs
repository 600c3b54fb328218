//! What a message carries, so that whoever hears it can say whose it is, when it was meant to be sent, and
//! whether it is whole. Pure.
//!
//! A message is ASCII, so that it can go as text, and reads
//!
//! ```text
//! wsb1 <run> <source> <sequence> <nanoseconds since 1970> <check> <letters up to the wanted size>
//! ```
//!
//! in lower-case hexadecimal of 8, 6, 8, 16 and 8 digits. The check is FNV-1a over everything before it and
//! the size; the letters go round the alphabet, beginning with the one that the sequence number says.

use std::fmt::Write as _;

/// Bytes before the letters: the least size of a message.
pub(super) const HEAD_BYTES: usize = 56;

/// The part of the head that the check is made over.
const CHECKED_BYTES: usize = 47;

const MARK: &[u8] = b"wsb1 ";

const LETTERS: usize = 26;
/// Compared at once; a multiple of the alphabet, so that each piece begins with the same letter.
const PIECE_BYTES: usize = LETTERS * 160;
/// Letters for a piece that begins with any of them.
const ALPHABETS: [u8; PIECE_BYTES + LETTERS] = {
    let mut letters = [0; PIECE_BYTES + LETTERS];
    let mut at = 0;
    while at < letters.len() {
        letters[at] = b'a' + (at % LETTERS) as u8;
        at += 1;
    }
    letters
};

/// Which message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The process that sends it.
    pub(super) run: u32,
    /// The connection that it is sent by; 24 bits.
    pub(super) source: u32,
    pub(super) sequence: u32,
    /// When it was meant to be sent, in nanoseconds since 1970.
    pub(super) at_ns: u64,
}

/// Why bytes are no message of a load test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Somebody else's.
    Foreign,
    /// It was one.
    Corrupted,
}

/// A message of so many bytes, at least [`HEAD_BYTES`].
pub(super) fn encode(stamp: &Stamp, size_bytes: usize) -> String {
    debug_assert!(size_bytes >= HEAD_BYTES && stamp.source < 1 << 24);
    let mut text = String::with_capacity(size_bytes);
    let Stamp {
        run,
        source,
        sequence,
        at_ns,
    } = stamp;
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "wsb1 {run:08x} {source:06x} {sequence:08x} {at_ns:016x} "
    );
    let _ = write!(text, "{:08x} ", check(text.as_bytes(), size_bytes));
    let mut left = size_bytes - HEAD_BYTES;
    let letters = letters_of(stamp.sequence);
    while left > 0 {
        let piece = &letters[..left.min(PIECE_BYTES)];
        text.extend(piece.iter().map(|letter| char::from(*letter)));
        left -= piece.len();
    }
    text
}

/// What a message says of itself, if all of it is as it was sent.
pub(super) fn decode(bytes: &[u8]) -> Result<Stamp, Fault> {
    if !bytes.starts_with(MARK) {
        return Err(Fault::Foreign);
    }
    let (head, letters) = bytes.split_at_checked(HEAD_BYTES).ok_or(Fault::Corrupted)?;
    let mut fields = head[MARK.len()..]
        .strip_suffix(b" ")
        .ok_or(Fault::Corrupted)?
        .split(|byte| *byte == b' ');
    let mut field = |digits: usize| {
        let field = fields.next().filter(|field| field.len() == digits)?;
        field.iter().try_fold(0u64, |number, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            Some(number << 4 | u64::from(digit))
        })
    };
    let [run, source, sequence, at_ns, claimed] =
        [8, 6, 8, 16, 8].map(|digits| field(digits).ok_or(Fault::Corrupted));
    let stamp = Stamp {
        run: run? as u32,
        source: source? as u32,
        sequence: sequence? as u32,
        at_ns: at_ns?,
    };
    let is_whole = claimed? == u64::from(check(&head[..CHECKED_BYTES], bytes.len()))
        && letters
            .chunks(PIECE_BYTES)
            .all(|piece| piece == &letters_of(stamp.sequence)[..piece.len()]);
    if is_whole {
        Ok(stamp)
    } else {
        Err(Fault::Corrupted)
    }
}

/// The letters of a message.
fn letters_of(sequence: u32) -> &'static [u8] {
    &ALPHABETS[sequence as usize % LETTERS..]
}

/// FNV-1a, 32 bits.
fn check(head: &[u8], size_bytes: usize) -> u32 {
    let size = (size_bytes as u64).to_be_bytes();
    head.iter().chain(&size).fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn stamps()(run: u32, source in 0u32..1 << 24, sequence: u32, at_ns: u64) -> Stamp {
            Stamp { run, source, sequence, at_ns }
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(stamp in stamps(), size in HEAD_BYTES..20_000) {
            let text = encode(&stamp, size);
            prop_assert_eq!(text.len(), size);
            prop_assert_eq!(decode(text.as_bytes()), Ok(stamp));
        }

        /// One byte that is another one, wherever it is.
        #[test]
        fn a_changed_byte_is_found(stamp in stamps(), size in HEAD_BYTES..9000, at: prop::sample::Index, flip in 1u8..) {
            let mut bytes = encode(&stamp, size).into_bytes();
            let at = at.index(size);
            bytes[at] ^= flip;
            let fault = if at < MARK.len() { Fault::Foreign } else { Fault::Corrupted };
            // A digit may be written in capitals: the same number.
            let is_same = bytes[at].is_ascii_hexdigit() && bytes[at] ^ flip == bytes[at].to_ascii_lowercase();
            if !is_same || at >= HEAD_BYTES {
                prop_assert_eq!(decode(&bytes), Err(fault));
            }
        }

        #[test]
        fn a_cut_or_longer_message_is_found(stamp in stamps(), size in HEAD_BYTES..500, other in 5usize..600) {
            let mut bytes = encode(&stamp, size).into_bytes();
            bytes.resize(other, b'a');
            prop_assert_eq!(decode(&bytes).is_ok(), other == size);
        }

        #[test]
        fn arbitrary_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = decode(&[MARK, &bytes].concat());
        }
    }

    #[test]
    fn letters_of_another_message_are_found() {
        let stamp = Stamp {
            run: 1,
            source: 2,
            sequence: 3,
            at_ns: 4,
        };
        let one = encode(&stamp, 200);
        let other = encode(
            &Stamp {
                sequence: 4,
                ..stamp
            },
            200,
        );
        let mixed = [&one[..HEAD_BYTES], &other[HEAD_BYTES..]].concat();
        assert_eq!(decode(mixed.as_bytes()), Err(Fault::Corrupted));
        assert_eq!(decode(b"Message to client 1"), Err(Fault::Foreign));
    }
}
