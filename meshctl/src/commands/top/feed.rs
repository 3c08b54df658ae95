//! What the control plane says: rows again and again, over lost connections too, and details of
//! one row.

use std::pin::Pin;
use std::time::Duration;

use mesh_api::wire;

use super::detail::{Detail, Query};
use super::history::SECONDS;
use super::state::Input;
use crate::client::{Client, Context};
use crate::commands::stay::{RETRY, message};
use crate::failure::Failure;
use crate::traffic::Scope;

type Stream = tonic::Streaming<wire::StatResponse>;
type Later<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A connection that comes back.
pub(super) struct Feed<'a> {
    context: &'a Context,
    every: Duration,
    scope: Scope,
    line: Line<'a>,
    details: Option<Later<'a, Result<Detail, Failure>>>,
}

enum Line<'a> {
    Opening(Later<'a, Result<Open, Failure>>),
    Open(Box<Open>),
}

/// An open connection, and the last minute as it was told then.
struct Open {
    client: Client,
    stream: Stream,
    seed: wire::SeriesResponse,
}

impl<'a> Feed<'a> {
    /// Connects, and says what the control plane knows of the last minute.
    pub(super) async fn start(
        context: &'a Context,
        scope: &Scope,
        every: Duration,
    ) -> Result<(Self, Input), Failure> {
        let mut client = context.connect_to_stay().await?;
        let answer = client.stat(scope.request(None)).await?;
        if answer.rows.is_empty() {
            scope.check(&mut client).await?;
        }
        let mut open = follow(client, scope, every).await?;
        let first = Input::Connected(std::mem::take(&mut open.seed));
        let line = Line::Open(Box::new(open));
        let feed = Self { context, every, scope: scope.clone(), line, details: None };
        Ok((feed, first))
    }

    /// The next that happens. What has been begun goes on when this is dropped.
    pub(super) async fn next(&mut self) -> Result<Input, Failure> {
        let Self { line, details, .. } = self;
        tokio::select! {
            input = heard(line) => self.turn(input),
            detail = asked(details) => {
                self.details = None;
                // Without details the page shows what the table knows.
                Ok(Input::Details(detail.ok().map(Box::new)))
            }
        }
    }

    fn turn(&mut self, heard: Result<Heard, Failure>) -> Result<Input, Failure> {
        match heard {
            Ok(Heard::Answer(response)) => Ok(Input::Answer(response)),
            Ok(Heard::Open(mut open)) => {
                let seed = std::mem::take(&mut open.seed);
                self.line = Line::Open(open);
                Ok(Input::Connected(seed))
            }
            Err(Failure::Unreachable { reason, .. }) => {
                self.line = self.opening(RETRY);
                Ok(Input::Lost(reason))
            }
            // It is there, but slow.
            Err(Failure::TimedOut { message }) => {
                self.line = self.opening(RETRY);
                Ok(Input::Lost(message))
            }
            Err(other) => Err(other),
        }
    }

    /// Asks for other rows.
    pub(super) fn subscribe(&mut self, scope: Scope) {
        self.scope = scope;
        self.details = None;
        self.line = self.opening(Duration::ZERO);
    }

    /// Asks for the details of a row.
    pub(super) fn fetch(&mut self, query: Query) {
        if let Line::Open(open) = &self.line {
            let mut client = open.client.clone();
            self.details = Some(Box::pin(async move {
                let series = client.series(query.series.clone()).await?;
                let below = match &query.below {
                    Some((_, request)) => Some(client.stat(request.clone()).await?),
                    None => None,
                };
                Ok(Detail::new(&query, series, below))
            }));
        }
    }

    fn opening(&self, pause: Duration) -> Line<'a> {
        let (context, scope, every) = (self.context, self.scope.clone(), self.every);
        Line::Opening(Box::pin(async move {
            tokio::time::sleep(pause).await;
            let client = context.connect_to_stay().await?;
            follow(client, &scope, every).await
        }))
    }
}

async fn follow(mut client: Client, scope: &Scope, every: Duration) -> Result<Open, Failure> {
    let minute = wire::SeriesRequest {
        of: Some(scope.request(None)),
        range_ms: 60_000,
        points: u32::try_from(SECONDS).unwrap_or(u32::MAX),
    };
    let seed = client.series(minute).await?;
    let stream = client.watch_stat(scope.request(Some(every))).await?;
    Ok(Open { client, stream, seed })
}

enum Heard {
    Answer(wire::StatResponse),
    Open(Box<Open>),
}

async fn heard(line: &mut Line<'_>) -> Result<Heard, Failure> {
    match line {
        Line::Opening(open) => open.as_mut().await.map(|open| Heard::Open(Box::new(open))),
        Line::Open(open) => {
            let Open { client, stream, .. } = open.as_mut();
            message(client, stream).await.map(Heard::Answer)
        }
    }
}

async fn asked(
    details: &mut Option<Later<'_, Result<Detail, Failure>>>,
) -> Result<Detail, Failure> {
    match details {
        Some(detail) => detail.as_mut().await,
        None => std::future::pending().await,
    }
}
