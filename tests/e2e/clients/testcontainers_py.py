"""testcontainers for Python against the engine at DOCKER_HOST; RYUK_CONTAINER_IMAGE names the reaper's image."""

import os
import subprocess
import sys
import urllib.request

import docker
from testcontainers.core.container import DockerContainer, Reaper
from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID
from testcontainers.core.network import Network
from testcontainers.core.waiting_utils import wait_for_logs

from cases import case, run, until

IMAGE = "busybox:latest"
SERVE = "sh -c 'echo serving; exec httpd -f -p 80 -h /www'"


def page(container):
    url = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(80)}/index.html"
    try:
        return urllib.request.urlopen(url, timeout=5).read()
    except OSError:
        return None


@case
def a_container_lives_as_long_as_its_block(client):
    with DockerContainer(IMAGE).with_command(SERVE).with_exposed_ports(80).with_env("A", "b") as container:
        wait_for_logs(container, "serving", timeout=20)
        assert until("the page", lambda: page(container)) == b"hello from a container\n"
        assert container.exec("echo $A").exit_code == 0
        assert container.exec(["sh", "-c", "echo $A"]).output == b"b\n"
        wrapped = container.get_wrapped_container().id
        assert client.containers.get(wrapped).labels[LABEL_SESSION_ID] == SESSION_ID
    assert wrapped not in [c.id for c in client.containers.list(all=True, ignore_removed=True)]


@case
def containers_find_each_other_on_a_network(client):
    with Network() as network:
        server = DockerContainer(IMAGE).with_command(SERVE).with_network(network).with_network_aliases("web")
        with server:
            with DockerContainer(IMAGE).with_command("sleep 1000").with_network(network) as other:
                fetched = lambda: other.exec("wget -q -O - http://web/index.html").output
                until("the other's page", lambda: fetched() == b"hello from a container\n")
    assert client.networks.list(names=[network.name]) == []


@case
def the_reaper_removes_what_a_killed_process_left(client):
    started = subprocess.run([sys.executable, __file__, "leave"], capture_output=True, text=True, timeout=60, check=False)
    session, container = started.stdout.split()[-2:]
    assert started.returncode == 9, started
    labelled = lambda: client.containers.list(all=True, ignore_removed=True, filters={"label": f"{LABEL_SESSION_ID}={session}"})
    assert container in [c.id for c in labelled()]
    until("the reaping", lambda: labelled() == [])
    until("the reaper's own end", lambda: f"testcontainers-ryuk-{session}" not in [c.name for c in client.containers.list(all=True, ignore_removed=True)])


def leave():
    """What a test run does that is killed: it starts a container and removes nothing."""
    container = DockerContainer(IMAGE).with_command("sleep 1000").start()
    print(SESSION_ID, container.get_wrapped_container().id, flush=True)
    os._exit(9)


if __name__ == "__main__":
    if sys.argv[1:] == ["leave"]:
        leave()
    try:
        run(docker.from_env(timeout=60))
    finally:
        Reaper.delete_instance()
