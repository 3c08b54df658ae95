//! What commands that stay have in common: they survive lost connections.

use std::time::Duration;

use tonic::Code;

use crate::client::{Client, Context};
use crate::failure::Failure;
use crate::output::note;

/// Pause between attempts to connect again.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Follows a stream, again and again as the connection is lost. `follow` ends with an error only.
pub(super) async fn stay(
    context: &Context,
    mut follow: impl AsyncFnMut(&mut Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // Where there never was a connection, waiting for one helps nobody.
    let mut client = context.connect_to_stay().await?;
    loop {
        match follow(&mut client).await {
            Err(Failure::Unreachable { reason, .. }) => {
                note(&format!("connection lost ({reason}): trying again"));
            }
            other => return other,
        }
        client = loop {
            tokio::time::sleep(RETRY).await;
            if let Ok(client) = context.connect_to_stay().await {
                break client;
            }
        };
    }
}

/// The next message of a stream that has no end. One that the control plane has given up, because
/// its reader was too slow, is as good as lost.
pub(super) async fn message<T>(
    client: &Client,
    stream: &mut tonic::Streaming<T>,
) -> Result<T, Failure> {
    match stream.message().await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => {
            let ended = tonic::Status::unavailable("the control plane ended the stream");
            Err(client.failure(&ended))
        }
        Err(status) if status.code() == Code::Aborted => {
            let behind = tonic::Status::unavailable(status.message());
            Err(client.failure(&behind))
        }
        Err(status) => Err(client.failure(&status)),
    }
}
