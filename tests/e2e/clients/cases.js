// Cases of a client library for node: each runs by itself and says how it went; see cases.py.
'use strict'

const assert = require('node:assert/strict')

/** Polls until `probe` gives something true; fails after the deadline. */
async function until (what, probe, seconds = 20) {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const found = await probe()
    if (found) return found
    assert.ok(Date.now() < deadline, `${what}: not within ${seconds} s`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

/** Runs all functions of `cases`, prints a line for each, and exits 1 when one failed. */
async function run (cases, given) {
  let failed = 0
  for (const [name, body] of Object.entries(cases)) {
    const started = Date.now()
    try {
      await body(given)
      console.log(`ok ${name} (${(Date.now() - started) / 1000} s)`)
    } catch (error) {
      failed += 1
      console.log(`FAILED ${name}\n${error.stack}`)
    }
  }
  console.log(`${Object.keys(cases).length - failed} passed, ${failed} failed`)
  process.exit(failed ? 1 : 0)
}

module.exports = { run, until }
