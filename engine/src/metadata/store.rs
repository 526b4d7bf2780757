//! Opening the database, its one writer thread, and durability.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Transaction};
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Result};

/// The numbered migrations, in order. A database's `user_version` is the number of those already applied.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001_init.sql"), include_str!("migrations/0002_build_cache.sql")];

/// Writes waiting for the writer thread; a caller beyond this many waits for a place.
const WRITE_QUEUE_MAX: usize = 1024;

/// What a write must survive before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives SIGKILL of the daemon (WAL, `synchronous=NORMAL`): for state that processes themselves would lose
    /// in a power cut.
    Crash,
    /// Survives a power cut (`synchronous=FULL`): for what a user created or removed.
    Power,
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle to the database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    jobs: mpsc::Sender<(Durability, Job)>,
    reader: Arc<Mutex<Connection>>,
    path: Arc<PathBuf>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or creates the database at `path` and migrates it to this version's schema.
    ///
    /// # Errors
    /// `Internal` when the file cannot be opened or is from a newer version than this one knows.
    pub fn open(path: &Path) -> Result<Self> {
        let mut writer = connect(path)?;
        migrate(&mut writer, path)?;
        let reader = connect(path)?;
        let (jobs, mut queue) = mpsc::channel::<(Durability, Job)>(WRITE_QUEUE_MAX);
        std::thread::Builder::new()
            .name("meta-writer".into())
            .spawn(move || {
                let mut current = Durability::Crash;
                while let Some((durability, job)) = queue.blocking_recv() {
                    if durability != current {
                        let level = if durability == Durability::Power { "FULL" } else { "NORMAL" };
                        if let Err(error) = writer.pragma_update(None, "synchronous", level) {
                            tracing::error!(%error, "cannot set the durability of the next write");
                        }
                        current = durability;
                    }
                    job(&mut writer);
                }
            })
            .map_err(|e| Error::internal("start the metadata writer thread").with_source(e))?;
        Ok(Self { jobs, reader: Arc::new(Mutex::new(reader)), path: Arc::new(path.to_owned()) })
    }

    /// Runs `f` in one transaction on the writer thread and commits it if `f` succeeds.
    ///
    /// # Errors
    /// What `f` returns, or `Internal` when the transaction cannot be committed; nothing is stored then.
    pub async fn write<T, F>(&self, durability: Durability, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let result = (|| {
                let transaction = connection.transaction()?;
                let value = f(&transaction)?;
                transaction.commit()?;
                Ok(value)
            })();
            // A caller that has gone away does not undo the write.
            drop(reply.send(result));
        });
        self.jobs.send((durability, job)).await.map_err(|_| Error::internal("the metadata writer has stopped"))?;
        answer.await.map_err(|_| Error::internal("the metadata writer dropped a write"))?
    }

    /// Reads committed rows. Blocking: for start-up and for rare look-ups, never on a list or status path.
    ///
    /// # Errors
    /// What `f` returns.
    pub fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        f(&reader)
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let connection =
        Connection::open(path).map_err(|e| Error::internal(format!("open {}", path.display())).with_source(e))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    let done: usize = connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))? as usize;
    if done > MIGRATIONS.len() {
        return Err(Error::internal(format!(
            "{} has schema version {done}, newer than this daemon's {}",
            path.display(),
            MIGRATIONS.len()
        )));
    }
    for (index, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", u32::try_from(index + 1).unwrap_or(u32::MAX))?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_write_stores_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        let refused: Result<()> = store
            .write(Durability::Power, |tx| {
                tx.execute("INSERT INTO setting (key, value) VALUES ('a', 'b')", [])?;
                Err(Error::invalid("no"))
            })
            .await;
        assert!(refused.is_err());
        let rows: u32 = store.read(|c| Ok(c.query_row("SELECT count(*) FROM setting", [], |r| r.get(0))?)).unwrap();
        assert_eq!(rows, 0);
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.db");
        drop(Store::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 999).unwrap();
        let error = Store::open(&path).unwrap_err();
        assert!(error.to_string().contains("newer"), "{error}");
    }
}
