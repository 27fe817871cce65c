use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::stages::Stage;
use crate::store::sources::lease::Token;

/// One term as the leader.
pub(super) struct Term {
    /// The lease's.
    pub(super) token: Token,
    /// Ends the part.
    pub(super) cancel: CancellationToken,
}

/// Starts parts that run only while this process is the leader.
pub(super) struct WhileLeader<'a> {
    stage: &'a Stage,
    leads: watch::Receiver<Option<Token>>,
}

impl<'a> WhileLeader<'a> {
    /// `leads` holds the token of the lease while this process is the leader.
    pub(super) fn new(stage: &'a Stage, leads: watch::Receiver<Option<Token>>) -> Self {
        Self { stage, leads }
    }

    /// Starts a part, with a clone of `deps`, whenever this process becomes the leader, and ends it when it no longer is. A part
    /// that fails or ends by itself ends the process.
    pub(super) fn spawn<D, F, T, E>(&self, name: &'static str, deps: &D, part: impl Fn(D, Term) -> F + Send + 'static)
    where
        D: Clone + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Into<anyhow::Error> + Send + 'static,
    {
        let (leads, deps) = (self.leads.clone(), deps.clone());
        self.stage.spawn(name, |cancel| run(leads, cancel, move |term| part(deps.clone(), term)));
    }
}

async fn run<F, T, E>(
    mut leads: watch::Receiver<Option<Token>>,
    cancel: CancellationToken,
    part: impl Fn(Term) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = Result<T, E>>,
    E: Into<anyhow::Error>,
{
    loop {
        let begun = async { leads.wait_for(Option::is_some).await.ok().and_then(|token| *token) };
        let Some(Some(token)) = cancel.run_until_cancelled(begun).await else { return Ok(()) };
        let stop = cancel.child_token();
        let mut running = std::pin::pin!(part(Term { token, cancel: stop.clone() }));
        let ended = tokio::select! {
            outcome = &mut running => Some(outcome),
            _ = leads.wait_for(|leads| *leads != Some(token)) => None,
        };
        stop.cancel();
        let outcome = match ended {
            Some(outcome) => outcome,
            None => running.await,
        };
        outcome.map_err(Into::into)?;
        if cancel.is_cancelled() {
            return Ok(());
        }
    }
}
