//! Rows of the field's history that can be tried here: what a hostile image or container attempts must fail, and a
//! canary outside of it stays as it was. Needs root, `unshare` and `busybox-static`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;
use shim_api::options::TaskOptions;
use support::World;

/// A folder that no container may touch.
struct Canary(PathBuf);

impl Canary {
    fn new(world: &World) -> Self {
        let path = world.folder.path().join("canary");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("file"), "untouched").unwrap();
        Self(path)
    }

    fn check(&self, what: &str) {
        let names: Vec<_> = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"], "{what}: something was made in the canary");
        assert_eq!(std::fs::read_to_string(self.0.join("file")).unwrap(), "untouched", "{what}");
        assert_eq!(std::fs::metadata(&self.0).unwrap().uid(), 0, "{what}");
    }
}

/// A root file system of its own for one hostile change.
fn hostile_rootfs(world: &World, name: &str, change: impl FnOnce(&Path)) -> PathBuf {
    let rootfs = world.folder.path().join(name);
    support::make_rootfs(&rootfs);
    change(&rootfs);
    rootfs
}

/// Runs it to its end; `Err` when it is refused.
async fn attempt(world: &World, id: &str, spec: &serde_json::Value) -> Result<(u32, String), String> {
    let (options, log) = world.logged(id);
    world.create(id, spec, &options).await.map_err(|e| e.message)?;
    if let Err(error) = world.start(id, "").await {
        world.wait(id, "").await;
        world.delete(id, "").await.unwrap();
        return Err(error.message);
    }
    let status = world.wait(id, "").await;
    world.delete(id, "").await.unwrap();
    Ok((status, support::read_log(&log)))
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2026-41579: a kernel file system's target is a symlink.
#[tokio::test]
async fn kernel_file_systems_are_not_mounted_through_symlinks() {
    let world = World::new().await;
    let canary = Canary::new(&world);
    for (number, name) in ["proc", "sys", "dev"].into_iter().enumerate() {
        for (variant, target) in
            [canary.0.clone(), "../../../../../../tmp".into(), "bin".into()].into_iter().enumerate()
        {
            let id = format!("link{number}{variant}");
            let rootfs = hostile_rootfs(&world, &format!("root-{id}"), |rootfs| {
                std::fs::remove_dir(rootfs.join(name)).unwrap();
                symlink(&target, rootfs.join(name)).unwrap();
            });
            let mut spec = world.spec(&id, &["true"]);
            spec["root"]["path"] = json!(rootfs);
            let refused = attempt(&world, &id, &spec).await.unwrap_err();
            assert!(refused.contains("symlink"), "/{name}: {refused}");
            canary.check(name);
        }
    }
    world.end().await;
}

/// CVE-2021-30465, CVE-2024-45310: a mount's target leads outside.
#[tokio::test]
async fn a_mount_target_cannot_leave_the_root() {
    let world = World::new().await;
    let canary = Canary::new(&world);
    let outside = canary.0.clone();
    let rootfs = hostile_rootfs(&world, "hostile", |rootfs| {
        symlink(&outside, rootfs.join("absolute")).unwrap();
        let up = PathBuf::from("../".repeat(12)).join(outside.strip_prefix("/").unwrap());
        symlink(up, rootfs.join("relative")).unwrap();
        symlink("/proc/1/root/tmp", rootfs.join("magic")).unwrap();
    });
    let volume = world.folder.path().join("volume");
    std::fs::create_dir_all(&volume).unwrap();
    for (number, target) in ["/absolute/a", "/relative/b", "/magic/c", "/x/../../../y"].into_iter().enumerate() {
        let id = format!("target{number}");
        let mut spec = world.spec(&id, &["sh", "-c", "grep -c volume /proc/self/mountinfo"]);
        spec["root"]["path"] = json!(rootfs);
        spec["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": target, "type": "bind", "source": volume, "options": ["rbind", "rw"]}));
        if let Ok((status, log)) = attempt(&world, &id, &spec).await {
            assert_eq!((status, &*log), (0, "1\n"), "{target}");
        }
        canary.check(target);
    }
    world.end().await;
}

/// CVE-2024-21626: the working folder is a leaked descriptor of the host. Refused, or taken as the text of the link
/// inside the root, from where no number of `..` leads to the canary.
#[tokio::test]
async fn the_working_folder_is_inside() {
    let world = World::new().await;
    let canary = Canary::new(&world);
    let probe = format!("ls {}{}/file >/dev/null 2>&1 && echo escaped", "../".repeat(12), canary.0.display());
    let script = format!("cat /proc/self/cwd/../../etc/machine-id 2>/dev/null; {probe}; echo looked");
    for number in 0..24 {
        let id = format!("cwd{number}");
        let mut spec = world.spec(&id, &["sh", "-c", &script]);
        spec["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        if let Ok((_, log)) = attempt(&world, &id, &spec).await {
            assert_eq!(log, "looked\n", "cwd /proc/self/fd/{number}");
        }
    }
    world.create("a", &world.spec("a", &["sleep", "1000"]), &TaskOptions::default()).await.unwrap();
    world.start("a", "").await.unwrap();
    for number in 0..24 {
        let id = format!("e{number}");
        let command = format!("{probe} && exit 99; exit 0");
        let cwd = format!("/proc/self/fd/{number}");
        let process = json!({"args": ["sh", "-c", command], "cwd": cwd, "env": ["PATH=/bin"]});
        world.exec("a", &id, process, false).await.unwrap();
        if world.start("a", &id).await.is_ok() {
            assert_eq!(world.wait("a", &id).await, 0, "exec with cwd {cwd}");
        }
    }
    world.kill("a", 9).await.unwrap();
    world.wait("a", "").await;
    world.delete("a", "").await.unwrap();
    canary.check("cwd");
    world.end().await;
}

/// CVE-2019-5736: the program file of the shim is not writable through a process that runs it.
#[tokio::test]
async fn the_shims_program_cannot_be_written() {
    let world = World::new().await;
    let before = std::fs::read(support::program()).unwrap();
    let exe = format!("/proc/{}/exe", world.pid);
    // While it runs the kernel says "text file busy" first; the mount is what protects it afterwards.
    assert!(std::fs::OpenOptions::new().write(true).open(&exe).is_err());
    let flags = rustix::fs::statvfs(&exe).unwrap().f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{flags:?}");
    let rootfs = hostile_rootfs(&world, "hostile", |rootfs| {
        std::fs::write(rootfs.join("entry"), "#!/proc/self/exe\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(rootfs.join("entry"), mode).unwrap();
    });
    for (id, program) in [("exe1", "/entry"), ("exe2", "/proc/self/exe")] {
        let mut spec = world.spec(id, &[program]);
        spec["root"]["path"] = json!(rootfs);
        let _ = attempt(&world, id, &spec).await;
    }
    assert!(before == std::fs::read(support::program()).unwrap());
    world.end().await;
}

/// CVE-2022-24769 and its kin; CVE-2024-21626's other half: nothing of ours leaks into the container.
#[tokio::test]
async fn nothing_is_inherited() {
    let world = World::new().await;
    let command = "grep -E 'Cap(Inh|Amb)' /proc/self/status; ls /proc/1/fd; env | grep -v -E '^(PATH|GREETING|HOME|PWD|SHLVL)=' | wc -l";
    let mut spec = world.spec("a", &["sh", "-c", command]);
    spec["process"]["capabilities"]["inheritable"] = json!(["CAP_CHOWN", "CAP_KILL"]);
    let (status, log) = attempt(&world, "a", &spec).await.unwrap();
    let expected = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n0\n1\n2\n0\n";
    assert_eq!((status, &*log), (0, expected));
    world.end().await;
}

/// CVE-2025-31133: masking does not trust the image's `/dev/null`.
#[tokio::test]
async fn masks_do_not_use_the_images_null() {
    let world = World::new().await;
    let canary = Canary::new(&world);
    let file = canary.0.join("file");
    let rootfs = hostile_rootfs(&world, "hostile", |rootfs| symlink(&file, rootfs.join("dev/null")).unwrap());
    let mut spec = world.spec("a", &["sh", "-c", "echo x > /proc/keys; stat -c %t:%T /proc/keys"]);
    spec["root"]["path"] = json!(rootfs);
    let (status, log) = attempt(&world, "a", &spec).await.unwrap();
    assert_eq!((status, &*log), (0, "1:3\n"));
    canary.check("null");
    world.end().await;
}

/// D6: nothing of a container is in the mount table of the shim's mount namespace.
#[tokio::test]
async fn the_hosts_mount_table_stays_as_it_is() {
    let world = World::new().await;
    let table = format!("/proc/{}/mountinfo", world.pid);
    let before = std::fs::read_to_string(&table).unwrap();
    world.create("a", &world.spec("a", &["sleep", "1000"]), &TaskOptions::default()).await.unwrap();
    world.start("a", "").await.unwrap();
    assert_eq!(std::fs::read_to_string(&table).unwrap(), before);
    world.kill("a", 9).await.unwrap();
    world.wait("a", "").await;
    world.delete("a", "").await.unwrap();
    assert_eq!(std::fs::read_to_string(&table).unwrap(), before);
    world.end().await;
}

/// Exchanges two names as fast as the kernel does it, until it is dropped.
struct Flipper {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Flipper {
    fn start(one: PathBuf, other: PathBuf) -> Self {
        use std::sync::atomic::Ordering;
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = std::sync::Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut exchanges = 0;
            while !told.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &one, rustix::fs::CWD, &other, flags).unwrap();
                exchanges += 1;
            }
            exchanges
        });
        Self { stop, thread: Some(thread) }
    }

    fn end(mut self) -> u64 {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// How long containers are started against a flipper, and how many exchanges that has to be at least.
const RACE: std::time::Duration = std::time::Duration::from_secs(2);
const EXCHANGES_MIN: u64 = 10_000;

/// Starts containers of one root file system, in which `name` is exchanged for a symlink to the canary all the while.
async fn race(world: &World, canary: &Canary, name: &str, what: &str, change: impl Fn(&mut serde_json::Value)) {
    let rootfs = hostile_rootfs(world, what, |rootfs| {
        std::fs::create_dir_all(rootfs.join(name)).unwrap();
        symlink(&canary.0, rootfs.join("leads-out")).unwrap();
    });
    let flipper = Flipper::start(rootfs.join(name), rootfs.join("leads-out"));
    let start = std::time::Instant::now();
    let mut number = 0;
    while start.elapsed() < RACE {
        let id = format!("{what}-{number}");
        let mut spec = world.spec(&id, &["true"]);
        spec["root"]["path"] = json!(rootfs);
        change(&mut spec);
        // Whether it starts depends on who was faster; what it leaves outside does not.
        let _ = attempt(world, &id, &spec).await;
        number += 1;
    }
    let exchanges = flipper.end();
    assert!(exchanges > EXCHANGES_MIN && number > 10, "{what}: {exchanges} exchanges, {number} containers");
    canary.check(what);
}

/// CVE-2021-30465, CVE-2024-45310: the target of a mount, or a folder on the way there, is exchanged for a symlink.
#[tokio::test]
async fn a_mount_target_that_is_exchanged_stays_inside() {
    let world = World::new().await;
    let canary = Canary::new(&world);
    let source = world.folder.path().join("source");
    std::fs::create_dir_all(&source).unwrap();
    race(&world, &canary, "data", "target", |spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.push(json!({"destination": "/data/made/deep", "type": "bind", "source": source, "options": ["rbind"]}));
        mounts.push(json!({"destination": "/data/tmp", "type": "tmpfs", "source": "tmpfs"}));
    })
    .await;
    world.end().await;
}

/// CVE-2025-52881, CVE-2019-16884: procfs, sysfs and what is written there while their folders are exchanged.
#[tokio::test]
async fn a_procfs_that_is_exchanged_gets_no_writes() {
    let world = World::new().await;
    let canary = Canary::new(&world);
    std::fs::create_dir_all(canary.0.with_file_name("unused")).unwrap();
    race(&world, &canary, "proc", "procfs", |spec| {
        spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "0"});
        spec["process"]["apparmorProfile"] = json!("");
    })
    .await;
    race(&world, &canary, "dev", "devices", |spec| {
        spec["process"]["terminal"] = json!(true);
    })
    .await;
    world.end().await;
}

/// CVE-2025-52565: the console is the terminal that was opened, whatever the image has at /dev/console and /dev/ptmx.
#[tokio::test]
async fn the_console_is_not_opened_by_name() {
    let world = World::new().await;
    let canary = Canary::new(&world);
    let rootfs = hostile_rootfs(&world, "console", |rootfs| {
        symlink(canary.0.join("file"), rootfs.join("dev/console")).unwrap();
        symlink(canary.0.join("file"), rootfs.join("dev/ptmx")).unwrap();
        std::fs::create_dir_all(rootfs.join("dev/pts")).unwrap();
        symlink(canary.0.join("file"), rootfs.join("dev/tty")).unwrap();
    });
    let mut spec = world.spec("console", &["sh", "-c", "tty; echo typed > /dev/console; true"]);
    spec["root"]["path"] = json!(rootfs);
    spec["process"]["terminal"] = json!(true);
    // The image's own /dev: nothing hides what it has there.
    spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev");
    let _ = attempt(&world, "console", &spec).await;
    canary.check("console");
    world.end().await;
}
