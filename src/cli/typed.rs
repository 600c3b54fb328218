//! Values of options, parsed by their own types.

use std::ffi::OsStr;
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use wsmesh::Printable;
use wsmesh::config::{Every, EveryError};

/// Parses a value with its own [`FromStr`] and lets its own error speak, which names what was
/// typed; we add where it was typed.
pub(super) fn typed<T>() -> Typed<T>
where
    T: FromStr<Err: Display>,
{
    Typed(|text| text.parse().map_err(|error: T::Err| error.to_string()))
}

/// A flag without a value, which the environment gives one.
pub(super) fn switch() -> Typed<bool> {
    Typed(|text| match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("`{}` is neither on nor off", Printable(text))),
    })
}

/// How often a flag is given, which is a number in the environment.
pub(super) fn times() -> Typed<u8> {
    Typed(|text| {
        let number = text.trim().parse();
        number.map_err(|_| format!("`{}` is not a number from 0 to 255", Printable(text)))
    })
}

/// A time, or none at all, which is `off` or nothing.
pub(super) fn time_or_none() -> Typed<Every> {
    Typed(|text| match text.trim() {
        "0" | "0s" | "0ms" => Ok(Every(None)),
        text => text.parse().map_err(|error: EveryError| error.to_string()),
    })
}

/// How often a message is passed on, which one byte of its head counts.
pub(super) fn hops() -> Typed<u8> {
    Typed(|text| {
        let number = text.trim().parse().ok().filter(|number| *number > 0);
        number.ok_or_else(|| format!("`{}` is not a number from 1 to 255", Printable(text)))
    })
}

/// An address of a machine, without a port.
pub(super) fn ip_address() -> Typed<IpAddr> {
    Typed(|text| {
        let address = text.trim().parse();
        address.map_err(|_| {
            let text = Printable(text);
            format!("`{text}` is not an IP address; write for example 127.0.0.2")
        })
    })
}

/// See [`typed`].
pub(super) struct Typed<T>(fn(&str) -> Result<T, String>);

impl<T> Clone for Typed<T> {
    fn clone(&self) -> Self {
        Typed(self.0)
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Typed<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        self.parse_ref_(command, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<T, clap::Error> {
        let parsed = match value.to_str() {
            Some(text) => (self.0)(text),
            None => {
                let shown = value.to_string_lossy();
                Err(format!("`{}` is not UTF-8", Printable(&shown)))
            }
        };
        parsed.map_err(|what| {
            let place = match (source, arg.and_then(clap::Arg::get_env)) {
                (ValueSource::EnvVariable, Some(name)) => name.to_string_lossy().into_owned(),
                _ => arg.map_or_else(String::new, |arg| match arg.get_long() {
                    Some(long) => format!("--{long}"),
                    None => arg.get_id().to_string(),
                }),
            };
            let text = format!("{place}: {what}");
            command.clone().error(ErrorKind::ValueValidation, text)
        })
    }
}
