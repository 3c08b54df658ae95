//! What tasks do whose work is only to join two others; `app` starts them. Each ends with why.

use std::sync::Arc;

use mesh_xds::backoff::random01;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use crate::accel::auto;
use crate::canary::Listeners;
use crate::enrol::agent::Fresh;
use crate::enrol::verdicts::Verdicts;
use crate::worker::Worker;
use crate::xds::client::Client;

/// Has every change of the verdicts written.
pub(crate) async fn pass_on(
    mut verdicts: watch::Receiver<Arc<Verdicts>>,
    mut fresh: UnboundedReceiver<Fresh>,
    worker: Worker,
) -> String {
    loop {
        tokio::select! {
            // An older state must not take away what is new.
            biased;
            Ok(()) = verdicts.changed() => {
                worker.enrol(Arc::clone(&verdicts.borrow_and_update()));
            }
            Some(fresh) = fresh.recv() => worker.enrol_new(fresh),
            else => return "nobody looks at the cgroups any more".to_owned(),
        }
    }
}

/// Ends when nobody counts any more, because the thread has ended, by a panic too.
pub(crate) async fn looked_at(mut figures: watch::Receiver<auto::metrics::Figures>) -> String {
    while figures.changed().await.is_ok() {}
    "the thread for acceleration Auto has ended".to_owned()
}

/// Takes what the control plane sends.
pub(crate) async fn follow_control(client: Client) -> String {
    client.run(random01).await;
    "the thread for the maps has ended".to_owned()
}

pub(crate) async fn answer(listeners: Listeners) -> String {
    listeners.run().await;
    "the canary's listeners have ended".to_owned()
}

pub(crate) async fn serve(listener: TcpListener, routes: axum::Router) -> String {
    match axum::serve(listener, routes).await {
        Ok(()) => "the HTTP server has ended".to_owned(),
        Err(error) => format!("the HTTP server has ended: {error}"),
    }
}
