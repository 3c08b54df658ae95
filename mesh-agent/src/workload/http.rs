//! `GET /workloads`: who runs on this node, as JSON.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::sync::watch;

use super::inventory::Inventory;

/// What the handler needs.
#[derive(Clone, Debug)]
pub struct Context {
    /// Name of the node.
    pub node: String,
    /// The list.
    pub inventory: watch::Receiver<Arc<Inventory>>,
}

#[derive(Serialize)]
struct Body {
    node: String,
    #[serde(flatten)]
    inventory: Inventory,
}

/// The route, to be merged into the agent's.
pub fn router(context: Context) -> Router {
    Router::new().route("/workloads", get(workloads)).with_state(context)
}

async fn workloads(State(context): State<Context>) -> Json<Body> {
    let inventory = Inventory::clone(&context.inventory.borrow());
    Json(Body { node: context.node, inventory })
}
