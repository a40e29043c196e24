//! The tasks of one opened connection: they end with it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

/// Where hyper and we spawn; a clone is the same set.
#[derive(Clone)]
pub(super) struct Tasks(Arc<Mutex<Option<JoinSet<()>>>>);

impl Tasks {
    /// Starts a task that [`Scope`] ends at the latest.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // After the end nothing begins.
        let Some(set) = set.as_mut() else { return };
        // Those that ended are not kept until the connection ends.
        while set.try_join_next().is_some() {}
        set.spawn(task);
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

/// Ends all tasks when it is dropped: the tasks themselves hold clones of [`Tasks`], so that alone would never end.
pub(super) struct Scope(pub(super) Tasks);

impl Scope {
    /// Begins without a task.
    pub(super) fn new() -> Self {
        Self(Tasks(Arc::new(Mutex::new(Some(JoinSet::new())))))
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let set = self
            .0
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // Dropping the set aborts its tasks; not under the lock, which a task's own end may want.
        drop(set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_end_with_their_scope() {
        let scope = Scope::new();
        let (alive, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        let (tasks, nested) = (scope.0.clone(), alive.clone());
        scope.0.spawn(async move {
            tasks.spawn(async move {
                let _nested = nested;
                std::future::pending::<()>().await;
            });
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        tokio::task::yield_now().await;
        drop(scope);
        assert_eq!(ended.recv().await, None);
    }
}
