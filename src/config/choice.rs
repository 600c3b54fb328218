//! Words that a person chooses from: by one list of them they are read and shown, and named in the error.

use std::fmt::{self, Display};

use crate::printable::Printable;

/// A text that is none of the words to choose from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no {what}; expected {}", Printable(.text), AnyOf(.words))]
pub struct ChoiceError {
    pub(crate) text: String,
    pub(crate) what: &'static str,
    pub(crate) words: &'static [&'static str],
}

/// `one, two or three`.
struct AnyOf<'a>(&'a [&'static str]);

impl Display for AnyOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.0.iter().enumerate() {
            let before = match index {
                0 => "",
                _ if index + 1 == self.0.len() => " or ",
                _ => ", ",
            };
            write!(f, "{before}{word}")?;
        }
        Ok(())
    }
}

/// Gives an enum without fields its words: what it is, and each of them in the order of the help text.
macro_rules! choice {
    ($name:ident, $what:literal, $($variant:ident = $word:literal),+) => {
        impl $name {
            /// All of them, in the order of the help text.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word that the program takes and shows.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::config::ChoiceError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::config::ChoiceError {
                        text: text.to_owned(),
                        what: $what,
                        words: &[$($word),+],
                    }),
                }
            }
        }
    };
}

pub(crate) use choice;

#[cfg(test)]
mod tests {
    use crate::config::{BroadcastScope, SlowPeer};
    use crate::simulation::ProtocolKind;

    macro_rules! each_word_is_read_as_it_is_shown {
        ($($name:ident),+) => {$(
            for choice in $name::ALL {
                assert_eq!(choice.to_string().parse(), Ok(*choice));
            }
        )+};
    }

    #[test]
    fn what_can_be_chosen_is_read_as_it_is_shown() {
        each_word_is_read_as_it_is_shown!(BroadcastScope, ProtocolKind, SlowPeer);
    }

    #[test]
    fn what_cannot_be_chosen_is_told_with_what_can() {
        let error = "drop\n".parse::<SlowPeer>().unwrap_err().to_string();
        let expected = r"`drop\n` is no policy; expected disconnect, drop-oldest or drop-newest";
        assert_eq!(error, expected);
        let error = "all".parse::<BroadcastScope>().unwrap_err().to_string();
        assert_eq!(error, "`all` is no scope; expected peers or mesh");
    }
}
