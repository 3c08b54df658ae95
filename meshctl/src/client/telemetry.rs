//! The calls about traffic.

use mesh_api::wire;

use super::{Client, known, timed};
use crate::failure::Failure;

impl Client {
    /// Totals, and rates over the last seconds.
    pub(crate) async fn stat(
        &mut self,
        message: wire::StatRequest,
    ) -> Result<wire::StatResponse, Failure> {
        let left = self.limit.left();
        let answer = tokio::time::timeout(left, self.telemetry.stat(timed(message, left))).await;
        known(&self.server, answer)?.ok_or_else(not_gathered)
    }

    /// The same, again and again.
    pub(crate) async fn watch_stat(
        &mut self,
        message: wire::StatRequest,
    ) -> Result<tonic::Streaming<wire::StatResponse>, Failure> {
        let answer = tokio::time::timeout(self.limit.left(), self.telemetry.watch(message)).await;
        known(&self.server, answer)?.ok_or_else(not_gathered)
    }

    /// What was counted over time; nothing from a control plane that does not keep it.
    pub(crate) async fn series(
        &mut self,
        message: wire::SeriesRequest,
    ) -> Result<wire::SeriesResponse, Failure> {
        let left = self.limit.left();
        let answer = tokio::time::timeout(left, self.telemetry.series(timed(message, left))).await;
        Ok(known(&self.server, answer)?.unwrap_or_default())
    }
}

fn not_gathered() -> Failure {
    Failure::Declined {
        message: "the control plane does not gather traffic: it is older than this meshctl"
            .to_owned(),
    }
}
