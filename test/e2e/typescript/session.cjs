// Sessions, with the TypeScript client named by E2E_PACKAGE against the server at DAYTONA_API_URL.
const test = require('node:test')
const assert = require('node:assert/strict')

const name = process.env.E2E_PACKAGE
const { Daytona } = require(name)
const daytona = new Daytona({ apiKey: process.env.DAYTONA_API_KEY, apiUrl: process.env.DAYTONA_API_URL })

let passed = 0
let failed = 0
let box
function check(title, body) {
  test(title, { timeout: 60_000 }, async () => {
    await box.process.createSession('s')
    try {
      await body(box.process)
      passed++
    } catch (e) {
      failed++
      throw e
    } finally {
      await box.process.deleteSession('s')
    }
  })
}
const status = (n) => (e) => e.statusCode === n || e.response?.status === n

test.before(async () => {
  box = await daytona.create()
})
test.after(async () => {
  await box?.delete()
  await daytona[Symbol.asyncDispose]()
  console.log(`${name.replace(/\W/g, '')} sessions: ${passed} passed, ${failed} failed`)
})

check('state stays and streams are apart', async (p) => {
  let r = await p.executeSessionCommand('s', { command: "cd /tmp; export A='a b'; f() { echo \"f $1\"; }; echo out; echo err >&2; (exit 7)" })
  assert.deepEqual([r.exitCode, r.stdout, r.stderr], [7, 'out\n', 'err\n'])
  r = await p.executeSessionCommand('s', { command: 'echo $?; pwd; f "$A"' })
  assert.deepEqual([r.exitCode, r.stdout, r.stderr], [0, '7\n/tmp\nf a b\n', ''])
})

check('follow and input', async (p) => {
  const { cmdId } = await p.executeSessionCommand('s', { command: "printf 'name? '; read n; echo hello $n; echo bad >&2", runAsync: true })
  let out = ''
  let err = ''
  let prompted
  const prompt = new Promise((resolve) => (prompted = resolve))
  const followed = p.getSessionCommandLogs('s', cmdId, (s) => ((out += s), out === 'name? ' && prompted()), (s) => (err += s))
  await prompt
  assert.equal((await p.getSessionCommand('s', cmdId)).exitCode ?? null, null)
  await p.sendSessionCommandInput('s', cmdId, 'bob')
  await followed
  assert.deepEqual([out, err], ['name? bob\nhello bob\n', 'bad\n'])
  const logs = await p.getSessionCommandLogs('s', cmdId)
  assert.deepEqual([logs.stdout, logs.stderr], [out, err])
  assert.equal((await p.getSessionCommand('s', cmdId)).exitCode, 0)
})

check('list, get, end', async (p) => {
  await p.executeSessionCommand('s', { command: 'true' })
  assert.deepEqual((await p.listSessions()).map((s) => [s.sessionId, s.commands.length]), [['s', 1]])
  assert.equal((await p.getSession('s')).commands[0].command, 'true')
  await assert.rejects(p.createSession('s'), status(409))
  await assert.rejects(p.getSession('other'), status(404))
  assert.equal((await p.executeSessionCommand('s', { command: 'exit 3' })).exitCode, 3)
  await assert.rejects(p.executeSessionCommand('s', { command: 'true' }), status(410))
})
