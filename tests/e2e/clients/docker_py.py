"""docker-py against the engine at DOCKER_HOST: its objects, then its low-level calls.

The image busybox:latest is there; nothing else is. BUSYBOX_ARCHIVE names a docker archive of the same image.
"""

import io
import json
import os
import socket
import tarfile
import threading
import time

import docker
import docker.errors
import docker.types

from cases import case, refused, run, until

IMAGE = "busybox:latest"


def tar_of(files):
    """A tar archive of {path: bytes}."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            member.mtime = 1_700_000_000
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def read_tar(pieces):
    """{path: bytes} of the files in a tar that came in pieces."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers() if m.isfile()}


class Running:
    """A container that sleeps while a case uses it."""

    def __init__(self, client, command="sleep 1000", **options):
        self.container = client.containers.run(IMAGE, command, detach=True, **options)

    def __enter__(self):
        return self.container

    def __exit__(self, *_):
        self.container.remove(force=True, v=True)


# System


@case
def version_ping_and_info(client):
    assert client.ping() is True
    version = client.version()
    assert version["Os"] == "linux" and version["ApiVersion"] and version["Components"]
    info = client.info()
    assert info["OSType"] == "linux" and info["NCPU"] >= 1 and info["MemTotal"] > 0 and info["ID"]


@case
def version_is_negotiated_or_pinned(client):
    automatic = docker.DockerClient(base_url=os.environ["DOCKER_HOST"], version="auto")
    assert automatic.api.api_version == client.version()["ApiVersion"]
    old = docker.DockerClient(base_url=os.environ["DOCKER_HOST"], version="1.24")
    assert old.ping() and isinstance(old.containers.list(all=True), list)
    too_new = docker.DockerClient(base_url=os.environ["DOCKER_HOST"], version="1.99")
    refused(400, "too new", too_new.info)


@case
def df_counts_what_there_is(client):
    volume = client.volumes.create(name="df-volume")
    client.containers.run(
        IMAGE, ["dd", "if=/dev/zero", "of=/data/f", "bs=1024", "count=100"], volumes=["df-volume:/data"], remove=True
    )
    usage = client.df()
    row = next(v for v in usage["Volumes"] if v["Name"] == "df-volume")
    assert 102400 <= row["UsageData"]["Size"] <= 150000, row
    assert row["UsageData"]["RefCount"] == 0
    assert usage["LayersSize"] > 0 and any(IMAGE in (i["RepoTags"] or []) for i in usage["Images"])
    volume.remove()


@case
def events_follow_and_are_filtered(client):
    seen = []
    stream = client.events(decode=True, filters={"type": "container", "label": "case=events"})
    reader = threading.Thread(target=lambda: seen.extend(stream), daemon=True)
    reader.start()
    client.containers.run(IMAGE, "true", labels={"case": "events"}, remove=True)
    client.containers.run(IMAGE, "true", remove=True)
    until("destroy", lambda: [e for e in seen if e["Action"] == "destroy"])
    stream.close()
    actions = [e["Action"] for e in seen]
    assert actions[0] == "create" and "start" in actions and actions.index("die") < actions.index("destroy"), actions
    assert all(e["Actor"]["Attributes"]["case"] == "events" for e in seen)
    die = next(e for e in seen if e["Action"] == "die")
    assert die["Actor"]["Attributes"]["exitCode"] == "0" and die["Actor"]["Attributes"]["image"] == IMAGE


@case
def events_of_the_past_are_replayed(client):
    before = time.time()
    client.containers.run(IMAGE, "true", name="replayed", remove=True)
    past = list(client.events(decode=True, since=int(before), until=int(time.time()) + 1, filters={"container": "replayed"}))
    assert [e["Action"] for e in past if e["Type"] == "container"][0] == "create", past


# Containers


@case
def run_returns_output(client):
    assert client.containers.run(IMAGE, ["echo", "hello"], remove=True) == b"hello\n"
    both = client.containers.run(IMAGE, ["sh", "-c", "echo out; echo err >&2"], stderr=True, remove=True)
    assert sorted(both.split()) == [b"err", b"out"]
    lines = client.containers.run(IMAGE, ["sh", "-c", "echo one; echo two"], stream=True, remove=True)
    assert b"".join(lines) == b"one\ntwo\n"


@case
def run_fails_as_the_program_does(client):
    try:
        client.containers.run(IMAGE, ["sh", "-c", "echo why >&2; exit 7"], remove=True)
    except docker.errors.ContainerError as error:
        assert error.exit_status == 7 and error.stderr == b"why\n"
    else:
        raise AssertionError("no ContainerError")
    try:
        client.containers.run("nosuch.invalid:5000/image", "true")
    except docker.errors.APIError:
        pass
    else:
        raise AssertionError("an image that cannot be had was run")
    refused(400, "no-such-program", lambda: client.containers.run(IMAGE, "no-such-program", name="fails"))
    client.containers.get("fails").remove()


@case
def lifecycle(client):
    container = client.containers.create(IMAGE, "sleep 1000", name="life", labels={"a": "b"})
    try:
        assert container.status == "created" and container.labels == {"a": "b"} and container.short_id in container.id
        container.start()
        container.reload()
        assert container.status == "running" and container.attrs["State"]["Pid"] > 0
        container.pause()
        container.reload()
        assert container.status == "paused"
        container.unpause()
        container.restart(timeout=0)
        container.reload()
        assert container.status == "running"
        container.rename("life-2")
        assert client.containers.get("life-2").id == container.id
        container.kill(signal="KILL")
        assert container.wait()["StatusCode"] == 137
        container.start()
        container.stop(timeout=0)
        container.reload()
        assert container.status == "exited"
    finally:
        container.remove(force=True)
    try:
        client.containers.get("life-2")
    except docker.errors.NotFound as error:
        assert "No such container: life-2" in str(error)
    else:
        raise AssertionError("it is still there")


@case
def waits_end_when_their_condition_holds(client):
    container = client.containers.create(IMAGE, ["sh", "-c", "exit 3"])
    results = []
    waiting = threading.Thread(target=lambda: results.append(container.wait(condition="next-exit", timeout=30)))
    waiting.start()
    time.sleep(0.1)
    container.start()
    waiting.join(30)
    assert results and results[0]["StatusCode"] == 3
    assert container.wait()["StatusCode"] == 3
    gone = threading.Thread(target=lambda: results.append(container.wait(condition="removed", timeout=30)))
    gone.start()
    time.sleep(0.1)
    container.remove()
    gone.join(30)
    assert len(results) == 2


@case
def lists_are_filtered(client):
    with Running(client, name="listed", labels={"case": "list"}) as container:
        done = client.containers.create(IMAGE, "true", name="not-run", labels={"case": "list"})
        try:
            names = lambda **filters: sorted(c.name for c in client.containers.list(**filters))
            assert names(filters={"label": "case=list"}) == ["listed"]
            assert names(all=True, filters={"label": "case"}) == ["listed", "not-run"]
            assert names(all=True, filters={"status": "created", "label": "case"}) == ["not-run"]
            assert names(filters={"name": "list"}) == ["listed"]
            assert names(filters={"id": container.id}) == ["listed"]
            assert names(all=True, filters={"ancestor": IMAGE, "label": "case"}) == ["listed", "not-run"]
            assert names(all=True, filters={"since": "listed"}) == ["not-run"]
            assert names(all=True, limit=1) == ["not-run"]
            assert client.containers.list(sparse=True)[0].status == "running"
            refused(400, "invalid filter", lambda: client.containers.list(filters={"bogus": "x"}))
        finally:
            done.remove()


@case
def options_of_run_arrive(client):
    options = dict(
        hostname="box",
        domainname="example.org",
        environment={"A": "1", "B": "two words"},
        working_dir="/tmp",
        user="65534:65534",
        mem_limit="64m",
        memswap_limit="64m",
        nano_cpus=500_000_000,
        cpu_shares=512,
        pids_limit=50,
        cap_drop=["ALL"],
        cap_add=["CHOWN"],
        security_opt=["no-new-privileges"],
        dns=["192.0.2.53"],
        dns_search=["example.org"],
        extra_hosts={"db": "192.0.2.1"},
        tmpfs={"/scratch": "size=1m,mode=1777"},
        ulimits=[docker.types.Ulimit(name="nofile", soft=100, hard=200)],
        sysctls={"net.ipv4.ip_local_port_range": "20000 20100"},
        read_only=True,
        shm_size="8m",
        init=True,
        stop_signal="SIGINT",
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
        log_config=docker.types.LogConfig(type="json-file", config={"max-size": "1m", "max-file": "2"}),
        healthcheck={"test": ["CMD", "true"], "interval": 1_000_000_000},
        oom_score_adj=100,
        group_add=["10"],
        ipc_mode="private",
        labels=["only-a-name"],
    )
    with Running(client, **options) as container:
        host = container.attrs["HostConfig"]
        assert host["Memory"] == 64 << 20 and host["NanoCpus"] == 500_000_000 and host["PidsLimit"] == 50
        assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
        assert host["ReadonlyRootfs"] and host["Init"] and host["LogConfig"]["Config"]["max-size"] == "1m"
        assert container.attrs["Config"]["StopSignal"] == "SIGINT" and container.labels == {"only-a-name": ""}
        script = (
            "hostname; pwd; id -u; id -G; echo $A $B; ulimit -n; cat /proc/sys/net/ipv4/ip_local_port_range; "
            "grep -c 192.0.2.53 /etc/resolv.conf; grep -c 'db$' /etc/hosts; touch /x 2>&1 | grep -c Read-only; touch /scratch/x; "
            "grep NoNewPrivs /proc/self/status; grep CapBnd /proc/self/status; cat /proc/1/comm; df -k /dev/shm | tail -1"
        )
        code, output = container.exec_run(["sh", "-c", script])
        lines = output.decode().splitlines()
        assert code == 0, output
        assert lines[:5] == ["box", "/tmp", "65534", "65534 10", "1 two words"], lines
        assert lines[5] == "100" and lines[6].split() == ["20000", "20100"], lines
        assert lines[7:10] == ["1", "1", "1"], lines
        assert lines[10].split()[1] == "1" and int(lines[11].split()[1], 16) == 1, lines
        assert lines[12] != "sleep" and lines[13].split()[1] == "8192", lines
        until("health", lambda: (container.reload(), container.health == "healthy")[1])


@case
def exec_runs_and_streams(client):
    with Running(client) as container:
        assert container.exec_run("echo hi") == (0, b"hi\n")
        assert container.exec_run(["sh", "-c", "exit 9"]).exit_code == 9
        result = container.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True)
        assert result.output == (b"out\n", b"err\n"), result
        result = container.exec_run(["sh", "-c", "echo $X; id -u; pwd"], environment={"X": "y"}, user="1000", workdir="/tmp")
        assert result.output.split() == [b"y", b"1000", b"/tmp"]
        _, stream = container.exec_run(["sh", "-c", "echo one; echo two"], stream=True)
        assert b"".join(stream) == b"one\ntwo\n"
        assert container.exec_run("tty", tty=True).output.startswith(b"/dev/pts/")
        container.exec_run("touch /tmp/detached", detach=True)
        until("the detached exec", lambda: container.exec_run("test -e /tmp/detached").exit_code == 0)
        missing = container.exec_run("no-such-program")
        assert missing.exit_code in (126, 127) and b"no-such-program" in missing.output
    refused(404, "No such container", lambda: container.exec_run("true"))


@case
def exec_socket_carries_input(client):
    with Running(client) as container:
        _, channel = container.exec_run("cat", stdin=True, socket=True, tty=False)
        raw = channel._sock
        raw.sendall(b"hello\n")
        raw.shutdown(socket.SHUT_WR)
        data = b""
        while piece := raw.recv(4096):
            data += piece
        assert data == b"\x01\0\0\0\0\0\0\x06hello\n", data
        channel.close()


@case
def exec_low_level_inspects_and_resizes(client):
    with Running(client) as container:
        exec_id = client.api.exec_create(container.id, ["sh", "-c", "sleep 0.3; stty size"], tty=True, stdin=True)["Id"]
        view = client.api.exec_inspect(exec_id)
        assert view["Running"] is False and view["ExitCode"] is None and view["ContainerID"] == container.id
        stream = client.api.exec_start(exec_id, tty=True, stream=True)
        client.api.exec_resize(exec_id, height=33, width=44)
        assert b"33 44" in b"".join(stream)
        assert client.api.exec_inspect(exec_id)["ExitCode"] == 0
        refused(409, "has already run", lambda: client.api.exec_start(exec_id))


@case
def attach_carries_both_directions(client):
    container = client.containers.create(IMAGE, "cat", stdin_open=True)
    client.api.inspect_container(container.id)
    try:
        channel = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        container.start()
        channel._sock.sendall(b"ping\n")
        frame = b""
        while len(frame) < 13:
            frame += channel._sock.recv(64)
        assert frame == b"\x01\0\0\0\0\0\0\x05ping\n", frame
        channel.close()
    finally:
        container.remove(force=True)


@case
def attach_streams_output(client):
    container = client.containers.create(IMAGE, ["sh", "-c", "echo first; echo second >&2"])
    try:
        output = container.attach(stream=True, logs=True, demux=True)
        container.start()
        pairs = list(output)
        assert (b"first\n", None) in pairs and (None, b"second\n") in pairs, pairs
        assert container.attach(logs=True, stream=False).split() == [b"first", b"second"]
    finally:
        container.remove()


@case
def logs_are_cut_and_followed(client):
    script = "echo one; echo two >&2; sleep 0.3; echo three"
    container = client.containers.run(IMAGE, ["sh", "-c", script], detach=True)
    try:
        assert b"".join(container.logs(stream=True, follow=True)).splitlines() == [b"one", b"two", b"three"]
        assert container.logs(stdout=True, stderr=False) == b"one\nthree\n"
        assert container.logs(tail=1) == b"three\n"
        stamped = container.logs(timestamps=True, tail=1).decode()
        assert stamped[4] == "-" and stamped.rstrip().endswith("Z three"), stamped
        assert container.logs(since=int(time.time()) + 100) == b""
        assert container.logs(until=1) == b""
    finally:
        container.remove()


@case
def stats_stream_and_come_once(client):
    with Running(client) as container:
        once = container.stats(stream=False)
        assert once["id"] == container.id and once["memory_stats"]["usage"] > 0 and once["pids_stats"]["current"] == 1
        assert once["precpu_stats"]["cpu_usage"]["total_usage"] > 0
        stream = container.stats(decode=True, stream=True)
        assert next(stream)["read"] and next(stream)["networks"]["eth0"]["rx_bytes"] >= 0
        assert client.api.stats(container.id, stream=False, one_shot=True)["cpu_stats"]["cpu_usage"]["total_usage"] > 0


@case
def top_shows_processes(client):
    with Running(client) as container:
        top = container.top()
        assert "PID" in top["Titles"] and len(top["Processes"]) == 1
        assert "COMMAND" in container.top(ps_args="aux")["Titles"]


@case
def update_changes_limits(client):
    with Running(client, mem_limit="64m") as container:
        container.update(mem_limit="128m", memswap_limit="256m", cpu_shares=200, restart_policy={"Name": "always"})
        container.reload()
        host = container.attrs["HostConfig"]
        assert host["Memory"] == 128 << 20 and host["CpuShares"] == 200 and host["RestartPolicy"]["Name"] == "always"


@case
def archives_go_in_and_out(client):
    with Running(client) as container:
        assert container.put_archive("/tmp", tar_of({"in/a.txt": b"alpha", "b.txt": b"beta"}))
        assert container.exec_run("cat /tmp/in/a.txt /tmp/b.txt").output == b"alphabeta"
        pieces, stat = container.get_archive("/tmp/in")
        assert stat["name"] == "in" and read_tar(pieces) == {"in/a.txt": b"alpha"}
        pieces, stat = container.get_archive("/tmp/b.txt", chunk_size=7)
        assert stat["size"] == 4 and read_tar(pieces) == {"b.txt": b"beta"}
        refused(404, "no-such", lambda: container.get_archive("/no-such"))
        refused(404, "no-such", lambda: container.put_archive("/no-such", tar_of({"x": b""})))


@case
def diff_export_commit(client):
    container = client.containers.run(IMAGE, ["sh", "-c", "echo new > /added; rm /etc/group"], detach=True)
    try:
        container.wait()
        changes = {c["Path"]: c["Kind"] for c in container.diff()}
        assert changes["/added"] == 1 and changes["/etc/group"] == 2 and changes["/etc"] == 0, changes
        assert read_tar(container.export())["added"] == b"new\n"
        image = container.commit("committed", "v1", message="why", author="who", changes=["ENV A=b"], conf={"Cmd": ["cat", "/added"]})
        assert image.tags == ["committed:v1"] and "A=b" in image.attrs["Config"]["Env"]
        assert client.containers.run("committed:v1", remove=True) == b"new\n"
        client.images.remove("committed:v1")
    finally:
        container.remove()


@case
def containers_are_pruned(client):
    client.containers.run(IMAGE, "true", labels={"prune": "me"}, detach=True).wait()
    keep = client.containers.run(IMAGE, "true", labels={"prune": "not"}, detach=True)
    keep.wait()
    result = client.containers.prune(filters={"label": "prune=me"})
    assert len(result["ContainersDeleted"]) == 1 and result["SpaceReclaimed"] >= 0
    assert keep.id in [c.id for c in client.containers.list(all=True)]
    keep.remove()


@case
def names_conflict_and_running_ones_stay(client):
    with Running(client, name="taken") as container:
        refused(409, "is already in use", lambda: client.containers.create(IMAGE, name="taken"))
        refused(409, "container is running", lambda: client.containers.get("taken").remove())
        refused(409, "is not paused", container.unpause)
    refused(400, "Invalid container name", lambda: client.containers.create(IMAGE, name="a/b"))


@case
def ports_are_published(client):
    ports = {"80/tcp": ("127.0.0.1", 18080), "81/tcp": None, "53/udp": 15353}
    with Running(client, "httpd -f -p 80 -h /www", ports=ports) as container:
        container.reload()
        assert container.ports["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "18080"}], container.ports
        assert int(container.ports["81/tcp"][0]["HostPort"]) > 0
        assert container.ports["53/udp"][0]["HostPort"] == "15353"

        def page():
            try:
                with socket.create_connection(("127.0.0.1", 18080), timeout=5) as connection:
                    connection.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
                    return b"hello from a container" in connection.makefile("rb").read()
            except OSError:  # the server is not listening yet
                return False

        until("the page", page)
        assert client.api.port(container.id, 80) == [{"HostIp": "127.0.0.1", "HostPort": "18080"}]
        refused((409, 500), "port is already allocated", lambda: client.containers.run(IMAGE, "true", ports={"1/tcp": ("127.0.0.1", 18080)}, name="second"))
        client.containers.get("second").remove()


# Images


@case
def images_are_listed_inspected_and_tagged(client):
    image = client.images.get(IMAGE)
    assert IMAGE in image.tags and image.id.startswith("sha256:") and image.attrs["Os"] == "linux"
    assert image.history()[0]["Id"] and image.attrs["RootFS"]["Layers"]
    assert image.tag("other/name", tag="v1") is True
    assert [i.id for i in client.images.list(name="other/name")] == [image.id]
    assert client.images.list(filters={"reference": "other/*"})[0].id == image.id
    client.images.remove("other/name:v1")
    assert client.images.list(name="other/name") == []
    try:
        client.images.get("nosuch:latest")
    except docker.errors.ImageNotFound as error:
        assert "No such image" in str(error)
    else:
        raise AssertionError("an image that is not there was found")


@case
def images_are_saved_and_loaded(client):
    image = client.images.get(IMAGE)
    image.tag("saved:one")
    image.reload()
    archive = b"".join(image.save(named="saved:one"))
    client.images.remove("saved:one")
    loaded = client.images.load(archive)
    assert [i.tags for i in loaded if "saved:one" in i.tags], loaded
    client.images.remove("saved:one")
    assert "manifest.json" in read_tar(client.api.get_image(IMAGE))
    refused((400, 500), "", lambda: client.images.load(b"this is no archive at all"))


@case
def images_are_imported(client):
    tree = tar_of({"file": b"content"})
    said = client.api.import_image_from_data(tree, repository="imported", tag="t", changes=["ENV X=y"])
    assert "sha256:" in said
    assert "X=y" in client.images.get("imported:t").attrs["Config"]["Env"]
    client.images.remove("imported:t")


@case
def images_in_use_are_kept(client):
    client.images.get(IMAGE).tag("used:1")
    with Running(client):
        client.images.remove("used:1")
        refused(409, "conflict", lambda: client.images.remove(client.images.get(IMAGE).id))


@case
def images_are_pushed_and_pulled(client):
    registry = os.environ["REGISTRY"]
    client.images.get(IMAGE).tag(f"{registry}/py/box", tag="1")
    lines = list(client.images.push(f"{registry}/py/box", tag="1", stream=True, decode=True))
    aux = [line["aux"] for line in lines if "aux" in line]
    assert aux and aux[0]["Tag"] == "1" and aux[0]["Digest"].startswith("sha256:"), lines
    client.images.remove(f"{registry}/py/box:1")
    data = client.images.get_registry_data(f"{registry}/py/box:1")
    assert data.id == aux[0]["Digest"] and data.has_platform("linux/amd64") in (True, False)
    image = client.images.pull(f"{registry}/py/box", tag="1")
    assert f"{registry}/py/box:1" in image.tags
    progress = list(client.api.pull(f"{registry}/py/box", tag="1", stream=True, decode=True))
    assert any("Image is up to date" in line.get("status", "") for line in progress), progress
    refused(404, "not found", lambda: client.images.pull(f"{registry}/py/nosuch", tag="1"))
    client.images.remove(f"{registry}/py/box:1")


@case
def images_are_pruned(client):
    container = client.containers.run(IMAGE, ["sh", "-c", "echo x > /x"], detach=True)
    container.wait()
    dangling = container.commit()
    container.remove()
    assert dangling.id in [i.id for i in client.images.list(filters={"dangling": True})]
    result = client.images.prune()
    # With it goes what the image of all cases was loaded with, before it was pulled.
    assert any(dangling.id == d.get("Deleted") for d in result["ImagesDeleted"]), result
    assert client.images.get(IMAGE)


# Networks


@case
def networks_live_and_connect(client):
    pool = docker.types.IPAMPool(subnet="10.66.0.0/24", gateway="10.66.0.254")
    ipam = docker.types.IPAMConfig(pool_configs=[pool])
    network = client.networks.create("py-net", driver="bridge", ipam=ipam, labels={"case": "net"}, check_duplicate=True)
    try:
        assert network.attrs["IPAM"]["Config"][0]["Gateway"] == "10.66.0.254"
        assert [n.name for n in client.networks.list(filters={"label": "case=net"})] == ["py-net"]
        assert client.networks.get(network.id).name == "py-net"
        refused(409, "already exists", lambda: client.networks.create("py-net", check_duplicate=True))
        with Running(client, name="connected") as container:
            network.connect(container, aliases=["db"], ipv4_address="10.66.0.7")
            container.reload()
            endpoint = container.attrs["NetworkSettings"]["Networks"]["py-net"]
            assert endpoint["IPAddress"] == "10.66.0.7" and "db" in endpoint["Aliases"], endpoint
            network.reload()
            assert [c.name for c in network.containers] == ["connected"]
            assert client.containers.run(IMAGE, "ping -c 1 db", network="py-net", remove=True)
            refused(403, "active endpoints", network.remove)
            network.disconnect(container, force=True)
            network.reload()
            assert network.containers == []
    finally:
        network.remove()
    assert client.networks.list(names=["py-net"]) == []


@case
def networks_are_pruned(client):
    client.networks.create("pruned", labels={"prune": "yes"})
    result = client.networks.prune(filters={"label": "prune=yes"})
    assert result["NetworksDeleted"] == ["pruned"], result


@case
def containers_are_created_on_networks(client):
    network = client.networks.create("first")
    try:
        api = client.api
        config = api.create_networking_config({"first": api.create_endpoint_config(aliases=["one"])})
        made = api.create_container(IMAGE, "sleep 1000", networking_config=config, host_config=api.create_host_config(network_mode="first"))
        api.start(made["Id"])
        assert client.containers.run(IMAGE, "ping -c 1 one", network="first", remove=True)
        api.remove_container(made["Id"], force=True)
    finally:
        network.remove()


# Volumes


@case
def volumes_live(client):
    volume = client.volumes.create(name="py-volume", driver="local", labels={"case": "volume"})
    try:
        assert volume.attrs["Driver"] == "local" and volume.attrs["Scope"] == "local"
        assert [v.name for v in client.volumes.list(filters={"label": "case"})] == ["py-volume"]
        client.containers.run(IMAGE, ["sh", "-c", "echo kept > /v/f"], volumes={"py-volume": {"bind": "/v", "mode": "rw"}}, remove=True)
        mount = docker.types.Mount("/m", "py-volume", read_only=True)
        assert client.containers.run(IMAGE, ["cat", "/m/f"], mounts=[mount], remove=True) == b"kept\n"
        with Running(client, volumes=["py-volume:/v"]):
            refused(409, "volume is in use", volume.remove)
    finally:
        volume.remove()
    refused(404, "no such volume", lambda: client.volumes.get("py-volume"))


@case
def volumes_are_pruned(client):
    client.volumes.create(name="named")
    anonymous = client.volumes.create()
    result = client.volumes.prune()
    assert result["VolumesDeleted"] == [anonymous.name], result
    assert client.volumes.prune(filters={"all": True})["VolumesDeleted"] == ["named"]


@case
def mounts_of_each_kind(client):
    os.makedirs("/tmp/py-bind", exist_ok=True)
    with open("/tmp/py-bind/f", "w") as file:
        file.write("bound")
    mounts = [
        docker.types.Mount("/b", "/tmp/py-bind", type="bind", read_only=True, propagation="rprivate"),
        docker.types.Mount("/t", None, type="tmpfs", tmpfs_size=1 << 20, tmpfs_mode=0o1777),
        docker.types.Mount("/v", None, type="volume", labels={"made": "here"}),
    ]
    with Running(client, mounts=mounts) as container:
        assert container.exec_run("cat /b/f").output == b"bound"
        assert container.exec_run("touch /b/x").exit_code != 0
        assert b"1024" in container.exec_run("df -k /t").output
        kinds = {m["Destination"]: m["Type"] for m in container.attrs["Mounts"]}
        assert kinds == {"/b": "bind", "/v": "volume", "/t": "tmpfs"} or kinds == {"/b": "bind", "/v": "volume"}, kinds
    refused(400, "bind source path does not exist", lambda: client.containers.create(IMAGE, mounts=[docker.types.Mount("/x", "/no/such", type="bind")]))


# Registry and swarm


@case
def a_login_is_checked(client):
    said = client.login("user", "secret", registry=os.environ["REGISTRY"])
    assert said["Status"] == "Login Succeeded", said


@case
def a_search_says_what_is_missing(client):
    try:
        client.images.search("busybox")
    except docker.errors.APIError as error:
        assert str(error)
    else:
        raise AssertionError("there is no index to search here")


@case
def there_is_no_swarm(client):
    refused(503, "This node is not a swarm manager", client.services.list)
    refused(503, "This node is not a swarm manager", client.nodes.list)
    refused(503, "This node is not a swarm manager", client.secrets.list)
    refused(503, "This node is not a swarm manager", client.configs.list)
    assert client.plugins.list() == []
    assert client.info()["Swarm"]["LocalNodeState"] == "inactive"


if __name__ == "__main__":
    connected = docker.from_env(timeout=60)
    run(connected)
