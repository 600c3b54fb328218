//! Options of those who connect as clients: what their upgrade requests carry, and whom they believe.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use wsmesh::config::HeaderField;

use super::tls::TlsDialingOptions;
use super::typed::typed;

#[derive(Debug, Args)]
pub(super) struct RequestOptions {
    /// Header field of the upgrade request: "X-Room: blue"
    ///
    /// Can be given several times.
    #[arg(long, value_name = "FIELD", value_parser = typed::<HeaderField>())]
    pub(super) header: Vec<HeaderField>,

    /// Subprotocols to ask for
    ///
    /// The server may choose one of them, or none.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) subprotocol: Vec<String>,

    /// File with a token to be let in by
    ///
    /// Its first line is sent as `Authorization: Bearer`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    #[command(flatten)]
    pub(super) tls: TlsDialingOptions,
}

impl RequestOptions {
    pub(super) fn token(&self) -> Result<Option<String>, String> {
        self.token_file.as_deref().map(read_token).transpose()
    }
}

fn read_token(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|error| format!("--token-file {}: {error}", path.display()))?;
    let token = text.lines().next().unwrap_or_default().trim();
    let is_visible = |byte: u8| byte.is_ascii_graphic();
    match !token.is_empty() && token.bytes().all(is_visible) {
        true => Ok(token.to_owned()),
        false => Err(format!(
            "--token-file {}: its first line is no token: visible ASCII characters without spaces",
            path.display()
        )),
    }
}
