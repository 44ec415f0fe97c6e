// Signed file URLs and many files: the TypeScript client named by E2E_PACKAGE against the server at DAYTONA_API_URL.
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
  box = await daytona.create({ snapshot: 'tiny' })
})
test.after(async () => {
  await box?.delete()
  await daytona[Symbol.asyncDispose]()
  console.log(`${name.replace(/\W/g, '')} files: ${passed} passed, ${failed} failed`)
})

check('signed URLs', async () => {
  const path = '/home/daytona/a b+ü&=?.txt'
  await box.fs.uploadFile(Buffer.from('content'), path)
  const url = await box.downloadUrl(path)
  const got = await fetch(url, { headers: { origin: 'https://app.example' } })
  assert.deepEqual([got.status, await got.text(), got.headers.get('access-control-allow-origin')], [200, 'content', 'https://app.example'])
  const up = await box.uploadUrl('from the page')
  const form = new FormData()
  form.set('file', new Blob(['as a form']), 'f')
  assert.equal((await fetch(up, { method: 'POST', body: form })).status, 200)
  assert.equal((await box.fs.downloadFile('from the page')).toString(), 'as a form')
  assert.equal((await fetch(up, { method: 'POST', body: 'raw' })).status, 200)
  assert.equal((await box.fs.downloadFile('from the page')).toString(), 'raw')
  assert.equal((await fetch(url.replace('download?', 'info?'))).status, 401)
  assert.equal((await fetch(url, { method: 'POST' })).status, 401)
  assert.equal((await fetch(url.replace(/expires=\d+/, 'expires=0'))).status, 401)
  const forever = await box.downloadUrl(path, 0)
  assert.equal((await fetch(forever)).status, 200)
  await box.rotateSigningKey()
  const deadline = Date.now() + 5000
  while ((await fetch(forever)).status !== 401) assert.ok(Date.now() < deadline, 'a rotated key still opens')
  assert.equal((await fetch(await box.downloadUrl(path))).status, 200)
})

check('two thousand files, one of them missing', async () => {
  const many = [...Array(2000).keys()]
  await box.fs.uploadFiles(many.map((i) => ({ source: Buffer.from(`n${i}`), destination: `many/${i % 20}/ü ${i}` })))
  const wanted = many.map((i) => `many/${i % 20}/ü ${i}`)
  wanted[77] = 'many/missing'
  const got = await box.fs.downloadFiles(wanted.map((source) => ({ source })))
  assert.equal(got.length, 2000)
  for (const i of many) {
    assert.equal(got[i].source, wanted[i])
    if (i === 77) assert.ok(got[i].error)
    else assert.equal(got[i].result.toString(), `n${i}`)
  }
  assert.equal((await box.fs.listFiles('many', { depth: 2 })).length, 2020)
})
