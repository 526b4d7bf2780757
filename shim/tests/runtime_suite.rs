//! The contract of `OciRuntime`, on each implementation: what runc and crun do is what the built-in runtime has to
//! do. Needs root, `unshare`, `busybox-static`, `runc` and `crun`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use shim_api::options::{ExecOptions, LogSink, OCI_RESOURCES_URL, RuntimeChoice, TaskOptions, to_any};
use shim_api::proto::task::v3 as wire;
use support::World;

/// Runs the whole suite, one container after the other.
async fn suite(runtime: RuntimeChoice) {
    let suite = Suite { world: World::new().await, runtime };
    suite.isolation().await;
    suite.identity().await;
    suite.mounts().await;
    suite.copied_up_and_recursively_read_only().await;
    suite.paths_and_devices().await;
    suite.limits().await;
    suite.hooks().await;
    suite.terminal().await;
    suite.missing_program().await;
    suite.exec_and_signals().await;
    suite.pause_update_kill_all().await;
    suite.world.end().await;
}

#[tokio::test]
async fn builtin() {
    suite(RuntimeChoice::Builtin).await;
}

#[tokio::test]
async fn runc() {
    suite(RuntimeChoice::Command { binary: "runc".into(), root: None }).await;
}

#[tokio::test]
async fn crun() {
    suite(RuntimeChoice::Command { binary: "crun".into(), root: None }).await;
}

/// Debian's shim for runc, as containerd would run it.
#[tokio::test]
async fn another_shim() {
    suite(RuntimeChoice::Shim { binary: "containerd-shim-runc-v2".into(), config: None }).await;
}

/// Whether this host has nothing but the second version of cgroups.
fn v2() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

struct Suite {
    world: World,
    runtime: RuntimeChoice,
}

impl Suite {
    fn options(&self, log: &std::path::Path) -> TaskOptions {
        let log = LogSink::CriFile { path: log.to_owned() };
        TaskOptions { log, runtime: self.runtime.clone(), ..TaskOptions::default() }
    }

    /// Runs a container and answers its exit status and output.
    async fn run(&self, id: &str, spec: &Value) -> (u32, String) {
        let log = self.world.folder.path().join(format!("{id}.log"));
        self.world.create(id, spec, &self.options(&log)).await.unwrap_or_else(|e| panic!("create {id}: {e}"));
        self.world.start(id, "").await.unwrap_or_else(|e| panic!("start {id}: {e}"));
        let status = self.world.wait(id, "").await;
        self.world.delete(id, "").await.unwrap();
        (status, support::read_log(&log))
    }

    async fn shell(&self, id: &str, change: impl FnOnce(&mut Value), command: &str) -> String {
        let mut spec = self.world.spec(id, &["sh", "-c", command]);
        change(&mut spec);
        let (status, log) = self.run(id, &spec).await;
        assert_eq!(status, 0, "{id} on {:?}: {log}", self.runtime);
        log
    }

    async fn isolation(&self) {
        let command =
            "hostname; cat /proc/1/comm; ls /proc/self/fd | wc -l; ls /sys/class/net; cat /proc/self/cgroup | wc -l";
        let log = self.shell("isolation", |_| (), command).await;
        let lines: Vec<_> = log.lines().collect();
        assert_eq!(&lines[..4], ["crane", "sh", "4", "lo"], "{:?}", self.runtime);
    }

    async fn identity(&self) {
        let change = |spec: &mut Value| {
            let process = &mut spec["process"];
            process["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 44], "umask": 0o27});
            process["cwd"] = json!("/made/here");
            process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
            process["capabilities"] = json!({"bounding": ["CAP_CHOWN"]});
        };
        let command =
            "id -u; id -g; id -G; umask; pwd; ulimit -n; grep -E 'Cap(Inh|Eff|Bnd)|NoNewPrivs' /proc/self/status";
        let log = self.shell("identity", change, command).await;
        let expected = "1000\n1001\n1001 5 44\n0027\n/made/here\n100\nCapInh:\t0000000000000000\nCapEff:\t0000000000000000\n\
                        CapBnd:\t0000000000000001\nNoNewPrivs:\t1\n";
        assert_eq!(log, expected, "{:?}", self.runtime);
    }

    async fn mounts(&self) {
        let folder = self.world.folder.path();
        std::fs::create_dir_all(folder.join("volume")).unwrap();
        std::fs::write(folder.join("volume/file"), "from outside\n").unwrap();
        let change = |spec: &mut Value| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.push(json!({"destination": "/data", "type": "bind", "source": folder.join("volume"), "options": ["rbind", "rprivate", "rw"]}));
            mounts.push(json!({"destination": "/readonly", "type": "bind", "source": folder.join("volume"), "options": ["bind", "ro"]}));
            mounts.push(json!({"destination": "/etc/one", "type": "bind", "source": folder.join("volume/file"), "options": ["bind", "ro"]}));
            mounts.push(json!({"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "mode=1777", "noexec"]}));
        };
        let command = "cat /data/file /etc/one; echo inside > /data/new; (echo x > /readonly/y) 2>/dev/null || echo refused; \
                       stat -c %a /scratch; grep -c ' /scratch .*noexec.*size=1024k' /proc/mounts";
        let log = self.shell("mounts", change, command).await;
        assert_eq!(log, "from outside\nfrom outside\nrefused\n1777\n1\n", "{:?}", self.runtime);
        assert_eq!(std::fs::read_to_string(folder.join("volume/new")).unwrap(), "inside\n");
    }

    /// `tmpcopyup` fills a tmpfs with what it covers; `rro` makes a bind read-only with all that is mounted below.
    async fn copied_up_and_recursively_read_only(&self) {
        let folder = self.world.folder.path();
        std::fs::create_dir_all(folder.join("tree")).unwrap();
        let change = |spec: &mut Value| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.push(
                json!({"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=1m"]}),
            );
            mounts.push(json!({"destination": "/tree", "type": "bind", "source": folder.join("tree"), "options": ["rbind", "rro"]}));
        };
        let command = "head -n 1 /etc/passwd; echo new > /etc/passwd; cat /etc/passwd; grep -c '^tmpfs /etc ' /proc/mounts; \
                       (echo x > /tree/y) 2>/dev/null || echo refused";
        let log = self.shell("options", change, command).await;
        assert_eq!(log, "root:x:0:0:root:/root:/bin/sh\nnew\n1\nrefused\n", "{:?}", self.runtime);
        let passwd = std::fs::read_to_string(folder.join("rootfs/etc/passwd"));
        assert!(passwd.is_ok_and(|text| text.starts_with("root:")), "what is covered stays as it was");
    }

    async fn paths_and_devices(&self) {
        let change = |spec: &mut Value| {
            spec["root"]["readonly"] = json!(true);
            spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.shmmax": "12345678"});
            spec["linux"]["devices"] = json!([{"type": "c", "path": "/dev/special", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 3, "gid": 4}]);
        };
        let command = "cat /proc/keys | wc -c; ls /sys/firmware | wc -l; (echo 0 > /proc/sys/net/ipv4/ip_forward) 2>/dev/null || echo readonly; \
                       touch /x 2>/dev/null || echo readonly; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax; \
                       stat -c '%a %u %g %t:%T' /dev/special; readlink /dev/fd; readlink /dev/ptmx; head -c 4 /dev/zero | wc -c; echo x > /dev/null";
        let log = self.shell("paths", change, command).await;
        let log = log.replace("/dev/pts/ptmx", "pts/ptmx");
        let expected = "0\n0\nreadonly\nreadonly\n1\n12345678\n640 3 4 1:3\n/proc/self/fd\npts/ptmx\n4\n";
        assert_eq!(log, expected, "{:?}", self.runtime);
    }

    async fn limits(&self) {
        let change = |spec: &mut Value| {
            spec["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
            spec["linux"]["resources"]["pids"] = json!({"limit": 17});
            spec["linux"]["resources"]["cpu"] = json!({"shares": 512, "quota": 50_000, "period": 100_000});
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid", "noexec", "nodev"]}));
        };
        // How shares become a weight differs from program to program: only the others are compared on v2.
        let (files, expected) = if v2() {
            ("memory.max pids.max cpu.max", "67108864\n17\n50000 100000\n")
        } else {
            let files = "memory/memory.limit_in_bytes pids/pids.max cpu/cpu.shares cpu/cpu.cfs_quota_us";
            (files, "67108864\n17\n512\n50000\n")
        };
        let command = format!(
            "cd /sys/fs/cgroup; cat {files}; mkdir x memory/x 2>/dev/null || echo readonly; \
             head -c 1 /dev/kmsg 2>/dev/null || echo denied"
        );
        let log = self.shell("limits", change, &command).await;
        assert_eq!(log, format!("{expected}readonly\ndenied\n"), "{:?}", self.runtime);
    }

    async fn hooks(&self) {
        let out = self.world.folder.path().join("hooks");
        let hook = |name: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("cat > {}.{name}", out.display())], "timeout": 20}]);
        let change = |spec: &mut Value| {
            spec["hooks"] = json!({
                "prestart": hook("prestart"), "createRuntime": hook("createRuntime"),
                "poststart": hook("poststart"), "poststop": hook("poststop"),
            });
        };
        self.shell("hooks", change, "true").await;
        for name in ["prestart", "createRuntime", "poststart", "poststop"] {
            let state = std::fs::read_to_string(format!("{}.{name}", out.display())).unwrap();
            let state: Value = serde_json::from_str(&state).unwrap();
            assert_eq!(state["id"], "hooks", "{name} on {:?}", self.runtime);
        }
        let mut spec = self.world.spec("badhook", &["true"]);
        spec["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
        let log = self.world.folder.path().join("badhook.log");
        let error = self.world.create("badhook", &spec, &self.options(&log)).await.unwrap_err();
        assert!(error.message.contains("hook"), "{error}");
    }

    async fn terminal(&self) {
        let change = |spec: &mut Value| {
            spec["process"]["terminal"] = json!(true);
            spec["process"]["consoleSize"] = json!({"width": 90, "height": 30});
        };
        let log = self.shell("terminal", change, "tty; stty size").await;
        assert_eq!(log.replace('\r', ""), "/dev/pts/0\n30 90\n", "{:?}", self.runtime);
    }

    async fn missing_program(&self) {
        let log = self.world.folder.path().join("missing.log");
        let spec = self.world.spec("missing", &["no-such-program"]);
        let made = match self.world.create("missing", &spec, &self.options(&log)).await {
            Ok(_) => self.world.start("missing", "").await,
            Err(error) => Err(error),
        };
        let error = made.unwrap_err();
        let failure: shim_api::options::StartFailure = error.detail(shim_api::options::START_FAILURE_URL).unwrap();
        assert_eq!(failure.exit_code, 127, "{error}");
        let _ = self.world.delete("missing", "").await;
    }

    async fn exec_and_signals(&self) {
        let log = self.world.folder.path().join("exec.log");
        let spec = self.world.spec("exec", &["sh", "-c", "trap 'exit 42' USR1; while true; do sleep 0.1; done"]);
        self.world.create("exec", &spec, &self.options(&log)).await.unwrap();
        self.world.start("exec", "").await.unwrap();
        let out = self.world.folder.path().join("exec-out.log");
        let process = json!({
            "args": ["sh", "-c", "hostname; id -u; pwd; echo $X; grep CapEff /proc/self/status; kill -USR1 1; exit 9"],
            "cwd": "/tmp", "env": ["PATH=/bin", "X=y"], "user": {"uid": 0, "gid": 0}, "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        });
        let options = ExecOptions {
            process: serde_json::value::to_raw_value(&process).unwrap(),
            log: LogSink::CriFile { path: out.clone() },
            stdin: false,
            wait_for_attach: false,
        };
        let request = wire::ExecProcessRequest {
            id: "exec".into(),
            exec_id: "e".into(),
            spec: Some(to_any(shim_api::options::EXEC_OPTIONS_URL, &options).unwrap()),
            ..wire::ExecProcessRequest::default()
        };
        self.world.client.exec(&request).await.unwrap();
        self.world.start("exec", "e").await.unwrap();
        assert_eq!(self.world.wait("exec", "e").await, 9);
        assert_eq!(support::read_log(&out), "crane\n0\n/tmp\ny\nCapEff:\t0000000000000020\n", "{:?}", self.runtime);
        assert_eq!(self.world.wait("exec", "").await, 42);
        self.world.delete("exec", "").await.unwrap();
    }

    async fn pause_update_kill_all(&self) {
        let log = self.world.folder.path().join("pause.log");
        let spec = self.world.spec("pause", &["sh", "-c", "sleep 1000 & sleep 1000"]);
        self.world.create("pause", &spec, &self.options(&log)).await.unwrap();
        self.world.start("pause", "").await.unwrap();
        let client = &self.world.client;
        client.pause(&wire::PauseRequest { id: "pause".into() }).await.unwrap();
        client.resume(&wire::ResumeRequest { id: "pause".into() }).await.unwrap();
        let resources = json!({"memory": {"limit": 128 << 20}}).to_string().into_bytes();
        let resources = shim_api::Any { type_url: OCI_RESOURCES_URL.into(), value: resources };
        let request = wire::UpdateTaskRequest {
            id: "pause".into(),
            resources: Some(resources),
            ..wire::UpdateTaskRequest::default()
        };
        client.update(&request).await.unwrap();
        let cgroup = self.world.cgroup("pause");
        let file = if v2() {
            format!("/sys/fs/cgroup{cgroup}/memory.max")
        } else {
            format!("/sys/fs/cgroup/memory{cgroup}/memory.limit_in_bytes")
        };
        assert_eq!(std::fs::read_to_string(file).unwrap(), "134217728\n");
        let kill = wire::KillRequest { id: "pause".into(), exec_id: String::new(), signal: 9, all: true };
        client.kill(&kill).await.unwrap();
        assert_eq!(self.world.wait("pause", "").await, 137);
        self.world.delete("pause", "").await.unwrap();
    }
}
