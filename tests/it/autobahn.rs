//! The Autobahn conformance cases, all but 12 and 13 (compression, which wsmesh does not offer),
//! with wsmesh as server and as client.
//!
//! Two runners: `kosoku`, which runs everywhere, and the original `wstest`, which needs a Python
//! 2.7. Groups 1–7 and 10 run with the default limits, 9 (messages up to 16 MiB) with raised ones.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Lines, Node, Program, Scratch, block_on, tools};

/// How long one case may take; the longest of the suite gives up by itself after 100 s.
const CASE_DEADLINE: Duration = Duration::from_secs(150);
/// How long a whole run of the suite may take.
const RUN_DEADLINE: Duration = Duration::from_secs(900);
/// Cases run side by side, and shall not hear one another.
const ECHO: [&str; 5] = ["--interval", "off", "--echo", "--relay", "off"];

/// Cases that run together.
struct Selection {
    patterns: &'static [&'static str],
    /// How many there are: a run that drops some is no success.
    count: usize,
    /// The limits that they need, as options.
    limits: &'static [&'static str],
    /// How many run at once, where the runner can do that.
    parallel: usize,
}

const PROTOCOL: Selection = Selection {
    patterns: &["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"],
    count: 247,
    limits: &[],
    parallel: 8,
};

const LARGE: Selection = Selection {
    patterns: &["9.*"],
    count: 54,
    limits: &["--max-message", "32MiB", "--outbox", "128MiB"],
    parallel: 2,
};

/// Who plays the cases.
#[derive(Clone, Copy)]
enum Runner {
    Kosoku,
    Wstest,
}

impl Runner {
    /// The command of a run against the server at `url`, reporting into `out`.
    #[track_caller]
    fn against_server(self, selection: &Selection, url: &str, out: &Path) -> Option<Command> {
        match self {
            Runner::Kosoku => {
                let mut command = self.kosoku(selection, out)?;
                command.args(["--parallelism", &selection.parallel.to_string()]);
                command.arg(url.trim_start_matches("ws://"));
                Some(command)
            }
            Runner::Wstest => self.wstest(
                "fuzzingclient",
                &json!({
                    "outdir": out,
                    "servers": [{ "agent": "wsmesh", "url": url }],
                    "cases": selection.patterns,
                    "exclude-cases": [],
                    "exclude-agent-cases": {},
                }),
                out,
            ),
        }
    }

    /// A server that plays the cases with whoever dials it, reporting into `out`, and its port.
    #[track_caller]
    fn as_server(self, selection: &Selection, out: &Path) -> Option<(Program, u16)> {
        match self {
            Runner::Kosoku => {
                let mut command = self.kosoku(selection, out)?;
                command.args(["--mode", "fuzzingserver", "127.0.0.1:0"]);
                let program = Program::start("kosoku", command);
                let said = program.stderr.wait_for("fuzzingserver listening on ws://");
                let port = said.rsplit(':').next().and_then(|port| port.parse().ok());
                Some((program, port.expect("listening on ws://HOST:PORT")))
            }
            Runner::Wstest => {
                let command = self.wstest(
                    "fuzzingserver",
                    &json!({
                        "url": "ws://127.0.0.1:0",
                        "outdir": out,
                        "cases": selection.patterns,
                        "exclude-cases": [],
                        "exclude-agent-cases": {},
                    }),
                    out,
                )?;
                let program = Program::start("wstest", command);
                let port = program.wait_listening_port();
                Some((program, port))
            }
        }
    }

    #[track_caller]
    fn kosoku(self, selection: &Selection, out: &Path) -> Option<Command> {
        let mut command = tools::python()?;
        command.args(["-c", "from kosoku._cli import main; main()", "--outdir"]);
        command.arg(out);
        for pattern in selection.patterns {
            command.args(["--include", pattern]);
        }
        Some(command)
    }

    #[track_caller]
    fn wstest(self, mode: &str, spec: &Value, out: &Path) -> Option<Command> {
        let mut command = tools::wstest()?;
        let file = out.join("spec.json");
        fs::write(&file, spec.to_string()).expect("a file in a directory of ours");
        command.args(["--mode", mode, "--webport", "0", "--spec"]);
        command.arg(file);
        Some(command)
    }
}

/// wsmesh echoes, the suite dials it.
fn wsmesh_as_server(runner: Runner, selection: &Selection) {
    let out = Scratch::new("autobahn-server");
    let node = Node::listening(ECHO.iter().chain(selection.limits));
    let Some(command) = runner.against_server(selection, &node.url(""), &out) else {
        return;
    };
    let mut suite = Program::start("the suite", command);
    suite.wait_exit_within(RUN_DEADLINE);
    assert_conformance(selection, &out, &suite.stderr);
}

/// wsmesh dials the suite and echoes: for each case a node of its own, which is stopped when its
/// one connection has been closed.
fn wsmesh_as_client(runner: Runner, selection: &Selection) {
    let out = Scratch::new("autobahn-client");
    let Some((mut suite, port)) = runner.as_server(selection, &out) else {
        return;
    };
    let suite_url = format!("ws://127.0.0.1:{port}");
    let count: usize = block_on(ask(&format!("{suite_url}/getCaseCount")))
        .and_then(|count| count.parse().ok())
        .expect("the suite says how many cases it has");
    assert_eq!(count, selection.count, "cases of the suite");

    let next = AtomicUsize::new(1);
    let stuck = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..selection.parallel {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case > count {
                        break;
                    }
                    let url = format!("{suite_url}/runCase?case={case}&agent=wsmesh");
                    // A second connection would be a second run of the case.
                    let once = ["--retry-min", "1h", "--retry-max", "1h", "--peers", &url];
                    let options = ECHO.iter().chain(selection.limits).chain(&once);
                    let mut node = Node::with(options);
                    let closed = node
                        .stderr
                        .try_wait_until(CASE_DEADLINE, 1, |line| line.contains(" closed: "));
                    if closed.is_err() {
                        let said = node.stderr.tail(5);
                        stuck.lock().unwrap().push(format!("{url}:\n{said}"));
                    }
                    node.stop();
                }
            });
        }
    });
    let stuck = stuck.into_inner().unwrap();
    assert!(stuck.is_empty(), "never closed:\n{}", stuck.join("\n"));

    // The suite may end before it has answered: then the report is there.
    block_on(ask(&format!(
        "{suite_url}/updateReports?agent=wsmesh&shutdownOnComplete=true"
    )));
    suite.wait_exit_within(RUN_DEADLINE);
    assert_conformance(selection, &out, &suite.stderr);
}

/// The first message that comes from `url`, if any.
async fn ask(url: &str) -> Option<String> {
    use futures_util::StreamExt;
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.ok()?;
    let mut answer = None;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() {
            answer.get_or_insert(message.to_string());
        }
    }
    answer
}

/// Asserts that the report holds every case and no failure; lists all that failed.
#[track_caller]
fn assert_conformance(selection: &Selection, out: &Path, said: &Lines) {
    const FINE: [&str; 3] = ["OK", "NON-STRICT", "INFORMATIONAL"];
    let Ok(index) = fs::read_to_string(out.join("index.json")) else {
        panic!("the suite has left no report:\n{}", said.tail(30));
    };
    let index: Value = serde_json::from_str(&index).expect("a report of JSON");
    let agents = index.as_object().expect("a report by agent");
    let agent = agents
        .get("wsmesh")
        .or_else(|| agents.values().next())
        .and_then(Value::as_object)
        .expect("a report by case");

    let failed: Vec<String> = agent
        .iter()
        .filter(|(_, result)| {
            ["behavior", "behaviorClose"]
                .iter()
                .any(|key| !FINE.contains(&result[key].as_str().unwrap_or_default()))
        })
        .map(|(case, result)| {
            let detail = result["reportfile"]
                .as_str()
                .and_then(|file| fs::read_to_string(out.join(file)).ok())
                .and_then(|report| serde_json::from_str(&report).ok())
                .unwrap_or(Value::Null);
            format!(
                "  {case}: {} ({}), close {} ({})\n",
                result["behavior"],
                detail["result"],
                result["behaviorClose"],
                detail["resultClose"]
            )
        })
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {} cases failed (reports in {}):\n{}",
        failed.len(),
        agent.len(),
        out.display(),
        failed.concat()
    );
    assert_eq!(agent.len(), selection.count, "cases in the report");
}

mod kosoku {
    use super::{LARGE, PROTOCOL, Runner, wsmesh_as_client, wsmesh_as_server};

    #[test]
    fn wsmesh_as_server_keeps_the_protocol() {
        wsmesh_as_server(Runner::Kosoku, &PROTOCOL);
    }

    #[test]
    fn wsmesh_as_server_takes_large_messages() {
        wsmesh_as_server(Runner::Kosoku, &LARGE);
    }

    #[test]
    fn wsmesh_as_client_keeps_the_protocol() {
        wsmesh_as_client(Runner::Kosoku, &PROTOCOL);
    }

    #[test]
    fn wsmesh_as_client_takes_large_messages() {
        wsmesh_as_client(Runner::Kosoku, &LARGE);
    }
}

mod wstest {
    use super::{LARGE, PROTOCOL, Runner, wsmesh_as_client, wsmesh_as_server};

    #[test]
    fn wsmesh_as_server_keeps_the_protocol() {
        wsmesh_as_server(Runner::Wstest, &PROTOCOL);
    }

    #[test]
    fn wsmesh_as_server_takes_large_messages() {
        wsmesh_as_server(Runner::Wstest, &LARGE);
    }

    #[test]
    fn wsmesh_as_client_keeps_the_protocol() {
        wsmesh_as_client(Runner::Wstest, &PROTOCOL);
    }

    #[test]
    fn wsmesh_as_client_takes_large_messages() {
        wsmesh_as_client(Runner::Wstest, &LARGE);
    }
}
