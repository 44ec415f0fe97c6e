// Commands: the TypeScript client named by E2E_PACKAGE against the server at DAYTONA_API_URL.
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
      await body()
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
  console.log(`${name.replace(/\W/g, '')} commands: ${passed} passed, ${failed} failed`)
})

check('a command answers with both streams in order', async () => {
  const r = await box.process.executeCommand('echo out; echo err >&2; exit 3')
  assert.deepEqual([r.exitCode, r.result], [3, 'out\nerr\n'])
})

check('directory, environment and timeout', async () => {
  const r = await box.process.executeCommand('pwd; echo $A; node -e "console.log(6*7)"', '/tmp', { A: 'x y' }, 30)
  assert.equal(r.result, '/tmp\nx y\n42\n')
  await assert.rejects(box.process.executeCommand('echo before; sleep 30', undefined, undefined, 1), /timeout|before/i)
})

check('fifty at once', async () => {
  const all = await Promise.all(Array.from({ length: 50 }, (_, i) => box.process.executeCommand(`echo ${i}; exit ${i}`)))
  all.forEach((r, i) => assert.deepEqual([r.exitCode, r.result], [i, `${i}\n`]))
})

check('a stream of events, as fetch reads it', async () => {
  const base = process.env.DAYTONA_API_URL.replace(/\/api$/, '') + '/toolbox/' + box.id
  const res = await fetch(base + '/process/execute/stream', {
    method: 'POST',
    headers: { authorization: 'Bearer ' + process.env.DAYTONA_API_KEY },
    body: JSON.stringify({ command: 'for i in 1 2 3; do echo $i; sleep 0.05; done; echo bad >&2; exit 4' }),
  })
  assert.equal(res.status, 200)
  let text = ''
  for await (const chunk of res.body) text += Buffer.from(chunk).toString()
  const events = text.split('\n\n').filter((e) => e.startsWith('event: '))
  const data = (kind) => events.filter((e) => e.startsWith(`event: ${kind}\n`)).map((e) => JSON.parse(e.split('data: ')[1]))
  assert.equal(data('stdout').map((d) => d.text).join(''), '1\n2\n3\n')
  assert.equal(data('stderr').map((d) => d.text).join(''), 'bad\n')
  assert.deepEqual(data('exit'), [{ exitCode: 4, offset: 10 }])
})
