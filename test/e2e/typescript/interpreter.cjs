// The stateful interpreter and code runs: the TypeScript client named by E2E_PACKAGE against the server at DAYTONA_API_URL.
const test = require('node:test')
const assert = require('node:assert/strict')

const name = process.env.E2E_PACKAGE
const sdk = require(name)
const daytona = new sdk.Daytona({ apiKey: process.env.DAYTONA_API_KEY, apiUrl: process.env.DAYTONA_API_URL })

let passed = 0
let failed = 0
let box
function check(title, body) {
  test(title, { timeout: 60_000 }, async () => {
    try {
      await body(box.codeInterpreter)
      passed++
    } catch (e) {
      failed++
      throw e
    }
  })
}
test.before(async () => {
  box = await daytona.create({ language: 'python' })
})
test.after(async () => {
  await box?.delete()
  await daytona[Symbol.asyncDispose]()
  console.log(`${name.replace(/\W/g, '')} interpreter: ${passed} passed, ${failed} failed`)
})

check('state, streams and environment', async (ci) => {
  await ci.runCode('x = 20')
  const out = []
  const r = await ci.runCode("import sys\nprint('x is', x)\nprint('e', file=sys.stderr)\nx + 1", { onStdout: (m) => out.push(m.output) })
  assert.deepEqual([r.stdout, r.stderr, r.error, out.join('')], ['x is 20\n', 'e\n', undefined, 'x is 20\n'])
  assert.equal((await ci.runCode("import os; print(os.environ['ONCE'])", { envs: { ONCE: '1' } })).stdout, '1\n')
  assert.equal((await ci.runCode("print(os.environ.get('ONCE'))")).stdout, 'None\n')
})

check('errors', async (ci) => {
  const r = await ci.runCode("raise ValueError('v')")
  assert.deepEqual([r.error.name, r.error.value], ['ValueError', 'v'])
  assert.match(r.error.traceback, /File "<stdin>", line 1/)
})

check('contexts', async (ci) => {
  const ctx = await ci.createContext('/tmp')
  assert.equal((await ci.runCode('import os; print(os.getcwd())', { context: ctx })).stdout, '/tmp\n')
  assert.ok((await ci.listContexts()).some((c) => c.id === ctx.id))
  await ci.deleteContext(ctx)
  assert.ok(!(await ci.listContexts()).some((c) => c.id === ctx.id))
})

check('a timeout keeps the state', async (ci) => {
  await ci.runCode('kept = 1')
  // The client settles on the control message or on the close code, whichever it handles first.
  const late = await ci.runCode('while True: pass', { timeout: 1 }).catch((e) => e)
  assert.ok(late instanceof sdk.DaytonaTimeoutError || late.error?.name === 'KeyboardInterrupt')
  assert.equal((await ci.runCode('print(kept)')).stdout, '1\n')
})

check('code runs, by a new interpreter and from the zygote', async () => {
  for (let i = 0; i < 4; i++) {
    const run = await box.process.codeRun('import sys\nprint(sys.argv)\nsys.exit(3)', { argv: ['a b'] })
    assert.deepEqual([run.exitCode, run.result], [3, "['-', 'a b']\n"])
  }
})
