//! How long a stream may live: clients that connect again now and then spread over the replicas of
//! the control plane. Each stream lives up to a tenth longer, so that they do not all come at once.

use std::pin::Pin;
use std::time::Duration;

use mesh_xds::backoff::random01;
use tokio::time::Sleep;

/// The time that a stream has.
#[derive(Debug)]
pub(super) struct Age {
    end: Pin<Box<Sleep>>,
}

impl Age {
    pub(super) fn new(max_age: Duration) -> Self {
        Self {
            end: Box::pin(tokio::time::sleep(max_age.saturating_add(jitter(max_age, random01())))),
        }
    }

    /// Waits until it is over.
    pub(super) async fn reached(&mut self) {
        self.end.as_mut().await;
    }
}

/// What is added; `share` is from 0 to 1.
fn jitter(max_age: Duration, share: f64) -> Duration {
    max_age.div_f64(10.0).mul_f64(share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_at_most_a_tenth() {
        let age = Duration::from_mins(30);
        assert_eq!(jitter(age, 0.0), Duration::ZERO);
        assert_eq!(jitter(age, 1.0), Duration::from_mins(3));
    }
}
