// testcontainers for node against the engine at DOCKER_HOST; RYUK_CONTAINER_IMAGE names the reaper's image.
'use strict'

const assert = require('node:assert/strict')
const { spawnSync } = require('node:child_process')
const Docker = require('dockerode')
const { GenericContainer, Network, Wait } = require('testcontainers')
const { run, until } = require('./cases')

const IMAGE = 'busybox:latest'
const SESSION = 'org.testcontainers.session-id'
const SERVE = ['sh', '-c', 'echo serving; exec httpd -f -p 80 -h /www']

const cases = {
  async a_container_is_waited_for_by_log_port_and_http (docker) {
    for (const strategy of [Wait.forLogMessage('serving'), Wait.forListeningPorts(), Wait.forHttp('/index.html', 80)]) {
      const container = await new GenericContainer(IMAGE).withCommand(SERVE).withExposedPorts(80).withWaitStrategy(strategy).start()
      await until('the page', async () => {
        const url = `http://127.0.0.1:${container.getMappedPort(80)}/index.html`
        return (await fetch(url).then(answer => answer.text(), () => '')) === 'hello from a container\n'
      })
      await container.stop()
      const left = await docker.listContainers({ all: true })
      assert.ok(!left.some(row => row.Id === container.getId()))
    }
  },

  async health_checks_are_waited_for () {
    const container = await new GenericContainer(IMAGE).withCommand(['sleep', '1000'])
      .withHealthCheck({ test: ['CMD', 'true'], interval: 200, timeout: 1000, retries: 3, startPeriod: 0 })
      .withWaitStrategy(Wait.forHealthCheck()).start()
    await container.stop()
  },

  async files_environment_and_exec () {
    const container = await new GenericContainer(IMAGE).withCommand(['sleep', '1000'])
      .withCopyContentToContainer([{ content: 'copied', target: '/tmp/copied' }])
      .withEnvironment({ A: 'b' }).withUser('1000').withTmpFs({ '/scratch': 'rw' }).start()
    const { output, exitCode } = await container.exec(['sh', '-c', 'cat /tmp/copied; echo $A; id -u'])
    assert.deepEqual([output, exitCode], ['copiedb\n1000\n', 0])
    await container.restart()
    const logs = await container.logs()
    logs.destroy()
    await container.stop()
  },

  async containers_find_each_other_on_a_network () {
    const network = await new Network().start()
    const server = await new GenericContainer(IMAGE).withCommand(SERVE).withNetwork(network).withNetworkAliases('web').start()
    const other = await new GenericContainer(IMAGE).withCommand(['sleep', '1000']).withNetwork(network).start()
    await until('the page', async () => (await other.exec(['wget', '-q', '-O', '-', 'http://web/index.html'])).output === 'hello from a container\n')
    await other.stop()
    await server.stop()
    await network.stop()
  },

  async the_reaper_removes_what_a_killed_process_left (docker) {
    const own = (await docker.listContainers()).filter(row => /reaper/.test(row.Image)).length
    const started = spawnSync(process.execPath, [__filename, 'leave'], { encoding: 'utf8', timeout: 60000 })
    assert.equal(started.status, 9, started.stderr)
    const id = started.stdout.trim().split('\n').pop()
    assert.ok(own >= 1)
    // One reaper serves the runs of one machine: it reaps when the last of them has gone.
    assert.ok((await docker.listContainers()).some(row => row.Id === id && row.Labels[SESSION]))
    console.log(`left ${id}`)
  }
}

async function leave () {
  const container = await new GenericContainer(IMAGE).withCommand(['sleep', '1000']).start()
  console.log(container.getId())
  process.exit(9)
}

if (process.argv[2] === 'leave') leave()
else run(cases, new Docker())
