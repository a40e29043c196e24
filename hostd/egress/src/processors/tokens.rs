//! [`Tokens`]: what a processor made for a secret, as long as it is good.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout};

use crate::rewrite::Redactor;
use crate::secrets::{Placeholder, SecretValue};

/// How long it may take to get a token.
const MAKING_TIME: Duration = Duration::from_secs(20);
/// A token is not used for the last tenth of its life, or for the last so many seconds of a long one: a request that
/// begins with it should end with it, and clocks differ.
const MARGIN: Duration = Duration::from_secs(60);
/// A token whose life nobody told: until it is refused.
const LIFE: Duration = Duration::from_secs(3600);
/// No token is asked for anew before: all that wait for it should have it.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
/// How long a failure is told to whoever asks, before another attempt is made.
const FAILURE_TIME: Duration = Duration::from_secs(2);
/// A refused token is forgotten, and another one got, at most once in this time: a guest can be refused at will.
const FORGET_EVERY: Duration = Duration::from_secs(10);
/// Values that answers are searched for: this token and the one before, and as many refresh tokens.
const LIVE: usize = 4;

/// Why there is no token. Says nothing that a server said, but its status and a word of RFC 6749.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum TokenError {
    /// No connection, no TLS that can be trusted, or no HTTP.
    #[error("its token endpoint {0}")]
    Unreachable(&'static str),
    /// No answer.
    #[error("its token endpoint did not answer in time")]
    Slow,
    /// An answer that is no token (RFC 6749, section 5.2).
    #[error("its token endpoint answered {status}{}", .code.map(|code| format!(", {code}")).unwrap_or_default())]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The error's code, where it is one that the RFC knows.
        code: Option<&'static str>,
    },
    /// An answer that makes no sense.
    #[error("its token endpoint's answer {0}")]
    Answer(&'static str),
    /// A key that was good when the secret was made.
    #[error("its value does not sign")]
    Key,
}

/// What was made.
pub(crate) struct Granted {
    /// The token.
    pub(crate) token: SecretValue,
    /// How long it is good; absent: nobody said.
    pub(crate) lifetime: Option<Duration>,
    /// What the next one is asked for with, if it is another one than before.
    pub(crate) refresh: Option<SecretValue>,
}

/// A secret's tokens. One is made when it is needed first, by one request for all that wait.
#[derive(Default)]
pub(crate) struct Tokens {
    state: Mutex<State>,
    making: Arc<AsyncMutex<()>>,
}

#[derive(Default)]
struct State {
    current: Option<(SecretValue, Instant)>,
    refresh: Option<SecretValue>,
    /// Take the newest values out of answers.
    live: VecDeque<Arc<Redactor>>,
    failed: Option<(TokenError, Instant)>,
    forgot: Option<Instant>,
}

impl Tokens {
    /// The token that is good now, or what `make` makes. That goes on when whoever asked has gone: a server that gave
    /// out another refresh token does not take the old one again.
    pub(crate) async fn get(
        self: &Arc<Self>,
        placeholder: &Placeholder,
        make: impl Future<Output = Result<Granted, TokenError>> + Send + 'static,
    ) -> Result<SecretValue, TokenError> {
        if let Some(known) = self.known() {
            return known;
        }
        let making = Arc::clone(&self.making).lock_owned().await;
        if let Some(known) = self.known() {
            return known;
        }
        let (this, placeholder) = (Arc::clone(self), placeholder.clone());
        let task = tokio::spawn(async move {
            let made = timeout(MAKING_TIME, make).await;
            let kept = this.keep(made.unwrap_or(Err(TokenError::Slow)), &placeholder);
            drop(making);
            kept
        });
        // Only a runtime that ends breaks it off.
        task.await.unwrap_or(Err(TokenError::Slow))
    }

    fn known(&self) -> Option<Result<SecretValue, TokenError>> {
        let (state, now) = (self.state(), Instant::now());
        let current = state.current.as_ref().filter(|(_, until)| *until > now);
        let failed = state.failed.as_ref().filter(|(_, until)| *until > now);
        let token = current.map(|(token, _)| Ok(token.clone()));
        token.or_else(|| failed.map(|(error, _)| Err(error.clone())))
    }

    fn keep(
        &self,
        made: Result<Granted, TokenError>,
        placeholder: &Placeholder,
    ) -> Result<SecretValue, TokenError> {
        let (mut state, now) = (self.state(), Instant::now());
        let granted = made.inspect_err(|error| {
            state.failed = Some((error.clone(), now + FAILURE_TIME));
        })?;
        state.failed = None;
        for value in granted.refresh.iter().chain([&granted.token]) {
            let redactor = Redactor::of_value(value, placeholder);
            state.live.push_front(Arc::new(redactor));
        }
        state.live.truncate(LIVE);
        if granted.refresh.is_some() {
            state.refresh = granted.refresh;
        }
        let lifetime = granted.lifetime.unwrap_or(LIFE);
        let used = lifetime.saturating_sub(MARGIN.min(lifetime / 10));
        // A life without end is one of as long as a clock has.
        let until = now
            .checked_add(used.max(SHORTEST_LIFE))
            .unwrap_or(now + LIFE);
        state.current = Some((granted.token.clone(), until));
        Ok(granted.token)
    }

    /// Takes note that a host refused this token: the next request has another one.
    pub(crate) fn forget(&self, token: &SecretValue) {
        let (mut state, now) = (self.state(), Instant::now());
        let is_current = state
            .current
            .as_ref()
            .is_some_and(|(current, _)| current.is(token));
        let allowed = state
            .forgot
            .is_none_or(|last| now.duration_since(last) >= FORGET_EVERY);
        if is_current && allowed {
            state.current = None;
            state.forgot = Some(now);
        }
    }

    /// The refresh token that a server gave out last, if it did.
    pub(crate) fn refresh(&self) -> Option<SecretValue> {
        self.state().refresh.clone()
    }

    /// What takes the newest values out of answers.
    pub(crate) fn live(&self) -> Vec<Arc<Redactor>> {
        self.state().live.iter().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Server {
        tokens: Arc<Tokens>,
        asked: Arc<AtomicUsize>,
        placeholder: Placeholder,
    }

    impl Server {
        fn new() -> Self {
            Self {
                tokens: Arc::default(),
                asked: Arc::default(),
                placeholder: Placeholder::generate().unwrap(),
            }
        }

        async fn get(&self, seconds: Option<u64>) -> Result<String, TokenError> {
            let asked = Arc::clone(&self.asked);
            let make = async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let number = asked.fetch_add(1, Ordering::Relaxed);
                let seconds = seconds.ok_or(TokenError::Key)?;
                Ok(Granted {
                    token: SecretValue::new(format!("token-number-{number}")).unwrap(),
                    lifetime: Some(Duration::from_secs(seconds)),
                    refresh: None,
                })
            };
            let token = self.tokens.get(&self.placeholder, make).await?;
            Ok(String::from_utf8(token.expose().to_vec()).unwrap())
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_made_for_all_and_used_until_shortly_before_its_end() {
        let server = Server::new();
        let all = futures::future::join_all((0..50).map(|_| server.get(Some(100)))).await;
        assert!(
            all.iter()
                .all(|token| token.as_deref() == Ok("token-number-0"))
        );
        tokio::time::advance(Duration::from_secs(89)).await;
        assert_eq!(server.get(Some(100)).await.unwrap(), "token-number-0");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(server.get(Some(7200)).await.unwrap(), "token-number-1");
        tokio::time::advance(Duration::from_secs(7200 - 61)).await;
        assert_eq!(server.get(Some(7200)).await.unwrap(), "token-number-1");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(server.get(Some(0)).await.unwrap(), "token-number-2");
        assert_eq!(server.get(Some(0)).await.unwrap(), "token-number-2");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(server.get(Some(u64::MAX)).await.unwrap(), "token-number-3");
        assert_eq!(server.asked(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_to_all_that_wait_and_is_not_for_ever() {
        let server = Server::new();
        let all = futures::future::join_all((0..50).map(|_| server.get(None))).await;
        assert!(all.iter().all(|token| *token == Err(TokenError::Key)));
        assert_eq!(server.asked(), 1);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(server.get(Some(100)).await.unwrap(), "token-number-1");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_made_though_nobody_waits_any_more() {
        let server = Server::new();
        let given_up = timeout(Duration::from_millis(50), server.get(Some(100))).await;
        assert!(given_up.is_err());
        assert_eq!(server.get(Some(100)).await.unwrap(), "token-number-0");
        assert_eq!(server.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_is_not_waited_for_for_ever() {
        let tokens = Arc::new(Tokens::default());
        let placeholder = Placeholder::generate().unwrap();
        let made = tokens.get(&placeholder, std::future::pending()).await;
        assert!(matches!(made, Err(TokenError::Slow)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_one_is_forgotten_now_and_then() {
        let server = Server::new();
        let value = |text: &str| SecretValue::new(text).unwrap();
        assert_eq!(server.get(Some(100)).await.unwrap(), "token-number-0");
        server.tokens.forget(&value("another-token"));
        assert_eq!(server.get(Some(100)).await.unwrap(), "token-number-0");
        server.tokens.forget(&value("token-number-0"));
        assert_eq!(server.get(Some(100)).await.unwrap(), "token-number-1");
        server.tokens.forget(&value("token-number-1"));
        assert_eq!(server.get(Some(100)).await.unwrap(), "token-number-1");
        tokio::time::advance(FORGET_EVERY).await;
        server.tokens.forget(&value("token-number-1"));
        assert_eq!(server.get(Some(100)).await.unwrap(), "token-number-2");
        assert_eq!(server.tokens.live().len(), 3);
    }
}
