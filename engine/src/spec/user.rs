//! Who a process runs as: `user[:group]` resolved against the text of /etc/passwd and /etc/group.
//!
//! Digits are never looked up as a name, numbers outside of 0..=4294967294 are refused, and a malformed line of an
//! image's file is skipped: these are three published flaws of other engines.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The largest id; 2^32-1 means "none" to the kernel.
const ID_MAX: u64 = u32::MAX as u64 - 1;

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResolvedUser {
    /// uid.
    pub uid: u32,
    /// gid.
    pub gid: u32,
    /// Supplementary groups, sorted, without duplicates.
    pub additional_gids: Vec<u32>,
    /// Home directory of the passwd line, `/` without one.
    pub home: String,
}

/// The wanted identity.
#[derive(Debug, Clone, Copy)]
pub struct WantedUser<'a> {
    /// `user[:group]`, empty = root.
    pub user: &'a str,
    /// Further groups, names or numbers.
    pub additional_groups: &'a [String],
    /// Groups that the image's /etc/group lists for the user are added.
    pub groups_from_image: bool,
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Resolves `wanted`; a missing file is an empty text.
///
/// # Errors
/// `InvalidArgument` for a name that is not in the files (`unable to find user x: no matching entries in passwd
/// file`) and for numbers out of range.
pub fn resolve(wanted: WantedUser<'_>, passwd: &str, group: &str) -> Result<ResolvedUser> {
    let (user_part, group_part) = match wanted.user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (wanted.user, None),
    };
    let mut resolved = resolve_user(user_part, passwd)?;
    if let Some(named) = group_part {
        resolved.1.gid = find_group(named, group)?.ok_or_else(|| {
            Error::invalid(format!("unable to find group {named}: no matching entries in group file"))
        })?;
    }
    let (name, mut user) = resolved;
    let mut gids = Vec::new();
    if wanted.groups_from_image && group_part.is_none() && !name.is_empty() {
        gids.extend(groups(group).filter(|line| line.members.split(',').any(|m| m == name)).map(|line| line.gid));
    }
    for extra in wanted.additional_groups {
        gids.push(find_group(extra, group)?.ok_or_else(|| {
            Error::invalid(format!("Unable to find group {extra}: no matching entries in group file"))
        })?);
    }
    gids.sort_unstable();
    gids.dedup();
    user.additional_gids = gids;
    Ok(user)
}

/// Parses an id strictly: only digits, in range. `Ok(None)` when it is not made of digits only, thus a name.
///
/// # Errors
/// `InvalidArgument` when it is a number that is no id.
pub fn parse_id(text: &str) -> Result<Option<u32>> {
    let signed = text.strip_prefix(['-', '+']).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    if signed {
        return Err(out_of_range(text));
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u64>() {
        Ok(id) if id <= ID_MAX => Ok(u32::try_from(id).ok()),
        _ => Err(out_of_range(text)),
    }
}

fn out_of_range(text: &str) -> Error {
    Error::invalid(format!("uids and gids must be in range 0-{ID_MAX}: {text}"))
}

fn resolve_user<'a>(part: &'a str, passwd: &'a str) -> Result<(&'a str, ResolvedUser)> {
    let part_id = if part.is_empty() { Some(0) } else { parse_id(part)? };
    let line = match part_id {
        Some(uid) => users(passwd).find(|line| line.uid == uid),
        None => users(passwd).find(|line| line.name == part),
    };
    match (line, part_id) {
        (Some(line), _) => {
            let home = if line.home.starts_with('/') { line.home } else { "/" };
            Ok((line.name, ResolvedUser { uid: line.uid, gid: line.gid, home: home.to_owned(), ..Default::default() }))
        }
        (None, Some(uid)) => {
            let home = if uid == 0 { "/root" } else { "/" };
            Ok(("", ResolvedUser { uid, home: home.to_owned(), ..Default::default() }))
        }
        (None, None) => Err(Error::invalid(format!("unable to find user {part}: no matching entries in passwd file"))),
    }
}

fn find_group(text: &str, group: &str) -> Result<Option<u32>> {
    match parse_id(text)? {
        Some(gid) => Ok(Some(gid)),
        None => Ok(groups(group).find(|line| line.name == text).map(|line| line.gid)),
    }
}

fn file_id(text: &str) -> Option<u32> {
    parse_id(text).ok().flatten()
}

fn clean(text: &str) -> bool {
    !text.bytes().any(|b| b < b' ' || b == 0x7f)
}

fn users(passwd: &str) -> impl Iterator<Item = PasswdLine<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim_end().split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (file_id(fields.next()?)?, file_id(fields.next()?)?);
        let home = fields.nth(1).filter(|home| clean(home)).unwrap_or("/");
        (!name.is_empty()).then_some(PasswdLine { name, uid, gid, home })
    })
}

fn groups(group: &str) -> impl Iterator<Item = GroupLine<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim_end().split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let gid = file_id(fields.next()?)?;
        Some(GroupLine { name, gid, members: fields.next().unwrap_or("") })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbin:x:1:1:bin:/bin:/bin/sh\n1000:x:7:7:digits:/d:/bin/sh\n\
                          big:x:4294967296:0::/:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:root\nwheel:x:10:root,alice\nstaff:x:50:alice\n1000:x:77:\nbig:x:4294967296:alice\n";

    fn as_user(user: &str) -> Result<ResolvedUser> {
        resolve(WantedUser { user, additional_groups: &[], groups_from_image: true }, PASSWD, GROUP)
    }

    #[test]
    fn names_and_numbers() {
        let root = as_user("").unwrap();
        assert_eq!((root.uid, root.gid, root.additional_gids, root.home.as_str()), (0, 0, vec![0, 10], "/root"));
        let alice = as_user("alice").unwrap();
        assert_eq!((alice.uid, alice.gid, alice.additional_gids), (1000, 1000, vec![10, 50]));
        let numeric = as_user("1000").unwrap();
        assert_eq!((numeric.uid, numeric.gid), (1000, 1000), "digits are never a name");
        let unknown = as_user("4242").unwrap();
        assert_eq!((unknown.uid, unknown.gid, unknown.home.as_str()), (4242, 0, "/"));
        assert_eq!(as_user("alice:staff").unwrap().gid, 50);
        assert_eq!(as_user("alice:").unwrap().gid, 1000);
        assert_eq!(as_user(":10").unwrap().gid, 10);
        assert_eq!(as_user("1:1000").unwrap().gid, 1000);
    }

    #[test]
    fn wrong_ones_are_refused() {
        for user in
            ["nobody-here", "+1", "-1", "4294967295", "4294967296", "18446744073709551616", "big", "0x1", "root:nope"]
        {
            assert!(as_user(user).is_err(), "{user}");
        }
        assert_eq!(as_user("2147483648").unwrap().uid, 1 << 31);
        assert_eq!(as_user("01").unwrap().uid, 1);
    }

    #[test]
    fn further_groups() {
        let extra = ["staff".to_owned(), "4000".to_owned(), "staff".to_owned()];
        let wanted = WantedUser { user: "bin", additional_groups: &extra, groups_from_image: false };
        assert_eq!(resolve(wanted, PASSWD, GROUP).unwrap().additional_gids, [50, 4000]);
    }

    proptest! {
        #[test]
        fn no_text_but_zero_or_a_root_line_becomes_root(user in "[0-9a-z+x-]{1,12}") {
            if let Ok(resolved) = as_user(&user) {
                prop_assert!(resolved.uid != 0 || user == "root" || user.bytes().all(|b| b == b'0'));
            }
        }
    }
}
