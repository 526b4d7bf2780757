//! Who holds which name, and what a user's word stands for: a name, an id, or the unique beginning of an id.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::id::Owner;

/// Names and ids of one kind of object, in memory. Names are unique for each owner.
#[derive(Debug, Clone)]
pub struct NameIndex<I> {
    what: &'static str,
    inner: Arc<Mutex<Inner<I>>>,
}

#[derive(Debug)]
struct Inner<I> {
    by_name: HashMap<(Owner, String), I>,
    by_id: BTreeMap<String, I>,
}

/// A name that is held while its object is made. Dropped without [`Reservation::keep`], it is free again.
#[derive(Debug)]
#[must_use = "a reservation that is dropped frees the name"]
pub struct Reservation<I: Clone + Display + PartialEq> {
    index: NameIndex<I>,
    owner: Owner,
    name: String,
    id: I,
    kept: bool,
}

impl<I: Clone + Display + PartialEq> NameIndex<I> {
    /// An empty index; `what` is the object's kind in messages: `container`.
    pub fn new(what: &'static str) -> Self {
        Self { what, inner: Arc::new(Mutex::new(Inner { by_name: HashMap::new(), by_id: BTreeMap::new() })) }
    }

    /// Takes `name` for `id`.
    ///
    /// # Errors
    /// `AlreadyExists` with docker's sentence when another object has it.
    pub fn reserve(&self, owner: Owner, name: &str, id: &I) -> Result<Reservation<I>> {
        let mut inner = self.lock();
        if let Some(holder) = inner.by_name.get(&(owner, name.to_owned())) {
            let what = self.what;
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!(
                    "Conflict. The {what} name \"/{name}\" is already in use by {what} \"{holder}\". \
                     You have to remove (or rename) that {what} to be able to reuse that name."
                ),
            ));
        }
        inner.by_name.insert((owner, name.to_owned()), id.clone());
        inner.by_id.insert(id.to_string(), id.clone());
        Ok(Reservation { index: self.clone(), owner, name: name.to_owned(), id: id.clone(), kept: false })
    }

    /// Takes `new` for `id` and frees `old`.
    ///
    /// # Errors
    /// As [`NameIndex::reserve`]; the old name is held still.
    pub fn rename(&self, owner: Owner, old: &str, new: &str, id: &I) -> Result<()> {
        self.reserve(owner, new, id)?.keep();
        self.lock().by_name.remove(&(owner, old.to_owned()));
        Ok(())
    }

    /// Frees the name and the id of an object that is gone.
    pub fn release(&self, owner: Owner, name: &str, id: &I) {
        let mut inner = self.lock();
        if inner.by_name.get(&(owner, name.to_owned())) == Some(id) {
            inner.by_name.remove(&(owner, name.to_owned()));
        }
        inner.by_id.remove(&id.to_string());
    }

    /// The holder of exactly this name.
    pub fn by_name(&self, owner: Owner, name: &str) -> Option<I> {
        self.lock().by_name.get(&(owner, name.to_owned())).cloned()
    }

    /// What `word` stands for: an id, a name (with or without a leading slash, docker's before CRI's), or the unique
    /// beginning of an id.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidArgument` for the beginning of several ids.
    pub fn resolve(&self, word: &str) -> Result<I> {
        let missing = || Error::not_found(format!("No such {}: {word}", self.what));
        let bare = word.strip_prefix('/').unwrap_or(word);
        let inner = self.lock();
        if let Some(id) = inner.by_id.get(bare) {
            return Ok(id.clone());
        }
        for owner in [Owner::Docker, Owner::Cri] {
            if let Some(id) = inner.by_name.get(&(owner, bare.to_owned())) {
                return Ok(id.clone());
            }
        }
        if bare.is_empty() || !bare.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let mut matching = inner.by_id.range(bare.to_owned()..).take_while(|(id, _)| id.starts_with(bare));
        match (matching.next(), matching.next()) {
            (None, _) => Err(missing()),
            (Some((_, id)), None) => Ok(id.clone()),
            (Some(_), Some(_)) => Err(Error::invalid(format!("multiple IDs found with provided prefix: {bare}"))),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner<I>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I: Clone + Display + PartialEq> Reservation<I> {
    /// The object exists: the name stays taken until it is released.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl<I: Clone + Display + PartialEq> Drop for Reservation<I> {
    fn drop(&mut self) {
        if !self.kept {
            self.index.release(self.owner, &self.name, &self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> NameIndex<String> {
        NameIndex::new("container")
    }

    #[test]
    fn a_word_is_an_id_a_name_or_a_unique_beginning() {
        let index = index();
        for (name, id) in [("web", "aa11"), ("db", "aa22"), ("aa", "bb33")] {
            index.reserve(Owner::Docker, name, &id.to_owned()).unwrap().keep();
        }
        assert_eq!(index.resolve("aa11").unwrap(), "aa11");
        assert_eq!(index.resolve("/web").unwrap(), "aa11");
        assert_eq!(index.resolve("aa").unwrap(), "bb33", "a name goes before a beginning");
        assert_eq!(index.resolve("bb").unwrap(), "bb33");
        assert_eq!(index.resolve("a").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(index.resolve("").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(index.resolve("zz").unwrap_err().message(), "No such container: zz");
    }

    #[test]
    fn a_dropped_reservation_frees_and_a_kept_one_conflicts() {
        let index = index();
        drop(index.reserve(Owner::Docker, "web", &"1".to_owned()).unwrap());
        index.reserve(Owner::Docker, "web", &"2".to_owned()).unwrap().keep();
        let error = index.reserve(Owner::Docker, "web", &"3".to_owned()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.message().contains("already in use by container \"2\""), "{error}");
        index.reserve(Owner::Cri, "web", &"4".to_owned()).unwrap().keep();
        assert_eq!(index.resolve("web").unwrap(), "2", "docker's goes first");
    }

    #[test]
    fn renaming_to_a_taken_name_keeps_the_old_one() {
        let index = index();
        index.reserve(Owner::Docker, "a1", &"1".to_owned()).unwrap().keep();
        index.reserve(Owner::Docker, "b2", &"2".to_owned()).unwrap().keep();
        assert!(index.rename(Owner::Docker, "a1", "b2", &"1".to_owned()).is_err());
        assert_eq!(index.by_name(Owner::Docker, "a1"), Some("1".to_owned()));
        index.rename(Owner::Docker, "a1", "c3", &"1".to_owned()).unwrap();
        assert_eq!(index.by_name(Owner::Docker, "a1"), None);
        assert_eq!(index.resolve("c3").unwrap(), "1");
    }
}
