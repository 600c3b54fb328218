//! A node, and loads for it.

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
    address: SocketAddr,
}

impl Node {
    /// With options beside those that let it take any load.
    pub(crate) fn start(options: &[&str]) -> Outcome<Self> {
        const ANY: &str = "200000";
        let mut process = pinned(SERVER_CORE)
            .args(["--bind", "127.0.0.1:0", "--interval", "off"])
            .args([
                "--max-connections",
                ANY,
                "--max-connections-per-address",
                ANY,
            ])
            .args(["--max-handshakes", ANY])
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut log = BufReader::new(process.stderr.take().ok_or("no standard error")?).lines();
        let address = loop {
            let line = log.next().ok_or("the node does not start")??;
            if let Some((_, address)) = line.split_once("listening on ") {
                break address.parse()?;
            }
        };
        // It says something of each connection, which somebody has to take.
        std::thread::spawn(move || log.for_each(drop));
        Ok(Self { process, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loads it with so many connections, and returns the report.
    pub(crate) fn load(&self, connections: usize, options: &[&str]) -> Outcome<Report> {
        // The system itself takes long to find a port when many of an address are in use.
        let addresses = 1..=connections.div_ceil(CONNECTIONS_PER_ADDRESS);
        let addresses: Vec<_> = addresses.map(|last| format!("127.0.0.{last}")).collect();
        let output = pinned(GENERATOR_CORE)
            .args(["bench", &format!("ws://{}", self.address), "--json"])
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

/// The program, on one core.
fn pinned(core: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core, env!("CARGO_BIN_EXE_wsmesh")]);
    command
}
