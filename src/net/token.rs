//! What an event of the poll belongs to.
//!
//! A slot of the slab is reused as soon as it is free, and an event of the old connection may still be
//! in the batch. So a token carries the generation of its connection, and a stale one matches nothing.

use crate::config::limits::CONNECTIONS_CEILING;

/// Bits of a `mio::Token` that hold the slot; the rest holds the generation.
const SLOT_BITS: u32 = if usize::BITS == 64 { 32 } else { 22 };
const SLOT_MASK: usize = (1 << SLOT_BITS) - 1;
/// Largest generation that fits beside the slot.
const GENERATION_MAX: usize = usize::MAX >> SLOT_BITS;

// Accepted connections, those that are refused, and dialed ones all have their slot.
const _: () = assert!(2 * CONNECTIONS_CEILING < SLOT_MASK);

const WAKER: usize = 0;
const SIGNALS: usize = 1;
const OUTPUT: usize = 2;
const INPUT: usize = 3;
const LISTENER_FIRST: usize = 4;

/// Names one connection for as long as the node runs; never matches a later one in the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Token {
    slot: u32,
    generation: u32,
}

impl Token {
    pub(crate) fn new(slot: usize, generation: Generation) -> Self {
        debug_assert!(slot <= SLOT_MASK);
        Self {
            slot: slot as u32,
            generation: generation.0,
        }
    }

    pub(crate) fn slot(self) -> usize {
        self.slot as usize
    }

    /// The token as a number, for those who need not know what it is made of.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.generation) << u32::BITS | u64::from(self.slot)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self {
            slot: bits as u32,
            generation: (bits >> u32::BITS) as u32,
        }
    }
}

/// Counts the connections of a node, wrapping; zero is kept for the fixed sources.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Generation(u32);

impl Generation {
    pub(crate) const FIRST: Self = Self(1);

    pub(crate) fn next(self) -> Self {
        let next = self.0 as usize + 1;
        Self(if next > GENERATION_MAX {
            1
        } else {
            next as u32
        })
    }
}

/// Everything that is registered with the poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Waker,
    Signals,
    Output,
    Input,
    Listener(usize),
    Connection(Token),
}

impl From<Source> for mio::Token {
    fn from(source: Source) -> Self {
        Self(match source {
            Source::Waker => WAKER,
            Source::Signals => SIGNALS,
            Source::Output => OUTPUT,
            Source::Input => INPUT,
            Source::Listener(index) => LISTENER_FIRST + index,
            Source::Connection(token) => {
                ((token.generation as usize) << SLOT_BITS) | token.slot as usize
            }
        })
    }
}

impl From<mio::Token> for Source {
    fn from(token: mio::Token) -> Self {
        let generation = token.0 >> SLOT_BITS;
        let slot = token.0 & SLOT_MASK;
        match (generation, slot) {
            (0, WAKER) => Self::Waker,
            (0, SIGNALS) => Self::Signals,
            (0, OUTPUT) => Self::Output,
            (0, INPUT) => Self::Input,
            (0, listener) => Self::Listener(listener - LISTENER_FIRST),
            _ => Self::Connection(Token {
                slot: slot as u32,
                generation: generation as u32,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_survives_the_way_through_the_poll() {
        let last = Generation(GENERATION_MAX as u32);
        for source in [
            Source::Waker,
            Source::Signals,
            Source::Output,
            Source::Listener(0),
            Source::Listener(17),
            Source::Connection(Token::new(0, Generation::FIRST)),
            Source::Connection(Token::new(SLOT_MASK, last)),
        ] {
            assert_eq!(Source::from(mio::Token::from(source)), source);
        }
    }

    #[test]
    fn a_token_survives_its_bits() {
        let last = Generation(GENERATION_MAX as u32);
        for token in [
            Token::new(7, Generation::FIRST),
            Token::new(SLOT_MASK, last),
        ] {
            assert_eq!(Token::from_bits(token.to_bits()), token);
        }
    }

    #[test]
    fn generations_wrap_past_the_fixed_sources() {
        assert_eq!(
            Generation(GENERATION_MAX as u32).next().0,
            Generation::FIRST.0
        );
    }
}
