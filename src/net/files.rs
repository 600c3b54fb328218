//! Files that an option names: what is read of them, and what can be wrong with them.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::tls::TlsError;

/// Why a file cannot be used: names the option, the file, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {}: {problem}", path.display())]
pub struct FileError {
    /// The option.
    flag: &'static str,
    /// What was given.
    path: PathBuf,
    /// Continues a sentence.
    problem: String,
}

/// Why the files that options name cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Tokens are missing or wrong.
    #[error(transparent)]
    Tokens(#[from] FileError),
    /// Certificates or keys are missing, wrong or do not fit.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A file as an option names it.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) flag: &'static str,
    pub(super) path: &'a Path,
}

impl<'a> Source<'a> {
    pub(super) fn new(flag: &'static str, path: &'a Path) -> Self {
        Self { flag, path }
    }

    pub(super) fn error(self, problem: impl Into<String>) -> FileError {
        FileError {
            flag: self.flag,
            path: self.path.to_owned(),
            problem: problem.into(),
        }
    }

    /// Everything that is in it, of at most so many bytes; `what` it is then too large to be.
    pub(super) fn read(self, bytes_max: u64, what: &str) -> Result<Vec<u8>, FileError> {
        let mut bytes = Vec::new();
        let read =
            File::open(self.path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes));
        match read {
            Ok(len) if len as u64 <= bytes_max => Ok(bytes),
            Ok(_) => Err(self.error(format!("it is too large to be {what}"))),
            Err(error) => Err(self.error(match error.kind() {
                io::ErrorKind::NotFound => "there is no such file".to_owned(),
                io::ErrorKind::PermissionDenied => {
                    "this user may not read it (permission denied)".to_owned()
                }
                _ => format!("it cannot be read: {error}"),
            })),
        }
    }
}
