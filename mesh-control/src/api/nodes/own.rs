//! What the control plane itself logs, in the words of the API.

use std::time::Duration;

use mesh_api::convert::milliseconds;
use mesh_api::wire;
use mesh_telemetry::keeper::{LogKeeper, Wanted};
use tonic::Status;

/// What is logged now.
pub(super) fn levels(keeper: &LogKeeper) -> wire::LogLevels {
    let (setting, remaining) = keeper.current();
    wire::LogLevels {
        directives: setting.directives,
        // 0 says that it stays.
        remaining_ms: remaining.map_or(0, |remaining| milliseconds(remaining).max(1)),
        ..wire::LogLevels::default()
    }
}

/// Logs something else.
pub(super) fn set(keeper: &LogKeeper, wanted: wire::SetLog) -> Result<wire::LogLevels, Status> {
    let wire::SetLog { directives, for_ms, access_log, access_sample } = wanted;
    if access_log == Some(true) || access_sample > 1 {
        let text = "no connections go through the control plane: ask a node for its access log";
        return Err(Status::invalid_argument(text));
    }
    let lasts = (for_ms != 0).then_some(Duration::from_millis(for_ms));
    let wanted = Wanted { directives, lasts, ..Wanted::default() };
    keeper.set(&wanted).map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(levels(keeper))
}
