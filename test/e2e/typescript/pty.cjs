// Terminals: the TypeScript client named by E2E_PACKAGE against the server at DAYTONA_API_URL.
const test = require('node:test')
const assert = require('node:assert/strict')
const crypto = require('node:crypto')

const name = process.env.E2E_PACKAGE
const sdk = require(name)
const daytona = new sdk.Daytona({ apiKey: process.env.DAYTONA_API_KEY, apiUrl: process.env.DAYTONA_API_URL })

let passed = 0
let failed = 0
let box
function check(title, body) {
  test(title, { timeout: 60_000 }, async () => {
    try {
      await body('ts-' + crypto.randomUUID().slice(0, 8))
      passed++
    } catch (e) {
      failed++
      throw e
    }
  })
}
test.before(async () => {
  box = await daytona.create()
})
test.after(async () => {
  await box?.delete()
  await daytona[Symbol.asyncDispose]()
  console.log(`${name.replace(/\W/g, '')} terminals: ${passed} passed, ${failed} failed`)
})

// screen collects what a terminal shows.
function screen() {
  const decoder = new TextDecoder()
  const s = {
    text: '',
    onData: (data) => {
      s.text += decoder.decode(data, { stream: true })
    },
    until: async (want) => {
      const deadline = Date.now() + 10_000
      while (!want.test(s.text)) {
        assert.ok(Date.now() < deadline, `waited for ${want} in ${JSON.stringify(s.text.slice(-2000))}`)
        await new Promise((r) => setTimeout(r, 5))
      }
    },
  }
  return s
}

check('create, type, resize, exit', async (id) => {
  const s = screen()
  const pty = await box.process.createPty({ id, cwd: '/tmp', envs: { COLOUR: 'dark blue ü' }, cols: 100, rows: 30, onData: s.onData })
  await pty.waitForConnection()
  assert.ok(pty.isConnected())
  await pty.sendInput('stty size; pwd; echo "[$COLOUR]"\n')
  await s.until(/30 100\r\n\/tmp\r\n\[dark blue ü\]\r\n/)
  const info = await pty.resize(132, 40)
  assert.deepEqual([info.cols, info.rows, info.active], [132, 40, true])
  await pty.sendInput(new TextEncoder().encode('stty size\n'))
  await s.until(/40 132\r\n/)
  assert.deepEqual((await box.process.listPtySessions()).map((x) => x.id), [id])
  assert.equal((await box.process.getPtySessionInfo(id)).cwd, '/tmp')
  await pty.sendInput('exit 7\n')
  const result = await pty.wait()
  assert.deepEqual([result.exitCode, result.error], [7, 'non-zero exit'])
  await assert.rejects(box.process.getPtySessionInfo(id), (e) => e instanceof sdk.DaytonaNotFoundError && e.statusCode === 404)
})

check('leave, come back, two clients, kill', async (id) => {
  const first = screen()
  const pty = await box.process.createPty({ id, onData: first.onData })
  await pty.waitForConnection()
  await pty.sendInput("echo ke''pt; sleep 0.3; echo mean''while\n")
  await first.until(/kept\r\n/)
  await pty.disconnect()
  await new Promise((r) => setTimeout(r, 500))
  const [a, b] = [screen(), screen()]
  const one = await box.process.connectPty(id, { onData: a.onData })
  const two = await box.process.connectPty(id, { onData: b.onData })
  await Promise.all([one.waitForConnection(), two.waitForConnection()])
  await Promise.all([a.until(/kept\r\n[^]*meanwhile\r\n/), b.until(/kept\r\n[^]*meanwhile\r\n/)])
  await one.sendInput("echo from''one\n")
  await b.until(/fromone/)
  await box.process.killPtySession(id)
  const results = await Promise.all([one.wait(), two.wait()])
  assert.deepEqual(results.map((r) => [r.exitCode, r.error]), [[137, 'SIGKILL'], [137, 'SIGKILL']])
})

check('a full-screen program', async (id) => {
  await box.process.executeCommand("seq -f 'line %g' 1 500 > /tmp/lines")
  const s = screen()
  const pty = await box.process.createPty({ id, cols: 60, rows: 10, onData: s.onData })
  await pty.waitForConnection()
  await pty.sendInput(`python3 -c 'import curses; curses.wrapper(lambda w: (w.addstr(3, 4, "a full screen"), w.refresh(), w.getch()))'; echo back''again\n`)
  await s.until(/\x1b\[\?1049h[^]*\x1b\[4;5Ha full screen/)
  await pty.sendInput('x')
  await s.until(/\x1b\[\?1049l[^]*backagain/)
  await pty.sendInput('exit\n')
  assert.equal((await pty.wait()).exitCode, 0)
})
