//! `--wait`: until the nodes serve a revision, and there is one that does.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use mesh_api::convert::milliseconds;
use mesh_api::wire;

use crate::cli::Wait;
use crate::client::{Client, Context};
use crate::failure::Failure;
use crate::output::{note, time};

/// How often progress is shown, and how long nothing is shown at first.
const TICK: Duration = Duration::from_millis(300);

/// Waits, if that is asked for, until every connected node serves `revision`.
pub(super) async fn until_live(
    context: &Context,
    client: &mut Client,
    revision: u64,
    wait: &Wait,
) -> Result<(), Failure> {
    if !wait.wait {
        return Ok(());
    }
    let start = Instant::now();
    let mut progress = Progress::new();
    let mut watcher = client.clone();
    let response = {
        let waiting = client.wait_live(revision);
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                biased;
                response = &mut waiting => break response,
                () = tokio::time::sleep(TICK), if progress.terminal => {
                    // Progress is a courtesy: what fails here, the wait itself reports.
                    if let Ok(status) = watcher.status(wire::StatusRequest {}).await {
                        progress.show(&status.nodes, revision);
                    }
                }
            }
        }
    };
    progress.clear();
    let elapsed = start.elapsed();
    let (response, over) = response?;
    match verdict(&response, revision, over) {
        Verdict::Live { nodes, away } => {
            note(&live_text(revision, nodes, &away, elapsed));
            Ok(())
        }
        Verdict::Nobody { away } => Err(Failure::TimedOut {
            message: format!(
                "revision {revision} is stored, but after {} no node is connected that could \
                 serve it{}",
                time::age(milliseconds(context.timeout)),
                absent(&away)
            ),
        }),
        Verdict::Rejected(nodes) => Err(Failure::Rejected {
            message: format!("revision {revision} is refused:\n{}", nodes.join("\n")),
        }),
        Verdict::Late(nodes) => Err(Failure::TimedOut {
            message: format!(
                "revision {revision} is stored, but after {} not live on:\n{}",
                time::age(milliseconds(context.timeout)),
                nodes.join("\n")
            ),
        }),
    }
}

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// On so many nodes; those that are away follow when they come back.
    Live { nodes: usize, away: Vec<String> },
    /// On none, because none is connected; these were earlier.
    Nobody { away: Vec<String> },
    /// By these nodes, a line each with the reasons.
    Rejected(Vec<String>),
    /// On these nodes, a line each with what they serve.
    Late(Vec<String>),
}

fn verdict(response: &wire::WaitLiveResponse, revision: u64, time_is_over: bool) -> Verdict {
    let (connected, away): (Vec<_>, Vec<_>) =
        response.nodes.iter().partition(|node| node.connected);
    let away = || away.iter().map(|node| node.node.clone()).collect();
    if connected.is_empty() {
        return Verdict::Nobody { away: away() };
    }
    if response.live {
        return Verdict::Live { nodes: connected.len(), away: away() };
    }
    let behind = || connected.iter().filter(|node| node.live_revision < revision);
    let refuses = |rejection: &&wire::Rejection| rejection.revision >= revision || !time_is_over;
    let rejected: Vec<_> = connected
        .iter()
        .flat_map(|node| {
            let found = node.rejections.iter().filter(refuses);
            found.map(|rejection| format!("  {}: {}", node.node, rejection.message))
        })
        .collect();
    if !rejected.is_empty() {
        return Verdict::Rejected(rejected);
    }
    let late = |node: &&&wire::NodeStatus| {
        format!("  {}: serves revision {}", node.node, node.live_revision)
    };
    Verdict::Late(behind().map(|node| late(&node)).collect())
}

fn live_text(revision: u64, nodes: usize, away: &[String], elapsed: Duration) -> String {
    let nodes = match nodes {
        1 => "live on 1 node".to_owned(),
        nodes => format!("live on {nodes} nodes"),
    };
    format!("revision {revision}: {nodes} ({}){}", time::age(milliseconds(elapsed)), absent(away))
}

fn absent(away: &[String]) -> String {
    if away.is_empty() { String::new() } else { format!("; not connected: {}", away.join(", ")) }
}

/// A line on the terminal that is overwritten.
struct Progress {
    terminal: bool,
    shown: bool,
}

impl Progress {
    fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), shown: false }
    }

    fn show(&mut self, nodes: &[wire::NodeStatus], revision: u64) {
        let connected = nodes.iter().filter(|node| node.connected).count();
        let live =
            nodes.iter().filter(|node| node.connected && node.live_revision >= revision).count();
        let so_far = match connected {
            0 => "waiting for a node to connect".to_owned(),
            _ => format!("live on {live} of {connected} nodes"),
        };
        Self::write(&format!("\r\u{1b}[Krevision {revision}: {so_far}"));
        self.shown = true;
    }

    fn clear(&mut self) {
        if self.shown {
            Self::write("\r\u{1b}[K");
            self.shown = false;
        }
    }

    fn write(text: &str) {
        let mut terminal = io::stderr().lock();
        write!(terminal, "{text}").unwrap_or_default();
        terminal.flush().unwrap_or_default();
    }
}

impl Drop for Progress {
    /// Also when Ctrl-C ends the wait.
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, connected: bool, live: u64, rejected: &[u64]) -> wire::NodeStatus {
        let rejection = |revision: &u64| wire::Rejection {
            revision: *revision,
            message: format!("reason {revision}"),
        };
        wire::NodeStatus {
            node: name.to_owned(),
            connected,
            live_revision: live,
            rejections: rejected.iter().map(rejection).collect(),
            ..wire::NodeStatus::default()
        }
    }

    fn response(live: bool, nodes: Vec<wire::NodeStatus>) -> wire::WaitLiveResponse {
        wire::WaitLiveResponse { live, nodes }
    }

    #[test]
    fn live_counts_the_connected_and_names_the_others() {
        let nodes = vec![node("a", true, 12, &[]), node("b", false, 9, &[])];
        let verdict = verdict(&response(true, nodes), 12, false);
        let away = vec!["b".to_owned()];
        assert_eq!(verdict, Verdict::Live { nodes: 1, away });
        assert_eq!(
            live_text(12, 1, &["b".to_owned()], Duration::from_millis(8)),
            "revision 12: live on 1 node (8ms); not connected: b"
        );
    }

    #[test]
    fn nothing_is_live_where_nobody_is_connected() {
        let nodes = vec![node("b", false, 12, &[12])];
        for live in [false, true] {
            let verdict = verdict(&response(live, nodes.clone()), 12, true);
            assert_eq!(verdict, Verdict::Nobody { away: vec!["b".to_owned()] });
        }
    }

    #[test]
    fn at_the_timeout_the_nodes_that_are_behind_are_named() {
        let nodes = vec![
            node("a", true, 12, &[]),
            node("b", true, 9, &[]),
            node("c", false, 1, &[]),
            // Still holds something against an older revision.
            node("d", true, 11, &[3]),
        ];
        let late = |lines: &[&str]| Verdict::Late(lines.iter().map(|it| (*it).into()).collect());
        assert_eq!(
            verdict(&response(false, nodes), 12, true),
            late(&["  b: serves revision 9", "  d: serves revision 11"])
        );
    }

    #[test]
    fn a_rejection_gives_its_reasons() {
        let nodes = vec![node("a", true, 11, &[12]), node("b", true, 9, &[])];
        assert_eq!(
            verdict(&response(false, nodes), 12, false),
            Verdict::Rejected(vec!["  a: reason 12".to_owned()])
        );
    }
}
