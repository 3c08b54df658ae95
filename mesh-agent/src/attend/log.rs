//! What this agent logs, in the words of the API.

use std::time::Duration;

use mesh_api::convert::milliseconds;
use mesh_api::wire;
use mesh_telemetry::keeper::{LogKeeper, Wanted};
use mesh_telemetry::levels::Setting;
use tonic::Status;

/// Most connections of which one is logged.
const MAX_SAMPLE: u32 = 1_000_000;

/// What is logged now.
#[must_use]
pub fn levels(keeper: &LogKeeper) -> wire::LogLevels {
    let (Setting { directives, access_log, access_sample }, remaining) = keeper.current();
    // 0 says that it stays.
    let remaining_ms = remaining.map_or(0, |remaining| milliseconds(remaining).max(1));
    wire::LogLevels { directives, access_log, access_sample, remaining_ms }
}

/// Logs something else.
pub fn set(keeper: &LogKeeper, wanted: wire::SetLog) -> Result<wire::LogLevels, Status> {
    let wire::SetLog { directives, for_ms, access_log, access_sample } = wanted;
    if access_sample > MAX_SAMPLE {
        let text = format!("one of {MAX_SAMPLE} connections at least has to be logged");
        return Err(Status::invalid_argument(text));
    }
    let lasts = (for_ms != 0).then_some(Duration::from_millis(for_ms));
    let wanted = Wanted { directives, lasts, access_log, access_sample };
    keeper.set(&wanted).map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(levels(keeper))
}
