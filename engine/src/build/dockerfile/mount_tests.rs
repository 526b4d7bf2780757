//! Tests of --mount: defaults and what is refused.

use super::*;

fn mount(text: &str) -> Result<RunMount, String> {
    let expand = |value: &str| Ok(value.replace("$ID", "7"));
    MountFlag::read(text).map_err(|fault| fault.to_string())?.mount(&mut { expand })
}

#[test]
fn mounts_have_the_defaults_of_their_kind() {
    let bind = mount("target=/a").unwrap();
    assert_eq!((bind.kind, bind.read_only, bind.target.as_deref()), (MountKind::Bind, true, Some("/a")));
    let cache = mount("type=cache,dst=/c,id=x$ID,sharing=private,uid=$ID,gid=8,mode=0750").unwrap();
    assert_eq!(
        (cache.read_only, cache.id.as_deref(), cache.sharing, cache.uid, cache.gid, cache.mode),
        (false, Some("x7"), Sharing::Private, Some(7), Some(8), Some(0o750))
    );
    let tmpfs = mount("type=tmpfs,target=/t,size=1.5k").unwrap();
    assert_eq!((tmpfs.size, tmpfs.read_only), (Some(1536), false));
    let secret = mount("type=secret,id=token,required,env=TOKEN").unwrap();
    assert_eq!((secret.required, secret.env.as_deref(), secret.target), (true, Some("TOKEN"), None));
    assert!(mount("type=bind,\"source=a,b\",target=/x,rw").unwrap().source.as_deref() == Some("a,b"));
    assert!(mount("type=ssh").unwrap().read_only);
}

#[test]
fn what_a_mount_does_not_take_is_named() {
    let table = [
        ("type=bnd", "unsupported mount type \"bnd\" (did you mean bind?)"),
        ("type=cache,sharing=lock", "unsupported sharing value \"lock\""),
        ("type=cache,tarfet=/x", "unexpected key 'tarfet' in 'tarfet=/x' (did you mean target?)"),
        ("type=bind,uid=1", "uid not allowed for \"bind\" type mounts"),
        ("type=bind,required", "unexpected key 'required' for mount type 'bind'"),
        ("type=bind,size=1", "unexpected key 'size' for mount type 'bind'"),
        ("type=bind,sharing=locked", "invalid cache sharing set for bind mount"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=bind,from=$X", "'from' doesn't support variable expansion, define alias stage instead"),
        ("type=bind,target", "invalid field 'target' must be a key=value pair"),
        ("type=cache,uid=x", "invalid value x for uid"),
        ("type=cache,ro=x", "invalid value for ro: x"),
        ("\"type=cache", "a quote is not closed"),
        ("type=cache,mode=$ID9", "invalid value 79 for mode"),
    ];
    for (text, expected) in table {
        let found = mount(text).unwrap_err();
        assert!(found.contains(expected), "{text}: {found}");
    }
}
