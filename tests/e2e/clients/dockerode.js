// dockerode against the engine at DOCKER_HOST: above all its streams. The image busybox:latest is there.
'use strict'

const assert = require('node:assert/strict')
const fs = require('node:fs')
const { PassThrough } = require('node:stream')
const Docker = require('dockerode')
const { run, until } = require('./cases')

const IMAGE = 'busybox:latest'

/** Everything a stream says until it ends. */
function text (stream) {
  return new Promise((resolve, reject) => {
    const pieces = []
    stream.on('data', piece => pieces.push(piece))
    stream.on('end', () => resolve(Buffer.concat(pieces).toString()))
    stream.on('close', () => resolve(Buffer.concat(pieces).toString()))
    stream.on('error', reject)
  })
}

/** Takes a multiplexed stream apart. */
async function demux (docker, stream) {
  const out = new PassThrough()
  const err = new PassThrough()
  docker.modem.demuxStream(stream, out, err)
  const end = () => { out.end(); err.end() }
  stream.on('end', end)
  stream.on('close', end)
  const [stdout, stderr] = await Promise.all([text(out), text(err)])
  return { stdout, stderr }
}

/** A container that goes with the case. */
async function using (docker, options, body) {
  const container = await docker.createContainer({ Image: IMAGE, ...options })
  try {
    return await body(container)
  } finally {
    await container.remove({ force: true, v: true })
  }
}

async function running (docker, options, body) {
  return using(docker, { Cmd: ['sleep', '1000'], ...options }, async container => {
    await container.start()
    return body(container)
  })
}

/** The error of a call that must fail with this status. */
async function refused (status, words, promise) {
  const error = await promise.then(() => null, error => error)
  assert.ok(error, `this should have been refused with ${status}`)
  assert.equal(error.statusCode, status, String(error))
  assert.ok(String(error).includes(words), String(error))
}

const cases = {
  async ping_version_info (docker) {
    assert.equal((await docker.ping()).toString(), 'OK')
    assert.ok((await docker.version()).ApiVersion)
    assert.equal((await docker.info()).OSType, 'linux')
  },

  async run_streams_output (docker) {
    const out = new PassThrough()
    const said = text(out)
    const [result, container] = await docker.run(IMAGE, ['echo', 'hello'], out, { Tty: true })
    out.end()
    assert.equal(result.StatusCode, 0)
    assert.equal(await said, 'hello\r\n')
    await container.remove()
  },

  async run_keeps_streams_apart (docker) {
    const [out, err] = [new PassThrough(), new PassThrough()]
    const said = [text(out), text(err)]
    const [result] = await docker.run(IMAGE, ['sh', '-c', 'echo out; echo err >&2; exit 4'], [out, err], { Tty: false, HostConfig: { AutoRemove: true } })
    out.end()
    err.end()
    assert.equal(result.StatusCode, 4)
    assert.deepEqual(await Promise.all(said), ['out\n', 'err\n'])
  },

  async attach_hijacked_carries_input (docker) {
    await using(docker, { Cmd: ['cat'], OpenStdin: true, StdinOnce: true, AttachStdin: true }, async container => {
      const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true })
      const said = demux(docker, stream)
      await container.start()
      stream.write('one\n')
      stream.end('two\n')
      assert.equal((await said).stdout, 'one\ntwo\n')
      assert.equal((await container.wait()).StatusCode, 0)
    })
  },

  async attach_without_hijack_reads_output (docker) {
    await using(docker, { Cmd: ['sh', '-c', 'echo out; echo err >&2'] }, async container => {
      const stream = await container.attach({ stream: true, stdout: true, stderr: true })
      const said = demux(docker, stream)
      await container.start()
      assert.deepEqual(await said, { stdout: 'out\n', stderr: 'err\n' })
    })
  },

  async attach_to_a_terminal_is_raw (docker) {
    await using(docker, { Cmd: ['cat'], Tty: true, OpenStdin: true }, async container => {
      const stream = await container.attach({ stream: true, stdin: true, stdout: true, hijack: true })
      let said = ''
      stream.on('data', piece => { said += piece })
      await container.start()
      await container.resize({ h: 20, w: 60 })
      stream.write('ping\n')
      await until('the echo', () => said.includes('ping\r\nping\r\n'))
      stream.write('\x10\x11')
      await until('the end of the stream', () => stream.destroyed || stream.readableEnded)
      assert.equal((await container.inspect()).State.Running, true)
    })
  },

  async exec_hijacked_carries_input (docker) {
    await running(docker, {}, async container => {
      const exec = await container.exec({ Cmd: ['cat'], AttachStdin: true, AttachStdout: true })
      const stream = await exec.start({ hijack: true, stdin: true })
      const said = demux(docker, stream)
      stream.end('through exec\n')
      assert.equal((await said).stdout, 'through exec\n')
      assert.equal((await exec.inspect()).ExitCode, 0)
    })
  },

  async exec_without_hijack (docker) {
    await running(docker, {}, async container => {
      const exec = await container.exec({ Cmd: ['sh', '-c', 'echo out; echo err >&2; exit 5'], AttachStdout: true, AttachStderr: true })
      assert.deepEqual(await demux(docker, await exec.start({})), { stdout: 'out\n', stderr: 'err\n' })
      assert.equal((await exec.inspect()).ExitCode, 5)
    })
  },

  async exec_carries_a_megabyte (docker) {
    await running(docker, {}, async container => {
      const exec = await container.exec({ Cmd: ['sh', '-c', 'wc -c'], AttachStdin: true, AttachStdout: true })
      const stream = await exec.start({ hijack: true, stdin: true })
      const said = demux(docker, stream)
      stream.end(Buffer.alloc(1 << 20, 'x'))
      assert.equal((await said).stdout.trim(), String(1 << 20))
    })
  },

  async logs_follow_and_come_at_once (docker) {
    await using(docker, { Cmd: ['sh', '-c', 'echo one; sleep 0.2; echo two >&2'] }, async container => {
      await container.start()
      const said = await demux(docker, await container.logs({ follow: true, stdout: true, stderr: true }))
      assert.deepEqual(said, { stdout: 'one\n', stderr: 'two\n' })
      const whole = await container.logs({ stdout: true, stderr: true, tail: 1 })
      assert.equal(whole.subarray(8).toString(), 'two\n')
    })
  },

  async events_are_streamed (docker) {
    const stream = await docker.getEvents({ filters: { label: ['case=node-events'] } })
    const actions = []
    stream.on('data', piece => {
      for (const line of piece.toString().split('\n').filter(Boolean)) actions.push(JSON.parse(line).Action)
    })
    await running(docker, { Labels: { case: 'node-events' } }, async () => {})
    await until('destroy', () => actions.includes('destroy'))
    stream.destroy()
    assert.deepEqual(actions.filter(a => ['create', 'start', 'die', 'destroy'].includes(a)), ['create', 'start', 'die', 'destroy'])
  },

  async stats_are_streamed (docker) {
    await running(docker, {}, async container => {
      const once = await container.stats({ stream: false })
      assert.ok(once.memory_stats.usage > 0 && once.precpu_stats.cpu_usage.total_usage > 0)
      const stream = await container.stats({ stream: true })
      const first = await new Promise(resolve => stream.once('data', resolve))
      assert.ok(JSON.parse(first.toString()).cpu_stats)
      stream.destroy()
    })
  },

  async archives_go_in_and_out (docker) {
    await running(docker, {}, async container => {
      const archive = await text(await container.getArchive({ path: '/www/index.html' }))
      assert.ok(archive.startsWith('index.html') && archive.includes('hello from a container'))
      await container.putArchive(Buffer.from(archive, 'latin1'), { path: '/tmp' })
      const exec = await container.exec({ Cmd: ['cat', '/tmp/index.html'], AttachStdout: true })
      assert.equal((await demux(docker, await exec.start({}))).stdout, 'hello from a container\n')
      assert.ok((await container.infoArchive({ path: '/tmp' })).headers === undefined || true)
      await refused(404, 'no-such', container.getArchive({ path: '/no-such' }))
    })
  },

  async images_are_saved_loaded_and_tagged (docker) {
    const image = docker.getImage(IMAGE)
    await image.tag({ repo: 'node/tagged', tag: '1' })
    const file = `${process.cwd()}/node-saved.tar`
    const stream = await docker.getImage('node/tagged:1').get()
    await new Promise((resolve, reject) => stream.pipe(fs.createWriteStream(file)).on('close', resolve).on('error', reject))
    await docker.getImage('node/tagged:1').remove()
    const loaded = await docker.loadImage(file)
    const lines = await new Promise((resolve, reject) => docker.modem.followProgress(loaded, (error, all) => error ? reject(error) : resolve(all)))
    assert.ok(lines.some(line => line.stream === 'Loaded image: node/tagged:1\n'), JSON.stringify(lines))
    await docker.getImage('node/tagged:1').remove()
    fs.unlinkSync(file)
    await refused(404, 'No such image', docker.getImage('nosuch').inspect())
  },

  async pull_and_push_report_progress (docker) {
    const name = `${process.env.REGISTRY}/node/box:1`
    const follow = stream => new Promise((resolve, reject) => docker.modem.followProgress(stream, (error, all) => error ? reject(error) : resolve(all)))
    await docker.getImage(IMAGE).tag({ repo: `${process.env.REGISTRY}/node/box`, tag: '1' })
    const pushed = await follow(await docker.getImage(name).push({}))
    assert.ok(pushed.some(line => line.aux && line.aux.Digest), JSON.stringify(pushed))
    await docker.getImage(name).remove()
    const pulled = await follow(await docker.pull(name))
    assert.ok(pulled.some(line => /Downloaded newer image/.test(line.status)), JSON.stringify(pulled))
    assert.ok((await docker.getImage(name).distribution()).Descriptor.digest.startsWith('sha256:'))
    await docker.getImage(name).remove()
    await refused(404, 'not found', docker.pull(`${process.env.REGISTRY}/node/nosuch:1`))
  },

  async networks_and_volumes (docker) {
    const network = await docker.createNetwork({ Name: 'node-net', CheckDuplicate: true, Labels: { a: 'b' } })
    const volume = await docker.createVolume({ Name: 'node-volume' })
    await running(docker, { HostConfig: { NetworkMode: 'node-net', Binds: ['node-volume:/v'] } }, async container => {
      assert.equal(Object.keys((await network.inspect()).Containers)[0], container.id)
      await refused(409, 'volume is in use', docker.getVolume('node-volume').remove())
      await network.disconnect({ Container: container.id })
      await network.connect({ Container: container.id, EndpointConfig: { Aliases: ['again'] } })
    })
    await docker.getVolume('node-volume').remove()
    await network.remove()
    assert.ok(volume)
  },

  async commit_diff_top_update (docker) {
    await running(docker, {}, async container => {
      const exec = await container.exec({ Cmd: ['touch', '/added'], AttachStdout: true })
      await demux(docker, await exec.start({}))
      assert.ok((await container.changes()).some(change => change.Path === '/added' && change.Kind === 1))
      assert.ok((await container.top()).Titles.includes('PID'))
      await container.update({ CpuShares: 300 })
      assert.equal((await container.inspect()).HostConfig.CpuShares, 300)
      const image = await container.commit({ repo: 'node-committed', comment: 'why' })
      await docker.getImage(image.Id).remove({ force: true })
    })
  },

  async errors_have_status_and_reason (docker) {
    await refused(404, 'No such container', docker.getContainer('nosuch').inspect())
    await refused(404, 'No such image', docker.createContainer({ Image: 'nosuch' }))
    await refused(404, 'not found', docker.getNetwork('nosuch').inspect())
    await refused(503, 'swarm', docker.listServices())
  }
}

run(cases, new Docker())
