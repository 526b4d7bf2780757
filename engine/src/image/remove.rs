//! Removing names and images, by docker's rules and in its words.

use std::collections::HashSet;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{ContainerId, ImageId, Owner};

use super::index::{Catalogue, Change, Images};
use super::reference::Reference;

/// A container that uses an image, as [`Images::remove`] asks about.
#[derive(Debug, Clone)]
pub struct ImageUse {
    /// The container.
    pub container: ContainerId,
    /// Whether it runs; a stopped one does not resist a forced removal.
    pub running: bool,
}

/// One thing that a removal did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name went away: familiar reference.
    Untagged(String),
    /// An image or a layer went away.
    Deleted(ImageId),
}

/// Which containers use an image.
pub type InUse<'f> = &'f (dyn Fn(&ImageId) -> Vec<ImageUse> + Send + Sync);

/// What is to be done, decided before anything is done.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    image: ImageId,
    untag: Vec<Reference>,
    delete: bool,
}

impl Images {
    /// Removes a name, or an image with its last name. `in_use` answers which containers use an image.
    ///
    /// A name that is not the last only goes away. The last name takes the image along, unless a container uses it: then
    /// `force` is needed, and a running container keeps the image (without a name) even so. By id all names go, if they
    /// are of one repository or with `force`.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` with docker's text.
    pub async fn remove(&self, name_or_id: &str, force: bool, in_use: InUse<'_>) -> Result<Vec<Removed>> {
        let lock = self.lock().await;
        let catalogue = self.catalogue();
        let plan = plan(&catalogue, name_or_id, force, in_use)?;
        let mut removed: Vec<Removed> = plan.untag.iter().map(|name| Removed::Untagged(name.familiar())).collect();
        let layers: HashSet<_> = self.overlay().layers().into_iter().map(|(id, _)| id).collect();
        let change = Change {
            remove_names: plan.untag,
            remove_images: if plan.delete { vec![plan.image] } else { Vec::new() },
            ..Change::default()
        };
        self.apply(&lock, change).await?;
        drop(lock);
        if plan.delete {
            removed.push(Removed::Deleted(plan.image));
            self.sweep().await?;
            let document = catalogue.records.get(&plan.image).map(|(_, document)| document.rootfs.diff_ids.clone());
            let mut told = HashSet::new();
            for layer in document.unwrap_or_default().into_iter().rev() {
                if layers.contains(&layer) && self.overlay().layer(layer).is_none() && told.insert(layer) {
                    removed.push(Removed::Deleted(layer));
                }
            }
        }
        Ok(removed)
    }
}

impl Images {
    /// Removes an image for one owner: the whole image when nobody else has it, else that owner's claim.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when a container uses it or when it is pinned; `Forbidden` when only others have it.
    pub async fn remove_for(&self, owner: Owner, image: ImageId, in_use: InUse<'_>) -> Result<()> {
        let lock = self.lock().await;
        let catalogue = self.catalogue();
        let Some((record, _)) = catalogue.records.get(&image) else {
            return Err(Error::not_found(format!("No such image: {image}")));
        };
        if record.pinned {
            return Err(conflict(image, "cannot be forced", "image is pinned"));
        }
        if record.owners.iter().all(|other| *other == owner) {
            drop(lock);
            return self.remove(&image.to_string(), true, in_use).await.map(|_| ());
        }
        if !record.owners.contains(&owner) {
            let others: Vec<&str> = record.owners.iter().map(|owner| owner.as_str()).collect();
            let what = format!("image {} belongs to {}: remove it there", image.short(), others.join(", "));
            return Err(Error::new(ErrorKind::Forbidden, what));
        }
        refuse_use(image, &in_use(&image), true, false)?;
        let mut kept = (**record).clone();
        kept.owners.retain(|other| *other != owner);
        self.apply(&lock, Change { put_images: vec![(image, kept)], ..Change::default() }).await
    }
}

fn plan(catalogue: &Catalogue, name_or_id: &str, force: bool, in_use: InUse<'_>) -> Result<Plan> {
    let (image, by_name) = catalogue.find(name_or_id)?;
    let refs: Vec<Reference> =
        catalogue.names.values().filter(|r| r.image == image).map(|r| r.reference.clone()).collect();
    let users = in_use(&image);
    let pinned = catalogue.records.get(&image).is_some_and(|(record, _)| record.pinned);
    let Some(name) = by_name else {
        let single = is_single(&refs);
        if !force && !single {
            return Err(conflict(image, "must be forced", "image is referenced in multiple repositories"));
        }
        refuse_use(image, &users, force, pinned)?;
        return Ok(Plan { image, untag: refs, delete: true });
    };
    if !force
        && is_single(&refs)
        && let Some(user) = users.first()
    {
        let text = format!(
            "conflict: unable to remove repository reference {name_or_id:?} (must force) - container {} is using its referenced image {}",
            user.container.short(),
            image.short()
        );
        return Err(Error::conflict(text));
    }
    let mut untag = vec![name.clone()];
    let of_repository = |r: &&Reference| r.repository() == name.repository() && **r != name;
    let other_tag = refs.iter().filter(of_repository).any(|r| r.digest().is_none());
    if name.digest().is_none() && !other_tag {
        // Digests alone would keep an image that nobody can name any more.
        untag.extend(refs.iter().filter(of_repository).cloned());
    }
    if untag.len() < refs.len() {
        return Ok(Plan { image, untag, delete: false });
    }
    // With the last name gone the image goes too, unless something holds it: that is no error then.
    let delete = refuse_use(image, &users, force, pinned).is_ok();
    if pinned && !force {
        return Err(conflict(image, "must be forced", "image is pinned"));
    }
    Ok(Plan { image, untag, delete })
}

fn refuse_use(image: ImageId, users: &[ImageUse], force: bool, pinned: bool) -> Result<()> {
    if let Some(user) = users.iter().find(|user| user.running) {
        let why = format!("image is being used by running container {}", user.container.short());
        return Err(conflict(image, "cannot be forced", &why));
    }
    if force {
        return Ok(());
    }
    if let Some(user) = users.first() {
        let why = format!("image is being used by stopped container {}", user.container.short());
        return Err(conflict(image, "must be forced", &why));
    }
    if pinned { Err(conflict(image, "must be forced", "image is pinned")) } else { Ok(()) }
}

fn conflict(image: ImageId, force: &str, why: &str) -> Error {
    Error::conflict(format!("conflict: unable to delete {} ({force}) - {why}", image.short()))
}

/// At most one tag, and digests of its repository only.
fn is_single(refs: &[Reference]) -> bool {
    let tags = refs.iter().filter(|r| r.digest().is_none()).count();
    let repositories: HashSet<String> = refs.iter().map(Reference::repository).collect();
    tags <= 1 && repositories.len() <= 1
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::id::{Digest, Owner};
    use crate::image::config::ImageDocument;
    use crate::image::view::ManifestRef;
    use crate::metadata::tables::image::{ImageNameRecord, ImageNameRow, ImageRecord};

    fn catalogue(names: &[&str]) -> (Catalogue, ImageId) {
        let id = Digest::of(b"image");
        let mut catalogue = Catalogue::default();
        let record = ImageRecord {
            v: 1,
            manifest: ManifestRef { media_type: String::new(), digest: id, size: 0 },
            config_size: 0,
            layers: vec![],
            owners: vec![Owner::Docker],
            pinned: false,
            pulled_with_auth: vec![],
            added: jiff::Timestamp::UNIX_EPOCH,
        };
        catalogue.records.insert(id, (Arc::new(record), Arc::new(ImageDocument::default())));
        for name in names {
            let reference: Reference = name.parse().unwrap();
            let record = ImageNameRecord { v: 1, target: None, named: jiff::Timestamp::UNIX_EPOCH };
            let row = ImageNameRow { reference: reference.clone(), image: id, owner: Owner::Docker, record };
            catalogue.names.insert(reference, Arc::new(row));
        }
        (catalogue, id)
    }

    fn digest_of(repository: &str) -> String {
        format!("{repository}@{}", Digest::of(b"manifest"))
    }

    fn used(running: bool) -> impl Fn(&ImageId) -> Vec<ImageUse> + Send + Sync {
        move |_| vec![ImageUse { container: ContainerId::random(), running }]
    }

    fn free(_: &ImageId) -> Vec<ImageUse> {
        Vec::new()
    }

    #[test]
    fn a_name_that_is_not_the_last_only_goes_away() {
        let (catalogue, _) = catalogue(&["a:1", "a:2", &digest_of("a")]);
        let plan = plan(&catalogue, "a:1", false, &used(true)).unwrap();
        assert_eq!((plan.untag.len(), plan.delete), (1, false));
    }

    #[test]
    fn the_last_tag_takes_digests_and_image_along() {
        let (catalogue, _) = catalogue(&["a:1", &digest_of("a")]);
        let plan = plan(&catalogue, "a:1", false, &free).unwrap();
        assert_eq!((plan.untag.len(), plan.delete), (2, true));
    }

    #[test]
    fn a_used_image_resists_by_name_until_forced_and_a_running_one_stays_without_name() {
        let (catalogue, _) = catalogue(&["a:1"]);
        let error = plan(&catalogue, "a:1", false, &used(false)).unwrap_err();
        assert!(error.message().contains("unable to remove repository reference \"a:1\" (must force)"), "{error}");
        assert!(plan(&catalogue, "a:1", true, &used(false)).unwrap().delete);
        assert!(!plan(&catalogue, "a:1", true, &used(true)).unwrap().delete);
    }

    #[test]
    fn by_id_all_names_go_if_they_are_of_one_repository_or_forced() {
        let (one, id) = catalogue(&["a:1", &digest_of("a")]);
        assert_eq!(plan(&one, &id.to_string(), false, &free).unwrap().untag.len(), 2);
        let (two, id) = catalogue(&["a:1", "b:1"]);
        let error = plan(&two, &id.short(), false, &free).unwrap_err();
        assert!(error.message().contains("(must be forced) - image is referenced in multiple repositories"), "{error}");
        assert!(plan(&two, &id.short(), true, &used(false)).unwrap().delete);
        let error = plan(&two, &id.short(), true, &used(true)).unwrap_err();
        assert!(error.message().contains("(cannot be forced) - image is being used by running container"), "{error}");
    }

    #[test]
    fn an_unknown_name_is_said_as_docker_says_it() {
        let (catalogue, _) = catalogue(&["a:1"]);
        assert_eq!(
            plan(&catalogue, "nosuch:latest", false, &free).unwrap_err().message(),
            "No such image: nosuch:latest"
        );
    }
}
