//! A node, and loads for it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::Outcome;

const SERVER_CORE: &str = "0";
const GENERATOR_CORE: &str = "1";
/// Connections that one address of the loopback is asked for; it has some more ports.
const CONNECTIONS_PER_ADDRESS: usize = 20_000;

/// A node on a core of its own. It goes with this.
pub(crate) struct Node {
    process: Child,
    addresses: Vec<SocketAddr>,
}

impl Node {
    /// With options beside those that let it take any load.
    pub(crate) fn start(options: &[&str]) -> Outcome<Self> {
        const ANY: &str = "200000";
        let many = ["--max-connections", ANY, "--max-handshakes", ANY];
        let of_one_address = ["--max-connections-per-address", ANY];
        let options = [&many[..], &of_one_address, options].concat();
        Self::listening(&["127.0.0.1:0"], &options)
    }

    /// With its bounds as they are by default, at these addresses.
    pub(crate) fn listening(binds: &[&str], options: &[&str]) -> Outcome<Self> {
        let mut process = pinned(SERVER_CORE, env!("CARGO_BIN_EXE_wsmesh"))
            .args(["--bind", &binds.join(","), "--interval", "off"])
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut log = BufReader::new(process.stderr.take().ok_or("no standard error")?).lines();
        let mut addresses = Vec::new();
        while addresses.len() < binds.len() {
            let line = log.next().ok_or("the node does not start")??;
            if let Some((_, address)) = line.split_once("listening on ") {
                let address = address.split(' ').next().unwrap_or_default();
                addresses.push(address.parse()?);
            }
        }
        // It says something of each connection, which somebody has to take.
        std::thread::spawn(move || log.for_each(drop));
        Ok(Self { process, addresses })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Loads it with so many connections, and returns the report.
    pub(crate) fn load(&self, connections: usize, options: &[&str]) -> Outcome<Report> {
        // The system itself takes long to find a port when many of an address are in use.
        let addresses = 1..=connections.div_ceil(CONNECTIONS_PER_ADDRESS);
        let addresses: Vec<_> = addresses.map(|last| format!("127.0.0.{last}")).collect();
        let output = pinned(GENERATOR_CORE, env!("CARGO_BIN_EXE_wsmesh"))
            .args(["bench", &format!("ws://{}", self.address()), "--json"])
            .args([
                "-n",
                &connections.to_string(),
                "--pid",
                &self.process.id().to_string(),
            ])
            .args(["--source", &addresses.join(",")])
            .args(options)
            .output()?;
        let report = match output.status.success() {
            true => Report(serde_json::from_slice(&output.stdout)?),
            false => return Err(String::from_utf8_lossy(&output.stderr).into()),
        };
        let lost = ["/measure/lost", "/connect/failed", "/connect/lost"];
        for path in lost {
            if report.figure(path)? > 0.0 {
                return Err(format!("{path} is not 0 in {}", report.0).into());
            }
        }
        Ok(report)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have gone by itself; either way it is gone afterwards.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What `wsmesh bench --json` has printed.
pub(crate) struct Report(Value);

impl Report {
    pub(crate) fn figure(&self, path: &str) -> Outcome<f64> {
        let value = self.0.pointer(path).and_then(Value::as_f64);
        Ok(value.ok_or_else(|| format!("no {path} in {}", self.0))?)
    }
}

/// A program on one core.
fn pinned(core: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// This program on the core of those who load a node.
pub(crate) fn beside() -> Outcome<Command> {
    Ok(pinned(GENERATOR_CORE, std::env::current_exe()?))
}
