//! An answer that is made at most once in a while, however many ask for it.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

/// What was made last, and when.
#[derive(Debug)]
pub struct Recent<T>(Arc<Mutex<Option<(Instant, T)>>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Recent<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> Recent<T> {
    /// What is not older than `age_max`, or else is made now. Those who come meanwhile wait for the same.
    pub async fn get(&self, age_max: Duration, make: impl Future<Output = T>) -> T {
        let mut last = self.0.lock().await;
        if let Some((made_at, made)) = last.as_ref()
            && made_at.elapsed() < age_max
        {
            return made.clone();
        }
        let made = make.await;
        *last = Some((Instant::now(), made.clone()));
        made
    }
}
