//! Sessions: connections on which the client serves its files, secrets, credentials and agents. They are known by the
//! identifier that the client chose, and end with their connection.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::rt::{Read, Write};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::status_code::Failure;

/// Sessions at once.
const SESSIONS_MAX: usize = 256;
/// How long a build waits for the session that it names.
const APPEARS_MAX: Duration = Duration::from_secs(10);
/// Longest identifier or key in bytes.
const NAME_BYTES_MAX: usize = 1024;

/// What a client says of its session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct About {
    id: String,
    shared_key: Option<String>,
    /// Methods that it serves, in lower case.
    methods: HashSet<String>,
}

impl About {
    /// Reads the headers, or the metadata of a call: both have the same names.
    ///
    /// # Errors
    /// A sentence when there is no identifier, or it is too long.
    pub(super) fn from_headers(values: impl Fn(&str) -> Vec<String>) -> Result<Self, String> {
        let one = |name: &str| values(name).into_iter().next().filter(|value| !value.is_empty());
        let id = one("x-docker-expose-session-uuid").ok_or("the header X-Docker-Expose-Session-Uuid is missing")?;
        let shared_key = one("x-docker-expose-session-sharedkey");
        if id.len() > NAME_BYTES_MAX || shared_key.as_ref().is_some_and(|key| key.len() > NAME_BYTES_MAX) {
            return Err(format!("a session's identifier or key has more than {NAME_BYTES_MAX} bytes"));
        }
        let methods = values("x-docker-expose-session-grpc-method");
        let methods = methods.iter().map(|method| method.to_lowercase()).collect();
        Ok(Self { id, shared_key, methods })
    }
}

/// A session that is open.
#[derive(Debug)]
pub(super) struct Session {
    about: About,
    /// Calls the client.
    pub(super) channel: Channel,
    /// Cancelled when it is over.
    pub(super) gone: CancellationToken,
}

impl Session {
    /// What tells this client's directories from another's.
    pub(super) fn shared_key(&self) -> Option<&str> {
        self.about.shared_key.as_deref()
    }

    /// Whether the client serves a method, such as `/moby.filesync.v1.FileSync/DiffCopy`.
    pub(super) fn serves(&self, method: &str) -> bool {
        self.about.methods.contains(&method.to_lowercase())
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Arc<Mutex<HashMap<String, Option<Arc<Session>>>>>,
    changed: Arc<Notify>,
}

/// An identifier that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    about: About,
    open: Arc<Mutex<HashMap<String, Option<Arc<Session>>>>>,
    changed: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.about.id);
    }
}

impl Place {
    /// Opens the session on `io` and keeps it until its end.
    pub(super) async fn serve<I: Read + Write + Unpin + Send + 'static>(self, io: I, client_gone: CancellationToken) {
        let (channel, gone) = match super::connection::reverse(io).await {
            Ok(opened) => opened,
            Err(error) => return tracing::debug!(%error, "docker door: a session was not opened"),
        };
        let session = Arc::new(Session { about: self.about.clone(), channel, gone: gone.clone() });
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(self.about.id.clone(), Some(session));
        self.changed.notify_waiters();
        tokio::select! {
            () = gone.cancelled() => {}
            () = client_gone.cancelled() => gone.cancel(),
        }
    }
}

impl Sessions {
    /// Takes an identifier for a session that is about to open.
    ///
    /// # Errors
    /// 409 when it is taken, 503 when there are too many.
    pub(super) fn reserve(&self, about: About) -> Result<Place, Failure> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= SESSIONS_MAX {
            let text = format!("{SESSIONS_MAX} sessions are open");
            return Err(Failure::new(http::StatusCode::SERVICE_UNAVAILABLE, text));
        }
        if open.contains_key(&about.id) {
            let text = format!("session {} already exists", about.id);
            return Err(Failure::new(http::StatusCode::CONFLICT, text));
        }
        open.insert(about.id.clone(), None);
        Ok(Place { about, open: Arc::clone(&self.open), changed: Arc::clone(&self.changed) })
    }

    /// The session of this identifier, once it is open.
    ///
    /// # Errors
    /// When it does not appear.
    pub(super) async fn get(&self, id: &str) -> Result<Arc<Session>, tonic::Status> {
        let appears = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let found = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned().flatten();
                match found {
                    Some(session) => return session,
                    None => changed.await,
                }
            }
        };
        let missing = |_| tonic::Status::failed_precondition(format!("no active session for {id}"));
        tokio::time::timeout(APPEARS_MAX, appears).await.map_err(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(id: &str) -> About {
        About { id: id.into(), ..About::default() }
    }

    #[test]
    fn headers_say_what_a_session_serves() {
        let headers = |name: &str| match name {
            "x-docker-expose-session-uuid" => vec!["u1".to_owned()],
            "x-docker-expose-session-sharedkey" => vec![String::new()],
            "x-docker-expose-session-grpc-method" => vec!["/A/B".to_owned(), "/a/C".to_owned()],
            _ => Vec::new(),
        };
        let about = About::from_headers(headers).unwrap();
        assert_eq!((about.id.as_str(), about.shared_key.as_ref()), ("u1", None));
        assert!(about.methods.contains("/a/b") && about.methods.contains("/a/c"));
        assert!(About::from_headers(|_| Vec::new()).unwrap_err().contains("Session-Uuid"));
        assert!(About::from_headers(|_| vec!["x".repeat(5000)]).unwrap_err().contains("more than"));
    }

    #[tokio::test(start_paused = true)]
    async fn identifiers_are_taken_once_and_sessions_have_a_limit() {
        let sessions = Sessions::default();
        let first = sessions.reserve(about("a")).unwrap();
        assert_eq!(sessions.reserve(about("a")).unwrap_err().status, http::StatusCode::CONFLICT);
        drop(first);
        let places: Vec<_> = (0..SESSIONS_MAX).map(|n| sessions.reserve(about(&n.to_string())).unwrap()).collect();
        assert_eq!(sessions.reserve(about("more")).unwrap_err().status, http::StatusCode::SERVICE_UNAVAILABLE);
        drop(places);
        let missing = sessions.get("a").await.unwrap_err();
        assert!(missing.message().contains("no active session for a"));
    }
}
