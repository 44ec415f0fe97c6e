// The TypeScript client named by E2E_PACKAGE against the server at DAYTONA_API_URL.
const test = require('node:test')
const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const name = process.env.E2E_PACKAGE
const sdk = require(name)
const config = { apiKey: process.env.DAYTONA_API_KEY, apiUrl: process.env.DAYTONA_API_URL }
const daytona = new sdk.Daytona(config)

let passed = 0
let failed = 0
function check(title, body) {
  test(title, { timeout: 120_000 }, async (t) => {
    try {
      await body(t)
      passed++
    } catch (e) {
      failed++
      throw e
    }
  })
}

async function withBox(params, body) {
  const box = await daytona.create({ snapshot: 'tiny', ...params })
  try {
    await body(box)
  } finally {
    await box.delete().catch((e) => {
      if (e.statusCode !== 404 && e.statusCode !== 409) throw e
    })
  }
}

async function collect(iterator) {
  const all = []
  for await (const x of iterator) all.push(x)
  return all
}

let tiny
test.before(async () => {
  tiny = await daytona.create({ snapshot: 'tiny' })
})
test.after(async () => {
  await tiny?.delete()
  await daytona[Symbol.asyncDispose]() // else the client keeps the process alive for some minutes
  console.log(`${name.replace(/\W/g, '')}: ${passed} passed, ${failed} failed`)
})

check('create, get, list, labels, intervals', async () => {
  const mark = crypto.randomUUID()
  const params = { name: 'ts-' + mark.slice(0, 8), labels: { mark }, envVars: { COLOUR: 'dark blue' }, autoStopInterval: 11, autoArchiveInterval: 22, autoDeleteInterval: 33 }
  await withBox(params, async (box) => {
    assert.deepEqual([box.name, box.state, box.snapshot, box.user], [params.name, 'started', 'tiny', 'daytona'])
    assert.deepEqual([box.autoStopInterval, box.autoArchiveInterval, box.autoDeleteInterval], [11, 22, 33])
    assert.equal((await box.process.executeCommand('echo $COLOUR')).result, 'dark blue\n')
    assert.equal((await daytona.get(box.id)).name, box.name)
    assert.equal((await daytona.get(box.name)).id, box.id)
    assert.deepEqual((await collect(daytona.list({ labels: { mark } }))).map((b) => b.id), [box.id])
    await box.setLabels({ other: 'ü' })
    await box.setAutostopInterval(7)
    await box.setAutoArchiveInterval(60)
    await box.setAutoDeleteInterval(-1)
    const got = await daytona.get(box.id)
    assert.deepEqual([got.labels, got.autoStopInterval, got.autoArchiveInterval, got.autoDeleteInterval], [{ other: 'ü' }, 7, 60, -1])
    assert.deepEqual(await collect(daytona.list({ labels: { mark } })), [])
  })
})

check('stop and start keep the disk; delete', async () => {
  await withBox({}, async (box) => {
    await box.fs.uploadFile(Buffer.from('kept'), 'kept.txt')
    await box.stop()
    assert.equal(box.state, 'stopped')
    await box.start()
    assert.equal(box.state, 'started')
    assert.equal((await box.fs.downloadFile('kept.txt')).toString(), 'kept')
    await box.delete(60, true)
    await assert.rejects(daytona.get(box.id), sdk.DaytonaNotFoundError)
  })
})

check('default sandbox runs Python; charts; sudo', async () => {
  const box = await daytona.create()
  try {
    assert.equal(box.snapshot, 'base')
    const r = await box.process.codeRun('import sys, os; print(sys.argv[1:], os.environ["A"])', { argv: ['x y'], env: { A: 'b' } })
    assert.deepEqual([r.exitCode, r.result], [0, "['x y'] b\n"])
    const c = await box.process.codeRun('import matplotlib.pyplot as plt\nplt.plot([1, 2], [3, 4])\nplt.title("T")\nplt.show()')
    assert.equal(c.artifacts.charts.length, 1)
    assert.deepEqual([c.artifacts.charts[0].type, c.artifacts.charts[0].title], ['line', 'T'])
    assert.deepEqual([...Buffer.from(c.artifacts.charts[0].png, 'base64').subarray(1, 4)], [...Buffer.from('PNG')])
    assert.equal((await box.process.executeCommand('whoami; sudo whoami')).result, 'daytona\nroot\n')
    await assert.rejects(box.process.codeRun('import time; time.sleep(60)', undefined, 1), sdk.DaytonaTimeoutError)
  } finally {
    await box.delete()
  }
})

for (const [language, code] of [
  ['typescript', 'const p: { x: number } = { x: 42 }; console.log(p.x as number)'],
  ['javascript', 'console.log([6, 7].reduce((a, b) => a * b))'],
]) {
  check('code in ' + language, async () => {
    const box = await daytona.create({ language })
    try {
      const r = await box.process.codeRun(code)
      assert.deepEqual([r.exitCode, r.result], [0, '42\n'])
      const bad = await box.process.codeRun('process.exit(5)')
      assert.equal(bad.exitCode, 5)
    } finally {
      await box.delete()
    }
  })
}

check('exec: directory, environment, exit code, timeout', async () => {
  const r = await tiny.process.executeCommand('pwd; printf %s "$A"; exit 3', '/tmp', { A: 'it\'s "quoted"' })
  assert.deepEqual([r.exitCode, r.result], [3, '/tmp\nit\'s "quoted"'])
  const begin = Date.now()
  await assert.rejects(tiny.process.executeCommand('sleep 4714', undefined, undefined, 1), (e) => e instanceof sdk.DaytonaTimeoutError && e.statusCode === 408)
  assert.ok(Date.now() - begin < 5000)
  assert.doesNotMatch((await tiny.process.executeCommand('ps')).result, /sleep 4714/)
})

check('files: single, bulk, streamed', async () => {
  const content = crypto.randomBytes(300_000)
  await tiny.fs.createFolder('ts', '755')
  await tiny.fs.uploadFile(content, 'ts/ü b.bin')
  assert.ok(content.equals(await tiny.fs.downloadFile('ts/ü b.bin')))
  const local = fs.mkdtempSync(path.join(os.tmpdir(), 'dugout-e2e-ts-'))
  try {
    await tiny.fs.downloadFile('ts/ü b.bin', path.join(local, 'copy'))
    assert.ok(content.equals(fs.readFileSync(path.join(local, 'copy'))))
    await tiny.fs.uploadFiles([0, 1, 2].map((i) => ({ source: Buffer.from('n' + i), destination: `ts/${i}.txt` })))
    await tiny.fs.uploadFile(path.join(local, 'copy'), 'ts/again')
  } finally {
    fs.rmSync(local, { recursive: true })
  }
  const got = await tiny.fs.downloadFiles([{ source: 'ts/0.txt' }, { source: 'ts/2.txt' }, { source: 'ts/missing' }])
  assert.deepEqual([got[0].result.toString(), got[1].result.toString()], ['n0', 'n2'])
  assert.ok(got[2].error)
  await tiny.fs.uploadFileStream(content, 'ts/stream')
  const chunks = await collect(await tiny.fs.downloadFileStream('ts/stream'))
  assert.ok(content.equals(Buffer.concat(chunks)))
})

check('files: list, info, move, search, find, replace, permissions, delete', async () => {
  await tiny.fs.uploadFile(Buffer.from('one\nneedle\n'), '/tmp/tree/a/b.txt')
  assert.deepEqual((await tiny.fs.listFiles('/tmp/tree')).map((f) => [f.name, f.isDir]), [['a', true]])
  assert.deepEqual((await tiny.fs.listFiles('/tmp/tree', { depth: 2 })).map((f) => f.path).sort(), ['/tmp/tree/a', '/tmp/tree/a/b.txt'])
  const info = await tiny.fs.getFileDetails('/tmp/tree/a/b.txt')
  assert.deepEqual([info.name, info.size, info.isDir, info.mode, info.permissions], ['b.txt', 11, false, '-rw-r--r--', '0644'])
  assert.deepEqual((await tiny.fs.searchFiles('/tmp/tree', '*.txt')).files, ['/tmp/tree/a/b.txt'])
  assert.deepEqual((await tiny.fs.findFiles('/tmp/tree', 'needle')).map((m) => [m.file, m.line, m.content]), [['/tmp/tree/a/b.txt', 2, 'needle']])
  const replaced = await tiny.fs.replaceInFiles(['/tmp/tree/a/b.txt'], 'needle', 'pin')
  assert.equal(replaced[0].success, true)
  await tiny.fs.setFilePermissions('/tmp/tree/a/b.txt', { mode: '600' })
  await tiny.fs.moveFiles('/tmp/tree/a/b.txt', '/tmp/tree/c.txt')
  assert.equal((await tiny.fs.getFileDetails('/tmp/tree/c.txt')).mode, '-rw-------')
  assert.equal((await tiny.fs.downloadFile('/tmp/tree/c.txt')).toString(), 'one\npin\n')
  await tiny.fs.deleteFile('/tmp/tree', true)
  await assert.rejects(tiny.fs.listFiles('/tmp/tree'), (e) => e instanceof sdk.DaytonaFileNotFoundError && e.statusCode === 404)
})

check('errors have types', async () => {
  await assert.rejects(new sdk.Daytona({ ...config, apiKey: 'dgt_not_a_key_of_this_server' }).create({ snapshot: 'tiny' }), (e) => e instanceof sdk.DaytonaAuthenticationError && e.statusCode === 401)
  await assert.rejects(daytona.get(crypto.randomUUID()), (e) => e instanceof sdk.DaytonaNotFoundError && e.statusCode === 404)
  await assert.rejects(daytona.create({ snapshot: 'tiny', name: '<b>x</b>' }), (e) => e instanceof sdk.DaytonaBadRequestError && /name/.test(e.message))
  await assert.rejects(daytona.create({ snapshot: 'tiny', name: tiny.name }), sdk.DaytonaConflictError)
})
