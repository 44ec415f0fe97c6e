// Git operations of the TypeScript client named by E2E_PACKAGE, in a sandbox of the base snapshot.
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
      await body(box.git)
      passed++
    } catch (e) {
      failed++
      throw e
    }
  })
}

test.before(async () => {
  box = await daytona.create()
  const r = await box.process.executeCommand(`set -e; git init -q -b main seed; cd seed; echo one > a.txt; git add -A
    git -c user.name=S -c user.email=s@e commit -qm first; git branch topic; cd ..; git clone -q --bare seed origin.git`)
  assert.equal(r.exitCode, 0, r.result)
})
test.after(async () => {
  await box?.delete()
  await daytona[Symbol.asyncDispose]()
  console.log(`${name.replace(/\W/g, '')} git: ${passed} passed, ${failed} failed`)
})

check('clone, change, commit, push, pull', async (git) => {
  await git.clone('/home/daytona/origin.git', 'work')
  await git.clone('/home/daytona/origin.git', 'other', 'main')
  let st = await git.status('work')
  assert.deepEqual([st.currentBranch, st.fileStatus, st.branchPublished, st.ahead, st.behind], ['main', [], true, 0, 0])
  await box.fs.uploadFile(Buffer.from('changed\n'), 'work/a.txt')
  await box.fs.uploadFile(Buffer.from('new\n'), 'work/n.txt')
  st = await git.status('work')
  assert.deepEqual(st.fileStatus, [
    { name: 'a.txt', extra: '', staging: 'Unmodified', worktree: 'Modified' },
    { name: 'n.txt', extra: '', staging: 'Untracked', worktree: 'Untracked' },
  ])
  await git.add('work', ['.'])
  const { sha } = await git.commit('work', 'second', 'Ann', 'ann@example.org')
  assert.match(sha, /^[0-9a-f]{40}$/)
  assert.equal((await git.status('work')).ahead, 1)
  await git.push('work')
  await git.pull('other')
  assert.equal((await box.fs.downloadFile('other/n.txt')).toString(), 'new\n')
})

check('branches', async (git) => {
  await git.createBranch('work', 'feature')
  assert.deepEqual((await git.branches('work')).branches, ['feature', 'main'])
  await git.checkoutBranch('work', 'main')
  await git.deleteBranch('work', 'feature')
  assert.deepEqual((await git.branches('work')).branches, ['main'])
  await assert.rejects(git.createBranch('work', 'main'), sdk.DaytonaConflictError ?? sdk.DaytonaError)
  await assert.rejects(git.checkoutBranch('work', 'missing'), sdk.DaytonaNotFoundError)
  await assert.rejects(git.status('/tmp'), sdk.DaytonaNotFoundError)
  await assert.rejects(git.clone('/home/daytona/missing', 'no'), sdk.DaytonaNotFoundError)
})

check('init, remotes, settings, reset, restore', async (git) => {
  if (!git.init) return // older clients
  await git.init('new', false, 'trunk')
  await git.configureUser('Bo', 'bo@example.org')
  assert.equal(await git.getConfig('user.name'), 'Bo')
  await git.setConfig('user.name', 'Local', 'local', 'new')
  assert.equal(await git.getConfig('user.name', 'local', 'new'), 'Local')
  assert.ok(!(await git.getConfig('no.such')))
  await git.remoteAdd('new', 'origin', 'example.org/x')
  assert.equal(await git.remoteGet('new', 'origin'), 'https://example.org/x')
  await box.fs.uploadFile(Buffer.from('1\n'), 'new/f')
  await git.add('new', ['f'])
  await git.commit('new', 'first', 'A', 'a@b')
  await box.fs.uploadFile(Buffer.from('2\n'), 'new/f')
  await git.restore('new', ['f'])
  assert.equal((await box.fs.downloadFile('new/f')).toString(), '1\n')
  await box.fs.uploadFile(Buffer.from('2\n'), 'new/f')
  await git.add('new', ['f'])
  await git.reset('new', 'hard')
  assert.deepEqual((await git.status('new')).fileStatus, [])
  await git.dangerouslyAuthenticate('u', 'p', 'example.org')
})
