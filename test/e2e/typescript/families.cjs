// Every family of calls once, with the release of the client named by E2E_PACKAGE, of any age.
const test = require('node:test')
const assert = require('node:assert/strict')
const crypto = require('node:crypto')

const name = process.env.E2E_PACKAGE
const sdk = require(name)
const daytona = new sdk.Daytona({ apiKey: process.env.DAYTONA_API_KEY, apiUrl: process.env.DAYTONA_API_URL })
const old = !sdk.DaytonaConflictError // from 2025: ends of lines are cut off results, fewer classes of errors

let passed = 0
let failed = 0
let skipped = 0
let box
function check(title, body, missing = () => '') {
  test(title, { timeout: 60_000 }, async (t) => {
    const reason = missing()
    if (reason) {
      skipped++
      console.log(`skipped ${title}: this release has no ${reason}`)
      return t.skip(reason)
    }
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
  box = await daytona.create({ language: 'python' })
})
test.after(async () => {
  await box?.delete()
  await daytona[Symbol.asyncDispose]?.()
  console.log(`${name.replace(/\W/g, '')}: ${passed} passed, ${failed} failed, ${skipped} skipped`)
})
const lines = (r) => r.result.trimEnd().split('\n')
const missing = (owner, ...names) => () => names.filter((n) => !(n in owner())).join(', ')

check('files', async (id) => {
  const d = '/home/daytona/' + id
  await box.fs.createFolder(d, '755')
  const bytes = Buffer.from([0, 1, 255, 10])
  await box.fs.uploadFile(bytes, d + '/ü 1.bin')
  await box.fs.uploadFiles([0, 1, 2].map((i) => ({ source: Buffer.from(`n${i}`), destination: `${d}/many/${i}` })))
  assert.ok(bytes.equals(await box.fs.downloadFile(d + '/ü 1.bin')))
  const got = await box.fs.downloadFiles([0, 1, 2, 3].map((i) => ({ source: `${d}/many/${i}` })))
  assert.deepEqual(got.slice(0, 3).map((g) => g.result.toString()), ['n0', 'n1', 'n2'])
  assert.ok(got[3].error)
  const info = await box.fs.getFileDetails(d + '/many/1')
  assert.deepEqual([info.name, info.size, info.isDir, info.mode], ['1', 2, false, '-rw-r--r--'])
  assert.deepEqual((await box.fs.listFiles(d)).map((f) => f.name), ['many', 'ü 1.bin'])
  await box.fs.moveFiles(d + '/many/1', d + '/one')
  assert.equal((await box.fs.replaceInFiles([d + '/one'], 'n1', 'pin'))[0].success, true)
  assert.deepEqual((await box.fs.findFiles(d, 'pin')).map((m) => m.file), [d + '/one'])
  assert.deepEqual((await box.fs.searchFiles(d, 'on*')).files, [d + '/one'])
  await box.fs.setFilePermissions(d + '/one', { mode: '600' })
  assert.equal((await box.fs.getFileDetails(d + '/one')).mode, '-rw-------')
  await box.fs.deleteFile(d, true)
  await assert.rejects(box.fs.listFiles(d), sdk.DaytonaNotFoundError)
})

check('exec', async () => {
  const r = await box.process.executeCommand('pwd; echo $A; echo bad >&2; exit 3', '/tmp', { A: 'plain-ü' })
  assert.deepEqual([r.exitCode, lines(r)], [3, ['/tmp', 'plain-ü', 'bad']])
  assert.equal(lines(await box.process.executeCommand('seq 100000')).length, 100000)
  await assert.rejects(box.process.executeCommand('sleep 60', undefined, undefined, 1), old ? sdk.DaytonaError : sdk.DaytonaTimeoutError)
})

check('code run and charts', async () => {
  const r = await box.process.codeRun("import os, sys; print(sys.argv[1:], os.environ['A']); sys.exit(4)", { argv: ['x', 'y'], env: { A: 'b' } })
  assert.deepEqual([r.exitCode, lines(r)], [4, ["['x', 'y'] b"]])
  const c = await box.process.codeRun(`import matplotlib.pyplot as plt
plt.plot([1, 2], [3, 4]); plt.title('line'); plt.show()
plt.figure(); plt.scatter([1, 2], [3, 4]); plt.title('scatter'); plt.show()
plt.figure(); plt.bar(['a', 'b'], [1, 2.5]); plt.title('bar'); plt.show()
plt.figure(); plt.pie([1, 3], labels=['a', 'b']); plt.title('pie'); plt.show()`)
  assert.deepEqual(c.artifacts.charts.map((x) => [x.type, x.title]), [['line', 'line'], ['scatter', 'scatter'], ['bar', 'bar'], ['pie', 'pie']])
})

check('sessions', async (id) => {
  const p = box.process
  await p.createSession(id)
  await p.executeSessionCommand(id, { command: 'cd /tmp; export A=kept' })
  const r = await p.executeSessionCommand(id, { command: 'pwd; echo $A; echo bad >&2; (exit 3)' })
  assert.deepEqual([r.exitCode, r.stdout, r.stderr], [3, '/tmp\nkept\n', 'bad\n'])
  const { cmdId } = await p.executeSessionCommand(id, { command: 'seq 9000; echo end >&2', runAsync: true })
  let [out, err] = ['', '']
  await p.getSessionCommandLogs(id, cmdId, (s) => (out += s), (s) => (err += s))
  assert.equal(out, [...Array(9000).keys()].map((i) => `${i + 1}\n`).join(''))
  assert.equal(err, 'end\n')
  const logs = await p.getSessionCommandLogs(id, cmdId)
  assert.deepEqual([logs.stdout, logs.stderr], [out, err])
  assert.equal((await p.getSessionCommand(id, cmdId)).exitCode, 0)
  assert.equal((await p.getSession(id)).commands.length, 3)
  assert.ok((await p.listSessions()).some((s) => s.sessionId === id))
  await p.deleteSession(id)
  await assert.rejects(p.getSession(id), sdk.DaytonaNotFoundError)
})

check('input of a session', async (id) => {
  const p = box.process
  await p.createSession(id)
  const { cmdId } = await p.executeSessionCommand(id, { command: 'read n; echo hello $n', runAsync: true })
  await p.sendSessionCommandInput(id, cmdId, 'bob')
  let out = ''
  await p.getSessionCommandLogs(id, cmdId, (s) => (out += s), (s) => (out += s))
  assert.equal(out, 'bob\nhello bob\n')
  await p.deleteSession(id)
}, missing(() => box.process, 'sendSessionCommandInput'))

check('terminals', async (id) => {
  const p = box.process
  const decoder = new TextDecoder()
  let text = ''
  const pty = await p.createPty({ id, cwd: '/tmp', envs: { A: 'b c' }, cols: 100, rows: 30, onData: (d) => (text += decoder.decode(d, { stream: true })) })
  await pty.waitForConnection()
  assert.ok((await p.listPtySessions()).some((s) => s.id === id))
  assert.equal((await p.getPtySessionInfo(id)).cwd, '/tmp')
  assert.equal((await p.resizePtySession(id, 132, 40)).cols, 132)
  await pty.sendInput('stty size; pwd; echo [$A]; exit 5\n')
  assert.equal((await pty.wait()).exitCode, 5)
  assert.match(text, /40 132\r\n\/tmp\r\n\[b c\]\r\n/)
  const other = await p.createPty({ id, onData: () => {} })
  await other.waitForConnection()
  await p.killPtySession(id)
  assert.equal((await other.wait()).exitCode, 137)
})

check('interpreter', async () => {
  const ci = box.codeInterpreter
  const context = await ci.createContext('/tmp')
  await ci.runCode('x = 20', { context })
  const r = await ci.runCode("import os, sys\nprint(x, os.getcwd(), os.environ['A'])\nprint('e', file=sys.stderr)", { context, envs: { A: 'b' } })
  assert.deepEqual([r.stdout, r.stderr, r.error], ['20 /tmp b\n', 'e\n', undefined])
  assert.equal((await ci.runCode('1/0', { context })).error.name, 'ZeroDivisionError')
  assert.ok((await ci.listContexts()).some((c) => c.id === context.id))
  await ci.deleteContext(context)
}, missing(() => box, 'codeInterpreter'))

check('git', async (id) => {
  const { git } = box
  const d = '/home/daytona/' + id
  const made = await box.process.executeCommand(`mkdir ${d} && cd ${d} && git init -q -b main seed && cd seed && echo one > a.txt && git add -A &&
    git -c user.name=S -c user.email=s@e commit -qm first && cd .. && git clone -q --bare seed origin.git`)
  assert.equal(made.exitCode, 0, made.result)
  await git.clone(d + '/origin.git', d + '/work')
  await git.clone(d + '/origin.git', d + '/other', 'main')
  let st = await git.status(d + '/work')
  assert.deepEqual([st.currentBranch, st.fileStatus, st.branchPublished, st.ahead, st.behind], ['main', [], true, 0, 0])
  await box.fs.uploadFile(Buffer.from('new\n'), d + '/work/n.txt')
  await git.add(d + '/work', ['.'])
  const { sha } = await git.commit(d + '/work', 'second', 'Ann', 'ann@example.org')
  assert.match(sha, /^[0-9a-f]{40}$/)
  assert.equal((await git.status(d + '/work')).ahead, 1)
  await git.push(d + '/work')
  await git.pull(d + '/other')
  assert.equal((await box.fs.downloadFile(d + '/other/n.txt')).toString(), 'new\n')
  await git.createBranch(d + '/work', 'feature')
  assert.deepEqual((await git.branches(d + '/work')).branches, ['feature', 'main'])
  await git.checkoutBranch(d + '/work', 'main')
  await git.deleteBranch(d + '/work', 'feature')
  await assert.rejects(git.status('/tmp'), sdk.DaytonaNotFoundError)
})

check('language server', async (id) => {
  const d = '/home/daytona/' + id
  await box.fs.uploadFile(Buffer.from('class Dog:\n    def bark(self): pass\n\nDog().\n'), d + '/dog.py')
  const server = await box.createLspServer('python', d)
  await server.start()
  await server.didOpen(d + '/dog.py')
  assert.ok((await server.documentSymbols(d + '/dog.py')).some((s) => s.name === 'Dog'))
  assert.ok((await server.completions(d + '/dog.py', { line: 3, character: 6 })).items.some((i) => i.label === 'bark()'))
  assert.ok((await server.sandboxSymbols('Dog')).some((s) => s.name === 'Dog'))
  await server.didClose(d + '/dog.py')
  await server.stop()
})

check('signed URLs', async (id) => {
  assert.equal((await fetch(await box.uploadUrl(id), { method: 'POST', body: 'signed' })).status, 200)
  assert.equal(await (await fetch(await box.downloadUrl(id))).text(), 'signed')
}, missing(() => box, 'downloadUrl', 'uploadUrl'))

check('a snapshot without a desktop says so', async () => {
  const says = (e) => e instanceof sdk.DaytonaError && e.statusCode === 503 && /computer use is not available/.test(e.message)
  await assert.rejects(box.computerUse.getStatus(), says)
  await assert.rejects(box.computerUse.mouse.getPosition(), says)
  await assert.rejects(box.computerUse.screenshot.takeFullScreen(), says)
})
