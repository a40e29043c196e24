//! Waiting for what happens by itself.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until the condition holds; false when it does not within `limit`.
pub async fn eventually(limit: Duration, condition: impl AsyncFn() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition().await {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
